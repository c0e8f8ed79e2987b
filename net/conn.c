// Connection life cycle: see conn.h. Reading, flushing, timers and the ways to end are here; HTTP and WebSocket have their own files.
#include "net/conn.h"

#include <errno.h>
#include <stdlib.h>

#include "net/http.h"
#include "net/shard.h"
#include "shards/base/bug.h"
#include "shards/base/check.h"
#include "shards/log.h"
#include "shards/os.h"

#define HELD_JOIN_MAX 4096         // held input up to this size is joined with the next read; more is worked off where it lies
#define LOAN_WRITE_BYTES_MIN 32768 // a smaller loan is copied: that costs less than a write of its own
#define UNHURRIED_BYTES_MAX 1024   // of output that waits for company: two small blocks for each of very many
_Static_assert(HELD_JOIN_MAX <= SHARD_READ_BUFFER_BYTES - SHARD_READ_BYTES, "a read fits behind what was held");

static bool on_ready(struct source *source, uint64_t now_ns);
static void on_time(struct timer *timer, uint64_t now_ns);

static struct conn *of_source(struct source *source)
{
    return (struct conn *)(void *)((char *)source - offsetof(struct conn, source));
}

static struct conn *of_timer(struct timer *timer)
{
    return (struct conn *)(void *)((char *)timer - offsetof(struct conn, timer));
}

struct handle conn_handle(const struct conn *conn)
{
    return (struct handle){.slot = conn->slot, .generation = conn->generation, .shard = conn->shard->index};
}

// Everything is zero but what belongs to the slot for ever, and the lists that its last user may have left it on.
static void reset(struct conn *conn, struct shard *shard)
{
    struct conn old = *conn;
    *conn = (struct conn){.shard = shard,
                          .slot = old.slot,
                          .generation = old.generation,
                          .next_usage = old.next_usage,
                          .in_usage = old.in_usage,
                          .next_dirty = old.next_dirty,
                          .dirty = old.dirty};
    conn->source.fd = -1;
}

// One best effort to say so, unless HTTP cannot be spoken at once.
void conn_refuse(const struct listener *listener, int fd)
{
    struct shard *shard = listener->shard;
    static char answer[] = "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nRetry-After: 10\r\nConnection: close\r\n\r\n";
    struct iovec iov = {.iov_base = answer, .iov_len = sizeof(answer) - 1};
    shard->metrics.refused_full++;
    if (listener->ways == 0 && listener->room == NULL && os_writev(fd, &iov, 1) < 0)
        shard->metrics.accept_failed++;
    os_close(fd);
}

void conn_accepted(const struct listener *listener, int fd, const struct net_address *peer)
{
    struct shard *shard = listener->shard;
    struct conn *conn = shard_take_slot(shard);
    if (conn == NULL) {
        placement_leave(shard->shared->placement, shard->index);
        conn_refuse(listener, fd);
        return;
    }
    CHECK(conn->phase == CONN_FREE);
    reset(conn, shard);
    conn->source.fd = fd;
    conn->source.on_ready = on_ready;
    conn->source.rank = NODE_NEXT;
    conn->timer.on_time = on_time;
    conn->phase = CONN_HEAD;
    conn->listener = listener;
    conn->peer = conn->address = *peer;
    conn->trusted = address_in_ranges(peer, shard->shared->trusted, shard->shared->trusted_count);
    conn->proxy_awaited = (listener->ways & LISTENER_PROXY) != 0;
    conn->released = true;
    uint64_t now_ns = node_now_ns(shard->node);
    conn->last_input_ns = now_ns;
    conn->deadline_ns = now_ns + shard->shared->limits.http_timeout_ns;
    int failed = node_add(shard->node, &conn->source);
    if (failed != 0) {
        shard->metrics.accept_failed++;
        conn_drop(conn, ERROR_OUT_OF_MEMORY);
        return;
    }
    conn->source.ready = EPOLLOUT;
    shard->metrics.accepted++;
    conn_arm_timer(conn);
    if (!conn->proxy_awaited) {
        (void)conn_begin(conn, bytes_of(NULL, 0));
    } else if (!conn->trusted) {
        shard->metrics.proxy_refused++;
        conn_drop(conn, ERROR_PROXY);
    }
}

