// histogram: every value read back lies within 1 % of one that went in, quantiles agree with a sorted array, merge equals one histogram.
#include "tools/relayload/histogram.h"

#include "shards/base/check.h"
#include <stdio.h>
#include <stdlib.h>

static uint64_t seed = 88172645463325252ull;

static uint64_t next_random(void)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return seed;
}

static int by_value(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

static void expect_close(uint64_t value, uint64_t got)
{
    uint64_t difference = got > value ? got - value : value - got;
    if (difference * 100 > value) {
        printf("value %llu came back as %llu\n", (unsigned long long)value, (unsigned long long)got);
        exit(1);
    }
}

static void test_bins(void)
{
    size_t last = 0;
    for (uint64_t value = 0; value < 1ull << HISTOGRAM_VALUE_BITS; value += 1 + value / 1000) {
        size_t bin = histogram_bin(value);
        CHECK(bin < HISTOGRAM_BINS && bin >= last && bin <= last + 1);
        expect_close(value, histogram_bin_value(bin));
        last = bin;
    }
    CHECK(last == HISTOGRAM_BINS - 1);
    CHECK(histogram_bin(UINT64_MAX) == HISTOGRAM_BINS - 1);
}

static void test_quantiles(void)
{
    static struct histogram whole, half[2], merged;
    enum { COUNT = 20001 };
    static uint64_t values[COUNT];
    for (size_t i = 0; i < COUNT; i++) {
        values[i] = next_random() >> (24 + next_random() % 38);
        histogram_add(&whole, values[i]);
        histogram_add(&half[i % 2], values[i]);
    }
    qsort(values, COUNT, sizeof values[0], by_value);
    static const double quantiles[] = {0, 0.01, 0.5, 0.9, 0.99, 0.999, 0.9999, 1};
    histogram_merge(&merged, &half[0]);
    histogram_merge(&merged, &half[1]);
    for (size_t i = 0; i < sizeof quantiles / sizeof quantiles[0]; i++) {
        size_t rank = (size_t)(quantiles[i] * COUNT + 0.5);
        expect_close(values[rank == 0 ? 0 : rank - 1], histogram_quantile(&whole, quantiles[i]));
        CHECK(histogram_quantile(&whole, quantiles[i]) == histogram_quantile(&merged, quantiles[i]));
    }
    CHECK(whole.max == values[COUNT - 1] && whole.min == values[0]);
    CHECK(histogram_quantile(&whole, 1) == values[COUNT - 1]);
    CHECK(merged.count == COUNT && merged.sum == whole.sum);
}

static void test_edges(void)
{
    static struct histogram empty, one;
    CHECK(histogram_quantile(&empty, 0.5) == 0 && histogram_mean(&empty) == 0);
    histogram_add(&one, UINT64_MAX / 2);
    CHECK(histogram_quantile(&one, 0.5) == UINT64_MAX / 2 && histogram_quantile(&one, 1) == UINT64_MAX / 2);
}

int main(void)
{
    test_bins();
    test_quantiles();
    test_edges();
    return 0;
}
