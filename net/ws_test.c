// Frames decoded whole, byte by byte and at random splits must give the same transcript; every rule of RFC 6455 has a case.
#include "net/ws.h"

#include <stdio.h>
#include <stdlib.h>

#include "net/split_test.h"
#include "shards/base/check.h"

#define STREAM_MAX 500000

struct text {
    char bytes[STREAM_MAX];
    size_t len;
};

static struct text stream, transcript, whole;

static void put(struct text *text, const void *ptr, size_t len)
{
    CHECK(text->len + len < sizeof(text->bytes));
    memcpy(text->bytes + text->len, ptr, len);
    text->len += len;
    text->bytes[text->len] = 0;
}

static void put_text(struct text *text, const char *string)
{
    put(text, string, strlen(string));
}

static void clear(struct text *text)
{
    text->len = 0;
    text->bytes[0] = 0;
}

// Appends a frame with the given first byte; masked with a mask of its own when the reader is a server.
static void put_frame(bool masked, uint8_t first_byte, const void *payload, size_t len)
{
    static uint32_t random = 77;
    uint8_t head[WS_HEAD_MAX], mask[4];
    uint32_t value = split_random(&random);
    memcpy(mask, &value, 4);
    size_t head_len = ws_head(head, WS_BINARY, false, len, masked ? mask : NULL);
    head[0] = first_byte;
    put(&stream, head, head_len);
    put(&stream, payload, len);
    if (masked)
        ws_mask((uint8_t *)stream.bytes + stream.len - len, len, mask, 0);
}

// "T(" or "B(", with 'z' when compressed, then the data, then ")" ; control frames as "P<..>", "p<..>", "C1000<..>"; errors as "!NAME".
static bool record(const struct ws_item *item)
{
    char number[16];
    switch (item->kind) {
    case WS_ITEM_DATA:
        if (item->first)
            put_text(&transcript, item->opcode == WS_TEXT ? item->compressed ? "zT(" : "T(" : item->compressed ? "zB(" : "B(");
        put(&transcript, item->ptr, item->len);
        if (item->last)
            put_text(&transcript, ")");
        return true;
    case WS_ITEM_CLOSE:
        snprintf(number, sizeof(number), "C%u", (unsigned)item->close_code);
        put_text(&transcript, number);
        break;
    case WS_ITEM_ERROR:
        put_text(&transcript, "!");
        put_text(&transcript, error_name(item->error));
        return false;
    case WS_ITEM_PING:
    case WS_ITEM_PONG:
        put_text(&transcript, item->kind == WS_ITEM_PING ? "P" : "p");
        break;
    case WS_ITEM_NONE:
        UNREACHABLE();
    }
    put_text(&transcript, "<");
    put(&transcript, item->ptr, item->len);
    put_text(&transcript, ">");
    return true;
}

// Gives back a random suffix of a data piece; the decoder must then be where it was, and the bytes as they came.
static size_t unread_some(struct ws_decoder *decoder, const struct ws_limits *limits, struct ws_item *item, uint32_t *random,
                          const uint8_t *raw_end)
{
    if (item->kind != WS_ITEM_DATA || item->len == 0 || split_random(random) % 2 != 0)
        return 0;
    size_t back = 1 + split_random(random) % item->len;
    ws_unread(decoder, limits, item, back);
    item->len -= back;
    item->last = false;
    CHECK(memcmp(item->ptr + item->len, raw_end - back, back) == 0);
    return back;
}

// Feeds the stream in pieces as a connection does: what is not used up waits, the next piece is appended.
static void decode(const struct ws_limits *limits, unsigned way, bool unread)
{
    static uint8_t buf[STREAM_MAX];
    struct ws_decoder decoder = {0};
    struct split split = split_create(way);
    uint32_t random = 5 + way;
    size_t begin = 0, end = 0;
    clear(&transcript);
    while (end < stream.len) {
        size_t arrived = split_next(&split, stream.len - end);
        memcpy(buf + end, stream.bytes + end, arrived);
        end += arrived;
        for (;;) {
            struct ws_item item;
            size_t used = ws_next(&decoder, limits, buf + begin, end - begin, &item);
            CHECK(used <= end - begin);
            begin += used;
            if (item.kind == WS_ITEM_NONE)
                break;
            if (unread) {
                size_t back = unread_some(&decoder, limits, &item, &random, (uint8_t *)stream.bytes + begin);
                begin -= back;
                if (back > 0 && item.len == 0)
                    continue;
            }
            if (!record(&item))
                return;
        }
        CHECK(end - begin <= WS_HEAD_MAX + WS_CONTROL_MAX);
    }
    struct ws_item none;
    CHECK(ws_next(&decoder, limits, NULL, 0, &none) == 0 && none.kind == WS_ITEM_NONE);
    static const struct ws_decoder rest;
    if (begin == end && !decoder.in_frame && decoder.message_opcode == 0)
        CHECK(memcmp(&decoder, &rest, sizeof(rest)) == 0);
}

