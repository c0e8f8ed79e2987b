// permessage-deflate (RFC 7692): negotiation and, by zlib, the messages. One rule: no message leaves anything for the next.
#include "net/deflate.h"

#include <stdio.h>
#include <stdlib.h>
#include <strings.h>
#include <zlib.h>

#include "shards/base/check.h"

#define PIECE_BYTES 65536u
#define WINDOW_BITS_MIN 8
#define WINDOW_BITS_MAX 15
#define LEVEL 1 // measured: see README.md

struct deflate {
    z_stream inflater;
    z_stream deflaters[WINDOW_BITS_MAX + 1]; // by window bits; made when first needed
    bool has_deflater[WINDOW_BITS_MAX + 1];
    uint8_t piece[PIECE_BYTES];
};

#define SAMPLE 512       // bytes looked at before a message is deflated
#define SAMPLE_PAIRS 640 // equal pairs among them: uniform bytes have 511, 23 more or less; base64 has 2044, text 8000

static const uint8_t tail[DEFLATE_TAIL_BYTES] = {0x00, 0x00, 0xff, 0xff};

struct deflate *deflate_create(void)
{
    struct deflate *self = calloc(1, sizeof(*self));
    if (self == NULL)
        return NULL;
    if (inflateInit2(&self->inflater, -WINDOW_BITS_MAX) != Z_OK) {
        free(self);
        return NULL;
    }
    return self;
}

void deflate_destroy(struct deflate *self)
{
    if (self == NULL)
        return;
    inflateEnd(&self->inflater);
    for (size_t bits = 0; bits <= WINDOW_BITS_MAX; bits++) {
        if (self->has_deflater[bits])
            deflateEnd(&self->deflaters[bits]);
    }
    free(self);
}

// A deflater ready for a message. NULL: no memory.
static z_stream *fresh_deflater(struct deflate *self, uint8_t window_bits)
{
    CHECK(window_bits >= WINDOW_BITS_MIN && window_bits <= WINDOW_BITS_MAX);
    z_stream *stream = &self->deflaters[window_bits];
    if (self->has_deflater[window_bits])
        return deflateReset(stream) == Z_OK ? stream : NULL;
    // zlib has no raw window of 8 bits. Literals alone look back nowhere, so they keep to any window.
    int bits = window_bits == 8 ? 9 : window_bits;
    int strategy = window_bits == 8 ? Z_HUFFMAN_ONLY : Z_DEFAULT_STRATEGY;
    if (deflateInit2(stream, LEVEL, Z_DEFLATED, -bits, 8, strategy) != Z_OK)
        return NULL;
    self->has_deflater[window_bits] = true;
    return stream;
}

// What is relayed is mostly encrypted, and to find that out by deflating costs 17 us at 1 KiB.
static bool looks_random(struct bytes message)
{
    uint16_t seen[256] = {0};
    uint32_t pairs = 0;
    if (message.len < SAMPLE)
        return false;
    for (size_t i = 0; i < SAMPLE; i++)
        pairs += seen[message.ptr[i * message.len / SAMPLE]]++;
    CHECK(pairs <= SAMPLE * (SAMPLE - 1) / 2);
    return pairs < SAMPLE_PAIRS;
}

size_t deflate_message(struct deflate *self, uint8_t window_bits, struct bytes message, uint8_t *out, size_t out_max)
{
    size_t room = message.len + DEFLATE_TAIL_BYTES - 1; // one byte less than the message
    if (message.len < 2 || out_max <= DEFLATE_TAIL_BYTES || message.len > UINT32_MAX - DEFLATE_TAIL_BYTES || looks_random(message))
        return 0;
    if (room > out_max)
        room = out_max;
    z_stream *stream = fresh_deflater(self, window_bits);
    if (stream == NULL)
        return 0;
    stream->next_in = (Bytef *)(uintptr_t)message.ptr; // zlib does not write to it
    stream->avail_in = (uInt)message.len;
    stream->next_out = out;
    stream->avail_out = (uInt)room;
    int status = deflate(stream, Z_SYNC_FLUSH);
    if (status != Z_OK || stream->avail_in > 0 || stream->avail_out == 0)
        return 0;
    size_t len = room - stream->avail_out;
    CHECK(len > DEFLATE_TAIL_BYTES && memcmp(out + len - DEFLATE_TAIL_BYTES, tail, DEFLATE_TAIL_BYTES) == 0);
    return len - DEFLATE_TAIL_BYTES;
}

