// For tests of decoders: the ways in which the same bytes may arrive. One loop runs a case whole, byte by byte and at random splits:
//     for (unsigned way = 0; way < SPLIT_WAYS; way++) { struct split split = split_create(way); ... split_next(&split, bytes left) ... }
#pragma once
#include <stddef.h>
#include <stdint.h>

#define SPLIT_WAYS 12u // 0: whole, 1: byte by byte, others: random

struct split {
    unsigned way;
    uint32_t random;
};

// xorshift32 (Marsaglia): the same numbers in every run. state must not be 0.
static inline uint32_t split_random(uint32_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 17;
    *state ^= *state << 5;
    return *state;
}

static inline struct split split_create(unsigned way)
{
    return (struct split){.way = way, .random = 0x9e3779b9u * (way + 1)};
}

// How many of the `left` bytes arrive next: 1 .. left.
static inline size_t split_next(struct split *split, size_t left)
{
    if (split->way == 0 || left <= 1)
        return left;
    if (split->way == 1)
        return 1;
    size_t max = (split_random(&split->random) & 3) == 0 ? left : 1 + split_random(&split->random) % 16; // mostly short pieces
    return 1 + split_random(&split->random) % (max < left ? max : left);
}
