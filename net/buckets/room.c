// The Buckets v1 room (protocols/buckets.md): a byte stream of netstring commands in, one event per binary message out.
// One rule: a command is consumed whole or not at all; the router says which. A command that lies whole in the input is not copied.
#include "net/buckets/codec.h"
#include "net/shard.h"
#include "shards/base/check.h"

#define MESSAGE_BYTES_MAX (20u << 20)  // WebSocket message as sent, as the original
#define INFLATED_BYTES_MAX (10u << 20) // and inflated

enum buckets_stage {
    STAGE_CHALLENGED, // Who is out, no Iam yet
    STAGE_SPENT,      // an Iam failed: this session will never be authenticated
    STAGE_PROVED,     // the key is proved, the router has been told
};

#define TEXT_BAD_SIGNATURE "Invalid signature"
#define TEXT_SPENT "Authentication cannot proceed. Reconnect and try again."

static void send_event(struct conn *conn, const uint8_t *event, size_t len)
{
    (void)conn_send(conn, WS_BINARY, bytes_of(event, len), bytes_of(NULL, 0), bytes_of(NULL, 0), /* is_data= */ false);
}

static void send_error(struct conn *conn, const char *text)
{
    uint8_t event[128];
    send_event(conn, event, buckets_error(event, text));
}

static void on_open(struct conn *conn)
{
    uint8_t who[64];
    struct buckets_state *state = &conn->state.buckets;
    *state = (struct buckets_state){.stage = STAGE_CHALLENGED};
    challenge_create(state->challenge);
    conn->deadline_ns = node_now_ns(conn->shard->node) + conn->shard->shared->limits.iam_timeout_ns;
    send_event(conn, who, buckets_who(who, state->challenge));
}

static void on_deadline(struct conn *conn)
{
    conn_close(conn, ERROR_IAM_TIMEOUT);
}

static void take_iam(struct conn *conn, const struct buckets_command *command)
{
    struct buckets_state *state = &conn->state.buckets;
    if (state->stage != STAGE_CHALLENGED) {
        send_error(conn, TEXT_SPENT);
        return;
    }
    bool proved = challenge_verify(state->challenge, command->signature, command->key);
    memset(state->challenge, 0, sizeof(state->challenge));
    if (!proved) {
        state->stage = STAGE_SPENT;
        send_error(conn, TEXT_BAD_SIGNATURE);
        return;
    }
    struct key key;
    CHECK(command->key.len == sizeof(key.bytes));
    memcpy(key.bytes, command->key.ptr, sizeof(key.bytes));
    state->stage = STAGE_PROVED;
    conn_room_deadline(conn, 0);
    conn_enter(conn, &key);
}

// A key of another length than KEY_BYTES names nobody: nothing can be connected to it (the original takes it silently).
static enum router_verdict take_routed(struct conn *conn, const struct buckets_command *command)
{
    struct shard *shard = conn->shard;
    struct key peer = {{0}};
    bool named = command->key.len == sizeof(peer.bytes);
    if (named)
        memcpy(peer.bytes, command->key.ptr, sizeof(peer.bytes));
    else if (command->kind != BUCKETS_SEND && conn->entered)
        return ROUTER_DONE;
    switch (command->kind) {
    case BUCKETS_CONNECT:
        return router_connect(shard->router, conn->slot, &peer, &shard->effects);
    case BUCKETS_DISCONNECT:
        return router_disconnect(shard->router, conn->slot, &peer, &shard->effects);
    case BUCKETS_SEND:
        return router_send(shard->router, conn->slot, &peer, command->data, &shard->effects);
    case BUCKETS_IAM:
        break;
    }
    UNREACHABLE();
}

// One whole message. False: it must wait and be given again.
static bool take_message(struct conn *conn, struct bytes message)
{
    struct buckets_command command;
    enum error error = buckets_command_parse(message, &command);
    if (error != ERROR_NONE) {
        conn_close(conn, error);
        return true;
    }
    if (command.kind == BUCKETS_IAM)
        take_iam(conn, &command);
    else if (take_routed(conn, &command) == ROUTER_WAIT)
        return false;
    conn->shard->metrics.messages_in++;
    shard_carry_out(conn->shard);
    return true;
}

static void drop_partial(struct conn *conn)
{
    pool_give(conn->shard->pool, conn->state.buckets.partial);
    conn->state.buckets.partial = NULL;
}

