// What OpenRelay devices may be told: each command's answer in its turn, each message that was acknowledged once to its recipient, in order
// and in time, one connection per id, and limits that neither leak nor refuse without a reason.
// One rule: as checkers.c; of the queue node they know the public counts.
#include <stdio.h>
#include <stdlib.h>

#include "net/queue/queue.h"
#include "shards/base/check.h"
#include "tests/sim/or.h"

#define S_NS 1000000000ull
#define MINUTE_NS (60 * S_NS)
#define CLAIMS_MAX (OR_DUES_MAX + 1)
#define PART_BYTES 200000                          // less than given.c lets wait before it fetches more
#define HEAD_BYTES_MAX (3 * OR_ID_BYTES_MAX + 600) // of a message around its payload

enum due_kind { DUE_REGISTERED, DUE_PONG, DUE_ERROR, DUE_MESSAGE };
struct due {
    enum due_kind kind;
    uint32_t number;  // id, code or message
    bool turns;       // Register: begins a stint. Pong: comes after Offline, which has ended one
    const char *text; // of DUE_ERROR
    uint64_t said_ns;
};

struct claim {
    uint32_t id;
    uint64_t from_ns;
    bool contested; // somebody else claimed it then or since, and may have got it: until all is quiet
};

// A stint is the time of one session under one id, as the session hears of it.
struct session {
    struct client *client; // NULL: ended
    int socket;
    const struct session_view *view;
    bool buried; // ended, and all of the relay knows
    uint64_t buried_ns;
    bool replaced;         // was told 409
    uint32_t claimed_ever; // ids, as bits
    struct due dues[OR_DUES_MAX];
    uint32_t due_first, due_count;
    struct claim claims[CLAIMS_MAX]; // ids that it may hold, in the order in which it asked for them
    uint32_t claim_count;
    uint32_t said_id; // as of what was said
    bool said_offline;
    uint32_t id, stint; // as of what was heard
    uint64_t stint_said_ns, stint_newest_ns, stint_bytes;
    uint32_t stint_last[SIM_SESSIONS_MAX]; // by sending session: number + 1 of the last that came
};

static struct session *sessions[SIM_SESSIONS_MAX + 1]; // by view id
static uint32_t session_last, unburied[SIM_SESSIONS_MAX], unburied_count;
static struct or_message *messages;
static uint32_t message_count, last_of[SIM_KEYS_MAX], stint_count;
static uint32_t pending[OR_MESSAGES_MAX], pending_count; // those that may still have to arrive
static uint32_t arrived_stint[OR_MESSAGES_MAX];
static uint32_t claim_serial[SIM_KEYS_MAX]; // grows with everything that may change an id's holder
static char id_texts[SIM_KEYS_MAX][OR_ID_BYTES_MAX];

// ---- the world ----

void or_open(void)
{
    session_last = unburied_count = message_count = pending_count = stint_count = 0;
    messages = malloc(OR_MESSAGES_MAX * sizeof(*messages));
    CHECK(messages != NULL);
    for (uint32_t id = 0; id < SIM_KEYS_MAX; id++) {
        size_t len = id % 4 == 3 ? OR_ID_BYTES_MAX - 1 : 9; // some are too long to stand beside the session
        memset(id_texts[id], 'i', len);
        id_texts[id][len] = '\0';
        id_texts[id][0] = (char)('a' + id);
        last_of[id] = OR_NONE;
        claim_serial[id] = 0;
    }
}

void or_close(void)
{
    for (uint32_t i = 0; i <= session_last; i++) {
        free(sessions[i]);
        sessions[i] = NULL;
    }
    free(messages);
    messages = NULL;
}

const char *or_id_text(uint32_t id)
{
    CHECK(id < SIM_KEYS_MAX);
    return id_texts[id];
}

