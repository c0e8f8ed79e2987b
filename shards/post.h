// The post between nodes: records go into parcels, parcels through one SPSC ring for each ordered pair of nodes.
// One rule: after post_write the bytes are the post's; nothing is shared. Order per (sender, target) is kept, always.
// A full ring makes the sender keep parcels in an overflow list: nothing spins, blocks or drops; post_is_full says so.
// Threads: every function takes `self` and is called by that node's thread only; post_create and post_destroy before and after all threads.
#pragma once
#include "shards/base/bytes.h"

#define POST_NODES_MAX 448

struct post;

struct post_limits {
    uint32_t ring_parcels;     // slots of each ring, power of two
    uint32_t parcel_bytes;     // standard parcel; a larger record gets one of its own
    uint32_t overflow_parcels; // overflow beyond which post_is_full
};
extern const struct post_limits post_limits_default; // 64 slots, 17 KiB, 4

struct post *post_create(uint16_t node_count, const struct post_limits *limits); // 1 .. POST_NODES_MAX. NULL when memory is short
void post_destroy(struct post *post);                                            // takes NULL; frees what is under way
uint16_t post_node_count(const struct post *post);

// The eventfd (or the simulator's stand-in) that wakes the node; add it to its epoll edge-triggered. Owned by the post.
int post_wake_fd(struct post *post, uint16_t self);

// Appends a record {kind, head, body} for `target` (may be self: it arrives in the next drain). Lengths may be 0; sum <= 64 MiB.
void post_write(struct post *post, uint16_t self, uint16_t target, uint16_t kind, struct bytes head, struct bytes body);

// Publishes what was written (as far as rings have room) and wakes targets that sleep. Once per turn. Returns records published.
size_t post_flush(struct post *post, uint16_t self);

// Overflow towards target is above the limit: do not produce more for it than must be.
bool post_is_full(const struct post *post, uint16_t self, uint16_t target);
bool post_is_any_full(const struct post *post, uint16_t self); // towards whichever target

// Hands each record to `on_record` (bytes borrowed until it returns; 8-byte aligned), round robin over senders, until none is left or
// `records_max` were handed over. on_record may call post_write. Returns how many.
struct post_record {
    uint16_t from;
    uint16_t kind;
    struct bytes body; // head and body, joined
};
size_t post_drain(struct post *post, uint16_t self, size_t records_max, void (*on_record)(void *owner, const struct post_record *record),
                  void *owner);

// Before sleeping: declares the node asleep; false (then do not sleep) when mail has come meanwhile, or when waiting parcels found room
// since the last call, so that post_is_full may have changed. After waking: post_awake.
bool post_sleep(struct post *post, uint16_t self);
void post_awake(struct post *post, uint16_t self);

// All that this node has under way is published and it has nothing left to drain. For stopping and for tests.
bool post_is_idle(const struct post *post, uint16_t self);

struct post_counts {
    uint64_t records_sent, parcels_sent, wakes_sent, overflows;
    uint64_t parcels_allocated, parcels_freed;
};
void post_counts(const struct post *post, uint16_t self, struct post_counts *ret_counts);
