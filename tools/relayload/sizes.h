// Message sizes: one size, a range, or a weighted list of both. Drawn from a seeded generator, so that a run can be repeated.
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SIZES_ITEMS_MAX 16
#define SIZES_BYTES_MAX 999955u // the largest payload (protocols/buckets.md "Framing")

struct sizes {
    unsigned count;
    uint32_t weight_sum;
    struct {
        uint32_t min, max, weight;
    } items[SIZES_ITEMS_MAX];
};

// splitmix64: the generator of everything random here. Not for secrets.
uint64_t sizes_random(uint64_t *seed);

// "100", "64-4096" (uniform), "100:9,16384:1" (weights). false: not a distribution, or a size above SIZES_BYTES_MAX.
bool sizes_parse(const char *text, struct sizes *ret_sizes);
uint32_t sizes_draw(const struct sizes *sizes, uint64_t *seed);
uint32_t sizes_max(const struct sizes *sizes);
