// WebSocket frames (RFC 6455): the head's rules, unmasking in place, close payloads, incremental UTF-8.
// One rule: nothing is copied or kept but the fields of struct ws_decoder; what is cut short stays in the caller's buffer.
// Thread: none of its own; a decoder belongs to its connection's shard.
#include "net/ws.h"

#include <openssl/evp.h>
#include <openssl/sha.h>

#include "shards/base/check.h"

_Static_assert(sizeof(struct ws_decoder) <= 48, "every idle session holds one");

struct head {
    uint64_t payload_len;
    uint8_t mask[4];
    uint8_t opcode;
    bool fin, compressed;
};

static bool is_control(uint8_t opcode)
{
    return (opcode & 8) != 0;
}

static uint64_t big_endian(const uint8_t *ptr, size_t len)
{
    CHECK(len <= 8);
    uint64_t value = 0;
    for (size_t i = 0; i < len; i++)
        value = value << 8 | ptr[i];
    return value;
}

// The first two bytes against RFC 6455 5.2, 5.4 and 5.5, RFC 7692 6 (RSV1 begins a compressed message and stands nowhere else).
static enum error check_head(const struct ws_decoder *decoder, const struct ws_limits *limits, const uint8_t *buf)
{
    uint8_t opcode = buf[0] & 15;
    bool fin = (buf[0] & 0x80) != 0;
    bool starts_message = opcode == WS_TEXT || opcode == WS_BINARY;
    if ((buf[0] & 0x30) != 0)
        return ERROR_WS_RESERVED_BITS;
    if ((buf[0] & 0x40) != 0 && !(limits->deflate && starts_message))
        return ERROR_WS_RESERVED_BITS;
    if (opcode > WS_PONG || (opcode > WS_BINARY && opcode < WS_CLOSE))
        return ERROR_WS_OPCODE;
    bool masked = (buf[1] & 0x80) != 0;
    if (masked != limits->expect_mask)
        return masked ? ERROR_WS_MASKED : ERROR_WS_UNMASKED;
    if (is_control(opcode) && !fin)
        return ERROR_WS_CONTROL_FRAGMENTED;
    if (is_control(opcode) && (buf[1] & 0x7f) > WS_CONTROL_MAX)
        return ERROR_WS_CONTROL_LENGTH;
    if (opcode == WS_CONTINUATION && decoder->message_opcode == 0)
        return ERROR_WS_CONTINUATION;
    if (starts_message && decoder->message_opcode != 0)
        return ERROR_WS_INTERLEAVED;
    return ERROR_NONE;
}

// Reads a frame's head. Returns its length; 0: more is needed, or *ret_error is set.
static size_t read_head(const struct ws_decoder *decoder, const struct ws_limits *limits, const uint8_t *buf, size_t len,
                        struct head *ret_head, enum error *ret_error)
{
    if (len < 2)
        return 0;
    *ret_error = check_head(decoder, limits, buf);
    if (*ret_error != ERROR_NONE)
        return 0;
    uint64_t payload_len = buf[1] & 0x7f;
    size_t used = 2;
    if (payload_len >= 126) {
        size_t width = payload_len == 126 ? 2 : 8;
        if (len < used + width)
            return 0;
        payload_len = big_endian(buf + used, width);
        used += width;
        if (payload_len < (width == 2 ? 126 : 65536) || payload_len >> 63 != 0) { // RFC 6455 5.2: minimal, 63 bits
            *ret_error = ERROR_WS_LENGTH;
            return 0;
        }
    }
    if (!is_control(buf[0] & 15) &&
        (decoder->message_bytes > limits->message_bytes_max || payload_len > limits->message_bytes_max - decoder->message_bytes)) {
        *ret_error = ERROR_WS_TOO_BIG;
        return 0;
    }
    if (limits->expect_mask) {
        if (len < used + 4)
            return 0;
        memcpy(ret_head->mask, buf + used, 4);
        used += 4;
    }
    ret_head->payload_len = payload_len;
    ret_head->opcode = buf[0] & 15;
    ret_head->fin = (buf[0] & 0x80) != 0;
    ret_head->compressed = (buf[0] & 0x40) != 0;
    CHECK(used <= WS_HEAD_MAX);
    return used;
}

