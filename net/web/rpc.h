// The language of /v1/auth (protocols/buckets.md): one JSON object per message, {"id":..,"command":"..","args":{..}}, answered by
// {"id":..,"response":..} or {"id":..,"error":".."}. Without I/O or state; any thread.
#pragma once
#include "net/signup.h"

#define RPC_MESSAGE_MAX 16384 // bytes: the largest sound request, every character escaped, fits
#define RPC_ID_MAX 40         // bytes of an id as JSON text, with the NUL
#define RPC_ANSWER_MAX 192    // bytes of an answer

enum rpc_verdict {
    RPC_ASK,    // a request for the accounts node
    RPC_ANSWER, // to be answered at once with *ret_outcome
    RPC_REFUSE, // not a JSON object with an id: nothing to answer to
};

// Reads a message. ret_id: the id as JSON text, to be echoed, unless RPC_REFUSE. ret_request: all but slot, generation and address; it may
// hold a password, so the caller wipes it. As in the original, an argument of another type reads as "".
enum rpc_verdict rpc_parse(struct bytes message, char ret_id[RPC_ID_MAX], struct signup_request *ret_request,
                           enum signup_outcome *ret_outcome);

// Formats an answer. Returns its length. retry_after_s > 0 is told too (SIGNUP_THROTTLED, SIGNUP_BUSY).
size_t rpc_answer(const char *id, enum signup_outcome outcome, uint32_t retry_after_s, char ret_answer[RPC_ANSWER_MAX]);
