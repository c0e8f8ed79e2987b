// Rings under watch (linked in by --wrap): whatever is pushed is remembered by a hash of its bytes, which must be the same when it is
// popped. So whoever writes to a parcel after giving it away is caught, as ThreadSanitizer would.
#include <malloc.h>
#include <stdlib.h>

#include "shards/base/check.h"
#include "shards/ring.h"
#include "tests/sim/lines.h"
#include "tests/sim/sim.h"

#define WATCHED_MAX 4096 // a power of two

bool __real_ring_push(struct ring *ring, void *item) __attribute__((weak)); // missing when the link is without --wrap
void *__real_ring_pop(struct ring *ring) __attribute__((weak));
bool __wrap_ring_push(struct ring *ring, void *item);
void *__wrap_ring_pop(struct ring *ring);

// Lines of a ring, as ck lays them out: where its consumer is, where its producer is, the slots; and the head of a parcel.
enum ring_line { RING_HEAD, RING_TAIL, RING_SLOTS };

static struct watched {
    const void *item;
    uint64_t hash;
} watched[WATCHED_MAX];

void ring_watch_reset(void)
{
    memset(watched, 0, sizeof(watched));
}

// Four sums side by side: most of a run's time would go into one.
static uint64_t hash_of(const void *item)
{
    size_t len = malloc_usable_size((void *)(uintptr_t)item);
    const uint8_t *ptr = item;
    uint64_t sums[4] = {len, 1, 2, 3};
    for (size_t at = 0; at + 32 <= len; at += 32) {
        uint64_t words[4];
        memcpy(words, ptr + at, sizeof(words));
        for (size_t i = 0; i < 4; i++) {
            sums[i] = (sums[i] ^ words[i]) * 0x9e3779b97f4a7c15ull;
            sums[i] ^= sums[i] >> 29;
        }
    }
    return sums[0] ^ sums[1] * 3 ^ sums[2] * 5 ^ sums[3] * 7;
}

static struct watched *place_of(const void *item)
{
    size_t at = (size_t)(((uintptr_t)item >> 4) * 0x9e3779b97f4a7c15ull >> 52);
    return &watched[at % WATCHED_MAX];
}

// A place that is taken already belongs to another parcel: that one goes unwatched.
bool __wrap_ring_push(struct ring *ring, void *item)
{
    struct watched *place = place_of(item);
    line_read(ring, RING_HEAD);
    if (!__real_ring_push(ring, item))
        return false;
    line_write(item, 0);
    line_write(ring, RING_SLOTS);
    line_write(ring, RING_TAIL);
    *place = (struct watched){.item = item, .hash = hash_of(item)};
    return true;
}

void *__wrap_ring_pop(struct ring *ring)
{
    void *item = __real_ring_pop(ring);
    line_read(ring, RING_TAIL);
    if (item == NULL)
        return NULL;
    line_read(ring, RING_SLOTS);
    line_write(ring, RING_HEAD);
    line_read(item, 0);
    struct watched *place = place_of(item);
    if (place->item == item) {
        SIM_CHECK(place->hash == hash_of(item), "a parcel was written to after it was given away");
        place->item = NULL;
    }
    return item;
}
