// SipHash-2-4 against the vector of its paper (appendix A) and the first vectors of the reference implementation.
#include "shards/base/hash.h"

#include <stdio.h>
#include <string.h>

#include "shards/base/check.h"
#include "shards/base/key.h"

static void test_known_vectors(void)
{
    struct hash_secret secret;
    uint8_t input[64];
    for (uint8_t i = 0; i < HASH_SECRET_BYTES; i++)
        secret.bytes[i] = i;
    for (uint8_t i = 0; i < sizeof(input); i++)
        input[i] = i;

    CHECK(hash_bytes(&secret, input, 15) == 0xa129ca6149be45e5ull);
    CHECK(hash_bytes(&secret, input, 0) == 0x726fdb47dd0e0e31ull);
    CHECK(hash_bytes(&secret, input, 1) == 0x74f839c593dc67fdull);
    CHECK(hash_bytes(&secret, input, 2) == 0x0d6c8009d9a94f5aull);
}

static void test_key_is_its_bytes(void)
{
    struct hash_secret secret;
    struct key key;
    hash_secret_create(&secret);
    memset(key.bytes, 7, sizeof(key.bytes));
    uint64_t value = hash_key(&secret, &key);
    CHECK(value == hash_bytes(&secret, key.bytes, KEY_BYTES));
    key.bytes[KEY_BYTES - 1] ^= 1;
    CHECK(value != hash_key(&secret, &key));
}

static void test_secrets_differ(void)
{
    struct hash_secret a, b;
    hash_secret_create(&a);
    hash_secret_create(&b);
    CHECK(memcmp(&a, &b, sizeof(a)) != 0);
    CHECK(hash_bytes(&a, "x", 1) != hash_bytes(&b, "x", 1));
}

int main(void)
{
    test_known_vectors();
    test_key_is_its_bytes();
    test_secrets_differ();
    return 0;
}
