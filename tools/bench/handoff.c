// See handoff.h. Thread 0 is the producer; both threads end when the producer's time is over.
#include "tools/bench/handoff.h"

#include "shards/base/check.h"
#include "shards/post.h"
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <time.h>
#include <unistd.h>

#define BODY_BYTES 128
#define FLUSH_RECORDS 32
#define DRAIN_RECORDS 256

enum { KIND_RECORD, KIND_END };

struct side {
    struct handoff *handoff;
    uint16_t self, other;
    uint64_t received, cpu_ns;
    bool ended;
};

struct handoff {
    struct post *post;
    enum handoff_mode mode;
    const int *cpus;
    uint64_t end_ns;
    struct side sides[2];
};

static uint64_t clock_ns(clockid_t clock)
{
    struct timespec ts;
    clock_gettime(clock, &ts);
    return (uint64_t)ts.tv_sec * 1000000000ull + (uint64_t)ts.tv_nsec;
}

const char *handoff_mode_name(enum handoff_mode mode)
{
    static const char *const names[HANDOFF_MODES] = {"stream", "stream, sleeping", "turns", "turns, sleeping"};
    CHECK(mode < HANDOFF_MODES);
    return names[mode];
}

static void give(struct side *side, uint16_t kind)
{
    static const uint8_t body[BODY_BYTES];
    post_write(side->handoff->post, side->self, side->other, kind, bytes_of(NULL, 0), bytes_of(body, sizeof body));
}

static void on_record(void *owner, const struct post_record *record)
{
    struct side *side = owner;
    if (record->kind == KIND_END) {
        side->ended = true;
        return;
    }
    CHECK(record->body.len >= BODY_BYTES);
    side->received++;
    bool turns = side->handoff->mode >= HANDOFF_TURN;
    if (turns && side->self == 1)
        give(side, KIND_RECORD);
}

static bool sleeps(const struct handoff *handoff)
{
    return handoff->mode == HANDOFF_STREAM_SLEEP || handoff->mode == HANDOFF_TURN_SLEEP;
}

// Drains; when there was nothing, sleeps (at most 100 ms) if the mode says so.
static void drain(struct side *side)
{
    struct post *post = side->handoff->post;
    if (post_drain(post, side->self, DRAIN_RECORDS, on_record, side) > 0 || !sleeps(side->handoff))
        return;
    if (post_sleep(post, side->self)) {
        struct pollfd wake = {.fd = post_wake_fd(post, side->self), .events = POLLIN};
        uint64_t count;
        if (poll(&wake, 1, 100) > 0 && read(wake.fd, &count, sizeof count) < 0)
            CHECK(errno == EAGAIN);
    }
    post_awake(post, side->self);
}

static void produce_stream(struct side *side)
{
    struct post *post = side->handoff->post;
    while (clock_ns(CLOCK_MONOTONIC) < side->handoff->end_ns) {
        for (unsigned i = 0; i < FLUSH_RECORDS && !post_is_full(post, side->self, side->other); i++)
            give(side, KIND_RECORD);
        post_flush(post, side->self);
        post_drain(post, side->self, DRAIN_RECORDS, on_record, side); // empty parcels come home
    }
}

static void produce_turns(struct side *side)
{
    struct handoff *handoff = side->handoff;
    while (clock_ns(CLOCK_MONOTONIC) < handoff->end_ns) {
        uint64_t before = side->received;
        give(side, KIND_RECORD);
        post_flush(handoff->post, side->self);
        while (side->received == before)
            drain(side);
    }
}

static void *run(void *arg)
{
    struct side *side = arg;
    struct handoff *handoff = side->handoff;
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET((size_t)handoff->cpus[side->self], &set);
    if (sched_setaffinity(0, sizeof set, &set) != 0)
        CHECK(errno == EINVAL); // not our CPU: measured unpinned
    if (side->self == 1) {
        while (!side->ended) {
            drain(side);
            post_flush(handoff->post, side->self);
        }
    } else {
        if (handoff->mode < HANDOFF_TURN)
            produce_stream(side);
        else
            produce_turns(side);
        give(side, KIND_END);
        while (!post_is_idle(handoff->post, side->self)) {
            post_flush(handoff->post, side->self);
            post_drain(handoff->post, side->self, DRAIN_RECORDS, on_record, side);
        }
    }
    side->cpu_ns = clock_ns(CLOCK_THREAD_CPUTIME_ID);
    return NULL;
}

int handoff_measure(enum handoff_mode mode, const int cpus[2], uint32_t measure_ms, struct handoff_result *ret_result)
{
    struct handoff handoff = {.post = post_create(2, &post_limits_default), .mode = mode, .cpus = cpus};
    if (!handoff.post)
        return -ENOMEM;
    CHECK(mode < HANDOFF_MODES);
    uint64_t begin_ns = clock_ns(CLOCK_MONOTONIC);
    handoff.end_ns = begin_ns + measure_ms * 1000000ull;
    pthread_t threads[2];
    for (uint16_t i = 0; i < 2; i++) {
        handoff.sides[i] = (struct side){.handoff = &handoff, .self = i, .other = (uint16_t)(1 - i)};
        CHECK(pthread_create(&threads[i], NULL, run, &handoff.sides[i]) == 0);
    }
    for (unsigned i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
    struct post_counts counts[2];
    post_counts(handoff.post, 0, &counts[0]);
    post_counts(handoff.post, 1, &counts[1]);
    *ret_result = (struct handoff_result){
        .records = handoff.sides[0].received + handoff.sides[1].received,
        .wall_ns = clock_ns(CLOCK_MONOTONIC) - begin_ns,
        .producer_cpu_ns = handoff.sides[0].cpu_ns,
        .consumer_cpu_ns = handoff.sides[1].cpu_ns,
        .wakes = counts[0].wakes_sent + counts[1].wakes_sent,
    };
    post_destroy(handoff.post);
    return 0;
}
