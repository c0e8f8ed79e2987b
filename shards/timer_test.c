// The wheel against a list of deadlines, in simulated time; then the corners.
#include "shards/timer.h"

#include <stdio.h>
#include <string.h>

#include "shards/base/check.h"

#define TIMERS 200
#define S 1000000000ull

static uint64_t random_state;

static uint64_t random_below(uint64_t limit) // xorshift64*
{
    random_state ^= random_state >> 12;
    random_state ^= random_state << 25;
    random_state ^= random_state >> 27;
    return (random_state * 0x2545f4914f6cdd1dull >> 16) % limit;
}

struct probe {
    struct timer timer; // first: on_time casts back
    bool is_set;        // the model
    uint64_t deadline_ns;
    uint64_t due_ns; // not before it was set
};

static struct probe probes[TIMERS];
static struct timer_wheel *wheel;
static uint64_t now_ns;

static void probe_set(struct probe *probe, uint64_t deadline_ns)
{
    timer_set(wheel, &probe->timer, deadline_ns);
    probe->is_set = true;
    probe->deadline_ns = deadline_ns;
    probe->due_ns = deadline_ns > now_ns ? deadline_ns : now_ns;
}

static void probe_unset(struct probe *probe)
{
    timer_unset(wheel, &probe->timer);
    probe->is_set = false;
}

static uint64_t random_deadline(void)
{
    static const uint64_t spans_ns[] = {TIMER_TICK_NS, 3 * S, 51 * S, 60 * S, 1000 * S};
    uint64_t deadline_ns = now_ns + random_below(spans_ns[random_below(5)]);
    if (random_below(20) == 0)
        deadline_ns = random_below(now_ns);
    if (random_below(50) == 0)
        deadline_ns = UINT64_MAX;
    return deadline_ns;
}

static void on_time(struct timer *timer, uint64_t called_ns)
{
    struct probe *probe = (struct probe *)timer;
    CHECK(called_ns == now_ns);
    CHECK(probe->is_set);
    CHECK(probe->deadline_ns <= now_ns); // never early
    CHECK(!timer_is_set(timer));
    probe->is_set = false;
    struct probe *other = &probes[random_below(TIMERS)];
    switch (random_below(4)) { // everything is allowed in here
    case 0:
        probe_set(probe, random_deadline());
        break;
    case 1:
        probe_set(other, random_deadline());
        break;
    case 2:
        probe_unset(other);
        break;
    default:
        break;
    }
}

// Whatever was due two ticks ago has been called; and the wheel never promises a sleep past a deadline by more than a
// tick.
static void check_model(void)
{
    int64_t wait_ns = timer_wait_ns(wheel, now_ns);
    bool any = false;
    for (size_t i = 0; i < TIMERS; i++) {
        struct probe *probe = &probes[i];
        CHECK(timer_is_set(&probe->timer) == probe->is_set);
        if (!probe->is_set)
            continue;
        any = true;
        CHECK(probe->due_ns > now_ns || now_ns - probe->due_ns <= 2 * TIMER_TICK_NS);
        CHECK(wait_ns >= 0);
        uint64_t deadline_ns = probe->deadline_ns > now_ns ? probe->deadline_ns : now_ns;
        CHECK(deadline_ns == UINT64_MAX || now_ns + (uint64_t)wait_ns <= deadline_ns + 2 * TIMER_TICK_NS);
    }
    CHECK(any == (wait_ns != -1));
}

static void test_random(uint64_t seed)
{
    printf("seed %llu\n", (unsigned long long)seed);
    random_state = seed * 0x9e3779b97f4a7c15ull + 1;
    now_ns = 5 * S + random_below(100 * S);
    wheel = timer_wheel_create(now_ns);
    CHECK(wheel != NULL);
    memset(probes, 0, sizeof(probes));
    for (size_t i = 0; i < TIMERS; i++)
        probes[i].timer.on_time = on_time;
    for (int step = 0; step < 3000; step++) {
        struct probe *probe = &probes[random_below(TIMERS)];
        uint64_t what = random_below(10);
        if (what < 3)
            probe_set(probe, random_deadline());
        else if (what < 5)
            probe_unset(probe);
        static const uint64_t jumps_ns[] = {1000, TIMER_TICK_NS / 3, TIMER_TICK_NS, S, 60 * S, 200 * S};
        uint64_t jump = random_below(100);
        now_ns += random_below(jumps_ns[jump < 98 ? jump % 4 : 4 + jump % 2] + 1);
        timer_expire(wheel, now_ns);
        check_model();
    }
    for (size_t i = 0; i < TIMERS; i++)
        probe_unset(&probes[i]);
    CHECK(timer_wait_ns(wheel, now_ns) == -1);
    timer_wheel_destroy(wheel);
}

static int calls;

static void count_call(struct timer *timer, uint64_t called_ns)
{
    (void)timer;
    (void)called_ns;
    calls++;
}

static void set_again_in_the_past(struct timer *timer, uint64_t called_ns)
{
    (void)called_ns;
    calls++;
    timer_set(wheel, timer, 0);
}

// Sleeping exactly as long as told ends at the call, in few wake-ups, and not before the deadline.
static void test_sleeper(void)
{
    wheel = timer_wheel_create(7);
    struct timer timer = {.on_time = count_call};
    uint64_t time_ns = 7;
    int wakes = 0;
    calls = 0;
    timer_set(wheel, &timer, 120 * S + 1);
    while (calls == 0) {
        int64_t wait_ns = timer_wait_ns(wheel, time_ns);
        CHECK(wait_ns > 0);
        time_ns += (uint64_t)wait_ns;
        timer_expire(wheel, time_ns);
        CHECK(++wakes <= 3);
    }
    CHECK(time_ns > 120 * S && time_ns <= 120 * S + 1 + TIMER_TICK_NS);
    timer_wheel_destroy(wheel);
}

static void test_corners(void)
{
    wheel = timer_wheel_create(0);
    struct timer a = {.on_time = count_call}, b = {.on_time = set_again_in_the_past};
    calls = 0;
    timer_unset(wheel, &a); // not set: harmless
    timer_set(wheel, &a, TIMER_TICK_NS);
    timer_set(wheel, &a, 3 * TIMER_TICK_NS); // moved
    CHECK(timer_expire(wheel, 3 * TIMER_TICK_NS - 1) == 0);
    CHECK(timer_expire(wheel, 3 * TIMER_TICK_NS) == 1);
    CHECK(calls == 1);

    timer_set(wheel, &b, 0);
    CHECK(timer_expire(wheel, 1000 * S) == 1); // setting itself in the past does not keep the expiry going
    CHECK(timer_expire(wheel, 1000 * S) == 0);
    CHECK(timer_expire(wheel, 1000 * S + TIMER_TICK_NS) == 1);
    CHECK(timer_expire(wheel, 1000 * S) == 0); // time that goes back is ignored
    timer_unset(wheel, &b);
    timer_wheel_destroy(wheel);
    timer_wheel_destroy(NULL);
}

int main(void)
{
    for (uint64_t seed = 1; seed <= 20; seed++)
        test_random(seed);
    test_sleeper();
    test_corners();
    return 0;
}
