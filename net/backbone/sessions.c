// A shard's Backbone sessions: made, found by id, freed; and the records that concern them. See internal.h.
#include <stdlib.h>

#include "net/backbone/internal.h"
#include "shards/base/bug.h"
#include "shards/base/check.h"

struct backbone *backbone_create(struct shard *shard, const struct backbone_shared *shared)
{
    CHECK(shared->worker_count > 0 && shared->worker_count <= BACKBONE_WORKERS_MAX);
    struct backbone *backbone = calloc(1, sizeof(*backbone));
    if (backbone == NULL)
        return NULL;
    backbone->shard = shard;
    backbone->shared = shared;
    backbone->probe_timer.on_time = backbone_probe_time;
    return backbone;
}

struct backbone_session *backbone_session_create(struct backbone *backbone, struct conn *conn)
{
    struct backbone_session *session = calloc(1, sizeof(*session));
    if (session == NULL)
        return NULL;
    session->backbone = backbone;
    session->conn = conn;
    session->handle = conn_handle(conn);
    session->in.kind = CRYPTO_DECRYPT;
    session->out.kind = CRYPTO_ENCRYPT;
    session->next = backbone->sessions;
    if (session->next != NULL)
        session->next->prev = session;
    backbone->sessions = session;
    return session;
}

static void clear_lane(struct backbone_session *session, struct backbone_lane *lane)
{
    struct pool *pool = session->backbone->shard->pool;
    while (lane->head != NULL) {
        struct backbone_work *work = lane->head;
        lane->head = work->next;
        pool_give(pool, work->input);
        pool_give(pool, work->output);
        free(work);
    }
    lane->tail = lane->giving = NULL;
}

static void free_session(struct backbone_session *session)
{
    struct backbone *backbone = session->backbone;
    struct pool *pool = backbone->shard->pool;
    clear_lane(session, &session->in);
    clear_lane(session, &session->out);
    pool_give(pool, session->challenge);
    pool_give(pool, session->partial);
    for (size_t i = 0; i < BACKBONE_WORKERS_MAX; i++)
        rsa_key_destroy(session->peer.keys[i]);
    free(session->question);
    mailbox_fini(backbone->shard, &session->mailbox);
    if (session->prev != NULL)
        session->prev->next = session->next;
    else
        backbone->sessions = session->next;
    if (session->next != NULL)
        session->next->prev = session->prev;
    free(session);
}

void backbone_destroy(struct backbone *backbone)
{
    if (backbone == NULL)
        return;
    while (backbone->sessions != NULL) // what was under way when the crypto nodes ended
        free_session(backbone->sessions);
    while (backbone->probes != NULL) {
        struct backbone_probe *probe = backbone->probes;
        backbone->probes = probe->next;
        free(probe);
    }
    timer_unset(node_timers(backbone->shard->node), &backbone->probe_timer);
    free(backbone);
}

// ---- the table of ids ----

static struct backbone_session **chain_of(struct backbone *backbone, const uint8_t id[BACKBONE_ID_BYTES])
{
    return &backbone->by_id[hash_bytes(&backbone->shard->shared->secret, id, BACKBONE_ID_BYTES) % BACKBONE_IDS];
}

void backbone_session_enter(struct backbone_session *session)
{
    struct backbone_session **chain = chain_of(session->backbone, session->id);
    CHECK(session->stage == STAGE_ENTERED);
    session->next_same = *chain;
    *chain = session;
    session->backbone->entered++;
}

struct backbone_session *backbone_session_find(struct backbone *backbone, const uint8_t id[BACKBONE_ID_BYTES])
{
    struct backbone_session *session = *chain_of(backbone, id);
    while (session != NULL && memcmp(session->id, id, BACKBONE_ID_BYTES) != 0)
        session = session->next_same;
    return session;
}

static void leave_table(struct backbone_session *session)
{
    struct backbone_session **place = chain_of(session->backbone, session->id);
    while (*place != session) {
        CHECK(*place != NULL);
        place = &(*place)->next_same;
    }
    *place = session->next_same;
    session->backbone->entered--;
}

void backbone_session_settle(struct backbone_session *session)
{
    bool speaks = session->farewell && session->out.head != NULL;
    if (session->stage == STAGE_OVER && session->tasks == 0 && session->pins == 0 && !session->in_line && !speaks)
        free_session(session);
}

void backbone_session_over(struct backbone_session *session)
{
    CHECK(session->stage != STAGE_OVER);
    if (session->stage == STAGE_ENTERED)
        leave_table(session);
    session->stage = STAGE_OVER;
    session->login_due = session->check_due = session->known_due = false;
    session->in.giving = NULL;
    if (!session->farewell)
        session->out.giving = NULL;
    backbone_session_settle(session);
}

// ---- records ----

static void on_answer(struct backbone *backbone, const struct post_record *record)
{
    struct crypto_task task;
    CHECK(record->body.len >= sizeof(task));
    memcpy(&task, record->body.ptr, sizeof(task));
    struct bytes result = bytes_of(record->body.ptr + sizeof(task), record->body.len - sizeof(task));
    struct backbone_session *session = task.session;
    CHECK(session->tasks > 0 && backbone->tasks > 0);
    backbone->tasks--;
    backbone->logins -= task.kind == CRYPTO_LOGIN;
    backbone->load[record->from - backbone->shared->worker_first] -= task.cost;
    if (task.kind == CRYPTO_LOGIN) {
        backbone_login_answered(session, &task, result);
    } else if (task.kind == CRYPTO_CHECK) {
        backbone_check_answered(session, task.is_sound);
    } else if (task.kind == CRYPTO_KNOWN) {
        backbone_known_answered(session, &task, result);
    } else {
        backbone_lane_back(session, &task, result);
        backbone_pump(session);
        if (task.kind == CRYPTO_DECRYPT)
            backbone_in_ready(session);
        else
            backbone_out_ready(session);
    }
    shard_carry_out(backbone->shard);
    session->tasks--; // only now, so that what was called above could not free it
    backbone_session_settle(session);
    if (!BUG(57))
        backbone_pump_lines(backbone);
}

static void on_changed(struct backbone *backbone)
{
    for (struct backbone_session *session = backbone->sessions; session != NULL; session = session->next) {
        session->check_due = session->stage == STAGE_PROVED || session->stage == STAGE_ENTERED;
        backbone_pump(session);
    }
}

void backbone_record(struct backbone *backbone, const struct post_record *record)
{
    if (record->kind == RECORD_CRYPTO_ANSWER)
        on_answer(backbone, record);
    else if (record->kind == RECORD_IDENTITIES)
        on_changed(backbone);
    else
        backbone_ask_record(backbone, record);
    shard_carry_out(backbone->shard);
}