// Inflates `input`, piece by piece. False: told to stop, or *ret_error is set. *total counts what came out so far.
static bool inflate_part(struct deflate *self, struct bytes input, uint64_t inflated_max, uint64_t *total,
                         bool (*on_piece)(void *owner, struct bytes piece), void *owner, enum error *ret_error)
{
    z_stream *stream = &self->inflater;
    stream->next_in = (Bytef *)(uintptr_t)input.ptr; // zlib does not write to it
    stream->avail_in = (uInt)input.len;
    do {
        stream->next_out = self->piece;
        stream->avail_out = PIECE_BYTES;
        int status = inflate(stream, Z_SYNC_FLUSH);
        if (status != Z_OK && status != Z_BUF_ERROR && status != Z_STREAM_END) {
            *ret_error = ERROR_WS_DEFLATE;
            return false;
        }
        size_t len = PIECE_BYTES - stream->avail_out;
        *total += len;
        if (*total > inflated_max) {
            *ret_error = ERROR_WS_INFLATED_TOO_BIG;
            return false;
        }
        if (len > 0 && !on_piece(owner, bytes_of(self->piece, len)))
            return false;
        if (status == Z_STREAM_END && inflateReset(stream) != Z_OK) // a final block; another may follow (RFC 7692 7.2.3.4)
            *ret_error = ERROR_WS_DEFLATE;
    } while (*ret_error == ERROR_NONE && (stream->avail_in > 0 || stream->avail_out == 0));
    return *ret_error == ERROR_NONE;
}

enum error deflate_inflate(struct deflate *self, struct bytes message, uint64_t inflated_max,
                           bool (*on_piece)(void *owner, struct bytes piece), void *owner)
{
    CHECK(message.len <= UINT32_MAX);
    enum error error = ERROR_NONE;
    uint64_t total = 0;
    if (inflateReset(&self->inflater) != Z_OK)
        return ERROR_WS_DEFLATE;
    if (!inflate_part(self, message, inflated_max, &total, on_piece, owner, &error) ||
        !inflate_part(self, bytes_of(tail, sizeof(tail)), inflated_max, &total, on_piece, owner, &error))
        return error;
    bool between_blocks = (self->inflater.data_type & 128) != 0; // zlib.h at inflate()
    return between_blocks ? ERROR_NONE : ERROR_WS_DEFLATE;
}

// The header's grammar (RFC 6455 9.1): 1#( token *( ";" token [ "=" ( token / quoted-string ) ] ) ). The functions take from the front of
// *rest.

struct parameter {
    struct bytes name, value; // value.ptr NULL: none
};

static bool is_token_byte(uint8_t byte)
{
    uint8_t lower = byte | 0x20;
    bool alphanumeric = (byte >= '0' && byte <= '9') || (lower >= 'a' && lower <= 'z');
    return alphanumeric || (byte != 0 && strchr("!#$%&'*+-.^_`|~", byte) != NULL);
}

static void skip(struct bytes *rest, size_t len)
{
    CHECK(len <= rest->len);
    rest->ptr += len;
    rest->len -= len;
}

static void skip_spaces(struct bytes *rest)
{
    while (rest->len > 0 && (rest->ptr[0] == ' ' || rest->ptr[0] == '\t'))
        skip(rest, 1);
}

// Takes `byte` and the spaces around it if it comes next.
static bool take_mark(struct bytes *rest, char byte)
{
    skip_spaces(rest);
    if (rest->len == 0 || rest->ptr[0] != (uint8_t)byte)
        return false;
    skip(rest, 1);
    skip_spaces(rest);
    return true;
}

static bool take_token(struct bytes *rest, struct bytes *ret_token)
{
    size_t len = 0;
    while (len < rest->len && is_token_byte(rest->ptr[len]))
        len++;
    *ret_token = bytes_of(rest->ptr, len);
    skip(rest, len);
    return len > 0;
}