char *or_payload(uint32_t number, uint32_t len)
{
    char *text = malloc(len + 1);
    CHECK(text != NULL && len >= 16);
    memset(text, (int)('a' + sim_hash(number, len, 5) % 26), len);
    text[snprintf(text, 16, "m%u.", number)] = '-';
    text[len] = '\0';
    return text;
}

static struct session *session_of(const struct client *client)
{
    CHECK(client->view != NULL && sessions[client->view->id] != NULL);
    return sessions[client->view->id];
}

void or_session_begin(struct client *client)
{
    uint32_t at = client->view->id;
    CHECK(at <= SIM_SESSIONS_MAX && sessions[at] == NULL && unburied_count < SIM_SESSIONS_MAX);
    struct session *session = calloc(1, sizeof(*session));
    CHECK(session != NULL);
    session->client = client;
    session->view = client->view;
    session->said_id = session->id = OR_NONE;
    sessions[at] = session;
    session_last = at > session_last ? at : session_last;
    unburied[unburied_count++] = at;
}

static void shake_claims(const struct session *session)
{
    for (uint32_t i = 0; i < session->claim_count; i++)
        claim_serial[session->claims[i].id]++;
}

void or_session_ended(struct client *client)
{
    struct session *session = session_of(client);
    session->client = NULL;
    session->socket = client->socket;
    shake_claims(session);
}

// ---- who holds an id ----

// Nothing hints that the relay might not take it for live.
static bool is_sound(const struct session *session)
{
    const struct client *client = session->client;
    const struct session_view *view = session->view;
    return client != NULL && client->phase == CLIENT_OPEN && !client->half_closed && view->close_code == 0 && !view->slow && !view->mute &&
           !view->rude && !session->replaced;
}

// Its newest claim to the id, or NULL.
static struct claim *claim_of(struct session *session, uint32_t id)
{
    for (uint32_t i = session->claim_count; i > 0; i--)
        if (session->claims[i - 1].id == id)
            return &session->claims[i - 1];
    return NULL;
}

// The view id of the one that holds the id beyond doubt; 0: nobody does, nor can anybody; OR_NONE: who knows.
static uint32_t sure_holder(uint32_t id)
{
    uint32_t holder = 0, claims = 0;
    for (uint32_t i = 0; i < unburied_count; i++) {
        struct session *session = sessions[unburied[i]];
        const struct claim *claim = claim_of(session, id);
        if (claim == NULL)
            continue;
        claims++;
        bool holds = session->id == id && session->said_id == id && !session->said_offline && !claim->contested && is_sound(session);
        holder = holds ? unburied[i] : OR_NONE;
    }
    return claims == 0 ? 0 : claims == 1 ? holder : OR_NONE;
}

static bool still_holds(const struct or_message *message)
{
    return message->claims == claim_serial[message->recipient_id] && message->sure_session == sure_holder(message->recipient_id);
}

// ---- what is said ----

uint32_t or_said_id(const struct client *client)
{
    return session_of(client)->said_id;
}

bool or_is_offline(const struct client *client)
{
    return session_of(client)->said_offline;
}

bool or_has_room(const struct client *client)
{
    return session_of(client)->due_count + 4 < OR_DUES_MAX;
}

static void owe(struct session *session, struct due due)
{
    CHECK(session->due_count < OR_DUES_MAX);
    due.said_ns = kernel_now_ns();
    session->dues[(session->due_first + session->due_count++) % OR_DUES_MAX] = due;
}

void or_said_register(struct client *client, uint32_t id)
{
    struct session *session = session_of(client);
    bool again = session->said_id == id && !session->said_offline;
    owe(session, (struct due){.kind = DUE_REGISTERED, .number = id, .turns = !again});
    if (again)
        return;
    CHECK(session->claim_count < CLAIMS_MAX);
    shake_claims(session);
    struct claim mine = {.id = id, .from_ns = kernel_now_ns()};
    for (uint32_t i = 0; i < unburied_count; i++) {
        struct claim *claim = claim_of(sessions[unburied[i]], id);
        if (claim != NULL)
            mine.contested = claim->contested = true;
    }
    session->claims[session->claim_count++] = mine;
    session->claimed_ever |= 1u << id;
    claim_serial[id]++;
    session->said_id = id;
    session->said_offline = false;
    sim_trace("session %u registers id %u", session->view->id, id);
}

