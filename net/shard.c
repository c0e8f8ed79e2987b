// One shard: see shard.h. Accepting, slots, carrying out the router's effects, records from other nodes, flushing, stopping.
#include "net/shard.h"
#include "net/queue/mailbox.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>

#include "net/report.h"
#include "net/web/auth_room.h"
#include "shards/base/bug.h"
#include "shards/base/check.h"
#include "shards/log.h"
#include "shards/os.h"

#define ACCEPTS_PER_TURN 2 // sessions that have begun to log in go on before more are let in
#define USAGE_PER_RECORD 64
_Static_assert((int)ERROR_COUNT <= METRICS_CLOSED_MAX, "a counter for every reason");

static bool on_acceptable(struct source *source, uint64_t now_ns);
static void on_record(void *owner, const struct post_record *record);
static void on_turn(void *owner, uint64_t now_ns);
static void on_usage_time(struct timer *timer, uint64_t now_ns);
static void on_stop_time(struct timer *timer, uint64_t now_ns);

struct shard *shard_create(const struct shard_shared *shared, uint16_t index, uint64_t now_ns)
{
    const struct shard_limits *limits = &shared->limits;
    struct shard *shard = calloc(1, sizeof(*shard));
    if (shard == NULL)
        return NULL;
    shard->shared = shared;
    shard->index = index;
    const struct node_owner owner = {.owner = shard, .on_record = on_record, .on_turn = on_turn};
    shard->node = node_create(shared->post, index, &owner, now_ns);
    shard->router = router_create(index, shared->shard_count, &limits->router, &shared->secret);
    shard->pool = pool_create(limits->pool_bytes_max);
    shard->deflate = deflate_create();
    shard->effects.max = router_effects_max(&limits->router);
    shard->effects.items = malloc(shard->effects.max * sizeof(struct effect));
    shard->conn_chunks = calloc(limits->conns_max / CONN_CHUNK + 1, sizeof(struct conn *));
    shard->full = calloc(shared->shard_count, sizeof(bool));
    shard->scratch = malloc(SHARD_SCRATCH_BYTES);
    shard->deflated = malloc(SHARD_SCRATCH_BYTES);
    shard->read_buffer = malloc(SHARD_READ_BUFFER_BYTES);
    if (shard->node == NULL || shard->router == NULL || shard->pool == NULL || shard->deflate == NULL || shard->effects.items == NULL ||
        shard->conn_chunks == NULL || shard->full == NULL || shard->scratch == NULL || shard->deflated == NULL ||
        shard->read_buffer == NULL) {
        shard_destroy(shard);
        return NULL;
    }
    shard->usage_timer.on_time = on_usage_time;
    shard->stop_timer.on_time = on_stop_time;
    timer_set(node_timers(shard->node), &shard->usage_timer, now_ns + limits->usage_interval_ns);
    return shard;
}

void shard_destroy(struct shard *shard)
{
    if (shard == NULL)
        return;
    CHECK(shard->conn_count == 0);
    if (shard->node != NULL) {
        timer_unset(node_timers(shard->node), &shard->usage_timer);
        timer_unset(node_timers(shard->node), &shard->stop_timer);
        for (size_t i = 0; i < shard->listener_count; i++)
            if (shard->listeners[i].source.fd >= 0)
                node_remove(shard->node, &shard->listeners[i].source);
    }
    for (size_t i = 0; i < shard->listener_count; i++)
        if (shard->listeners[i].source.fd >= 0)
            os_close(shard->listeners[i].source.fd);
    for (uint32_t slot = 0; slot < shard->slot_count; slot += CONN_CHUNK)
        free(shard->conn_chunks[slot / CONN_CHUNK]);
    free(shard->conn_chunks);
    free(shard->full);
    free(shard->effects.items);
    free(shard->scratch);
    free(shard->deflated);
    free(shard->read_buffer);
    deflate_destroy(shard->deflate);
    backbone_destroy(shard->backbone);
    tls_engine_destroy(shard->tls);
    router_destroy(shard->router);
    if (shard->pool != NULL)
        pool_destroy(shard->pool);
    node_destroy(shard->node);
    free(shard);
}

struct node *shard_node(struct shard *shard)
{
    return shard->node;
}

// ---- listeners ----

bool shard_use_tls(struct shard *shard, SSL_CTX *context)
{
    CHECK(shard->tls == NULL);
    shard->tls = tls_engine_create(context, shard->pool, &shard->metrics);
    return shard->tls != NULL;
}

