// argon2id by libsodium. Any thread.
#include "auth/password.h"

#include <sodium.h>
#include <stdio.h>

#include "shards/base/check.h"

#define PASSES 3
#define MEMORY_BYTES 10000000 // libsodium rounds down to 9765 KiB, as it does for the original

_Static_assert(PASSWORD_HASH_MAX == crypto_pwhash_STRBYTES, "room for libsodium's strings");

const char password_dummy[] = "$argon2id$v=19$m=9765,t=3,p=1$rk7RbPXy5YAkd0DbafH4ew$lyN4VCZemhoOQxwDcDBm8AAAAAAAAAAAAAAAAAAAAAA";

// libsodium wants a pointer even to nothing.
static const char *text_of(struct bytes password)
{
    return password.len == 0 ? "" : (const char *)password.ptr;
}

bool password_hash(struct bytes password, char ret_hash[PASSWORD_HASH_MAX])
{
    CHECK(ret_hash != NULL);
    return crypto_pwhash_str_alg(ret_hash, text_of(password), password.len, PASSES, MEMORY_BYTES, crypto_pwhash_ALG_ARGON2ID13) == 0;
}

bool password_is_hash(const char *hash)
{
    CHECK(hash != NULL);
    unsigned memory_kib, passes, lanes;
    int head_bytes = 0;
    if (strlen(hash) >= PASSWORD_HASH_MAX)
        return false;
    if (sscanf(hash, "$argon2id$v=19$m=%7u,t=%7u,p=%7u$%n", &memory_kib, &passes, &lanes, &head_bytes) != 3 || head_bytes == 0)
        return false;
    return memory_kib <= PASSWORD_MEMORY_KIB_MAX && passes <= PASSWORD_PASSES_MAX && lanes <= PASSWORD_LANES_MAX;
}

bool password_verify(const char *hash, struct bytes password)
{
    if (!password_is_hash(hash))
        return false;
    return crypto_pwhash_str_verify(hash, text_of(password), password.len) == 0;
}
