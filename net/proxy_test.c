// PROXY heads good and bad, at every prefix length; fields of requests from proxies.
#include "net/proxy.h"

#include <stdio.h>
#include <stdlib.h>

#include "shards/base/check.h"

#define V2 "\r\n\r\n\0\r\nQUIT\n"
#define HEAD(text)                                                                                                                         \
    {                                                                                                                                      \
        text, sizeof(text) - 1                                                                                                             \
    }

static const struct {
    struct {
        const char *ptr;
        size_t len;
    } head;
    enum proxy_status status;
    const char *address; // NULL: untouched
} cases[] = {
    {HEAD("PROXY TCP4 192.0.2.7 10.0.0.1 56324 443\r\n"), PROXY_OK, "192.0.2.7"},
    {HEAD("PROXY TCP6 2001:db8::7 ::1 1 65535\r\n"), PROXY_OK, "2001:db8::7"},
    {HEAD("PROXY UNKNOWN\r\n"), PROXY_OK, NULL},
    {HEAD("PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n"), PROXY_OK, NULL},
    {HEAD("PROXY \r\n"), PROXY_BAD, NULL},
    {HEAD("PROXY TCP4 192.0.2.7 10.0.0.1 56324 443\n"), PROXY_BAD, NULL},
    {HEAD("PROXY TCP4 192.0.2.7 10.0.0.1 56324\r\n"), PROXY_BAD, NULL},
    {HEAD("PROXY TCP4 192.0.2.7 10.0.0.1 56324 443 \r\n"), PROXY_BAD, NULL},
    {HEAD("PROXY TCP4 192.0.2.7 10.0.0.1 56324 443 x\r\n"), PROXY_BAD, NULL},
    {HEAD("PROXY TCP4 192.0.2.7 10.0.0.1 65536 443\r\n"), PROXY_BAD, NULL},
    {HEAD("PROXY TCP4  192.0.2.7 10.0.0.1 56324 443\r\n"), PROXY_BAD, NULL},
    {HEAD("PROXY TCP4 2001:db8::7 10.0.0.1 1 2\r\n"), PROXY_BAD, NULL},
    {HEAD("PROXY TCP6 192.0.2.7 10.0.0.1 1 2\r\n"), PROXY_BAD, NULL},
    {HEAD("PROXY UDP4 192.0.2.7 10.0.0.1 1 2\r\n"), PROXY_BAD, NULL},
    {HEAD("PROXY UNKNOWN 0123456789 0123456789 0123456789 0123456789 0123456789 0123456789 0123456789 0123456789 01\r\n"), PROXY_OK, NULL},
    {HEAD("PROXY UNKNOWN 0123456789 0123456789 0123456789 0123456789 0123456789 0123456789 0123456789 0123456789 0123456\r\n"), PROXY_BAD,
     NULL},
    {HEAD("proxy TCP4 192.0.2.7 10.0.0.1 1 2\r\n"), PROXY_BAD, NULL},
    {HEAD("GET / HTTP/1.1\r\n"), PROXY_BAD, NULL},
    {HEAD("\x16\x03\x01"), PROXY_BAD, NULL},
    {HEAD(V2 "\x21\x11\0\x0c\xc0\0\x02\x07\x0a\0\0\x01\x12\x34\x01\xbb"), PROXY_OK, "192.0.2.7"},
    {HEAD(V2 "\x21\x21\0\x24\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x07\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01\0\x01\0\x02"), PROXY_OK,
     "2001:db8::7"},
    {HEAD(V2 "\x21\x11\0\x10\xc0\0\x02\x07\x0a\0\0\x01\x12\x34\x01\xbb\x04\0\x01x"), PROXY_OK, "192.0.2.7"},
    {HEAD(V2 "\x20\0\0\0"), PROXY_OK, NULL},
    {HEAD(V2 "\x20\x11\0\x0c\xc0\0\x02\x07\x0a\0\0\x01\x12\x34\x01\xbb"), PROXY_OK, NULL},
    {HEAD(V2 "\x21\0\0\x02xx"), PROXY_OK, NULL},
    {HEAD(V2 "\x21\x11\0\x0b\xc0\0\x02\x07\x0a\0\0\x01\x12\x34\x01"), PROXY_BAD, NULL},
    {HEAD(V2 "\x22\x11\0\x0c"), PROXY_BAD, NULL},
    {HEAD(V2 "\x11\x11\0\x0c"), PROXY_BAD, NULL},
    {HEAD(V2 "\x21\x11\xff\xff"), PROXY_BAD, NULL},
    {HEAD("\r\n\r\n\0\r\nQUIT\r"), PROXY_BAD, NULL},
};

static const struct net_address kept = {{9, 9, 9}};

// In memory of its exact size, so that AddressSanitizer sees a read beyond it.
static enum proxy_status parse(const char *ptr, size_t len, struct net_address *ret_address, size_t *ret_len)
{
    uint8_t *copy = malloc(len + 1);
    CHECK(copy != NULL);
    memcpy(copy + 1, ptr, len);
    *ret_address = kept;
    enum proxy_status status = proxy_parse(bytes_of(copy + 1, len), ret_address, ret_len);
    free(copy);
    return status;
}

static bool is_address(const struct net_address *address, const char *text)
{
    struct net_address wanted = kept;
    CHECK(text == NULL || address_parse(bytes_text(text), &wanted));
    return memcmp(address, &wanted, sizeof(wanted)) == 0;
}