bool shard_use_backbone(struct shard *shard, const struct backbone_shared *backbone)
{
    CHECK(shard->backbone == NULL);
    shard->backbone = backbone_create(shard, backbone);
    return shard->backbone != NULL;
}

int shard_listen(struct shard *shard, int fd, const struct room *room)
{
    return shard_listen_with(shard, fd, room, 0);
}

int shard_listen_with(struct shard *shard, int fd, const struct room *room, unsigned ways)
{
    CHECK(shard->listener_count < SHARD_LISTENERS_MAX);
    CHECK((ways & LISTENER_TLS) == 0 || shard->tls != NULL);
    struct listener *listener = &shard->listeners[shard->listener_count];
    *listener = (struct listener){.shard = shard, .room = room, .ways = ways};
    listener->source.fd = fd;
    listener->source.on_ready = on_acceptable;
    listener->source.rank = NODE_NEXT;
    int failed = node_add(shard->node, &listener->source);
    if (failed == 0)
        shard->listener_count++;
    return failed;
}

static struct net_address address_of(const struct sockaddr_storage *peer)
{
    struct net_address address = {{0}};
    if (peer->ss_family == AF_INET) {
        address.bytes[10] = address.bytes[11] = 0xff;
        memcpy(address.bytes + 12, &((const struct sockaddr_in *)(const void *)peer)->sin_addr, 4);
    } else if (peer->ss_family == AF_INET6) {
        memcpy(address.bytes, &((const struct sockaddr_in6 *)(const void *)peer)->sin6_addr, 16);
    }
    return address;
}

// Here, or where there is more room. What is under way to other shards is bounded by conns_max.
static void place(struct shard *shard, const struct accepted *accepted)
{
    const struct shard_shared *shared = shard->shared;
    const struct listener *listener = &shard->listeners[accepted->listener];
    uint16_t target = placement_enter(shared->placement, shard->index);
    if (target == PLACEMENT_FULL) {
        conn_refuse(listener, accepted->fd);
    } else if (target == shard->index) {
        conn_accepted(listener, accepted->fd, &accepted->peer);
        shard_carry_out(shard);
    } else {
        struct accepted given = *accepted;
        if (BUG(61))
            given.listener = 0;
        shard->metrics.handed_over++;
        post_write(shared->post, shard->index, target, RECORD_ACCEPTED, bytes_of(&given, sizeof(given)), bytes_of(NULL, 0));
    }
}

static bool on_acceptable(struct source *source, uint64_t now_ns)
{
    (void)now_ns;
    struct listener *listener = (struct listener *)(void *)((char *)source - offsetof(struct listener, source));
    struct shard *shard = listener->shard;
    for (int i = 0; i < ACCEPTS_PER_TURN; i++) {
        struct sockaddr_storage peer;
        socklen_t peer_bytes = sizeof(peer);
        int fd = os_accept(source->fd, &peer, &peer_bytes);
        if (fd == -EAGAIN) {
            source->ready &= ~(uint32_t)EPOLLIN;
            return false;
        }
        if (fd == -ECONNABORTED)
            continue;
        if (fd < 0) { // out of descriptors or memory: try again when one has closed, or at the next connection
            shard->metrics.accept_failed++;
            LOG(WARN, "ACCEPT_FAILED", "errno=%d", -fd);
            shard->accept_stalled = true;
            return false;
        }
        const struct accepted accepted = {.fd = fd, .listener = (uint32_t)(listener - shard->listeners), .peer = address_of(&peer)};
        place(shard, &accepted);
    }
    return true;
}

// Another shard accepted it for us.
static void on_accepted(struct shard *shard, struct bytes body)
{
    struct accepted accepted;
    CHECK(body.len == sizeof(accepted));
    memcpy(&accepted, body.ptr, sizeof(accepted));
    if (BUG(60) && shard->stopping)
        return;
    CHECK(accepted.listener < shard->listener_count);
    CHECK(!shard->closing); // its stop fence comes behind it
    conn_accepted(&shard->listeners[accepted.listener], accepted.fd, &accepted.peer);
    shard_carry_out(shard);
}

static void retry_accept(struct shard *shard)
{
    shard->accept_stalled = false;
    for (size_t i = 0; i < shard->listener_count; i++)
        node_ready(shard->node, &shard->listeners[i].source);
}

// ---- slots ----