static size_t fail(struct ws_decoder *decoder, enum error error, struct ws_item *ret_item)
{
    CHECK(error != ERROR_NONE);
    decoder->failed = true;
    *ret_item = (struct ws_item){.kind = WS_ITEM_ERROR, .error = error};
    return 0;
}

// Codes that may stand in a close frame: RFC 6455 7.4.1 and the IANA registry (1012 to 1014), 3000 to 4999 for applications.
static bool close_code_is_valid(uint16_t code)
{
    return (code >= 1000 && code <= 1003) || (code >= 1007 && code <= 1014) || (code >= 3000 && code <= 4999);
}

static enum error read_close(struct ws_item *item)
{
    CHECK(item->len <= WS_CONTROL_MAX);
    item->close_code = 1005;
    if (item->len == 0)
        return ERROR_NONE;
    if (item->len == 1)
        return ERROR_WS_CLOSE_LENGTH;
    item->close_code = (uint16_t)big_endian(item->ptr, 2);
    if (!close_code_is_valid(item->close_code))
        return ERROR_WS_CLOSE_CODE;
    item->ptr += 2;
    item->len -= 2;
    return ws_utf8(0, bytes_of(item->ptr, item->len)) == 0 ? ERROR_NONE : ERROR_WS_UTF8;
}

// A control frame is used up whole or not at all, so it leaves no state.
static size_t control_item(struct ws_decoder *decoder, const struct ws_limits *limits, const struct head *head, uint8_t *payload,
                           size_t head_len, struct ws_item *ret_item)
{
    CHECK(is_control(head->opcode) && head->payload_len <= WS_CONTROL_MAX);
    size_t len = (size_t)head->payload_len;
    if (limits->expect_mask)
        ws_mask(payload, len, head->mask, 0);
    *ret_item = (struct ws_item){.opcode = head->opcode, .ptr = payload, .len = len};
    ret_item->kind = head->opcode == WS_PING ? WS_ITEM_PING : head->opcode == WS_PONG ? WS_ITEM_PONG : WS_ITEM_CLOSE;
    enum error error = head->opcode == WS_CLOSE ? read_close(ret_item) : ERROR_NONE;
    return error == ERROR_NONE ? head_len + len : fail(decoder, error, ret_item);
}

static void enter_frame(struct ws_decoder *decoder, const struct head *head)
{
    CHECK(!decoder->in_frame && !is_control(head->opcode));
    if (head->opcode != WS_CONTINUATION) {
        decoder->message_opcode = head->opcode;
        decoder->compressed = head->compressed;
        decoder->fresh = true;
    }
    decoder->opcode = decoder->message_opcode;
    decoder->frame_left = head->payload_len;
    decoder->message_bytes += head->payload_len;
    decoder->frame_fin = head->fin;
    decoder->in_frame = true;
    decoder->mask_phase = 0;
    memcpy(decoder->mask, head->mask, 4);
}

// Leaves a frame whose last byte was handed out. Only now, not with that byte, so that ws_unread finds the frame still open.
static void settle(struct ws_decoder *decoder)
{
    CHECK(decoder->in_frame && decoder->frame_left == 0);
    if (decoder->frame_fin) {
        memset(decoder, 0, sizeof(*decoder));
        return;
    }
    decoder->in_frame = false;
    decoder->opcode = 0;
    decoder->mask_phase = 0;
    memset(decoder->mask, 0, 4);
}

static size_t data_item(struct ws_decoder *decoder, const struct ws_limits *limits, uint8_t *ptr, size_t len, struct ws_item *ret_item)
{
    CHECK(decoder->in_frame);
    if (len == 0 && decoder->frame_left > 0)
        return 0;
    if (len > decoder->frame_left)
        len = (size_t)decoder->frame_left;
    if (limits->expect_mask) {
        ws_mask(ptr, len, decoder->mask, decoder->mask_phase);
        decoder->mask_phase = (uint8_t)((decoder->mask_phase + len) & 3);
    }
    decoder->frame_left -= len;
    bool last = decoder->frame_fin && decoder->frame_left == 0;
    if (decoder->opcode == WS_TEXT && !decoder->compressed) {
        decoder->utf8_start = decoder->utf8_state;
        decoder->utf8_state = ws_utf8(decoder->utf8_state, bytes_of(ptr, len));
        if (decoder->utf8_state == WS_UTF8_BAD || (last && decoder->utf8_state != 0))
            return fail(decoder, ERROR_WS_UTF8, ret_item);
    }
    *ret_item = (struct ws_item){.kind = WS_ITEM_DATA,
                                 .opcode = decoder->opcode,
                                 .first = decoder->fresh,
                                 .last = last,
                                 .compressed = decoder->compressed,
                                 .ptr = ptr,
                                 .len = len};
    decoder->fresh = false;
    return len;
}

