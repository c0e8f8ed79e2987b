// Addresses and ranges: texts good and bad, membership at the edges.
#include "net/address.h"

#include <stdio.h>

#include "shards/base/check.h"

static struct net_address address_of(const char *text)
{
    struct net_address address;
    if (!address_parse(bytes_text(text), &address)) {
        fprintf(stderr, "refused: %s\n", text);
        CHECK(false);
    }
    return address;
}

static void test_addresses(void)
{
    static const char *const bad[] = {"",         "1.2.3",     "1.2.3.4.5", "256.1.1.1",         "1.2.3.4 ", "[::1]",
                                      "::1%eth0", "1.2.3.4:5", "12345::",   "1:2:3:4:5:6:7:8:9", "x"};
    struct net_address kept = {{7}};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        CHECK(!address_parse(bytes_text(bad[i]), &kept) && kept.bytes[0] == 7);
    CHECK(!address_parse(bytes_of("1.2.3.4\0", 8), &kept));
    struct net_address v4 = address_of("192.0.2.1");
    CHECK(v4.bytes[10] == 0xff && v4.bytes[11] == 0xff && v4.bytes[12] == 192 && v4.bytes[15] == 1);
    struct net_address mapped = address_of("::ffff:192.0.2.1");
    CHECK(memcmp(&v4, &mapped, sizeof(v4)) == 0);
}

static void test_ranges(void)
{
    static const struct {
        const char *range, *address;
        bool inside;
    } cases[] = {
        {"10.0.0.0/8", "10.255.255.255", true},
        {"10.0.0.0/8", "11.0.0.0", false},
        {"10.0.0.0/8", "9.255.255.255", false},
        {"192.0.2.0/25", "192.0.2.127", true},
        {"192.0.2.0/25", "192.0.2.128", false},
        {"192.0.2.7", "192.0.2.7", true},
        {"192.0.2.7", "192.0.2.6", false},
        {"192.0.2.6/31", "192.0.2.7", true},
        {"0.0.0.0/0", "255.255.255.255", true},
        {"0.0.0.0/0", "::1", false},
        {"::/0", "1.2.3.4", true},
        {"2001:db8::/33", "2001:db8:7fff::1", true},
        {"2001:db8::/33", "2001:db8:8000::1", false},
        {"::1", "::1", true},
        {"::1", "::", false},
        {"unix", "::", true},
        {"unix", "127.0.0.1", false},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct address_range range, again;
        char text[ADDRESS_RANGE_TEXT_MAX];
        CHECK(address_range_parse(cases[i].range, &range));
        struct net_address address = address_of(cases[i].address);
        if (address_in_ranges(&address, &range, 1) != cases[i].inside) {
            fprintf(stderr, "%s in %s: expected %d\n", cases[i].address, cases[i].range, cases[i].inside);
            CHECK(false);
        }
        CHECK(address_range_parse(address_range_text(&range, text), &again));
        CHECK(again.bits == range.bits && memcmp(&again.first, &range.first, sizeof(range.first)) == 0);
    }
    struct net_address any = address_of("10.1.1.1");
    CHECK(!address_in_ranges(&any, NULL, 0));
}

static void test_bad_ranges(void)
{
    static const char *const bad[] = {"",       "/8",          "10.0.0.0/",   "10.0.0.0/33", "10.0.0.1/8", "10.0.0.0/-1",
                                      "::/129", "10.0.0.0/8/", "10.0.0.0/ 8", "::/0x10",     "unix/8",     "10.0.0.0/0008"};
    struct address_range range;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        if (address_range_parse(bad[i], &range)) {
            fprintf(stderr, "taken: %s\n", bad[i]);
            CHECK(false);
        }
}

int main(void)
{
    test_addresses();
    test_ranges();
    test_bad_ranges();
    return 0;
}
