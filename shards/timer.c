// One wheel of buckets, one tick each; what lies beyond the wheel's span waits in its last bucket and is filed again from there.
// Its rule: a timer is in exactly one list (a bucket's, or `due` while timer_expire runs), so setting and unsetting are list moves.
// Thread: the node's.
#include "shards/timer.h"

#include <stdlib.h>

#include "shards/base/check.h"

#define BUCKETS 512 // a power of two; spans 51 s
#define WORD_BITS 64
#define WORDS (BUCKETS / WORD_BITS)

struct timer_wheel {
    uint64_t tick; // all timers of ticks up to this one have been called
    size_t set_count;
    uint64_t filled[WORDS];        // bit i: buckets[i] holds a timer
    struct timer buckets[BUCKETS]; // list heads
    struct timer due;              // list head
};

static void list_init(struct timer *head)
{
    head->next = head->prev = head;
}

static bool list_is_empty(const struct timer *head)
{
    return head->next == head;
}

static void list_append(struct timer *head, struct timer *timer)
{
    timer->next = head;
    timer->prev = head->prev;
    head->prev->next = timer;
    head->prev = timer;
}

// Moves all of `from` to the end of `to`.
static void list_move(struct timer *from, struct timer *to)
{
    if (list_is_empty(from))
        return;
    from->next->prev = to->prev;
    from->prev->next = to;
    to->prev->next = from->next;
    to->prev = from->prev;
    list_init(from);
}

static uint64_t deadline_tick(const struct timer *timer)
{
    return timer->deadline_ns / TIMER_TICK_NS + (timer->deadline_ns % TIMER_TICK_NS != 0); // rounded up: never early
}

static void file(struct timer_wheel *wheel, struct timer *timer)
{
    uint64_t tick = deadline_tick(timer);
    if (tick <= wheel->tick)
        tick = wheel->tick + 1;
    if (tick > wheel->tick + BUCKETS - 1)
        tick = wheel->tick + BUCKETS - 1;
    size_t bucket = tick % BUCKETS;
    list_append(&wheel->buckets[bucket], timer);
    wheel->filled[bucket / WORD_BITS] |= 1ull << bucket % WORD_BITS;
}

static void unlink_timer(struct timer_wheel *wheel, struct timer *timer)
{
    struct timer *next = timer->next;
    bool was_last = next == timer->prev; // then both are the list's head
    next->prev = timer->prev;
    timer->prev->next = next;
    timer->next = timer->prev = NULL;
    if (was_last && next != &wheel->due) {
        size_t bucket = (size_t)(next - wheel->buckets);
        CHECK(bucket < BUCKETS);
        wheel->filled[bucket / WORD_BITS] &= ~(1ull << bucket % WORD_BITS);
    }
}

struct timer_wheel *timer_wheel_create(uint64_t now_ns)
{
    struct timer_wheel *wheel = calloc(1, sizeof(*wheel));
    if (wheel == NULL)
        return NULL;
    wheel->tick = now_ns / TIMER_TICK_NS;
    for (size_t i = 0; i < BUCKETS; i++)
        list_init(&wheel->buckets[i]);
    list_init(&wheel->due);
    return wheel;
}

void timer_wheel_destroy(struct timer_wheel *wheel)
{
    if (wheel == NULL)
        return;
    CHECK(wheel->set_count == 0); // a timer left here would point into freed memory
    free(wheel);
}

void timer_set(struct timer_wheel *wheel, struct timer *timer, uint64_t deadline_ns)
{
    CHECK(timer->on_time != NULL);
    timer_unset(wheel, timer);
    timer->deadline_ns = deadline_ns;
    file(wheel, timer);
    wheel->set_count++;
}

void timer_unset(struct timer_wheel *wheel, struct timer *timer)
{
    if (!timer_is_set(timer))
        return;
    CHECK(wheel->set_count > 0);
    unlink_timer(wheel, timer);
    wheel->set_count--;
}

bool timer_is_set(const struct timer *timer)
{
    return timer->next != NULL;
}

// Takes what is in the bucket: due timers to wheel->due, others are filed again.
static void empty_bucket(struct timer_wheel *wheel, size_t bucket)
{
    struct timer taken;
    list_init(&taken);
    list_move(&wheel->buckets[bucket], &taken);
    wheel->filled[bucket / WORD_BITS] &= ~(1ull << bucket % WORD_BITS);
    while (!list_is_empty(&taken)) {
        struct timer *timer = taken.next;
        taken.next = timer->next;
        timer->next->prev = &taken;
        if (deadline_tick(timer) <= wheel->tick)
            list_append(&wheel->due, timer);
        else
            file(wheel, timer);
    }
}

size_t timer_expire(struct timer_wheel *wheel, uint64_t now_ns)
{
    CHECK(list_is_empty(&wheel->due)); // not to be called from on_time
    uint64_t now_tick = now_ns / TIMER_TICK_NS;
    if (now_tick <= wheel->tick)
        return 0;
    uint64_t passed = now_tick - wheel->tick;
    uint64_t tick = passed < BUCKETS ? wheel->tick + 1 : now_tick - BUCKETS + 1;
    wheel->tick = now_tick; // what is filed from here on lies in the future, so no callback can keep this loop going
    for (; tick <= now_tick; tick++) {
        size_t bucket = tick % BUCKETS;
        if (wheel->filled[bucket / WORD_BITS] >> bucket % WORD_BITS & 1)
            empty_bucket(wheel, bucket);
    }

    size_t called = 0;
    while (!list_is_empty(&wheel->due)) {
        struct timer *timer = wheel->due.next;
        timer_unset(wheel, timer);
        timer->on_time(timer, now_ns);
        called++;
    }
    return called;
}

int64_t timer_wait_ns(const struct timer_wheel *wheel, uint64_t now_ns)
{
    if (wheel->set_count == 0)
        return -1;
    uint64_t distance = 1; // ticks from wheel->tick to the first filled bucket; whole words are skipped at once
    while (distance < BUCKETS) {
        size_t bucket = (wheel->tick + distance) % BUCKETS;
        uint64_t word = wheel->filled[bucket / WORD_BITS] >> bucket % WORD_BITS;
        if (word != 0) {
            distance += (uint64_t)__builtin_ctzll(word);
            break;
        }
        distance += WORD_BITS - bucket % WORD_BITS;
    }
    uint64_t due_ns = (wheel->tick + distance) * TIMER_TICK_NS;
    return due_ns > now_ns ? (int64_t)(due_ns - now_ns) : 0;
}