void or_said_offline(struct client *client)
{
    struct session *session = session_of(client);
    session->said_offline = true;
    shake_claims(session);
    sim_trace("session %u goes offline", session->view->id);
}

void or_said_ping(struct client *client)
{
    struct session *session = session_of(client);
    owe(session, (struct due){.kind = DUE_PONG, .turns = session->said_offline});
}

void or_said_wrong(struct client *client, unsigned code, const char *answer)
{
    owe(session_of(client), (struct due){.kind = DUE_ERROR, .number = code, .text = answer});
}

struct or_message *or_said_message(struct client *client, enum or_kind kind, uint32_t recipient, uint64_t ttl_s, uint32_t cost,
                                   uint32_t *ret_number)
{
    struct session *session = session_of(client);
    if (message_count == OR_MESSAGES_MAX)
        return NULL;
    CHECK(session->said_id != OR_NONE);
    uint32_t number = message_count++;
    struct or_message *message = &messages[number];
    *message = (struct or_message){.session = session->view->id,
                                   .sender_id = session->said_id,
                                   .recipient_id = recipient,
                                   .kind = kind,
                                   .ttl_s = ttl_s,
                                   .cost = cost,
                                   .issued_ns = kernel_now_ns(),
                                   .hidden = session->said_offline,
                                   .previous = OR_NONE,
                                   .sure_session = sure_holder(recipient),
                                   .claims = claim_serial[recipient]};
    if (kind == OR_SEND) {
        message->previous = last_of[session->said_id];
        last_of[session->said_id] = number;
    }
    pending[pending_count++] = number;
    owe(session, (struct due){.kind = DUE_MESSAGE, .number = number});
    sim_trace("session %u sends m%u kind %u to id %u, ttl %llu", session->view->id, number, (unsigned)kind, recipient,
              (unsigned long long)ttl_s);
    *ret_number = number;
    return message;
}

// ---- limits ----

// That the relay took it does not exceed the limits: a minute touches two windows at most. A session that went offline spends by itself as
// long as it lasts, while another may hold the id.
static void check_passed(const struct or_message *message)
{
    uint64_t requests = 0, points = 0, own_requests = 0, own_points = 0;
    for (uint32_t at = last_of[message->sender_id]; at != OR_NONE && messages[at].issued_ns + MINUTE_NS > message->answered_ns;
         at = messages[at].previous) {
        const struct or_message *other = &messages[at];
        if (other->answered_ns == 0 || other->refused_unspent)
            continue;
        requests += !other->hidden;
        points += other->hidden ? 0 : other->cost;
        own_requests += other->session == message->session;
        own_points += other->session == message->session ? other->cost : 0;
    }
    uint64_t requests_max = 2ull * or_limits.requests_max, points_max = 2ull * or_limits.points_max;
    SIM_CHECK(requests <= requests_max && points <= points_max && own_requests <= requests_max && own_points <= points_max,
              "id %u: %llu requests and %llu points within a minute, %llu and %llu of session %u", message->sender_id,
              (unsigned long long)requests, (unsigned long long)points, (unsigned long long)own_requests, (unsigned long long)own_points,
              message->session);
}

