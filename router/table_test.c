// The table against a plain array, with hashes that collide on purpose; and the slab.
#include <stdlib.h>

#include "router/slab.h"
#include "router/table.h"
#include "shards/base/check.h"

#define VALUES 512
#define ROUNDS 40000

static uint32_t random_state = 1;

static uint32_t random_below(uint32_t limit)
{
    random_state = random_state * 1664525u + 1013904223u;
    return (random_state >> 8) % limit;
}

static bool has(const struct table *table, uint64_t hash, uint32_t value)
{
    struct table_cursor cursor = table_look(table, hash);
    uint32_t found;
    uint32_t times = 0;
    while (table_next(table, &cursor, &found))
        times += found == value;
    CHECK(times <= 1);
    return times == 1;
}

// Hashes spread over `spread` tags, from a start that makes probe runs wrap around the end of the table.
static void test_random(uint32_t spread)
{
    struct table table;
    table_init(&table);
    bool present[VALUES] = {false};
    uint32_t count = 0;
    for (uint32_t round = 0; round < ROUNDS; round++) {
        uint32_t value = random_below(VALUES);
        uint64_t hash = UINT32_MAX - 3 + (uint64_t)(value % spread);
        CHECK(has(&table, hash, value) == present[value]);
        if (present[value])
            table_remove(&table, hash, value);
        else
            table_insert(&table, hash, value);
        present[value] = !present[value];
        count = present[value] ? count + 1 : count - 1;
        CHECK(table.count == count);
        if (round % 256 == 0)
            table_check(&table);
    }
    uint32_t position = 0;
    uint32_t value;
    while (table_each(&table, &position, &value)) {
        CHECK(present[value]);
        count--;
    }
    CHECK(count == 0);
    table_fini(&table);
    CHECK(table.count == 0 && table.entries == NULL);
}

static void test_empty(void)
{
    struct table table;
    table_init(&table);
    CHECK(!has(&table, 5, 5));
    uint32_t position = 0;
    uint32_t value;
    CHECK(!table_each(&table, &position, &value));
    table_check(&table);
    table_fini(&table);
}

struct record {
    uint32_t next;
    uint32_t kept;
};

static void test_slab(void)
{
    struct slab slab;
    slab_init(&slab, sizeof(struct record));
    CHECK(slab_find(&slab, 0) == NULL);
    struct record *first = slab_at(&slab, slab_take(&slab));
    CHECK(first->kept == 0);
    for (uint32_t i = 1; i < 5 * SLAB_CHUNK_RECORDS; i++)
        CHECK(slab_take(&slab) == i);
    CHECK(slab_at(&slab, 0) == (void *)first); // records never move
    ((struct record *)slab_at(&slab, 7))->kept = 42;
    slab_give(&slab, 3);
    slab_give(&slab, 7);
    CHECK(slab.count == 5 * SLAB_CHUNK_RECORDS - 2);
    CHECK(slab_take(&slab) == 7 && ((struct record *)slab_at(&slab, 7))->kept == 42);
    CHECK(slab_take(&slab) == 3);
    slab_fini(&slab);
    slab_init(&slab, sizeof(struct record));
    slab_reserve(&slab, 100000); // no chunks for what lies before
    CHECK(slab_find(&slab, 100000) != NULL && slab_find(&slab, 0) == NULL);
    slab_fini(&slab);
}

int main(void)
{
    test_empty();
    test_random(1);
    test_random(7);
    test_random(VALUES);
    test_slab();
    return 0;
}
