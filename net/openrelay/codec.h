// The OpenRelay envelope (protocols/openrelay.md 4): JSON text to one message and back, without I/O, state or threads.
// One rule: as strict and as lenient as the original was measured, and no text is copied unless it holds escapes.
#pragma once
#include "shards/base/bytes.h"

// The keys of Send and Receive, in the order of their array form. X(name): the JSON key and FIELD_name.
#define OPENRELAY_SEND_KEYS(X)                                                                                                             \
    X(recipient_id)                                                                                                                        \
    X(sender_id)                                                                                                                           \
    X(encrypted_data)                                                                                                                      \
    X(message_id)                                                                                                                          \
    X(timestamp)                                                                                                                           \
    X(ttl)                                                                                                                                 \
    X(signature)                                                                                                                           \
    X(hardware_id)                                                                                                                         \
    X(content_type)                                                                                                                        \
    X(size_bytes)
#define OPENRELAY_SEND_FIELDS 10

// Every key that some message knows, in no order of importance.
#define OPENRELAY_FIELDS(X)                                                                                                                \
    OPENRELAY_SEND_KEYS(X)                                                                                                                 \
    X(device_id)                                                                                                                           \
    X(public_key)                                                                                                                          \
    X(challenge)                                                                                                                           \
    X(challenge_response)                                                                                                                  \
    X(trusted)                                                                                                                             \
    X(encrypted_key_package)                                                                                                               \
    X(key_id)                                                                                                                              \
    X(success)                                                                                                                             \
    X(status)                                                                                                                              \
    X(message)                                                                                                                             \
    X(code)

enum openrelay_field {
#define X(name) FIELD_##name,
    OPENRELAY_FIELDS(X)
#undef X
        FIELD_COUNT
};

// X(name): the value of "type" and OPENRELAY_name. Order as in the facts.
#define OPENRELAY_TYPES(X)                                                                                                                 \
    X(Register)                                                                                                                            \
    X(RegisterResponse)                                                                                                                    \
    X(Send)                                                                                                                                \
    X(Receive)                                                                                                                             \
    X(Ack)                                                                                                                                 \
    X(Ping)                                                                                                                                \
    X(Pong)                                                                                                                                \
    X(Error)                                                                                                                               \
    X(AuthRequest)                                                                                                                         \
    X(AuthResponse)                                                                                                                        \
    X(AuthVerify)                                                                                                                          \
    X(AuthSuccess)                                                                                                                         \
    X(KeyRotationUpdate)                                                                                                                   \
    X(KeyRotationAck)                                                                                                                      \
    X(Status)

enum openrelay_type {
#define X(name) OPENRELAY_##name,
    OPENRELAY_TYPES(X)
#undef X
        OPENRELAY_TYPE_COUNT
};

enum openrelay_kind { VALUE_ABSENT, VALUE_TEXT, VALUE_NUMBER, VALUE_TRUTH, VALUE_NULL, VALUE_OTHER };

struct openrelay_value {
    enum openrelay_kind kind;
    bool clean;        // VALUE_TEXT: `text` holds nothing that must be escaped
    bool truth;        // VALUE_TRUTH
    uint64_t number;   // VALUE_NUMBER
    struct bytes text; // VALUE_TEXT, decoded; borrowed from the input or from the message's arena. VALUE_NUMBER: its digits in the input
};

struct openrelay_message {
    enum openrelay_type type;
    struct openrelay_value values[FIELD_COUNT];
    char message_id[37]; // of Send and Receive: hyphenated lower case, and NUL
    struct bytes body;   // a payload that lies in the input as it would be written, but for sender_id and message_id; else empty
    uint8_t *arena;      // decoded texts; NULL: none had escapes
    size_t arena_used;
    size_t input_len;
};

// Parses one whole text, which must outlive the message. False: "Invalid message format" (or memory is short). Call fini in any case.
bool openrelay_parse(struct bytes input, struct openrelay_message *ret_message);
void openrelay_message_fini(struct openrelay_message *message);
// The same without the short way for the usual Send (scan.h): what that is compared with.
bool openrelay_parse_by_yajl(struct bytes input, struct openrelay_message *ret_message);

// RFC 4122 in the four forms that the original takes (hyphenated, 32 hex digits, {...}, urn:uuid:). Writes the hyphenated one and NUL.
bool openrelay_uuid(struct bytes text, char ret_uuid[37]);

// ---- out: each returns the length; `out` must have room for the matching _max, or for OPENRELAY_SMALL_MAX where none is named ----
#define OPENRELAY_SMALL_MAX 256

// An upper bound for what openrelay_format_forward writes of this message with this sender.
size_t openrelay_forward_max(const struct openrelay_message *message, struct bytes sender);
// What the recipient of a Send, Auth* or KeyRotation* reads: section 5 of the facts, with the keys of both dialects.
size_t openrelay_format_forward(uint8_t *out, const struct openrelay_message *message, struct bytes sender);
size_t openrelay_registered_max(struct bytes id);
size_t openrelay_format_registered(uint8_t *out, struct bytes id); // RegisterResponse, with the keys of both dialects
size_t openrelay_format_ack(uint8_t *out, const char *message_id);
size_t openrelay_format_error(uint8_t *out, const char *text, unsigned code); // text: nothing to escape, at most 200 bytes
