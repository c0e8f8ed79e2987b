// Records of one size, named by index: chunked, so that a record never moves and unused room costs nothing.
// One rule: the first four bytes of a record belong to the slab while the record is free; the rest survives being freed.
// Thread: whoever owns the slab; not shared.
#pragma once
#include <stddef.h>
#include <stdint.h>

#define SLAB_CHUNK_BITS 8
#define SLAB_CHUNK_RECORDS (1u << SLAB_CHUNK_BITS)
#define SLAB_NONE UINT32_MAX

struct slab {
    uint8_t **chunks;      // NULL where nothing was needed yet
    uint32_t chunks_count; // length of the array
    uint32_t record_bytes;
    uint32_t used;      // indices below were handed out at least once
    uint32_t free_head; // SLAB_NONE: none
    uint32_t count;     // records handed out now
};

// record_bytes: at least 4, a multiple of 4: the size of a struct.
void slab_init(struct slab *slab, size_t record_bytes);
void slab_fini(struct slab *slab);

// A record that is free: zeroed when new, else as it was left. Aborts when the system is out of memory.
uint32_t slab_take(struct slab *slab);
// Gives a record back. Its first four bytes are overwritten.
void slab_give(struct slab *slab, uint32_t index);

// Makes the record `index` exist (zeroed when new), for callers that choose indices themselves and never take or give.
void slab_reserve(struct slab *slab, uint32_t index);

// The record, which must exist.
static inline void *slab_at(const struct slab *slab, uint32_t index)
{
    return slab->chunks[index >> SLAB_CHUNK_BITS] + (size_t)(index & (SLAB_CHUNK_RECORDS - 1)) * slab->record_bytes;
}

// The record, or NULL where no chunk is.
static inline void *slab_find(const struct slab *slab, uint32_t index)
{
    uint32_t chunk = index >> SLAB_CHUNK_BITS;
    return chunk < slab->chunks_count && slab->chunks[chunk] != NULL ? slab_at(slab, index) : NULL;
}
