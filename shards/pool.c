// Blocks in size classes: what is given back waits on its class's free list, up to a limit, for the next taker.
// Its rule: bytes_in_use is exact and never above the budget. Thread: the node's.
#include "shards/pool.h"

#include <stdlib.h>

#include "shards/base/check.h"

#define CLASSES 7
#ifdef __SANITIZE_ADDRESS__
#define IDLE_BYTES_MAX 0 // so that ASan sees a use after pool_give
#else
#define IDLE_BYTES_MAX (2u << 20) // for each class
#endif

static const uint32_t class_capacity[CLASSES] = {256, 1024, 4096, 16384, 65536, 262144, 1052672};

struct free_list {
    struct block *first;
    size_t bytes;
};

struct pool {
    size_t bytes_max;
    size_t bytes_in_use;
    struct free_list idle[CLASSES];
};

// The class whose blocks hold capacity_min; CLASSES when none does.
static unsigned class_of(size_t capacity_min)
{
    unsigned size_class = 0;
    while (size_class < CLASSES && class_capacity[size_class] < capacity_min)
        size_class++;
    return size_class;
}

struct pool *pool_create(size_t bytes_max)
{
    struct pool *pool = calloc(1, sizeof(*pool));
    if (pool != NULL)
        pool->bytes_max = bytes_max;
    return pool;
}

void pool_destroy(struct pool *pool)
{
    if (pool == NULL)
        return;
    CHECK(pool->bytes_in_use == 0);
    for (unsigned size_class = 0; size_class < CLASSES; size_class++) {
        struct block *block = pool->idle[size_class].first;
        while (block != NULL) {
            struct block *next = block->next;
            free(block);
            block = next;
        }
    }
    free(pool);
}

struct block *pool_take(struct pool *pool, size_t capacity_min)
{
    CHECK(pool->bytes_in_use <= pool->bytes_max);
    unsigned size_class = class_of(capacity_min);
    if (capacity_min > UINT32_MAX)
        return NULL;
    size_t capacity = size_class < CLASSES ? class_capacity[size_class] : capacity_min;
    size_t bytes = sizeof(struct block) + capacity;
    if (bytes > pool->bytes_max - pool->bytes_in_use)
        return NULL;

    struct block *block = size_class < CLASSES ? pool->idle[size_class].first : NULL;
    if (block != NULL) {
        CHECK(block->capacity == capacity);
        pool->idle[size_class].first = block->next;
        pool->idle[size_class].bytes -= capacity;
    } else {
        block = malloc(bytes);
        if (block == NULL)
            return NULL;
    }
    block->next = NULL;
    block->capacity = (uint32_t)capacity;
    block->start = block->end = 0;
    pool->bytes_in_use += bytes;
    return block;
}

void pool_give(struct pool *pool, struct block *block)
{
    if (block == NULL)
        return;
    size_t bytes = sizeof(struct block) + block->capacity;
    CHECK(bytes <= pool->bytes_in_use);
    pool->bytes_in_use -= bytes;
    unsigned size_class = class_of(block->capacity);
    if (size_class == CLASSES || pool->idle[size_class].bytes + block->capacity > IDLE_BYTES_MAX) {
        free(block);
        return;
    }
    CHECK(block->capacity == class_capacity[size_class]);
    block->next = pool->idle[size_class].first;
    pool->idle[size_class].first = block;
    pool->idle[size_class].bytes += block->capacity;
}

size_t pool_bytes_in_use(const struct pool *pool)
{
    return pool->bytes_in_use;
}
