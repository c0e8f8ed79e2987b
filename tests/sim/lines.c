// The model of coherent caches: see lines.h.
#include "tests/sim/lines.h"

#include <string.h>

#include "shards/base/check.h"
#include "tests/sim/sim.h"

#define LINES_MAX 65536 // a power of two
#define OTHERS 127      // the core of the accounts node, the main node and the test itself
#define CORE_WORDS 2
_Static_assert(SIM_SHARDS_MAX <= OTHERS, "a core for every shard");

struct line {
    const void *owner; // NULL: unused
    uint32_t index;
    uint64_t holders[CORE_WORDS]; // cores that have it as it is now
};

static struct line lines[LINES_MAX];
static bool is_counting;
static struct line_counts counts;

void lines_start(void)
{
    memset(lines, 0, sizeof(lines));
    counts = (struct line_counts){.touched = 0};
    is_counting = true;
}

void lines_stop(void)
{
    is_counting = false;
}

const struct line_counts *lines_counts(void)
{
    return &counts;
}

static struct line *line_of(const void *owner, uint32_t index)
{
    size_t at = (size_t)((((uintptr_t)owner >> 3) + index) * 0x9e3779b97f4a7c15ull >> 48);
    for (size_t tries = 0; tries < LINES_MAX; tries++) {
        struct line *line = &lines[(at + tries) % LINES_MAX];
        if (line->owner == NULL)
            *line = (struct line){.owner = owner, .index = index};
        if (line->owner == owner && line->index == index)
            return line;
    }
    UNREACHABLE();
}

static void touch(const void *owner, uint32_t index, bool writes)
{
    if (!is_counting)
        return;
    struct line *line = line_of(owner, index);
    unsigned core = fiber_current() >= 0 ? (unsigned)fiber_current() : OTHERS;
    uint64_t mine[CORE_WORDS] = {0};
    mine[core / 64] = 1ull << (core % 64);
    bool held = (line->holders[core / 64] & mine[core / 64]) != 0;
    uint64_t others = (line->holders[0] & ~mine[0]) | (line->holders[1] & ~mine[1]);
    counts.touched++;
    counts.moved += (writes && others != 0) || (!held && others != 0);
    for (size_t i = 0; i < CORE_WORDS; i++)
        line->holders[i] = writes ? mine[i] : line->holders[i] | mine[i];
}

void line_read(const void *owner, uint32_t index)
{
    CHECK(owner != NULL);
    touch(owner, index, /* writes= */ false);
}

void line_write(const void *owner, uint32_t index)
{
    CHECK(owner != NULL);
    touch(owner, index, /* writes= */ true);
}
