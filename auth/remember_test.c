// Remembering and forgetting, in simulated time; and what fingerprints tell apart.
#include "auth/remember.h"

#include "auth/auth.h"
#include "shards/base/check.h"

#define KEEP_NS 600000000000ull

static struct fingerprint credentials(const struct fingerprint_secret *secret, const char *user, const char *password)
{
    struct fingerprint fingerprint;
    fingerprint_make(secret, FINGERPRINT_CREDENTIALS, bytes_text(user), bytes_text(password), &fingerprint);
    return fingerprint;
}

static void test_fingerprints(void)
{
    struct fingerprint_secret secret, other;
    fingerprint_secret_create(&secret);
    fingerprint_secret_create(&other);
    struct fingerprint base = credentials(&secret, "ab", "c"), same = credentials(&secret, "ab", "c");
    struct fingerprint moved = credentials(&secret, "a", "bc"), foreign = credentials(&other, "ab", "c"), kind;
    fingerprint_make(&secret, FINGERPRINT_USER, bytes_text("ab"), bytes_text("c"), &kind);
    CHECK(fingerprint_equal(&base, &same));
    CHECK(!fingerprint_equal(&base, &moved));
    CHECK(!fingerprint_equal(&base, &foreign));
    CHECK(!fingerprint_equal(&base, &kind));

    const uint8_t v4_a[16] = {[10] = 255, [11] = 255, 10, 0, 0, 1}, v4_b[16] = {[10] = 255, [11] = 255, 10, 0, 0, 2};
    const uint8_t v6_a[16] = {0x20, 1, 13, 184, [15] = 1}, v6_b[16] = {0x20, 1, 13, 184, [8] = 9}, v6_c[16] = {0x20, 1, 13, 184, [7] = 1};
    struct fingerprint prints[5];
    const uint8_t *addresses[5] = {v4_a, v4_b, v6_a, v6_b, v6_c};
    for (int i = 0; i < 5; i++)
        fingerprint_address(&secret, addresses[i], &prints[i]);
    for (int i = 0; i < 5; i++) {
        for (int j = 0; j < i; j++)
            CHECK(fingerprint_equal(&prints[i], &prints[j]) == (i == 3 && j == 2)); // only those of one /64
    }
}

int main(void)
{
    auth_init();
    test_fingerprints();
    struct fingerprint_secret secret;
    fingerprint_secret_create(&secret);
    struct remember *remember = remember_create(4, KEEP_NS);
    CHECK(remember != NULL);
    struct fingerprint a = credentials(&secret, "a", "1"), a2 = credentials(&secret, "a", "2"), b = credentials(&secret, "b", "1");
    uint64_t account = 77;
    CHECK(!remember_find(remember, &a, 0, &account) && account == 77);
    remember_add(remember, &a, 1, 1000);
    CHECK(remember_find(remember, &a, 1000, &account) && account == 1);
    CHECK(!remember_find(remember, &a2, 1000, &account));
    CHECK(remember_find(remember, &a, 1000 + KEEP_NS - 1, &account));
    CHECK(!remember_find(remember, &a, 1000 + KEEP_NS, &account)); // the find before did not prolong it
    CHECK(!remember_find(remember, &a, 1000, &account));           // and it is gone

    remember_add(remember, &a, 1, 0);
    remember_add(remember, &a2, 1, 0);
    remember_add(remember, &b, 2, 0);
    CHECK(remember_forget_account(remember, 1) == 2);
    CHECK(remember_forget_account(remember, 1) == 0);
    CHECK(!remember_find(remember, &a, 1, &account) && !remember_find(remember, &a2, 1, &account));
    CHECK(remember_find(remember, &b, 1, &account) && account == 2);
    remember_add(remember, &b, 3, 5); // a new check of the same credentials replaces the old
    CHECK(remember_find(remember, &b, KEEP_NS + 4, &account) && account == 3);
    remember_forget_all(remember);
    CHECK(!remember_find(remember, &b, 6, &account));

    for (char name[2] = "A"; name[0] <= 'E'; name[0]++) { // five into four
        struct fingerprint print = credentials(&secret, name, "");
        remember_add(remember, &print, 9, 0);
    }
    struct fingerprint first = credentials(&secret, "A", ""), second = credentials(&secret, "B", "");
    CHECK(!remember_find(remember, &first, 0, &account) && remember_find(remember, &second, 0, &account));
    remember_destroy(remember);
    remember_destroy(NULL);
    return 0;
}
