// The OpenRelay room (protocols/openrelay.md): one JSON text per message. Registering, and who does what with a message.
// Thread: the shard's.
#include <stdlib.h>

#include "net/config.h"
#include "net/openrelay/scan.h"
#include "net/openrelay/state.h"
#include "net/shard.h"
#include "shards/base/bug.h"
#include "shards/base/check.h"

#define MESSAGE_BYTES_MAX (16u << 20)
#define REPLIES_BYTES_MAX (64u << 10) // answers that wait for a peer before its input does
#define ID_INLINE_MAX 256             // a longer id is held in a block, which counts as the shard's memory

void openrelay_reply(struct conn *conn, const uint8_t *text, size_t len)
{
    (void)conn_send(conn, WS_TEXT, bytes_of(text, len), bytes_of(NULL, 0), bytes_of(NULL, 0), /* is_data= */ false);
}

void openrelay_error(struct conn *conn, const char *text, unsigned code)
{
    uint8_t message[OPENRELAY_SMALL_MAX];
    openrelay_reply(conn, message, openrelay_format_error(message, text, code));
}

bool openrelay_is_busy(const struct openrelay_state *state)
{
    return (state->stage != STAGE_NEW && state->stage != STAGE_READY) || state->sending.text != NULL;
}

void openrelay_address(const struct conn *conn, struct bytes id, struct key *ret_key)
{
    hash_name("openrelay", conn->account, id.ptr, id.len, ret_key);
}

static void on_open(struct conn *conn)
{
    uint64_t timeout_ns = conn->shard->shared->openrelay->timeout_ns;
    conn->state.openrelay = calloc(1, sizeof(struct openrelay_state));
    conn->ping_interval_ns = timeout_ns / 2;
    conn->pings_max = 1;
    if (conn->state.openrelay == NULL)
        conn_drop(conn, ERROR_OUT_OF_MEMORY);
}

// ---- registering ----

static void forget_id(struct conn *conn)
{
    struct openrelay_state *state = conn->state.openrelay;
    if (state->id_block == NULL)
        free(state->id);
    pool_give(conn->shard->pool, state->id_block);
    state->id = NULL;
    state->id_block = NULL;
    state->id_len = 0;
}

static bool set_id(struct conn *conn, struct bytes id)
{
    struct openrelay_state *state = conn->state.openrelay;
    forget_id(conn);
    if (id.len > ID_INLINE_MAX) {
        state->id_block = pool_take(conn->shard->pool, id.len);
        state->id = state->id_block != NULL ? (char *)state->id_block->data : NULL;
    } else {
        state->id = malloc(id.len);
    }
    if (state->id == NULL) {
        conn_close(conn, ERROR_OUT_OF_MEMORY);
        return false;
    }
    memcpy(state->id, id.ptr, id.len);
    state->id_len = id.len;
    return true;
}

static void say_registered(struct conn *conn, struct bytes id)
{
    struct block *text = pool_take(conn->shard->pool, openrelay_registered_max(id));
    if (text == NULL) {
        conn_close(conn, ERROR_OUT_OF_MEMORY);
        return;
    }
    text->end = (uint32_t)openrelay_format_registered(text->data, id);
    (void)conn_send_paced(conn, bytes_of(text->data, text->end));
    pool_give(conn->shard->pool, text);
}

static void enter(struct conn *conn)
{
    struct openrelay_state *state = conn->state.openrelay;
    state->stage = STAGE_ENTERING;
    if (!state->hidden)
        mailbox_open(&state->mailbox, &state->next_key);
    conn_enter(conn, &state->next_key);
}

static void on_left(struct conn *conn)
{
    CHECK(conn->state.openrelay->stage == STAGE_LEAVING);
    enter(conn);
}

// Takes the session to next_key, and away from the key that it holds.
static void move(struct conn *conn)
{
    struct openrelay_state *state = conn->state.openrelay;
    if (conn->entered) {
        state->stage = STAGE_LEAVING;
        mailbox_release(conn);
        if (conn->phase != CONN_OPEN)
            return;
        conn_leave(conn);
    } else {
        enter(conn);
    }
    conn_wait(conn);
}

