// A table of the most recently used items by fingerprint: of fixed size, so full means that the item used longest ago makes room.
// Items live in numbered places that do not move, so a table can be walked in steps. One thread at a time.
#pragma once
#include "auth/fingerprint.h"

struct recent;

struct recent *recent_create(uint32_t items_max, size_t item_bytes); // items_max > 0. NULL when memory is short
void recent_destroy(struct recent *recent);                          // takes NULL; contents are wiped

// Pointers to items are valid until the item is removed or makes room. Finding does not count as use; recent_use does.
void *recent_find(const struct recent *recent, const struct fingerprint *key); // NULL: absent
void *recent_add(struct recent *recent, const struct fingerprint *key);        // must be absent; a zeroed item
void recent_use(struct recent *recent, void *item);
void recent_remove(struct recent *recent, void *item);
bool recent_is_full(const struct recent *recent);
void *recent_oldest(const struct recent *recent); // what recent_add would displace when full; NULL: empty

uint32_t recent_count(const struct recent *recent);
uint32_t recent_places(const struct recent *recent);          // places ever used: walk 0 .. recent_places - 1
void *recent_at(const struct recent *recent, uint32_t place); // NULL: free
void recent_check(const struct recent *recent);               // invariants