// The common case at once: a client's whole, unfragmented message, uncompressed, lies in the buffer. 0: it is not that.
static size_t whole_message(struct ws_decoder *decoder, const struct ws_limits *limits, uint8_t *buf, size_t len, struct ws_item *ret_item)
{
    bool at_rest = decoder->in_frame ? decoder->frame_fin && decoder->frame_left == 0 : decoder->message_opcode == 0;
    uint8_t opcode = len > 0 ? buf[0] & 0x7f : 0;
    if (!at_rest || len < 8 || !limits->expect_mask || (opcode != WS_BINARY && opcode != WS_TEXT) || (buf[0] & buf[1] & 0x80) == 0)
        return 0;
    size_t payload_len = buf[1] & 0x7f, head_len = 2 + 4;
    if (payload_len == 126) {
        payload_len = (size_t)buf[2] << 8 | buf[3];
        head_len = 2 + 2 + 4;
    }
    bool is_sound = buf[1] == (0x80 | 126) ? payload_len >= 126 : payload_len > 0 && payload_len < 126;
    if (!is_sound || len - head_len < payload_len || payload_len > limits->message_bytes_max)
        return 0;
    *decoder = (struct ws_decoder){.message_bytes = payload_len,
                                   .opcode = opcode,
                                   .message_opcode = opcode,
                                   .in_frame = true,
                                   .frame_fin = true,
                                   .mask_phase = (uint8_t)(payload_len & 3)};
    memcpy(decoder->mask, buf + head_len - 4, 4);
    ws_mask(buf + head_len, payload_len, decoder->mask, 0);
    if (opcode == WS_TEXT && ws_utf8(0, bytes_of(buf + head_len, payload_len)) != 0)
        return head_len + fail(decoder, ERROR_WS_UTF8, ret_item);
    *ret_item =
        (struct ws_item){.kind = WS_ITEM_DATA, .opcode = opcode, .first = true, .last = true, .ptr = buf + head_len, .len = payload_len};
    return head_len + payload_len;
}

size_t ws_next(struct ws_decoder *decoder, const struct ws_limits *limits, uint8_t *buf, size_t len, struct ws_item *ret_item)
{
    CHECK(!decoder->failed);
    CHECK(len == 0 || buf != NULL);
    size_t used = whole_message(decoder, limits, buf, len, ret_item);
    if (used > 0)
        return used;
    *ret_item = (struct ws_item){.kind = WS_ITEM_NONE};
    if (decoder->in_frame && decoder->frame_left == 0)
        settle(decoder);
    if (!decoder->in_frame) {
        struct head head = {0};
        enum error error = ERROR_NONE;
        used = read_head(decoder, limits, buf, len, &head, &error);
        if (error != ERROR_NONE)
            return fail(decoder, error, ret_item);
        if (used == 0)
            return 0;
        if (is_control(head.opcode)) {
            bool whole = len - used >= head.payload_len;
            return whole ? control_item(decoder, limits, &head, buf + used, used, ret_item) : 0;
        }
        enter_frame(decoder, &head);
    }
    return used + data_item(decoder, limits, buf == NULL ? NULL : buf + used, len - used, ret_item);
}

