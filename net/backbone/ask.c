// What shards ask each other about clients: each knows its own, so a question goes to all (the asker's own, too) and is answered when all
// have. Kinds: is this id connected and alive (before a login), which of these ids are connected, how many clients are there.
// A session has one question at a time; its commands wait meanwhile. Thread: the shard's.
//
// Alive: a client is probed with an empty frame, which Backbone's clients skip. When the kernel on its side has acknowledged it, whatever
// more it is being sent, and the client has been heard of within two heartbeat intervals or is not read just now, it is alive.
#include <stdlib.h>

#include "net/backbone/internal.h"
#include "shards/base/bug.h"
#include "shards/base/check.h"
#include "shards/os.h"

#define PROBE_TICK_NS TIMER_TICK_NS
#define PROBE_TIMEOUT_NS 2000000000ull

// RECORD_BACKBONE_ASK; the ids follow.
struct ask {
    struct handle asker;
    uint32_t number; // echoed
    uint8_t kind;    // enum backbone_ask_kind
    uint8_t count;
};

// RECORD_BACKBONE_TOLD
struct told {
    struct handle asker;
    uint32_t number, clients;
    uint64_t held; // bit per id
};

static void tell(struct backbone *backbone, struct handle asker, uint32_t number, uint64_t held)
{
    struct shard *shard = backbone->shard;
    const struct told told = {.asker = asker, .number = number, .clients = backbone->entered, .held = held};
    post_write(shard->shared->post, shard->index, asker.shard, RECORD_BACKBONE_TOLD, bytes_of(&told, sizeof(told)), bytes_of(NULL, 0));
}

bool backbone_ask(struct backbone_session *session, enum backbone_ask_kind kind, const uint8_t (*ids)[BACKBONE_ID_BYTES], uint8_t count)
{
    struct backbone *backbone = session->backbone;
    struct shard *shard = backbone->shard;
    CHECK(session->question == NULL && count <= BACKBONE_QUERY_MAX);
    struct backbone_question *question = calloc(1, sizeof(*question));
    if (question == NULL)
        return false;
    *question = (struct backbone_question){
        .number = ++backbone->question_number, .answers_due = shard->shared->shard_count, .kind = (uint8_t)kind, .count = count};
    if (count > 0)
        memcpy(question->ids, ids, (size_t)count * BACKBONE_ID_BYTES);
    session->question = question;
    const struct ask ask = {.asker = session->handle, .number = question->number, .kind = (uint8_t)kind, .count = count};
    for (uint16_t i = 0; i < shard->shared->shard_count; i++)
        post_write(shard->shared->post, shard->index, i, RECORD_BACKBONE_ASK, bytes_of(&ask, sizeof(ask)),
                   bytes_of(question->ids, (size_t)count * BACKBONE_ID_BYTES));
    return true;
}

// ---- is it alive? ----

static bool heard_lately(const struct backbone *backbone, const struct conn *conn)
{
    if (conn->waiting) // silent because we do not read it
        return true;
    return node_now_ns(backbone->shard->node) < conn->last_input_ns + backbone->shared->heartbeat_interval_s * 2000000000ull;
}

static void probe(struct backbone *backbone, const struct ask *ask, const uint8_t id[BACKBONE_ID_BYTES])
{
    static const uint8_t empty_frame[BACKBONE_HEAD_BYTES];
    struct shard *shard = backbone->shard;
    struct backbone_session *held = backbone_session_find(backbone, id);
    struct backbone_probe *fresh = NULL;
    if (held != NULL && heard_lately(backbone, held->conn) && !BUG(54))
        fresh = calloc(1, sizeof(*fresh));
    if (fresh == NULL || !conn_write(held->conn, bytes_of(empty_frame, sizeof(empty_frame)))) {
        free(fresh);
        tell(backbone, ask->asker, ask->number, 0);
        return;
    }
    uint64_t now_ns = node_now_ns(shard->node);
    *fresh = (struct backbone_probe){.next = backbone->probes,
                                     .asker = ask->asker,
                                     .held = held->handle,
                                     .number = ask->number,
                                     .end_bytes = held->conn->written_bytes + conn_unsent(held->conn),
                                     .deadline_ns = now_ns + PROBE_TIMEOUT_NS};
    backbone->probes = fresh;
    if (!timer_is_set(&backbone->probe_timer))
        timer_set(node_timers(shard->node), &backbone->probe_timer, now_ns + PROBE_TICK_NS);
}

