// What the parts of the simulator share: one seed's randomness, the fake kernel, fibers, simulated devices and the checkers.
// One rule: everything that happens follows from the seed, so a failing seed can be replayed. One thread.
#pragma once
#include "net/shard.h"
#include "shards/base/bytes.h"
#include "shards/base/key.h"

#define SIM_SHARDS_MAX 64
#define SIM_SERVICES_MAX 4 // nodes of rooms, with fibers of their own
#define SIM_KEYS_MAX 12    // devices
#define SIM_ACCOUNTS_MAX 4
#define SIM_NO_ACCOUNT UINT32_MAX
#define SIM_CLIENTS_MAX 24 // connections at one time
#define SIM_SESSIONS_MAX 4096
#define SIM_ROOMS_MAX 4
#define SIM_NUMBERS_MAX 4096 // messages from one session to one key that are watched

// ---- randomness ----

void sim_seed(uint64_t seed);
uint64_t sim_random(void);
uint64_t sim_below(uint64_t limit); // 0 .. limit - 1; limit > 0
bool sim_chance(unsigned per_thousand);
size_t sim_part(size_t len, bool trickles);            // of len bytes (> 0), how many a client writes now: often one if it trickles
uint64_t sim_hash(uint64_t a, uint64_t b, uint64_t c); // of the run: independent of the order of calls

// ---- reporting ----

extern bool sim_verbose;
extern uint64_t sim_current_seed;
__attribute__((format(printf, 1, 2))) void sim_trace(const char *format, ...);
_Noreturn __attribute__((format(printf, 3, 4))) void sim_fail(const char *file, int line, const char *format, ...);
// A checker's complaint: prints the seed and how to replay it, then aborts.
#define SIM_CHECK(condition, ...) ((condition) ? (void)0 : sim_fail(__FILE__, __LINE__, __VA_ARGS__))

// ---- kernel: shards/os.h, and its other side ----

struct kernel_limits {
    uint32_t buffer_bytes_min, buffer_bytes_max; // of each direction of a connection
    unsigned accept_fails_per_thousand;
    unsigned yields_per_thousand; // system calls in which another thread comes in between
    bool loses_wakes;             // a mutation: every other eventfd signal is lost
};
void kernel_open(const struct kernel_limits *limits);
void kernel_close(void); // every descriptor must have been closed
uint64_t kernel_now_ns(void);
void kernel_advance_ns(uint64_t ns);

int kernel_listen(void); // a listening descriptor for shard_listen
bool kernel_is_listening(int fd);
int kernel_connect(int listener_fd);                            // the client's handle of a new connection, >= 0
size_t kernel_send(int client, const uint8_t *ptr, size_t len); // bytes taken
// Bytes received; 0: nothing now. *ret_end: nothing more will come, *ret_reset: because of a reset.
size_t kernel_receive(int client, uint8_t *ptr, size_t max, bool *ret_end, bool *ret_reset);
void kernel_half_close(int client);
void kernel_disconnect(int client, bool reset); // the handle is invalid afterwards
bool kernel_can_send(int client);
bool kernel_can_receive(int client);
bool kernel_is_closed(int client); // by the relay; also for handles that have become invalid
// For checkers, by the shard's descriptor: input not yet read; whether writing would take bytes.
size_t kernel_unread_bytes(int fd);
bool kernel_is_writable(int fd);
int kernel_listener_of(int fd);     // that it was connected to
uint32_t kernel_address_of(int fd); // IPv4, that accept tells
bool kernel_has_edge(int epoll_fd);

// ---- fibers: one per shard, then one per service; system calls are the points where it may be put aside ----

void fiber_start(unsigned index, void (*run)(void *argument), void *argument);
void fiber_resume(unsigned index); // until it yields or ends
bool fiber_is_done(unsigned index);
void fiber_free(unsigned index);
void fiber_yield(void);                             // harmless outside a fiber
int fiber_current(void);                            // -1: none
void fiber_sleep(int epoll_fd, int64_t timeout_ns); // until an edge or the time; called by the kernel's epoll_wait
bool fiber_is_runnable(unsigned index);
bool fiber_is_asleep(unsigned index);
uint64_t fiber_due_ns(unsigned index); // when it wakes by itself; UINT64_MAX: never

