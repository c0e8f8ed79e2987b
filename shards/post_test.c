// The post stepped by hand on one thread (order, overflow, large records, resuming, sleeping), then by two threads that sleep and wake.
#include "shards/post.h"

#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>

#include "shards/base/check.h"
#include "shards/os.h"

#define MINE 0
#define THEIRS 1

static const struct post_limits usual = {.ring_parcels = 64, .parcel_bytes = 16384, .overflow_parcels = 4};
static const struct post_limits small = {.ring_parcels = 4, .parcel_bytes = 256, .overflow_parcels = 2};

// What a receiver saw: records are numbered by their sender in the first 4 bytes.
struct seen {
    uint32_t next[8]; // by sender
    size_t count;
    size_t bytes;
    uint16_t senders[64]; // of the first records
};

static void on_numbered(void *owner, const struct post_record *record)
{
    struct seen *seen = owner;
    uint32_t number;
    CHECK((uintptr_t)record->body.ptr % 8 == 0);
    CHECK(record->body.len >= sizeof(number));
    memcpy(&number, record->body.ptr, sizeof(number));
    CHECK(number == seen->next[record->from]);
    CHECK(record->kind == number % 1000);
    for (size_t i = sizeof(number); i < record->body.len; i++)
        CHECK(record->body.ptr[i] == (uint8_t)(number + i));
    seen->next[record->from]++;
    if (seen->count < 64)
        seen->senders[seen->count] = record->from;
    seen->count++;
    seen->bytes += record->body.len;
}

static void write_numbered(struct post *post, uint16_t from, uint16_t to, uint32_t number, size_t len)
{
    uint8_t *text = malloc(len);
    CHECK(text != NULL && len >= sizeof(number));
    memcpy(text, &number, sizeof(number));
    for (size_t i = sizeof(number); i < len; i++)
        text[i] = (uint8_t)(number + i);
    size_t split = number % (len + 1); // head and body in any proportion, also empty
    post_write(post, from, to, (uint16_t)(number % 1000), bytes_of(text, split), bytes_of(text + split, len - split));
    free(text);
}

static size_t drain_all(struct post *post, uint16_t self, struct seen *seen)
{
    return post_drain(post, self, SIZE_MAX, on_numbered, seen);
}

static bool is_signalled(struct post *post, uint16_t self)
{
    uint64_t value;
    struct iovec iov = {&value, sizeof(value)};
    return os_readv(post_wake_fd(post, self), &iov, 1) == sizeof(value);
}

static void on_empty(void *owner, const struct post_record *record)
{
    CHECK(record->kind == 9 && record->from == MINE && record->body.len == 0);
    ++*(int *)owner;
}

static void test_one_record(void)
{
    struct post *post = post_create(2, &post_limits_default);
    struct seen seen = {0};
    CHECK(post_node_count(post) == 2);
    write_numbered(post, MINE, THEIRS, 0, 100);
    CHECK(!post_is_idle(post, MINE));
    CHECK(drain_all(post, THEIRS, &seen) == 0); // not before the flush
    CHECK(post_flush(post, MINE) == 1);
    CHECK(post_flush(post, MINE) == 0);
    CHECK(post_is_idle(post, MINE) && !post_is_idle(post, THEIRS));
    CHECK(drain_all(post, THEIRS, &seen) == 1);
    CHECK(seen.bytes == 100);
    CHECK(post_is_idle(post, THEIRS));

    int empty = 0;
    post_write(post, MINE, THEIRS, 9, bytes_of(NULL, 0), bytes_of(NULL, 0));
    CHECK(post_flush(post, MINE) == 1);
    CHECK(post_drain(post, THEIRS, 10, on_empty, &empty) == 1 && empty == 1);

    struct post_counts counts;
    post_counts(post, MINE, &counts);
    CHECK(counts.records_sent == 2 && counts.parcels_sent == 2);
    CHECK(counts.parcels_allocated == 1); // the second parcel is the first one, come home
    CHECK(counts.wakes_sent == 0 && counts.overflows == 0);
    post_destroy(post);
    post_destroy(NULL);
}

