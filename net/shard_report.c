// A shard's answers to the main node: see report.h. Thread: the shard's.
#include "net/report.h"
#include "net/shard.h"
#include "shards/base/check.h"

static void describe(const struct shard *shard, const struct conn *conn, struct report_session *ret_session)
{
    uint64_t now_ns = node_now_ns(shard->node);
    *ret_session = (struct report_session){.account = conn->account, .address = conn->address, .slot = conn->slot, .phase = conn->phase};
    ret_session->queued_bytes = conn->out.bytes;
    ret_session->silent_ns = now_ns > conn->last_input_ns ? now_ns - conn->last_input_ns : 0;
    ret_session->waiting = conn->waiting;
    struct router_session session;
    if (conn->entered && router_session(shard->router, conn_handle(conn), &session)) {
        ret_session->authenticated = 1;
        ret_session->links = session.links;
        memcpy(ret_session->key, session.key.bytes, sizeof(ret_session->key));
    }
}

static void report_sessions(struct shard *shard, uint16_t to, const struct report_ask *ask)
{
    struct report_session sessions[REPORT_SLOTS_MAX];
    struct report_head head = {.ticket = ask->ticket};
    uint32_t slot = ask->slot;
    for (; slot < shard->slot_count && slot - ask->slot < REPORT_SLOTS_MAX; slot++) {
        const struct conn *conn = shard_conn(shard, slot);
        if (conn->phase != CONN_FREE && conn->phase != CONN_GONE)
            describe(shard, conn, &sessions[head.count++]);
    }
    head.slot = slot < shard->slot_count ? slot : 0;
    post_write(shard->shared->post, shard->index, to, RECORD_REPORT, bytes_of(&head, sizeof(head)),
               bytes_of(sessions, head.count * sizeof(sessions[0])));
}

static void report_metrics(struct shard *shard, uint16_t to, const struct report_ask *ask)
{
    const struct report_head head = {.ticket = ask->ticket};
    struct report_shard report = {.metrics = shard->metrics, .connections = shard->conn_count};
    report.pool_bytes = pool_bytes_in_use(shard->pool);
    router_counts(shard->router, &report.router);
    post_write(shard->shared->post, shard->index, to, RECORD_REPORT, bytes_of(&head, sizeof(head)), bytes_of(&report, sizeof(report)));
}

void shard_report(struct shard *shard, const struct post_record *record)
{
    struct report_ask ask;
    CHECK(record->body.len == sizeof(ask) && record->from == shard->shared->main_node);
    memcpy(&ask, record->body.ptr, sizeof(ask));
    if (ask.kind == REPORT_SESSIONS)
        report_sessions(shard, record->from, &ask);
    else
        report_metrics(shard, record->from, &ask);
}