static void expect(const char *name, const struct ws_limits *limits, const char *expected)
{
    bool bad_text = strstr(expected, "!WS_UTF8") != NULL; // pieces ahead of it may or may not have been handed out
    for (unsigned way = 0; way < SPLIT_WAYS * 2; way++) {
        decode(limits, way % SPLIT_WAYS, way >= SPLIT_WAYS);
        bool same = bad_text ? strstr(transcript.bytes, "!WS_UTF8") != NULL : strcmp(transcript.bytes, expected) == 0;
        if (!same) {
            fprintf(stderr, "%s, way %u: got %.200s, expected %.200s\n", name, way, transcript.bytes, expected);
            exit(1);
        }
    }
}

struct frame {
    uint8_t first_byte;
    const char *payload;
};

static const struct {
    const char *name;
    struct frame frames[6];
    const char *expected;
    bool deflate;
} cases[] = {
    {"text", {{0x81, "Hello"}}, "T(Hello)", false},
    {"binary", {{0x82, "Hello"}, {0x82, "again"}}, "B(Hello)B(again)", false},
    {"empty messages", {{0x81, ""}, {0x82, ""}}, "T()B()", false},
    {"fragments", {{0x01, "He"}, {0x00, "l"}, {0x80, "lo"}}, "T(Hello)", false},
    {"empty fragments", {{0x02, ""}, {0x00, ""}, {0x00, "x"}, {0x00, ""}, {0x80, ""}}, "B(x)", false},
    {"control frames between fragments", {{0x02, "a"}, {0x89, "b"}, {0x00, "c"}, {0x8a, ""}, {0x80, "d"}}, "B(aP<b>cp<>d)", false},
    {"close empty", {{0x88, ""}}, "C1005<>", false},
    {"close with reason", {{0x88, "\003\350bye"}}, "C1000<bye>", false},
    {"close of an application", {{0x88, "\x13\x87"}}, "C4999<>", false},
    {"close inside a message", {{0x02, "a"}, {0x88, "\x03\xe9"}}, "B(aC1001<>", false},
    {"compressed", {{0xc2, "zz"}, {0x41, "a"}, {0x89, ""}, {0x80, "b"}, {0x82, "c"}}, "zB(zz)zT(aP<>b)B(c)", true},
    {"compressed text is not checked here", {{0xc1, "\xff"}}, "zT(\xff)", true},
    {"RSV1 without the extension", {{0xc2, "zz"}}, "!WS_RESERVED_BITS", false},
    {"RSV1 on a continuation", {{0x42, "zz"}, {0xc0, "z"}}, "zB(zz!WS_RESERVED_BITS", true},
    {"RSV1 on a ping", {{0xc9, ""}}, "!WS_RESERVED_BITS", true},
    {"RSV2", {{0xa2, ""}}, "!WS_RESERVED_BITS", true},
    {"RSV3", {{0x92, ""}}, "!WS_RESERVED_BITS", true},
    {"opcode 3", {{0x83, ""}}, "!WS_OPCODE", false},
    {"opcode 7", {{0x87, ""}}, "!WS_OPCODE", false},
    {"opcode 11", {{0x8b, ""}}, "!WS_OPCODE", false},
    {"opcode 15", {{0x8f, ""}}, "!WS_OPCODE", false},
    {"continuation without start", {{0x80, "x"}}, "!WS_CONTINUATION", false},
    {"continuation after the end", {{0x02, "a"}, {0x80, "b"}, {0x00, "c"}}, "B(ab)!WS_CONTINUATION", false},
    {"message inside a message", {{0x02, "a"}, {0x82, "b"}}, "B(a!WS_INTERLEAVED", false},
    {"fragmented ping", {{0x09, "x"}}, "!WS_CONTROL_FRAGMENTED", false},
    {"fragmented close", {{0x08, ""}}, "!WS_CONTROL_FRAGMENTED", false},
    {"close of one byte", {{0x88, "\x03"}}, "!WS_CLOSE_LENGTH", false},
    {"close 999", {{0x88, "\x03\xe7"}}, "!WS_CLOSE_CODE", false},
    {"close 1004", {{0x88, "\x03\xec"}}, "!WS_CLOSE_CODE", false},
    {"close 1005", {{0x88, "\x03\xed"}}, "!WS_CLOSE_CODE", false},
    {"close 1006", {{0x88, "\x03\xee"}}, "!WS_CLOSE_CODE", false},
    {"close 1014", {{0x88, "\x03\xf6"}}, "C1014<>", false},
    {"close 1015", {{0x88, "\x03\xf7"}}, "!WS_CLOSE_CODE", false},
    {"close 2999", {{0x88, "\x0b\xb7"}}, "!WS_CLOSE_CODE", false},
    {"close 5000", {{0x88, "\x13\x88"}}, "!WS_CLOSE_CODE", false},
    {"close reason not UTF-8", {{0x88, "\x03\xe8\xc3"}}, "!WS_UTF8", false},
    {"text cut inside a character", {{0x01, "\xce"}, {0x80, "\xba\xe1\xbd\xb9"}}, "T(\xce\xba\xe1\xbd\xb9)", false},
    {"text with a ping inside a character", {{0x01, "\xce"}, {0x89, "x"}, {0x80, "\xba"}}, "T(\xceP<x>\xba)", false},
    {"text not UTF-8", {{0x81, "ok\xed\xa0\x80"}}, "!WS_UTF8", false},
    {"text ends inside a character", {{0x01, "\xf0\x9f"}, {0x80, ""}}, "!WS_UTF8", false},
    {"text of one frame ends inside a character", {{0x81, "several \xf0\x9f"}}, "!WS_UTF8", false},
    {"UTF-8 starts anew per message", {{0x81, "\xce\xba"}, {0x82, "\xff"}, {0x81, "a"}}, "T(\xce\xba)B(\xff)T(a)", false},
};

