// The duty cycle of one thread. Its rule: readiness is collected first and acted on later, and sources wait in one list, so a callback may
// remove any source. Thread: the node's, all of it.
#include "shards/node.h"

#include <errno.h>
#include <stdlib.h>

#include "shards/base/check.h"
#include "shards/os.h"

#define EVENTS_MAX 256       // for each turn; the kernel keeps the rest in turn
#define SOURCES_TURN_MAX 256 // on_ready calls for each turn
#define RECORDS_TURN_MAX 4096

struct node {
    struct post *post;
    uint16_t index;
    bool is_stopping;
    struct node_owner owner;
    int epoll_fd;
    uint64_t now_ns;
    struct timer_wheel *timers;
    struct source *ready_first, *ready_last;
    struct epoll_event events[EVENTS_MAX];
};

struct node *node_create(struct post *post, uint16_t index, const struct node_owner *owner, uint64_t now_ns)
{
    CHECK(index < post_node_count(post));
    CHECK(owner->on_record != NULL);
    struct node *node = calloc(1, sizeof(*node));
    if (node == NULL)
        return NULL;
    node->post = post;
    node->index = index;
    node->owner = *owner;
    node->now_ns = now_ns;
    node->timers = timer_wheel_create(now_ns);
    node->epoll_fd = os_epoll_create();
    // The wake-up has no source: being awake is all that it says.
    if (node->timers != NULL && node->epoll_fd >= 0 &&
        os_epoll_add(node->epoll_fd, post_wake_fd(post, index), EPOLLIN | EPOLLET, /* data= */ NULL) == 0)
        return node;
    node_destroy(node);
    return NULL;
}

void node_destroy(struct node *node)
{
    if (node == NULL)
        return;
    CHECK(node->ready_first == NULL);
    timer_wheel_destroy(node->timers);
    if (node->epoll_fd >= 0)
        os_close(node->epoll_fd);
    free(node);
}

uint16_t node_index(const struct node *node)
{
    return node->index;
}

struct post *node_post(struct node *node)
{
    return node->post;
}

struct timer_wheel *node_timers(struct node *node)
{
    return node->timers;
}

uint64_t node_now_ns(const struct node *node)
{
    return node->now_ns;
}

int node_add(struct node *node, struct source *source)
{
    CHECK(source->fd >= 0);
    CHECK(source->on_ready != NULL);
    source->ready = 0;
    source->queued = false;
    source->next = source->prev = NULL;
    return os_epoll_add(node->epoll_fd, source->fd, EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, source);
}

void node_remove(struct node *node, struct source *source)
{
    if (!source->queued)
        return;
    CHECK(node->ready_first != NULL);
    if (source->prev != NULL)
        source->prev->next = source->next;
    else
        node->ready_first = source->next;
    if (source->next != NULL)
        source->next->prev = source->prev;
    else
        node->ready_last = source->prev;
    source->next = source->prev = NULL;
    source->queued = false;
}

void node_ready(struct node *node, struct source *source)
{
    if (source->queued)
        return;
    source->queued = true;
    source->next = NULL;
    source->prev = node->ready_last;
    if (node->ready_last != NULL)
        node->ready_last->next = source;
    else
        node->ready_first = source;
    node->ready_last = source;
}

// Takes what epoll has into the sources' readiness. No callback runs here, so every event's source is alive.
static size_t collect(struct node *node, int64_t wait_ns)
{
    bool may_sleep = wait_ns != 0 && node->ready_first == NULL && post_sleep(node->post, node->index);
    int count = os_epoll_wait(node->epoll_fd, node->events, EVENTS_MAX, may_sleep ? wait_ns : 0);
    CHECK(count >= 0);
    if (may_sleep) {
        post_awake(node->post, node->index);
        uint64_t now_ns = os_now_ns();
        node->now_ns = now_ns > node->now_ns ? now_ns : node->now_ns;
    }
    for (int i = 0; i < count; i++) {
        struct source *source = node->events[i].data.ptr;
        if (source == NULL)
            continue; // woken
        source->ready |= node->events[i].events;
        node_ready(node, source);
    }
    return (size_t)count;
}

// Calls the sources that are queued now, at most SOURCES_TURN_MAX; those that want more go behind all others.
static size_t run_sources(struct node *node)
{
    const struct source *last = node->ready_last;
    size_t called = 0;
    bool is_last = false;
    while (node->ready_first != NULL && called < SOURCES_TURN_MAX && !is_last) {
        struct source *source = node->ready_first;
        is_last = source == last; // when `last` is removed meanwhile, the limit alone ends this turn
        node_remove(node, source);
        called++;
        if (source->on_ready(source, node->now_ns))
            node_ready(node, source);
    }
    return called;
}

size_t node_turn(struct node *node, uint64_t now_ns, int64_t wait_ns)
{
    CHECK(now_ns >= node->now_ns);
    node->now_ns = now_ns;
    size_t work = collect(node, wait_ns);
    work += post_drain(node->post, node->index, RECORDS_TURN_MAX, node->owner.on_record, node->owner.owner);
    work += run_sources(node);
    work += timer_expire(node->timers, node->now_ns);
    if (node->owner.on_turn != NULL)
        node->owner.on_turn(node->owner.owner, node->now_ns);
    work += post_flush(node->post, node->index);
    return work;
}

int64_t node_wait_ns(const struct node *node)
{
    return node->ready_first != NULL ? 0 : timer_wait_ns(node->timers, node->now_ns);
}

void node_run(struct node *node)
{
    // Straight to sleep after work too: what came meanwhile makes epoll return at once, and a look without sleeping would cost each
    // lone message a second epoll_wait.
    while (!node->is_stopping)
        (void)node_turn(node, os_now_ns(), node_wait_ns(node));
}

void node_stop(struct node *node)
{
    node->is_stopping = true;
}
