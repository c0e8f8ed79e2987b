// OpenRelay's limits: Sends a minute and id, and the month's bytes (protocols/openrelay.md 6). Thread: the shard's.
#include <stdio.h>

#include "net/http.h"
#include "net/openrelay/state.h"
#include "net/queue/queue.h"
#include "net/shard.h"
#include "shards/base/bug.h"
#include "shards/base/check.h"
#include "shards/os.h"

#define TELL_BYTES (1u << 20) // told at once when so much is untold; else every few seconds
#define TB 1e12

void openrelay_on_time(struct shard *shard)
{
    struct openrelay_month *month = &shard->month;
    if (shard->shared->openrelay == NULL || month->month == 0 || month->own_bytes == month->told_bytes)
        return;
    const struct queue_spent spent = {.bytes = month->own_bytes, .month = month->month};
    month->told_bytes = month->own_bytes;
    post_write(shard->shared->post, shard->index, shard->shared->queue_node, RECORD_QUEUE_SPENT, bytes_of(&spent, sizeof(spent)),
               bytes_of(NULL, 0));
}

static uint64_t month_bytes(const struct shard *shard)
{
    return shard->month.others_bytes + shard->month.own_bytes;
}

bool openrelay_spend_bytes(struct shard *shard, uint64_t bytes)
{
    struct openrelay_month *month = &shard->month;
    uint64_t room = INT64_MAX / 4 - month->own_bytes; // a claim may be absurd
    month->own_bytes += bytes < room ? bytes : room;
    if (month->own_bytes - month->told_bytes >= TELL_BYTES)
        openrelay_on_time(shard);
    return month_bytes(shard) < shard->shared->openrelay->stop_bytes;
}

bool openrelay_spend_send(struct conn *conn, uint64_t claimed_bytes, uint64_t real_bytes)
{
    const struct openrelay_config *limits = conn->shard->shared->openrelay;
    char refusal[OPENRELAY_REFUSAL_MAX];
    uint64_t bytes = claimed_bytes > real_bytes ? claimed_bytes : real_bytes;
    if (BUG(42) || openrelay_window_take(&conn->state.openrelay->window, limits->requests_max, limits->points_max,
                                         node_now_ns(conn->shard->node), bytes, refusal))
        return true;
    openrelay_error(conn, refusal, 429);
    return false;
}

void openrelay_on_record(struct shard *shard, const struct post_record *record)
{
    const struct queue_total *total = (const struct queue_total *)(const void *)record->body.ptr;
    struct openrelay_month *month = &shard->month;
    CHECK(record->kind == RECORD_QUEUE_TOTAL && record->body.len == sizeof(*total));
    if (total->month != month->month && month->month != 0)
        month->own_bytes = month->told_bytes = 0;
    month->month = total->month;
    month->others_bytes = total->others_bytes;
}

// ---- pages ----

static bool is_below(struct bytes path, const char *first)
{
    size_t len = strlen(first);
    return path.len >= len && memcmp(path.ptr, first, len) == 0 && (path.len == len || path.ptr[len] == '/');
}

bool openrelay_page(const struct shard *shard, const struct http_request *request, struct openrelay_page *ret_page)
{
    const struct openrelay_config *config = shard->shared->openrelay;
    struct openrelay_page page = {.status = 200, .extra = "", .type = "text/plain; charset=utf-8"};
    if (config == NULL)
        return false;
    if (is_below(request->path, "/health")) {
        snprintf(page.text, sizeof(page.text), "OK");
    } else if (is_below(request->path, "/bandwidth-status")) {
        double bytes = (double)month_bytes(shard);
        snprintf(page.text, sizeof(page.text), "Bandwidth Usage: %.2f TB / %.2f TB (%.2f%%)", bytes / TB, (double)config->month_bytes / TB,
                 bytes / (double)config->month_bytes * 100);
    } else if (is_below(request->path, "/relay") && request->method != HTTP_GET_) {
        page.status = 405;
        page.extra = "Allow: GET\r\n";
        snprintf(page.text, sizeof(page.text), "HTTP method not allowed");
    } else if (config->only && !is_below(request->path, "/relay")) {
        page.status = 404;
        page.type = NULL;
    } else {
        return false;
    }
    *ret_page = page;
    return true;
}
