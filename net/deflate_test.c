// Negotiation case by case; messages through our deflater and inflater, zlib's own, and broken in every way.
#include "net/deflate.h"

#include <stdio.h>
#include <stdlib.h>
#include <zlib.h>

#include "net/split_test.h"
#include "shards/base/check.h"

#define SIZE_MAX_TESTED 200000
#define ANSWER "permessage-deflate; server_no_context_takeover; client_no_context_takeover"
#define WINDOW ANSWER "; server_max_window_bits="

static const struct {
    const char *offer;
    int window_bits; // 0: declined, -1: malformed
    const char *answer;
} offers[] = {
    {"permessage-deflate", 15, ANSWER},
    {"permessage-deflate; client_max_window_bits", 15, ANSWER},
    {"PerMessage-Deflate ;client_max_window_bits=8", 15, ANSWER},
    {"permessage-deflate; server_no_context_takeover; client_no_context_takeover", 15, ANSWER},
    {"permessage-deflate; server_max_window_bits=10", 10, WINDOW "10"},
    {"permessage-deflate; server_max_window_bits=\"9\"", 9, WINDOW "9"},
    {"permessage-deflate; server_max_window_bits=15", 15, WINDOW "15"},
    {"permessage-deflate; server_max_window_bits=8", 8, WINDOW "8"},
    {"x-webkit-deflate-frame, permessage-deflate", 15, ANSWER},
    {"permessage-deflate; unknown, permessage-deflate", 15, ANSWER},
    {"permessage-deflate; server_max_window_bits=9, permessage-deflate", 9, WINDOW "9"},
    {" , permessage-deflate ,, ", 15, ANSWER},
    {"", 0, ""},
    {" ", 0, ""},
    {",", 0, ""},
    {"permessage-bzip2", 0, ""},
    {"permessage-deflate; unknown", 0, ""},
    {"permessage-deflate; server_max_window_bits", 0, ""},
    {"permessage-deflate; server_max_window_bits=7", 0, ""},
    {"permessage-deflate; server_max_window_bits=16", 0, ""},
    {"permessage-deflate; server_max_window_bits=09", 0, ""},
    {"permessage-deflate; server_max_window_bits=1", 0, ""},
    {"permessage-deflate; server_max_window_bits=100", 0, ""},
    {"permessage-deflate; server_max_window_bits=9; server_max_window_bits=9", 0, ""},
    {"permessage-deflate; client_max_window_bits=7", 0, ""},
    {"permessage-deflate; client_max_window_bits; client_max_window_bits=9", 0, ""},
    {"permessage-deflate; server_no_context_takeover=1", 0, ""},
    {"permessage-deflate; client_no_context_takeover; client_no_context_takeover", 0, ""},
    {"permessage-deflate;", -1, ""},
    {";", -1, ""},
    {"permessage-deflate; =", -1, ""},
    {"permessage-deflate; a=", -1, ""},
    {"permessage-deflate; a=\"b", -1, ""},
    {"permessage-deflate; a=\"\"", -1, ""},
    {"permessage-deflate permessage-deflate", -1, ""},
    {"permessage-deflate, @", -1, ""},
    {"permessage(deflate)", -1, ""},
};

static void test_negotiate(void)
{
    for (size_t i = 0; i < sizeof(offers) / sizeof(offers[0]); i++) {
        char answer[DEFLATE_ANSWER_MAX] = "";
        uint8_t window_bits = 99;
        size_t len = strlen(offers[i].offer);
        uint8_t *copy = malloc(len + 1); // of its exact size, for AddressSanitizer
        CHECK(copy != NULL);
        memcpy(copy + 1, offers[i].offer, len);
        int got = deflate_negotiate(bytes_of(copy + 1, len), answer, sizeof(answer), &window_bits);
        free(copy);
        int expected = offers[i].window_bits > 0 ? (int)strlen(offers[i].answer) : offers[i].window_bits;
        int bits = offers[i].window_bits > 0 ? offers[i].window_bits : 99;
        if (got != expected || strcmp(answer, offers[i].answer) != 0 || window_bits != bits) {
            fprintf(stderr, "%s: got %d, \"%s\", %u\n", offers[i].offer, got, answer, (unsigned)window_bits);
            exit(1);
        }
    }
}

static uint8_t message[SIZE_MAX_TESTED], packed[SIZE_MAX_TESTED + 100], unpacked[SIZE_MAX_TESTED];
static size_t unpacked_len, pieces, pieces_max = SIZE_MAX;

static bool on_piece(void *owner, struct bytes piece)
{
    CHECK(owner == message && piece.len > 0 && unpacked_len + piece.len <= sizeof(unpacked));
    memcpy(unpacked + unpacked_len, piece.ptr, piece.len);
    unpacked_len += piece.len;
    return ++pieces < pieces_max;
}