// A refusal needs that many Sends in the minute before it.
static void check_refused(const struct or_message *message, bool of_points)
{
    uint64_t requests = 0, points = message->cost;
    for (uint32_t at = last_of[message->sender_id];
         at != OR_NONE && (of_points ? points <= or_limits.points_max : requests < or_limits.requests_max); at = messages[at].previous) {
        const struct or_message *other = &messages[at];
        bool may_count = !other->refused_unspent && (other->answered_ns == 0 || other->answered_ns + MINUTE_NS > message->issued_ns);
        requests += may_count;
        points += may_count && other != message ? other->cost : 0;
    }
    SIM_CHECK(of_points ? points > or_limits.points_max : requests >= or_limits.requests_max,
              "id %u: refused after %llu requests and %llu points in a minute", message->sender_id, (unsigned long long)requests,
              (unsigned long long)points);
}

// ---- what is kept ----

static bool is_expired(uint64_t kept_ns, uint64_t ttl_s, uint64_t at_ns)
{
    return at_ns / S_NS > kept_ns / S_NS + ttl_s; // to the second: the wall clock's
}

// It may lie in the queue at this time, or a second before.
static bool may_be_kept(const struct or_message *message, uint64_t at_ns)
{
    const struct session *sender = sessions[message->session];
    uint64_t kept_ns = message->answered_ns != 0 ? message->answered_ns : sender->buried ? sender->buried_ns : kernel_now_ns();
    bool settled = message->settled_ns != 0 && message->settled_ns <= at_ns;
    return message->ttl_s > 0 && !message->refused && !settled && !is_expired(kept_ns, message->ttl_s, at_ns - S_NS);
}

static void check_full(const struct or_message *message)
{
    uint64_t recipient_count = 0, sender_count = 0, recipient_bytes = 0, total_bytes = 0;
    for (uint32_t i = 0; i < message_count; i++) {
        const struct or_message *other = &messages[i];
        if (!may_be_kept(other, message->issued_ns)) // the answer may have been read late
            continue;
        uint64_t bytes = other->text_bytes + HEAD_BYTES_MAX;
        recipient_count += other->recipient_id == message->recipient_id && other != message;
        recipient_bytes += other->recipient_id == message->recipient_id ? bytes : 0;
        sender_count += other->sender_id == message->sender_id && other != message;
        total_bytes += bytes;
    }
    SIM_CHECK(recipient_count >= or_kept.messages_max || recipient_bytes > or_kept.bytes_max || sender_count >= or_kept.sender_max ||
                  total_bytes > or_kept.total_max,
              "refused as too many with %llu for id %u and %llu of id %u", (unsigned long long)recipient_count, message->recipient_id,
              (unsigned long long)sender_count, message->sender_id);
}

static void check_kept(void)
{
    uint64_t most = 0, least = 0;
    for (uint32_t i = 0; i < message_count; i++) {
        const struct or_message *message = &messages[i];
        most += may_be_kept(message, kernel_now_ns());
        least += message->surely_kept && !message->arrived && !is_expired(message->issued_ns, message->ttl_s, kernel_now_ns());
    }
    struct queue_counts counts;
    queue_counts(or_queue(), &counts);
    uint64_t kept = counts.kept - counts.taken - counts.expired;
    SIM_CHECK(kept >= least && kept <= most, "%llu messages are kept: not %llu to %llu", (unsigned long long)kept,
              (unsigned long long)least, (unsigned long long)most);
}

// ---- answers ----

static struct due *head_of(struct session *session)
{
    SIM_CHECK(session->due_count > 0, "session %u: an answer without a question", session->view->id);
    return &session->dues[session->due_first];
}

static void pay(struct session *session)
{
    session->due_first = (session->due_first + 1) % OR_DUES_MAX;
    session->due_count--;
}

static void accepted(struct or_message *message, bool kept)
{
    uint32_t number = (uint32_t)(message - messages);
    message->accepted = true;
    message->answered_ns = kernel_now_ns();
    if (message->kind == OR_SEND)
        check_passed(message);
    bool nobody = message->sure_session == 0 && still_holds(message);
    SIM_CHECK(!nobody || message->ttl_s > 0, "m%u is acknowledged, and nobody can have got it", number);
    SIM_CHECK(!nobody || kept || message->kind == OR_SEND, "m%u is taken, and nobody can have got it", number);
    message->surely_kept = nobody;
    sim_trace("m%u is accepted%s", number, nobody ? ", kept" : "");
}

