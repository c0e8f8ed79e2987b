// Text to value, for options wherever they come from. Pure: no I/O, no state.
#include "tools/values.h"
#include "shards/base/check.h"
#include <arpa/inet.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#define BACKBONE_PORT 4000 // protocols/backbone.md

static const char *const scheme_names[LISTEN_SCHEME_COUNT] = {[LISTEN_BUCKETS] = "buckets", [LISTEN_BACKBONE] = "backbone"};

// Digits at the start of text. NULL: none, or more than fits.
static const char *digits(const char *text, uint64_t *ret_number)
{
    uint64_t number = 0;
    const char *at = text;
    for (; *at >= '0' && *at <= '9'; at++) {
        if (__builtin_mul_overflow(number, 10u, &number) || __builtin_add_overflow(number, (uint64_t)(*at - '0'), &number))
            return NULL;
    }
    if (at == text)
        return NULL;
    *ret_number = number;
    return at;
}

bool value_number(const char *text, uint64_t *ret_number)
{
    CHECK(text != NULL && ret_number != NULL);
    uint64_t number;
    const char *end = digits(text, &number);
    if (end == NULL || *end != '\0')
        return false;
    *ret_number = number;
    return true;
}

struct unit {
    const char *name;
    uint64_t factor;
};

static const struct unit size_units[] = {{"g", 1u << 30}, {"m", 1u << 20}, {"k", 1u << 10}, {"", 1}};
static const struct unit duration_units[] = {
    {"d", 86400000000000u}, {"h", 3600000000000u}, {"m", 60000000000u}, {"s", 1000000000u}, {"", 1000000000u}, {"ms", 1000000u},
};

static bool with_unit(const char *text, const struct unit *units, size_t count, uint64_t *ret_value)
{
    uint64_t number;
    uint64_t value;
    const char *end = digits(text, &number);
    if (end == NULL)
        return false;
    for (size_t i = 0; i < count; i++) {
        if (strcasecmp(end, units[i].name) != 0)
            continue;
        if (__builtin_mul_overflow(number, units[i].factor, &value))
            return false;
        *ret_value = value;
        return true;
    }
    return false;
}

bool value_size(const char *text, uint64_t *ret_bytes)
{
    CHECK(text != NULL && ret_bytes != NULL);
    return with_unit(text, size_units, sizeof size_units / sizeof *size_units, ret_bytes);
}

bool value_duration(const char *text, uint64_t *ret_duration_ns)
{
    CHECK(text != NULL && ret_duration_ns != NULL);
    return with_unit(text, duration_units, sizeof duration_units / sizeof *duration_units, ret_duration_ns);
}

static const char *in_units(uint64_t value, const struct unit *units, size_t count, char *ret_text)
{
    size_t i = 0;
    while (i + 1 < count && (value == 0 ? units[i].factor != 1 : value % units[i].factor != 0))
        i++;
    snprintf(ret_text, VALUE_TEXT_MAX, "%" PRIu64 "%s", value / units[i].factor, units[i].name);
    return ret_text;
}

const char *value_size_text(uint64_t bytes, char ret_text[VALUE_TEXT_MAX])
{
    return in_units(bytes, size_units, sizeof size_units / sizeof *size_units, ret_text);
}

const char *value_duration_text(uint64_t duration_ns, char ret_text[VALUE_TEXT_MAX])
{
    CHECK(duration_ns % 1000000u == 0);
    return in_units(duration_ns, duration_units, sizeof duration_units / sizeof *duration_units, ret_text);
}

bool value_truth(const char *text, bool *ret_truth)
{
    static const char *const words[] = {"0", "1", "false", "true", "no", "yes", "off", "on"};
    CHECK(text != NULL && ret_truth != NULL);
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        if (strcasecmp(text, words[i]) == 0) {
            *ret_truth = i % 2 == 1;
            return true;
        }
    }
    return false;
}

static const char *address_of(const char *text, size_t len, bool bracketed, struct listen_config *listen)
{
    unsigned char binary[sizeof(struct in6_addr)];
    char address[CONFIG_ADDRESS_MAX];
    if (len == 0 || len >= sizeof address)
        return "is not an IPv4 or IPv6 address";
    memcpy(address, text, len);
    address[len] = '\0';
    if (!bracketed && inet_pton(AF_INET, address, binary) == 1)
        listen->family = LISTEN_IPV4;
    else if (inet_pton(AF_INET6, address, binary) == 1)
        listen->family = LISTEN_IPV6;
    else
        return "is not an IPv4 or IPv6 address";
    memcpy(listen->address, address, len + 1);
    return NULL;
}

const char *value_address(const char *text, struct listen_config *ret_listen)
{
    CHECK(text != NULL && ret_listen != NULL);
    size_t len = strlen(text);
    if (len >= 2 && text[0] == '[' && text[len - 1] == ']')
        return address_of(text + 1, len - 2, true, ret_listen);
    return address_of(text, len, false, ret_listen);
}

static const char *unix_path(const char *path, struct listen_config *listen)
{
    size_t len = strlen(path);
    if (len == 0)
        return "names no path after unix:";
    if (len >= CONFIG_ADDRESS_MAX)
        return "has a path longer than 107 bytes";
    listen->family = LISTEN_UNIX;
    listen->port = 0;
    memcpy(listen->address, path, len + 1);
    return NULL;
}