struct conn *shard_conn(struct shard *shard, uint32_t slot)
{
    CHECK(slot < shard->slot_count);
    return &shard->conn_chunks[slot / CONN_CHUNK][slot % CONN_CHUNK];
}

struct conn *shard_take_slot(struct shard *shard)
{
    CHECK(shard->conn_count < shard->shared->limits.conns_max);
    if (shard->free_conns == NULL) {
        uint32_t first = shard->slot_count;
        struct conn *chunk = calloc(CONN_CHUNK, sizeof(*chunk));
        if (chunk == NULL)
            return NULL;
        shard->conn_chunks[first / CONN_CHUNK] = chunk;
        shard->slot_count += CONN_CHUNK;
        for (uint32_t i = CONN_CHUNK; i-- > 0;) {
            chunk[i].slot = first + i;
            chunk[i].generation = 1;
            chunk[i].next_free = shard->free_conns;
            shard->free_conns = &chunk[i];
        }
    }
    struct conn *conn = shard->free_conns;
    shard->free_conns = conn->next_free;
    shard->conn_count++;
    return conn;
}

// ---- stopping ----

static void stopped(struct shard *shard)
{
    CHECK(shard->conn_count == 0 && !shard->stopped);
    shard->stopped = true;
    timer_unset(node_timers(shard->node), &shard->stop_timer);
    const uint16_t told[] = {shard->shared->accounts_node, shard->shared->main_node, shard->shared->queue_node};
    openrelay_on_time(shard);
    for (size_t i = 0; i < (shard->shared->queue_node != 0 ? 3 : 2); i++)
        post_write(shard->shared->post, shard->index, told[i], RECORD_STOPPED, bytes_of(NULL, 0), bytes_of(NULL, 0));
}

void shard_give_slot(struct shard *shard, struct conn *conn)
{
    CHECK(shard->conn_count > 0);
    conn->next_free = shard->free_conns;
    shard->free_conns = conn;
    shard->conn_count--;
    placement_leave(shard->shared->placement, shard->index);
    if (shard->accept_stalled && !shard->stopping)
        retry_accept(shard);
    if (shard->closing && shard->conn_count == 0 && !shard->stopped)
        stopped(shard);
}

static void close_all(struct shard *shard)
{
    CHECK(shard->stopping && !shard->closing);
    shard->closing = true;
    if (shard->conn_count == 0) {
        stopped(shard);
        return;
    }
    timer_set(node_timers(shard->node), &shard->stop_timer, node_now_ns(shard->node) + shard->shared->limits.stop_timeout_ns);
    for (uint32_t slot = 0; slot < shard->slot_count; slot++) {
        struct conn *conn = shard_conn(shard, slot);
        if (conn->phase == CONN_OPEN)
            conn_close(conn, ERROR_STOPPING);
        else if (conn->phase == CONN_HEAD || conn->phase == CONN_LOGIN)
            conn_drop(conn, ERROR_STOPPING);
    }
    shard_carry_out(shard);
}

// Nobody is closed before every shard has stopped reading and its last data has come: else data that was taken would find its receiver
// gone.
static void try_close_all(struct shard *shard)
{
    if (shard->stopping && !shard->closing && shard->stop_fences == shard->shared->shard_count - 1)
        close_all(shard);
}

static void stop(struct shard *shard)
{
    if (shard->stopping) { // everybody has stopped: the thread may end
        node_stop(shard->node);
        return;
    }
    shard->stopping = true;
    for (size_t i = 0; i < shard->listener_count; i++) {
        node_remove(shard->node, &shard->listeners[i].source);
        os_close(shard->listeners[i].source.fd);
        shard->listeners[i].source.fd = -1;
    }
    for (uint16_t other = 0; other < shard->shared->shard_count; other++)
        if (other != shard->index)
            post_write(shard->shared->post, shard->index, other, RECORD_STOP_FENCE, bytes_of(NULL, 0), bytes_of(NULL, 0));
    try_close_all(shard);
}

static void on_stop_time(struct timer *timer, uint64_t now_ns)
{
    (void)now_ns;
    struct shard *shard = (struct shard *)(void *)((char *)timer - offsetof(struct shard, stop_timer));
    for (uint32_t slot = 0; slot < shard->slot_count; slot++)
        conn_drop(shard_conn(shard, slot), ERROR_STOPPING);
    shard_carry_out(shard);
}

// ---- usage ----

