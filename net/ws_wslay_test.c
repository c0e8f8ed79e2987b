// Our frame decoder against wslay's on random streams, sound ones and ones with damaged heads. wslay_frame_recv knows frames, not messages:
// it takes any RSV bit, opcode, masking and order, and any close payload or text, which ours refuses (see is_beyond_wslay).
// So: what both take yields the same bytes, what wslay refuses ours refuses at the same frame, and for no other reason than those above
// does ours refuse what wslay takes.
#include <stdio.h>
#include <stdlib.h>
#include <wslay/wslay.h>

#include "net/split_test.h"
#include "net/ws.h"
#include "shards/base/check.h"

#define ROUNDS 30000
#define STREAM_MAX 3000
#define TRANSCRIPT_MAX (2 * STREAM_MAX)

struct text {
    uint8_t bytes[TRANSCRIPT_MAX];
    size_t len;
};

static struct text stream, ours, theirs;
static uint32_t random_state = 20;

static uint32_t below(uint32_t limit)
{
    return split_random(&random_state) % limit;
}

static void put(struct text *text, const void *ptr, size_t len)
{
    CHECK(len <= sizeof(text->bytes) - text->len);
    if (len > 0)
        memcpy(text->bytes + text->len, ptr, len);
    text->len += len;
}

static void put_byte(struct text *text, unsigned byte)
{
    put(text, &(uint8_t){(uint8_t)byte}, 1);
}

static void put_frame(bool masked, uint8_t first_byte, size_t len)
{
    uint8_t head[WS_HEAD_MAX], payload[600], mask[4];
    CHECK(len <= sizeof(payload));
    for (size_t i = 0; i < len; i++)
        payload[i] = (uint8_t)below(128); // sound as text too
    if (first_byte == 0x88 && len >= 2)
        memcpy(payload, "\x03\xe8", 2);
    for (size_t i = 0; i < 4; i++)
        mask[i] = (uint8_t)below(256);
    size_t head_len = ws_head(head, WS_BINARY, false, len, masked ? mask : NULL);
    head[0] = first_byte;
    if (below(12) == 0) // damage: one bit of the first bytes of the head, so also of a length and of the mask
        head[below((uint32_t)head_len)] ^= (uint8_t)(1u << below(8));
    if (masked)
        ws_mask(payload, len, mask, 0);
    put(&stream, head, head_len);
    put(&stream, payload, len);
}

static void make_stream(bool masked)
{
    stream.len = 0;
    bool is_open = false;
    for (uint32_t frames = 1 + below(4); frames > 0; frames--) {
        size_t len = below(3) == 0 ? below(600) : below(126);
        if (below(4) == 0) {
            static const uint8_t control[] = {0x88, 0x89, 0x8a};
            uint8_t first_byte = control[below(3)];
            size_t control_len = len % 126;
            put_frame(masked, first_byte, first_byte == 0x88 && control_len == 1 ? 0 : control_len);
            continue;
        }
        bool fin = below(2) == 0;
        put_frame(masked, (uint8_t)((fin ? 0x80 : 0) | (is_open ? WS_CONTINUATION : 1 + below(2))), len);
        is_open = !fin;
    }
}

static enum error run_ours(const struct ws_limits *limits)
{
    static uint8_t buf[TRANSCRIPT_MAX];
    struct ws_decoder decoder = {0};
    memcpy(buf, stream.bytes, stream.len);
    ours.len = 0;
    for (size_t begin = 0;;) {
        struct ws_item item;
        begin += ws_next(&decoder, limits, buf + begin, stream.len - begin, &item);
        if (item.kind == WS_ITEM_NONE || item.kind == WS_ITEM_ERROR)
            return item.error;
        if (item.kind != WS_ITEM_DATA || item.first)
            put_byte(&ours, item.opcode);
        if (item.kind == WS_ITEM_CLOSE && item.close_code != 1005) {
            put_byte(&ours, item.close_code >> 8);
            put_byte(&ours, item.close_code);
        }
        put(&ours, item.ptr, item.len);
        if (item.last || item.kind != WS_ITEM_DATA)
            put_byte(&ours, '.');
    }
}

static size_t given;

static ssize_t give(uint8_t *buf, size_t len, int flags, void *owner)
{
    (void)flags;
    (void)owner;
    size_t left = stream.len - given;
    if (left == 0)
        return -1;
    if (len > left)
        len = left;
    memcpy(buf, stream.bytes + given, len);
    given += len;
    return (ssize_t)len;
}

// Its frames in our form. False: it refused the stream. A control frame counts when it is whole, as with ours.
static bool run_theirs(void)
{
    struct wslay_frame_callbacks callbacks = {.recv_callback = give};
    wslay_frame_context_ptr context;
    CHECK(wslay_frame_context_init(&context, &callbacks, NULL) == 0);
    static struct text frame;
    uint64_t got = 0;
    bool in_frame = false;
    given = theirs.len = frame.len = 0;
    for (;;) {
        struct wslay_frame_iocb iocb = {0};
        ssize_t status = wslay_frame_recv(context, &iocb);
        if (status < 0) {
            wslay_frame_context_free(context);
            if (status != WSLAY_ERR_WANT_READ)
                return false;
            return true;
        }
        struct text *target = wslay_is_ctrl_frame(iocb.opcode) ? &frame : &theirs;
        if (!in_frame && iocb.opcode != WSLAY_CONTINUATION_FRAME)
            put_byte(target, iocb.opcode);
        put(target, iocb.data, iocb.data_length);
        got += iocb.data_length;
        in_frame = got < iocb.payload_length;
        if (in_frame)
            continue;
        if (iocb.fin)
            put_byte(target, '.');
        put(&theirs, frame.bytes, frame.len);
        got = frame.len = 0;
    }
}

static bool is_beyond_wslay(enum error error)
{
    return error == ERROR_WS_MASKED || error == ERROR_WS_UNMASKED || error == ERROR_WS_RESERVED_BITS || error == ERROR_WS_OPCODE ||
           error == ERROR_WS_CONTINUATION || error == ERROR_WS_INTERLEAVED || error == ERROR_WS_CLOSE_LENGTH ||
           error == ERROR_WS_CLOSE_CODE || error == ERROR_WS_UTF8 || error == ERROR_WS_TOO_BIG;
}

int main(void)
{
    unsigned taken = 0, refused_by_both = 0, refused_by_ours = 0;
    for (unsigned round = 0; round < ROUNDS; round++) {
        struct ws_limits limits = {.message_bytes_max = 1u << 30, .expect_mask = round % 2 == 0};
        make_stream(limits.expect_mask);
        enum error error = run_ours(&limits);
        bool theirs_is_sound = run_theirs();
        bool same = error == ERROR_NONE ? theirs_is_sound && ours.len == theirs.len : is_beyond_wslay(error) || !theirs_is_sound;
        if (!same || ours.len > theirs.len || memcmp(ours.bytes, theirs.bytes, ours.len) != 0) {
            fprintf(stderr, "round %u: ours %s with %zu bytes, wslay %s with %zu bytes\n", round, error_name(error), ours.len,
                    theirs_is_sound ? "sound" : "refused", theirs.len);
            return 1;
        }
        taken += error == ERROR_NONE;
        refused_by_both += error != ERROR_NONE && !theirs_is_sound;
        refused_by_ours += error != ERROR_NONE && theirs_is_sound;
    }
    printf("taken by both %u, refused by both %u, by ours alone %u\n", taken, refused_by_both, refused_by_ours);
    CHECK(taken > ROUNDS / 4 && refused_by_both > ROUNDS / 200 && refused_by_ours > ROUNDS / 200);
    return 0;
}