void ws_unread(struct ws_decoder *decoder, const struct ws_limits *limits, const struct ws_item *item, size_t len)
{
    CHECK(item->kind == WS_ITEM_DATA && len <= item->len);
    CHECK(decoder->in_frame && !decoder->failed);
    if (len == 0)
        return;
    size_t kept = item->len - len;
    if (limits->expect_mask) {
        decoder->mask_phase = (uint8_t)((decoder->mask_phase - len) & 3);
        ws_mask(item->ptr + kept, len, decoder->mask, decoder->mask_phase);
    }
    decoder->frame_left += len;
    if (decoder->opcode == WS_TEXT && !decoder->compressed)
        decoder->utf8_state = ws_utf8(decoder->utf8_start, bytes_of(item->ptr, kept));
    if (kept == 0)
        decoder->fresh = item->first;
    CHECK(decoder->utf8_state != WS_UTF8_BAD);
}

size_t ws_head(uint8_t out[WS_HEAD_MAX], enum ws_opcode opcode, bool rsv1, uint64_t payload_len, const uint8_t mask[4])
{
    CHECK(opcode <= WS_PONG && payload_len >> 63 == 0);
    CHECK(!is_control((uint8_t)opcode) || (payload_len <= WS_CONTROL_MAX && !rsv1));
    size_t width = payload_len < 126 ? 0 : payload_len < 65536 ? 2 : 8;
    out[0] = (uint8_t)(0x80 | (rsv1 ? 0x40 : 0) | opcode);
    out[1] = (uint8_t)(width == 0 ? payload_len : width == 2 ? 126 : 127);
    for (size_t i = 0; i < width; i++)
        out[2 + i] = (uint8_t)(payload_len >> 8 * (width - 1 - i));
    if (mask == NULL)
        return 2 + width;
    out[1] |= 0x80;
    memcpy(out + 2 + width, mask, 4);
    return 2 + width + 4;
}

// Four words that may lie anywhere: vector operations, and no copy on the stack.
typedef uint64_t mask_words __attribute__((vector_size(32), aligned(1), may_alias));
typedef uint64_t mask_word __attribute__((aligned(1), may_alias));

#define MASK_BLOCK_BYTES 128
#define MASK_LONG_BYTES 512 // from here on alignment and AVX2 pay for themselves

static inline void mask_blocks(uint8_t *ptr, size_t blocks, uint64_t word)
{
    const mask_words words = {word, word, word, word};
    for (; blocks > 0; ptr += MASK_BLOCK_BYTES, blocks--) {
        mask_words *at = (mask_words *)(void *)ptr;
        at[0] ^= words;
        at[1] ^= words;
        at[2] ^= words;
        at[3] ^= words;
    }
}

#ifdef __x86_64__
__attribute__((target("avx2"))) static void mask_blocks_avx2(uint8_t *ptr, size_t blocks, uint64_t word)
{
    const mask_words words = {word, word, word, word};
    for (; blocks > 0; ptr += MASK_BLOCK_BYTES, blocks--) {
        mask_words *at = (mask_words *)(void *)ptr;
        at[0] ^= words;
        at[1] ^= words;
        at[2] ^= words;
        at[3] ^= words;
    }
}

static bool has_avx2(void)
{
    return __builtin_cpu_supports("avx2");
}
#else
#define mask_blocks_avx2 mask_blocks
static bool has_avx2(void)
{
    return false;
}
#endif

void ws_mask(uint8_t *ptr, size_t len, const uint8_t mask[4], unsigned phase)
{
    CHECK(phase < 4);
    if (len >= MASK_LONG_BYTES) {
        size_t lead = -(uintptr_t)ptr & 31;
        ws_mask(ptr, lead, mask, phase);
        ptr += lead;
        len -= lead;
        phase = (unsigned)(phase + lead) & 3;
    }
    uint8_t twice[8];
    memcpy(twice, mask, 4);
    memcpy(twice + 4, mask, 4);
    uint32_t turned;
    memcpy(&turned, twice + phase, 4);
    const uint64_t word = (uint64_t)turned << 32 | turned;
    size_t blocks = len / MASK_BLOCK_BYTES;
    if (len >= MASK_LONG_BYTES && has_avx2())
        mask_blocks_avx2(ptr, blocks, word);
    else
        mask_blocks(ptr, blocks, word);
    ptr += blocks * MASK_BLOCK_BYTES;
    for (len -= blocks * MASK_BLOCK_BYTES; len >= 8; ptr += 8, len -= 8)
        *(mask_word *)(void *)ptr ^= word;
    const uint8_t *rest = (const uint8_t *)&turned;
    for (size_t at = 0; at < len; at++)
        ptr[at] ^= rest[at & 3];
}

