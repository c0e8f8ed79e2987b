// The runtime of one thread: epoll, ready sources, timers, post. A shard is a node with listeners; a service is a node without.
// node_turn is the duty cycle: drain some mail, some ready sources, timers, then the owner's flush, then the post; then a bounded piece of
// what may wait (enum node_rank), flushed likewise. The thread around it (node_run) only sleeps in epoll. Tests step node_turn themselves.
#pragma once
#include "shards/post.h"
#include "shards/timer.h"

struct node;
struct source;

// How soon a ready source is called. Within a rank it is first come, first served.
enum node_rank {
    NODE_FIRST, // every turn
    NODE_NEXT,  // those who come and go: after all of FIRST is flushed, for a bounded time each turn
    NODE_LAST,  // what nobody waits for: a few each turn, so while there is other work it gathers
    NODE_RANKS,
};

// Something with a file descriptor, embedded in its owner. Registered edge-triggered for reading and writing once; the node keeps the
// readiness that epoll reported, and calls on_ready until it says that nothing is left to do.
struct source {
    int fd;
    uint32_t ready; // EPOLL* bits reported and not yet used up; the owner clears EPOLLIN / EPOLLOUT on EAGAIN or a short transfer
    bool queued;    // on one of the node's ready lists
    uint8_t list;   // which: enum node_rank
    uint8_t rank;   // enum node_rank: the owner's choice, taken when it is queued next
    struct source *next, *prev;                               // the ready list
    bool (*on_ready)(struct source *source, uint64_t now_ns); // a bounded piece of work; true: call me again next turn
};

struct node_owner {
    void *owner;
    void (*on_record)(void *owner, const struct post_record *record);
    void (*on_turn)(void *owner, uint64_t now_ns); // after mail, sources and timers, before the post is flushed; may be NULL
};

struct node *node_create(struct post *post, uint16_t index, const struct node_owner *owner, uint64_t now_ns); // NULL: memory or descriptors
void node_destroy(struct node *node); // takes NULL; no source may be queued and no timer set any more (CHECK)

uint16_t node_index(const struct node *node);
struct post *node_post(struct node *node);
struct timer_wheel *node_timers(struct node *node);
uint64_t node_now_ns(const struct node *node); // the time of the current turn

int node_add(struct node *node, struct source *source); // 0 or -errno. Readiness starts empty
// From the ready list; then close the fd before the turn ends, which takes it out of epoll. Allowed in any callback, for any source; an
// on_ready that removed its own source returns false.
void node_remove(struct node *node, struct source *source);
// Queues it by its rank (e.g. resumed); one whose peer has hung up is NODE_NEXT at best. Queued further behind it moves, else harmless.
void node_ready(struct node *node, struct source *source);
void node_ready_last(struct node *node, struct source *source); // queues it as NODE_LAST; harmless if queued

// One turn at `now_ns`; waits for events at most wait_ns (0: not at all, < 0: until woken) with the node declared asleep to the post; does
// not wait when sources or mail are left. After waiting the time is taken anew (os_now_ns). Returns the work done, 0 = idle.
size_t node_turn(struct node *node, uint64_t now_ns, int64_t wait_ns);
// How long the node may sleep after an idle turn: 0 when something is ready.
int64_t node_wait_ns(const struct node *node);

void node_run(struct node *node); // turns until node_stop was called by this node's own thread
void node_stop(struct node *node);
