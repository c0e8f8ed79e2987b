// Metrics and sessions as text: see control_text.h. Names and help of counters come from their tables.
#include "net/control_text.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "net/conn.h"
#include "net/control.h"
#include "net/usage.h"
#include "shards/base/check.h"

#define SESSION_LINE_MAX 400
#define NS_PER_S 1000000000u

void control_add(struct control_sums *sums, const struct report_shard *report)
{
    struct report_shard *sum = &sums->shards;
#define X(name, help) sum->metrics.name += report->metrics.name;
    METRICS_TABLE(X)
#undef X
    for (size_t i = 0; i < ERROR_COUNT; i++)
        sum->metrics.closed[i] += report->metrics.closed[i];
    sum->connections += report->connections;
    sum->pool_bytes += report->pool_bytes;
    sum->router.sessions += report->router.sessions;
    sum->router.links += report->router.links;
    sum->router.data_delivered += report->router.data_delivered;
    sum->router.data_bounced += report->router.data_bounced;
    sum->router.data_lost += report->router.data_lost;
}

static void print(FILE *out, const char *name, const char *type, const char *help, uint64_t value)
{
    fprintf(out, "# HELP shardrelay_%s %s\n# TYPE shardrelay_%s %s\nshardrelay_%s %" PRIu64 "\n", name, help, name, type, name, value);
}

static void print_accounts(FILE *out, const struct accounts_counts *counts)
{
    static const char *const verdicts[] = {"ok", "refused", "throttled", "busy", "failed"};
    _Static_assert(sizeof(verdicts) / sizeof(verdicts[0]) == LOGIN_FAILED + 1, "a name for every verdict");
    fputs("# HELP shardrelay_login_verdicts_total logins by verdict\n# TYPE shardrelay_login_verdicts_total counter\n", out);
    for (size_t i = 0; i <= LOGIN_FAILED; i++)
        fprintf(out, "shardrelay_login_verdicts_total{verdict=\"%s\"} %" PRIu64 "\n", verdicts[i], counts->verdicts[i]);
    print(out, "password_checks_total", "counter", "passwords given to hashing nodes", counts->hashed);
    print(out, "password_checks_joined_total", "counter", "logins that waited for a check of the same credentials", counts->joined);
    print(out, "password_checks_remembered_total", "counter", "logins answered by a remembered check", counts->remembered);
    print(out, "accounts_ended_total", "counter", "accounts whose sessions were told to end", counts->ended);
    print(out, "throttles_displaced_total", "counter", "throttles forgotten for want of room", counts->throttles_displaced);
    print(out, "usage_stores_total", "counter", "transactions that stored usage", counts->usage_stores);
    print(out, "usage_shed_total", "counter", "usage sums that found no room while the database failed", counts->usage_shed);
}

char *control_metrics(const struct control_sums *sums, size_t *ret_len)
{
    char *text = NULL;
    FILE *out = open_memstream(&text, ret_len);
    if (out == NULL)
        return NULL;
    const struct report_shard *shards = &sums->shards;
    print(out, "connections", "gauge", "connections open now", shards->connections);
    print(out, "sessions", "gauge", "authenticated sessions now", shards->router.sessions);
    print(out, "links", "gauge", "halves of connections between devices now", shards->router.links);
    print(out, "buffer_bytes", "gauge", "bytes in queues and half-read messages now", shards->pool_bytes);
    print(out, "data_bounced_total", "counter", "data that met a connection no longer there", shards->router.data_bounced);
    print(out, "data_lost_total", "counter", "data whose receiver left while it was under way", shards->router.data_lost);
#define X(name, help) print(out, #name "_total", "counter", help, shards->metrics.name);
    METRICS_TABLE(X)
#undef X
    fputs("# HELP shardrelay_closed_total connections closed, by reason\n# TYPE shardrelay_closed_total counter\n", out);
    for (size_t i = 0; i < ERROR_COUNT; i++)
        fprintf(out, "shardrelay_closed_total{reason=\"%s\"} %" PRIu64 "\n", error_name((enum error)i), shards->metrics.closed[i]);
    print_accounts(out, &sums->accounts);
    fputs(CONTROL_METRICS_END, out);
    if (fclose(out) == 0)
        return text;
    free(text);
    return NULL;
}

static const char *state_of(const struct report_session *session)
{
    switch ((enum conn_phase)session->phase) {
    case CONN_HEAD:
        return "http";
    case CONN_LOGIN:
        return "login";
    case CONN_OPEN:
        return session->authenticated ? session->waiting ? "waiting" : "open" : "challenged";
    case CONN_CLOSING:
        return "closing";
    case CONN_FREE:
    case CONN_GONE:
        break;
    }
    return "gone";
}

char *control_sessions(uint16_t shard, const struct report_session *sessions, size_t count, size_t *ret_len)
{
    char *text = malloc(count * SESSION_LINE_MAX + 1);
    if (text == NULL)
        return NULL;
    size_t at = 0;
    for (size_t i = 0; i < count; i++) {
        const struct report_session *session = &sessions[i];
        char address[STORE_ADDRESS_MAX + 1], key[2 * REPORT_KEY_BYTES + 1] = "";
        usage_address_text(&session->address, address);
        for (size_t k = 0; session->authenticated && k < REPORT_KEY_BYTES; k++)
            snprintf(key + 2 * k, 3, "%02x", session->key[k]);
        int len = snprintf(text + at, SESSION_LINE_MAX,
                           "{\"shard\":%u,\"slot\":%u,\"account\":%" PRIu64 ",\"address\":\"%s\",\"key\":\"%s\",\"state\":\"%s\","
                           "\"connections\":%u,\"queued_bytes\":%" PRIu64 ",\"silent_s\":%" PRIu64 "}\n",
                           shard, session->slot, session->account, address, key, state_of(session), session->links, session->queued_bytes,
                           session->silent_ns / NS_PER_S);
        CHECK(len > 0 && len < SESSION_LINE_MAX);
        at += (size_t)len;
    }
    *ret_len = at;
    return text;
}
