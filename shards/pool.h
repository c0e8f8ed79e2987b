// Blocks of bytes for one node, in size classes with free lists, within a budget. No thread but the node's touches a pool.
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct block {
    struct block *next;  // the holder's
    uint32_t capacity;   // bytes of data[]
    uint32_t start, end; // used part of data[]: the holder's
    uint8_t data[];
};

struct pool;
struct pool *pool_create(size_t bytes_max); // budget for blocks in use, with their heads. NULL when memory is short
void pool_destroy(struct pool *pool);       // every block must have been given back (CHECK)

// A block of at least capacity_min (classes 256 B, 1 KiB, 4 KiB, 16 KiB, 64 KiB, 256 KiB, 1 MiB + 4 KiB, then exact), start = end = 0.
// NULL when the budget or the system's memory is exhausted: the caller sheds the one who asked.
struct block *pool_take(struct pool *pool, size_t capacity_min);
void pool_give(struct pool *pool, struct block *block); // takes NULL
size_t pool_bytes_in_use(const struct pool *pool);
