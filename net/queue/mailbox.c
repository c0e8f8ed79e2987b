// What was kept for a device, on its way to it, and live messages behind it: see mailbox.h.
#include "net/queue/mailbox.h"

#include "net/shard.h"
#include "shards/base/bug.h"
#include "shards/base/check.h"
#include "shards/os.h"

#define POLL_NS 100000000ull          // one tick of the timers
#define UNSENT_BYTES_MAX (256u << 10) // more is fetched when less waits
#define STORING_BYTES_MAX (64u << 20) // under way to the queue node, per shard; more is refused

static struct mailbox *of(struct conn *conn)
{
    CHECK(conn->room->mailbox != NULL);
    return conn->room->mailbox->of(conn);
}

static void tell(struct conn *conn, uint16_t kind, const void *record, size_t len, struct bytes text)
{
    const struct shard_shared *shared = conn->shard->shared;
    post_write(shared->post, conn->shard->index, shared->queue_node, kind, bytes_of(record, len), text);
}

// ---- what was kept ----

void mailbox_open(struct mailbox *mailbox, const struct key *key)
{
    CHECK(mailbox->held == NULL && !mailbox->fetching && mailbox->taken_number == 0);
    *mailbox = (struct mailbox){.key = *key, .draining = true};
}

void mailbox_fetch(struct conn *conn)
{
    struct mailbox *mailbox = of(conn);
    CHECK(!mailbox->fetching && mailbox->draining && conn->entered);
    if (mailbox->since_ns == 0) // not the turn's time: that of who held the key before must be earlier
        mailbox->since_ns = os_now_ns();
    mailbox->fetching = true;
    mailbox->fetch_due = mailbox->fetch_again = false;
    const struct queue_fetch fetch = {.slot = conn->slot,
                                      .generation = conn->generation,
                                      .key = mailbox->key,
                                      .since_ns = mailbox->since_ns,
                                      .after = mailbox->given_number};
    tell(conn, RECORD_QUEUE_FETCH, &fetch, sizeof(fetch), bytes_of(NULL, 0));
}

void mailbox_look(struct conn *conn)
{
    struct mailbox *mailbox = of(conn);
    if (mailbox->taken_number == 0 || conn->write_failed)
        return;
    int unacked = os_unacknowledged(conn->source.fd);
    if (unacked < 0) // not known to have arrived: it stays in the queue
        return;
    bool whole = conn_unsent(conn) == 0 && unacked == 0;
    bool up_to = conn->tls == NULL && conn->written_bytes >= mailbox->taken_offset + (size_t)unacked;
    if (BUG(41) || (!whole && !up_to && !BUG(33)))
        return;
    const struct queue_taken taken = {.key = mailbox->key, .number = mailbox->taken_number};
    mailbox->taken_number = 0;
    tell(conn, RECORD_QUEUE_TAKEN, &taken, sizeof(taken), bytes_of(NULL, 0));
}

static void poll_later(struct conn *conn)
{
    const struct mailbox *mailbox = of(conn);
    uint64_t poll_ns = node_now_ns(conn->shard->node) + POLL_NS;
    bool sooner = conn->deadline_ns == 0 || poll_ns < conn->deadline_ns;
    if (sooner && (mailbox->taken_number != 0 || mailbox->fetch_due))
        conn_room_deadline(conn, poll_ns);
}

static bool has_room(struct conn *conn)
{
    return conn_unsent(conn) + of(conn)->writing_bytes <= UNSENT_BYTES_MAX;
}

void mailbox_on_deadline(struct conn *conn)
{
    mailbox_look(conn);
    if (of(conn)->fetch_due && has_room(conn))
        mailbox_fetch(conn);
    poll_later(conn);
}

void mailbox_written(struct conn *conn, uint64_t number, size_t text_bytes)
{
    struct mailbox *mailbox = of(conn);
    CHECK(mailbox->writing_bytes >= text_bytes);
    mailbox->writing_bytes -= text_bytes;
    if (number == 0)
        return;
    CHECK(number > mailbox->taken_number && number <= mailbox->given_number);
    mailbox->taken_number = number;
    mailbox->taken_offset = conn->written_bytes + conn_unsent(conn);
    poll_later(conn);
}

// Gives a batch's rows to the room. False: the connection was closed, and they stay with the queue node.
static bool give_rows(struct conn *conn, const struct queue_batch *batch, struct bytes rows)
{
    struct mailbox *mailbox = of(conn);
    size_t at = 0;
    for (uint32_t i = 0; i < batch->count; i++) {
        struct queue_row row;
        CHECK(rows.len - at >= sizeof(row));
        memcpy(&row, rows.ptr + at, sizeof(row));
        CHECK(row.text_bytes <= rows.len - at - sizeof(row) && row.number > mailbox->given_number);
        mailbox->given_number = row.number;
        mailbox->writing_bytes += row.text_bytes;
        if (!conn->room->mailbox->on_kept(conn, row.number, bytes_of(rows.ptr + at + sizeof(row), row.text_bytes)))
            return false;
        at += sizeof(row) + (row.text_bytes + 7) / 8 * 8;
    }
    return true;
}

