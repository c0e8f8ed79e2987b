// One session with the relay: TCP, TLS if asked, HTTP upgrade, WebSocket, Iam; then commands out and events in.
// One rule: nothing is queued beyond what its scenario has under way; buffers are freed as soon as they are empty.
// Thread: its worker's.
#pragma once
#include "net/buckets/codec.h"
#include "net/ws.h"
#include "shards/base/key.h"
#include <openssl/ssl.h>
#include <stdbool.h>
#include <stdint.h>

struct worker;

enum client_state {
    CLIENT_CLOSED,
    CLIENT_CONNECTING,
    CLIENT_TLS,
    CLIENT_UPGRADING,
    CLIENT_AWAITING_WHO,
    CLIENT_AWAITING_WELCOME,
    CLIENT_READY,
};

struct client_buffer { // heap; empty: ptr NULL
    uint8_t *ptr;
    size_t start, end, capacity;
};

struct client {
    struct worker *worker;
    SSL *ssl;
    int fd;
    uint32_t index;      // in its worker
    uint32_t user;       // of args.users
    uint32_t generation; // of the connection: events of an earlier one are void
    uint8_t state;
    uint8_t carry_len;
    bool paused;         // not read: a slow receiver
    bool wants_room;     // waits for EPOLLOUT
    bool in_login;       // counted in worker.logins_under_way
    bool expendable;     // the relay may close it: not a failure
    uint16_t close_code; // of the last end: the relay's close code, 1006 when it gave none, 0 when we closed it
    size_t send_at;      // where the message being written begins
    uint64_t began_ns;
    uint64_t retry_ns; // not before, after 429 or 503
    struct ws_decoder decoder;
    struct client_buffer in, out; // an unfinished message; what the socket did not take
    struct key key;
    struct key asked; // OpenRelay: the peer that client_connect named last
    uint8_t secret[64];
    uint8_t carry[WS_HEAD_MAX + WS_CONTROL_MAX + 1];
};

void client_create_key(struct client *client); // a fresh key pair; before the first open

// Starts to connect. Its worker hears of the end by worker_on_ready or worker_on_closed. false: no descriptor or port left.
bool client_open(struct client *client);
// Ends the connection at once: with a close frame (polite) or without. Not reported to the scenario.
void client_close(struct client *client, bool polite);
void client_on_events(struct client *client, uint32_t events); // from epoll
void client_resume(struct client *client);                     // ends `paused`
void client_pause(struct client *client);

// Commands: appended to the output, sent by client_flush. false: out of memory.
bool client_connect(struct client *client, const struct key *peer);
bool client_disconnect(struct client *client, const struct key *peer);
// SendData: room for payload_len bytes to be filled in before client_send_end. NULL: out of memory.
uint8_t *client_send_begin(struct client *client, const struct key *peer, size_t payload_len);
void client_send_end(struct client *client);
bool client_say(struct client *client, struct bytes text); // a text message. false: out of memory
void client_flush(struct client *client);                  // one write; the rest goes when the socket has room
size_t client_unsent_bytes(const struct client *client);
