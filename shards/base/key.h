// The address of a device (32 bytes: an ed25519 public key, or a hash that a room makes) and the handles of sessions and links.
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#define KEY_BYTES 32

struct key {
    uint8_t bytes[KEY_BYTES];
};

static inline bool key_equal(const struct key *a, const struct key *b)
{
    return memcmp(a->bytes, b->bytes, KEY_BYTES) == 0;
}

// Names a slot of one shard at one time. A handle whose generation is not the slot's is stale: whoever receives it does nothing.
// Generations start at 1, so the zero handle names nothing.
struct handle {
    uint32_t slot;
    uint32_t generation;
    uint16_t shard;
};

static inline bool handle_equal(struct handle a, struct handle b)
{
    return a.slot == b.slot && a.generation == b.generation && a.shard == b.shard;
}

static inline bool handle_is_none(struct handle h)
{
    return h.generation == 0;
}