// Whether the peer has all up to there, whatever more it is being sent.
static bool has_arrived(const struct conn *conn, uint64_t end_bytes)
{
    int unacked = os_unacknowledged(conn->source.fd);
    if (unacked < 0 || conn->write_failed) // a hang-up: what it said before is still worked off
        return false;
    bool whole = conn_unsent(conn) == 0 && unacked == 0;
    return whole || (conn->tls == NULL && conn->written_bytes >= end_bytes + (size_t)unacked);
}

// 1: alive; 0: dead; -1: not known yet.
static int outcome(struct backbone *backbone, const struct backbone_probe *probe, uint64_t now_ns)
{
    struct conn *conn = shard_conn(backbone->shard, probe->held.slot);
    if (conn->generation != probe->held.generation || conn->phase != CONN_OPEN)
        return 0;
    if (has_arrived(conn, probe->end_bytes))
        return 1;
    return now_ns >= probe->deadline_ns ? 0 : -1;
}

void backbone_probe_time(struct timer *timer, uint64_t now_ns)
{
    struct backbone *backbone = (struct backbone *)(void *)((char *)timer - offsetof(struct backbone, probe_timer));
    struct backbone_probe **place = &backbone->probes;
    while (*place != NULL) {
        struct backbone_probe *probe = *place;
        int alive = outcome(backbone, probe, now_ns);
        if (alive < 0) {
            place = &probe->next;
            continue;
        }
        tell(backbone, probe->asker, probe->number, (uint64_t)alive);
        *place = probe->next;
        free(probe);
    }
    if (backbone->probes != NULL)
        timer_set(node_timers(backbone->shard->node), timer, now_ns + PROBE_TICK_NS);
}

// ---- records ----

static void on_ask(struct backbone *backbone, struct bytes body)
{
    struct ask ask;
    CHECK(body.len >= sizeof(ask));
    memcpy(&ask, body.ptr, sizeof(ask));
    const uint8_t *ids = body.ptr + sizeof(ask);
    CHECK(body.len == sizeof(ask) + (size_t)ask.count * BACKBONE_ID_BYTES);
    if (ask.kind == ASK_PROBE) {
        probe(backbone, &ask, ids);
        return;
    }
    uint64_t held = 0;
    for (uint32_t i = 0; i < ask.count; i++)
        if (backbone_session_find(backbone, ids + (size_t)i * BACKBONE_ID_BYTES) != NULL)
            held |= 1ull << i;
    tell(backbone, ask.asker, ask.number, held);
}

static void on_told(struct backbone *backbone, struct bytes body)
{
    struct told told;
    CHECK(body.len == sizeof(told));
    memcpy(&told, body.ptr, sizeof(told));
    struct conn *conn = shard_conn(backbone->shard, told.asker.slot);
    if (conn->generation != told.asker.generation || conn->phase != CONN_OPEN)
        return;
    struct backbone_session *session = conn->state.backbone;
    struct backbone_question *question = session->question;
    if (question == NULL || question->number != told.number)
        return;
    question->held |= told.held;
    question->clients += told.clients;
    CHECK(question->answers_due > 0);
    if (--question->answers_due == 0)
        backbone_question_answered(session);
}

void backbone_ask_record(struct backbone *backbone, const struct post_record *record)
{
    if (record->kind == RECORD_BACKBONE_ASK)
        on_ask(backbone, record->body);
    else if (record->kind == RECORD_BACKBONE_TOLD)
        on_told(backbone, record->body);
    else
        UNREACHABLE();
}