static void test_cases(void)
{
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        for (int server = 0; server < 2; server++) {
            struct ws_limits limits = {.message_bytes_max = 1000, .expect_mask = server != 0, .deflate = cases[i].deflate};
            clear(&stream);
            for (size_t k = 0; k < 6 && cases[i].frames[k].payload != NULL; k++)
                put_frame(server != 0, cases[i].frames[k].first_byte, cases[i].frames[k].payload, strlen(cases[i].frames[k].payload));
            expect(cases[i].name, &limits, cases[i].expected);
        }
    }
}

// Heads that put_frame cannot make. Server side unless the name says client.
static const struct {
    const char *name;
    const char *bytes;
    size_t len;
    const char *expected;
} raw_cases[] = {
    {"unmasked", "\x82\x01x", 3, "!WS_UNMASKED"},
    {"16-bit length of 125", "\x82\xfe\x00\x7d", 4, "!WS_LENGTH"},
    {"64-bit length of 65535", "\x82\xff\x00\x00\x00\x00\x00\x00\xff\xff", 10, "!WS_LENGTH"},
    {"64-bit length with the top bit", "\x82\xff\x80\x00\x00\x00\x00\x00\x00\x00", 10, "!WS_LENGTH"},
    {"2^63-1 bytes", "\x82\xff\x7f\xff\xff\xff\xff\xff\xff\xff", 10, "!WS_TOO_BIG"},
    {"ping of 126", "\x89\xfe\x00\x7e", 4, "!WS_CONTROL_LENGTH"},
    {"ping of 64-bit length", "\x89\xff", 2, "!WS_CONTROL_LENGTH"},
    {"limit told by the head", "\x82\xfe\x03\xe9", 4, "!WS_TOO_BIG"},
    {"head cut short", "\x82\xfe\x03", 3, ""},
    {"mask cut short", "\x82\x81\x01\x02\x03", 5, ""},
    {"payload to come", "\x82\x81\x01\x02\x03\x04", 6, ""},
    {"RFC 6455 5.7 masked Hello", "\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58", 11, "T(Hello)"},
};

static void test_raw(void)
{
    struct ws_limits limits = {.message_bytes_max = 1000, .expect_mask = true};
    for (size_t i = 0; i < sizeof(raw_cases) / sizeof(raw_cases[0]); i++) {
        clear(&stream);
        put(&stream, raw_cases[i].bytes, raw_cases[i].len);
        expect(raw_cases[i].name, &limits, raw_cases[i].expected);
    }
    struct ws_limits client = {.message_bytes_max = 1000};
    clear(&stream);
    put(&stream, "\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58", 11);
    expect("masked, client", &client, "!WS_MASKED");
}

