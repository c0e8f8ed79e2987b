// permessage-deflate (RFC 7692) with no_context_takeover both ways: one deflater and one inflater per shard serve all its sessions.
#pragma once
#include "shards/base/bytes.h"
#include "shards/base/error.h"

struct deflate;

struct deflate *deflate_create(void); // NULL when memory is short
void deflate_destroy(struct deflate *deflate);

// The answer to an offer (the client's Sec-WebSocket-Extensions, header values joined by ", "): writes the header value, e.g.
// "permessage-deflate; server_no_context_takeover; client_no_context_takeover". Returns its length; 0: nothing acceptable was offered
// (no extension then). -1: the header is malformed (400).
int deflate_negotiate(struct bytes offer, char *ret_answer, size_t answer_max);

// Compresses one message into out. Returns the length, or 0 when the result would not be smaller than the message (or than out_max).
size_t deflate_message(struct deflate *deflate, struct bytes message, uint8_t *out, size_t out_max);

// Inflates one whole message and hands it out in pieces (borrowed). inflated_max: ERROR_WS_INFLATED_TOO_BIG beyond it; broken data:
// ERROR_WS_DEFLATE. A piece's handler returns false to stop (then ERROR_NONE is returned at once).
enum error deflate_inflate(struct deflate *deflate, struct bytes message, uint64_t inflated_max,
                           bool (*on_piece)(void *owner, struct bytes piece), void *owner);