// Adds input to the incomplete message until it is whole. Returns the bytes used; a whole message stays in `partial`.
static size_t fill_partial(struct conn *conn, struct bytes input, bool *ret_whole)
{
    struct block **partial = &conn->state.buckets.partial;
    size_t used = 0;
    *ret_whole = false;
    while (used < input.len) {
        size_t have = *partial != NULL ? (*partial)->end : 0;
        struct bytes rest = bytes_of(input.ptr + used, input.len - used);
        int64_t length = buckets_message_length(have > 0 ? bytes_of((*partial)->data, have) : rest);
        size_t missing = length > 0 ? (size_t)length - have : 1; // an unfinished length is read byte by byte
        size_t part = missing < rest.len ? missing : rest.len;
        if (!conn_append_part(conn, partial, bytes_of(rest.ptr, part), length > 0 ? (size_t)length : 0))
            return input.len;
        used += part;
        length = buckets_message_length(bytes_of((*partial)->data, (*partial)->end));
        if (length < 0) {
            conn_close(conn, (enum error) - length);
            return input.len;
        }
        if (length > 0 && (*partial)->end == (size_t)length) {
            *ret_whole = true;
            return used;
        }
    }
    return used;
}

// Takes the whole message in `partial`. False: it waits there.
static bool take_partial(struct conn *conn)
{
    struct buckets_state *state = &conn->state.buckets;
    struct block *partial = state->partial;
    state->partial = NULL; // ours while it is read: closing the connection gives back only what the state holds
    bool taken = take_message(conn, bytes_of(partial->data, partial->end));
    if (taken) {
        pool_give(conn->shard->pool, partial);
        return true;
    }
    state->partial = partial;
    state->waiting = true;
    conn_wait(conn);
    return false;
}

static size_t on_input(struct conn *conn, uint8_t *ptr, size_t len, bool first, bool last, uint8_t opcode)
{
    (void)first;
    (void)last;
    (void)opcode;
    size_t used = 0;
    while (used < len && conn->phase == CONN_OPEN) {
        struct bytes rest = bytes_of(ptr + used, len - used);
        int64_t length = conn->state.buckets.partial != NULL ? 0 : buckets_message_length(rest);
        if (length < 0) {
            conn_close(conn, (enum error) - length);
            return len;
        }
        if (length > 0 && (size_t)length <= rest.len) {
            if (!take_message(conn, bytes_of(rest.ptr, (size_t)length))) {
                conn_wait(conn);
                return used;
            }
            used += (size_t)length;
        } else {
            bool whole;
            used += fill_partial(conn, rest, &whole);
            if (whole && !take_partial(conn))
                return used;
        }
        // A peer that does not read what its commands are answered with is not read either.
        if (conn_control_queued(conn) > conn->shard->shared->limits.control_bytes_max / 2)
            conn_wait_flushed(conn);
        if (conn->waiting)
            return used;
    }
    return conn->phase == CONN_OPEN ? used : len;
}

static struct block *on_unfinished(struct conn *conn, size_t *ret_missing)
{
    struct block *partial = conn->state.buckets.partial;
    int64_t length = partial != NULL ? buckets_message_length(bytes_of(partial->data, partial->end)) : 0;
    if (length <= 0)
        return NULL;
    CHECK(!conn->state.buckets.waiting && partial->end < (size_t)length);
    *ret_missing = (size_t)length - partial->end;
    return partial;
}

static bool on_resume(struct conn *conn)
{
    struct buckets_state *state = &conn->state.buckets;
    if (!state->waiting)
        return true;
    state->waiting = false;
    return take_partial(conn);
}

static void on_event(struct conn *conn, enum router_event event, const struct key *key)
{
    uint8_t message[128];
    send_event(conn, message, buckets_event(message, event, key));
}

static void on_data(struct conn *conn, const struct key *sender, struct bytes payload)
{
    uint8_t scratch[BUCKETS_DATA_HEAD_MAX];
    struct bytes head = buckets_data_head(scratch, sender, payload.len);
    (void)conn_send(conn, WS_BINARY, head, payload, bytes_of(",,", 2), /* is_data= */ true);
}

static void on_close(struct conn *conn)
{
    drop_partial(conn);
    memset(conn->state.buckets.challenge, 0, sizeof(conn->state.buckets.challenge));
}

const struct room buckets_room = {
    .name = "buckets",
    .text_taken = true,
    .message_bytes_max = MESSAGE_BYTES_MAX,
    .inflated_bytes_max = INFLATED_BYTES_MAX,
    .on_open = on_open,
    .on_input = on_input,
    .on_unfinished = on_unfinished,
    .on_resume = on_resume,
    .on_event = on_event,
    .on_data = on_data,
    .on_deadline = on_deadline,
    .on_close = on_close,
};
