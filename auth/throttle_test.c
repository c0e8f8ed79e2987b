// Token buckets in simulated time.
#include "auth/throttle.h"

#include "auth/auth.h"
#include "shards/base/check.h"

#define S 1000000000ull

static struct fingerprint who(uint8_t name)
{
    return (struct fingerprint){.bytes = {name}};
}

static bool may(struct throttle *throttle, uint8_t name, uint64_t now_ns, uint32_t retry_after_s)
{
    struct fingerprint print = who(name);
    uint32_t got = 12345;
    bool answer = throttle_may(throttle, &print, now_ns, &got);
    CHECK(got == retry_after_s);
    CHECK(answer == (retry_after_s == 0));
    return answer;
}

static void take(struct throttle *throttle, uint8_t name, uint64_t now_ns)
{
    struct fingerprint print = who(name);
    throttle_take(throttle, &print, now_ns);
}

static void test_bucket(void)
{
    struct throttle *throttle = throttle_create(8, 3, 10);
    CHECK(throttle != NULL);
    uint64_t now_ns = 1000 * S;
    CHECK(may(throttle, 'a', now_ns, 0));
    CHECK(throttle_count(throttle) == 0); // asking makes no bucket
    for (int i = 0; i < 3; i++) {
        CHECK(may(throttle, 'a', now_ns, 0));
        take(throttle, 'a', now_ns);
    }
    CHECK(!may(throttle, 'a', now_ns, 10));
    CHECK(may(throttle, 'b', now_ns, 0)); // another's bucket is full
    take(throttle, 'a', now_ns);          // empty stays empty: no debt
    CHECK(!may(throttle, 'a', now_ns, 10));
    CHECK(!may(throttle, 'a', now_ns + 9 * S + 1, 1));
    CHECK(may(throttle, 'a', now_ns + 10 * S, 0)); // one token is back
    take(throttle, 'a', now_ns + 10 * S);
    CHECK(!may(throttle, 'a', now_ns + 10 * S, 10));
    CHECK(may(throttle, 'a', now_ns + 1000 * S, 0)); // long idle: full, and no more than full
    for (int i = 0; i < 3; i++)
        take(throttle, 'a', now_ns + 1000 * S);
    CHECK(!may(throttle, 'a', now_ns + 1000 * S, 10));

    struct fingerprint a = who('a'), stranger = who('z');
    throttle_give(throttle, &a);
    CHECK(may(throttle, 'a', now_ns + 1000 * S, 0));
    throttle_give(throttle, &stranger); // no bucket: nothing to give to
    CHECK(throttle_count(throttle) == 1);
    throttle_destroy(throttle);
}

static void test_room(void)
{
    struct throttle *throttle = throttle_create(3, 1, 60);
    CHECK(throttle != NULL);
    for (uint8_t name = 1; name <= 3; name++)
        take(throttle, name, S);
    take(throttle, 1, 2 * S); // used again: 2 is the oldest now
    take(throttle, 4, 3 * S);
    CHECK(throttle_count(throttle) == 3 && throttle_displaced(throttle) == 1);
    CHECK(may(throttle, 2, 3 * S, 0));
    CHECK(!may(throttle, 1, 3 * S, 59) && !may(throttle, 3, 3 * S, 58) && !may(throttle, 4, 3 * S, 60));
    throttle_destroy(throttle);
    throttle_destroy(NULL);
}

int main(void)
{
    auth_init();
    test_bucket();
    test_room();
    return 0;
}
