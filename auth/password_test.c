// The form and cost of password hashes.
#include "auth/password.h"

#include <sodium.h>
#include <stdio.h>

#include "auth/auth.h"
#include "shards/base/check.h"

static void test_format(void)
{
    char hash[PASSWORD_HASH_MAX], again[PASSWORD_HASH_MAX];
    CHECK(password_hash(bytes_text("foobar"), hash));
    CHECK(password_hash(bytes_text("foobar"), again));
    const char *head = "$argon2id$v=19$m=9765,t=3,p=1$";
    if (strncmp(hash, head, strlen(head)) != 0)
        fprintf(stderr, "hash is %s\n", hash);
    CHECK(strncmp(hash, head, strlen(head)) == 0);
    CHECK(strcmp(hash, again) != 0); // salted
    CHECK(password_is_hash(hash));
    CHECK(password_verify(hash, bytes_text("foobar")));
    CHECK(!password_verify(hash, bytes_text("foobaR")));
    CHECK(!password_verify(hash, bytes_text("")));
    CHECK(!password_verify(hash, bytes_of(NULL, 0)));
}

static void test_dummy(void)
{
    // 0: decodes, and has the very parameters of new hashes.
    char dummy[crypto_pwhash_STRBYTES] = "";
    CHECK(strlen(password_dummy) < sizeof(dummy));
    memcpy(dummy, password_dummy, strlen(password_dummy));
    CHECK(crypto_pwhash_str_needs_rehash(dummy, 3, 10000000) == 0);
    CHECK(password_is_hash(password_dummy));
    CHECK(!password_verify(password_dummy, bytes_text("")));
    CHECK(!password_verify(password_dummy, bytes_text("foobar")));
}

static void test_others(void)
{
    // Another program's cheap parameters verify too (made by libsodium with m=8 KiB, t=1).
    char cheap[PASSWORD_HASH_MAX];
    CHECK(crypto_pwhash_str_alg(cheap, "pw", 2, 1, 8192, crypto_pwhash_ALG_ARGON2ID13) == 0);
    CHECK(password_verify(cheap, bytes_text("pw")));
    CHECK(!password_verify(cheap, bytes_text("pW")));

    static const char *const refused[] = {
        "",
        "foobar",
        "$argon2id$",
        "$argon2i$v=19$m=9765,t=3,p=1$rk7RbPXy5YAkd0DbafH4ew$lyN4VCZemhoOQxwDcDBm8+Vc41z2hm+goC4A4AVMY4s",
        "$argon2id$v=19$m=262145,t=3,p=1$rk7RbPXy5YAkd0DbafH4ew$lyN4VCZemhoOQxwDcDBm8+Vc41z2hm+goC4A4AVMY4s",
        "$argon2id$v=19$m=4294967295,t=3,p=1$rk7RbPXy5YAkd0DbafH4ew$lyN4VCZemhoOQxwDcDBm8+Vc41z2hm+goC4A4AVMY4s",
        "$argon2id$v=19$m=9765,t=11,p=1$rk7RbPXy5YAkd0DbafH4ew$lyN4VCZemhoOQxwDcDBm8+Vc41z2hm+goC4A4AVMY4s",
        "$argon2id$v=19$m=9765,t=3,p=5$rk7RbPXy5YAkd0DbafH4ew$lyN4VCZemhoOQxwDcDBm8+Vc41z2hm+goC4A4AVMY4s",
        ("$argon2id$v=19$m=9765,t=3,p=1$0123456789012345678901234567890123456789012345678901234567890123456789"
         "01234567890123456789012345678901234567890123456789"),
    };
    for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++) {
        CHECK(!password_is_hash(refused[i]));
        CHECK(!password_verify(refused[i], bytes_text("foobar")));
    }
    CHECK(!password_verify("$argon2id$v=19$m=9765,t=3,p=1$!!", bytes_text("foobar")));
}

int main(void)
{
    auth_init();
    test_format();
    test_dummy();
    test_others();
    return 0;
}
