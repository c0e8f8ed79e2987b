// The short way for the usual Send against yajl: what it recognises, and that both give the same for texts right and wrong.
#include <stdio.h>
#include <stdlib.h>

#include "net/openrelay/scan.h"
#include "net/split_test.h"
#include "shards/base/check.h"

#define UUID "9b2c7e0e-3f6b-4d5a-9a7e-0c1d2e3f4a5b"
#define HEAD "{\"type\":\"Send\",\"payload\":{"
#define REST                                                                                                                               \
    "\"sender_id\":\"s\",\"encrypted_data\":\"QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVo=\",\"message_id\":\"" UUID                               \
    "\",\"timestamp\":1700000000,\"ttl\":300,\"signature\":null,\"hardware_id\":\"h\",\"content_type\":\"Text\",\"size_bytes\":36"
#define TEXT_MAX 1024
#define ROUNDS 100000

static const char *const recognised[] = {
    HEAD "\"recipient_id\":\"r\"," REST "}}",
    HEAD REST ",\"recipient_id\":\"\"}}", // in another order
    "{\"type\": \"Send\", \"payload\": {\"size_bytes\": 0, \"content_type\": \"Image\", \"hardware_id\": \"\xc3\xa9\x7f/\", \"signature\": "
    "\"sig\", \"ttl\": 9999999999999999999, \"timestamp\":   1, \"message_id\": \"{9B2C7E0E-3F6B-4D5A-9A7E-0C1D2E3F4A5B}\", "
    "\"encrypted_data\": \"\", \"sender_id\": \"s\", \"recipient_id\": \"r\"}}",
    "{\"type\":\"Receive\",\"payload\":{\"recipient_id\":\"r\"," REST "}}",
    HEAD "\"ttl\":1}}", // recognised, and refused all the same
};

static const char *const not_recognised[] = {
    "{\"type\":\"Ack\",\"payload\":{\"message_id\":\"" UUID "\"}}",
    "{\"payload\":{},\"type\":\"Send\"}",
    "{\"type\":\"Register\",\"payload\":{\"hardware_id\":\"h\"}}",
    HEAD "\"recipient_id\":\"\\u002b\"," REST "}}",
    HEAD "\"recipient_id\":\"a\nb\"," REST "}}",
    HEAD "\"more\":1," REST "}}",
    HEAD "\"ttl\":1," REST "}}", // twice
    HEAD "\"recipient_id\":true," REST "}}",
    HEAD "\"recipient_id\":{}," REST "}}",
    HEAD "\"recipient_id\":," REST "}}",
    HEAD "\"recipient_id\":01," REST "}}",
    HEAD "\"recipient_id\":1.5," REST "}}",
    HEAD "\"recipient_id\":10000000000000000000," REST "}}",
    HEAD REST ",}}",
    HEAD REST "},\"more\":1}",
    HEAD REST "}} ",
    HEAD "}}",
    HEAD,
};

static unsigned failures, taken, refused, copied;

static bool same_values(const struct openrelay_message *one, const struct openrelay_message *two)
{
    bool same = one->type == two->type && strcmp(one->message_id, two->message_id) == 0;
    for (int i = 0; i < FIELD_COUNT && same; i++) {
        const struct openrelay_value *a = &one->values[i], *b = &two->values[i];
        same =
            a->kind == b->kind && a->clean == b->clean && a->truth == b->truth && a->number == b->number && bytes_equal(a->text, b->text);
    }
    return same;
}

// What the recipient reads, whether the sender claimed its own id or not.
static bool same_forward(const struct openrelay_message *one, const struct openrelay_message *two)
{
    static const char *const senders[] = {"h", "s", "a\"b"};
    bool same = true;
    for (size_t i = 0; one->type == OPENRELAY_Send && same && i < sizeof(senders) / sizeof(senders[0]); i++) {
        uint8_t out[2][8 * TEXT_MAX];
        struct bytes sender = bytes_text(senders[i]);
        CHECK(openrelay_forward_max(one, sender) <= sizeof(out[0]) && openrelay_forward_max(two, sender) <= sizeof(out[1]));
        size_t len = openrelay_format_forward(out[0], one, sender);
        same = bytes_equal(bytes_of(out[0], len), bytes_of(out[1], openrelay_format_forward(out[1], two, sender)));
    }
    return same;
}

