// What the files of router/ share: records, the router itself, and the calls between its parts.
// One rule: mail for the own shard goes through router.fifo, which is empty between API calls.
// Thread: the shard's.
#pragma once
#include "router/router.h"
#include "router/slab.h"
#include "router/table.h"
#include "shards/base/bug.h"
#include "shards/base/check.h"

#define DATA_BYTES_MAX (1u << 29) // of one payload, and of a window: their sum fits a link's credit

enum session_state {
    SESSION_FREE,
    SESSION_REGISTERING, // REGISTER is sent
    SESSION_FENCED,      // authenticated, its commands wait for the fences
    SESSION_LIVE,
    SESSION_LEAVING, // its links are being taken down
};

enum session_wait { WAIT_NONE, WAIT_FENCE, WAIT_CREDIT, WAIT_SHARD, WAIT_PARTING, WAIT_REPORT, WAIT_ANSWER };

struct session {
    struct key key;
    uint64_t account;
    uint64_t queued_bytes; // data yielded and not yet written
    uint32_t generation;
    uint8_t state; // enum session_state
    uint8_t wait;  // enum session_wait: what its RESUME waits for
    uint8_t close_sent;
    uint8_t unused;
    int32_t fences; // WELCOME adds, FENCE_ACK takes: an answer may overtake the WELCOME
    uint16_t wait_shard;
    uint16_t unused_2;
    uint32_t wait_link;            // of WAIT_CREDIT and WAIT_ANSWER
    uint32_t wait_prev, wait_next; // in the list of wait_shard
    uint32_t links;                // head of its links
    uint32_t links_live;           // asked, half or linked
    uint32_t links_parting;        // given up, waiting for answers
    uint32_t last;                 // the link used last, or SLAB_NONE
    uint32_t starved;              // head of its links whose senders wait for credit
    uint32_t datagrams_out;        // sent and not yet reported
    uint32_t datagram_bytes_out;   // what they cost
    uint32_t last_owner;           // of the key that its last datagram went to, if at home here: directory_place
    uint32_t held, held_last;      // reports that wait until its queue has room, oldest first
    uint32_t held_count;
};

enum link_state {
    LINK_FREE,
    LINK_ASKED,
    LINK_HALF, // ACCEPT is sent
    LINK_LINKED,
    LINK_CANCELLED, // given up while HALF: waits for CONFIRM or REJECT
    LINK_PARTING,   // given up: waits for acknowledgements
};

struct link {
    uint32_t next; // first: the slab's while free
    uint32_t prev;
    uint32_t generation; // survives being freed
    uint32_t session;
    uint8_t state; // enum link_state
    uint8_t acks;  // UNASK and PARTED not yet acknowledged
    uint16_t pair_home;
    int32_t credit; // what may be sent; a message may overdraw it
    uint32_t owed;  // received and not yet granted back
    uint32_t starved_next, starved_prev;
    uint8_t starved;   // is in its session's starved list
    uint8_t undecided; // asked, and not yet known whether the other had asked already: data must wait for that
    uint8_t unused[2];
    struct handle peer; // the other half, from HALF on
    struct key peer_key;
};

#define MAIL_EXIT_TOLD 1 // flag of EXIT_ACK: from the account's home

// Who holds a key, at the key's home. A free record keeps its key but has no session.
struct owner {
    uint32_t slab_link;
    struct handle session;
    struct handle waiting; // the newest that wants the key, or none
    struct key key;
    uint64_t account;
    uint64_t waiting_account;
    bool exiting; // its session has unregistered, its account is being told
    bool told;    // fences counts all shards that were told
    int32_t fences;
};

// An account's sessions, at the account's home.
struct account {
    uint32_t slab_link;
    uint32_t members; // head
    uint32_t members_count;
    uint32_t jobs, jobs_last; // who comes and goes, oldest first; the first is being told of
    uint32_t cursor;          // the member that is told next
    uint32_t busy_next;       // of the accounts with jobs
    uint32_t unused;
    uint64_t account;
};

// A session that comes or goes.
struct job {
    uint32_t next; // first: the slab's while free
    bool is_exit;
    bool begun;
    struct handle session;
    struct key key;
};

struct member {
    uint32_t next; // first: the slab's while free
    uint32_t prev;
    struct handle session;
    struct key key;
    uint32_t unused;
};

// The requests of two keys for each other, at the pair's home; side 0 is that of the smaller key.
struct pair {
    uint32_t slab_link;
    uint32_t unused;
    struct key keys[2];
    struct handle asks[2]; // links, or none
};

// A datagram that a full receiver has taken: its sender is told when the queue has room.
struct held {
    uint32_t next; // first: the slab's while free
    struct handle sender;
    uint32_t token;
    uint32_t cost;
};

_Static_assert(sizeof(struct session) <= 160, "session record budget");
_Static_assert(sizeof(struct link) <= 128, "link record budget");

struct target {
    bool full;
    uint32_t waiting_head, waiting_tail; // sessions, oldest first
};

struct router {
    uint16_t shard;
    uint16_t shard_count;
    struct router_limits limits;
    struct hash_secret secret;
    size_t effects_max;
    uint32_t sessions_count;
    uint32_t members_count;
    uint32_t grant_bytes_min; // owed credit is returned in portions of at least this
    uint64_t data_delivered, data_bounced, data_lost;
    struct slab sessions, links, owners, pairs, accounts, members, jobs, held;
    uint32_t busy, busy_last; // accounts with jobs; while there are any, one GO_ON is under way
    struct table link_table, owner_table, pair_table, account_table;
    struct target *targets; // one per shard
    uint8_t *marks;         // one per shard: scratch of the presence fan-out, all zero between uses
    struct mail *fifo;      // ring of mail to the own shard
    size_t fifo_head, fifo_count, fifo_capacity;
};

