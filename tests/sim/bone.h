// Backbone in the simulator: devices of another kind on a listener of their own, crypto nodes with a stand-in for RSA, and their checkers.
// One rule: as sim.h. What sim_test.c drives comes last; the rest is between bone_*.c. One thread.
#pragma once
#include "net/backbone/frame.h"
#include "tests/sim/sim.h"

#define BONE_CLIENTS_MAX 40 // connections at one time
#define BONE_DEVICES_MAX 12 // identities
#define BONE_NODES_MAX 4
#define BONE_VIEWS_MAX 2048
#define BONE_NOBODY UINT32_MAX // a recipient that has no identity
#define BONE_TAG_MIN 4         // a payload shorter than this does not say which message it is
#define BONE_SLACK_NS 1000000000ull
#define BONE_PEM "the public half of the server's key"

struct bone_config {
    bool is_on;
    uint32_t clients, devices, nodes, actions;
    uint32_t payload_bytes_max;
    uint32_t interval_s, timeout_s;
    uint32_t tasks_max, logins_max;
    bool slow_crypto; // answers are late now and then
    bool slow_motion; // actions lie seconds apart, so that time limits matter
    bool crowds;      // most talk to the first device, which reads little: they wait for it
    bool rude;        // some break the protocol
    bool changes;     // identities are deleted and made anew
};
extern struct bone_config bone_config;

enum bone_plan {
    BONE_RIGHT,
    BONE_RIGHT_AND_GONE, // hangs up behind its response
    BONE_EAGER,          // speaks before CONFIG
    BONE_DEAF_MUTE,      // logs in, then says nothing
    BONE_WRONG_SIGNATURE,
    BONE_OTHER_CHALLENGE,
    BONE_OTHER_KEY,
    BONE_UNKNOWN,
    BONE_MALFORMED,
    BONE_HALF, // never ends its response
    BONE_SILENT,
    BONE_PLANS
};

struct bone_question {
    uint64_t sent_ns;
    uint8_t count; // 0: about the server
    uint32_t devices[4];
    bool was_held[4];
};
#define BONE_QUESTIONS_MAX 16

// What the checkers know of one connection.
struct bone_view {
    uint32_t id; // > 0
    uint8_t plan;
    uint32_t device, version;
    uint64_t started_ns, responded_ns, configured_ns, ended_ns; // 0: not yet
    bool is_right;                                              // a response was sent that lets it in
    bool challenged, stopped, said_stop, half_closes, half_closed, broke, stuck, cut, live_at_stop, told_of_stop;
    char reason[64];       // of the STOP that came
    uint64_t last_sent_ns; // bytes that the kernel took
    uint64_t gap_ns_max;   // between such
    uint64_t pause_ns_max; // of reading
    uint64_t frame_ns_max; // that a frame remained unfinished
    uint32_t *messages;    // its C2C, index of the message; from number 1
    uint32_t message_count, message_capacity;
    uint32_t last_sent[BONE_DEVICES_MAX]; // to each device: index of the message + 1
    struct bone_question questions[BONE_QUESTIONS_MAX];
    uint32_t asked, answered;
    bool shows_ours; // it has said one of our own types, so it may be told of them: net/backbone/frame.h
    uint32_t walked; // stamp of check_order
};

// ---- bone_crypto.c: the crypto nodes, and a stand-in for RSA that is as picky and much cheaper ----

// Key pairs are numbers: who knows one may use both halves.
uint64_t bone_key(uint32_t device, uint32_t version);
uint64_t bone_server_key(void);
size_t bone_encrypt(uint64_t key, const uint8_t *plain, size_t len, uint8_t *ret_cipher);
bool bone_decrypt(uint64_t key, struct bytes cipher, uint8_t *ret_plain, size_t *ret_len);
void bone_sign(uint64_t key, struct bytes challenge, uint8_t ret_signature[256]);
bool bone_nodes_lagged(void); // lately they had work for more than a second on end
bool bone_crypto_is_busy(void);
void bone_identities_changed(void);
void bone_nodes_open(uint16_t first_node);
const struct backbone_shared *bone_shared(void);
bool bone_node_is_runnable(uint32_t number);
void bone_node_step(uint32_t number);
uint64_t bone_nodes_due_ns(void);

// ---- bone_device.c: identities, and what devices do ----

const uint8_t *bone_id(uint32_t device); // BONE_NOBODY: one that nobody has
uint32_t bone_device_of(const uint8_t *id);
bool bone_is_enrolled(uint32_t device);
uint32_t bone_version(uint32_t device);

enum bone_phase { BONE_IDLE, BONE_CHALLENGE_DUE, BONE_CONFIG_DUE, BONE_OPEN, BONE_LEAVING, BONE_ENDING };

struct bone_client {
    uint8_t phase; // enum bone_phase
    int socket;
    uint16_t shard;
    struct bone_view *view;
    struct buffer in, out;
    uint64_t act_at_ns, beat_at_ns, give_up_ns, paused_until_ns, paused_ns;
    uint64_t frame_open_ns; // the kernel has a part of a frame since; 0: none
    size_t frame_left;      // bytes of the frame in `out` that the kernel has not got
    bool trickles;
};

void bone_act(struct bone_client *client);
void bone_beat(struct bone_client *client);
void bone_challenged(struct bone_client *client, struct bytes challenge);
void bone_configured(struct bone_client *client);
void bone_devices_open(void);
bool bone_acts(void); // actions are left
void bone_stop_acting(void);
void bone_leave(struct bone_client *client, bool silently); // in the end

// ---- bone_client.c: bytes ----

int bone_listener(uint16_t shard);
void bone_connect(struct bone_client *client, uint16_t shard);
void bone_put_frame(struct bone_client *client, const uint8_t *plain, size_t len); // encrypted for the server
void bone_put_body(struct bone_client *client, const uint8_t *body, size_t len);
void bone_end(struct bone_client *client, bool reset);
extern struct bone_client bone_clients[BONE_CLIENTS_MAX];

// ---- bone_checkers.c ----

void bone_checkers_open(void);
void bone_checkers_close(void);
struct bone_view *bone_view_create(uint32_t device, uint8_t plan);
bool bone_is_held(uint32_t device); // some shard has a session of it
// Notes that the session sends a C2C and fills its payload.
void bone_sends(struct bone_view *view, uint32_t device, uint8_t *payload, size_t len);
void bone_asks(struct bone_view *view, const uint32_t *devices, uint8_t count);
void bone_told(struct bone_view *view, struct bytes plain);              // a decrypted message
void bone_ended(struct bone_view *view, bool by_server, bool was_reset); // nothing more will be seen
void bone_view_sent(struct bone_view *view);                             // bytes left for the server

// ---- for sim_test.c ----

void bone_choose(bool is_sought); // the seed's parameters; after those of sim_config
void bone_open(uint16_t first_node);
void bone_listen(uint16_t shard);
void bone_close(void);
uint32_t bone_actor_count(void);
bool bone_actor_is_runnable(uint32_t actor);
void bone_actor_step(uint32_t actor);
uint64_t bone_due_ns(void);
bool bone_clients_are_idle(void); // they have read everything
bool bone_is_busy(void);          // crypto nodes or probes are at work
bool bone_somebody_is_connected(void);
void bone_settle(void); // they stop acting
void bone_leave_all(void);
void bone_mark_stop(void);
void bone_check_often(void);
void bone_check_quiet(void);
void bone_check_converged(void);
void bone_check_gone(void);
void bone_check_all_stopped(void);