static size_t take_usage(struct conn *conn, struct usage_record *ret_record)
{
    if (conn->usage_sent_bytes == 0 && conn->usage_recv_bytes == 0)
        return 0;
    *ret_record = (struct usage_record){
        .account = conn->account, .address = conn->address, .sent_bytes = conn->usage_sent_bytes, .recv_bytes = conn->usage_recv_bytes};
    conn->usage_sent_bytes = conn->usage_recv_bytes = 0;
    return 1;
}

static void post_usage(struct shard *shard, const struct usage_record *records, size_t count)
{
    if (count > 0)
        post_write(shard->shared->post, shard->index, shard->shared->accounts_node, RECORD_USAGE,
                   bytes_of(records, count * sizeof(*records)), bytes_of(NULL, 0));
}

void shard_usage_now(struct shard *shard, struct conn *conn)
{
    struct usage_record record;
    post_usage(shard, &record, take_usage(conn, &record));
}

static void on_usage_time(struct timer *timer, uint64_t now_ns)
{
    struct shard *shard = (struct shard *)(void *)((char *)timer - offsetof(struct shard, usage_timer));
    struct usage_record records[USAGE_PER_RECORD];
    size_t count = 0;
    // While the accounts node lags behind, connections keep their sums.
    while (shard->usage != NULL && !post_is_full(shard->shared->post, shard->index, shard->shared->accounts_node)) {
        struct conn *conn = shard->usage;
        shard->usage = conn->next_usage;
        conn->in_usage = false;
        count += take_usage(conn, &records[count]);
        if (count == USAGE_PER_RECORD) {
            post_usage(shard, records, count);
            count = 0;
        }
    }
    post_usage(shard, records, count);
    openrelay_on_time(shard);
    if (shard->accept_stalled && !shard->stopping) // those who hold the descriptors may belong to other shards
        retry_accept(shard);
    timer_set(node_timers(shard->node), timer, now_ns + shard->shared->limits.usage_interval_ns);
}

// ---- the router's effects ----

static void carry_out(struct shard *shard, const struct effect *effect)
{
    if (effect->kind == EFFECT_MAIL) {
        post_write(shard->shared->post, shard->index, effect->mail.to_shard, RECORD_MAIL,
                   bytes_of(&effect->mail, mail_wire_bytes(effect->mail.type)), effect->payload);
        return;
    }
    struct conn *conn = shard_conn(shard, effect->slot);
    switch ((enum effect_kind)effect->kind) {
    case EFFECT_EVENT:
        if (conn->phase == CONN_OPEN) {
            conn->unhurried = effect->event == ROUTER_ENTERED || effect->event == ROUTER_EXITED;
            conn->room->on_event(conn, effect->event, &effect->key);
            conn->unhurried = false;
        }
        break;
    case EFFECT_DATA:
        if (conn->phase == CONN_OPEN) {
            shard->metrics.messages_relayed++;
            shard->metrics.bytes_relayed += effect->payload.len;
            conn->room->on_data(conn, &effect->key, effect->payload);
        }
        break;
    case EFFECT_CLOSE:
        conn_close(conn, effect->error);
        break;
    case EFFECT_RESUME:
        conn_resume(conn);
        break;
    case EFFECT_REPORT:
        if (conn->phase == CONN_OPEN && conn->room->on_report != NULL)
            conn->room->on_report(conn, effect->token, effect->report);
        break;
    case EFFECT_RELEASED:
        conn_released(conn);
        break;
    case EFFECT_MAIL:
        UNREACHABLE();
    }
}

void shard_carry_out(struct shard *shard)
{
    for (;;) {
        for (size_t i = 0; i < shard->effects.count; i++)
            carry_out(shard, &shard->effects.items[i]);
        shard->effects.count = 0;
        struct conn *conn = shard->left;
        if (conn != NULL) {
            shard->left = conn->next_leaving;
            conn_left(conn);
            continue;
        }
        conn = shard->leaving;
        if (conn == NULL)
            return;
        shard->leaving = conn->next_leaving;
        router_leave(shard->router, conn->slot, &shard->effects);
    }
}

// ---- records from other nodes ----

static void on_mail(struct shard *shard, struct bytes body)
{
    struct mail mail = {0};
    CHECK(body.len > 0);
    size_t wire = mail_wire_bytes(body.ptr[offsetof(struct mail, type)]);
    CHECK(body.len >= wire && wire <= sizeof(mail));
    memcpy(&mail, body.ptr, wire);
    router_mail(shard->router, &mail, bytes_of(body.ptr + wire, body.len - wire), &shard->effects);
    shard_carry_out(shard);
}

