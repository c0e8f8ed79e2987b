// One connection, from accept to the free slot. Phases: HEAD (HTTP request awaited) -> LOGIN (accounts node asked) -> OPEN (WebSocket, a
// room owns it) -> CLOSING (close frame queued) -> GONE (descriptor closed, the router's release awaited) -> free.
// One rule: a connection that must wait keeps raw bytes only (`held`), so going on is the same code as arriving.
// Thread: its shard's.
#pragma once
#include "auth/challenge.h"
#include "net/accounts.h"
#include "net/outq.h"
#include "net/room.h"
#include "net/web/rpc.h"
#include "net/ws.h"
#include "shards/node.h"
#include <sys/types.h>

#define CONN_CHUNK 256 // slots made at once

struct http_request;

enum conn_phase { CONN_FREE, CONN_HEAD, CONN_LOGIN, CONN_OPEN, CONN_CLOSING, CONN_GONE };

// What the Buckets room keeps per connection.
struct buckets_state {
    struct block *partial; // an incomplete message, or a complete one that waits
    bool waiting;          // `partial` is whole, and the router made it wait
    uint8_t stage;         // enum buckets_stage
    uint8_t challenge[CHALLENGE_BYTES];
};

// What the room of /v1/auth keeps.
struct auth_state {
    bool asked;          // the accounts node, which has not answered yet
    char id[RPC_ID_MAX]; // of the request in hand
};

struct listener;
struct tls;
struct backbone_session;

struct conn {
    struct source source;
    struct timer timer;
    struct shard *shard;
    const struct listener *listener; // that accepted it
    struct tls *tls;                 // NULL: plain
    const struct room *room;
    const struct route *route; // that the request in hand asked for
    struct conn *next_free, *next_dirty, *next_leaving, *next_usage;
    uint32_t slot, generation;
    uint8_t phase; // enum conn_phase
    bool dirty, leaving, in_usage;
    bool waiting;       // conn_wait: not read until resumed
    bool waits_flushed; // resumed when `out` is empty
    bool entered;       // the router knows the slot (router_leave is due at the end)
    bool released;      // EFFECT_RELEASED has come (or never entered)
    bool farewell_due;  // raw rooms: closing waits until the room has written its last words
    bool proxy_awaited; // the PROXY head has not come yet
    bool trusted;       // `peer` is a proxy whose word about the client counts
    bool close_received, close_sent, read_ended, write_ended, write_failed, keep_alive, deflate;
    uint8_t deflate_bits; // window of outgoing compressed messages
    uint8_t pings_sent;   // since the last input
    uint8_t pings_max;    // silence after so many is the end
    uint64_t ping_interval_ns;
    bool login_answered; // phase LOGIN: state.login has come
    bool unhurried;      // what is being sent may wait for other work of the shard (NODE_LAST)
    bool stalled;        // output waits for the peer since stalled_ns
    enum error closed_why;
    struct block *held;    // raw input not yet used up
    struct block *message; // a message being collected (compressed or whole_messages), or one inflated being consumed
    bool message_ready;
    uint8_t message_opcode;
    struct outq out;
    size_t data_queued;     // of EFFECT_DATA (router_queue_bytes), not yet told to the router as written
    size_t paced_queued;    // of conn_send_paced
    uint64_t written_bytes; // that the socket took
    struct ws_decoder ws;
    uint64_t last_input_ns, stalled_ns, deadline_ns; // deadline: of the phase or the room; 0: none
    uint64_t account;
    struct net_address peer;                     // of the socket, or as the PROXY head says
    struct net_address address;                  // the client's: what a trusted proxy says about it, else `peer`
    uint64_t usage_sent_bytes, usage_recv_bytes; // not yet handed over
    union {
        struct login_answer login; // until it is carried out
        struct buckets_state buckets;
        struct auth_state auth;
        struct openrelay_state *openrelay; // net/openrelay/state.h
        struct backbone_session *backbone;
    } state;
};

// ---- for shard.c ----
// Takes over a descriptor that placement counts for this shard.
void conn_accepted(const struct listener *listener, int fd, const struct net_address *peer);
void conn_refuse(const struct listener *listener, int fd);                      // closes a descriptor that there is no room for
void conn_login_answered(struct conn *conn, const struct login_answer *answer); // phase LOGIN; carried out when its turn comes
void conn_flush(struct conn *conn);
void conn_settle(struct shard *shard); // writes what is lent, so that the memory it lies in may be used again
void conn_resume(struct conn *conn);
void conn_released(struct conn *conn);
void conn_left(struct conn *conn);                 // after conn_released, when the router may be called
void conn_drop(struct conn *conn, enum error why); // at once: no close frame, nothing more is written