// The limit holds for the sum of a message's frames, is exact, and starts anew per message.
static void test_limit(void)
{
    static const char filler[1001];
    struct ws_limits limits = {.message_bytes_max = 1000, .expect_mask = true};
    clear(&stream);
    put_frame(true, 0x02, filler, 600);
    put_frame(true, 0x80, filler, 400);
    put_frame(true, 0x82, filler, 1000);
    decode(&limits, 0, false);
    CHECK(transcript.len == 2006 && memchr(transcript.bytes, '!', transcript.len) == NULL);
    put_frame(true, 0x02, filler, 600);
    put_frame(true, 0x80, filler, 401);
    decode(&limits, 3, false);
    CHECK(memmem(transcript.bytes, transcript.len, "!WS_TOO_BIG", 11) != NULL);
}

// Long and short messages of all three length forms, in random fragments, at every split and with random unreads.
static void test_random(void)
{
    static const size_t lens[] = {0, 1, 125, 126, 127, 4000, 65535, 65536, 70001};
    static char payload[70001];
    struct ws_limits limits = {.message_bytes_max = 100000, .expect_mask = true};
    uint32_t random = 12345;
    for (size_t i = 0; i < sizeof(payload); i++)
        payload[i] = (char)('a' + split_random(&random) % 26);
    clear(&stream);
    for (size_t i = 0; i < sizeof(lens) / sizeof(lens[0]); i++) {
        size_t first = lens[i] == 0 ? 0 : split_random(&random) % lens[i];
        put_frame(true, i % 2 ? 0x81 : 0x82, payload, lens[i]);
        put_frame(true, i % 2 ? 0x02 : 0x01, payload, first);
        put_frame(true, 0x89, payload, i);
        put_frame(true, 0x80, payload + first, lens[i] - first);
    }
    decode(&limits, 0, false);
    whole = transcript;
    for (unsigned way = 0; way < SPLIT_WAYS * 2; way++) {
        decode(&limits, way % SPLIT_WAYS, way >= SPLIT_WAYS);
        CHECK(transcript.len == whole.len && memcmp(transcript.bytes, whole.bytes, whole.len) == 0);
    }
}

static void test_mask(void)
{
    static const uint8_t mask[4] = {1, 2, 4, 8};
    uint8_t bytes[100];
    for (size_t len = 0; len <= sizeof(bytes); len++) {
        for (unsigned phase = 0; phase < 4; phase++) {
            memset(bytes, 0x40, sizeof(bytes));
            ws_mask(bytes, len, mask, phase);
            for (size_t i = 0; i < sizeof(bytes); i++)
                CHECK(bytes[i] == (i < len ? 0x40 ^ mask[(phase + i) & 3] : 0x40));
        }
    }
}

// Long ones take vector operations on aligned blocks: every alignment, phase and remainder.
static void test_mask_long(void)
{
    static const uint8_t mask[4] = {0x11, 0x23, 0x45, 0x87};
    static uint8_t bytes[2048];
    for (size_t len = 500; len <= 1500; len += len < 700 ? 1 : 97) {
        for (size_t start = 0; start < 33; start++) {
            unsigned phase = (unsigned)(len + start) & 3;
            memset(bytes, 0x40, sizeof(bytes));
            ws_mask(bytes + start, len, mask, phase);
            for (size_t i = 0; i < sizeof(bytes); i++) {
                bool masked = i >= start && i < start + len;
                CHECK(bytes[i] == (masked ? 0x40 ^ mask[(phase + i - start) & 3] : 0x40));
            }
        }
    }
}

static void test_heads(void)
{
    static const uint8_t mask[4] = {0xaa, 0xbb, 0xcc, 0xdd};
    uint8_t out[WS_HEAD_MAX];
    CHECK(ws_head(out, WS_BINARY, false, 0x29, NULL) == 2 && memcmp(out, "\x82\x29", 2) == 0);
    CHECK(ws_head(out, WS_TEXT, true, 126, NULL) == 4 && memcmp(out, "\xc1\x7e\x00\x7e", 4) == 0);
    CHECK(ws_head(out, WS_BINARY, false, 65535, NULL) == 4 && memcmp(out, "\x82\x7e\xff\xff", 4) == 0);
    CHECK(ws_head(out, WS_BINARY, false, 1000009, NULL) == 10 && memcmp(out, "\x82\x7f\0\0\0\0\0\x0f\x42\x49", 10) == 0);
    CHECK(ws_head(out, WS_PONG, false, 125, mask) == 6 && memcmp(out, "\x8a\xfd\xaa\xbb\xcc\xdd", 6) == 0);
    CHECK(ws_head(out, WS_BINARY, false, 65536, mask) == 14 && memcmp(out, "\x82\xff\0\0\0\0\0\1\0\0\xaa\xbb\xcc\xdd", 14) == 0);
}

