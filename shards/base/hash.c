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

void hash_name(const char *name_space, uint64_t account, const void *name, size_t len, struct key *ret_key)
{
    crypto_generichash_state state;
    crypto_generichash_init(&state, NULL, 0, sizeof(ret_key->bytes));
    crypto_generichash_update(&state, (const unsigned char *)name_space, strlen(name_space) + 1);
    crypto_generichash_update(&state, (const unsigned char *)&account, sizeof(account));
    crypto_generichash_update(&state, name, len);
    crypto_generichash_final(&state, ret_key->bytes, sizeof(ret_key->bytes));
}

uint64_t hash_key(const struct hash_secret *secret, const struct key *key)
{
    return hash_bytes(secret, key->bytes, sizeof(key->bytes));
}
