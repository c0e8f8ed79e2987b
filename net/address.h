// Network addresses as the relay keeps them, and ranges of them. Pure; any thread.
#pragma once
#include "shards/base/bytes.h"

struct net_address {
    uint8_t bytes[16]; // IPv6, or IPv4 mapped (::ffff:a.b.c.d); of a UNIX socket's peer all zero
};

// The addresses that share the first `bits` bits (0..128, of the mapped form) with `first`.
struct address_range {
    struct net_address first;
    uint8_t bits;
};

#define ADDRESS_RANGE_TEXT_MAX 64 // with its NUL

// "192.0.2.1" or "2001:db8::1" (no brackets, port or zone). false: not an address, *ret_address untouched.
bool address_parse(struct bytes text, struct net_address *ret_address);
// "10.0.0.0/8", "2001:db8::/32", one address, or "unix" (peers of UNIX sockets). false: none of these, or bits set behind the prefix.
bool address_range_parse(const char *text, struct address_range *ret_range);
// The form that address_range_parse reads back. ret_text is filled and returned.
const char *address_range_text(const struct address_range *range, char ret_text[ADDRESS_RANGE_TEXT_MAX]);
bool address_in_ranges(const struct net_address *address, const struct address_range *ranges, size_t count);
