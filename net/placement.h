// How many connections each shard has, so that arrivals are spread evenly: SO_REUSEPORT deals them out by a hash of the addresses, blindly.
// One rule: a connection is counted for its shard before that shard knows of it, and until its slot is free again; so the limit of the
// whole relay is exact, and a burst is spread as evenly as a trickle. Threads: any shard's; touched by accept and by the end only.
#pragma once
#include <stdint.h>

#define PLACEMENT_FULL UINT16_MAX // no shard: the relay has conns_max connections

struct placement;

struct placement *placement_create(uint16_t shard_count, uint32_t conns_max); // NULL when memory is short
void placement_destroy(struct placement *placement);                          // takes NULL

// Counts one more connection and says for which shard: `self`, the caller's own, unless that has more than a sixteenth above the mean;
// then one that has no more than the mean. PLACEMENT_FULL: nothing was counted.
uint16_t placement_enter(struct placement *placement, uint16_t self);
// That connection is over, or its shard could not take it.
void placement_leave(struct placement *placement, uint16_t shard);
uint32_t placement_load(const struct placement *placement, uint16_t shard);