// ---- input ----

static bool hold(struct conn *conn, const uint8_t *ptr, size_t len)
{
    if (len == 0)
        return true;
    struct block *block = pool_take(conn->shard->pool, len);
    if (block == NULL) {
        conn_close(conn, ERROR_OUT_OF_MEMORY);
        return false;
    }
    memcpy(block->data, ptr, len);
    block->end = (uint32_t)len;
    conn->held = block;
    return true;
}

bool conn_append(struct conn *conn, struct block **block, struct bytes bytes)
{
    return conn_append_part(conn, block, bytes, 0);
}

bool conn_append_part(struct conn *conn, struct block **block, struct bytes bytes, size_t whole)
{
    struct pool *pool = conn->shard->pool;
    struct block *old = *block;
    size_t have = old != NULL ? old->end : 0;
    if (old == NULL || old->capacity - have < bytes.len) {
        size_t need = have + bytes.len, wanted = 2 * have;
        if (whole > need) // at once what doubling would lead to
            wanted = whole < 2 * need ? whole : 2 * need;
        struct block *bigger = pool_take(pool, need > wanted ? need : wanted);
        if (bigger == NULL) {
            conn_close(conn, ERROR_OUT_OF_MEMORY);
            return false;
        }
        if (have > 0)
            memcpy(bigger->data, old->data, have);
        bigger->end = (uint32_t)have;
        pool_give(pool, old);
        *block = old = bigger;
    }
    if (bytes.len > 0 && bytes.ptr != old->data + have)
        memcpy(old->data + have, bytes.ptr, bytes.len);
    old->end += (uint32_t)bytes.len;
    return true;
}

static size_t input(struct conn *conn, uint8_t *ptr, size_t len)
{
    size_t used = 0;
    while (used < len) {
        size_t step = 0;
        if (conn->phase == CONN_HEAD)
            step = conn->proxy_awaited ? conn_proxy_input(conn, ptr + used, len - used) : conn_http_input(conn, ptr + used, len - used);
        else if (conn->phase == CONN_OPEN && conn->room->raw)
            step = conn->waiting ? 0 : conn->room->on_input(conn, ptr + used, len - used, false, false, 0);
        else if (conn->phase == CONN_OPEN || (conn->phase == CONN_CLOSING && conn->close_sent && !conn->close_received))
            step = conn_ws_input(conn, ptr + used, len - used);
        else if (conn->phase == CONN_LOGIN)
            return used;
        else
            return len; // closing: the rest is of no interest
        CHECK(step <= len - used);
        if (step == 0)
            break;
        used += step;
    }
    return used;
}

// Works off a large held block where it lies. True: all of it is used up.
static void input_held(struct conn *conn)
{
    struct block *block = conn->held;
    conn->held = NULL;
    size_t len = block->end - block->start;
    size_t used = input(conn, block->data + block->start, len);
    bool keep = used < len && (conn->phase == CONN_HEAD || conn->phase == CONN_LOGIN || conn->phase == CONN_OPEN);
    block->start += (uint32_t)used;
    if (keep && conn->waiting) {
        conn->held = block;
        return;
    }
    if (keep)
        (void)hold(conn, block->data + block->start, len - used);
    pool_give(conn->shard->pool, block);
}

