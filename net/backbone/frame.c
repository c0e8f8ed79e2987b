// See frame.h.
#include "net/backbone/frame.h"

#include "shards/base/check.h"

_Static_assert(BACKBONE_PAYLOAD_MAX == 48433, "protocols/backbone.md 2");

void backbone_put_u16(uint8_t *out, size_t number)
{
    CHECK(number <= UINT16_MAX);
    out[0] = (uint8_t)(number >> 8);
    out[1] = (uint8_t)number;
}

void backbone_put_u32(uint8_t *out, uint32_t number)
{
    backbone_put_u16(out, number >> 16);
    backbone_put_u16(out + 2, number & 0xffff);
}

uint32_t backbone_get_u32(const uint8_t *ptr)
{
    return (uint32_t)ptr[0] << 24 | (uint32_t)ptr[1] << 16 | (uint32_t)ptr[2] << 8 | ptr[3];
}

void backbone_c2s_head(uint8_t ret_head[BACKBONE_C2S_HEAD_BYTES], enum backbone_type type, uint32_t time_s)
{
    CHECK(type >= BACKBONE_HEARTBEAT && type <= BACKBONE_STOP);
    ret_head[0] = (uint8_t)type;
    backbone_put_u32(ret_head + 1, time_s);
}

static bool is_c2s(uint8_t first)
{
    return (first >= BACKBONE_HEARTBEAT && first <= BACKBONE_SERVER_STATE) || first == BACKBONE_STOP;
}

void backbone_parse(struct bytes plain, struct backbone_message *ret_message)
{
    *ret_message = (struct backbone_message){.type = BACKBONE_IGNORED};
    if (plain.len == 0)
        return;
    if (plain.ptr[0] == BACKBONE_C2C && plain.len >= BACKBONE_C2C_HEAD_BYTES) {
        ret_message->type = BACKBONE_C2C;
        memcpy(ret_message->id, plain.ptr + 1, BACKBONE_ID_BYTES);
        ret_message->payload = bytes_of(plain.ptr + BACKBONE_C2C_HEAD_BYTES, plain.len - BACKBONE_C2C_HEAD_BYTES);
    } else if (is_c2s(plain.ptr[0])) {
        bool timed = plain.len >= BACKBONE_C2S_HEAD_BYTES;
        ret_message->type = (enum backbone_type)plain.ptr[0];
        ret_message->time_s = timed ? backbone_get_u32(plain.ptr + 1) : 0;
        ret_message->payload = bytes_of(plain.ptr + BACKBONE_C2S_HEAD_BYTES, timed ? plain.len - BACKBONE_C2S_HEAD_BYTES : 0);
    }
}

bool backbone_challenge_parse(struct bytes body, struct bytes *ret_pem, struct bytes *ret_data)
{
    size_t pem_len = backbone_frame_bytes(body);
    if (pem_len == 0 || pem_len > body.len)
        return false;
    *ret_pem = bytes_of(body.ptr + BACKBONE_HEAD_BYTES, pem_len - BACKBONE_HEAD_BYTES);
    *ret_data = bytes_of(body.ptr + pem_len, body.len - pem_len);
    return true;
}
