// See sizes.h.
#include "tools/relayload/sizes.h"

#include "shards/base/check.h"
#include <stdlib.h>
#include <string.h>

uint64_t sizes_random(uint64_t *seed)
{
    uint64_t z = *seed += 0x9e3779b97f4a7c15ull;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
    return z ^ (z >> 31);
}

// A number not above max at *text, which moves behind it.
static bool read_number(const char **text, uint32_t max, uint32_t *ret_number)
{
    uint64_t number = 0;
    const char *at = *text;
    for (; *at >= '0' && *at <= '9' && number <= max; at++)
        number = number * 10 + (uint64_t)(*at - '0');
    if (at == *text || number > max)
        return false;
    *text = at;
    *ret_number = (uint32_t)number;
    return true;
}

bool sizes_parse(const char *text, struct sizes *ret_sizes)
{
    struct sizes sizes = {0};
    for (;; text++) {
        if (sizes.count == SIZES_ITEMS_MAX)
            return false;
        uint32_t min, max, weight = 1;
        if (!read_number(&text, SIZES_BYTES_MAX, &min))
            return false;
        max = min;
        if (*text == '-' && (text++, !read_number(&text, SIZES_BYTES_MAX, &max)))
            return false;
        if (*text == ':' && (text++, !read_number(&text, 1000000, &weight)))
            return false;
        if (max < min || weight == 0)
            return false;
        sizes.items[sizes.count].min = min;
        sizes.items[sizes.count].max = max;
        sizes.items[sizes.count++].weight = weight;
        sizes.weight_sum += weight;
        if (*text != ',')
            break;
    }
    if (*text != '\0')
        return false;
    *ret_sizes = sizes;
    return true;
}

uint32_t sizes_draw(const struct sizes *sizes, uint64_t *seed)
{
    CHECK(sizes->count > 0);
    unsigned i = 0;
    if (sizes->count > 1) {
        uint32_t at = (uint32_t)(sizes_random(seed) % sizes->weight_sum);
        while (at >= sizes->items[i].weight)
            at -= sizes->items[i++].weight;
    }
    CHECK(i < sizes->count);
    uint32_t span = sizes->items[i].max - sizes->items[i].min;
    return sizes->items[i].min + (span == 0 ? 0 : (uint32_t)(sizes_random(seed) % (span + 1)));
}

uint32_t sizes_max(const struct sizes *sizes)
{
    uint32_t max = 0;
    for (unsigned i = 0; i < sizes->count; i++)
        if (sizes->items[i].max > max)
            max = sizes->items[i].max;
    return max;
}