// ---- for rooms ----
// Ends the session for `why`: WebSocket close frame with its code and text, what is queued before it is still flushed. Harmless if closing.
void conn_close(struct conn *conn, enum error why);
// Input must wait until EFFECT_RESUME.
void conn_wait(struct conn *conn);
// Input must wait until what is queued has been written: for rooms whose answers are not bounded by the router's credit.
void conn_wait_flushed(struct conn *conn);
// Bytes in the output queue that are not data: events, answers, pongs. Never more than there are (what has left counts as these first).
size_t conn_control_queued(const struct conn *conn);
// Sends one WebSocket message made of three pieces. is_data: counts as data for flow control (payload_bytes of it), else as control.
// False: the connection was closed instead (limits).
bool conn_send(struct conn *conn, enum ws_opcode opcode, struct bytes head, struct bytes payload, struct bytes tail, bool is_data);
// Raw rooms: sends bytes as they are. queue_bytes: what the router counts for them (router_queue_bytes); 0: control, which the room bounds.
// false: the connection is closing.
bool conn_send_raw(struct conn *conn, struct bytes bytes, size_t queue_bytes);
// Appends to a block that grows by doubling, so that what a peer makes us hold it has sent. Bytes that lie there already are only counted.
// False: the connection was closed (memory).
bool conn_append(struct conn *conn, struct block **block, struct bytes bytes);
// The same for a message of `whole` bytes in all.
bool conn_append_part(struct conn *conn, struct block **block, struct bytes bytes, size_t whole);
// Sets or clears (0) the room's deadline.
void conn_room_deadline(struct conn *conn, uint64_t deadline_ns);
struct handle conn_handle(const struct conn *conn);
// The session has proved who it is.
void conn_enter(struct conn *conn, const struct key *key);
// The session gives its key up but stays open; on_left follows when the router has let it go. Only after conn_enter.
void conn_leave(struct conn *conn);
// Sends one text message that counts neither as data nor as control: for rooms that pace themselves by conn_unsent.
bool conn_send_paced(struct conn *conn, struct bytes text);

// ---- between conn*.c ----
size_t conn_proxy_input(struct conn *conn, uint8_t *ptr, size_t len);         // before HEAD: bytes used
void conn_find_client(struct conn *conn, const struct http_request *request); // sets conn->address from what a trusted proxy says
size_t conn_http_input(struct conn *conn, uint8_t *ptr, size_t len);          // HEAD phase: bytes used
void conn_login_carry_out(struct conn *conn);                                 // LOGIN phase, answered
size_t conn_ws_input(struct conn *conn, uint8_t *ptr, size_t len);            // OPEN phase: bytes used
struct iovec conn_ws_place(struct conn *conn); // where the next bytes had best be read to; length 0: no matter
bool conn_ws_resume(struct conn *conn);        // before input: what waited goes on; false: waits still
void conn_ws_close(struct conn *conn, uint16_t code, struct bytes reason);
void conn_ws_ping(struct conn *conn);
void conn_open(struct conn *conn, const struct room *room); // after the 101
void conn_begin_closing(struct conn *conn, enum error why); // flush what is queued, then end
void conn_http_timeout(struct conn *conn);                  // no request head in time
bool conn_write(struct conn *conn, struct bytes bytes);     // raw bytes to the output queue
// ---- conn_transport.c: the two places that touch the descriptor's bytes, plain or TLS ----
// What stands behind the PROXY head begins: TLS or HTTP or the listener's room. `early`: bytes that came with the head, for TLS; when
// plain they stay the caller's. false: the connection was dropped.
bool conn_begin(struct conn *conn, struct bytes early);
bool conn_begun(const struct conn *conn);    // PROXY head and TLS handshake are done: what is written reaches the peer
size_t conn_queued(const struct conn *conn); // bytes queued or lent, not yet sealed by TLS
size_t conn_unsent(const struct conn *conn); // bytes queued in any form
// As os_readv: of at most SHARD_READ_BYTES, `place` (may be empty) is filled first. *ret_more: more may be there although epoll says
// nothing new.
ssize_t conn_transport_read(struct conn *conn, struct iovec place, uint8_t *buffer, bool *ret_more);
// >= 0: bytes that the socket took. What is left then waits for the socket or, when !conn_begun, for the peer's handshake. < 0: -errno.
int64_t conn_transport_write(struct conn *conn);
void conn_transport_end(struct conn *conn);   // nothing more will be written
void conn_transport_close(struct conn *conn); // gives all back and closes the descriptor

void conn_mark_dirty(struct conn *conn);
void conn_arm_timer(struct conn *conn);
void conn_count_usage(struct conn *conn, size_t sent_bytes, size_t recv_bytes);
