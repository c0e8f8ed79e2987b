// Fuzz main: the frame decoder says the same however the bytes arrive and whatever is given back on the way.
// Input: one byte of options, one that seeds the splits, then the stream.
#include <stdlib.h>

#include "net/split_test.h"
#include "net/ws.h"
#include "shards/base/check.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define NOTE_BYTES 8 // a note ahead of each item: at most so many, and no item without a byte of the stream

struct transcript {
    uint8_t *bytes;
    size_t len, max;
    enum error error;
};

static void put(struct transcript *transcript, const void *ptr, size_t len)
{
    CHECK(len <= transcript->max - transcript->len);
    if (len > 0)
        memcpy(transcript->bytes + transcript->len, ptr, len);
    transcript->len += len;
}

// Pieces of one message leave no trace of where they were cut.
static void record(struct transcript *transcript, const struct ws_item *item)
{
    uint8_t note[4] = {(uint8_t)item->kind, item->opcode, (uint8_t)(item->close_code >> 8), (uint8_t)item->close_code};
    if (item->kind != WS_ITEM_DATA || item->first)
        put(transcript, note, item->kind == WS_ITEM_DATA ? 2 : 4);
    put(transcript, item->ptr, item->len);
    if (item->last)
        put(transcript, item->compressed ? "z." : ".", item->compressed ? 2 : 1);
}

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

static struct transcript decode(struct bytes stream, const struct ws_limits *limits, struct split split)
{
    struct transcript transcript = {.max = stream.len * NOTE_BYTES + 1};
    transcript.bytes = malloc(transcript.max);
    uint8_t *buf = malloc(stream.len + 1);
    CHECK(transcript.bytes != NULL && buf != NULL);
    struct ws_decoder decoder = {0};
    uint32_t random = split.random;
    size_t begin = 0, end = 0;
    while (end < stream.len && transcript.error == ERROR_NONE) {
        size_t arrived = split_next(&split, stream.len - end);
        memcpy(buf + end, stream.ptr + end, arrived);
        end += arrived;
        for (;;) {
            struct ws_item item;
            begin += ws_next(&decoder, limits, buf + begin, end - begin, &item);
            CHECK(begin <= end);
            transcript.error = item.error;
            if (item.kind == WS_ITEM_NONE || item.kind == WS_ITEM_ERROR)
                break;
            size_t back = split.way == 0 ? 0 : unread_some(&decoder, limits, &item, &random, stream.ptr + begin);
            begin -= back;
            if (back == 0 || item.len > 0)
                record(&transcript, &item);
        }
        CHECK(transcript.error != ERROR_NONE || end - begin <= WS_HEAD_MAX + WS_CONTROL_MAX);
    }
    free(buf);
    return transcript;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2)
        return 0;
    struct ws_limits limits = {.expect_mask = (data[0] & 1) == 0, .deflate = (data[0] & 2) != 0, .message_bytes_max = 300};
    struct bytes stream = bytes_of(data + 2, size - 2);
    struct transcript whole = decode(stream, &limits, split_create(0));
    for (unsigned way = 1; way < 4; way++) {
        struct split split = split_create(way);
        split.random ^= data[1];
        struct transcript part = decode(stream, &limits, split);
        CHECK(part.error == whole.error);
        // Text may be told to be wrong after pieces of it were handed out.
        CHECK(part.len == whole.len || (whole.error == ERROR_WS_UTF8 && part.len > whole.len));
        CHECK(memcmp(part.bytes, whole.bytes, whole.len) == 0);
        free(part.bytes);
    }
    free(whole.bytes);
    return 0;
}