static void test_heads(void)
{
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct net_address address;
        size_t whole = cases[i].head.len, len = 0;
        enum proxy_status status = parse(cases[i].head.ptr, whole, &address, &len);
        if (status != cases[i].status || !is_address(&address, cases[i].address) || (status == PROXY_OK && len != whole)) {
            fprintf(stderr, "case %zu: status %d, length %zu of %zu\n", i, status, len, whole);
            CHECK(false);
        }
        for (size_t part = 0; part < whole; part++) {
            status = parse(cases[i].head.ptr, part, &address, &len);
            CHECK(status == PROXY_INCOMPLETE || (status == PROXY_BAD && cases[i].status == PROXY_BAD));
            CHECK(is_address(&address, NULL));
        }
        char longer[256];
        memcpy(longer, cases[i].head.ptr, whole);
        memcpy(longer + whole, "GET", 3);
        CHECK(parse(longer, whole + 3, &address, &len) == cases[i].status && (cases[i].status != PROXY_OK || len == whole));
    }
}

static const struct {
    const char *fields;
    const char *address; // NULL: none found
} requests[] = {
    {"", NULL},
    {"True-Client-IP: 192.0.2.1\r\nX-Real-IP: 192.0.2.2\r\nX-Forwarded-For: 192.0.2.3\r\nForwarded: for=192.0.2.4\r\n", "192.0.2.1"},
    {"X-Real-IP: 192.0.2.2\r\nX-Forwarded-For: 192.0.2.3\r\nForwarded: for=192.0.2.4\r\n", "192.0.2.2"},
    {"X-Forwarded-For: 192.0.2.3\r\nForwarded: for=192.0.2.4\r\n", "192.0.2.3"},
    {"Forwarded: for=192.0.2.4\r\n", "192.0.2.4"},
    {"X-Real-IP: nonsense\r\nX-Forwarded-For: 192.0.2.3\r\n", "192.0.2.3"},
    {"X-Forwarded-For: 6.6.6.6, 192.0.2.3, 10.0.0.2, 10.0.0.1\r\n", "192.0.2.3"},
    {"X-Forwarded-For: 6.6.6.6\r\nX-Forwarded-For: 192.0.2.3 , 10.0.0.2\r\n", "192.0.2.3"},
    {"X-Forwarded-For: 10.0.0.3, 10.0.0.2\r\n", "10.0.0.3"},
    {"X-Forwarded-For: 6.6.6.6, unknown, 10.0.0.2\r\n", "10.0.0.2"},
    {"X-Forwarded-For: unknown\r\n", NULL},
    {"X-Forwarded-For: 192.0.2.3:4711\r\n", "192.0.2.3"},
    {"X-Forwarded-For: [2001:db8::7]:4711\r\n", "2001:db8::7"},
    {"X-Forwarded-For: 2001:db8::7\r\n", "2001:db8::7"},
    {"X-Forwarded-For: [2001:db8::7\r\n", NULL},
    {"X-Forwarded-For: []\r\n", NULL},
    {"X-Forwarded-For: ,,\r\n", NULL},
    {"Forwarded: for=6.6.6.6;proto=http;by=1.1.1.1, by=10.0.0.9; For=\"[2001:db8::7]:4711\"\r\n", "2001:db8::7"},
    {"Forwarded: for=192.0.2.9, for=10.0.0.2;host=\"a,b;for=6.6.6.6\"\r\n", "192.0.2.9"},
    {"Forwarded: for=_hidden, for=10.0.0.2\r\n", "10.0.0.2"},
    {"Forwarded: for=192.0.2.9, proto=https\r\n", NULL},
    {"Forwarded: for=\"192.0.2.9\r\n", NULL},
};

static bool client_of(const char *fields, struct net_address *ret_address)
{
    static struct http_request request; // as in a shard: outlives the call
    struct address_range trusted;
    char head[8192];
    size_t head_len = 0;
    int len = snprintf(head, sizeof(head), "GET / HTTP/1.1\r\nHost: x\r\n%s\r\n", fields);
    CHECK(len > 0 && (size_t)len < sizeof(head) && address_range_parse("10.0.0.0/8", &trusted));
    CHECK(http_parse(bytes_of(head, (size_t)len), &request, &head_len) == HTTP_OK);
    *ret_address = kept;
    return proxy_client(&request, &trusted, 1, ret_address);
}

static void test_requests(void)
{
    for (size_t i = 0; i < sizeof(requests) / sizeof(requests[0]); i++) {
        struct net_address address;
        bool found = client_of(requests[i].fields, &address);
        if (found != (requests[i].address != NULL) || !is_address(&address, requests[i].address)) {
            fprintf(stderr, "request %zu: %s", i, requests[i].fields);
            CHECK(false);
        }
    }
}

// A client may send as long a list as it likes: what the proxies wrote behind it counts.
static void test_long_list(void)
{
    char fields[4096] = "X-Forwarded-For: ";
    struct net_address address;
    size_t len = strlen(fields);
    for (int i = 0; i < 100; i++)
        len += (size_t)snprintf(fields + len, sizeof(fields) - len, "10.0.0.3, ");
    snprintf(fields + len, sizeof(fields) - len, "192.0.2.3, 10.0.0.2\r\n");
    CHECK(client_of(fields, &address) && is_address(&address, "192.0.2.3"));
}

int main(void)
{
    test_heads();
    test_requests();
    test_long_list();
    return 0;
}