static enum error inflate_all(struct deflate *deflate, struct bytes input, uint64_t max)
{
    unpacked_len = pieces = 0;
    return deflate_inflate(deflate, input, max, on_piece, message);
}

static void fill(uint32_t kinds, size_t len)
{
    static const char words[] = "the quick brown fox {\"key\":\"value\"},\n 0123456789";
    uint32_t random = kinds;
    for (size_t i = 0; i < len; i++)
        message[i] = kinds == 1 ? (uint8_t)(split_random(&random) >> 24) : (uint8_t)words[split_random(&random) % (sizeof(words) / kinds)];
}

// A raw zlib inflater with only the agreed window must be able to read what we send.
static void check_by_zlib(uint8_t window_bits, size_t packed_len, size_t len)
{
    static const uint8_t tail[] = {0, 0, 0xff, 0xff};
    z_stream stream = {0};
    CHECK(inflateInit2(&stream, window_bits == 8 ? -9 : -window_bits) == Z_OK);
    memcpy(packed + packed_len, tail, 4);
    stream.next_in = packed;
    stream.avail_in = (uInt)packed_len + 4;
    stream.next_out = unpacked;
    stream.avail_out = sizeof(unpacked);
    CHECK(inflate(&stream, Z_SYNC_FLUSH) == Z_OK && stream.avail_in == 0);
    CHECK(sizeof(unpacked) - stream.avail_out == len && memcmp(unpacked, message, len) == 0);
    inflateEnd(&stream);
}

static void test_round_trips(struct deflate *deflate)
{
    static const size_t lens[] = {2, 3, 10, 125, 1024, 4000, 65536, 65537, SIZE_MAX_TESTED};
    for (size_t i = 0; i < sizeof(lens) / sizeof(lens[0]); i++) {
        for (uint32_t kinds = 2; kinds < 30; kinds += 9) {
            fill(kinds, lens[i]);
            for (uint8_t bits = 8; bits <= 15; bits++) {
                size_t len = deflate_message(deflate, bits, bytes_of(message, lens[i]), packed, sizeof(packed));
                CHECK(len < lens[i] && (len > 0 || lens[i] < 1024));
                if (len == 0)
                    continue;
                CHECK(inflate_all(deflate, bytes_of(packed, len), lens[i]) == ERROR_NONE);
                CHECK(unpacked_len == lens[i] && memcmp(unpacked, message, unpacked_len) == 0);
                check_by_zlib(bits, len, lens[i]);
            }
        }
    }
}

// A repetition further away than the window must not be used: here 300 random bytes come twice, and 8 bits look back 256 at most.
static void test_small_window(struct deflate *deflate)
{
    fill(1, 300);
    memcpy(message + 300, message, 300);
    CHECK(deflate_message(deflate, 15, bytes_of(message, 600), packed, sizeof(packed)) > 0);
    CHECK(deflate_message(deflate, 8, bytes_of(message, 600), packed, sizeof(packed)) == 0);
}

static void test_not_smaller(struct deflate *deflate)
{
    for (size_t len = 300; len < 70000; len *= 3) { // the short one is tried, the others are told by the sample
        fill(1, len);
        CHECK(deflate_message(deflate, 15, bytes_of(message, len), packed, sizeof(packed)) == 0);
    }
    CHECK(deflate_message(deflate, 15, bytes_of(message, 0), packed, sizeof(packed)) == 0);
    CHECK(deflate_message(deflate, 15, bytes_of(message, 1), packed, sizeof(packed)) == 0);
    memset(message, 'a', 5000);
    size_t len = deflate_message(deflate, 15, bytes_of(message, 5000), packed, sizeof(packed));
    CHECK(len > 0 && deflate_message(deflate, 15, bytes_of(message, 5000), packed, len) == 0);
    CHECK(deflate_message(deflate, 15, bytes_of(message, 5000), packed, 3) == 0);
    CHECK(deflate_message(deflate, 15, bytes_of(message, 5000), packed, sizeof(packed)) == len); // nothing is left of the failures
}

