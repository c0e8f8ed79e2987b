// Classes, budget, exact blocks; everything given back counts as nothing.
#include "shards/pool.h"

#include <string.h>

#include "shards/base/check.h"

static void test_classes(void)
{
    static const struct {
        size_t asked, got;
    } cases[] = {{0, 256},         {1, 256},          {256, 256},         {257, 1024},       {1024, 1024},
                 {1025, 4096},     {4097, 16384},     {16384, 16384},     {16385, 65536},    {65537, 262144},
                 {262144, 262144}, {262145, 1052672}, {1052672, 1052672}, {1052673, 1052673}};
    struct pool *pool = pool_create(8u << 20);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct block *block = pool_take(pool, cases[i].asked);
        CHECK(block != NULL);
        CHECK(block->capacity == cases[i].got);
        CHECK(block->start == 0 && block->end == 0 && block->next == NULL);
        memset(block->data, 0xee, block->capacity);
        CHECK(pool_bytes_in_use(pool) == sizeof(*block) + cases[i].got);
        block->start = block->end = 5;
        pool_give(pool, block);
        CHECK(pool_bytes_in_use(pool) == 0);
    }
    pool_give(pool, NULL);
    pool_destroy(pool);
    pool_destroy(NULL);
}

static void test_budget(void)
{
    enum { COUNT = 4 };
    size_t each = sizeof(struct block) + 4096;
    struct pool *pool = pool_create(COUNT * each);
    struct block *blocks[COUNT];
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < COUNT; i++) {
            blocks[i] = pool_take(pool, 4000);
            CHECK(blocks[i] != NULL);
        }
        CHECK(pool_take(pool, 1) == NULL);
        CHECK(pool_bytes_in_use(pool) == COUNT * each);
        for (int i = 0; i < COUNT; i++)
            pool_give(pool, blocks[i]);
    }
    CHECK(pool_take(pool, COUNT * each) == NULL);
    CHECK(pool_take(pool, SIZE_MAX) == NULL);
    CHECK(pool_take(pool, (size_t)UINT32_MAX + 1) == NULL);
    struct block *whole = pool_take(pool, 4096); // idle blocks of other takers do not count
    CHECK(whole != NULL);
    pool_give(pool, whole);
    pool_destroy(pool);
}

static void test_many_idle_blocks_go_back(void)
{
    enum { COUNT = 1000 };
    static struct block *blocks[COUNT];
    struct pool *pool = pool_create(SIZE_MAX);
    for (int i = 0; i < COUNT; i++) {
        blocks[i] = pool_take(pool, 4096);
        CHECK(blocks[i] != NULL);
    }
    for (int i = 0; i < COUNT; i++)
        pool_give(pool, blocks[i]);
    CHECK(pool_bytes_in_use(pool) == 0);
    pool_destroy(pool);
}

int main(void)
{
    test_classes();
    test_budget();
    test_many_idle_blocks_go_back();
    return 0;
}
