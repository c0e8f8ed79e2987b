// Waiters come out in order, once, and every place is used again; bounds hold.
#include "net/checks.h"

#include "shards/base/check.h"

#define CHECKS_MAX 4
#define WAITERS_MAX 6

static uint64_t random_state = 88172645463325252u; // fixed: the same run each time

static int random_below(int limit) // xorshift64*
{
    random_state ^= random_state >> 12;
    random_state ^= random_state << 25;
    random_state ^= random_state >> 27;
    return (int)(random_state * 2685821657736338717u >> 33) % limit;
}

static struct fingerprint print(uint8_t name)
{
    return (struct fingerprint){.bytes = {name}};
}

static void test_bounds(void)
{
    struct checks *checks = checks_create(CHECKS_MAX, WAITERS_MAX);
    CHECK(checks != NULL);
    struct fingerprint name = print(1);
    CHECK(checks_find(checks, &name) == NULL);
    struct check *check = checks_add(checks, &name);
    CHECK(check != NULL && checks_find(checks, &name) == check && fingerprint_equal(&check->credentials, &name));
    struct waiter waiter = {.generation = 1}, got;
    CHECK(!checks_next(checks, check, &got));
    for (uint32_t i = 0; i < WAITERS_MAX; i++) {
        waiter.slot = i;
        CHECK(checks_wait(checks, check, &waiter));
    }
    CHECK(!checks_wait(checks, check, &waiter) && checks_waiting(checks) == WAITERS_MAX);
    for (uint8_t other = 2; other <= CHECKS_MAX; other++) {
        name = print(other);
        CHECK(checks_add(checks, &name) != NULL);
    }
    name = print(9);
    CHECK(checks_add(checks, &name) == NULL && checks_count(checks) == CHECKS_MAX); // full: nothing is displaced
    for (uint32_t i = 0; i < WAITERS_MAX; i++)
        CHECK(checks_next(checks, check, &got) && got.slot == i);
    CHECK(!checks_next(checks, check, &got) && checks_waiting(checks) == 0);
    checks_remove(checks, check);
    CHECK(checks_add(checks, &name) != NULL);
    checks_destroy(checks);
    checks_destroy(NULL);
}

// Random joining and leaving of several checks against a counter per check: what comes out is what went in, in order.
static void test_random(void)
{
    struct checks *checks = checks_create(CHECKS_MAX, WAITERS_MAX);
    CHECK(checks != NULL);
    struct check *under_way[CHECKS_MAX];
    uint32_t in[CHECKS_MAX] = {0}, out[CHECKS_MAX] = {0}, waiting = 0;
    for (uint8_t i = 0; i < CHECKS_MAX; i++) {
        struct fingerprint name = print(i);
        under_way[i] = checks_add(checks, &name);
    }
    for (int step = 0; step < 20000; step++) {
        int i = random_below(CHECKS_MAX);
        struct waiter waiter = {.slot = in[i], .generation = (uint32_t)i + 1}, got;
        if (random_below(2) == 0) {
            bool waits = checks_wait(checks, under_way[i], &waiter);
            CHECK(waits == (waiting < WAITERS_MAX));
            in[i] += waits;
            waiting += waits;
        } else {
            bool is_there = checks_next(checks, under_way[i], &got);
            CHECK(is_there == (out[i] < in[i]));
            CHECK(!is_there || (got.slot == out[i] && got.generation == (uint32_t)i + 1));
            out[i] += is_there;
            waiting -= is_there;
        }
        CHECK(checks_waiting(checks) == waiting);
    }
    checks_destroy(checks);
}

int main(void)
{
    test_bounds();
    test_random();
    return 0;
}