// The next effect, with only kind and slot set.
static inline struct effect *effect_add(struct effects *out, enum effect_kind kind, uint32_t slot)
{
    CHECK(out->count < out->max);
    struct effect *effect = &out->items[out->count++];
    effect->kind = (uint8_t)kind;
    effect->slot = slot;
    return effect;
}

// The slot's session; NULL: free.
static inline struct session *session_at(const struct router *router, uint32_t slot)
{
    CHECK(slot < router->limits.sessions_max);
    struct session *session = slab_find(&router->sessions, slot);
    return session != NULL && session->state != SESSION_FREE ? session : NULL;
}

static inline struct link *link_at(const struct router *router, uint32_t index)
{
    return slab_at(&router->links, index);
}

// mail.c: sends to the own shard by the FIFO, to others by an effect. `mail->to_shard` and `type` are set.
void mail_send(struct router *router, const struct mail *mail, struct effects *out);
// A mail with neither account nor keys, from one link or session to another.
void mail_reply(struct router *router, enum mail_type type, struct handle to, struct handle from, struct effects *out);
// Hands a mail to the part that it is for. Only the bytes of mail_wire_bytes are read.
void mail_handle(struct router *router, const struct mail *mail, struct bytes payload, struct effects *out);
// Handles all mail in the FIFO. Ends every API call.
void mail_drain(struct router *router, struct effects *out);
const char *mail_name(enum mail_type type); // static string

// session.c
void effect_event(struct effects *out, uint32_t slot, enum router_event event, const struct key *key); // key NULL: none
struct session *session_of(const struct router *router, struct handle session);                        // NULL: stale
struct handle session_handle(const struct router *router, uint32_t slot);
// A session waits for one thing at most; a second call replaces the first.
void session_wait(struct router *router, uint32_t slot, enum session_wait wait);
void session_wait_shard(struct router *router, uint32_t slot, uint16_t shard);
void session_wait_end(struct router *router, uint32_t slot);                    // silently
void session_resume(struct router *router, uint32_t slot, struct effects *out); // with EFFECT_RESUME
void session_enter(struct router *router, struct handle handle, const struct key *key, uint64_t account, struct effects *out);
void session_mail(struct router *router, const struct mail *mail, struct effects *out);
void session_unregister(struct router *router, uint32_t slot, struct effects *out);
// Unregisters and frees a leaving session once no link of it is left.
void session_try_release(struct router *router, uint32_t slot, struct effects *out);
void session_check(const struct router *router);

// directory.c, presence.c, pair.c: the homes.
struct handle directory_holder(const struct router *router, const struct key *key); // none: nobody
uint16_t directory_home(const struct router *router, const struct key *key);
struct place {
    uint16_t home;
    struct handle holder; // none: nobody, or the home is another shard
};
// Both at once, without hashing or a look-up when the key is that of the record *last (SLAB_NONE: none), which is set to the key's.
struct place directory_place(const struct router *router, const struct key *key, uint32_t *last);
void directory_mail(struct router *router, const struct mail *mail, struct effects *out);
void directory_check(const struct router *router);
uint16_t presence_home(const struct router *router, uint64_t account); // account not 0
void presence_mail(struct router *router, const struct mail *mail, struct effects *out);
void presence_check(const struct router *router);
uint16_t pair_home(const struct router *router, const struct key *a, const struct key *b);
void pair_mail(struct router *router, const struct mail *mail, struct effects *out);
void pair_check(const struct router *router);

// datagram.c
#define HELD_MAX 1024u // reports held for one receiver
void datagram_send(struct router *router, uint32_t slot, const struct key *dest, const struct place *place, uint32_t token,
                   struct bytes payload, struct effects *out);
void datagram_mail(struct router *router, const struct mail *mail, struct bytes payload, struct effects *out);
void datagram_release(struct router *router, uint32_t slot, enum router_report what, struct effects *out); // tells all that are held
void datagram_check(const struct router *router);

// link.c: links are named by index. `link_find` yields live ones only, or SLAB_NONE; the last that was found needs no look-up.
uint32_t link_look_up(const struct router *router, uint32_t slot, const struct key *peer);

static inline uint32_t link_find(const struct router *router, struct session *session, uint32_t slot, const struct key *peer)
{
    CHECK(session->state == SESSION_LIVE);
    if (session->last != SLAB_NONE && key_equal(&link_at(router, session->last)->peer_key, peer))
        return session->last;
    uint32_t index = link_look_up(router, slot, peer);
    if (index != SLAB_NONE)
        session->last = index;
    return index;
}

void link_ask(struct router *router, uint32_t slot, const struct key *peer, uint16_t home, struct effects *out);
// Takes a live link down; its session, unless it is leaving, is told Disconnected if it was linked.
void link_give_up(struct router *router, uint32_t index, struct effects *out);
// The link is linked and has credit.
void link_send(struct router *router, struct link *link, uint32_t index, struct bytes payload, struct effects *out);
void link_grant_starved(struct router *router, uint32_t slot, struct effects *out);
void link_mail(struct router *router, const struct mail *mail, struct bytes payload, struct effects *out);
void link_check(const struct router *router);