static bool may_be_silent(const struct due *due)
{
    return due->kind == DUE_MESSAGE && messages[due->number].kind != OR_SEND;
}

static void heard_registered(struct session *session, const struct openrelay_message *said)
{
    const struct due *due = head_of(session);
    SIM_CHECK(due->kind == DUE_REGISTERED && bytes_equal(said->values[FIELD_hardware_id].text, bytes_text(or_id_text(due->number))),
              "session %u: RegisterResponse out of turn", session->view->id);
    if (due->turns) {
        session->id = due->number;
        session->stint = ++stint_count;
        session->stint_said_ns = due->said_ns;
        session->stint_newest_ns = session->stint_bytes = 0;
        memset(session->stint_last, 0, sizeof(session->stint_last));
        uint32_t over = 0;
        while (over < session->claim_count && (session->claims[over].id != due->number || session->claims[over].from_ns != due->said_ns))
            over++;
        CHECK(over < session->claim_count);
        session->claim_count -= over;
        memmove(session->claims, session->claims + over, session->claim_count * sizeof(session->claims[0]));
        sim_trace("session %u has id %u", session->view->id, session->id);
    }
    pay(session);
}

static void heard_pong(struct session *session)
{
    while (may_be_silent(head_of(session))) {
        accepted(&messages[head_of(session)->number], /* kept= */ false);
        pay(session);
    }
    SIM_CHECK(head_of(session)->kind == DUE_PONG, "session %u: Pong out of turn", session->view->id);
    if (head_of(session)->turns && session->id != OR_NONE) { // what was asked for since stays
        uint32_t over = 0;
        while (over < session->claim_count && session->claims[over].from_ns < head_of(session)->said_ns)
            over++;
        session->claim_count -= over;
        memmove(session->claims, session->claims + over, session->claim_count * sizeof(session->claims[0]));
        session->id = OR_NONE;
    }
    pay(session);
}

static void heard_ack(struct session *session, struct bytes message_id)
{
    const struct due *due = head_of(session);
    char expected[40];
    CHECK(due->kind == DUE_MESSAGE || due->number != OR_NONE);
    snprintf(expected, sizeof(expected), "%08x-0000-4000-8000-%012x", session->view->id, due->number);
    SIM_CHECK(due->kind == DUE_MESSAGE && messages[due->number].kind == OR_SEND && bytes_equal(message_id, bytes_text(expected)),
              "session %u: Ack %.*s out of turn", session->view->id, (int)message_id.len, (const char *)message_id.ptr);
    accepted(&messages[due->number], /* kept= */ false);
    pay(session);
}

static bool starts_with(struct bytes text, const char *start)
{
    return text.len >= strlen(start) && memcmp(text.ptr, start, strlen(start)) == 0;
}

static void heard_refusal(struct or_message *message, struct bytes text, uint64_t code)
{
    uint32_t number = (uint32_t)(message - messages);
    bool rotation = message->kind == OR_ROTATION_UPDATE || message->kind == OR_ROTATION_ACK;
    sim_trace("m%u is refused with %llu", number, (unsigned long long)code);
    if (code == 202 && rotation) {
        accepted(message, /* kept= */ true);
        return;
    }
    message->answered_ns = kernel_now_ns();
    message->refused = true;
    message->refused_unspent = code == 429;
    if (code == 429 && message->kind == OR_SEND) {
        check_refused(message, starts_with(text, "Quota exceeded"));
        return;
    }
    if (message->kind == OR_SEND)
        check_passed(message);
    if (code == 507 && message->ttl_s > 0) {
        message->refused = false; // so that it counts itself
        check_full(message);
        message->refused = true;
        return;
    }
    SIM_CHECK(code == 404 && message->ttl_s == 0, "m%u is refused with %llu (%.*s)", number, (unsigned long long)code, (int)text.len,
              (const char *)text.ptr);
    bool holder = message->sure_session != 0 && message->sure_session != OR_NONE && still_holds(message);
    SIM_CHECK(!holder, "m%u does not reach id %u, which session %u holds", number, message->recipient_id, message->sure_session);
}

