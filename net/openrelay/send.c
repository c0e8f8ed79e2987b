// Messages of one device to another: to whoever holds the recipient's key, else into the queue (protocols/openrelay.md 5). One is under way
// per connection. Thread: the shard's.
#include "net/openrelay/state.h"
#include "net/shard.h"
#include "shards/base/check.h"

#define ROTATION_TTL_S 300

static bool is_rotation(enum openrelay_type type)
{
    return type == OPENRELAY_KeyRotationUpdate || type == OPENRELAY_KeyRotationAck;
}

void openrelay_send_drop(struct conn *conn)
{
    struct openrelay_state *state = conn->state.openrelay;
    pool_give(conn->shard->pool, state->sending.text);
    state->sending.text = NULL;
}

static void finish(struct conn *conn)
{
    if (conn->phase != CONN_OPEN)
        return; // what was said has closed it
    openrelay_send_drop(conn);
    if (conn->waiting)
        conn_resume(conn);
}

static struct bytes text_of(const struct openrelay_sending *sending)
{
    return bytes_of(sending->text->data, sending->text->end);
}

static void give(struct conn *conn)
{
    struct shard *shard = conn->shard;
    struct openrelay_sending *sending = &conn->state.openrelay->sending;
    CHECK(sending->text != NULL && !sending->given);
    sending->given =
        router_datagram(shard->router, conn->slot, &conn->state.openrelay->recipient, 0, text_of(sending), &shard->effects) == ROUTER_DONE;
    if (sending->given)
        shard_carry_out(shard); // often the report is among it
    if (conn->phase == CONN_OPEN && openrelay_is_busy(conn->state.openrelay) && !conn->waiting)
        conn_wait(conn);
}

void openrelay_send_again(struct conn *conn)
{
    const struct openrelay_sending *sending = &conn->state.openrelay->sending;
    if (sending->text != NULL && !sending->given)
        give(conn);
}

// Whether this session may say that; else the peer is told why not.
static bool may_send(struct conn *conn, const struct openrelay_message *message)
{
    const struct openrelay_state *state = conn->state.openrelay;
    const struct openrelay_value *values = message->values;
    if (state->id_len == 0 && message->type == OPENRELAY_Send) {
        openrelay_error(conn, "Must register with hardware ID first", 403);
        return false;
    }
    if (state->id_len == 0 || !bytes_equal(values[FIELD_hardware_id].text, bytes_of(state->id, state->id_len))) {
        openrelay_error(conn, "Hardware ID mismatch", 403);
        return false;
    }
    if (message->type != OPENRELAY_Send)
        return true;
    uint64_t real_bytes = values[FIELD_encrypted_data].text.len;
    uint64_t claimed_bytes = values[FIELD_size_bytes].number;
    if (!openrelay_spend_send(conn, claimed_bytes, real_bytes))
        return false;
    if (openrelay_spend_bytes(conn->shard, claimed_bytes > real_bytes ? claimed_bytes : real_bytes))
        return true;
    openrelay_error(conn, "Server has reached monthly bandwidth limit. Please try again next month.", 509);
    return false;
}

static void find_recipient(struct conn *conn, struct bytes id)
{
    struct openrelay_state *state = conn->state.openrelay;
    if (id.len > 0 && bytes_equal(id, bytes_of(state->recipient_id, state->recipient_id_len)))
        return;
    openrelay_address(conn, id, &state->recipient);
    state->recipient_id_len = id.len <= RECIPIENT_ID_MAX ? (uint8_t)id.len : 0;
    if (state->recipient_id_len > 0)
        memcpy(state->recipient_id, id.ptr, id.len);
}

void openrelay_send(struct conn *conn, const struct openrelay_message *message)
{
    struct openrelay_state *state = conn->state.openrelay;
    struct openrelay_sending *sending = &state->sending;
    CHECK(sending->text == NULL && !openrelay_is_busy(state));
    if (!may_send(conn, message))
        return;
    struct bytes sender = bytes_of(state->id, state->id_len);
    struct block *text = pool_take(conn->shard->pool, openrelay_forward_max(message, sender));
    if (text == NULL) {
        conn_close(conn, ERROR_OUT_OF_MEMORY);
        return;
    }
    text->end = (uint32_t)openrelay_format_forward(text->data, message, sender);
    *sending = (struct openrelay_sending){.text = text, .type = message->type};
    sending->ttl_s = is_rotation(message->type) ? ROTATION_TTL_S : message->type == OPENRELAY_Send ? message->values[FIELD_ttl].number : 0;
    memcpy(sending->message_id, message->message_id, sizeof(sending->message_id));
    find_recipient(conn, message->values[FIELD_recipient_id].text);
    give(conn);
}

static void unavailable(struct conn *conn)
{
    enum openrelay_type type = conn->state.openrelay->sending.type;
    openrelay_error(conn,
                    type == OPENRELAY_KeyRotationUpdate ? "Recipient unavailable for key rotation"
                    : type == OPENRELAY_KeyRotationAck  ? "Recipient unavailable for key rotation ACK"
                                                        : "Recipient unavailable",
                    503);
}

static void acknowledge(struct conn *conn)
{
    uint8_t text[OPENRELAY_SMALL_MAX];
    const struct openrelay_sending *sending = &conn->state.openrelay->sending;
    if (sending->type == OPENRELAY_Send)
        openrelay_reply(conn, text, openrelay_format_ack(text, sending->message_id));
}

static void keep(struct conn *conn)
{
    struct openrelay_state *state = conn->state.openrelay;
    struct openrelay_sending *sending = &state->sending;
    sending->storing = mailbox_keep(conn, &state->recipient, &state->mailbox.key, sending->ttl_s, text_of(sending));
    if (sending->storing)
        return;
    unavailable(conn);
    finish(conn);
}

void openrelay_on_report(struct conn *conn, uint32_t token, enum router_report what)
{
    const struct openrelay_sending *sending = &conn->state.openrelay->sending;
    CHECK(token == 0 && sending->text != NULL && !sending->storing);
    if (what == ROUTER_ABSENT && sending->ttl_s > 0) {
        keep(conn);
        return;
    }
    if (what == ROUTER_TAKEN)
        acknowledge(conn);
    else if (what == ROUTER_ABSENT)
        openrelay_error(conn, "Recipient not connected", 404);
    else
        unavailable(conn);
    finish(conn);
}

void openrelay_on_stored(struct conn *conn, enum queue_verdict verdict)
{
    const struct openrelay_sending *sending = &conn->state.openrelay->sending;
    CHECK(sending->text != NULL && sending->storing);
    if (verdict == QUEUE_FULL)
        openrelay_error(conn, "Recipient queue full", 507);
    else if (verdict == QUEUE_FAILED)
        unavailable(conn);
    else if (sending->type == OPENRELAY_KeyRotationUpdate)
        openrelay_error(conn, "Key rotation queued for offline recipient", 202);
    else if (sending->type == OPENRELAY_KeyRotationAck)
        openrelay_error(conn, "Key rotation acknowledgement queued for offline recipient", 202);
    else
        acknowledge(conn);
    finish(conn);
}
