// A session's side of the queue: what was kept for its device comes first, live messages wait behind it; what it says to a device that is
// away goes to the queue node. One rule: a kept message is deleted only when the peer's kernel has acknowledged it.
// Thread: the shard's.
#pragma once
#include "net/queue/records.h"

struct conn;
struct shard;

// Part of what a room keeps for each session. Zeros: the session has no mailbox.
struct mailbox {
    struct key key;        // whom the messages are for
    uint64_t since_ns;     // when it entered; 0: not yet
    struct block *held;    // live messages that wait for what was kept: uint32_t length, text, ... Bounded by the router
    bool is_open;          // the first answer of the queue node has come
    bool draining;         // live messages are held
    bool fetching;         // an answer of the queue node is awaited
    bool fetch_again;      // something was kept meanwhile
    bool fetch_due;        // there is more, when the peer has taken what it got
    uint64_t given_number; // the last kept message that the room was given
    size_t writing_bytes;  // of kept messages that the room has but not written yet
    uint64_t taken_number; // the last that was written, told to the queue node once the peer's kernel has it; 0: nothing is awaited
    uint64_t taken_offset; // its end among the connection's bytes
};

// What a room does for its mailboxes (room->mailbox).
struct mailbox_room {
    struct mailbox *(*of)(struct conn *conn);
    // Writes a kept message, at once or later, and calls mailbox_written then; `text` is borrowed. False: the connection was closed.
    bool (*on_kept)(struct conn *conn, uint64_t number, struct bytes text);
    // The first answer of the queue node has come, its messages are written. `memo`: as left with mailbox_leave.
    void (*on_opened)(struct conn *conn, const struct queue_memo *memo);
    // What became of mailbox_keep.
    void (*on_stored)(struct conn *conn, enum queue_verdict verdict);
};

void mailbox_open(struct mailbox *mailbox, const struct key *key); // before conn_enter: from now on live messages are held
void mailbox_fetch(struct conn *conn);                             // the router knows the session: what is kept may come
// True: `text` is held and comes by room->on_data later (or the connection was closed).
bool mailbox_hold(struct conn *conn, struct bytes text);
void mailbox_release(struct conn *conn);                                     // gives what is held to room->on_data
void mailbox_written(struct conn *conn, uint64_t number, size_t text_bytes); // the room has put it into the output. 0: it is not
                                                                             // for this peer, and is left to expire
void mailbox_look(struct conn *conn);                                        // has the peer's kernel taken it?
void mailbox_on_deadline(struct conn *conn); // the room's deadline, which is set here earlier if need be, has passed
void mailbox_leave(struct conn *conn, const struct queue_memo *memo); // the key is given up, now or before; the queue node keeps `memo`
void mailbox_fini(struct shard *shard, struct mailbox *mailbox);

// Asks the queue node to keep a message; on_stored follows unless the session ends. `text` is copied. False: too much is under way.
bool mailbox_keep(struct conn *conn, const struct key *recipient, const struct key *sender, uint64_t ttl_s, struct bytes text);

void mailbox_record(struct shard *shard, const struct post_record *record); // RECORD_QUEUE_BATCH, _STORED, _LOOK
