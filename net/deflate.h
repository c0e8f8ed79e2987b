// permessage-deflate (RFC 7692) with no_context_takeover both ways: one deflater and one inflater per shard serve all its sessions
// (a further deflater for each smaller window that a client asks for, made when first needed). Thread: its shard's.
#pragma once
#include "shards/base/bytes.h"
#include "shards/base/error.h"

#define DEFLATE_ANSWER_MAX 128 // enough for deflate_negotiate
#define DEFLATE_TAIL_BYTES 4   // what a message's end is cut by on the wire (RFC 7692 7.2.1)

struct deflate;

struct deflate *deflate_create(void); // NULL when memory is short
void deflate_destroy(struct deflate *deflate);

// The answer to an offer (the client's Sec-WebSocket-Extensions, header values joined by ", "): the first acceptable one. Writes the
// header value, "permessage-deflate; server_no_context_takeover; client_no_context_takeover", with "; server_max_window_bits=N" if asked.
// Returns its length (a NUL follows) and the window for deflate_message; 0: nothing acceptable was offered (no extension then).
// -1: the header is malformed (400). client_max_window_bits needs no answer: the inflater takes any window.
int deflate_negotiate(struct bytes offer, char *ret_answer, size_t answer_max, uint8_t *ret_window_bits);

// Compresses one message into out. Returns the length, or 0 when the result would not be smaller than the message, not fit in
// out_max - DEFLATE_TAIL_BYTES, or memory for the window is short: the message then goes as it is. Encrypted bytes are told by a sample
// and not tried. window_bits: 8 to 15.
size_t deflate_message(struct deflate *deflate, uint8_t window_bits, struct bytes message, uint8_t *out, size_t out_max);

// Inflates one whole message and hands it out in pieces (borrowed). inflated_max: ERROR_WS_INFLATED_TOO_BIG beyond it (before the piece
// that passes it is handed out); broken or cut data: ERROR_WS_DEFLATE. A piece's handler returns false to stop (then ERROR_NONE is
// returned at once). Text is not checked: the handler does it with ws_utf8.
enum error deflate_inflate(struct deflate *deflate, struct bytes message, uint64_t inflated_max,
                           bool (*on_piece)(void *owner, struct bytes piece), void *owner);
