// Linear probing with backward-shift removal, so that no tombstones gather. See table.h.
#include "router/table.h"

#include <stdlib.h>

#include "shards/base/check.h"

#define TABLE_ENTRIES_MIN 16u
#define TABLE_ENTRIES_MAX (1u << 30)

void table_init(struct table *table)
{
    *table = (struct table){.entries = NULL};
}

void table_fini(struct table *table)
{
    free(table->entries);
    table_init(table);
}

static void place(struct table *table, struct table_entry entry)
{
    uint32_t position = entry.tag & table->mask;
    while (table->entries[position].value_plus_1 != 0)
        position = (position + 1) & table->mask;
    table->entries[position] = entry;
}

static void grow(struct table *table)
{
    struct table old = *table;
    uint32_t old_count = old.entries == NULL ? 0 : old.mask + 1;
    uint32_t new_count = old_count == 0 ? TABLE_ENTRIES_MIN : old_count * 2;
    CHECK(new_count <= TABLE_ENTRIES_MAX);
    table->entries = calloc(new_count, sizeof(*table->entries));
    CHECK(table->entries != NULL);
    table->mask = new_count - 1;
    for (uint32_t i = 0; i < old_count; i++) {
        if (old.entries[i].value_plus_1 != 0)
            place(table, old.entries[i]);
    }
    free(old.entries);
}

void table_insert(struct table *table, uint64_t hash, uint32_t value)
{
    CHECK(value != UINT32_MAX);
    if (table->entries == NULL || table->count >= table->mask / 4 * 3)
        grow(table);
    place(table, (struct table_entry){.tag = (uint32_t)hash, .value_plus_1 = value + 1});
    table->count++;
}

void table_remove(struct table *table, uint64_t hash, uint32_t value)
{
    CHECK(table->count > 0);
    uint32_t hole = (uint32_t)hash & table->mask;
    while (table->entries[hole].value_plus_1 != value + 1) {
        CHECK(table->entries[hole].value_plus_1 != 0);
        hole = (hole + 1) & table->mask;
    }
    CHECK(table->entries[hole].tag == (uint32_t)hash);
    uint32_t next = hole;
    for (;;) {
        next = (next + 1) & table->mask;
        if (table->entries[next].value_plus_1 == 0)
            break;
        // An entry may fill the hole unless its home lies cyclically behind the hole.
        uint32_t home = table->entries[next].tag & table->mask;
        if (((next - home) & table->mask) >= ((next - hole) & table->mask)) {
            table->entries[hole] = table->entries[next];
            hole = next;
        }
    }
    table->entries[hole] = (struct table_entry){.tag = 0, .value_plus_1 = 0};
    table->count--;
}

struct table_cursor table_look(const struct table *table, uint64_t hash)
{
    return (struct table_cursor){.tag = (uint32_t)hash, .position = (uint32_t)hash & table->mask};
}

bool table_next(const struct table *table, struct table_cursor *cursor, uint32_t *ret_value)
{
    if (table->entries == NULL)
        return false;
    while (table->entries[cursor->position].value_plus_1 != 0) {
        struct table_entry entry = table->entries[cursor->position];
        cursor->position = (cursor->position + 1) & table->mask;
        if (entry.tag == cursor->tag) {
            *ret_value = entry.value_plus_1 - 1;
            return true;
        }
    }
    return false;
}

bool table_each(const struct table *table, uint32_t *position, uint32_t *ret_value)
{
    while (table->entries != NULL && *position <= table->mask) {
        struct table_entry entry = table->entries[(*position)++];
        if (entry.value_plus_1 != 0) {
            *ret_value = entry.value_plus_1 - 1;
            return true;
        }
    }
    return false;
}

void table_check(const struct table *table)
{
    CHECK((table->mask & (table->mask + 1)) == 0);
    uint32_t count = 0;
    for (uint32_t i = 0; table->entries != NULL && i <= table->mask; i++) {
        if (table->entries[i].value_plus_1 == 0)
            continue;
        count++;
        for (uint32_t p = table->entries[i].tag & table->mask; p != i; p = (p + 1) & table->mask)
            CHECK(table->entries[p].value_plus_1 != 0);
    }
    CHECK(count == table->count);
}
