// The one table of everything that can go wrong: it makes the enum, the texts, the WebSocket close codes (RFC 6455 7.4), the log
// levels and the counters (one per name). Texts go to peers in close frames, so they stay below 123 bytes.
#pragma once
#include <stdint.h>

enum log_level { LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG };

// X(name, text, WebSocket close code, log level)
#define ERROR_TABLE(X)                                                                                                                     \
    X(NONE, "no error", 1000, LOG_DEBUG)                                                                                                   \
    X(PEER_CLOSED, "closed by the peer", 1000, LOG_DEBUG)                                                                                  \
    X(PEER_GONE, "connection lost", 1006, LOG_DEBUG)                                                                                       \
    X(STOPPING, "relay is stopping", 1001, LOG_INFO)                                                                                       \
    X(WS_UNMASKED, "frame is not masked", 1002, LOG_DEBUG)                                                                                 \
    X(WS_MASKED, "frame is masked", 1002, LOG_DEBUG)                                                                                       \
    X(WS_RESERVED_BITS, "reserved bits are set", 1002, LOG_DEBUG)                                                                          \
    X(WS_OPCODE, "unknown opcode", 1002, LOG_DEBUG)                                                                                        \
    X(WS_LENGTH, "bad frame length", 1002, LOG_DEBUG)                                                                                      \
    X(WS_CONTROL_LENGTH, "control frame is too long", 1002, LOG_DEBUG)                                                                     \
    X(WS_CONTROL_FRAGMENTED, "control frame is fragmented", 1002, LOG_DEBUG)                                                               \
    X(WS_CONTINUATION, "continuation without a start", 1002, LOG_DEBUG)                                                                    \
    X(WS_INTERLEAVED, "new message inside a fragmented one", 1002, LOG_DEBUG)                                                              \
    X(WS_CLOSE_LENGTH, "close frame of one byte", 1002, LOG_DEBUG)                                                                         \
    X(WS_CLOSE_CODE, "invalid close code", 1002, LOG_DEBUG)                                                                                \
    X(WS_UTF8, "text is not valid UTF-8", 1007, LOG_DEBUG)                                                                                 \
    X(WS_DEFLATE, "compressed data is broken", 1007, LOG_DEBUG)                                                                            \
    X(WS_TOO_BIG, "message is too big", 1009, LOG_DEBUG)                                                                                   \
    X(WS_INFLATED_TOO_BIG, "message inflates beyond the limit", 1009, LOG_DEBUG)                                                           \
    X(WS_TEXT_REFUSED, "text messages are not taken here", 1003, LOG_DEBUG)                                                                \
    X(NETSTRING, "malformed netstring", 1002, LOG_DEBUG)                                                                                   \
    X(NETSTRING_TOO_BIG, "netstring is longer than 1000000", 1009, LOG_DEBUG)                                                              \
    X(COMMAND_UNKNOWN, "unknown command", 1002, LOG_DEBUG)                                                                                 \
    X(COMMAND_ARGUMENT, "malformed command", 1002, LOG_DEBUG)                                                                              \
    X(AUTH_REQUEST, "not a JSON object with an id", 1007, LOG_DEBUG)                                                                       \
    X(AUTH_IDLE, "no request for a long time", 1001, LOG_DEBUG)                                                                            \
    X(SUPERSEDED, "superseded", 4000, LOG_INFO)                                                                                            \
    X(SLOW_CONSUMER, "slow consumer", 4001, LOG_WARN)                                                                                      \
    X(IAM_TIMEOUT, "no Iam in time", 4002, LOG_DEBUG)                                                                                      \
    X(ACCOUNT_ENDED, "account blocked, deleted or changed", 4003, LOG_INFO)                                                                \
    X(PING_TIMEOUT, "no answer to pings", 4004, LOG_DEBUG)                                                                                 \
    X(TOO_MANY_DEVICES, "too many devices in this account", 4005, LOG_WARN)                                                                \
    X(OUT_OF_MEMORY, "relay is short of memory", 1013, LOG_WARN)                                                                           \
    X(HTTP_TIMEOUT, "request took too long", 1008, LOG_DEBUG)                                                                              \
    X(HTTP_DONE, "HTTP exchange finished", 1000, LOG_DEBUG)                                                                                \
    X(HTTP_BAD, "bad HTTP request", 1002, LOG_DEBUG)                                                                                       \
    X(PROXY, "PROXY head missing, malformed or not trusted", 1002, LOG_DEBUG)                                                              \
    X(TLS, "TLS failed", 1015, LOG_DEBUG)                                                                                                  \
    X(LOGIN_TIMEOUT, "no login in time", 1008, LOG_DEBUG)                                                                                  \
    X(LOGIN_REFUSED, "login refused", 1008, LOG_DEBUG)                                                                                     \
    X(ALREADY_CONNECTED, "already connected", 1008, LOG_DEBUG)                                                                             \
    X(HEARTBEAT_TIMEOUT, "heartbeat timeout", 1008, LOG_DEBUG)                                                                             \
    X(FRAME_TIMEOUT, "frame took too long", 1008, LOG_DEBUG)                                                                               \
    X(FRAME_BROKEN, "frame cannot be decrypted", 1002, LOG_DEBUG)                                                                          \
    X(INTERNAL, "internal error", 1011, LOG_ERROR)

enum error {
#define X(name, text, code, level) ERROR_##name,
    ERROR_TABLE(X)
#undef X
        ERROR_COUNT
};

// Static strings and constants, valid for ever. Any thread.
const char *error_name(enum error error); // e.g. "SLOW_CONSUMER"
const char *error_text(enum error error);
uint16_t error_close_code(enum error error);
enum log_level error_log_level(enum error error);
