// Log-linear histogram of durations, in the manner of HdrHistogram: 128 steps per power of two, so that any value read back is within
// 0.4 % of one that went in. Fixed size, no allocation. One thread fills it; merge after that thread has ended (or stopped).
#pragma once
#include <stddef.h>
#include <stdint.h>

#define HISTOGRAM_STEP_BITS 7
#define HISTOGRAM_VALUE_BITS 40 // larger values are counted in the last bin; `max` stays exact
#define HISTOGRAM_BINS ((HISTOGRAM_VALUE_BITS - HISTOGRAM_STEP_BITS + 1) << HISTOGRAM_STEP_BITS)

struct histogram { // all zero: empty
    uint64_t count, sum, min, max;
    uint64_t bins[HISTOGRAM_BINS];
};

void histogram_add(struct histogram *histogram, uint64_t value);
void histogram_merge(struct histogram *into, const struct histogram *from);

// The value below or at which the share `quantile` (0..1) of all values lies; 0 when empty, exact for 1.
uint64_t histogram_quantile(const struct histogram *histogram, double quantile);
double histogram_mean(const struct histogram *histogram);

size_t histogram_bin(uint64_t value);     // the bin a value falls into
uint64_t histogram_bin_value(size_t bin); // the middle of a bin
