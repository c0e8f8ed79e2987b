// A room: one protocol over the shared core. Each room is one constant table of functions; a connection is bound to its room when the
// HTTP upgrade (or the listener) says so. All functions run on the shard's thread and must not keep borrowed pointers.
#pragma once
#include "router/router.h"

struct block;
struct conn;
struct http_request;
struct mailbox_room;

struct room {
    const char *name;
    bool raw;                     // no HTTP and no WebSocket: on_input gets the bytes as they come, conn_send_raw sends
    bool whole_messages;          // input gets whole messages (else pieces as they arrive)
    bool text_taken;              // false: text messages are closed with ERROR_WS_TEXT_REFUSED
    bool unseen;                  // its devices take no part in the presence of their account, nor in its usage
    bool answers_close_with_code; // echo the peer's close code (RFC 6455 5.5.1)
    uint64_t message_bytes_max;   // WebSocket message, as sent
    uint64_t inflated_bytes_max;  // WebSocket message, inflated

    // The connection is open: say hello (e.g. Who).
    void (*on_open)(struct conn *conn);
    // Bytes from the peer; may be changed in place. Returns how many were used. Fewer than len: conn_wait was called, or the connection is
    // closing. first/last: message boundaries (always both for whole_messages); opcode: WS_TEXT or WS_BINARY.
    size_t (*on_input)(struct conn *conn, uint8_t *ptr, size_t len, bool first, bool last, uint8_t opcode);
    // The unfinished message, whose next `*ret_missing` bytes (> 0) may be read straight to its end: on_input gets them there. NULL: none.
    // May be NULL.
    struct block *(*on_unfinished)(struct conn *conn, size_t *ret_missing);
    // Repeat what had to wait (conn_wait): called before further input after the session was resumed. false: waits again.
    bool (*on_resume)(struct conn *conn);
    // EFFECT_EVENT and EFFECT_DATA for this session.
    void (*on_event)(struct conn *conn, enum router_event event, const struct key *key);
    void (*on_data)(struct conn *conn, const struct key *sender, struct bytes payload);
    // EFFECT_REPORT: what became of a datagram of this session. May be NULL for rooms that send none.
    void (*on_report)(struct conn *conn, uint32_t token, enum router_report what);
    // The time limit that the room set with conn_room_deadline has passed. May be NULL.
    void (*on_deadline)(struct conn *conn);
    // Raw rooms: the peer will send no more. false: the room is not done with what it got; conn_resume asks again. May be NULL: done.
    bool (*on_end)(struct conn *conn);
    // conn_leave is done: the session may enter under another key. May be NULL for rooms that never leave.
    void (*on_left)(struct conn *conn);
    // The relay is about to close the session for `why`: a last word may be sent. May be NULL.
    void (*on_ending)(struct conn *conn, enum error why);
    // Answers a WebSocket request in the room's own way: writes a whole 101 into `out` and returns its length, or 0 and the text of a 400.
    // NULL: as Buckets does.
    size_t (*on_upgrade)(const struct http_request *request, int64_t wall_s, uint8_t *out, size_t max, const char **ret_refusal);
    // Rooms that keep messages for devices that are away (net/queue/mailbox.h); else NULL.
    const struct mailbox_room *mailbox;
    // Give back what the room holds for this connection. Called exactly once after on_open.
    void (*on_close)(struct conn *conn);
};

// Where HTTP leads to a room: an exact path, or one and everything below it.
struct route {
    const char *path;
    bool below;      // also path/...
    bool login;      // HTTP Basic by the accounts node first
    bool multi_user; // not there in single-user mode
    const struct room *room;
};

extern const struct room buckets_room;
extern const struct room openrelay_room;