// "proxy+tls+buckets:" at the start of text. Returns what follows; text itself when its first word is none of ours.
static const char *listen_words(const char *text, struct listen_config *listen)
{
    struct listen_config found = *listen;
    const char *at = text;
    for (;;) {
        size_t len = strcspn(at, "+:");
        bool known = true;
        if (len == 3 && strncmp(at, "tls", len) == 0) {
            found.tls = true;
        } else if (len == 5 && strncmp(at, "proxy", len) == 0) {
            found.proxy = true;
        } else {
            known = false;
            for (unsigned i = 0; i < LISTEN_SCHEME_COUNT && !known; i++) {
                known = strlen(scheme_names[i]) == len && strncmp(at, scheme_names[i], len) == 0;
                found.scheme = known ? (enum listen_scheme)i : found.scheme;
            }
        }
        if (!known || at[len] == '\0')
            return text;
        at += len + 1;
        if (at[-1] == ':')
            break;
    }
    *listen = found;
    return at;
}

const char *value_listen(const char *text, struct listen_config *ret_listen)
{
    CHECK(text != NULL && ret_listen != NULL);
    struct listen_config listen = {.scheme = LISTEN_BUCKETS};
    text = listen_words(text, &listen);
    if (strncmp(text, "unix:", 5) == 0) {
        const char *bad = unix_path(text + 5, &listen);
        if (bad == NULL)
            *ret_listen = listen;
        return bad;
    }
    const char *colon = strrchr(text, ':');
    uint64_t port;
    if (listen.scheme == LISTEN_BACKBONE && (colon == NULL || colon[1 + strcspn(colon, "]")] == ']')) {
        listen.port = BACKBONE_PORT;
        const char *bad = value_address(text, &listen);
        if (bad == NULL)
            *ret_listen = listen;
        return bad;
    }
    if (colon == NULL || !value_number(colon + 1, &port) || port < 1 || port > 65535)
        return "is not [SCHEME:]ADDR:PORT (127.0.0.1:9001, [::1]:9001) or unix:PATH";
    bool bracketed = text[0] == '[' && colon[-1] == ']';
    if (!bracketed && memchr(text, ':', (size_t)(colon - text)) != NULL)
        return "has an unknown scheme (known: buckets, backbone, tls, proxy) or an IPv6 address without brackets";
    const char *bad = bracketed ? address_of(text + 1, (size_t)(colon - text) - 2, true, &listen)
                                : address_of(text, (size_t)(colon - text), false, &listen);
    if (bad != NULL)
        return bad;
    listen.port = (uint16_t)port;
    *ret_listen = listen;
    return NULL;
}

void value_listen_text(const struct listen_config *listen, char *ret_text, size_t text_max)
{
    CHECK(listen->scheme < LISTEN_SCHEME_COUNT);
    const char *ways = listen->proxy && listen->tls ? "proxy+tls+" : listen->tls ? "tls+" : listen->proxy ? "proxy+" : "";
    const char *scheme = scheme_names[listen->scheme];
    int len = 0;
    if (listen->family == LISTEN_UNIX)
        len = snprintf(ret_text, text_max, "%s%s:unix:%s", ways, scheme, listen->address);
    else if (listen->family == LISTEN_IPV6)
        len = snprintf(ret_text, text_max, "%s%s:[%s]:%u", ways, scheme, listen->address, listen->port);
    else
        len = snprintf(ret_text, text_max, "%s%s:%s:%u", ways, scheme, listen->address, listen->port);
    CHECK(len > 0 && (size_t)len < text_max);
}

#define NAME_MAX_BYTES 63

// Optimal string alignment distance (Levenshtein with swaps of neighbours).
static unsigned distance(const char *a, size_t a_len, const char *b, size_t b_len)
{
    unsigned char rows[3][NAME_MAX_BYTES + 2];
    CHECK(a_len <= NAME_MAX_BYTES && b_len <= NAME_MAX_BYTES);
    for (size_t j = 0; j <= b_len; j++)
        rows[0][j] = (unsigned char)j;
    for (size_t i = 1; i <= a_len; i++) {
        unsigned char *row = rows[i % 3];
        const unsigned char *above = rows[(i - 1) % 3];
        row[0] = (unsigned char)i;
        for (size_t j = 1; j <= b_len; j++) {
            unsigned best = above[j - 1] + (a[i - 1] == b[j - 1] ? 0u : 1u);
            best = above[j] + 1u < best ? above[j] + 1u : best;
            best = row[j - 1] + 1u < best ? row[j - 1] + 1u : best;
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] && rows[(i - 2) % 3][j - 2] + 1u < best)
                best = rows[(i - 2) % 3][j - 2] + 1u;
            row[j] = (unsigned char)best;
        }
    }
    return rows[a_len % 3][b_len];
}

const char *value_nearest(const char *text, const char *const *names, size_t count)
{
    CHECK(text != NULL && (names != NULL || count == 0));
    size_t len = strlen(text);
    if (len == 0 || len > NAME_MAX_BYTES)
        return NULL;
    const char *nearest = NULL;
    unsigned nearest_distance = (unsigned)len / 3 + 2; // farther is another word, not a slip
    for (size_t i = 0; i < count; i++) {
        size_t name_len = strlen(names[i]);
        if (name_len > NAME_MAX_BYTES)
            continue;
        unsigned d = distance(text, len, names[i], name_len);
        if (d < nearest_distance) {
            nearest = names[i];
            nearest_distance = d;
        }
    }
    return nearest;
}