static void heard_error(struct session *session, const struct openrelay_message *said)
{
    struct bytes text = said->values[FIELD_message].text;
    uint64_t code = said->values[FIELD_code].number;
    if (code == 409) {
        bool claimed = false;
        for (uint32_t i = 1; i <= session_last; i++)
            claimed =
                claimed || (sessions[i] != NULL && sessions[i] != session && (sessions[i]->claimed_ever & session->claimed_ever) != 0);
        SIM_CHECK(claimed, "session %u: replaced by nobody", session->view->id);
        session->replaced = true;
        shake_claims(session);
        return;
    }
    struct due *due = head_of(session);
    if (due->kind == DUE_MESSAGE)
        heard_refusal(&messages[due->number], text, code);
    else
        SIM_CHECK(due->kind == DUE_ERROR && code == due->number && bytes_equal(text, bytes_text(due->text)),
                  "session %u: error %llu (%.*s) out of turn", session->view->id, (unsigned long long)code, (int)text.len,
                  (const char *)text.ptr);
    pay(session);
}

// ---- arrivals ----

static void check_content(const struct or_message *message, uint32_t number, const struct openrelay_message *said)
{
    const struct openrelay_value *values = said->values;
    struct bytes sender = bytes_text(or_id_text(message->sender_id)), recipient = bytes_text(or_id_text(message->recipient_id));
    bool right = said->type == message->type && bytes_equal(values[FIELD_hardware_id].text, sender);
    if (message->kind == OR_AUTH)
        right = right && bytes_equal(values[FIELD_recipient_id].text, sender) && bytes_equal(values[FIELD_device_id].text, sender);
    else
        right = right && bytes_equal(values[FIELD_recipient_id].text, recipient);
    if (message->kind == OR_SEND)
        right = right && bytes_equal(values[FIELD_sender_id].text, sender) && values[FIELD_ttl].number == message->ttl_s &&
                values[FIELD_timestamp].number == number;
    SIM_CHECK(right, "m%u arrives changed", number);
}

static uint32_t number_of(const struct openrelay_message *said)
{
    static const enum openrelay_field fields[] = {FIELD_encrypted_data, FIELD_public_key, FIELD_challenge_response,
                                                  FIELD_encrypted_key_package};
    const struct openrelay_value *value = NULL;
    for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++)
        if (said->values[fields[i]].kind == VALUE_TEXT)
            value = &said->values[fields[i]];
    uint32_t number = (uint32_t)said->values[FIELD_key_id].number;
    if (said->type == OPENRELAY_KeyRotationAck)
        return number;
    SIM_CHECK(value != NULL && value->text.len >= 16 && value->text.ptr[0] == 'm', "a message without a number");
    number = (uint32_t)strtoul((const char *)value->text.ptr + 1, NULL, 10);
    char *expected = or_payload(number, (uint32_t)value->text.len);
    SIM_CHECK(bytes_equal(value->text, bytes_text(expected)) && number < message_count && messages[number].text_bytes == value->text.len,
              "m%u: its payload has changed", number);
    free(expected);
    return number;
}