// ---- the run's parameters, from the seed ----

struct sim_config {
    uint16_t shard_count;
    uint32_t clients, keys, accounts;
    uint32_t payload_bytes_max;
    uint32_t actions; // that devices take before the run settles
    unsigned big_per_thousand;
    bool graceful_stop;
    bool floods;                          // many empty messages
    bool rude;                            // some devices break the protocol or vanish
    unsigned room_chances[SIM_ROOMS_MAX]; // per thousand sessions, by the place in sim_rooms
    bool lazy_services;                   // they starve for long
    uint16_t service_count;               // post nodes behind the main node; rooms take theirs when they choose
    struct post_limits post;
    struct kernel_limits kernel;
    struct shard_limits limits;
};
extern struct sim_config sim_config;
extern bool sim_is_stopping; // the shards were told to stop
extern struct shard_shared sim_shared;
extern struct shard *sim_shards[SIM_SHARDS_MAX];
extern int sim_listeners[SIM_SHARDS_MAX];      // the first of each shard
extern int sim_side_listeners[SIM_SHARDS_MAX]; // and the second

// sim_test.c: everything from sim_config, and its end.
void open_world(void);
void close_world(void);
// scale.c: counts what crosses between cores with 8, 32 and 64 shards; it must not grow.
void scale_run(void);

uint16_t sim_service_node(uint16_t service); // its index at the post
void sim_service_start(uint16_t service, void (*run)(void *argument), void *argument);

// ---- rooms: kinds of clients ----

struct client;

// Buckets: device.c. The others have files of their own. A function that a room does not need is NULL, but for start, take, act and
// on_closed.
struct sim_room {
    const char *name;
    struct route route;                   // of the shards; without a path none is made and the client speaks no HTTP
    void (*choose)(void);                 // the seed's parameters: only of seeds that have the room
    void (*open)(void);                   // its nodes and checkers; sim_shared has all but the shards
    void (*stop)(void);                   // tells its nodes to end once the shards have stopped
    void (*close)(void);                  // all fibers have ended
    void (*start)(struct client *client); // an idle client connects, or does not
    bool (*take)(struct client *client);  // one piece of what came, after HTTP; false: it is not whole
    void (*on_message)(struct client *client, uint8_t opcode, struct bytes message); // from client_take_ws
    void (*act)(struct client *client);                                              // of an open client
    void (*settle)(struct client *client);                                           // it ends what it has begun
    void (*on_closed)(struct client *client, uint16_t code, struct bytes reason);    // by a close frame of the server
    void (*on_ended)(struct client *client);                                         // before its view goes
    void (*check_quiet)(bool clients_idle);
    void (*check_rested)(void);    // nobody has acted for a second or more, and nobody can run
    void (*check_converged)(void); // the same, and nobody will act any more
    void (*check_gone)(void);      // everybody left long ago
};
extern const struct sim_room sim_room_buckets, sim_room_openrelay;
const struct sim_room *sim_room_any(void); // for a new session

// ---- devices: client.c (bytes), device.c (what they do) ----

enum client_phase { CLIENT_IDLE, CLIENT_HTTP, CLIENT_OPEN, CLIENT_CLOSING, CLIENT_ENDING };

struct buffer {
    uint8_t *ptr;
    size_t start, end, capacity;
};

struct client {
    const struct sim_room *room;
    uint8_t phase;
    int socket;
    uint16_t shard;
    struct session_view *view; // what the checkers know of this connection
    struct buffer in, out, commands;
    bool fragmenting; // a message was begun and not ended
    bool close_sent, close_received, half_closed;
    uint64_t paused_until_ns; // does not read
    uint64_t act_at_ns;       // next action
    uint64_t give_up_ns;      // ends the connection by itself
    uint8_t iam_plan;         // enum iam_plan
    uint64_t read_ns;         // last read
    bool dawdled;             // left some input unread for long
    bool mute;                // answers no ping
    bool trickles;            // sends byte by byte
};

bool client_step(struct client *client); // one piece of I/O or one action; false: nothing could be done
bool client_is_runnable(const struct client *client);
uint64_t client_due_ns(const struct client *client);
void client_free(struct client *client);
void buffer_put(struct buffer *buffer, const void *ptr, size_t len);
void buffer_free(struct buffer *buffer);