static void test_close_payload(void)
{
    uint8_t out[WS_CONTROL_MAX];
    char reason[200];
    CHECK(ws_close_payload(out, 1005, bytes_text("ignored")) == 0);
    CHECK(ws_close_payload(out, 1000, bytes_of(NULL, 0)) == 2 && memcmp(out, "\x03\xe8", 2) == 0);
    CHECK(ws_close_payload(out, 4000, bytes_text("superseded")) == 12 && memcmp(out, "\x0f\xa0superseded", 12) == 0);
    memset(reason, 'x', sizeof(reason));
    CHECK(ws_close_payload(out, 1002, bytes_of(reason, 123)) == 125);
    CHECK(ws_close_payload(out, 1002, bytes_of(reason, sizeof(reason))) == 125);
    memcpy(reason + 121, "\xe2\x82\xac", 3); // a character over the edge goes whole
    CHECK(ws_close_payload(out, 1002, bytes_of(reason, sizeof(reason))) == 123);
    CHECK(ws_utf8(0, bytes_of(out + 2, 121)) == 0);
}

// The definition of RFC 3629, written the slow way: shortest form, no surrogates, nothing beyond U+10FFFF.
static bool reference_utf8(const uint8_t *ptr, size_t len)
{
    static const uint32_t smallest[] = {0, 0, 0x80, 0x800, 0x10000};
    while (len > 0) {
        size_t size = ptr[0] < 0x80 ? 1 : (ptr[0] & 0xe0) == 0xc0 ? 2 : (ptr[0] & 0xf0) == 0xe0 ? 3 : (ptr[0] & 0xf8) == 0xf0 ? 4 : 0;
        if (size == 0 || size > len)
            return false;
        uint32_t value = size == 1 ? ptr[0] : ptr[0] & (0x7fu >> size);
        for (size_t i = 1; i < size; i++) {
            if ((ptr[i] & 0xc0) != 0x80)
                return false;
            value = value << 6 | (ptr[i] & 0x3f);
        }
        if (value < smallest[size] || value > 0x10ffff || (value >= 0xd800 && value <= 0xdfff))
            return false;
        ptr += size;
        len -= size;
    }
    return true;
}

static void test_utf8(void)
{
    static const uint8_t edges[] = {0x00, 0x41, 0x7f, 0x80, 0x8f, 0x90, 0x9f, 0xa0, 0xbf, 0xc0, 0xe0, 0xff};
    uint8_t text[4];
    for (unsigned i = 0; i < 256 * 256; i++) {
        for (size_t k = 0; k < sizeof(edges) * sizeof(edges); k++) {
            text[0] = (uint8_t)(i >> 8);
            text[1] = (uint8_t)i;
            text[2] = edges[k / sizeof(edges)];
            text[3] = edges[k % sizeof(edges)];
            for (size_t len = 1; len <= 4; len++)
                CHECK((ws_utf8(0, bytes_of(text, len)) == 0) == reference_utf8(text, len));
        }
    }
    CHECK(ws_utf8(0, bytes_text("twelve ASCII then \xe2\x82\xac and eight more")) == 0);
    CHECK(ws_utf8(0, bytes_text("1234567\xf4\x90")) == WS_UTF8_BAD); // told at the second byte
    CHECK(ws_utf8(0, bytes_text("1234567\xf4\x8f")) != WS_UTF8_BAD);
    uint8_t block[200];
    memset(block, 'a', sizeof(block));
    for (size_t at = 0; at < sizeof(block); at++) { // one bad byte, wherever it stands in a block or behind the last
        CHECK(ws_utf8(0, bytes_of(block, at)) == 0);
        block[at] = 0x80;
        CHECK(ws_utf8(0, bytes_of(block, sizeof(block))) == WS_UTF8_BAD);
        block[at] = 'a';
    }
}

static void test_accept(void)
{
    char accept[29];
    ws_accept(bytes_text("dGhlIHNhbXBsZSBub25jZQ=="), accept); // RFC 6455 1.3
    CHECK(strcmp(accept, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=") == 0);
}

int main(void)
{
    test_cases();
    test_raw();
    test_limit();
    test_random();
    test_mask();
    test_mask_long();
    test_heads();
    test_close_payload();
    test_utf8();
    test_accept();
    return 0;
}
