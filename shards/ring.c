// The only file that calls Concurrency Kit. Its rule: this file is never instrumented by TSan (which reads ck's assembly as races), so the
// hand-off of an item is told to TSan here by hand. Threads: one producer, one consumer.
#include "shards/ring.h"

#include <ck_ring.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "shards/base/check.h"

#ifdef RING_TSAN // set by CMake in the tsan build: this file itself does not see __SANITIZE_THREAD__
void __tsan_release(void *item);
void __tsan_acquire(void *item);
#define HAND_OFF(item) __tsan_release(item)
#define TAKE_OVER(item) __tsan_acquire(item)
#else
#define HAND_OFF(item) ((void)0)
#define TAKE_OVER(item) ((void)0)
#endif

#define CACHE_LINE_BYTES 64

struct ring {
    struct ck_ring ck;
    ck_ring_buffer_t slots[];
};

struct ring *ring_create(uint32_t slots)
{
    CHECK(slots >= 4);
    CHECK((slots & (slots - 1)) == 0);
    size_t bytes = sizeof(struct ring) + slots * sizeof(ck_ring_buffer_t);
    bytes = (bytes + CACHE_LINE_BYTES - 1) / CACHE_LINE_BYTES * CACHE_LINE_BYTES;
    struct ring *ring = aligned_alloc(CACHE_LINE_BYTES, bytes);
    if (ring != NULL)
        ck_ring_init(&ring->ck, slots);
    return ring;
}

void ring_destroy(struct ring *ring)
{
    if (ring == NULL)
        return;
    CHECK(ring_is_empty(ring));
    free(ring);
}

bool ring_push(struct ring *ring, void *item)
{
    CHECK(item != NULL);
    HAND_OFF(item); // before the push: afterwards the item is not ours to name
    return ck_ring_enqueue_spsc(&ring->ck, ring->slots, item);
}

void *ring_pop(struct ring *ring)
{
    void *item = NULL;
    if (!ck_ring_dequeue_spsc(&ring->ck, ring->slots, &item))
        return NULL;
    CHECK(item != NULL);
    TAKE_OVER(item);
    return item;
}

bool ring_is_empty(const struct ring *ring)
{
    return ck_ring_size(&ring->ck) == 0;
}

void ring_fence(void)
{
    atomic_thread_fence(memory_order_seq_cst);
}
