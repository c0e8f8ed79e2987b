// Counts what crosses between the simulator's cores: cache lines of rings and bells, by the rules of coherent caches.
// One rule: a line moves when a core reads what another wrote since, or writes what another has. Symbolic, hence exact. One thread.
#pragma once
#include <stdbool.h>
#include <stdint.h>

struct line_counts {
    uint64_t touched; // accesses to lines that belong to two nodes
    uint64_t moved;   // of these, those that had to wait for another core
};

void lines_start(void); // from nothing
void lines_stop(void);
const struct line_counts *lines_counts(void);

// Line `index` of the thing at `owner`.
void line_read(const void *owner, uint32_t index);
void line_write(const void *owner, uint32_t index);
