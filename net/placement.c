// Placement: see placement.h. Counters are relaxed: a stale count makes a choice less even, never wrong. Threads: any shard's.
#include "net/placement.h"

#include <stdalign.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "shards/base/check.h"

#define CACHE_LINE_BYTES 64
#define SLACK 16 // one part in so many above the mean is worth less than a hand-over

struct place {
    alignas(CACHE_LINE_BYTES) _Atomic uint32_t count; // connections
    uint16_t next;                                    // where its own thread looks first for another shard
};

struct placement {
    alignas(CACHE_LINE_BYTES) _Atomic uint32_t total;
    uint32_t conns_max;
    uint16_t shard_count;
    struct place places[];
};

struct placement *placement_create(uint16_t shard_count, uint32_t conns_max)
{
    CHECK(shard_count > 0 && shard_count < PLACEMENT_FULL);
    CHECK(conns_max > 0);
    struct placement *placement = aligned_alloc(CACHE_LINE_BYTES, sizeof(*placement) + shard_count * sizeof(struct place));
    if (placement == NULL)
        return NULL;
    atomic_init(&placement->total, 0);
    placement->conns_max = conns_max;
    placement->shard_count = shard_count;
    for (uint16_t i = 0; i < shard_count; i++) {
        atomic_init(&placement->places[i].count, 0);
        placement->places[i].next = (uint16_t)((i + 1) % shard_count); // not all at the same
    }
    return placement;
}

void placement_destroy(struct placement *placement)
{
    free(placement);
}

uint32_t placement_load(const struct placement *placement, uint16_t shard)
{
    CHECK(shard < placement->shard_count);
    return atomic_load_explicit(&placement->places[shard].count, memory_order_relaxed);
}

// The first from where the last search ended that has no more than the mean; on average it takes two looks. `self` when counts changed so
// that there is none.
static uint16_t find_other(struct placement *placement, uint16_t self, uint32_t total)
{
    struct place *own = &placement->places[self];
    for (uint16_t looks = 0; looks < placement->shard_count; looks++) {
        uint16_t shard = own->next;
        own->next = (uint16_t)(shard + 1 < placement->shard_count ? shard + 1 : 0);
        if ((uint64_t)placement_load(placement, shard) * placement->shard_count <= total)
            return shard;
    }
    return self;
}

uint16_t placement_enter(struct placement *placement, uint16_t self)
{
    uint32_t total = atomic_load_explicit(&placement->total, memory_order_relaxed);
    do {
        CHECK(total <= placement->conns_max);
        if (total == placement->conns_max)
            return PLACEMENT_FULL;
    } while (!atomic_compare_exchange_weak_explicit(&placement->total, &total, total + 1, memory_order_relaxed, memory_order_relaxed));
    uint16_t shard = self;
    if ((uint64_t)placement_load(placement, self) * placement->shard_count > (uint64_t)total + total / SLACK)
        shard = find_other(placement, self, total);
    atomic_fetch_add_explicit(&placement->places[shard].count, 1, memory_order_relaxed);
    return shard;
}

void placement_leave(struct placement *placement, uint16_t shard)
{
    CHECK(shard < placement->shard_count);
    CHECK(atomic_fetch_sub_explicit(&placement->places[shard].count, 1, memory_order_relaxed) > 0);
    CHECK(atomic_fetch_sub_explicit(&placement->total, 1, memory_order_relaxed) > 0);
}
