// The Backbone room's inside. room.c (what a session says and does), kept.c (messages for clients that are away), lane.c (frames on their
// way through the crypto nodes), ask.c (what shards ask each other about clients), sessions.c (a shard's sessions, records), worker.c (a
// crypto node). One rule: a session's memory outlives its connection until every task that names it has come back. Thread: the shard's, but
// for worker.c and the parts of structs that say so.
#pragma once
#include "auth/rsa.h"
#include "net/backbone/backbone.h"
#include "net/backbone/frame.h"
#include "net/queue/mailbox.h"
#include "net/shard.h"
#include "store/identities.h"

// Limits; each policy stands where it is applied.
#define BACKBONE_LANE_TASKS_MAX 16 // of one lane: a large frame does not occupy the crypto nodes
#define BACKBONE_LANE_FRAMES_MAX 16
#define BACKBONE_LANE_BYTES_MAX 65536
#define BACKBONE_ANSWERS_MAX 64 // frames on their way out; then a session's commands wait
#define BACKBONE_PARTS_MAX 64
#define BACKBONE_IDS 4096           // chains of the table of ids
#define BACKBONE_LOGIN_BLOCKS_MAX 4 // of a response, which needs 2

enum crypto_kind { CRYPTO_LOGIN, CRYPTO_CHECK, CRYPTO_KNOWN, CRYPTO_DECRYPT, CRYPTO_ENCRYPT };

// A peer's public key. A crypto node makes `keys[its number]` when it first needs it; no other thread touches that place.
struct backbone_peer {
    uint32_t der_len; // 0: not known yet
    uint8_t der[IDENTITY_KEY_MAX];
    struct rsa_key *keys[BACKBONE_WORKERS_MAX];
};

// RECORD_CRYPTO and RECORD_CRYPTO_ANSWER; the bytes to work on, or the result, follow.
struct crypto_task {
    struct backbone_session *session; // these three are echoed; a worker reads only *peer
    struct backbone_work *work;
    struct backbone_peer *peer;
    uint32_t challenge_len; // CRYPTO_LOGIN: the challenge comes first
    uint16_t part, cost;
    uint8_t kind;  // enum crypto_kind
    bool is_sound; // answer: it worked; login: the signature is right; check: the identity is as it was; known: there is one
    uint8_t id[BACKBONE_ID_BYTES]; // CRYPTO_CHECK, CRYPTO_KNOWN; answer of CRYPTO_LOGIN
};

// One frame on its way through the crypto nodes, in parts that may come back in any order.
struct backbone_work {
    struct backbone_work *next;
    struct block *input;  // decrypting: the result replaces the ciphertext, part by part
    struct block *output; // encrypting: a whole frame
    uint16_t part_chunks, parts, parts_given, parts_back;
    bool is_broken;
    bool is_data;         // counts for the router
    uint64_t kept_number; // of a message that was kept; else 0
    uint16_t part_bytes[BACKBONE_PARTS_MAX];
};

struct backbone_lane {
    struct backbone_work *head, *tail, *giving; // giving: the first with parts not yet given to a crypto node
    uint32_t frames, tasks;
    size_t bytes;
    enum crypto_kind kind;
};

enum backbone_stage {
    STAGE_CHALLENGED, // the response is awaited
    STAGE_CHECKED,    // a crypto node checks it
    STAGE_PROVED,     // other shards are asked about another session of this identity
    STAGE_ENTERED,    // the router knows it
    STAGE_OVER,       // the connection is closing or gone
};

// Where messages are kept for those who are away, a session has one C2C under way at a time, the head of `in` until it is settled: that
// keeps the order, also into the queue.
enum backbone_c2c {
    C2C_NONE,
    C2C_GIVEN,   // to the router
    C2C_CHECKED, // nobody holds the address: a crypto node looks whether the id is known
    C2C_STORED,  // the queue node has it
    C2C_SETTLED, // the client has been told what there is to tell
};

// A question to all shards that is not answered yet.
struct backbone_question {
    uint32_t number;
    uint16_t answers_due;
    uint8_t kind; // enum backbone_ask_kind
    uint8_t count;
    uint64_t held; // bit per id
    uint32_t clients;
    uint8_t ids[BACKBONE_QUERY_MAX][BACKBONE_ID_BYTES];
};

