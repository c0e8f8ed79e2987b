// Chunks of records with a free list through their first four bytes. See slab.h.
#include "router/slab.h"

#include <stdlib.h>
#include <string.h>

#include "shards/base/check.h"

void slab_init(struct slab *slab, size_t record_bytes)
{
    CHECK(record_bytes >= sizeof(uint32_t) && record_bytes % sizeof(uint32_t) == 0 && record_bytes < UINT32_MAX);
    *slab = (struct slab){.record_bytes = (uint32_t)record_bytes, .free_head = SLAB_NONE};
}

void slab_fini(struct slab *slab)
{
    for (uint32_t i = 0; i < slab->chunks_count; i++)
        free(slab->chunks[i]);
    free(slab->chunks);
    *slab = (struct slab){.record_bytes = slab->record_bytes, .free_head = SLAB_NONE};
}

void slab_reserve(struct slab *slab, uint32_t index)
{
    CHECK(index != SLAB_NONE);
    uint32_t chunk = index >> SLAB_CHUNK_BITS;
    if (chunk >= slab->chunks_count) {
        uint32_t count = slab->chunks_count == 0 ? 4 : slab->chunks_count * 2;
        if (count <= chunk)
            count = chunk + 1;
        uint8_t **chunks = realloc(slab->chunks, count * sizeof(*chunks));
        CHECK(chunks != NULL);
        memset(chunks + slab->chunks_count, 0, (count - slab->chunks_count) * sizeof(*chunks));
        slab->chunks = chunks;
        slab->chunks_count = count;
    }
    if (slab->chunks[chunk] == NULL) {
        slab->chunks[chunk] = calloc(SLAB_CHUNK_RECORDS, slab->record_bytes);
        CHECK(slab->chunks[chunk] != NULL);
    }
}

uint32_t slab_take(struct slab *slab)
{
    uint32_t index = slab->free_head;
    if (index != SLAB_NONE) {
        memcpy(&slab->free_head, slab_at(slab, index), sizeof(slab->free_head));
    } else {
        index = slab->used;
        CHECK(index < SLAB_NONE - SLAB_CHUNK_RECORDS);
        slab_reserve(slab, index);
        slab->used++;
    }
    slab->count++;
    CHECK(slab->count <= slab->used);
    return index;
}

void slab_give(struct slab *slab, uint32_t index)
{
    CHECK(index < slab->used && slab->count > 0);
    CHECK(index != slab->free_head);
    memcpy(slab_at(slab, index), &slab->free_head, sizeof(slab->free_head));
    slab->free_head = index;
    slab->count--;
}
