// See histogram.h. Bins 0 .. 2^(STEP_BITS+1)-1 hold one value each; from there on every power of two has 2^STEP_BITS bins.
#include "tools/relayload/histogram.h"

#include "shards/base/check.h"

#define EXACT (2u << HISTOGRAM_STEP_BITS) // values below it have a bin of their own
#define STEPS (1u << HISTOGRAM_STEP_BITS)

_Static_assert(HISTOGRAM_BINS > EXACT, "there must be room above the exact bins");

size_t histogram_bin(uint64_t value)
{
    if (value < EXACT)
        return (size_t)value;
    unsigned exponent = 63u - (unsigned)__builtin_clzll(value);
    if (exponent >= HISTOGRAM_VALUE_BITS)
        return HISTOGRAM_BINS - 1;
    unsigned shift = exponent - HISTOGRAM_STEP_BITS;
    return EXACT + (size_t)(exponent - HISTOGRAM_STEP_BITS - 1) * STEPS + (size_t)((value >> shift) - STEPS);
}

uint64_t histogram_bin_value(size_t bin)
{
    CHECK(bin < HISTOGRAM_BINS);
    if (bin < EXACT)
        return bin;
    size_t octave = (bin - EXACT) / STEPS, step = (bin - EXACT) % STEPS;
    uint64_t low = (uint64_t)(STEPS + step) << (octave + 1);
    return low + (1ull << octave);
}

void histogram_add(struct histogram *histogram, uint64_t value)
{
    if (histogram->count == 0 || value < histogram->min)
        histogram->min = value;
    if (value > histogram->max)
        histogram->max = value;
    histogram->count++;
    histogram->sum += value;
    histogram->bins[histogram_bin(value)]++;
}

void histogram_merge(struct histogram *into, const struct histogram *from)
{
    CHECK(into != from);
    if (from->count == 0)
        return;
    if (into->count == 0 || from->min < into->min)
        into->min = from->min;
    if (from->max > into->max)
        into->max = from->max;
    into->count += from->count;
    into->sum += from->sum;
    for (size_t bin = 0; bin < HISTOGRAM_BINS; bin++)
        into->bins[bin] += from->bins[bin];
}

uint64_t histogram_quantile(const struct histogram *histogram, double quantile)
{
    CHECK(quantile >= 0 && quantile <= 1);
    if (histogram->count == 0)
        return 0;
    uint64_t wanted = (uint64_t)(quantile * (double)histogram->count + 0.5);
    if (wanted >= histogram->count)
        return histogram->max;
    if (wanted == 0)
        wanted = 1;
    uint64_t seen = 0;
    for (size_t bin = 0; bin < HISTOGRAM_BINS; bin++) {
        seen += histogram->bins[bin];
        if (seen >= wanted) {
            uint64_t value = histogram_bin_value(bin);
            return value > histogram->max ? histogram->max : value < histogram->min ? histogram->min : value;
        }
    }
    UNREACHABLE();
}

double histogram_mean(const struct histogram *histogram)
{
    return histogram->count == 0 ? 0 : (double)histogram->sum / (double)histogram->count;
}