size_t ws_close_payload(uint8_t out[WS_CONTROL_MAX], uint16_t code, struct bytes reason)
{
    CHECK(code >= 1000 && code <= 4999);
    if (code == 1005)
        return 0;
    size_t len = reason.len;
    if (len > WS_CONTROL_MAX - 2) {
        len = WS_CONTROL_MAX - 2;
        while (len > 0 && (reason.ptr[len] & 0xc0) == 0x80)
            len--;
    }
    out[0] = (uint8_t)(code >> 8);
    out[1] = (uint8_t)code;
    if (len > 0)
        memcpy(out + 2, reason.ptr, len);
    return 2 + len;
}

// What the next byte must be, and the state after it. States 4 to 7 follow the lead bytes E0, ED, F0 and F4, whose second byte
// is restricted (overlong forms, surrogates, beyond U+10FFFF: RFC 3629 4).
static const struct {
    uint8_t low, high, next;
} utf8_steps[] = {
    {0, 0, 0}, {0x80, 0xbf, 0}, {0x80, 0xbf, 1}, {0x80, 0xbf, 2}, {0xa0, 0xbf, 1}, {0x80, 0x9f, 1}, {0x90, 0xbf, 2}, {0x80, 0x8f, 2},
};

static uint8_t utf8_lead(uint8_t byte)
{
    if (byte < 0x80)
        return 0;
    if (byte < 0xc2 || byte > 0xf4)
        return WS_UTF8_BAD;
    if (byte < 0xe0)
        return 1;
    if (byte < 0xf0)
        return byte == 0xe0 ? 4 : byte == 0xed ? 5 : 2;
    return byte == 0xf0 ? 6 : byte == 0xf4 ? 7 : 3;
}

typedef uint64_t ascii_words __attribute__((vector_size(16), aligned(1), may_alias));
#define ASCII_BLOCK_BYTES 64

// How many bytes at the front are ASCII, in whole blocks.
static size_t ascii_blocks(struct bytes text)
{
    size_t at = 0;
    for (; text.len - at >= ASCII_BLOCK_BYTES; at += ASCII_BLOCK_BYTES) {
        const ascii_words *words = (const ascii_words *)(const void *)(text.ptr + at);
        ascii_words any = words[0] | words[1] | words[2] | words[3];
        if (((any[0] | any[1]) & 0x8080808080808080u) != 0)
            break;
    }
    return at;
}

uint8_t ws_utf8(uint8_t state, struct bytes text)
{
    CHECK(state < sizeof(utf8_steps) / sizeof(utf8_steps[0]));
    size_t at = state == 0 ? ascii_blocks(text) : 0;
    while (at < text.len) {
        uint64_t word;
        if (state == 0 && text.len >= 8) {
            size_t from = text.len - at >= 8 ? at : text.len - 8; // the last eight may have been seen in part
            memcpy(&word, text.ptr + from, 8);
            if ((word & 0x8080808080808080u) == 0) {
                at = from + 8;
                continue;
            }
        }
        uint8_t byte = text.ptr[at++];
        if (state == 0)
            state = utf8_lead(byte);
        else if (byte >= utf8_steps[state].low && byte <= utf8_steps[state].high)
            state = utf8_steps[state].next;
        else
            state = WS_UTF8_BAD;
        if (state == WS_UTF8_BAD)
            return WS_UTF8_BAD;
    }
    return state;
}

void ws_accept(struct bytes key, char ret_accept[29])
{
    static const char guid[] = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"; // RFC 6455 1.3
    uint8_t digest[SHA_DIGEST_LENGTH];
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    bool ok = context != NULL && EVP_DigestInit_ex(context, EVP_sha1(), NULL) == 1 && EVP_DigestUpdate(context, key.ptr, key.len) == 1 &&
              EVP_DigestUpdate(context, guid, sizeof(guid) - 1) == 1 && EVP_DigestFinal_ex(context, digest, NULL) == 1;
    EVP_MD_CTX_free(context);
    CHECK(ok);
    int len = EVP_EncodeBlock((unsigned char *)ret_accept, digest, sizeof(digest));
    CHECK(len == 28);
}