static void test_overflow_keeps_order(void)
{
    struct post *post = post_create(2, &small);
    struct seen seen = {0};
    uint32_t written = 0;
    while (!post_is_full(post, MINE, THEIRS)) {
        write_numbered(post, MINE, THEIRS, written++, 50);
        post_flush(post, MINE);
        CHECK(written < 100);
    }
    // Three parcels of one record in the ring and one behind them; then turns share parcels of three until one more waits than may.
    CHECK(written == 3 + 1 + 2 * 3 + 1);
    for (; written < 500; written++)
        write_numbered(post, MINE, THEIRS, written, 4 + written % 300);
    CHECK(!post_is_idle(post, MINE));
    int rounds = 0;
    while (seen.count < written) {
        post_flush(post, MINE);
        CHECK(drain_all(post, THEIRS, &seen) > 0);
        CHECK(++rounds < 1000);
    }
    CHECK(!post_is_full(post, MINE, THEIRS));
    CHECK(post_is_idle(post, MINE) && post_is_idle(post, THEIRS));
    struct post_counts sent, received;
    post_counts(post, MINE, &sent);
    post_counts(post, THEIRS, &received);
    CHECK(sent.records_sent == written);
    CHECK(sent.overflows > 0);
    CHECK(sent.parcels_allocated - received.parcels_freed <= 3); // spares at home
    post_destroy(post);
}

static void test_large_records(void)
{
    struct post *post = post_create(2, &usual);
    struct seen seen = {0};
    static const size_t lens[] = {100, 16376, 16336, 16337, 1 << 20, 10, 16352, 16353, 70000, 8};
    size_t bytes = 0;
    for (uint32_t i = 0; i < sizeof(lens) / sizeof(lens[0]); i++) {
        write_numbered(post, MINE, THEIRS, i, lens[i]);
        bytes += lens[i];
    }
    CHECK(post_flush(post, MINE) == sizeof(lens) / sizeof(lens[0]));
    CHECK(drain_all(post, THEIRS, &seen) == sizeof(lens) / sizeof(lens[0]));
    CHECK(seen.bytes == bytes);
    struct post_counts counts;
    post_counts(post, THEIRS, &counts);
    CHECK(counts.parcels_freed == 4); // each of the oversized, and no other
    post_destroy(post);
}

static void test_drain_resumes(void)
{
    struct post *post = post_create(3, &post_limits_default);
    struct seen seen = {0};
    for (uint32_t i = 0; i < 10; i++) {
        write_numbered(post, 0, 2, i, 20);
        write_numbered(post, 1, 2, i, 20);
    }
    post_flush(post, 0);
    post_flush(post, 1);
    size_t count = 0;
    while (count < 20) {
        size_t got = post_drain(post, 2, 3, on_numbered, &seen);
        CHECK(got == 3 || count + got == 20);
        count += got;
        CHECK(post_is_idle(post, 2) == (count == 20));
        CHECK(post_sleep(post, 2) == (count == 20));
    }
    post_awake(post, 2);
    CHECK(seen.next[0] == 10 && seen.next[1] == 10);
    CHECK(drain_all(post, 2, &seen) == 0);
    CHECK(post_drain(post, 2, 0, on_numbered, &seen) == 0);
    post_destroy(post);
}

// A sender with many parcels does not hold up one with few.
static void test_drain_is_fair(void)
{
    struct post *post = post_create(3, &small);
    struct seen seen = {0};
    for (uint32_t i = 0; i < 3; i++)
        write_numbered(post, 0, 2, i, 200); // a parcel each
    write_numbered(post, 1, 2, 0, 200);
    post_flush(post, 0);
    post_flush(post, 1);
    CHECK(post_drain(post, 2, 2, on_numbered, &seen) == 2);
    CHECK(seen.senders[0] != seen.senders[1]);
    CHECK(drain_all(post, 2, &seen) == 2);
    post_destroy(post);
}

struct echo {
    struct post *post;
    uint16_t self;
    uint32_t budget; // records it may still answer with
    size_t count;
};

static void on_echo(void *owner, const struct post_record *record)
{
    struct echo *echo = owner;
    echo->count++;
    for (int i = 0; i < 2 && echo->budget > 0; i++, echo->budget--) {
        post_write(echo->post, echo->self, record->from, record->kind, record->body, bytes_of(NULL, 0));
        post_flush(echo->post, echo->self);
    }
}

// on_record writes and flushes, to others and to itself: nothing of it comes within the same drain.
#define MANY 130 // three words of the bell

static void on_many(void *owner, const struct post_record *record)
{
    uint16_t **next = owner;
    CHECK(record->from == **next);
    ++*next;
}

