// The WebSocket phase of a connection: frames in, messages to the room, messages out (RFC 6455, RFC 7692).
#include "net/deflate.h"
#include "net/http.h"
#include "net/shard.h"
#include "shards/base/check.h"
#include "shards/os.h"

#define SMALL_FRAME_BYTES 4096        // up to here contiguous room in the queue is worth more than a full block, and payloads are not lent
#define WRITE_AT_ONCE_BYTES_MIN 65536 // a payload that will not stay where it lies is not copied from here on: it gets a write of its own
#define PLACE_BYTES_MIN 16384         // worth a second piece in the read call
#define DEFLATE_BYTES_MIN 1024        // smaller messages are not worth compressing (protocols/buckets.md "Websocket layer")

static struct ws_limits limits_of(const struct conn *conn)
{
    return (struct ws_limits){.message_bytes_max = conn->room->message_bytes_max, .expect_mask = true, .deflate = conn->deflate};
}

// ---- out ----

// A small frame goes into the queue in one piece.
static bool send_small(struct conn *conn, enum ws_opcode opcode, bool rsv1, const struct bytes *parts, size_t count, size_t total)
{
    CHECK(conn->phase != CONN_GONE && conn->phase != CONN_FREE);
    uint8_t *to = outq_reserve(&conn->out, conn->shard->pool, WS_HEAD_MAX + total);
    if (to == NULL) {
        conn_drop(conn, ERROR_OUT_OF_MEMORY);
        return false;
    }
    size_t len = ws_head(to, opcode, rsv1, total, /* mask= */ NULL);
    for (size_t i = 0; i < count; i++) {
        if (parts[i].len > 0)
            memcpy(to + len, parts[i].ptr, parts[i].len);
        len += parts[i].len;
    }
    outq_commit(&conn->out, len);
    conn_mark_dirty(conn);
    return true;
}

static bool in_read_buffer(const struct shard *shard, struct bytes bytes)
{
    return bytes.ptr >= shard->read_buffer && bytes.ptr < shard->read_buffer + SHARD_READ_BUFFER_BYTES;
}

// Makes room for a loan to this connection. false: the message must be copied.
static bool begin_loan(struct conn *conn, const struct bytes parts[3])
{
    struct shard *shard = conn->shard;
    size_t payload_bytes_min = in_read_buffer(shard, parts[1]) ? SMALL_FRAME_BYTES : WRITE_AT_ONCE_BYTES_MIN;
    if (parts[1].len < payload_bytes_min || WS_HEAD_MAX + parts[0].len + parts[2].len > OUTQ_LOAN_EDGE_MAX || conn->tls != NULL)
        return false;
    if (shard->borrower != NULL && (shard->borrower != conn || shard->loan.messages == OUTQ_LOAN_MESSAGES_MAX))
        conn_settle(shard);
    return conn->phase == CONN_OPEN && !conn->write_failed && (conn->source.ready & EPOLLOUT) != 0;
}

// A large frame goes from where its payload lies to the socket: what lies in the read buffer with the turn's others, all else at once.
static bool lend_frame(struct conn *conn, enum ws_opcode opcode, const struct bytes parts[3], size_t total)
{
    struct shard *shard = conn->shard;
    CHECK(shard->borrower == NULL || shard->borrower == conn);
    uint8_t head[OUTQ_LOAN_EDGE_MAX];
    size_t head_len = ws_head(head, opcode, /* rsv1= */ false, total, /* mask= */ NULL);
    if (parts[0].len > 0)
        memcpy(head + head_len, parts[0].ptr, parts[0].len);
    bool lent = outq_lend(&shard->loan, bytes_of(head, head_len + parts[0].len), parts[1], parts[2]);
    CHECK(lent);
    shard->borrower = conn;
    if (!in_read_buffer(shard, parts[1]))
        conn_settle(shard);
    return conn->phase == CONN_OPEN;
}

// What does not go by send_small.
static bool send_large(struct conn *conn, enum ws_opcode opcode, bool rsv1, const struct bytes *parts, size_t count, size_t total)
{
    if (total > SMALL_FRAME_BYTES && count == 3 && begin_loan(conn, parts))
        return lend_frame(conn, opcode, parts, total);
    uint8_t head[WS_HEAD_MAX];
    size_t head_len = ws_head(head, opcode, rsv1, total, /* mask= */ NULL);
    if (!conn_write(conn, bytes_of(head, head_len)))
        return false;
    for (size_t i = 0; i < count; i++)
        if (!conn_write(conn, parts[i]))
            return false;
    return true;
}

