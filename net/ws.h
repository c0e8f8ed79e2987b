// WebSocket frames (RFC 6455), without I/O. Server and client side. A pull parser over the caller's buffer: payload is unmasked in place
// and handed out in pieces as it lies there, so nothing is copied or allocated. A frame head that is cut short and a control frame that
// is not whole wait in the caller's buffer: to keep WS_CONTROL_MAX bytes inside would bloat idle sessions.
#pragma once
#include "shards/base/bytes.h"
#include "shards/base/error.h"

#define WS_HEAD_MAX 14     // RFC 6455 5.2
#define WS_CONTROL_MAX 125 // RFC 6455 5.5

enum ws_opcode { WS_CONTINUATION = 0, WS_TEXT = 1, WS_BINARY = 2, WS_CLOSE = 8, WS_PING = 9, WS_PONG = 10 };

struct ws_limits {
    uint64_t message_bytes_max; // sum of a message's frames as sent (compressed size if compressed)
    bool expect_mask;           // true: we are the server
    bool deflate;               // RSV1 allowed on the first frame of a message
};

// State between calls; zero it to start. A frame whose last byte was handed out stays open until the next ws_next (an empty buffer
// will do), so that ws_unread can take that byte back; after a message everything is 0 again.
struct ws_decoder {
    uint64_t frame_left;    // payload bytes of the current frame still to come
    uint64_t message_bytes; // of the current message, by the frame heads seen so far
    uint8_t mask[4];
    uint8_t mask_phase;     // 0..3: which mask byte is next
    uint8_t opcode;         // of the current frame, resolved (a continuation has its message's opcode)
    uint8_t message_opcode; // of the open fragmented message, 0: none
    bool in_frame, frame_fin, compressed;
    bool fresh;         // no piece of the open message was handed out yet
    bool failed;        // WS_ITEM_ERROR was returned: no more calls
    uint8_t utf8_state; // of the open text message; 0 = complete character
    uint8_t utf8_start; // utf8_state before the last piece, for ws_unread
};

enum ws_item_kind {
    WS_ITEM_NONE, // needs more input: keep the bytes from `consumed` on (at most WS_HEAD_MAX + WS_CONTROL_MAX)
    WS_ITEM_DATA, // payload: a piece of a text or binary message
    WS_ITEM_PING,
    WS_ITEM_PONG,  // payload: whole
    WS_ITEM_CLOSE, // close_code (1005 when absent), payload: reason
    WS_ITEM_ERROR, // error; the decoder is invalid from now on
};

struct ws_item {
    enum ws_item_kind kind;
    enum error error;
    uint16_t close_code;
    uint8_t opcode;   // WS_TEXT or WS_BINARY for data
    bool first, last; // this piece begins / ends its message (both may hold; an empty message is one piece of length 0)
    bool compressed;  // permessage-deflate: the pieces are compressed bytes
    uint8_t *ptr;     // into the caller's buffer, unmasked
    size_t len;
};

// Looks at buf[0..len), returns how many bytes are used up (0 with WS_ITEM_NONE if nothing). Call again with the rest until WS_ITEM_NONE.
// Text that is not compressed is checked for UTF-8 here (ERROR_WS_UTF8, as early as it is seen); compressed text by the inflater's user.
size_t ws_next(struct ws_decoder *decoder, const struct ws_limits *limits, uint8_t *buf, size_t len, struct ws_item *ret_item);

// Takes back the last `len` bytes of the data piece that ws_next returned last (and before any further call): they are masked again in
// place, and the decoder expects them again. So a session that must wait keeps raw bytes only. Returns nothing; len <= item.len.
void ws_unread(struct ws_decoder *decoder, const struct ws_limits *limits, const struct ws_item *item, size_t len);

// Writes a frame head for a whole (FIN) frame; mask NULL: unmasked. rsv1: compressed. Returns its length (2..14).
size_t ws_head(uint8_t out[WS_HEAD_MAX], enum ws_opcode opcode, bool rsv1, uint64_t payload_len, const uint8_t mask[4]);
void ws_mask(uint8_t *ptr, size_t len, const uint8_t mask[4], unsigned phase); // XOR, word-wise

// Close frame payload: code and reason (cut to 123 bytes at a character boundary). Returns its length. code 1005: empty.
size_t ws_close_payload(uint8_t out[WS_CONTROL_MAX], uint16_t code, struct bytes reason);

// Incremental UTF-8 (RFC 3629) check. state 0 at start; returns the new state, UTF8_BAD when invalid; 0 again = complete.
#define WS_UTF8_BAD 255
uint8_t ws_utf8(uint8_t state, struct bytes text);

// Sec-WebSocket-Accept for a key (RFC 6455 4.2.2): 28 characters and NUL.
void ws_accept(struct bytes key, char ret_accept[29]);