static void heard_message(struct session *session, const struct openrelay_message *said)
{
    uint32_t number = number_of(said);
    SIM_CHECK(number < message_count, "m%u was never sent", number);
    struct or_message *message = &messages[number];
    uint32_t *last = &session->stint_last[message->session - 1];
    sim_trace("session %u gets m%u of session %u", session->view->id, number, message->session);
    check_content(message, number, said);
    session->stint_bytes += message->text_bytes + HEAD_BYTES_MAX;
    SIM_CHECK(session->id == message->recipient_id, "m%u for id %u arrives at session %u, which has id %u", number, message->recipient_id,
              session->view->id, session->id);
    SIM_CHECK(!message->refused_unspent, "m%u arrives though it was refused", number);
    SIM_CHECK(message->settled_ns == 0, "m%u arrives again, without a cut", number);
    SIM_CHECK(*last <= number, "m%u arrives after m%u of the same sender", number, *last - 1);
    SIM_CHECK(!message->accepted || session->stint_newest_ns <= message->answered_ns, "m%u arrives after one that was said after its Ack",
              number);
    SIM_CHECK(!message->accepted || message->ttl_s == 0 || !is_expired(message->answered_ns, message->ttl_s, session->stint_said_ns),
              "m%u arrives after its time", number);
    *last = number + 1;
    if (message->issued_ns > session->stint_newest_ns)
        session->stint_newest_ns = message->issued_ns;
    message->arrived = true;
    arrived_stint[number] = session->stint;
}

bool or_heard(struct client *client, struct bytes text)
{
    struct session *session = session_of(client);
    struct openrelay_message said;
    sim_trace("session %u hears %.*s", session->view->id, (int)(text.len < 200 ? text.len : 200), (const char *)text.ptr);
    SIM_CHECK(openrelay_parse(text, &said), "session %u: %.*s does not parse", session->view->id, (int)text.len, (const char *)text.ptr);
    SIM_CHECK(!session->replaced, "session %u: something comes after 409", session->view->id);
    bool of_device = false;
    if (said.type == OPENRELAY_RegisterResponse)
        heard_registered(session, &said);
    else if (said.type == OPENRELAY_Pong)
        heard_pong(session);
    else if (said.type == OPENRELAY_Ack)
        heard_ack(session, said.values[FIELD_message_id].text);
    else if (said.type == OPENRELAY_Error)
        heard_error(session, &said);
    else
        of_device = true;
    if (of_device)
        heard_message(session, &said);
    openrelay_message_fini(&said);
    return of_device;
}

void or_closed(struct client *client, uint16_t code, struct bytes reason)
{
    struct session *session = session_of(client);
    const struct session_view *view = session->view;
    shake_claims(session);
    SIM_CHECK(session->replaced == (code == 4000), "session %u: close %u, and %s 409 before", view->id, (unsigned)code,
              session->replaced ? "a" : "no");
    bool explained = code == 1000 || code == 4000 || (code == 1001 && sim_is_stopping) || (code == 1002 && view->rude) ||
                     (code == 4001 && view->slow) || (code == 4004 && (view->mute || view->slow));
    SIM_CHECK(explained && (code < 4000 || reason.len > 0), "session %u: closed with %u (%.*s) for no reason", view->id, (unsigned)code,
              (int)reason.len, (const char *)reason.ptr);
}

// ---- quiet and rest ----

static bool is_idle(const struct session *session)
{
    return session->client != NULL && session->client->phase == CLIENT_OPEN && session->client->paused_until_ns <= kernel_now_ns() &&
           !kernel_can_receive(session->client->socket);
}

// Whoever left has left for the relay, too. What it may have had may be lost.
static void bury(struct session *session)
{
    for (uint32_t i = 0; i < message_count; i++) {
        struct or_message *message = &messages[i];
        for (uint32_t j = 0; j < session->claim_count; j++)
            if (session->claims[j].id == message->recipient_id &&
                (message->answered_ns == 0 || message->answered_ns >= session->claims[j].from_ns))
                message->may_be_lost = message->may_be_lost || !message->surely_kept;
    }
    shake_claims(session);
    session->claim_count = 0;
    session->buried = true;
    session->buried_ns = kernel_now_ns();
}

