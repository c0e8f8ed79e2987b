// Buckets v1 messages: netstrings, commands and events (protocols/buckets.md "Framing"). Without I/O or state.
#pragma once
#include "router/router.h"

#define BUCKETS_BODY_MAX 1000000u // body of the outer netstring
#define BUCKETS_MESSAGE_MAX (BUCKETS_BODY_MAX + 9u)
#define BUCKETS_PAYLOAD_MAX 999955u // of SendData: its body is then BUCKETS_BODY_MAX
#define BUCKETS_ERROR_TEXT_MAX 99u  // what buckets_error takes
#define BUCKETS_CHALLENGE_BYTES 32
#define BUCKETS_SIGNATURE_BYTES 64
#define BUCKETS_DATA_HEAD_MAX 64u // of a Data event, before its payload

enum buckets_kind { BUCKETS_IAM = 'i', BUCKETS_CONNECT = 'c', BUCKETS_DISCONNECT = 'x', BUCKETS_SEND = 'd' };

// The outer netstring at the start of buf. Length of the whole message when its head is complete and sound, whether or not the
// rest is there yet; 0: needs more to tell; -(enum error): ERROR_NETSTRING or ERROR_NETSTRING_TOO_BIG as soon as it is certain.
// With the whole message there, its closing comma is checked too.
int64_t buckets_message_length(struct bytes buf);

struct buckets_command {
    enum buckets_kind kind;
    struct bytes key;       // any length as sent; a session's key has KEY_BYTES
    struct bytes signature; // Iam
    struct bytes data;      // SendData
};

// Parses one whole message. Borrowed from it. ERROR_NONE, ERROR_NETSTRING, ERROR_COMMAND_UNKNOWN or ERROR_COMMAND_ARGUMENT
// (missing, malformed, or garbage after the arguments; an extra well-formed trailing netstring is ignored, as the original does).
enum error buckets_command_parse(struct bytes message, struct buckets_command *ret_command);

// Events: write the whole message (outer netstring) to out, return its length.
size_t buckets_who(uint8_t out[64], const uint8_t challenge[BUCKETS_CHALLENGE_BYTES]);
size_t buckets_event(uint8_t out[128], enum router_event event, const struct key *key);
size_t buckets_error(uint8_t out[128], const char *text);
// The Data event's bytes before its payload, somewhere in scratch; after the payload come ",,". Total length = head + payload + 2.
struct bytes buckets_data_head(uint8_t scratch[BUCKETS_DATA_HEAD_MAX], const struct key *sender, size_t payload_len);

// Commands, for clients and tests: whole messages; the SendData head likewise.
size_t buckets_iam(uint8_t out[128], const struct key *key, const uint8_t signature[BUCKETS_SIGNATURE_BYTES]);
size_t buckets_connect(uint8_t out[64], const struct key *peer);
size_t buckets_disconnect(uint8_t out[64], const struct key *peer);
size_t buckets_send_head(uint8_t out[BUCKETS_DATA_HEAD_MAX], const struct key *peer, size_t payload_len);

// An event, for clients and tests. kind is the event's byte ('?', '+', 'c', 'x', 'd', '>', '^', 'E').
struct buckets_event {
    uint8_t kind;
    struct bytes key;  // or the challenge ('?'), or the error's code name ('E')
    struct bytes data; // 'd', or the error's text ('E')
};
enum error buckets_event_parse(struct bytes message, struct buckets_event *ret_event);