static void on_batch(struct conn *conn, const struct queue_batch *batch, struct bytes rows)
{
    struct mailbox *mailbox = of(conn);
    CHECK(mailbox->fetching && conn->entered);
    bool had_room = has_room(conn), opened = mailbox->is_open;
    mailbox->fetching = false;
    mailbox->is_open = true;
    if (!give_rows(conn, batch, rows))
        return;
    if (!opened)
        conn->room->mailbox->on_opened(conn, &batch->memo);
    if (batch->more != 0 && (batch->count == 0 || !had_room))
        mailbox->fetch_due = true;
    else if (batch->more != 0 || mailbox->fetch_again)
        mailbox_fetch(conn);
    else
        mailbox_release(conn);
    if (conn->phase == CONN_OPEN)
        poll_later(conn);
}

void mailbox_leave(struct conn *conn, const struct queue_memo *memo)
{
    struct mailbox *mailbox = of(conn);
    mailbox_look(conn);
    const struct queue_left left = {.slot = conn->slot, .generation = conn->generation, .key = mailbox->key, .memo = *memo};
    tell(conn, RECORD_QUEUE_LEFT, &left, sizeof(left), bytes_of(NULL, 0));
    mailbox->fetching = mailbox->fetch_due = mailbox->fetch_again = false;
    mailbox->given_number = mailbox->taken_number = 0;
}

// ---- live messages behind it ----

bool mailbox_hold(struct conn *conn, struct bytes text)
{
    struct mailbox *mailbox = of(conn);
    uint32_t len = (uint32_t)text.len;
    if (!mailbox->draining || BUG(32))
        return false;
    if (conn_append(conn, &mailbox->held, bytes_of(&len, sizeof(len)))) // bounded by the router: it counts this as queued
        (void)conn_append(conn, &mailbox->held, text);
    return true;
}

void mailbox_release(struct conn *conn)
{
    static const struct key nobody;
    struct mailbox *mailbox = of(conn);
    struct block *held = mailbox->held;
    mailbox->held = NULL;
    mailbox->draining = false;
    for (size_t at = 0; held != NULL && at < held->end && conn->phase == CONN_OPEN;) {
        uint32_t len;
        memcpy(&len, held->data + at, sizeof(len));
        conn->room->on_data(conn, &nobody, bytes_of(held->data + at + sizeof(len), len));
        at += sizeof(len) + len;
    }
    pool_give(conn->shard->pool, held);
}

void mailbox_fini(struct shard *shard, struct mailbox *mailbox)
{
    pool_give(shard->pool, mailbox->held);
    mailbox->held = NULL;
}

// ---- keeping ----

bool mailbox_keep(struct conn *conn, const struct key *recipient, const struct key *sender, uint64_t ttl_s, struct bytes text)
{
    struct shard *shard = conn->shard;
    CHECK(text.len > 0 && ttl_s > 0);
    if (shard->storing_bytes + text.len > STORING_BYTES_MAX)
        return false;
    const struct queue_store store = {
        .slot = conn->slot, .generation = conn->generation, .recipient = *recipient, .sender = *sender, .ttl_s = ttl_s};
    shard->storing_bytes += text.len;
    tell(conn, RECORD_QUEUE_STORE, &store, sizeof(store), text);
    return true;
}

// ---- records ----

static struct conn *conn_of(struct shard *shard, uint32_t slot, uint32_t generation)
{
    struct conn *conn = shard_conn(shard, slot);
    return conn->generation == generation && conn->phase == CONN_OPEN && conn->entered && !conn->leaving ? conn : NULL;
}

static void on_look(struct shard *shard, const struct queue_look *look)
{
    struct conn *conn = conn_of(shard, look->slot, look->generation);
    struct mailbox *mailbox = conn != NULL && !BUG(40) ? of(conn) : NULL;
    if (mailbox != NULL)
        mailbox->draining = true;
    if (mailbox != NULL && (mailbox->fetching || mailbox->fetch_due))
        mailbox->fetch_again = true;
    else if (mailbox != NULL)
        mailbox_fetch(conn);
    post_write(shard->shared->post, shard->index, (uint16_t)look->sender_shard, RECORD_QUEUE_STORED,
               bytes_of(&look->stored, sizeof(look->stored)), bytes_of(NULL, 0));
}

static void on_stored(struct shard *shard, const struct queue_stored *stored)
{
    CHECK(shard->storing_bytes >= stored->text_bytes);
    shard->storing_bytes -= stored->text_bytes;
    shard->metrics.messages_kept += stored->verdict == QUEUE_KEPT;
    shard->metrics.messages_not_kept += stored->verdict != QUEUE_KEPT;
    struct conn *conn = conn_of(shard, stored->slot, stored->generation);
    if (conn != NULL)
        conn->room->mailbox->on_stored(conn, (enum queue_verdict)stored->verdict);
}

void mailbox_record(struct shard *shard, const struct post_record *record)
{
    const void *body = record->body.ptr;
    size_t len = record->body.len;
    if (record->kind == RECORD_QUEUE_LOOK) {
        CHECK(len == sizeof(struct queue_look));
        on_look(shard, body);
    } else if (record->kind == RECORD_QUEUE_STORED) {
        CHECK(len == sizeof(struct queue_stored));
        on_stored(shard, body);
    } else {
        const struct queue_batch *batch = body;
        CHECK(len >= sizeof(*batch));
        struct conn *conn = conn_of(shard, batch->slot, batch->generation);
        if (conn != NULL) // else what was kept for it stays
            on_batch(conn, batch, bytes_of(record->body.ptr + sizeof(*batch), len - sizeof(*batch)));
    }
}