// Reads once. >= 0: bytes; the ready bits say whether there may be more. -1: the connection was dropped.
static ssize_t read_once(struct conn *conn, struct iovec place, uint8_t *buffer)
{
    struct source *source = &conn->source;
    bool more = false;
    ssize_t got = conn_transport_read(conn, place, buffer, &more);
    conn->shard->metrics.reads++;
    if (got == -EAGAIN) {
        source->ready &= ~(uint32_t)EPOLLIN;
        return 0;
    }
    if (got < 0) {
        conn_drop(conn, got == -EPROTO ? ERROR_TLS : ERROR_PEER_GONE);
        return -1;
    }
    if (got == 0)
        conn->read_ended = true;
    else if (!more && (source->ready & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) == 0)
        source->ready &= ~(uint32_t)EPOLLIN;
    return got;
}

// The peer will send no more. An answer under way is still written; a session is over.
static void input_ended(struct conn *conn)
{
    bool answering = (conn_unsent(conn) > 0 || conn->farewell_due) && (conn->phase == CONN_HEAD || conn->phase == CONN_CLOSING);
    if (conn->phase == CONN_OPEN && conn->room->on_end != NULL && !conn->room->on_end(conn))
        return;
    if (!answering)
        conn_drop(conn, ERROR_PEER_GONE);
    else if (conn->phase == CONN_HEAD)
        conn_begin_closing(conn, ERROR_HTTP_DONE);
}

// What was read to its place goes the way of all input, which finds it there. Returns its bytes.
static size_t take_placed(struct conn *conn, struct iovec place, size_t got)
{
    size_t len = got < place.iov_len ? got : place.iov_len;
    if (len > 0) {
        size_t used = input(conn, place.iov_base, len);
        CHECK(used == len);
    }
    return len;
}

