// Hash chains for finding, one ring of all items in order of use for making room; both by place number. One thread at a time.
#include "auth/recent.h"

#include <sodium.h>
#include <stdlib.h>

#include "shards/base/check.h"

#define NONE UINT32_MAX

struct link {
    struct fingerprint key;
    uint32_t chain;        // next in the hash chain, or in the free list
    uint32_t newer, older; // order of use
    bool used;
};

struct recent {
    uint32_t items_max, count, places, free;
    uint32_t newest, oldest;
    uint32_t chain_mask;
    size_t item_bytes;
    uint32_t *chains;
    struct link *links;
    uint8_t *items;
};

struct recent *recent_create(uint32_t items_max, size_t item_bytes)
{
    CHECK(items_max > 0 && items_max < NONE / 2 && item_bytes > 0);
    uint32_t chain_count = 1;
    while (chain_count < items_max)
        chain_count *= 2;
    struct recent *recent = calloc(1, sizeof(*recent));
    if (recent == NULL)
        return NULL;
    *recent = (struct recent){.items_max = items_max, .free = NONE, .newest = NONE, .oldest = NONE, .chain_mask = chain_count - 1};
    recent->item_bytes = (item_bytes + 7) / 8 * 8;
    recent->chains = malloc(chain_count * sizeof(*recent->chains));
    recent->links = calloc(items_max, sizeof(*recent->links)); // untouched places cost no memory
    recent->items = calloc(items_max, recent->item_bytes);
    if (recent->chains == NULL || recent->links == NULL || recent->items == NULL) {
        recent_destroy(recent);
        return NULL;
    }
    memset(recent->chains, 0xff, chain_count * sizeof(*recent->chains));
    return recent;
}

void recent_destroy(struct recent *recent)
{
    if (recent == NULL)
        return;
    if (recent->items != NULL)
        sodium_memzero(recent->items, recent->places * recent->item_bytes);
    free(recent->chains);
    free(recent->links);
    free(recent->items);
    free(recent);
}

// Fingerprints are uniform and unpredictable: any of their bits make a hash.
static uint32_t *chain_of(const struct recent *recent, const struct fingerprint *key)
{
    uint32_t hash;
    memcpy(&hash, key->bytes, sizeof(hash));
    return &recent->chains[hash & recent->chain_mask];
}

static void *item_at(const struct recent *recent, uint32_t place)
{
    return recent->items + place * recent->item_bytes;
}

static uint32_t place_of(const struct recent *recent, const void *item)
{
    size_t offset = (size_t)((const uint8_t *)item - recent->items);
    uint32_t place = (uint32_t)(offset / recent->item_bytes);
    CHECK(offset % recent->item_bytes == 0 && place < recent->places && recent->links[place].used);
    return place;
}

static void order_link(struct recent *recent, uint32_t place)
{
    struct link *link = &recent->links[place];
    link->newer = NONE;
    link->older = recent->newest;
    if (recent->newest != NONE)
        recent->links[recent->newest].newer = place;
    else
        recent->oldest = place;
    recent->newest = place;
}

static void order_unlink(struct recent *recent, uint32_t place)
{
    struct link *link = &recent->links[place];
    if (link->newer != NONE)
        recent->links[link->newer].older = link->older;
    else
        recent->newest = link->older;
    if (link->older != NONE)
        recent->links[link->older].newer = link->newer;
    else
        recent->oldest = link->newer;
}

void *recent_find(const struct recent *recent, const struct fingerprint *key)
{
    CHECK(recent != NULL && key != NULL);
    for (uint32_t place = *chain_of(recent, key); place != NONE; place = recent->links[place].chain) {
        if (fingerprint_equal(&recent->links[place].key, key))
            return item_at(recent, place);
    }
    return NULL;
}

void *recent_add(struct recent *recent, const struct fingerprint *key)
{
    CHECK(recent_find(recent, key) == NULL);
    if (recent->count == recent->items_max)
        recent_remove(recent, item_at(recent, recent->oldest));
    uint32_t place = recent->free;
    if (place != NONE)
        recent->free = recent->links[place].chain;
    else
        place = recent->places++;
    CHECK(place < recent->items_max && !recent->links[place].used);
    struct link *link = &recent->links[place];
    uint32_t *chain = chain_of(recent, key);
    link->key = *key;
    link->used = true;
    link->chain = *chain;
    *chain = place;
    order_link(recent, place);
    recent->count++;
    return item_at(recent, place);
}

void recent_use(struct recent *recent, void *item)
{
    uint32_t place = place_of(recent, item);
    order_unlink(recent, place);
    order_link(recent, place);
}

void recent_remove(struct recent *recent, void *item)
{
    uint32_t place = place_of(recent, item);
    struct link *link = &recent->links[place];
    uint32_t *chain = chain_of(recent, &link->key);
    while (*chain != place)
        chain = &recent->links[*chain].chain;
    *chain = link->chain;
    order_unlink(recent, place);
    sodium_memzero(item, recent->item_bytes);
    link->used = false;
    link->chain = recent->free;
    recent->free = place;
    recent->count--;
}

bool recent_is_full(const struct recent *recent)
{
    return recent->count == recent->items_max;
}

void *recent_oldest(const struct recent *recent)
{
    return recent->oldest == NONE ? NULL : item_at(recent, recent->oldest);
}

uint32_t recent_count(const struct recent *recent)
{
    return recent->count;
}

uint32_t recent_places(const struct recent *recent)
{
    return recent->places;
}

void *recent_at(const struct recent *recent, uint32_t place)
{
    CHECK(place < recent->places);
    return recent->links[place].used ? item_at(recent, place) : NULL;
}

void recent_check(const struct recent *recent)
{
    uint32_t in_order = 0, in_chains = 0, previous = NONE;
    for (uint32_t place = recent->newest; place != NONE; place = recent->links[place].older) {
        CHECK(recent->links[place].used && recent->links[place].newer == previous);
        CHECK(++in_order <= recent->count);
        previous = place;
    }
    CHECK(recent->oldest == previous);
    for (uint32_t i = 0; i <= recent->chain_mask; i++) {
        for (uint32_t place = recent->chains[i]; place != NONE; place = recent->links[place].chain) {
            CHECK(recent->links[place].used);
            in_chains++;
        }
    }
    CHECK(in_order == recent->count && in_chains == recent->count);
}
