// The vector of protocols/buckets.md "Commands", and that nothing else verifies.
#include "auth/challenge.h"

#include <sodium.h>

#include "auth/auth.h"
#include "shards/base/check.h"

static void unhex(const char *hex, uint8_t *out, size_t len)
{
    size_t got;
    CHECK(sodium_hex2bin(out, len, hex, strlen(hex), NULL, &got, NULL) == 0 && got == len);
}

int main(void)
{
    auth_init();
    uint8_t challenge[CHALLENGE_BYTES], key[32], other[32], signature[64];
    unhex("89c79e2ab988f7310a28b0a9861c178b56fafca94cfe3c168347e7f6b677415d", challenge, 32);
    unhex("8a88e3dd7409f195fd52db2d3cba5d72ca6709bf1d94121bf3748801b40f6f5c", key, 32);
    unhex("8139770ea87d175f56a35466c34c7ecccb8d8a91b4ee37a25df60f5b8fc9b394", other, 32);
    unhex("4e9d08743cf24c401a72f7d8ee8b49a40a4b9a5ac3a7bb8026ecb95edb056f01"
          "53b90fb2a1588a7ab25ffd515795c94e19a5f314b7bd7dfea0e6a4e0c69bb10e",
          signature, 64);
    CHECK(challenge_verify(challenge, bytes_of(signature, 64), bytes_of(key, 32)));
    CHECK(!challenge_verify(challenge, bytes_of(signature, 64), bytes_of(other, 32)));

    for (size_t len = 0; len < 64; len++)
        CHECK(!challenge_verify(challenge, bytes_of(signature, len), bytes_of(key, 32)));
    for (size_t len = 0; len < 32; len++)
        CHECK(!challenge_verify(challenge, bytes_of(signature, 64), bytes_of(key, len)));
    uint8_t longer[65] = {0};
    memcpy(longer, signature, 64);
    CHECK(!challenge_verify(challenge, bytes_of(longer, 65), bytes_of(key, 32)));
    CHECK(!challenge_verify(challenge, bytes_of(NULL, 0), bytes_of(NULL, 0)));

    for (size_t bit = 0; bit < 512; bit++) { // no bit of the signature may change
        signature[bit / 8] ^= (uint8_t)(1 << bit % 8);
        CHECK(!challenge_verify(challenge, bytes_of(signature, 64), bytes_of(key, 32)));
        signature[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
    challenge[0] ^= 1;
    CHECK(!challenge_verify(challenge, bytes_of(signature, 64), bytes_of(key, 32)));

    // The all-zero key is a weak one for which a signature over anything can be made up.
    uint8_t zero_key[32] = {0}, zero_signature[64] = {0};
    CHECK(!challenge_verify(challenge, bytes_of(zero_signature, 64), bytes_of(zero_key, 32)));

    uint8_t first[CHALLENGE_BYTES], second[CHALLENGE_BYTES];
    challenge_create(first);
    challenge_create(second);
    CHECK(memcmp(first, second, CHALLENGE_BYTES) != 0);
    return 0;
}
