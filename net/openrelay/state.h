// What the OpenRelay room keeps per connection, and the parts of the room. Thread: the shard's.
// A connection does one thing at a time: while it registers or a message of it is under way, its input waits. That is what keeps the order.
#pragma once
#include "net/conn.h"
#include "net/openrelay/codec.h"
#include "net/openrelay/window.h"
#include "net/queue/mailbox.h"

#define RECIPIENT_ID_MAX 64 // a SHA-256 in hex, as most clients have

enum openrelay_stage {
    STAGE_NEW,      // no id yet
    STAGE_LEAVING,  // the old key is given up; `next_key` is entered then
    STAGE_ENTERING, // the router has been asked
    STAGE_FETCHING, // registered; the first of what was kept is awaited
    STAGE_READY,
};

// The message that is under way.
struct openrelay_sending {
    struct block *text; // for state.recipient; NULL: nothing is under way
    enum openrelay_type type;
    bool given;   // to the router (else the router has made it wait)
    bool storing; // nobody holds the key: the queue node has it
    uint64_t ttl_s;
    char message_id[37];
};

struct openrelay_state {
    enum openrelay_stage stage;
    bool hidden;            // Status Offline: entered under a key that nobody knows
    char *id;               // registered; not ended by NUL. In id_block, or by itself when short
    struct block *id_block; // NULL: `id` is malloc's
    size_t id_len;
    struct key next_key; // entered next, or now; `mailbox.key` is that of the id, also while hidden
    struct mailbox mailbox;
    struct openrelay_window window; // the queue node keeps it between sessions
    struct openrelay_sending sending;
    struct key recipient;                // of the message under way, else of the last
    uint8_t recipient_id_len;            // 0: none, or a longer one
    char recipient_id[RECIPIENT_ID_MAX]; // who often sends to one device need not hash its id each time
};

// ---- room.c ----
void openrelay_error(struct conn *conn, const char *text, unsigned code);
void openrelay_reply(struct conn *conn, const uint8_t *text, size_t len);
bool openrelay_is_busy(const struct openrelay_state *state);
void openrelay_address(const struct conn *conn, struct bytes id, struct key *ret_key); // of the device with that id

// ---- send.c: Send, Auth*, KeyRotation* ----
void openrelay_send(struct conn *conn, const struct openrelay_message *message);
void openrelay_send_again(struct conn *conn); // the router made it wait
void openrelay_on_report(struct conn *conn, uint32_t token, enum router_report what);
void openrelay_on_stored(struct conn *conn, enum queue_verdict verdict);
void openrelay_send_drop(struct conn *conn);

// ---- spend.c: limits ----
// Counts bytes of the month. False: the month's are used up.
bool openrelay_spend_bytes(struct shard *shard, uint64_t bytes);
// Takes a Send out of the id's window, or answers with 429 and returns false.
bool openrelay_spend_send(struct conn *conn, uint64_t claimed_bytes, uint64_t real_bytes);

// ---- upgrade.c ----
size_t openrelay_upgrade(const struct http_request *request, int64_t wall_s, uint8_t *out, size_t max, const char **ret_refusal);