struct backbone_session {
    struct backbone *backbone;
    struct conn *conn; // of `handle`, which may have become stale once the stage is OVER
    struct handle handle;
    struct backbone_session *next, *prev;  // all of the shard
    struct backbone_session *next_same;    // chain of the table of ids
    struct backbone_session *next_waiting; // line for the crypto nodes
    bool in_line;
    uint8_t stage; // enum backbone_stage
    bool login_due, check_due, known_due, farewell;
    uint8_t c2c;         // enum backbone_c2c
    bool stops;          // the head of `in` is STOP
    bool knows_ours;     // it has sent a message of our types, so it may be sent such: the original's client ends at one
    bool router_waits;   // the head of `in` must be repeated when the router says so
    uint32_t tasks;      // at the crypto nodes
    uint32_t pins;       // callers on the stack that still need it
    size_t answer_bytes; // of answers, written since the connection had nothing to write: no less than what waits for the client
    uint32_t answers;    // frames of `out` that are not data
    uint8_t id[BACKBONE_ID_BYTES];
    struct block *challenge; // until proved; the response is appended to it
    struct block *partial;   // an incomplete frame
    uint64_t frame_started_ns;
    struct backbone_peer peer;
    struct backbone_lane in, out;
    struct backbone_question *question;
    struct mailbox mailbox; // zeros when nothing is kept
    uint32_t c2c_count;
    uint64_t datagrams; // bit per place in use
    struct {
        uint32_t number;
        uint8_t id[BACKBONE_ID_BYTES];
    } sent[ROUTER_DATAGRAMS_MAX];
};

struct backbone_line {
    struct backbone_session *head, *tail;
};

struct backbone_probe {
    struct backbone_probe *next;
    struct handle asker, held;
    uint32_t number;
    uint64_t end_bytes; // of what was written, with the empty frame
    uint64_t deadline_ns;
};

struct backbone {
    struct shard *shard;
    const struct backbone_shared *shared;
    struct backbone_session *sessions;
    struct backbone_session *by_id[BACKBONE_IDS];
    struct backbone_line line, login_line;
    uint32_t entered, tasks, logins, question_number;
    uint64_t load[BACKBONE_WORKERS_MAX]; // cost of the tasks that each crypto node has of us
    struct backbone_probe *probes;
    struct timer probe_timer;
};

enum backbone_ask_kind { ASK_PROBE, ASK_STATUS, ASK_COUNT };

// ---- sessions.c ----
struct backbone_session *backbone_session_create(struct backbone *backbone, struct conn *conn); // NULL: out of memory
void backbone_session_enter(struct backbone_session *session);                                  // into the table of ids
struct backbone_session *backbone_session_find(struct backbone *backbone, const uint8_t id[BACKBONE_ID_BYTES]);
void backbone_session_over(struct backbone_session *session);   // the connection ends
void backbone_session_settle(struct backbone_session *session); // frees it if it is over and nothing names it any more

// ---- lane.c ----
// Puts a frame's body (in) or a message's pieces (out) on the lane. false: out of memory.
bool backbone_lane_put(struct backbone_session *session, struct backbone_lane *lane, struct bytes head, struct bytes tail, bool is_data);
struct backbone_work *backbone_lane_ready(const struct backbone_lane *lane);           // the first frame, when all of it is back; else NULL
struct bytes backbone_lane_plain(struct backbone_work *work);                          // of a ready one on `in`
void backbone_lane_drop(struct backbone_session *session, struct backbone_lane *lane); // the first frame
void backbone_pump(struct backbone_session *session); // gives as much to the crypto nodes as the limits allow; else waits in line
void backbone_pump_lines(struct backbone *backbone);
void backbone_lane_back(struct backbone_session *session, const struct crypto_task *task, struct bytes result);

// ---- ask.c ----
bool backbone_ask(struct backbone_session *session, enum backbone_ask_kind kind, const uint8_t (*ids)[BACKBONE_ID_BYTES], uint8_t count);
void backbone_ask_record(struct backbone *backbone, const struct post_record *record);
void backbone_probe_time(struct timer *timer, uint64_t now_ns);

// ---- kept.c: messages for clients that are away ----
extern const struct mailbox_room backbone_mailbox;
void backbone_kept_open(struct backbone_session *session);   // before the router is entered
void backbone_kept_absent(struct backbone_session *session); // nobody holds the address of the head of `in`
void backbone_known_answered(struct backbone_session *session, const struct crypto_task *task, struct bytes der);
void backbone_settle_c2c(struct backbone_session *session);

// ---- room.c ----
// SHA-256 of "backbone", the id and, for what is kept, the public key, so that a message never meets the id's next owner.
void backbone_address(const uint8_t id[BACKBONE_ID_BYTES], struct bytes der, struct key *ret_key);
bool backbone_is_for(const struct backbone_session *session, struct bytes plain); // a whole C2C for this client
void backbone_tell_undelivered(struct backbone_session *session, uint32_t place, enum backbone_why why);

// ---- room.c: what came back ----
void backbone_login_answered(struct backbone_session *session, const struct crypto_task *task, struct bytes der);
void backbone_check_answered(struct backbone_session *session, bool is_sound);
void backbone_in_ready(struct backbone_session *session);
void backbone_out_ready(struct backbone_session *session);
void backbone_question_answered(struct backbone_session *session);
