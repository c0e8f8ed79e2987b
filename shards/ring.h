// Single-producer single-consumer ring of pointers: the only file that calls Concurrency Kit (ring.c, built without TSan because
// TSan does not understand ck's assembly). The hand-off is annotated here: the pushed object belongs to the consumer from then on.
#pragma once
#include <stdbool.h>
#include <stdint.h>

struct ring;

struct ring *ring_create(uint32_t slots); // power of two >= 4; holds slots - 1. NULL when memory is short
void ring_destroy(struct ring *ring);     // takes NULL; must be empty

bool ring_push(struct ring *ring, void *item); // producer thread; false: full, item stays the caller's
void *ring_pop(struct ring *ring);             // consumer thread; NULL: empty
bool ring_is_empty(const struct ring *ring);   // consumer thread: exact; others: a hint

// Full memory fence for "I published, then look whether you sleep" against "I say that I sleep, then look for work". Stands here because
// TSan builds refuse fences in instrumented files.
void ring_fence(void);
