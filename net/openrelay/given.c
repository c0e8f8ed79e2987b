// What was kept for a device, on its way to it, and live messages behind it. Kept messages come in batches of the queue node and are paced
// by the peer; they are deleted there only when the peer's kernel has acknowledged them. Thread: the shard's.
#include "net/openrelay/state.h"
#include "net/shard.h"
#include "shards/base/check.h"
#include "shards/os.h"

#define POLL_NS 100000000ull          // one tick of the timers
#define UNSENT_BYTES_MAX (256u << 10) // more is fetched when less waits

_Static_assert(sizeof(struct queue_memo) == sizeof(struct openrelay_window), "the memo is the window");

static void tell(struct conn *conn, uint16_t kind, const void *record, size_t len)
{
    const struct shard_shared *shared = conn->shard->shared;
    post_write(shared->post, conn->shard->index, shared->queue_node, kind, bytes_of(record, len), bytes_of(NULL, 0));
}

void openrelay_fetch(struct conn *conn)
{
    struct openrelay_state *state = conn->state.openrelay;
    CHECK(!state->fetching && conn->entered);
    state->fetching = true;
    state->fetch_due = state->fetch_again = false;
    const struct queue_fetch fetch = {.slot = conn->slot, .generation = conn->generation, .key = state->key, .after = state->given_number};
    tell(conn, RECORD_QUEUE_FETCH, &fetch, sizeof(fetch));
}

void openrelay_given_look(struct conn *conn)
{
    struct openrelay_state *state = conn->state.openrelay;
    if (state->taken_number == 0 || conn->write_failed)
        return;
    int unacked = os_unacknowledged(conn->source.fd);
    if (unacked < 0) // not known to have arrived: it stays in the queue
        return;
    bool whole = conn_unsent(conn) == 0 && unacked == 0;
    bool up_to = conn->tls == NULL && conn->written_bytes >= state->taken_offset + (size_t)unacked;
    if (!whole && !up_to)
        return;
    const struct queue_taken taken = {.key = state->key, .number = state->taken_number};
    state->taken_number = 0;
    tell(conn, RECORD_QUEUE_TAKEN, &taken, sizeof(taken));
}

static void poll_later(struct conn *conn)
{
    const struct openrelay_state *state = conn->state.openrelay;
    if (state->taken_number != 0 || state->fetch_due)
        conn_room_deadline(conn, node_now_ns(conn->shard->node) + POLL_NS);
}

void openrelay_on_deadline(struct conn *conn)
{
    struct openrelay_state *state = conn->state.openrelay;
    openrelay_given_look(conn);
    if (state->fetch_due && conn_unsent(conn) <= UNSENT_BYTES_MAX)
        openrelay_fetch(conn);
    poll_later(conn);
}

void openrelay_release_held(struct conn *conn)
{
    struct openrelay_state *state = conn->state.openrelay;
    struct block *held = state->held;
    state->held = NULL;
    state->draining = false;
    for (size_t at = 0; held != NULL && at < held->end;) {
        uint32_t len;
        memcpy(&len, held->data + at, sizeof(len));
        (void)conn_send(conn, WS_TEXT, bytes_of(NULL, 0), bytes_of(held->data + at + sizeof(len), len), bytes_of(NULL, 0),
                        /* is_data= */ true);
        at += sizeof(len) + len;
    }
    pool_give(conn->shard->pool, held);
}

void openrelay_on_data(struct conn *conn, const struct key *sender, struct bytes payload)
{
    (void)sender;
    struct openrelay_state *state = conn->state.openrelay;
    uint32_t len = (uint32_t)payload.len;
    if (!state->draining)
        (void)conn_send(conn, WS_TEXT, bytes_of(NULL, 0), payload, bytes_of(NULL, 0), /* is_data= */ true);
    else if (conn_append(conn, &state->held, bytes_of(&len, sizeof(len)))) // bounded by the router: it counts this as queued
        (void)conn_append(conn, &state->held, payload);
}

// Writes a batch's rows. False: the connection was closed, and they stay with the queue node.
static bool write_rows(struct conn *conn, const struct queue_batch *batch, struct bytes rows)
{
    struct openrelay_state *state = conn->state.openrelay;
    size_t at = 0;
    uint64_t number = 0;
    for (uint32_t i = 0; i < batch->count; i++) {
        struct queue_row row;
        CHECK(rows.len - at >= sizeof(row));
        memcpy(&row, rows.ptr + at, sizeof(row));
        CHECK(row.text_bytes <= rows.len - at - sizeof(row));
        if (!conn_send_paced(conn, bytes_of(rows.ptr + at + sizeof(row), row.text_bytes)))
            return false;
        at += sizeof(row) + (row.text_bytes + 7) / 8 * 8;
        CHECK(row.number > number);
        number = row.number;
    }
    if (batch->count == 0)
        return true;
    state->given_number = state->taken_number = number;
    state->taken_offset = conn->written_bytes + conn_unsent(conn);
    return true;
}

void openrelay_on_batch(struct conn *conn, const struct queue_batch *batch, struct bytes rows)
{
    struct openrelay_state *state = conn->state.openrelay;
    CHECK(state->fetching && conn->entered);
    bool has_room = conn_unsent(conn) <= UNSENT_BYTES_MAX;
    state->fetching = false;
    if (!write_rows(conn, batch, rows))
        return;
    if (state->stage == STAGE_FETCHING) {
        memcpy(&state->window, &batch->memo, sizeof(state->window));
        openrelay_registered(conn);
    }
    if (batch->more != 0 && (batch->count == 0 || !has_room))
        state->fetch_due = true;
    else if (batch->more != 0 || state->fetch_again)
        openrelay_fetch(conn);
    else
        openrelay_release_held(conn);
    if (conn->phase == CONN_OPEN)
        poll_later(conn);
}

void openrelay_on_look(struct conn *conn)
{
    struct openrelay_state *state = conn->state.openrelay;
    state->draining = true;
    if (state->fetching || state->fetch_due)
        state->fetch_again = true;
    else
        openrelay_fetch(conn);
}

void openrelay_left(struct conn *conn)
{
    struct openrelay_state *state = conn->state.openrelay;
    openrelay_given_look(conn);
    struct queue_left left = {.slot = conn->slot, .generation = conn->generation, .key = state->key};
    memcpy(&left.memo, &state->window, sizeof(left.memo));
    tell(conn, RECORD_QUEUE_LEFT, &left, sizeof(left));
    state->fetching = state->fetch_due = state->fetch_again = false;
    state->given_number = state->taken_number = 0;
}