// A quoted value must be a token within its quotes (RFC 6455 9.1), so escapes, which none of ours needs, may be refused.
static bool take_value(struct bytes *rest, struct bytes *ret_value)
{
    bool is_quoted = rest->len > 0 && rest->ptr[0] == '"';
    if (is_quoted)
        skip(rest, 1);
    if (!take_token(rest, ret_value))
        return false;
    if (!is_quoted)
        return true;
    if (rest->len == 0 || rest->ptr[0] != '"')
        return false;
    skip(rest, 1);
    return true;
}

static bool is_name(struct bytes text, const char *name)
{
    return text.len == strlen(name) && strncasecmp((const char *)text.ptr, name, text.len) == 0;
}

// 8 to 15 without leading zero (RFC 7692 7.1.2). 0: something else.
static uint8_t window_bits_of(struct bytes value)
{
    if (value.len == 1 && (value.ptr[0] == '8' || value.ptr[0] == '9'))
        return (uint8_t)(value.ptr[0] - '0');
    if (value.len == 2 && value.ptr[0] == '1' && value.ptr[1] >= '0' && value.ptr[1] <= '5')
        return (uint8_t)(10 + value.ptr[1] - '0');
    return 0;
}

// What an offer's parameters said so far. A name twice, an unknown one or a bad value makes it unacceptable (RFC 7692 7.1).
struct terms {
    bool is_acceptable;
    bool server_no_takeover, client_no_takeover, client_window;
    uint8_t server_window_bits; // 0: not said
};

static void take_flag(struct terms *terms, bool *flag, bool is_valid)
{
    if (*flag || !is_valid)
        terms->is_acceptable = false;
    *flag = true;
}

static void apply(struct terms *terms, const struct parameter *parameter)
{
    bool has_value = parameter->value.ptr != NULL;
    uint8_t bits = has_value ? window_bits_of(parameter->value) : 0;
    if (is_name(parameter->name, "server_no_context_takeover")) {
        take_flag(terms, &terms->server_no_takeover, !has_value);
    } else if (is_name(parameter->name, "client_no_context_takeover")) {
        take_flag(terms, &terms->client_no_takeover, !has_value);
    } else if (is_name(parameter->name, "client_max_window_bits")) {
        take_flag(terms, &terms->client_window, !has_value || bits > 0);
    } else if (is_name(parameter->name, "server_max_window_bits")) {
        bool is_repeated = terms->server_window_bits > 0;
        take_flag(terms, &is_repeated, bits > 0);
        terms->server_window_bits = bits;
    } else {
        terms->is_acceptable = false;
    }
}

// Reads one offer. False: malformed.
static bool read_offer(struct bytes *rest, struct terms *ret_terms)
{
    struct bytes name;
    if (!take_token(rest, &name))
        return false;
    *ret_terms = (struct terms){.is_acceptable = is_name(name, "permessage-deflate")};
    while (take_mark(rest, ';')) {
        struct parameter parameter = {.name = {NULL, 0}};
        if (!take_token(rest, &parameter.name))
            return false;
        if (take_mark(rest, '=') && !take_value(rest, &parameter.value))
            return false;
        apply(ret_terms, &parameter);
    }
    return true;
}

int deflate_negotiate(struct bytes offer, char *ret_answer, size_t answer_max, uint8_t *ret_window_bits)
{
    struct terms chosen = {.is_acceptable = false};
    skip_spaces(&offer);
    while (offer.len > 0) {
        if (take_mark(&offer, ',')) // empty elements are allowed (RFC 9110 5.6.1)
            continue;
        struct terms terms;
        if (!read_offer(&offer, &terms))
            return -1;
        skip_spaces(&offer);
        if (offer.len > 0 && offer.ptr[0] != ',')
            return -1;
        if (!chosen.is_acceptable)
            chosen = terms;
    }
    if (!chosen.is_acceptable)
        return 0;
    char window[32] = "";
    if (chosen.server_window_bits > 0)
        snprintf(window, sizeof(window), "; server_max_window_bits=%u", (unsigned)chosen.server_window_bits);
    int len = snprintf(ret_answer, answer_max, "permessage-deflate; server_no_context_takeover; client_no_context_takeover%s", window);
    CHECK(len > 0 && (size_t)len < answer_max);
    *ret_window_bits = chosen.server_window_bits > 0 ? chosen.server_window_bits : WINDOW_BITS_MAX;
    return len;
}
