// Keyed BLAKE2b by libsodium. Any thread.
#include "auth/fingerprint.h"

#include <sodium.h>

#include "shards/base/check.h"

_Static_assert(FINGERPRINT_BYTES == crypto_generichash_BYTES && FINGERPRINT_BYTES == crypto_generichash_KEYBYTES, "BLAKE2b-256");

void fingerprint_secret_create(struct fingerprint_secret *ret_secret)
{
    randombytes_buf(ret_secret->bytes, sizeof(ret_secret->bytes));
}

void fingerprint_make(const struct fingerprint_secret *secret, enum fingerprint_kind kind, struct bytes a, struct bytes b,
                      struct fingerprint *ret_fingerprint)
{
    CHECK(secret != NULL && ret_fingerprint != NULL);
    const uint64_t head[2] = {kind, a.len}; // a's length, so that the border between a and b is hashed too
    crypto_generichash_state state;
    int failures = crypto_generichash_init(&state, secret->bytes, sizeof(secret->bytes), FINGERPRINT_BYTES);
    failures |= crypto_generichash_update(&state, (const unsigned char *)head, sizeof(head));
    failures |= crypto_generichash_update(&state, a.ptr, a.len);
    failures |= crypto_generichash_update(&state, b.ptr, b.len);
    failures |= crypto_generichash_final(&state, ret_fingerprint->bytes, FINGERPRINT_BYTES);
    CHECK(failures == 0);
    sodium_memzero(&state, sizeof(state));
}

void fingerprint_address(const struct fingerprint_secret *secret, const uint8_t address[16], struct fingerprint *ret_fingerprint)
{
    static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
    CHECK(address != NULL);
    size_t len = memcmp(address, mapped, sizeof(mapped)) == 0 ? 16 : 8;
    fingerprint_make(secret, FINGERPRINT_ADDRESS, bytes_of(address, len), bytes_of(NULL, 0), ret_fingerprint);
}

bool fingerprint_equal(const struct fingerprint *a, const struct fingerprint *b)
{
    return sodium_memcmp(a->bytes, b->bytes, FINGERPRINT_BYTES) == 0;
}
