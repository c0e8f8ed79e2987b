// libsodium's SipHash-2-4: the only file of this folder that includes it. Any thread.
#include "shards/base/hash.h"

#include <sodium.h>

#include "shards/base/key.h"

_Static_assert(HASH_SECRET_BYTES == crypto_shorthash_siphash24_KEYBYTES, "SipHash key size");

void hash_secret_create(struct hash_secret *ret_secret)
{
    randombytes_buf(ret_secret->bytes, sizeof(ret_secret->bytes));
}

uint64_t hash_bytes(const struct hash_secret *secret, const void *ptr, size_t len)
{
    uint64_t value;
    crypto_shorthash_siphash24((unsigned char *)&value, ptr, len, secret->bytes);
    return value;
}

uint64_t hash_key(const struct hash_secret *secret, const struct key *key)
{
    return hash_bytes(secret, key->bytes, sizeof(key->bytes));
}