// The sample must not take for encrypted what would shrink: base64 of random bytes, random bytes with some text in between.
static void test_sample(struct deflate *deflate)
{
    static const char base64[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (size_t len = 1024; len < 100000; len *= 3) {
        fill(1, len);
        for (size_t i = 0; i < len; i++)
            message[i] = (uint8_t)base64[message[i] & 63];
        CHECK(deflate_message(deflate, 15, bytes_of(message, len), packed, sizeof(packed)) > 0);
        fill(1, len);
        for (size_t i = 0; i < len; i += 4)
            memset(message + i, 'x', i % 256 < 128 ? 4 : 0);
        CHECK(deflate_message(deflate, 15, bytes_of(message, len), packed, sizeof(packed)) > 0);
    }
    fill(1, 2048); // what it does not see it does not know
    for (size_t i = 0; i < 2048; i++)
        message[i] = i % 4 == 0 ? message[i] : 'x';
    CHECK(deflate_message(deflate, 15, bytes_of(message, 2048), packed, sizeof(packed)) == 0);
}

static void test_limits(struct deflate *deflate)
{
    memset(message, 'a', sizeof(message));
    size_t len = deflate_message(deflate, 15, bytes_of(message, sizeof(message)), packed, sizeof(packed));
    CHECK(len > 0 && inflate_all(deflate, bytes_of(packed, len), sizeof(message)) == ERROR_NONE && unpacked_len == sizeof(message));
    CHECK(inflate_all(deflate, bytes_of(packed, len), sizeof(message) - 1) == ERROR_WS_INFLATED_TOO_BIG);
    CHECK(unpacked_len < sizeof(message));
    CHECK(inflate_all(deflate, bytes_of(packed, len), 0) == ERROR_WS_INFLATED_TOO_BIG && unpacked_len == 0);
    pieces_max = 1;
    CHECK(inflate_all(deflate, bytes_of(packed, len), sizeof(message)) == ERROR_NONE && pieces == 1);
    pieces_max = SIZE_MAX;
    CHECK(inflate_all(deflate, bytes_of(packed, len), sizeof(message)) == ERROR_NONE && unpacked_len == sizeof(message));
}

// The examples of RFC 7692 7.2.3: fixed block, no compression, final block, two blocks; then data that is none.
static const struct {
    const char *name, *bytes;
    size_t len;
    enum error error;
    const char *text;
} messages[] = {
    {"7.2.3.1", "\xf2\x48\xcd\xc9\xc9\x07\x00", 7, ERROR_NONE, "Hello"},
    {"7.2.3.3", "\x00\x05\x00\xfa\xff\x48\x65\x6c\x6c\x6f\x00", 11, ERROR_NONE, "Hello"},
    {"7.2.3.4", "\xf3\x48\xcd\xc9\xc9\x07\x00\x00", 8, ERROR_NONE, "Hello"},
    {"7.2.3.5", "\xf2\x48\x05\x00\x00\x00\xff\xff\xca\xc9\xc9\x07\x00", 13, ERROR_NONE, "Hello"},
    {"7.2.3.6", "\x00", 1, ERROR_NONE, ""},
    {"empty", "", 0, ERROR_WS_DEFLATE, ""},
    {"reserved block type", "\xff\xff", 2, ERROR_WS_DEFLATE, ""},
    {"stored length broken", "\x00\x05\x00\xfa\xfe\x48\x65\x6c\x6c\x6f\x00", 11, ERROR_WS_DEFLATE, ""},
    {"looks back too far", "\x4a\x04\x62\x00", 4, ERROR_WS_DEFLATE, ""},
};

static void test_messages(struct deflate *deflate)
{
    for (size_t i = 0; i < sizeof(messages) / sizeof(messages[0]); i++) {
        enum error error = inflate_all(deflate, bytes_of(messages[i].bytes, messages[i].len), 1000);
        bool same = bytes_equal(bytes_of(unpacked, unpacked_len), bytes_text(messages[i].text));
        if (error != messages[i].error || (error == ERROR_NONE && !same)) {
            fprintf(stderr, "%s: got %s, %zu bytes\n", messages[i].name, error_name(error), unpacked_len);
            exit(1);
        }
    }
}

// Every cut of this message is an error (broken, or too big where the tail is taken for data), and no error harms the next message.
static void test_cut(struct deflate *deflate)
{
    fill(11, 2000);
    size_t len = deflate_message(deflate, 15, bytes_of(message, 2000), packed, sizeof(packed));
    CHECK(len > 0);
    for (size_t cut = 0; cut < len; cut++) {
        enum error error = inflate_all(deflate, bytes_of(packed, cut), 2000);
        if (error == ERROR_NONE) {
            fprintf(stderr, "cut at %zu of %zu: %s\n", cut, len, error_name(error));
            exit(1);
        }
        CHECK(inflate_all(deflate, bytes_of(packed, len), 2000) == ERROR_NONE && unpacked_len == 2000);
    }
}

int main(void)
{
    struct deflate *deflate = deflate_create();
    CHECK(deflate != NULL);
    test_negotiate();
    test_round_trips(deflate);
    test_small_window(deflate);
    test_not_smaller(deflate);
    test_sample(deflate);
    test_limits(deflate);
    test_messages(deflate);
    test_cut(deflate);
    deflate_destroy(deflate);
    deflate_destroy(NULL);
    return 0;
}
