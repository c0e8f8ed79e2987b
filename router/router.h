// What a relay means, for one shard, without fd, thread, clock or log: commands and mail in, a bounded list of effects out.
// One rule: nothing here blocks, allocates on the path of data, or keeps a pointer it was lent.
// Thread: a router belongs to its shard's thread. The protocol between routers is in ARCHITECTURE.md ("The router's protocol").
// Slots are the connection's: the caller picks a slot and its generation at router_enter and may reuse the slot only after EFFECT_RELEASED.
#pragma once
#include "shards/base/bytes.h"
#include "shards/base/error.h"
#include "shards/base/hash.h"
#include "shards/base/key.h"

struct router;

struct router_limits {
    uint32_t sessions_max;            // slots are 0 .. sessions_max - 1
    uint32_t links_per_session_max;   // a Connect beyond it is answered with ROUTER_TOO_MANY_CONNECTIONS
    uint32_t devices_per_account_max; // an Enter beyond it is closed with ERROR_TOO_MANY_DEVICES
    uint32_t told_at_once;            // devices told of one Enter or Exit in one call; the others in later ones (MAIL_GO_ON)
    uint32_t queue_bytes_max;         // data queued for one receiver before its senders wait
    uint32_t window_bytes;            // credit that a new link starts with; a message may overdraw it once
};

// What a session is told; rooms encode it. Names are those of protocols/buckets.md "Events".
enum router_event {
    ROUTER_AUTHENTICATED,
    ROUTER_CONNECTED,
    ROUTER_DISCONNECTED,
    ROUTER_ENTERED,
    ROUTER_EXITED,
    ROUTER_CONNECT_FORBIDDEN,    // Connect before being authenticated
    ROUTER_SEND_FORBIDDEN,       // SendData before being authenticated
    ROUTER_CONNECT_SELF,         // "Can't connect to self"
    ROUTER_NO_SUCH_CONNECTION,   // SendData without a connection, or one that broke on the way
    ROUTER_TOO_MANY_CONNECTIONS, // links_per_session_max reached
};

// What became of a datagram.
enum router_report {
    ROUTER_TAKEN,     // it is in the receiver's queue, which has room for more
    ROUTER_ABSENT,    // nobody holds the key, or the holder left before its queue had room: perhaps not delivered
    ROUTER_CONGESTED, // too many senders wait for that receiver already: not delivered
};

// Mail between routers. `to` and `from` are links or sessions as each type says (router/mail.c keeps the table).
enum mail_type {
    MAIL_REGISTER,
    MAIL_EVICT,
    MAIL_SUPERSEDED,
    MAIL_UNREGISTER,
    MAIL_ENTER,
    MAIL_EXIT,
    MAIL_ENTERED,
    MAIL_EXITED,
    MAIL_FENCE,
    MAIL_FENCE_ACK,
    MAIL_WELCOME,
    MAIL_REFUSED,
    MAIL_EXIT_FENCE,
    MAIL_EXIT_ACK,
    MAIL_GO_ON,
    MAIL_ASK,
    MAIL_ASKED,
    MAIL_UNASK,
    MAIL_UNASK_ACK,
    MAIL_OPEN,
    MAIL_ACCEPT,
    MAIL_REJECT,
    MAIL_CONFIRM,
    MAIL_PARTED,
    MAIL_PARTED_ACK,
    MAIL_DATA,
    MAIL_BOUNCE,
    MAIL_CREDIT,
    MAIL_DATAGRAM,
    MAIL_FORWARD,
    MAIL_REPORT,
    MAIL_TYPE_COUNT
};

struct mail {
    uint8_t type;  // enum mail_type
    uint8_t flags; // per type
    uint16_t to_shard;
    uint32_t number; // per type: credit bytes, number of fences
    struct handle to;
    struct handle from;
    uint64_t account; // from here on only control mail: see mail_wire_bytes
    struct key a;
    struct key b;
};

// How many leading bytes of a mail travel for this type (data and credit travel without account and keys).
size_t mail_wire_bytes(enum mail_type type);

enum effect_kind {
    EFFECT_EVENT,    // tell session `slot`: `event`, `key` (the peer's; unused by events without one)
    EFFECT_DATA,     // tell session `slot`: data from `key`, `payload` (borrowed from the caller's input until it returns)
    EFFECT_CLOSE,    // close session `slot` with `error`; the caller then calls router_leave as for any close
    EFFECT_RESUME,   // session `slot` may be read again: repeat the command that got ROUTER_WAIT
    EFFECT_RELEASED, // session `slot` is gone everywhere: the slot may be reused, with another generation
    EFFECT_REPORT,   // tell session `slot` what became of its datagram `token`: `report`
    EFFECT_MAIL,     // hand `mail` and `payload` to shard mail.to_shard, in order; to the own shard (MAIL_GO_ON): in its next turn
};

