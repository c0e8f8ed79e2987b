// Open-addressing hash table from a hash to record indices. It knows no keys: whoever looks up compares the records it yields.
// One rule: the stored tag is the hash's low half and names the home position too, so growing and removing need no key.
// Thread: whoever owns the table; not shared.
#pragma once
#include <stdbool.h>
#include <stdint.h>

struct table_entry {
    uint32_t tag;
    uint32_t value_plus_1; // 0: empty
};

struct table {
    struct table_entry *entries; // NULL until something is inserted
    uint32_t mask;               // entries - 1, entries a power of two
    uint32_t count;
};

void table_init(struct table *table);
void table_fini(struct table *table);

// Inserts `value` (below UINT32_MAX) under `hash`. The pair must not be there yet. Grows amortised; aborts when out of memory.
void table_insert(struct table *table, uint64_t hash, uint32_t value);
// Removes the pair, which must be there.
void table_remove(struct table *table, uint64_t hash, uint32_t value);

// Yields the values whose tag is that of `hash`, one per call, then false. The table must not change meanwhile.
struct table_cursor {
    uint32_t tag;
    uint32_t position;
};
struct table_cursor table_look(const struct table *table, uint64_t hash);
bool table_next(const struct table *table, struct table_cursor *cursor, uint32_t *ret_value);

// Yields every value, in no order: start with *position 0, ends with false.
bool table_each(const struct table *table, uint32_t *position, uint32_t *ret_value);

// CHECKs that every entry can be found from its home position and that the count is right. Slow.
void table_check(const struct table *table);
