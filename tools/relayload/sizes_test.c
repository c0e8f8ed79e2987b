// sizes: what is a distribution and what is not; draws stay inside it, follow the weights and repeat with the seed.
#include "tools/relayload/sizes.h"

#include "shards/base/check.h"
#include <stdio.h>
#include <stdlib.h>

static void test_parse(void)
{
    static const char *const good[] = {"0", "100", "64-4096", "100:9,16384:1", "1-2:3,4:5,6-7", "999955"};
    static const char *const bad[] = {
        "",   "-",     "x",     "100-",       "100-64",  "999956", "1,", "1:0", "1:", "1 ", "1--2", "-1", "18446744073709551617",
        ",1", "1:2:3", "1-2-3", "1:10000000", "1-999956"};
    struct sizes sizes;
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++)
        if (!sizes_parse(good[i], &sizes)) {
            printf("refused: %s\n", good[i]);
            exit(1);
        }
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        if (sizes_parse(bad[i], &sizes)) {
            printf("taken: \"%s\"\n", bad[i]);
            exit(1);
        }
}

static void test_draw(void)
{
    struct sizes sizes;
    uint64_t seed = 7, again = 7;
    unsigned small = 0, low = 0, high = 0;
    CHECK(sizes_parse("10:9,100-101:1", &sizes) && sizes_max(&sizes) == 101);
    for (unsigned i = 0; i < 10000; i++) {
        uint32_t size = sizes_draw(&sizes, &seed);
        CHECK(size == 10 || size == 100 || size == 101);
        CHECK(size == sizes_draw(&sizes, &again));
        small += size == 10;
        low += size == 100;
        high += size == 101;
    }
    CHECK(small > 8800 && small < 9200 && low > 350 && high > 350);
}

int main(void)
{
    test_parse();
    test_draw();
    return 0;
}
