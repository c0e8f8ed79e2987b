// The duty cycle of one thread. Its rule: readiness is collected first and acted on later, and sources wait in one list, so a callback may
// remove any source. Thread: the node's, all of it.
#include "shards/node.h"

#include <errno.h>
#include <stdlib.h>

#include "shards/base/bug.h"
#include "shards/base/check.h"
#include "shards/os.h"

#define EVENTS_MAX 256       // for each turn; the kernel keeps the rest in turn
#define SOURCES_TURN_MAX 256 // on_ready calls for each turn
#define RECORDS_TURN_MAX 4096
#define NEXT_NS_MIN 50000u // of each turn for NODE_NEXT; or half of what the turn has taken so far
#define NEXT_NS_MAX 1000000u
#define LAST_NS_EACH 32000u // NODE_LAST: a call for so much of the turn; with its flush it takes some 4 us, so a tenth of the time

struct node {
    struct post *post;
    uint16_t index;
    bool is_stopping;
    struct node_owner owner;
    int epoll_fd;
    uint64_t now_ns;
    struct timer_wheel *timers;
    struct ready {
        struct source *first, *last;
    } ready[NODE_RANKS];
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
    for (int rank = NODE_FIRST; rank < NODE_RANKS; rank++)
        CHECK(node->ready[rank].first == NULL);
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
    struct ready *list = &node->ready[source->list];
    CHECK(list->first != NULL);
    if (source->prev != NULL)
        source->prev->next = source->next;
    else
        list->first = source->next;
    if (source->next != NULL)
        source->next->prev = source->prev;
    else
        list->last = source->prev;
    source->next = source->prev = NULL;
    source->queued = false;
}

static void append(struct node *node, struct source *source, enum node_rank rank)
{
    CHECK(!source->queued && rank < NODE_RANKS);
    struct ready *list = &node->ready[rank];
    source->queued = true;
    source->list = (uint8_t)rank;
    source->next = NULL;
    source->prev = list->last;
    if (list->last != NULL)
        list->last->next = source;
    else
        list->first = source;
    list->last = source;
}

void node_ready(struct node *node, struct source *source)
{
    uint8_t rank = source->rank;
    if (rank == NODE_FIRST && (source->ready & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0)
        rank = NODE_NEXT;
    if (source->queued && source->list <= rank)
        return;
    node_remove(node, source);
    append(node, source, rank);
}

void node_ready_last(struct node *node, struct source *source)
{
    if (!source->queued)
        append(node, source, NODE_LAST);
}

static bool has_ready(const struct node *node)
{
    bool has_last = node->ready[NODE_LAST].first != NULL && !BUG(26);
    return node->ready[NODE_FIRST].first != NULL || node->ready[NODE_NEXT].first != NULL || has_last;
}

// Takes what epoll has into the sources' readiness. No callback runs here, so every event's source is alive.
static size_t collect(struct node *node, int64_t wait_ns)
{
    bool may_sleep = wait_ns != 0 && !has_ready(node) && post_sleep(node->post, node->index);
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

// Calls the sources of that rank that are queued now, at most calls_max, until budget_ns have passed since start_ns (0: no matter how
// long); those that want more go behind all others.
static size_t run_sources(struct node *node, enum node_rank rank, size_t calls_max, uint64_t start_ns, uint64_t budget_ns)
{
    struct ready *list = &node->ready[rank];
    const struct source *last = list->last;
    size_t called = 0;
    bool is_last = false;
    while (list->first != NULL && called < calls_max && !is_last) {
        struct source *source = list->first;
        is_last = source == last; // when `last` is removed meanwhile, the limits alone end this turn
        node_remove(node, source);
        called++;
        if (source->on_ready(source, node->now_ns))
            node_ready(node, source);
        if (budget_ns > 0 && os_now_ns() - start_ns >= budget_ns)
            break;
    }
    return called;
}

static size_t flush(struct node *node)
{
    if (node->owner.on_turn != NULL)
        node->owner.on_turn(node->owner.owner, node->now_ns);
    return post_flush(node->post, node->index);
}

static uint64_t turn_took_ns(const struct node *node, uint64_t now_ns)
{
    return now_ns > node->now_ns ? now_ns - node->now_ns : 0;
}

// A piece of what may wait. A busy turn makes it larger, so that those who come are let in even then.
static size_t run_patient(struct node *node)
{
    uint64_t start_ns = os_now_ns();
    uint64_t budget_ns = turn_took_ns(node, start_ns) / 2;
    if (budget_ns < NEXT_NS_MIN)
        budget_ns = NEXT_NS_MIN;
    else if (budget_ns > NEXT_NS_MAX)
        budget_ns = NEXT_NS_MAX;
    size_t work = run_sources(node, NODE_NEXT, SOURCES_TURN_MAX, start_ns, budget_ns);
    uint64_t last_calls = 1 + turn_took_ns(node, os_now_ns()) / LAST_NS_EACH;
    work += run_sources(node, NODE_LAST, last_calls < SOURCES_TURN_MAX ? last_calls : SOURCES_TURN_MAX, 0, 0);
    return work + flush(node);
}

size_t node_turn(struct node *node, uint64_t now_ns, int64_t wait_ns)
{
    CHECK(now_ns >= node->now_ns);
    node->now_ns = now_ns;
    size_t work = collect(node, wait_ns);
    work += post_drain(node->post, node->index, RECORDS_TURN_MAX, node->owner.on_record, node->owner.owner);
    work += run_sources(node, NODE_FIRST, SOURCES_TURN_MAX, 0, 0);
    work += timer_expire(node->timers, node->now_ns);
    work += flush(node);
    if (node->ready[NODE_NEXT].first != NULL || node->ready[NODE_LAST].first != NULL)
        work += run_patient(node);
    return work;
}

int64_t node_wait_ns(const struct node *node)
{
    return has_ready(node) ? 0 : timer_wait_ns(node->timers, node->now_ns);
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
