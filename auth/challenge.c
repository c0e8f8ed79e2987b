// ed25519 challenge by libsodium, which also refuses weak keys and malleable signatures. Pure, any thread.
#include "auth/challenge.h"

#include <sodium.h>

#include "shards/base/check.h"

_Static_assert(KEY_BYTES == crypto_sign_PUBLICKEYBYTES, "a device's key is an ed25519 public key");

void challenge_create(uint8_t ret_challenge[CHALLENGE_BYTES])
{
    CHECK(ret_challenge != NULL);
    randombytes_buf(ret_challenge, CHALLENGE_BYTES);
}

bool challenge_verify(const uint8_t challenge[CHALLENGE_BYTES], struct bytes signature, struct bytes key)
{
    CHECK(challenge != NULL);
    if (signature.len != crypto_sign_BYTES || key.len != crypto_sign_PUBLICKEYBYTES)
        return false;
    return crypto_sign_verify_detached(signature.ptr, challenge, CHALLENGE_BYTES, key.ptr) == 0;
}