struct effect {
    uint8_t kind;
    union {
        uint8_t event;  // enum router_event
        uint8_t report; // enum router_report
    };
    uint16_t error; // enum error
    uint32_t slot;
    struct bytes payload;
    union {
        struct key key;
        uint32_t token;
        struct mail mail;
    };
};

// The caller owns the list, sets count to 0 before each call and carries the effects out, in order, after it.
// `max` must be at least router_effects_max(): the most that one call can yield.
struct effects {
    struct effect *items;
    size_t count;
    size_t max;
};

enum router_verdict {
    ROUTER_DONE,
    ROUTER_WAIT, // nothing happened: keep the command, stop reading this session until its EFFECT_RESUME, then repeat it
};

// secret: the same for all shards of a process. NULL when memory is short. Effects never exceed router_effects_max(limits).
struct router *router_create(uint16_t shard, uint16_t shard_count, const struct router_limits *limits, const struct hash_secret *secret);
void router_destroy(struct router *router); // takes NULL
size_t router_effects_max(const struct router_limits *limits);

// The session has proved `key`. account 0: no presence. The slot must not be in use. Until ROUTER_AUTHENTICATED and the following
// EFFECT_RESUME its commands get ROUTER_WAIT. Never fails; a key that is held elsewhere is taken over.
void router_enter(struct router *router, struct handle session, const struct key *key, uint64_t account, struct effects *out);

// Commands of a session. A slot that has not entered gets the matching ..._FORBIDDEN event (Disconnect: silence).
enum router_verdict router_connect(struct router *router, uint32_t slot, const struct key *peer, struct effects *out);
enum router_verdict router_disconnect(struct router *router, uint32_t slot, const struct key *peer, struct effects *out);
enum router_verdict router_send(struct router *router, uint32_t slot, const struct key *peer, struct bytes payload, struct effects *out);

// For rooms without connections: `payload` goes to whichever session holds `dest` when it gets there, by way of the key's home, as an
// EFFECT_DATA. Exactly one EFFECT_REPORT with `token` follows while the sender stays. Order per sender and receiver is kept. A session may
// have ROUTER_DATAGRAMS_MAX of them, and window_bytes, unreported; then ROUTER_WAIT. A slot that has not entered gets ROUTER_ABSENT.
#define ROUTER_DATAGRAMS_MAX 64
enum router_verdict router_datagram(struct router *router, uint32_t slot, const struct key *dest, uint32_t token, struct bytes payload,
                                    struct effects *out);

// The session's connection has ended or is being closed, whatever the reason: no further event, data or close is yielded for it.
// Ends with EFFECT_RELEASED, in this call or a later router_mail. A slot that never entered is released at once.
void router_leave(struct router *router, uint32_t slot, struct effects *out);

// Mail from another shard's router, exactly as it was handed over, in order per sending shard.
void router_mail(struct router *router, const struct mail *mail, struct bytes payload, struct effects *out);

// What a message counts in queues and credit: its payload, but at least about what its frame costs, or empty ones would cost nothing.
#define ROUTER_MESSAGE_BYTES_MIN 64u
static inline size_t router_queue_bytes(size_t payload_bytes)
{
    return payload_bytes > ROUTER_MESSAGE_BYTES_MIN ? payload_bytes : ROUTER_MESSAGE_BYTES_MIN;
}

// `queue_bytes` (the sum of router_queue_bytes of EFFECT_DATA payloads) that were queued for this session have left for its socket.
void router_written(struct router *router, uint32_t slot, size_t queue_bytes, struct effects *out);

// Whether mail for that shard piles up: while it does, commands that need the shard get ROUTER_WAIT. false resumes those who wait.
// At most router_effects_max effects per call: the caller repeats the call with false while it returns true ("more to resume").
bool router_shard_full(struct router *router, uint16_t shard, bool full, struct effects *out);

// Public facts, for tests and statistics.
struct router_counts {
    uint32_t sessions, links, keys_homed, pairs_homed, members_homed;
    uint64_t data_delivered, data_bounced, data_lost; // lost: the receiver left, or was linked anew, while data was under way
};
void router_counts(const struct router *router, struct router_counts *ret_counts);

struct router_session {
    struct key key;
    uint32_t links; // asked, half or linked
};
// What a session is. false: it is not known (any more).
bool router_session(const struct router *router, struct handle session, struct router_session *ret_session);

// Walks everything and checks the module's invariants (CHECK). Slow: tests and simulator.
void router_check(const struct router *router);