static void on_login_answer(struct shard *shard, struct bytes body)
{
    struct login_answer login;
    CHECK(body.len == sizeof(login));
    memcpy(&login, body.ptr, sizeof(login));
    struct conn *conn = shard_conn(shard, login.slot);
    if (conn->generation == login.generation && conn->phase == CONN_LOGIN)
        conn_login_answered(conn, &login);
}

static void on_signup_answer(struct shard *shard, struct bytes body)
{
    struct signup_answer answer;
    CHECK(body.len == sizeof(answer));
    memcpy(&answer, body.ptr, sizeof(answer));
    struct conn *conn = shard_conn(shard, answer.slot);
    if (conn->generation == answer.generation)
        auth_room_answer(conn, &answer);
    shard_carry_out(shard);
}

static void on_account_ended(struct shard *shard, struct bytes body)
{
    struct account_ended ended;
    CHECK(body.len == sizeof(ended));
    memcpy(&ended, body.ptr, sizeof(ended));
    for (uint32_t slot = 0; slot < shard->slot_count; slot++) {
        struct conn *conn = shard_conn(shard, slot);
        if (conn->phase == CONN_OPEN && conn->account == ended.account)
            conn_close(conn, ERROR_ACCOUNT_ENDED);
    }
    shard_carry_out(shard);
}

static void on_tls_context(struct shard *shard, struct bytes body)
{
    SSL_CTX *context;
    CHECK(body.len == sizeof(context) && shard->tls != NULL);
    memcpy(&context, body.ptr, sizeof(context));
    tls_engine_renew(shard->tls, context);
}

static void on_record(void *owner, const struct post_record *record)
{
    struct shard *shard = owner;
    shard->metrics.mail_in++;
    switch (record->kind) {
    case RECORD_MAIL:
        on_mail(shard, record->body);
        return;
    case RECORD_LOGIN_ANSWER:
        on_login_answer(shard, record->body);
        return;
    case RECORD_SIGNUP_ANSWER:
        on_signup_answer(shard, record->body);
        return;
    case RECORD_ACCOUNT_ENDED:
        on_account_ended(shard, record->body);
        return;
    case RECORD_REPORT_ASK:
        shard_report(shard, record);
        return;
    case RECORD_TLS_CONTEXT:
        on_tls_context(shard, record->body);
        return;
    case RECORD_CRYPTO_ANSWER:
    case RECORD_IDENTITIES:
    case RECORD_BACKBONE_ASK:
    case RECORD_BACKBONE_TOLD:
        backbone_record(shard->backbone, record);
        return;
    case RECORD_QUEUE_BATCH:
    case RECORD_QUEUE_STORED:
    case RECORD_QUEUE_LOOK:
        mailbox_record(shard, record);
        shard_carry_out(shard);
        return;
    case RECORD_QUEUE_TOTAL:
        openrelay_on_record(shard, record);
        shard_carry_out(shard);
        return;
    case RECORD_STOP:
        stop(shard);
        return;
    case RECORD_ACCEPTED:
        on_accepted(shard, record->body);
        return;
    case RECORD_STOP_FENCE:
        shard->stop_fences++;
        try_close_all(shard);
        return;
    default:
        UNREACHABLE();
    }
}

// ---- the end of a turn ----

// Tells the router which shards' post is full; while it resumes sessions it may say that there are more.
static void tell_full(struct shard *shard)
{
    if (!shard->any_full && !post_is_any_full(shard->shared->post, shard->index))
        return;
    bool any_full = false;
    for (uint16_t other = 0; other < shard->shared->shard_count; other++) {
        bool full = post_is_full(shard->shared->post, shard->index, other);
        if (full != shard->full[other] && other != shard->index) { // what rooms post to their own shard is none of the router's
            bool more = router_shard_full(shard->router, other, full, &shard->effects);
            shard_carry_out(shard);
            shard->full[other] = full || more;
        }
        any_full = any_full || shard->full[other];
    }
    shard->any_full = any_full;
}

static void on_turn(void *owner, uint64_t now_ns)
{
    (void)now_ns;
    struct shard *shard = owner;
    shard->metrics.turns++;
    if (BUG(27) && shard->metrics.turns % 8 == 0)
        conn_settle(shard);
    while (shard->dirty != NULL) {
        struct conn *conn = shard->dirty;
        shard->dirty = conn->next_dirty;
        conn->dirty = false;
        conn_flush(conn);
        shard_carry_out(shard);
    }
    tell_full(shard);
}