static bool send_frame(struct conn *conn, enum ws_opcode opcode, bool rsv1, const struct bytes *parts, size_t count)
{
    size_t total = 0;
    for (size_t i = 0; i < count; i++)
        total += parts[i].len;
    bool small = total <= SMALL_FRAME_BYTES && conn->phase != CONN_GONE && conn->phase != CONN_FREE && conn->shard->borrower != conn;
    return small ? send_small(conn, opcode, rsv1, parts, count, total) : send_large(conn, opcode, rsv1, parts, count, total);
}

// The message in one piece in the shard's scratch, compressed into its second half. 0: not worth it.
static size_t compress(struct conn *conn, const struct bytes parts[3], size_t total)
{
    struct shard *shard = conn->shard;
    if (!conn->deflate || total < DEFLATE_BYTES_MIN || total > SHARD_SCRATCH_BYTES)
        return 0;
    size_t at = 0;
    for (size_t i = 0; i < 3; i++) {
        if (parts[i].len > 0)
            memcpy(shard->scratch + at, parts[i].ptr, parts[i].len);
        at += parts[i].len;
    }
    return deflate_message(shard->deflate, conn->deflate_bits, bytes_of(shard->scratch, total), shard->deflated, SHARD_SCRATCH_BYTES);
}

size_t conn_control_queued(const struct conn *conn)
{
    size_t others = conn->data_queued + conn->paced_queued;
    return conn->out.bytes > others ? conn->out.bytes - others : 0;
}

bool conn_send(struct conn *conn, enum ws_opcode opcode, struct bytes head, struct bytes payload, struct bytes tail, bool is_data)
{
    struct shard *shard = conn->shard;
    if (conn->phase != CONN_OPEN)
        return false;
    const struct bytes parts[3] = {head, payload, tail};
    size_t total = head.len + payload.len + tail.len;
    if (!is_data && conn_control_queued(conn) + total > shard->shared->limits.control_bytes_max) {
        conn_close(conn, ERROR_SLOW_CONSUMER);
        return false;
    }
    size_t compressed_len = compress(conn, parts, total);
    bool sent = false;
    if (compressed_len > 0) {
        struct bytes whole = bytes_of(shard->deflated, compressed_len);
        sent = send_frame(conn, opcode, /* rsv1= */ true, &whole, 1);
    } else {
        sent = send_frame(conn, opcode, /* rsv1= */ false, parts, 3);
    }
    if (!sent)
        return false;
    if (is_data)
        conn->data_queued += router_queue_bytes(payload.len);
    else
        shard->metrics.events_out++;
    conn_count_usage(conn, 0, total);
    return true;
}

bool conn_send_paced(struct conn *conn, struct bytes text)
{
    if (conn->phase != CONN_OPEN || !send_frame(conn, WS_TEXT, /* rsv1= */ false, &text, 1))
        return false;
    conn->paced_queued += text.len;
    conn_count_usage(conn, 0, text.len);
    return true;
}

void conn_ws_ping(struct conn *conn)
{
    conn->pings_sent++;
    (void)send_frame(conn, WS_PING, /* rsv1= */ false, NULL, 0);
}

void conn_ws_close(struct conn *conn, uint16_t code, struct bytes reason)
{
    uint8_t payload[WS_CONTROL_MAX];
    struct bytes part = bytes_of(payload, ws_close_payload(payload, code, reason));
    conn->close_sent = true;
    (void)send_frame(conn, WS_CLOSE, /* rsv1= */ false, &part, 1);
}

// ---- in ----

// RFC 6455 5.5.3: only the newest of several pings need be answered; a peer that does not read gets no further pongs.
static void answer_ping(struct conn *conn, const struct ws_item *item)
{
    if (conn->stalled) {
        conn->shard->metrics.pongs_dropped++;
        return;
    }
    struct bytes part = bytes_of(item->ptr, item->len);
    (void)send_frame(conn, WS_PONG, /* rsv1= */ false, &part, 1);
}

static void peer_close(struct conn *conn, const struct ws_item *item)
{
    conn->close_received = true;
    if (conn->phase == CONN_CLOSING) {
        conn_mark_dirty(conn);
        return;
    }
    conn_ws_close(conn, item->close_code, bytes_of(NULL, 0));
    if (conn->phase == CONN_OPEN)
        conn_begin_closing(conn, ERROR_PEER_CLOSED);
}

struct inflating {
    struct conn *conn;
    bool failed;
};

static bool on_inflated(void *owner, struct bytes piece)
{
    struct inflating *inflating = owner;
    inflating->failed = !conn_append(inflating->conn, &inflating->conn->message, piece);
    return !inflating->failed;
}