// A bounded piece of reading: what is held, and one read. True: there may be more.
static bool read_turn(struct conn *conn)
{
    struct shard *shard = conn->shard;
    if (conn->held != NULL && conn->held->end - conn->held->start > HELD_JOIN_MAX && conn->phase != CONN_HEAD) {
        input_held(conn);
        return true;
    }
    uint8_t *buffer = shard->read_buffer;
    size_t have = 0;
    if (conn->held != NULL) {
        have = conn->held->end - conn->held->start; // HELD_JOIN_MAX, or an unfinished request head
        CHECK(have <= SHARD_READ_BUFFER_BYTES - SHARD_READ_BYTES);
        memcpy(buffer, conn->held->data + conn->held->start, have);
        pool_give(shard->pool, conn->held);
        conn->held = NULL;
    }
    ssize_t got = 0;
    struct iovec place = conn->phase == CONN_OPEN && have == 0 ? conn_ws_place(conn) : (struct iovec){0};
    if ((conn->source.ready & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0 && !conn->read_ended) {
        got = read_once(conn, place, buffer + have);
        if (got < 0)
            return false;
    }
    if (got > 0) {
        conn->last_input_ns = node_now_ns(shard->node);
        conn->pings_sent = 0;
    }
    size_t len = have + (size_t)got - take_placed(conn, place, (size_t)got);
    size_t used = input(conn, buffer, len);
    if (used < len && (conn->phase == CONN_HEAD || conn->phase == CONN_LOGIN || conn->phase == CONN_OPEN || conn->phase == CONN_CLOSING))
        (void)hold(conn, buffer + used, len - used);
    if (conn->read_ended && !conn->waiting) {
        input_ended(conn);
        return false;
    }
    return got > 0 && (conn->source.ready & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0;
}

static bool may_read(const struct conn *conn)
{
    bool stopping = conn->shard->stopping && conn->phase == CONN_OPEN;
    return !conn->waiting && !stopping && (conn->phase == CONN_HEAD || conn->phase == CONN_OPEN || conn->phase == CONN_CLOSING);
}

static bool on_ready(struct source *source, uint64_t now_ns)
{
    (void)now_ns;
    struct conn *conn = of_source(source);
    struct shard *shard = conn->shard;
    bool more = false;
    if (BUG(22) && conn->waiting)
        source->ready = 0;
    if (conn_unsent(conn) > 0 && (source->ready & EPOLLOUT) != 0)
        conn_mark_dirty(conn);
    if (conn->login_answered)
        conn_login_carry_out(conn);
    bool go_on = may_read(conn) && (conn->phase != CONN_OPEN || conn_ws_resume(conn));
    if (go_on && may_read(conn))
        more = read_turn(conn);
    shard_carry_out(shard);
    if (!BUG(27)) // what is lent lies in the read buffer, which the next session uses
        conn_settle(shard);
    return more && may_read(conn);
}

void conn_wait(struct conn *conn)
{
    CHECK(conn->phase == CONN_OPEN);
    conn->waiting = true;
    conn->shard->metrics.waits++;
}

void conn_wait_flushed(struct conn *conn)
{
    if (conn->phase == CONN_OPEN && conn_unsent(conn) > 0) {
        conn_wait(conn);
        conn->waits_flushed = true;
    }
}

void conn_resume(struct conn *conn)
{
    conn->waiting = false;
    if (may_read(conn) && !BUG(24))
        node_ready(conn->shard->node, &conn->source);
}

// ---- output ----

void conn_mark_dirty(struct conn *conn)
{
    if (conn->dirty)
        return;
    if (conn->unhurried && conn->out.bytes < UNHURRIED_BYTES_MAX) {
        node_ready_last(conn->shard->node, &conn->source);
        return;
    }
    conn->dirty = true;
    conn->next_dirty = BUG(23) ? NULL : conn->shard->dirty;
    conn->shard->dirty = conn;
}

bool conn_write(struct conn *conn, struct bytes bytes)
{
    if (conn->shard->borrower == conn)
        conn_settle(conn->shard);
    if (conn->phase == CONN_GONE || conn->phase == CONN_FREE)
        return false;
    conn_mark_dirty(conn);
    if (conn->write_failed)
        return true;
    if (!outq_append(&conn->out, conn->shard->pool, bytes)) {
        conn_drop(conn, ERROR_OUT_OF_MEMORY);
        return false;
    }
    return true;
}

bool conn_send_raw(struct conn *conn, struct bytes bytes, size_t queue_bytes)
{
    CHECK(conn->room->raw);
    if (conn->phase != CONN_OPEN)
        return false;
    if (!conn_write(conn, bytes))
        return false;
    conn->data_queued += queue_bytes;
    conn_count_usage(conn, 0, bytes.len);
    return true;
}

// The queue became shorter: what left is credit for those who sent it.
static void account_written(struct conn *conn)
{
    size_t data_left = conn->data_queued < conn->out.bytes ? conn->data_queued : conn->out.bytes;
    size_t written = conn->data_queued - data_left;
    conn->data_queued = data_left;
    if (conn->paced_queued > conn->out.bytes)
        conn->paced_queued = conn->out.bytes;
    if (written > 0 && conn->phase == CONN_OPEN && conn->entered)
        router_written(conn->shard->router, conn->slot, written, &conn->shard->effects);
}

// Our side is done: end the writing half; the peer's half is read until it ends or the deadline comes, so that no reset eats our last
// bytes.
static void finish_closing(struct conn *conn)
{
    CHECK(conn_unsent(conn) == 0);
    if ((conn->read_ended || conn->close_received) && !conn->write_ended) {
        conn->write_ended = true;
        conn_transport_end(conn);
        uint64_t end_ns = node_now_ns(conn->shard->node) + conn->shard->shared->limits.close_timeout_ns;
        conn->deadline_ns = conn->deadline_ns < end_ns ? conn->deadline_ns : end_ns;
        conn_arm_timer(conn);
    }
    if (conn->read_ended)
        conn_drop(conn, conn->closed_why);
}

// The peer takes nothing more, but what it has sent still counts (a client may send and hang up): output is thrown away, input is read
// to its end, which is when the connection is dropped.
static void output_failed(struct conn *conn)
{
    if (conn->phase != CONN_OPEN || conn->tls != NULL) { // TLS cannot be read once its other half has failed
        conn_drop(conn, ERROR_PEER_GONE);
        return;
    }
    conn->write_failed = true;
    outq_clear(&conn->out, conn->shard->pool);
    conn->source.ready |= EPOLLIN | EPOLLHUP;
    if (may_read(conn))
        node_ready(conn->shard->node, &conn->source);
}

// What a write that took `written` bytes means for the rest of the queue.
static void note_progress(struct conn *conn, int64_t written)
{
    if (conn_unsent(conn) == 0) {
        conn->stalled = false;
        if (conn->waits_flushed) {
            conn->waits_flushed = false;
            conn_resume(conn);
        }
        return;
    }
    if (!conn_begun(conn))
        return;
    conn->source.ready &= ~(uint32_t)EPOLLOUT;
    if (written > 0 || !conn->stalled) {
        conn->stalled = true;
        conn->stalled_ns = node_now_ns(conn->shard->node);
        conn_arm_timer(conn);
    }
}

// Writes what is queued and lent. May drop the connection.
static void write_out(struct conn *conn)
{
    int64_t written = 0;
    if (conn_unsent(conn) > 0) {
        if ((conn->source.ready & EPOLLOUT) == 0)
            return;
        written = conn_transport_write(conn);
        conn->shard->metrics.writes++;
        if (written == -ENOMEM)
            conn_drop(conn, ERROR_OUT_OF_MEMORY);
        else if (written < 0)
            output_failed(conn);
        if (conn->phase == CONN_GONE || conn->phase == CONN_FREE)
            return;
    }
    conn->written_bytes += written > 0 ? (uint64_t)written : 0;
    note_progress(conn, written);
}

void conn_flush(struct conn *conn)
{
    if (conn->phase == CONN_GONE || conn->phase == CONN_FREE)
        return;
    write_out(conn);
    account_written(conn);
    if (conn->phase == CONN_CLOSING && conn_unsent(conn) == 0 && !conn->farewell_due)
        finish_closing(conn);
}

void conn_settle(struct shard *shard)
{
    struct conn *conn = shard->borrower;
    if (conn == NULL)
        return;
    CHECK((conn->source.ready & EPOLLOUT) != 0);
    if (shard->loan.bytes >= LOAN_WRITE_BYTES_MIN) {
        write_out(conn);
    } else {
        shard->borrower = NULL;
        if (!outq_keep_loan(&conn->out, &shard->loan, shard->pool))
            conn_drop(conn, ERROR_OUT_OF_MEMORY);
    }
    CHECK(shard->borrower == NULL && shard->loan.bytes == 0);
    if (conn->phase != CONN_GONE && conn->phase != CONN_FREE)
        conn_mark_dirty(conn); // the router is told at the end of the turn: it may be at work now
}

// ---- time ----

static uint64_t next_deadline(const struct conn *conn)
{
    const struct shard_limits *limits = &conn->shard->shared->limits;
    uint64_t next = conn->deadline_ns != 0 ? conn->deadline_ns : UINT64_MAX;
    if (conn->phase == CONN_OPEN && !conn->room->raw) {
        uint64_t ping_ns = conn->last_input_ns + conn->ping_interval_ns * (1u + conn->pings_sent);
        next = ping_ns < next ? ping_ns : next;
    }
    if (conn->stalled && conn->stalled_ns + limits->slow_timeout_ns < next)
        next = conn->stalled_ns + limits->slow_timeout_ns;
    return next;
}

void conn_arm_timer(struct conn *conn)
{
    uint64_t next = next_deadline(conn);
    if (next == UINT64_MAX)
        timer_unset(node_timers(conn->shard->node), &conn->timer);
    else if (!timer_is_set(&conn->timer) || conn->timer.deadline_ns > next)
        timer_set(node_timers(conn->shard->node), &conn->timer, next);
}

void conn_room_deadline(struct conn *conn, uint64_t deadline_ns)
{
    conn->deadline_ns = deadline_ns;
    conn_arm_timer(conn);
}

static void open_timeout(struct conn *conn, uint64_t now_ns)
{
    if (conn->deadline_ns != 0 && now_ns >= conn->deadline_ns) {
        conn->deadline_ns = 0;
        CHECK(conn->room->on_deadline != NULL);
        conn->room->on_deadline(conn);
        return;
    }
    if (conn->room->raw) // has no pings
        return;
    if (now_ns < conn->last_input_ns + conn->ping_interval_ns * (1u + conn->pings_sent))
        return;
    if (conn->waiting) // silent because we do not read it
        conn->last_input_ns = now_ns;
    else if (conn->pings_sent >= conn->pings_max)
        conn_close(conn, ERROR_PING_TIMEOUT);
    else
        conn_ws_ping(conn);
}

static void on_time(struct timer *timer, uint64_t now_ns)
{
    struct conn *conn = of_timer(timer);
    struct shard *shard = conn->shard;
    CHECK(conn->phase != CONN_FREE && conn->phase != CONN_GONE);
    if (conn->stalled && now_ns >= conn->stalled_ns + shard->shared->limits.slow_timeout_ns) {
        conn->stalled = false;
        conn_close(conn, ERROR_SLOW_CONSUMER);
    } else if (conn->phase == CONN_OPEN) {
        open_timeout(conn, now_ns);
    } else if (conn->deadline_ns != 0 && now_ns >= conn->deadline_ns) {
        if (conn->phase == CONN_HEAD)
            conn_http_timeout(conn);
        else
            conn_drop(conn, conn->closed_why);
    }
    if (conn->phase != CONN_GONE && conn->phase != CONN_FREE)
        conn_arm_timer(conn);
    shard_carry_out(shard);
}

// ---- opening and ending ----

void conn_open(struct conn *conn, const struct room *room)
{
    conn->phase = CONN_OPEN;
    conn->room = room;
    conn->deadline_ns = 0;
    conn->ping_interval_ns = conn->shard->shared->limits.ping_interval_ns;
    conn->pings_max = 2;
    room->on_open(conn);
    if (conn->phase == CONN_OPEN)
        conn_arm_timer(conn);
}

void conn_enter(struct conn *conn, const struct key *key)
{
    CHECK(conn->phase == CONN_OPEN && !conn->entered);
    conn->entered = true;
    conn->released = false;
    conn->source.rank = NODE_FIRST;
    router_enter(conn->shard->router, conn_handle(conn), key, conn->room->unseen ? 0 : conn->account, &conn->shard->effects);
}

void conn_leave(struct conn *conn)
{
    CHECK(conn->phase == CONN_OPEN && conn->entered && !conn->leaving);
    conn->leaving = true;
    conn->next_leaving = conn->shard->leaving;
    conn->shard->leaving = conn;
}

// The session is over for its room and the router; the descriptor may live on for the close handshake.
static void end_session(struct conn *conn)
{
    struct shard *shard = conn->shard;
    conn->room->on_close(conn);
    pool_give(shard->pool, conn->message);
    conn->message = NULL;
    conn->waiting = false;
    if (conn->entered && !conn->leaving) {
        conn->leaving = true;
        conn->next_leaving = shard->leaving;
        shard->leaving = conn;
    }
}

void conn_begin_closing(struct conn *conn, enum error why)
{
    struct shard *shard = conn->shard;
    CHECK(conn->phase != CONN_CLOSING && conn->phase != CONN_GONE && conn->phase != CONN_FREE);
    bool was_open = conn->phase == CONN_OPEN;
    conn->phase = CONN_CLOSING;
    conn->closed_why = why;
    conn->source.rank = NODE_NEXT;
    const struct shard_limits *limits = &shard->shared->limits;
    uint64_t patience_ns = limits->close_timeout_ns;
    if (why == ERROR_SLOW_CONSUMER) // gets its queue and the reason if it wakes up after all
        patience_ns += limits->slow_timeout_ns;
    else if (why == ERROR_STOPPING && limits->stop_timeout_ns > patience_ns)
        patience_ns = limits->stop_timeout_ns;
    conn->deadline_ns = node_now_ns(shard->node) + patience_ns;
    if (was_open)
        end_session(conn);
    conn_mark_dirty(conn);
    conn_arm_timer(conn);
    node_ready(shard->node, &conn->source);
}

void conn_close(struct conn *conn, enum error why)
{
    if (conn->phase == CONN_OPEN && conn->room->on_ending != NULL)
        conn->room->on_ending(conn, why);
    if (conn->phase == CONN_OPEN && conn->room->raw) {
        conn->close_received = true; // no close frame is awaited
    } else if (conn->phase == CONN_OPEN) {
        conn_ws_close(conn, error_close_code(why), bytes_text(error_text(why)));
        if (error_close_code(why) == 1002 || error_close_code(why) == 1007 || error_close_code(why) == 1009)
            conn->close_received = true; // what follows cannot be understood: no answer is waited for
    }
    if (conn->phase == CONN_OPEN || conn->phase == CONN_HEAD || conn->phase == CONN_LOGIN)
        conn_begin_closing(conn, why);
}

static void free_slot(struct conn *conn)
{
    struct shard *shard = conn->shard;
    conn->phase = CONN_FREE;
    conn->generation++;
    shard_give_slot(shard, conn);
}

void conn_drop(struct conn *conn, enum error why)
{
    struct shard *shard = conn->shard;
    if (conn->phase == CONN_GONE || conn->phase == CONN_FREE)
        return;
    if (conn->phase == CONN_OPEN)
        end_session(conn);
    enum error counted = conn->phase == CONN_CLOSING ? conn->closed_why : why;
    conn->phase = CONN_GONE;
    shard->metrics.closed[counted]++;
    LOG(DEBUG, "CLOSED", "slot=%u reason=%s", conn->slot, error_name(counted));
    node_remove(shard->node, &conn->source);
    conn_transport_close(conn);
    timer_unset(node_timers(shard->node), &conn->timer);
    outq_clear(&conn->out, shard->pool);
    if (shard->borrower == conn) {
        shard->borrower = NULL;
        outq_drop_loan(&shard->loan);
    }
    pool_give(shard->pool, conn->held);
    pool_give(shard->pool, conn->message);
    conn->held = conn->message = NULL;
    conn->data_queued = 0;
    shard_usage_now(shard, conn);
    if (conn->released)
        free_slot(conn);
}

void conn_released(struct conn *conn)
{
    CHECK(conn->entered && !conn->released);
    conn->released = true;
    if (conn->phase == CONN_GONE) {
        free_slot(conn);
    } else if (conn->phase == CONN_OPEN) { // conn_leave: the slot's next session has a generation of its own
        conn->entered = conn->leaving = false;
        conn->generation++;
        conn->paced_queued += conn->data_queued;
        conn->data_queued = 0;
        conn->next_leaving = conn->shard->left;
        conn->shard->left = conn;
    }
}

void conn_left(struct conn *conn)
{
    if (conn->phase == CONN_OPEN && !conn->entered)
        conn->room->on_left(conn);
}

void conn_count_usage(struct conn *conn, size_t sent_bytes, size_t recv_bytes)
{
    if (conn->account == 0 || conn->room->unseen) // registering is nobody's usage
        return;
    conn->usage_sent_bytes += sent_bytes;
    conn->usage_recv_bytes += recv_bytes;
    if (conn->in_usage)
        return;
    conn->in_usage = true;
    conn->next_usage = conn->shard->usage;
    conn->shard->usage = conn;
}