// client.c, for device.c
void client_connect(struct client *client, uint16_t shard);
bool client_take_ws(struct client *client);                              // a room's `take` over WebSocket
void client_flush_commands(struct client *client);                       // cuts what is in `commands` into messages and frames
void client_text(struct client *client, const uint8_t *ptr, size_t len); // one message in frames
void client_frame(struct client *client, bool fin, uint8_t opcode, const uint8_t *ptr, size_t len);
void client_close_frame(struct client *client, uint16_t code);
void client_end(struct client *client, bool reset);

// device.c
void device_act(struct client *client);
void device_leave(struct client *client);       // in one way or another
void device_break_frame(struct client *client); // of WebSocket
void device_rest(uint64_t ns);                  // nobody acts for so long, from the next quiet moment on
uint64_t device_take_rest(void);                // ns; 0: nobody wants to
bool device_is_active(void);                    // actions are left
void device_stop_acting(void);
void device_reset(void);
const struct key *device_key(uint32_t device);
void device_sign(const uint8_t challenge[32], const uint8_t key[32], uint8_t ret_signature[64]);

// ---- checkers.c ----

struct peer_view {
    bool entered, connected, asked;
    bool disconnected_ever;                 // we asked for the end once
    uint32_t sent;                          // SendData commands issued for this key
    uint64_t arrived[SIM_NUMBERS_MAX / 64]; // which of them some session of that key has received
    // of the running connection, as the receiver
    struct session_view *sender;            // NULL: not known yet
    uint32_t expected;                      // next number from it
    const struct session_view *last_sender; // of the connection before, and how far it came
    uint32_t last_expected;
    uint32_t early_count; // messages that came before one said who sent them
    uint32_t early_len[64];
};

struct session_view {
    const struct sim_room *room;
    uint32_t id; // > 0
    uint32_t device, account;
    uint8_t challenge[32];
    bool challenged, challenge_taken;
    bool opened, refused, iam_sent, iam_right, authenticated, dead, closed_cleanly, rude, slow, mute, live_at_stop;
    uint16_t close_code; // that came from the server; 0: none
    uint32_t send_forbidden_due, forbidden_due, self_due, spent_due, bad_signature_due;
    uint32_t sends, delivered, send_errors, lossy;
    uint64_t usage_sent, usage_recv;
    struct peer_view peers[SIM_KEYS_MAX];
};

void checkers_open(void);
void checkers_close(void);
struct session_view *view_create(const struct sim_room *room, uint32_t device, uint32_t account); // SIM_NO_ACCOUNT: no login
void view_message(struct session_view *view, struct bytes message);                               // a whole event message
const uint8_t *view_take_challenge(struct session_view *view);                                    // that Who brought, once; else NULL
void view_closed_by_server(struct session_view *view, uint16_t code, struct bytes reason);
void view_ended(struct session_view *view, bool cleanly); // no event will be seen any more
uint32_t payload_len(const struct session_view *sender, uint32_t device, uint32_t number);
void payload_fill(const struct session_view *sender, uint32_t device, uint32_t number, uint8_t *ptr, size_t len);

void view_mark_stop(void);           // who is live when the shards are told to stop
void check_often(void);              // cheap bounds, at any time
void check_quiet(bool clients_idle); // nobody can run: nothing may be left lying; clients_idle: they have read everything
void check_converged(void);          // views agree after the devices stopped acting
void check_gone(void);               // after everybody left and time has passed
void check_usage(void);
void check_all_stopped(void); // graceful stop: everybody was told 1001

// ---- accounts.c: the accounts node and the main node ----

void accounts_open(uint16_t node, uint16_t main_node);
bool accounts_is_runnable(void);
void accounts_step(void);
uint64_t accounts_due_ns(void);
void accounts_stop_shards(void);
uint32_t accounts_stopped_count(void); // RECORD_STOPPED that came
uint64_t accounts_usage_sent(uint32_t account);
uint64_t accounts_usage_recv(uint32_t account);
bool accounts_is_idle(void);

// ---- ring_watch.c: whoever touches a parcel that it gave away is caught ----

void ring_watch_reset(void);