// Whoever writes is found, in turn from where the last drain ended, whichever word its bit is in; others cost nothing.
static void test_many_nodes(void)
{
    static const uint16_t writers[] = {0, 1, 63, 64, 127, 128, MANY - 1};
    static uint16_t first_round[] = {0, 1, 63, 64, 127, 128, MANY - 1}, second_round[] = {64, 127, 128, MANY - 1, 0, 1, 63};
    struct post *post = post_create(MANY, &small);
    for (uint16_t self = 0; self < MANY; self += 64) { // also nodes that write to themselves: 0, 64, 128
        for (unsigned round = 0; round < 2; round++) {
            for (size_t i = 0; i < 7; i++) {
                post_write(post, writers[i], self, 9, bytes_of(NULL, 0), bytes_of(NULL, 0));
                CHECK(post_flush(post, writers[i]) == 1);
            }
            CHECK(!post_is_idle(post, self));
            uint16_t *next = round == 0 ? first_round : second_round;
            CHECK(post_drain(post, self, 3, on_many, &next) == 3);
            CHECK(post_drain(post, self, 4, on_many, &next) == 4);
            CHECK(post_drain(post, self, 4, on_many, &next) == 0 && post_is_idle(post, self));
            if (round > 0)
                continue;
            // The next drain begins behind 63.
            post_write(post, 63, self, 9, bytes_of(NULL, 0), bytes_of(NULL, 0));
            post_flush(post, 63);
            next = &first_round[2];
            CHECK(post_drain(post, self, 1, on_many, &next) == 1);
        }
    }
    post_destroy(post);
}

static void test_writing_while_draining(void)
{
    struct post *post = post_create(2, &small);
    struct echo echo = {.post = post, .self = MINE, .budget = 100};
    uint8_t text[200] = {0};
    post_write(post, MINE, MINE, 1, bytes_of(text, sizeof(text)), bytes_of(NULL, 0));
    post_write(post, THEIRS, MINE, 1, bytes_of(text, 10), bytes_of(NULL, 0));
    CHECK(post_drain(post, MINE, SIZE_MAX, on_echo, &echo) == 0);
    post_flush(post, MINE);
    post_flush(post, THEIRS);
    CHECK(!post_sleep(post, MINE)); // its own mail waits
    CHECK(post_drain(post, MINE, SIZE_MAX, on_echo, &echo) == 2);
    CHECK(echo.budget == 96);
    size_t expected = 2; // 2 records to itself, doubled by each drain
    for (int round = 0; round < 100 && !post_is_idle(post, MINE); round++) {
        post_flush(post, MINE);
        size_t got = post_drain(post, MINE, SIZE_MAX, on_echo, &echo);
        CHECK(got <= expected);
        expected = got * 2;
        post_flush(post, MINE);
    }
    CHECK(echo.budget == 0);
    CHECK(echo.count == 100 - 2 + 2);
    CHECK(post_is_idle(post, MINE));
    CHECK(!post_sleep(post, MINE)); // what had waited went into the ring: the owner looks first whether a target is full no more
    CHECK(post_sleep(post, MINE));
    post_destroy(post);
}

static void test_sleep_and_wake(void)
{
    struct post *post = post_create(2, &small);
    struct seen seen = {0};
    uint32_t number = 0;
    write_numbered(post, MINE, THEIRS, number++, 8);
    post_flush(post, MINE);
    CHECK(!is_signalled(post, THEIRS)); // it was awake
    CHECK(!post_sleep(post, THEIRS));   // mail has come
    CHECK(drain_all(post, THEIRS, &seen) == 1);

    CHECK(post_sleep(post, THEIRS));
    for (int i = 0; i < 3; i++) {
        write_numbered(post, MINE, THEIRS, number++, 8);
        post_flush(post, MINE);
    }
    CHECK(is_signalled(post, THEIRS));
    post_awake(post, THEIRS);
    CHECK(drain_all(post, THEIRS, &seen) == 3);
    struct post_counts counts;
    post_counts(post, MINE, &counts);
    CHECK(counts.wakes_sent == 1); // once for all three

    // A sender that sleeps with parcels in the overflow is woken when the receiver makes room.
    for (int i = 0; i < 5; i++) {
        write_numbered(post, MINE, THEIRS, number++, 200);
        post_flush(post, MINE);
    }
    CHECK(post_sleep(post, MINE));
    CHECK(!is_signalled(post, MINE));
    CHECK(post_drain(post, THEIRS, 1, on_numbered, &seen) == 1);
    CHECK(is_signalled(post, MINE));
    post_awake(post, MINE);
    CHECK(post_flush(post, MINE) == 1);

    // Room that was made just before it slept keeps it awake.
    CHECK(post_drain(post, THEIRS, 1, on_numbered, &seen) == 1);
    CHECK(!post_sleep(post, MINE));
    CHECK(post_flush(post, MINE) == 1);
    CHECK(drain_all(post, THEIRS, &seen) == 3);
    CHECK(post_is_idle(post, MINE));
    post_destroy(post);
}

