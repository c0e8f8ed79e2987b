// The duty cycle stepped by hand, with pipes as sources; then two nodes on two threads that talk and stop.
#include "shards/node.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "shards/base/check.h"
#include "shards/os.h"

#define MS 1000000ull

struct pipe_end {
    struct source source; // first: on_ready casts back
    struct node *node;
    int write_fd;
    int calls, bytes;
    int again;               // so many calls ask for another
    struct pipe_end *victim; // removed, closed and freed by the call
    uint64_t busy_ns;        // a call takes at least so long
};

static int order[16];
static int order_count;

static bool pipe_on_ready(struct source *source, uint64_t now_ns)
{
    struct pipe_end *end = (struct pipe_end *)source;
    CHECK(now_ns == node_now_ns(end->node));
    CHECK(!source->queued);
    end->calls++;
    if (order_count < 16)
        order[order_count++] = end->write_fd;
    if (end->victim != NULL) {
        node_remove(end->node, &end->victim->source);
        os_close(end->victim->source.fd);
        os_close(end->victim->write_fd);
        free(end->victim);
        end->victim = NULL;
    }
    char text[64];
    struct iovec iov = {text, sizeof(text)};
    ssize_t got = (source->ready & EPOLLIN) != 0 ? os_readv(source->fd, &iov, 1) : 0;
    if (got > 0)
        end->bytes += (int)got;
    source->ready = 0;
    for (uint64_t until_ns = os_now_ns() + end->busy_ns; end->busy_ns > 0 && os_now_ns() < until_ns;)
        ;
    return end->again-- > 0;
}

static struct pipe_end *pipe_open(struct node *node)
{
    struct pipe_end *end = calloc(1, sizeof(*end));
    int fds[2];
    CHECK(end != NULL);
    CHECK(pipe2(fds, O_NONBLOCK | O_CLOEXEC) == 0);
    end->source = (struct source){.fd = fds[0], .on_ready = pipe_on_ready};
    end->write_fd = fds[1];
    end->node = node;
    CHECK(node_add(node, &end->source) == 0);
    return end;
}

static void pipe_write(struct pipe_end *end)
{
    CHECK(write(end->write_fd, "abc", 3) == 3);
}

static void pipe_close(struct pipe_end *end)
{
    node_remove(end->node, &end->source);
    os_close(end->source.fd);
    os_close(end->write_fd);
    free(end);
}

struct owner {
    int records, turns;
    uint64_t turn_ns;
};

static void owner_on_record(void *owner, const struct post_record *record)
{
    CHECK(record->kind == 5);
    ((struct owner *)owner)->records++;
}

static void owner_on_turn(void *owner, uint64_t now_ns)
{
    ((struct owner *)owner)->turns++;
    ((struct owner *)owner)->turn_ns = now_ns;
}

static struct node *node_open(struct post *post, uint16_t index, struct owner *owner)
{
    struct node_owner node_owner = {.owner = owner, .on_record = owner_on_record, .on_turn = owner_on_turn};
    struct node *node = node_create(post, index, &node_owner, /* now_ns= */ MS);
    CHECK(node != NULL);
    CHECK(node_index(node) == index && node_post(node) == post);
    return node;
}

static void test_sources(void)
{
    struct owner owner = {0};
    struct post *post = post_create(1, &post_limits_default);
    struct node *node = node_open(post, 0, &owner);
    struct pipe_end *a = pipe_open(node), *b = pipe_open(node);
    CHECK(node_turn(node, 1 * MS, 0) == 0); // nothing is ready
    CHECK(owner.turns == 1 && owner.turn_ns == 1 * MS);
    CHECK(node_wait_ns(node) == -1);

    pipe_write(a);
    pipe_write(b);
    a->again = 2; // two more turns, without a new event
    order_count = 0;
    for (int turn = 0; turn < 4; turn++) {
        CHECK((node_turn(node, 2 * MS, /* wait_ns= */ turn == 1 || turn == 2 ? -1 : 0) > 0) ==
              (turn < 3)); // does not sleep while one is queued
        CHECK(node_wait_ns(node) == (turn < 2 ? 0 : -1));
    }
    CHECK(a->calls == 3 && a->bytes == 3);
    CHECK(b->calls == 1 && b->bytes == 3);

    node_ready(node, &a->source); // queued by hand, twice: called once
    node_ready(node, &a->source);
    CHECK(node_turn(node, 3 * MS, 0) == 1);
    CHECK(a->calls == 4);

    order_count = 0; // first in, first out
    node_ready(node, &b->source);
    node_ready(node, &a->source);
    b->again = 1;
    a->again = 0;
    node_turn(node, 3 * MS, 0);
    node_turn(node, 3 * MS, 0);
    CHECK(order_count == 3);
    CHECK(order[0] == b->write_fd && order[1] == a->write_fd && order[2] == b->write_fd);

    close(a->write_fd); // hang-up is an event too
    CHECK(node_turn(node, 4 * MS, 0) > 0);
    a->write_fd = dup(b->write_fd);
    pipe_close(a);
    pipe_close(b);
    node_destroy(node);
    post_destroy(post);
}

