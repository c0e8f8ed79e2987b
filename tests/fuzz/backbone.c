// Fuzz main: what a message or a challenge is read as lies within it, and a known message written anew is the same.
#include "net/backbone/frame.h"

#include "shards/base/check.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool lies_within(struct bytes inner, const uint8_t *data, size_t size)
{
    return inner.len == 0 || (inner.ptr >= data && inner.ptr + inner.len <= data + size);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct backbone_message message;
    struct bytes pem, random;
    backbone_parse(bytes_of(data, size), &message);
    CHECK(lies_within(message.payload, data, size));
    if (message.type == BACKBONE_C2C)
        CHECK(size == BACKBONE_C2C_HEAD_BYTES + message.payload.len && memcmp(message.id, data + 1, BACKBONE_ID_BYTES) == 0);
    if (message.type >= BACKBONE_HEARTBEAT && message.type <= BACKBONE_STOP && size >= BACKBONE_C2S_HEAD_BYTES) {
        uint8_t head[BACKBONE_C2S_HEAD_BYTES];
        backbone_c2s_head(head, message.type, message.time_s);
        CHECK(memcmp(head, data, sizeof(head)) == 0 && size == sizeof(head) + message.payload.len);
    }
    if (backbone_challenge_parse(bytes_of(data, size), &pem, &random))
        CHECK(lies_within(pem, data, size) && lies_within(random, data, size) && pem.len + random.len + BACKBONE_HEAD_BYTES == size);
    size_t total = backbone_frame_bytes(bytes_of(data, size));
    CHECK((total == 0) == (size < BACKBONE_HEAD_BYTES) && total <= BACKBONE_HEAD_BYTES + BACKBONE_BODY_MAX);
    return 0;
}