// The text lies in a copy of its exact size, so that a read beyond it is seen.
static void compare(const char *text, size_t len)
{
    struct openrelay_message message, judged, scanned = {.arena = NULL};
    uint8_t *copy = malloc(len > 0 ? len : 1);
    CHECK(copy != NULL);
    memcpy(copy, text, len);
    struct bytes input = bytes_of(copy, len);
    bool sound = openrelay_parse(input, &message), expected = openrelay_parse_by_yajl(input, &judged);
    if (openrelay_scan(input, &scanned))
        (*(sound ? &taken : &refused))++;
    copied += sound && message.body.len > 0;
    if (sound != expected || (sound && !(same_values(&message, &judged) && same_forward(&message, &judged)))) {
        printf("%s, by yajl %s: %.*s\n", sound ? "taken" : "refused", expected ? "taken" : "refused", (int)len, text);
        failures++;
    }
    openrelay_message_fini(&message);
    openrelay_message_fini(&judged);
    free(copy);
}

static void expect(const char *text, bool expected)
{
    struct openrelay_message message = {.arena = NULL};
    if (openrelay_scan(bytes_text(text), &message) != expected) {
        printf("%s: %s\n", expected ? "not recognised" : "recognised", text);
        failures++;
    }
    compare(text, strlen(text));
}

// One change somewhere: a byte, a piece of JSON in the place of some bytes, a piece of the text itself, or the end.
static size_t change(char *text, size_t len, uint32_t *state)
{
    static const char *const pieces[] = {"",         " ",  "\"",  "\\",   ",",          ":",       "{",
                                         "}",        "[",  "0",   "-1",   ".5",         "e1",      "null",
                                         "true,",    "\n", "\t:", "\x1f", "\"ttl\":1,", "\\u002B", "\"type\":\"Send\"",
                                         "\xc3\xa9", "}}"};
    size_t at = split_random(state) % (len + 1), gone = split_random(state) % 3, from = split_random(state) % (len + 1);
    const char *piece = pieces[split_random(state) % (sizeof(pieces) / sizeof(pieces[0]))];
    size_t piece_len = strlen(piece);
    char copy[TEXT_MAX];
    memcpy(copy, text, len);
    if (split_random(state) % 8 == 0) {
        piece = copy + from;
        piece_len = split_random(state) % (len - from + 1);
    }
    gone = gone < len - at ? gone : len - at;
    if (split_random(state) % 32 == 0)
        return at;
    if (len - gone + piece_len > TEXT_MAX)
        return len;
    memmove(text + at + piece_len, copy + at + gone, len - at - gone);
    memcpy(text + at, piece, piece_len);
    return len - gone + piece_len;
}

static void test_put_plus(void)
{
    static const char *const rows[][2] = {{"", ""},
                                          {"none", "none"},
                                          {"\\u002B", "+"},
                                          {"a\\u002Bb\\u002B\\u002Bcd", "a+b++cd"},
                                          {"a\\u002Bb\\n", "a\\u002Bb\\n"},
                                          {"\\\\u002B", "\\\\u002B"},
                                          {"\\u002B\\u002", "\\u002B\\u002"},
                                          {"\\u002B\\", "\\u002B\\"},
                                          {"\\u002b", "\\u002b"}};
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        size_t len = strlen(rows[i][0]);
        uint8_t *text = malloc(len > 0 ? len : 1); // so that ASan sees a step too far
        CHECK(text != NULL);
        memcpy(text, rows[i][0], len);
        size_t left = openrelay_put_plus(text, len);
        if (!bytes_equal(bytes_of(text, left), bytes_text(rows[i][1]))) {
            printf("%s became %.*s\n", rows[i][0], (int)left, (const char *)text);
            failures++;
        }
        free(text);
    }
}

int main(void)
{
    test_put_plus();
    uint32_t state = 20261123;
    for (size_t i = 0; i < sizeof(recognised) / sizeof(recognised[0]); i++)
        expect(recognised[i], true);
    for (size_t i = 0; i < sizeof(not_recognised) / sizeof(not_recognised[0]); i++)
        expect(not_recognised[i], false);
    for (unsigned round = 0; round < ROUNDS && failures < 10; round++) {
        char text[TEXT_MAX];
        const char *seed = recognised[split_random(&state) % 3];
        size_t len = strlen(seed);
        memcpy(text, seed, len);
        for (unsigned changes = 1 + split_random(&state) % 3; changes > 0; changes--)
            len = change(text, len, &state);
        compare(text, len);
    }
    printf("%u failures; recognised and taken %u (to be copied %u), recognised and refused %u of %u\n", failures, taken, copied, refused,
           ROUNDS);
    return failures == 0 && copied > ROUNDS / 200 && taken > ROUNDS / 50 && refused > ROUNDS / 50 ? 0 : 1;
}
