// OpenRelay in the simulator: what its devices (or_device.c) and its checkers (or_checkers.c) share.
// One rule: a device is an id and a connection one session; several sessions may claim an id at one time. One thread.
#pragma once
#include "net/openrelay/codec.h"
#include "tests/sim/sim.h"

#define OR_NONE UINT32_MAX
#define OR_ID_BYTES_MAX 400
#define OR_DUES_MAX 1024 // answers that a session awaits
#define OR_MESSAGES_MAX 16384
#define OR_ROTATION_TTL_S 300

enum or_kind { OR_SEND, OR_AUTH, OR_ROTATION_UPDATE, OR_ROTATION_ACK };

// One message of a device to another, by the number that it carries.
struct or_message {
    uint32_t session, sender_id, recipient_id; // session: its view's id
    enum or_kind kind;
    enum openrelay_type type;
    uint32_t text_bytes;             // of the payload
    uint32_t cost;                   // points
    uint64_t ttl_s;                  // 0: never kept
    uint64_t issued_ns, answered_ns; // answered 0: not yet, or never
    uint32_t previous;               // of the same sender id; OR_NONE
    uint32_t sure_session,
        claims;  // who held the recipient's id beyond doubt, and how often the id had been claimed; session 0: nobody known
    bool hidden; // its session had gone offline
    bool accepted, refused, refused_unspent; // the answer; unspent: it cost its sender nothing of the limits
    bool surely_kept;                        // nobody can have held the id
    bool may_be_lost;                        // somebody who may have had it has gone
    bool arrived;
    uint64_t settled_ns; // it arrived, and the relay must know; 0: not yet
};

// ---- or_checkers.c: what is said, and what that is answered with ----

void or_open(void);
void or_close(void);
void or_session_begin(struct client *client);
void or_session_ended(struct client *client);

const char *or_id_text(uint32_t id);              // as in JSON, and as it is
uint32_t or_said_id(const struct client *client); // as of all that was said; OR_NONE: none
bool or_is_offline(const struct client *client);
bool or_has_room(const struct client *client); // for more that is to be answered

// Each is called when the text goes out.
void or_said_register(struct client *client, uint32_t id);
void or_said_offline(struct client *client); // a Ping must follow
void or_said_ping(struct client *client);
void or_said_wrong(struct client *client, unsigned code, const char *answer); // what is answered with that error
struct or_message *or_said_message(struct client *client, enum or_kind kind, uint32_t recipient, uint64_t ttl_s, uint32_t cost,
                                   uint32_t *ret_number);
// What message `number` carries: letters of `len` bytes, to be freed.
char *or_payload(uint32_t number, uint32_t len);

bool or_heard(struct client *client, struct bytes text); // one message of the relay; true: another device's
void or_closed(struct client *client, uint16_t code, struct bytes reason);

struct queue;
void or_check_quiet(bool clients_idle);
void or_check_rested(void);
void or_check_gone(void);
struct queue *or_queue(void); // or_device.c
extern struct openrelay_config or_limits;
extern struct kept_config or_kept;