// Whoever has read everything and was not told 409 holds what it has alone.
static void settle_claim(struct session *session)
{
    struct claim *mine = session->id != OR_NONE ? claim_of(session, session->id) : NULL;
    uint32_t claims = 0;
    for (uint32_t i = 0; i < unburied_count; i++)
        claims += claim_of(sessions[unburied[i]], session->id) != NULL;
    if (mine != NULL && claims == 1 && is_idle(session))
        mine->contested = false;
}

// What was acknowledged has arrived at whoever holds its id and reads. A long queue comes in parts, with a timer between them: `rested`.
static void check_arrived(bool rested)
{
    uint32_t holders[SIM_KEYS_MAX], left = 0;
    for (uint32_t id = 0; id < sim_config.keys; id++) {
        holders[id] = sure_holder(id);
        if (holders[id] == OR_NONE || holders[id] == 0 || !is_idle(sessions[holders[id]]) ||
            (!rested && sessions[holders[id]]->stint_bytes > PART_BYTES))
            holders[id] = 0;
    }
    for (uint32_t i = 0; i < pending_count; i++) {
        const struct or_message *message = &messages[pending[i]];
        bool expired = message->ttl_s > 0 && is_expired(message->issued_ns, message->ttl_s, kernel_now_ns());
        if (message->arrived || message->refused || message->may_be_lost || expired)
            continue;
        SIM_CHECK(!message->accepted || holders[message->recipient_id] == 0, "m%u has not arrived at session %u", pending[i],
                  holders[message->recipient_id]);
        pending[left++] = pending[i];
    }
    pending_count = left;
}

void or_check_quiet(bool clients_idle)
{
    (void)clients_idle;
    for (uint32_t i = 0; i < unburied_count;) {
        struct session *session = sessions[unburied[i]];
        if (session->client != NULL || !kernel_is_closed(session->socket)) { // one that waits for a slow recipient is not read
            i++;
            continue;
        }
        bury(session);
        unburied[i] = unburied[--unburied_count];
    }
    for (uint32_t i = 0; i < unburied_count; i++)
        settle_claim(sessions[unburied[i]]);
    check_arrived(/* rested= */ false);
}

// What arrived in the running stint of somebody who has read it must have been taken from the queue.
static void settle_messages(void)
{
    uint32_t stints[SIM_KEYS_MAX] = {0};
    for (uint32_t id = 0; id < sim_config.keys; id++) {
        uint32_t holder = sure_holder(id);
        if (holder != 0 && holder != OR_NONE && is_idle(sessions[holder]))
            stints[id] = sessions[holder]->stint;
    }
    for (uint32_t i = 0; i < message_count; i++)
        if (messages[i].arrived && messages[i].settled_ns == 0 && arrived_stint[i] == stints[messages[i].recipient_id])
            messages[i].settled_ns = kernel_now_ns();
}

void or_check_rested(void)
{
    bool all_idle = true;
    uint32_t holders[SIM_KEYS_MAX] = {0};
    for (uint32_t i = 0; i < unburied_count; i++) {
        const struct session *session = sessions[unburied[i]];
        all_idle = all_idle && (is_idle(session) || (session->client != NULL && session->client->phase == CLIENT_HTTP));
        if (!is_idle(session) || session->id == OR_NONE)
            continue;
        SIM_CHECK(holders[session->id] == 0, "id %u is held by session %u and by session %u", session->id, holders[session->id],
                  unburied[i]);
        holders[session->id] = unburied[i];
    }
    check_arrived(/* rested= */ true);
    settle_messages();
    for (uint32_t i = 0; i < unburied_count && all_idle; i++) {
        const struct session *session = sessions[unburied[i]];
        SIM_CHECK(!is_sound(session) || session->client->out.end > session->client->out.start || session->due_count == 0,
                  "session %u: %u answers are missing", session->view->id, session->due_count);
    }
    check_kept();
}

void or_check_gone(void)
{
    if (!sim_is_stopping) // then nothing expires any more
        check_kept();
}
