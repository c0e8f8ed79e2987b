// What the queue node knows of each device: who holds its key, its room's memo, how much is kept for it and from it.
// One rule: a device is forgotten only when it is idle (nobody holds it, nothing is kept), the one that left longest ago first.
// Thread: the queue node's.
#pragma once
#include "net/queue/records.h"
#include "router/slab.h"
#include "router/table.h"
#include "shards/base/hash.h"

struct device {
    uint32_t next, prev; // the idle list; SLAB_NONE at its ends. The first four bytes are the slab's when free
    struct key key;
    struct handle holder; // none: nobody
    uint64_t since_ns;    // of the newest holder: struct queue_fetch
    struct queue_memo memo;
    uint32_t kept_count, sent_count; // messages for it, and of it
    uint64_t kept_bytes;
    bool is_idle;
    bool fetches; // on the fetch list: its holder, if it has not left, is to be answered
    uint32_t fetch_next;
    uint64_t fetch_after;
};

struct devices {
    struct slab slab;
    struct table table;
    struct hash_secret secret;
    uint32_t idle_first, idle_last; // oldest first
    uint32_t idle_count, idle_max;
    uint64_t forgotten; // for want of room
};

void devices_init(struct devices *devices, uint32_t idle_max);
void devices_fini(struct devices *devices);

uint32_t devices_find(const struct devices *devices, const struct key *key); // SLAB_NONE: unknown
uint32_t devices_get(struct devices *devices, const struct key *key);        // made if unknown; call devices_settle after changing it
struct device *devices_at(const struct devices *devices, uint32_t index);
void devices_settle(struct devices *devices, uint32_t index); // idle or not: moves it on or off the list; may forget the oldest
void devices_check(const struct devices *devices);            // invariants, slow