// Destroyed with mail in every place where it can be; ASan tells what is left.
static void test_destroy_with_mail(void)
{
    struct post *post = post_create(3, &small);
    struct seen seen = {0};
    for (uint32_t i = 0; i < 40; i++)
        write_numbered(post, 0, 1, i, 60 + i * 20);
    post_flush(post, 0);
    CHECK(post_drain(post, 1, 1, on_numbered, &seen) == 1);
    write_numbered(post, 1, 1, 0, 10);
    write_numbered(post, 2, 0, 0, 5000);
    post_destroy(post);
}

#define STRESS_RECORDS 60000

struct side {
    struct post *post;
    uint16_t self, other;
    uint64_t seed;
    uint32_t written;
    struct seen seen;
    uint64_t sleeps;
};

static uint64_t side_random(struct side *side, uint64_t limit)
{
    side->seed ^= side->seed << 13;
    side->seed ^= side->seed >> 7;
    side->seed ^= side->seed << 17;
    return side->seed % limit;
}

static void side_wait(struct side *side)
{
    if (!post_sleep(side->post, side->self))
        return;
    struct pollfd wake = {.fd = post_wake_fd(side->post, side->self), .events = POLLIN};
    CHECK(poll(&wake, 1, /* timeout= */ 20000) == 1); // a lost wake-up ends here
    post_awake(side->post, side->self);
    is_signalled(side->post, side->self);
    side->sleeps++;
}

// Writes bursts of records, drains, and sleeps whenever it has nothing to do; the bursts are short when it is ahead of what it has
// received, so that both sides keep falling asleep.
static void *side_run(void *owner)
{
    struct side *side = owner;
    while (side->written < STRESS_RECORDS || side->seen.count < STRESS_RECORDS || !post_is_idle(side->post, side->self)) {
        size_t work = post_drain(side->post, side->self, 1 + side_random(side, 200), on_numbered, &side->seen);
        uint64_t burst = side_random(side, 16) == 0 ? 200 : side_random(side, 4);
        bool is_ahead = side->written > side->seen.count + 400;
        for (; burst > 0 && !is_ahead && side->written < STRESS_RECORDS && !post_is_full(side->post, side->self, side->other); burst--) {
            size_t len = 4 + (side_random(side, 50) == 0 ? side_random(side, 2000) : side_random(side, 60));
            write_numbered(side->post, side->self, side->other, side->written++, len);
            work++;
        }
        work += post_flush(side->post, side->self);
        bool is_full = post_is_full(side->post, side->self, side->other);
        if (work == 0 && (is_ahead || is_full || side->written == STRESS_RECORDS))
            side_wait(side);
    }
    return NULL;
}

static void test_two_threads(void)
{
    struct post *post = post_create(2, &small);
    struct side sides[2] = {{.post = post, .self = 0, .other = 1, .seed = 11}, {.post = post, .self = 1, .other = 0, .seed = 12}};
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, side_run, &sides[1]) == 0);
    side_run(&sides[0]);
    CHECK(pthread_join(thread, NULL) == 0);
    for (int i = 0; i < 2; i++) {
        struct post_counts counts;
        post_counts(post, (uint16_t)i, &counts);
        printf("side %d: %llu parcels, %llu overflows, %llu wakes sent, %llu sleeps, %llu parcels allocated\n", i,
               (unsigned long long)counts.parcels_sent, (unsigned long long)counts.overflows, (unsigned long long)counts.wakes_sent,
               (unsigned long long)sides[i].sleeps, (unsigned long long)counts.parcels_allocated);
        CHECK(counts.records_sent == STRESS_RECORDS);
        CHECK(sides[i].seen.next[sides[i].other] == STRESS_RECORDS);
        CHECK(sides[i].sleeps > 0 && counts.wakes_sent > 0);
        CHECK(counts.overflows > 0);
    }
    post_destroy(post);
}

int main(void)
{
    test_one_record();
    test_overflow_keeps_order();
    test_large_records();
    test_drain_resumes();
    test_drain_is_fair();
    test_many_nodes();
    test_writing_while_draining();
    test_sleep_and_wake();
    test_destroy_with_mail();
    test_two_threads();
    return 0;
}