static void leave(struct conn *conn)
{
    struct queue_memo memo;
    memcpy(&memo, &conn->state.openrelay->window, sizeof(memo));
    mailbox_leave(conn, &memo);
}
_Static_assert(sizeof(struct queue_memo) == sizeof(struct openrelay_window), "the memo is the window");
_Static_assert(offsetof(struct openrelay_window, start_ns) == 0, "the newer window is the greater memo");

static void take_register(struct conn *conn, struct bytes id)
{
    struct openrelay_state *state = conn->state.openrelay;
    bool same = state->stage == STAGE_READY && !state->hidden && bytes_equal(id, bytes_of(state->id, state->id_len));
    if (id.len == 0 || same) { // an empty id registers nothing, as in the original
        say_registered(conn, id);
        return;
    }
    if (conn->entered && !(BUG(35) && state->hidden))
        leave(conn);
    state->window = (struct openrelay_window){.start_ns = 0};
    if (!set_id(conn, id))
        return;
    state->hidden = false;
    openrelay_address(conn, id, &state->next_key);
    move(conn);
}

// Nobody reaches the session any more, but it may send on: it goes to a key that nobody knows.
static void take_offline(struct conn *conn)
{
    struct openrelay_state *state = conn->state.openrelay;
    struct hash_secret secret;
    if (state->hidden)
        return;
    hash_secret_create(&secret);
    hash_name("openrelay hidden", 0, secret.bytes, sizeof(secret.bytes), &state->next_key);
    leave(conn);
    state->hidden = true;
    move(conn);
}

static void on_event(struct conn *conn, enum router_event event, const struct key *key)
{
    (void)key;
    struct openrelay_state *state = conn->state.openrelay;
    CHECK(event == ROUTER_AUTHENTICATED && state->stage == STAGE_ENTERING);
    if (state->hidden) {
        state->stage = STAGE_READY; // the router resumes the session next
        return;
    }
    state->stage = STAGE_FETCHING;
    say_registered(conn, bytes_of(state->id, state->id_len));
    if (conn->phase == CONN_OPEN)
        mailbox_fetch(conn);
}

static void on_opened(struct conn *conn, const struct queue_memo *memo)
{
    struct openrelay_state *state = conn->state.openrelay;
    CHECK(state->stage == STAGE_FETCHING);
    memcpy(&state->window, memo, sizeof(state->window));
    state->stage = STAGE_READY;
    if (state->window.start_ns == 0)
        state->window.start_ns = node_now_ns(conn->shard->node);
    if (conn->waiting)
        conn_resume(conn);
}

// ---- messages to the client ----

static void on_data(struct conn *conn, const struct key *sender, struct bytes payload)
{
    (void)sender;
    if (!mailbox_hold(conn, payload))
        (void)conn_send(conn, WS_TEXT, bytes_of(NULL, 0), payload, bytes_of(NULL, 0), /* is_data= */ true);
}

static bool on_kept(struct conn *conn, uint64_t number, struct bytes text)
{
    bool sent = conn_send_paced(conn, text);
    if (sent)
        mailbox_written(conn, number, text.len);
    return sent;
}

static struct mailbox *mailbox_of(struct conn *conn)
{
    return &conn->state.openrelay->mailbox;
}

static const struct mailbox_room mailbox_room = {
    .of = mailbox_of, .on_kept = on_kept, .on_opened = on_opened, .on_stored = openrelay_on_stored};

// ---- messages of the client ----

static void take_status(struct conn *conn, const struct openrelay_message *message)
{
    const struct openrelay_state *state = conn->state.openrelay;
    if (state->id_len == 0 || !bytes_equal(message->values[FIELD_hardware_id].text, bytes_of(state->id, state->id_len)))
        openrelay_error(conn, "Hardware ID mismatch", 403);
    else if (bytes_equal(message->values[FIELD_status].text, bytes_text("Offline")))
        take_offline(conn);
}