static void expect_order(const struct pipe_end *const *ends, int count)
{
    CHECK(order_count == count);
    for (int i = 0; i < count; i++)
        CHECK(order[i] == ends[i]->write_fd);
}

static void test_ranks(void)
{
    struct owner owner = {0};
    struct post *post = post_create(1, &post_limits_default);
    struct node *node = node_open(post, 0, &owner);
    struct pipe_end *first = pipe_open(node), *next = pipe_open(node), *last = pipe_open(node), *gone = pipe_open(node);
    next->source.rank = NODE_NEXT;
    node_ready_last(node, &last->source);
    node_ready(node, &next->source);
    pipe_write(gone);
    close(gone->write_fd); // hung up: no longer NODE_FIRST
    gone->write_fd = -1;
    node_ready(node, &first->source);
    order_count = 0;
    node_turn(node, 2 * MS, 0);
    expect_order((const struct pipe_end *const[]){first, next, gone, last}, 4);
    CHECK(owner.turns == 2); // what NODE_FIRST wrote is flushed before the others are called
    CHECK(node_wait_ns(node) == -1);

    node_ready_last(node, &last->source); // an event calls it sooner, a second wish to be called last does not delay it
    node_ready(node, &next->source);
    node_ready_last(node, &next->source);
    node_ready(node, &last->source);
    order_count = 0;
    node_turn(node, 3 * MS, 0);
    expect_order((const struct pipe_end *const[]){last, next}, 2);
    CHECK(first->calls == 1 && next->calls == 2 && last->calls == 2 && gone->calls == 1);

    node_ready_last(node, &last->source); // removed from whichever list it is on
    node_ready(node, &next->source);
    gone->write_fd = dup(first->write_fd);
    pipe_close(last);
    pipe_close(next);
    pipe_close(gone);
    CHECK(node_wait_ns(node) == -1 && node_turn(node, 4 * MS, 0) == 0);
    pipe_close(first);
    node_destroy(node);
    post_destroy(post);
}

// While others have something to do, little of what may wait is called each turn; and there is no sleep until all of it has been.
static void test_patience(void)
{
    enum { NEXT = 10, LAST = 3000 };
    static struct pipe_end next[NEXT], last[LAST]; // never polled: queued by hand
    struct owner owner = {0};
    struct post *post = post_create(1, &post_limits_default);
    struct node *node = node_open(post, 0, &owner);
    for (int i = 0; i < NEXT; i++) {
        next[i] = (struct pipe_end){.source = {.on_ready = pipe_on_ready, .rank = NODE_NEXT}, .node = node, .busy_ns = 2 * MS};
        node_ready(node, &next[i].source);
    }
    for (int i = 0; i < LAST; i++) {
        last[i] = (struct pipe_end){.source.on_ready = pipe_on_ready, .node = node};
        node_ready_last(node, &last[i].source);
    }
    int turns = 0, next_calls = 0, last_calls = 0;
    for (; node_wait_ns(node) == 0; turns++) {
        int last_before = last_calls;
        node_turn(node, os_now_ns(), /* wait_ns= */ -1);
        next_calls = last_calls = 0;
        for (int i = 0; i < NEXT; i++)
            next_calls += next[i].calls;
        for (int i = 0; i < LAST; i++)
            last_calls += last[i].calls;
        CHECK(next_calls == (turns < NEXT ? turns + 1 : NEXT)); // each uses up the turn's time
        CHECK(last_calls > last_before && last_calls <= last_before + 256);
    }
    CHECK(turns > NEXT && last_calls == LAST);
    node_destroy(node);
    post_destroy(post);
}

// Both have events in the same epoll batch; whichever runs first frees the other. ASan tells if it is touched again.
static void test_removed_while_queued(void)
{
    for (int first = 0; first < 6; first++) {
        struct owner owner = {0};
        struct post *post = post_create(1, &post_limits_default);
        struct node *node = node_open(post, 0, &owner);
        struct pipe_end *ends[3] = {pipe_open(node), pipe_open(node), pipe_open(node)};
        static const int pairs[6][2] = {{0, 1}, {0, 2}, {1, 0}, {1, 2}, {2, 0}, {2, 1}};
        int killer = pairs[first][0], victim = pairs[first][1], other = 3 - killer - victim;
        ends[killer]->victim = ends[victim];
        for (int i = 0; i < 3; i++) {
            ends[i]->again = 1;
            pipe_write(ends[i]);
        }
        for (int turn = 0; turn < 4; turn++)
            node_turn(node, 2 * MS, 0);
        CHECK(ends[killer]->calls == 2);
        CHECK(ends[other]->calls == 2);
        CHECK(node_wait_ns(node) == -1);
        pipe_close(ends[killer]);
        pipe_close(ends[other]);
        node_destroy(node);
        post_destroy(post);
    }
}