// Replaces the collected message by what it inflates to. false: the connection is closing.
static bool inflate_message(struct conn *conn)
{
    struct shard *shard = conn->shard;
    struct block *compressed = conn->message;
    struct inflating inflating = {.conn = conn};
    conn->message = NULL;
    struct bytes whole = bytes_of(compressed->data, compressed->end);
    enum error error = deflate_inflate(shard->deflate, whole, conn->room->inflated_bytes_max, on_inflated, &inflating);
    pool_give(shard->pool, compressed);
    if (error == ERROR_NONE && !inflating.failed && conn->message_opcode == WS_TEXT && conn->message != NULL &&
        ws_utf8(0, bytes_of(conn->message->data, conn->message->end)) != 0)
        error = ERROR_WS_UTF8;
    if (error != ERROR_NONE)
        conn_close(conn, error);
    return error == ERROR_NONE && !inflating.failed;
}

// Gives the finished message to the room, from where it stopped last. false: it waits, or the connection is closing.
static bool deliver_message(struct conn *conn)
{
    struct block *message = conn->message;
    size_t len = message != NULL ? message->end - message->start : 0;
    bool first = message == NULL || message->start == 0;
    uint8_t *ptr = message != NULL ? message->data + message->start : conn->shard->scratch;
    conn_count_usage(conn, first ? len : 0, 0);
    size_t used = conn->room->on_input(conn, ptr, len, first, /* last= */ true, conn->message_opcode);
    if (conn->phase != CONN_OPEN)
        return false;
    CHECK(used == len || conn->waiting);
    if (used < len) {
        message->start += (uint32_t)used;
        return false;
    }
    pool_give(conn->shard->pool, message);
    conn->message = NULL;
    conn->message_ready = false;
    return !conn->waiting;
}

struct iovec conn_ws_place(struct conn *conn)
{
    struct iovec none = {0};
    if (conn->ws.frame_left < PLACE_BYTES_MIN || conn->ws.compressed || conn->tls != NULL || conn->room->on_unfinished == NULL)
        return none;
    size_t len;
    struct block *block = conn->room->on_unfinished(conn, &len);
    if (block == NULL)
        return none;
    len = len < conn->ws.frame_left ? len : (size_t)conn->ws.frame_left;
    len = len < block->capacity - block->end ? len : block->capacity - block->end;
    len = len < SHARD_READ_BYTES ? len : SHARD_READ_BYTES;
    return len < PLACE_BYTES_MIN ? none : (struct iovec){.iov_base = block->data + block->end, .iov_len = len};
}

bool conn_ws_resume(struct conn *conn)
{
    if (!conn->room->on_resume(conn))
        return false;
    return conn->phase != CONN_OPEN || !conn->message_ready || deliver_message(conn);
}

// A piece of a message. Returns how many of its bytes were used.
static size_t take_data(struct conn *conn, const struct ws_item *item)
{
    const struct room *room = conn->room;
    if (item->opcode == WS_TEXT && !room->text_taken) {
        conn_close(conn, ERROR_WS_TEXT_REFUSED);
        return item->len;
    }
    bool whole = item->first && item->last;
    if (item->compressed || (room->whole_messages && !whole)) {
        conn->message_opcode = item->opcode;
        if (!conn_append(conn, &conn->message, bytes_of(item->ptr, item->len)) || !item->last)
            return item->len;
        if (item->compressed && !inflate_message(conn))
            return item->len;
        conn->message_ready = true;
        (void)deliver_message(conn);
        return item->len;
    }
    size_t used = room->on_input(conn, item->ptr, item->len, item->first, item->last, item->opcode);
    if (conn->phase == CONN_OPEN) {
        CHECK(used == item->len || conn->waiting);
        conn_count_usage(conn, used, 0);
        return used;
    }
    conn_count_usage(conn, item->len, 0);
    return item->len;
}

size_t conn_ws_input(struct conn *conn, uint8_t *ptr, size_t len)
{
    const struct ws_limits limits = limits_of(conn);
    size_t at = 0;
    while (at < len && !conn->waiting) {
        struct ws_item item;
        size_t used = ws_next(&conn->ws, &limits, ptr + at, len - at, &item);
        at += used;
        bool open = conn->phase == CONN_OPEN;
        if (item.kind == WS_ITEM_NONE)
            return at;
        if (item.kind == WS_ITEM_DATA && open) {
            size_t taken = take_data(conn, &item);
            if (taken < item.len) {
                ws_unread(&conn->ws, &limits, &item, item.len - taken);
                return at - (item.len - taken);
            }
        } else if (item.kind == WS_ITEM_PING && open) {
            answer_ping(conn, &item);
        } else if (item.kind == WS_ITEM_CLOSE) {
            peer_close(conn, &item);
            return len;
        } else if (item.kind == WS_ITEM_ERROR) {
            if (open)
                conn_close(conn, item.error);
            conn->close_received = true;
            conn_mark_dirty(conn);
            return len;
        }
        if (conn->phase == CONN_GONE || conn->phase == CONN_FREE || (conn->phase == CONN_CLOSING && conn->close_received))
            return len;
    }
    return at;
}