static void take_message(struct conn *conn, const struct openrelay_message *message)
{
    switch (message->type) {
    case OPENRELAY_Register:
        take_register(conn, message->values[FIELD_hardware_id].text);
        return;
    case OPENRELAY_Ping:
        openrelay_reply(conn, (const uint8_t *)"{\"type\":\"Pong\"}", 15);
        return;
    case OPENRELAY_Ack:
        mailbox_look(conn);
        return;
    case OPENRELAY_Status:
        take_status(conn, message);
        return;
    case OPENRELAY_Send:
    case OPENRELAY_AuthRequest:
    case OPENRELAY_AuthResponse:
    case OPENRELAY_AuthVerify:
    case OPENRELAY_AuthSuccess:
    case OPENRELAY_KeyRotationUpdate:
    case OPENRELAY_KeyRotationAck:
        openrelay_send(conn, message);
        return;
    case OPENRELAY_RegisterResponse:
    case OPENRELAY_Receive:
    case OPENRELAY_Pong:
    case OPENRELAY_Error:
    case OPENRELAY_TYPE_COUNT:
        return; // silently, as the original
    }
    UNREACHABLE();
}

static size_t on_input(struct conn *conn, uint8_t *ptr, size_t len, bool first, bool last, uint8_t opcode)
{
    CHECK(last && !openrelay_is_busy(conn->state.openrelay));
    if (!first)
        return len; // taken before the wait
    bool is_affordable = openrelay_spend_bytes(conn->shard, len);
    conn->shard->metrics.messages_in++;
    if (!is_affordable) {
        openrelay_error(conn, "Server has reached monthly bandwidth limit. Please try again next month.", 509);
    } else if (opcode == WS_TEXT) {
        struct openrelay_message message;
        if (openrelay_parse(bytes_of(ptr, openrelay_put_plus(ptr, len)), &message))
            take_message(conn, &message);
        else
            openrelay_error(conn, "Invalid message format", 400);
        openrelay_message_fini(&message);
    }
    if (conn->phase == CONN_OPEN && conn_control_queued(conn) > REPLIES_BYTES_MAX)
        conn_wait_flushed(conn);
    return len;
}

static bool on_resume(struct conn *conn)
{
    openrelay_send_again(conn);
    if (conn->phase != CONN_OPEN)
        return true;
    bool busy = openrelay_is_busy(conn->state.openrelay);
    if (busy && !conn->waiting)
        conn_wait(conn);
    return !busy;
}

static void on_ending(struct conn *conn, enum error why)
{
    if (why == ERROR_SUPERSEDED)
        openrelay_error(conn, "Replaced by a newer connection", 409);
}

static void on_close(struct conn *conn)
{
    struct openrelay_state *state = conn->state.openrelay;
    if (state == NULL)
        return;
    bool has_id = state->stage == STAGE_FETCHING || state->stage == STAGE_READY;
    if (has_id && state->id_len > 0) // also a hidden one, which has sent on
        leave(conn);
    openrelay_send_drop(conn);
    mailbox_fini(conn->shard, &state->mailbox);
    forget_id(conn);
    free(state);
    conn->state.openrelay = NULL;
}

const struct room openrelay_room = {
    .name = "openrelay",
    .whole_messages = true,
    .text_taken = true,
    .unseen = true,
    .message_bytes_max = MESSAGE_BYTES_MAX,
    .inflated_bytes_max = MESSAGE_BYTES_MAX,
    .on_open = on_open,
    .on_input = on_input,
    .on_resume = on_resume,
    .on_event = on_event,
    .on_data = on_data,
    .on_report = openrelay_on_report,
    .on_deadline = mailbox_on_deadline,
    .on_left = on_left,
    .on_ending = on_ending,
    .on_upgrade = openrelay_upgrade,
    .mailbox = &mailbox_room,
    .on_close = on_close,
};
