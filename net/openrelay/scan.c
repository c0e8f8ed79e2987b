// A Send or Receive as most write it: see scan.h. Speed comes from looking at all bytes once, in blocks; then a text ends at its next
// quote.
#include "net/openrelay/scan.h"

#include "shards/base/check.h"

#define DIGITS_MAX 19 // they always fit 64 bits

struct cursor {
    const uint8_t *at, *end;
    bool spaced; // a space was passed
};

typedef uint8_t block __attribute__((vector_size(16), aligned(1), may_alias));
typedef uint64_t block_words __attribute__((vector_size(16)));

static inline block odd_bytes(const uint8_t *ptr)
{
    const block bytes = *(const block *)(const void *)ptr;
    return (block)(bytes < 0x20) | (block)(bytes == '\\');
}

// Neither escapes nor control characters: every quote is one that JSON means, and texts go out as they came.
static bool is_plain(struct bytes input)
{
    if (input.len < sizeof(block))
        return false;
    block odd = odd_bytes(input.ptr + input.len - sizeof(block)); // overlaps the last of these
    for (size_t at = 0; at + sizeof(block) < input.len; at += sizeof(block))
        odd |= odd_bytes(input.ptr + at);
    const block_words words = (block_words)odd;
    return (words[0] | words[1]) == 0;
}

static inline bool take(struct cursor *cursor, const void *text, size_t len)
{
    if ((size_t)(cursor->end - cursor->at) < len || memcmp(cursor->at, text, len) != 0)
        return false;
    cursor->at += len;
    return true;
}

#define TAKE(cursor, literal) take(cursor, literal, sizeof(literal) - 1)

static inline void take_spaces(struct cursor *cursor)
{
    for (; cursor->at < cursor->end && *cursor->at == ' '; cursor->at++)
        cursor->spaced = true;
}

// Whether the key of `field` stands here: lengths that the compiler knows are compared in few words.
static inline __attribute__((always_inline)) bool take_key_of(struct cursor *cursor, unsigned field)
{
    switch (field) {
#define X(name)                                                                                                                            \
    case FIELD_##name:                                                                                                                     \
        return TAKE(cursor, "\"" #name "\":");
        OPENRELAY_SEND_KEYS(X)
#undef X
    default:
        return false;
    }
}

// The field whose key stands here, or -1.
static inline int take_key(struct cursor *cursor, unsigned expected)
{
    if (take_key_of(cursor, expected))
        return (int)expected;
    for (unsigned field = 0; field < OPENRELAY_SEND_FIELDS; field++)
        if (take_key_of(cursor, field))
            return (int)field;
    return -1;
}

static inline bool take_number(struct cursor *cursor, struct openrelay_value *ret_value)
{
    const uint8_t *first = cursor->at;
    uint64_t number = 0;
    while (cursor->at < cursor->end && cursor->at - first < DIGITS_MAX && *cursor->at >= '0' && *cursor->at <= '9')
        number = number * 10 + (uint64_t)(*cursor->at++ - '0');
    *ret_value = (struct openrelay_value){.kind = VALUE_NUMBER, .number = number, .text = bytes_of(first, (size_t)(cursor->at - first))};
    return cursor->at - first == 1 || (cursor->at > first && *first != '0'); // what follows must be a comma or a brace anyway
}

static inline bool take_value(struct cursor *cursor, struct openrelay_value *ret_value)
{
    if (TAKE(cursor, "\"")) {
        const uint8_t *quote = memchr(cursor->at, '"', (size_t)(cursor->end - cursor->at));
        if (quote == NULL)
            return false;
        *ret_value =
            (struct openrelay_value){.kind = VALUE_TEXT, .clean = true, .text = bytes_of(cursor->at, (size_t)(quote - cursor->at))};
        cursor->at = quote + 1;
        return true;
    }
    *ret_value = (struct openrelay_value){.kind = VALUE_NULL};
    if (TAKE(cursor, "null"))
        return true;
    return take_number(cursor, ret_value);
}

bool openrelay_scan(struct bytes input, struct openrelay_message *ret_message)
{
    struct cursor cursor = {.at = input.ptr, .end = input.ptr + input.len};
    CHECK(ret_message->arena == NULL);
    if (!TAKE(&cursor, "{\"type\":"))
        return false;
    take_spaces(&cursor);
    ret_message->type = TAKE(&cursor, "\"Send\"") ? OPENRELAY_Send : OPENRELAY_Receive;
    if ((ret_message->type == OPENRELAY_Receive && !TAKE(&cursor, "\"Receive\"")) || !TAKE(&cursor, ","))
        return false;
    take_spaces(&cursor);
    if (!TAKE(&cursor, "\"payload\":"))
        return false;
    take_spaces(&cursor);
    if (!TAKE(&cursor, "{") || !is_plain(input))
        return false;
    const uint8_t *body = cursor.at;
    bool in_order = true;
    unsigned expected = 0;
    do {
        take_spaces(&cursor);
        int field = take_key(&cursor, expected);
        if (field < 0 || ret_message->values[field].kind != VALUE_ABSENT)
            return false;
        take_spaces(&cursor);
        if (!take_value(&cursor, &ret_message->values[field]))
            return false;
        in_order = in_order && (unsigned)field == expected;
        expected = (unsigned)field + 1;
    } while (TAKE(&cursor, ","));
    if (in_order && expected == OPENRELAY_SEND_FIELDS && !cursor.spaced)
        ret_message->body = bytes_of(body, (size_t)(cursor.at - body));
    return TAKE(&cursor, "}}") && cursor.at == cursor.end;
}

size_t openrelay_put_plus(uint8_t *text, size_t len)
{
    static const char plus[] = "\\u002B";
    const size_t plus_len = sizeof(plus) - 1;
    const uint8_t *end = text + len;
    uint8_t *first = memchr(text, '\\', len);
    for (const uint8_t *at = first; at != NULL; at = memchr(at + plus_len, '\\', (size_t)(end - at) - plus_len))
        if ((size_t)(end - at) < plus_len || memcmp(at, plus, plus_len) != 0)
            return len;
    uint8_t *to = first;
    for (const uint8_t *at = first; at != NULL && at < end;) {
        *to++ = '+';
        at += plus_len;
        const uint8_t *next = memchr(at, '\\', (size_t)(end - at));
        size_t kept = (size_t)((next != NULL ? next : end) - at);
        memmove(to, at, kept);
        to += kept;
        at += kept;
    }
    return first == NULL ? len : (size_t)(to - text);
}
