// What reverse proxies say about the client: see proxy.h.
#include "net/proxy.h"

#include <stdio.h>

#include "shards/base/check.h"

#define V1_HEAD_MAX 107 // with CR LF, 2.1
#define V2_SIGNATURE_BYTES 12
#define V2_HEAD_BYTES 16
#define V2_LOCAL 0x20
#define V2_PROXY 0x21
#define V2_TCP4 0x11
#define V2_TCP6 0x21
#define FIELD_BYTES_MAX 4096
#define HOPS_MAX 32 // the nearest ones of a longer list

// ---- the PROXY protocol ----

static const uint8_t v2_signature[V2_SIGNATURE_BYTES] = {0x0d, 0x0a, 0x0d, 0x0a, 0x00, 0x0d, 0x0a, 0x51, 0x55, 0x49, 0x54, 0x0a};

static bool starts(struct bytes input, const void *prefix, size_t len)
{
    return memcmp(input.ptr, prefix, input.len < len ? input.len : len) == 0;
}

static enum proxy_status parse_v2(struct bytes input, struct net_address *ret_address, size_t *ret_len)
{
    const uint8_t *at = input.ptr;
    if (input.len < V2_HEAD_BYTES)
        return PROXY_INCOMPLETE;
    size_t len = V2_HEAD_BYTES + ((size_t)at[14] << 8 | at[15]);
    uint8_t command = at[12], family = at[13];
    size_t addresses = family == V2_TCP4 ? 12 : family == V2_TCP6 ? 36 : 0;
    if ((command != V2_LOCAL && command != V2_PROXY) || len > PROXY_HEAD_MAX || len < V2_HEAD_BYTES + (command == V2_PROXY ? addresses : 0))
        return PROXY_BAD;
    if (input.len < len)
        return PROXY_INCOMPLETE;
    if (command == V2_PROXY && family == V2_TCP4)
        *ret_address = (struct net_address){.bytes = {[10] = 0xff, [11] = 0xff, at[16], at[17], at[18], at[19]}};
    else if (command == V2_PROXY && family == V2_TCP6)
        memcpy(ret_address->bytes, at + V2_HEAD_BYTES, sizeof(ret_address->bytes));
    *ret_len = len;
    return PROXY_OK;
}

// The next word of a line whose words stand one blank apart.
static struct bytes next_word(struct bytes *line)
{
    const uint8_t *blank = line->len > 0 ? memchr(line->ptr, ' ', line->len) : NULL;
    struct bytes word = bytes_of(line->ptr, blank != NULL ? (size_t)(blank - line->ptr) : line->len);
    size_t used = word.len + (blank != NULL);
    *line = bytes_of(line->ptr + used, line->len - used);
    return word;
}

static bool is_port(struct bytes word)
{
    unsigned port = 0;
    if (word.len < 1 || word.len > 5)
        return false;
    for (size_t i = 0; i < word.len; i++) {
        if (word.ptr[i] < '0' || word.ptr[i] > '9')
            return false;
        port = port * 10 + (unsigned)(word.ptr[i] - '0');
    }
    return port <= 65535;
}

// What follows "PROXY ", without CR LF.
static bool parse_v1_line(struct bytes line, struct net_address *ret_address)
{
    struct bytes family = next_word(&line);
    struct net_address source, target;
    if (bytes_equal(family, bytes_text("UNKNOWN")))
        return true;
    bool ipv6 = bytes_equal(family, bytes_text("TCP6"));
    if (!ipv6 && !bytes_equal(family, bytes_text("TCP4")))
        return false;
    struct bytes words[4];
    for (size_t i = 0; i < 4; i++)
        words[i] = next_word(&line);
    if (line.len > 0 || line.ptr[-1] == ' ' || !address_parse(words[0], &source) || !address_parse(words[1], &target) ||
        !is_port(words[2]) || !is_port(words[3]))
        return false;
    for (size_t i = 0; i < 2; i++)
        if ((memchr(words[i].ptr, ':', words[i].len) != NULL) != ipv6)
            return false;
    *ret_address = source;
    return true;
}

static enum proxy_status parse_v1(struct bytes input, struct net_address *ret_address, size_t *ret_len)
{
    const uint8_t *end = memchr(input.ptr, '\n', input.len < V1_HEAD_MAX ? input.len : V1_HEAD_MAX);
    if (end == NULL)
        return input.len < V1_HEAD_MAX ? PROXY_INCOMPLETE : PROXY_BAD;
    size_t line_len = (size_t)(end - input.ptr);
    if (line_len < 7 || end[-1] != '\r' || !parse_v1_line(bytes_of(input.ptr + 6, line_len - 7), ret_address))
        return PROXY_BAD;
    *ret_len = line_len + 1;
    return PROXY_OK;
}

enum proxy_status proxy_parse(struct bytes input, struct net_address *ret_address, size_t *ret_len)
{
    CHECK(ret_address != NULL && ret_len != NULL);
    if (input.len == 0)
        return PROXY_INCOMPLETE;
    if (starts(input, v2_signature, sizeof(v2_signature)))
        return parse_v2(input, ret_address, ret_len);
    if (starts(input, "PROXY ", 6))
        return parse_v1(input, ret_address, ret_len);
    return PROXY_BAD;
}

