// Network addresses: see address.h.
#include "net/address.h"

#include <arpa/inet.h>
#include <stdio.h>

#include "shards/base/check.h"

#define MAPPED_BITS 96 // of ::ffff:0.0.0.0

static const uint8_t mapped[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

bool address_parse(struct bytes text, struct net_address *ret_address)
{
    char copy[INET6_ADDRSTRLEN];
    struct net_address address = {{0}};
    if (text.len == 0 || text.len >= sizeof(copy) || memchr(text.ptr, '\0', text.len) != NULL)
        return false;
    memcpy(copy, text.ptr, text.len);
    copy[text.len] = '\0';
    if (inet_pton(AF_INET, copy, address.bytes + sizeof(mapped)) == 1)
        memcpy(address.bytes, mapped, sizeof(mapped));
    else if (inet_pton(AF_INET6, copy, address.bytes) != 1)
        return false;
    *ret_address = address;
    return true;
}

// Do the two agree in their first `bits` bits?
static bool same_prefix(const struct net_address *a, const struct net_address *b, unsigned bits)
{
    CHECK(bits <= 128);
    unsigned whole = bits / 8, rest = bits % 8;
    if (memcmp(a->bytes, b->bytes, whole) != 0)
        return false;
    return rest == 0 || (a->bytes[whole] ^ b->bytes[whole]) >> (8 - rest) == 0;
}

static bool parse_bits(const char *text, unsigned max, unsigned *ret_bits)
{
    size_t len = strlen(text);
    unsigned bits = 0;
    if (len < 1 || len > 3)
        return false;
    for (size_t i = 0; i < len; i++) {
        if (text[i] < '0' || text[i] > '9')
            return false;
        bits = bits * 10 + (unsigned)(text[i] - '0');
    }
    *ret_bits = bits;
    return bits <= max;
}

bool address_range_parse(const char *text, struct address_range *ret_range)
{
    CHECK(text != NULL && ret_range != NULL);
    struct address_range range = {.bits = 128};
    if (strcmp(text, "unix") == 0) {
        *ret_range = range;
        return true;
    }
    const char *slash = strchr(text, '/');
    size_t len = slash != NULL ? (size_t)(slash - text) : strlen(text);
    if (!address_parse(bytes_of(text, len), &range.first))
        return false;
    unsigned base = memchr(text, ':', len) != NULL ? 0 : MAPPED_BITS;
    unsigned bits = 128 - base;
    if (slash != NULL && !parse_bits(slash + 1, 128 - base, &bits))
        return false;
    range.bits = (uint8_t)(base + bits);
    struct net_address masked = range.first;
    for (unsigned bit = range.bits; bit < 128; bit++)
        masked.bytes[bit / 8] &= (uint8_t) ~(0x80u >> bit % 8);
    if (memcmp(&masked, &range.first, sizeof(masked)) != 0)
        return false;
    *ret_range = range;
    return true;
}

const char *address_range_text(const struct address_range *range, char ret_text[ADDRESS_RANGE_TEXT_MAX])
{
    static const struct net_address unix_peer = {{0}};
    char address[INET6_ADDRSTRLEN];
    bool ipv4 = range->bits >= MAPPED_BITS && memcmp(range->first.bytes, mapped, sizeof(mapped)) == 0;
    if (range->bits == 128 && memcmp(&range->first, &unix_peer, sizeof(unix_peer)) == 0) {
        snprintf(ret_text, ADDRESS_RANGE_TEXT_MAX, "unix");
        return ret_text;
    }
    const void *binary = range->first.bytes + (ipv4 ? sizeof(mapped) : 0);
    CHECK(inet_ntop(ipv4 ? AF_INET : AF_INET6, binary, address, sizeof(address)) != NULL);
    snprintf(ret_text, ADDRESS_RANGE_TEXT_MAX, "%s/%u", address, range->bits - (ipv4 ? MAPPED_BITS : 0u));
    return ret_text;
}

bool address_in_ranges(const struct net_address *address, const struct address_range *ranges, size_t count)
{
    CHECK(address != NULL && (ranges != NULL || count == 0));
    for (size_t i = 0; i < count; i++)
        if (same_prefix(address, &ranges[i].first, ranges[i].bits))
            return true;
    return false;
}
