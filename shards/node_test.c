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
    test_removed_while_queued();
    test_many_sources();
    test_timers_and_mail();
    test_two_threads();
    return 0;
}