// More sources than a turn serves: all get their call before any gets its second.
static void test_many_sources(void)
{
    enum { COUNT = 400 };
    static struct pipe_end ends[COUNT]; // never polled: queued by hand
    struct owner owner = {0};
    struct post *post = post_create(1, &post_limits_default);
    struct node *node = node_open(post, 0, &owner);
    for (int i = 0; i < COUNT; i++) {
        ends[i] = (struct pipe_end){.source.on_ready = pipe_on_ready, .node = node, .again = 3};
        node_ready(node, &ends[i].source);
    }
    size_t turns = 0, calls = 0;
    while (calls < 4 * COUNT) {
        size_t called = node_turn(node, 2 * MS, 0);
        CHECK(called > 0 && called < COUNT); // bounded
        calls += called;
        int least = ends[0].calls, most = ends[0].calls;
        for (int i = 1; i < COUNT; i++) {
            least = ends[i].calls < least ? ends[i].calls : least;
            most = ends[i].calls > most ? ends[i].calls : most;
        }
        CHECK(most - least <= 1);
        CHECK(++turns < 100);
    }
    CHECK(node_wait_ns(node) == -1);
    node_destroy(node);
    post_destroy(post);
}

static int times;

static void count_time(struct timer *timer, uint64_t now_ns)
{
    CHECK(timer->deadline_ns <= now_ns);
    times++;
}

static void test_timers_and_mail(void)
{
    struct owner owners[2] = {{0}};
    struct post *post = post_create(2, &post_limits_default);
    struct node *a = node_open(post, 0, &owners[0]), *b = node_open(post, 1, &owners[1]);
    struct timer timer = {.on_time = count_time};
    timer_set(node_timers(a), &timer, 500 * MS);
    node_turn(a, 2 * MS, 0);
    CHECK(node_wait_ns(a) == 498 * MS);
    CHECK(node_turn(a, 500 * MS, 0) == 1);
    CHECK(times == 1);
    CHECK(node_wait_ns(a) == -1);

    post_write(post, 0, 1, 5, bytes_text("mail"), bytes_text(""));
    CHECK(node_turn(b, 2 * MS, 0) == 0);
    CHECK(node_turn(a, 500 * MS, 0) == 1); // published
    CHECK(node_turn(b, 2 * MS, -1) == 1);  // must not sleep: it has mail
    CHECK(owners[1].records == 1);

    for (int i = 0; i < 5000; i++) // a turn takes a bounded number of records, and the next goes on
        post_write(post, 0, 1, 5, bytes_text("mail"), bytes_text(""));
    node_turn(a, 500 * MS, 0);
    CHECK(node_turn(b, 3 * MS, -1) < 5000);
    CHECK(node_turn(b, 3 * MS, -1) > 0);
    CHECK(owners[1].records == 5001);

    timer_set(node_timers(b), &timer, 0); // slept through in real time: the turn sees the time after the wait
    node_turn(b, 3 * MS, MS);
    CHECK(node_now_ns(b) > 3 * MS);
    CHECK(times == 2);
    node_destroy(a);
    node_destroy(b);
    post_destroy(post);
    node_destroy(NULL);
}

#define EXCHANGES 2000

struct talker {
    struct node *node;
    uint16_t other;
    uint32_t received;
};

static void talker_on_record(void *owner, const struct post_record *record)
{
    struct talker *talker = owner;
    CHECK(record->from == talker->other);
    talker->received++;
    post_write(node_post(talker->node), node_index(talker->node), talker->other, 0, bytes_text("x"), bytes_text(""));
    if (talker->received == EXCHANGES)
        node_stop(talker->node);
}

static void *talker_run(void *talker)
{
    node_run(((struct talker *)talker)->node);
    return NULL;
}

// One record goes to and fro, so each node sleeps again and again until the other wakes it.
static void test_two_threads(void)
{
    struct post *post = post_create(2, &post_limits_default);
    struct talker talkers[2] = {{.other = 1}, {.other = 0}};
    for (uint16_t i = 0; i < 2; i++) {
        struct node_owner owner = {.owner = &talkers[i], .on_record = talker_on_record};
        talkers[i].node = node_create(post, i, &owner, os_now_ns());
        CHECK(talkers[i].node != NULL);
    }
    post_write(post, 0, 1, 0, bytes_text("first"), bytes_text(""));
    post_flush(post, 0);
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, talker_run, &talkers[1]) == 0);
    node_run(talkers[0].node);
    CHECK(pthread_join(thread, NULL) == 0);
    CHECK(talkers[0].received == EXCHANGES && talkers[1].received == EXCHANGES);
    struct post_counts counts;
    post_counts(post, 0, &counts);
    printf("%llu wakes for %d exchanges\n", (unsigned long long)counts.wakes_sent, EXCHANGES);
    for (int i = 0; i < 2; i++)
        node_destroy(talkers[i].node);
    post_destroy(post);
}

int main(void)
{
    test_sources();
    test_ranks();
    test_patience();
    test_removed_while_queued();
    test_many_sources();
    test_timers_and_mail();
    test_two_threads();
    return 0;
}