// ---- fields of a request ----

struct hops {
    struct bytes list[HOPS_MAX]; // left to right, as sent
    size_t count;
};

static void add_hop(struct hops *hops, struct bytes hop)
{
    if (hops->count == HOPS_MAX) {
        memmove(hops->list, hops->list + 1, (HOPS_MAX - 1) * sizeof(hops->list[0]));
        hops->count--;
    }
    hops->list[hops->count++] = hop;
}

static struct bytes trim(struct bytes text)
{
    while (text.len > 0 && (text.ptr[0] == ' ' || text.ptr[0] == '\t'))
        text = bytes_of(text.ptr + 1, text.len - 1);
    while (text.len > 0 && (text.ptr[text.len - 1] == ' ' || text.ptr[text.len - 1] == '\t'))
        text.len--;
    return text;
}

// The text up to the next `mark` outside of quotes; *text becomes what follows it.
static struct bytes next_part(struct bytes *text, char mark)
{
    bool quoted = false;
    size_t len = 0;
    for (; len < text->len && (quoted || text->ptr[len] != (uint8_t)mark); len++) {
        if (text->ptr[len] == '"')
            quoted = !quoted;
        else if (quoted && text->ptr[len] == '\\' && len + 1 < text->len)
            len++;
    }
    struct bytes part = bytes_of(text->ptr, len);
    size_t used = len < text->len ? len + 1 : len;
    *text = bytes_of(text->ptr + used, text->len - used);
    return trim(part);
}

static struct bytes unquote(struct bytes text)
{
    if (text.len >= 2 && text.ptr[0] == '"' && text.ptr[text.len - 1] == '"')
        return bytes_of(text.ptr + 1, text.len - 2);
    return text;
}

// "192.0.2.1", "192.0.2.1:80", "[2001:db8::1]", "[2001:db8::1]:80", "2001:db8::1".
static bool parse_hop(struct bytes text, struct net_address *ret_address)
{
    if (text.len > 0 && text.ptr[0] == '[') {
        const uint8_t *end = memchr(text.ptr, ']', text.len);
        size_t after = end != NULL ? (size_t)(end - text.ptr) + 1 : 0;
        bool sound =
            end != NULL && (after == text.len || text.ptr[after] == ':') && memchr(text.ptr, ':', (size_t)(end - text.ptr)) != NULL;
        return sound && address_parse(bytes_of(text.ptr + 1, after - 2), ret_address);
    }
    const uint8_t *colon = text.len > 0 ? memchr(text.ptr, ':', text.len) : NULL;
    bool port = colon != NULL && memchr(colon + 1, ':', text.len - (size_t)(colon + 1 - text.ptr)) == NULL;
    return address_parse(port ? bytes_of(text.ptr, (size_t)(colon - text.ptr)) : text, ret_address);
}

// Each proxy writes to the right whom it talked to: what the trusted ones wrote is true, what stands left of it anyone can have sent.
static bool nearest_untrusted(const struct hops *hops, const struct address_range *trusted, size_t count, struct net_address *ret_address)
{
    bool found = false;
    for (size_t i = hops->count; i-- > 0;) {
        struct net_address address;
        if (!parse_hop(hops->list[i], &address))
            break;
        *ret_address = address;
        found = true;
        if (!address_in_ranges(&address, trusted, count))
            break;
    }
    return found;
}

// RFC 7239 4: elements by comma, in each parameters by semicolon.
static struct bytes forwarded_for(struct bytes element)
{
    while (element.len > 0) {
        struct bytes pair = next_part(&element, ';');
        if (pair.len > 4 && (pair.ptr[0] | 0x20) == 'f' && (pair.ptr[1] | 0x20) == 'o' && (pair.ptr[2] | 0x20) == 'r' && pair.ptr[3] == '=')
            return unquote(bytes_of(pair.ptr + 4, pair.len - 4));
    }
    return bytes_of(NULL, 0);
}

static bool from_list(const struct http_request *request, const char *name, bool pairs, const struct address_range *trusted, size_t count,
                      struct net_address *ret_address)
{
    char joined[FIELD_BYTES_MAX];
    struct hops hops = {.count = 0};
    int len = http_header_joined(request, name, joined, sizeof(joined));
    if (len <= 0)
        return false;
    struct bytes rest = bytes_of(joined, (size_t)len);
    while (rest.len > 0) {
        struct bytes element = next_part(&rest, ',');
        add_hop(&hops, pairs ? forwarded_for(element) : element);
    }
    return nearest_untrusted(&hops, trusted, count, ret_address);
}

bool proxy_client(const struct http_request *request, const struct address_range *trusted, size_t trusted_count,
                  struct net_address *ret_address)
{
    CHECK(request != NULL && ret_address != NULL);
    return address_parse(trim(http_header(request, "True-Client-IP")), ret_address) ||
           address_parse(trim(http_header(request, "X-Real-IP")), ret_address) ||
           from_list(request, "X-Forwarded-For", /* pairs= */ false, trusted, trusted_count, ret_address) ||
           from_list(request, "Forwarded", /* pairs= */ true, trusted, trusted_count, ret_address);
}
