// The bell by one thread (who rang, who sleeps), then by two that ring and sleep at once: nobody is missed.
#include "shards/bell.h"

#include <pthread.h>
#include <sched.h>

#include "shards/base/check.h"

#define ROUNDS 20000
#define SPINS_MAX 200

static void test_who_rang(void)
{
    struct bell bell;
    uint64_t senders[BELL_WORDS] = {1ull << 9};
    bell_init(&bell, 5);
    CHECK(bell.wake_fd == 5 && !bell_has_rung(&bell, BELL_WORDS));
    static const uint16_t rings[] = {0, 63, 64, BELL_NODES_MAX - 1, 64};
    for (unsigned i = 0; i < sizeof(rings) / sizeof(rings[0]); i++)
        bell_ring(&bell, rings[i]);
    CHECK(bell_has_rung(&bell, BELL_WORDS));
    bell_take(&bell, senders, BELL_WORDS);
    CHECK(senders[0] == (1ull | 1ull << 63 | 1ull << 9)); // added to those that were there
    CHECK(senders[1] == 1);
    CHECK(senders[BELL_WORDS - 1] == 1ull << 63);
    for (unsigned i = 2; i < BELL_WORDS - 1; i++)
        CHECK(senders[i] == 0);
    CHECK(!bell_has_rung(&bell, BELL_WORDS));
    bell_take(&bell, senders, BELL_WORDS);
    CHECK(senders[1] == 1);
}

static void test_sleeper_is_woken_once(void)
{
    struct bell bell;
    bell_init(&bell, 0);
    CHECK(!bell_must_wake(&bell));
    bell_sleep(&bell);
    CHECK(bell_must_wake(&bell) && !bell_must_wake(&bell));
    bell_sleep(&bell);
    bell_awake(&bell);
    CHECK(!bell_must_wake(&bell));
    bell_awake(&bell);
}

// One rings, the other sleeps: in each round the ringer must see the sleeper, or the sleeper the ring.
struct meeting {
    struct bell bell;
    alignas(BELL_LINE_BYTES) atomic_uint arrived;
    bool wakes;
};

// Both go on at the same moment, as far as two CPUs allow.
static void meet(struct meeting *meeting, unsigned times)
{
    atomic_fetch_add(&meeting->arrived, 1);
    for (unsigned spins = 1; atomic_load(&meeting->arrived) < 2 * times; spins++)
        if (spins % SPINS_MAX == 0)
            sched_yield();
}

static void *ring(void *argument)
{
    struct meeting *meeting = argument;
    for (unsigned round = 0; round < ROUNDS; round++) {
        meet(meeting, 2 * round + 1);
        bell_ring(&meeting->bell, 3);
        meeting->wakes = bell_must_wake(&meeting->bell);
        meet(meeting, 2 * round + 2);
    }
    return NULL;
}

static void test_nobody_is_missed(void)
{
    static struct meeting meeting;
    pthread_t ringer;
    uint64_t senders[1] = {0};
    bell_init(&meeting.bell, 0);
    CHECK(pthread_create(&ringer, NULL, ring, &meeting) == 0);
    for (unsigned round = 0; round < ROUNDS; round++) {
        meet(&meeting, 2 * round + 1);
        bell_sleep(&meeting.bell);
        bool seen = bell_has_rung(&meeting.bell, 1);
        meet(&meeting, 2 * round + 2);
        CHECK(seen || meeting.wakes);
        bell_take(&meeting.bell, senders, 1);
        CHECK(senders[0] == 1u << 3);
        senders[0] = 0;
        bell_awake(&meeting.bell);
    }
    pthread_join(ringer, NULL);
}

int main(void)
{
    test_who_rang();
    test_sleeper_is_woken_once();
    test_nobody_is_missed();
    return 0;
}
