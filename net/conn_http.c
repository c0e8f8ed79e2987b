// The HTTP phase of a connection: one request at a time until one of them upgrades to the relay's WebSocket.
// Resources and refusals: protocols/buckets.md "HTTP layer", with the rights that README.md "Differences" names.
#include "net/http.h"

#include <stdio.h>

#include "net/deflate.h"
#include "net/shard.h"
#include "net/web/pages.h"
#include "shards/base/check.h"
#include "shards/os.h"

#define PIPELINE_BYTES_MAX 65536 // answers queued on one connection before it is closed instead of kept alive
#define ANSWER_BYTES_MAX 65536
#define EXTRA_BYTES_MAX 2048

// With every answer: what it says it is, it is; nobody else's page may show or read it. Pages bring a policy that allows what they need.
#define SAFE_HEADERS                                                                                                                       \
    "X-Content-Type-Options: nosniff\r\nX-Frame-Options: DENY\r\nReferrer-Policy: no-referrer\r\n"                                         \
    "Cross-Origin-Resource-Policy: same-origin\r\n"
#define STRICT_POLICY "Content-Security-Policy: default-src 'none'; frame-ancestors 'none'\r\n"

static void answer(struct conn *conn, const struct http_request *request, unsigned status, const char *extra, const char *type,
                   struct bytes body)
{
    struct shard *shard = conn->shard;
    bool keep = request != NULL && request->keep_alive && request->content_length == 0 && conn->out.bytes < PIPELINE_BYTES_MAX;
    keep = keep && (status < 400 || status == 404 || status == 405) && !shard->stopping;
    bool head_only = request != NULL && request->method == HTTP_HEAD_;
    char lines[EXTRA_BYTES_MAX];
    const char *policy = strstr(extra, "Content-Security-Policy:") == NULL ? STRICT_POLICY : "";
    int lines_len = snprintf(lines, sizeof(lines), "%s" SAFE_HEADERS "%s", extra, policy);
    CHECK(lines_len > 0 && (size_t)lines_len < sizeof(lines));
    size_t len = http_response(shard->scratch, ANSWER_BYTES_MAX, os_wall_s(), status, lines, type, body, keep, head_only);
    CHECK(len > 0);
    shard->metrics.http_requests++;
    if (!conn_write(conn, bytes_of(shard->scratch, len)))
        return;
    if (keep) {
        conn->keep_alive = true;
        conn->deadline_ns = node_now_ns(shard->node) + shard->shared->limits.http_timeout_ns;
    } else {
        conn->close_received = true; // no WebSocket close to wait for
        conn_begin_closing(conn, ERROR_HTTP_DONE);
    }
}

// A refusal: "403 Forbidden" as text, as the original's body.
static void refuse(struct conn *conn, const struct http_request *request, unsigned status, const char *extra)
{
    char text[64];
    int len = snprintf(text, sizeof(text), "%u %s", status, http_reason(status));
    CHECK(len > 0 && (size_t)len < sizeof(text));
    answer(conn, request, status, extra, "text/plain; charset=utf-8", bytes_of(text, (size_t)len));
}

void conn_http_timeout(struct conn *conn)
{
    if (!conn_begun(conn) || (conn->held == NULL && conn->keep_alive))
        conn_drop(conn, ERROR_HTTP_TIMEOUT);
    else
        refuse(conn, NULL, 408, "");
}

// As the original: the version decides whether this is a WebSocket request; Upgrade and Connection may be missing (proxies drop them).
// Returns the status to refuse with, 0: go on.
static unsigned upgrade_refusal(const struct http_request *request, const char **ret_extra)
{
    struct bytes version = http_header(request, "Sec-WebSocket-Version");
    *ret_extra = "";
    if (version.len == 0 || version.len > 3)
        return 400;
    for (size_t i = 0; i < version.len; i++)
        if (version.ptr[i] < '0' || version.ptr[i] > '9')
            return 400;
    if (bytes_equal(version, bytes_text("13")))
        return 0;
    *ret_extra = "Sec-WebSocket-Version: 13\r\n";
    return 426;
}

static void upgrade_own(struct conn *conn, const struct http_request *request)
{
    const char *refusal = NULL;
    const struct room *room = conn->route->room;
    size_t len = room->on_upgrade(request, os_wall_s(), conn->shard->scratch, ANSWER_BYTES_MAX, &refusal);
    CHECK((len > 0) != (refusal != NULL));
    if (refusal != NULL)
        answer(conn, request, 400, "", "text/plain; charset=utf-8", bytes_text(refusal));
    else if (conn_write(conn, bytes_of(conn->shard->scratch, len)))
        conn_open(conn, room);
}

static void upgrade(struct conn *conn, const struct http_request *request)
{
    if (conn->route->room->on_upgrade != NULL) {
        upgrade_own(conn, request);
        return;
    }
    const char *extra;
    unsigned status = upgrade_refusal(request, &extra);
    char offer[1024], extension[DEFLATE_ANSWER_MAX];
    int offer_len = http_header_joined(request, "Sec-WebSocket-Extensions", offer, sizeof(offer));
    uint8_t window_bits = 0;
    int extension_len = 0;
    if (offer_len > 0)
        extension_len = deflate_negotiate(bytes_of(offer, (size_t)offer_len), extension, sizeof(extension), &window_bits);
    if (status == 0 && (offer_len < 0 || extension_len < 0))
        status = 400;
    if (status != 0) {
        refuse(conn, request, status, extra);
        return;
    }
    bool deflate = conn->shard->shared->limits.deflate && extension_len > 0;
    uint8_t *out = conn->shard->scratch;
    struct bytes key = http_header(request, "Sec-WebSocket-Key");
    size_t len = http_switch(out, ANSWER_BYTES_MAX, os_wall_s(), key, deflate ? extension : NULL);
    CHECK(len > 0);
    if (!conn_write(conn, bytes_of(out, len)))
        return;
    conn->deflate = deflate;
    conn->deflate_bits = window_bits;
    conn_open(conn, conn->route->room);
}

static bool asks_login(struct conn *conn, const struct http_request *request)
{
    struct shard *shard = conn->shard;
    struct login_request login = {.slot = conn->slot, .generation = conn->generation, .address = conn->address};
    if (!basic_parse(http_header(request, "Authorization"), &login.credentials)) {
        shard->metrics.logins_refused++;
        refuse(conn, request, 403, "");
        return false;
    }
    if (post_is_full(shard->shared->post, shard->index, shard->shared->accounts_node)) {
        basic_wipe(&login.credentials);
        shard->metrics.logins_busy++;
        refuse(conn, request, 503, "Retry-After: 1\r\n");
        return false;
    }
    conn->phase = CONN_LOGIN;
    conn->deadline_ns = 0;
    accounts_login(shard->shared->post, shard->index, shard->shared->accounts_node, &login);
    basic_wipe(&login.credentials);
    return true;
}

static const struct route *find_route(const struct shard_shared *shared, struct bytes path)
{
    for (size_t i = 0; i < shared->route_count; i++) {
        const struct route *route = &shared->routes[i];
        size_t len = strlen(route->path);
        if (route->multi_user && !shared->multi_user)
            continue;
        if (path.len < len || memcmp(path.ptr, route->path, len) != 0)
            continue;
        if (path.len == len || (route->below && path.ptr[len] == '/'))
            return route;
    }
    return NULL;
}

// True: the head stays in the input, because the login's answer needs it again.
static bool dispatch(struct conn *conn, const struct http_request *request)
{
    const struct shard_shared *shared = conn->shard->shared;
    struct page page;
    struct openrelay_page own;
    conn_find_client(conn, request);
    if (openrelay_page(conn->shard, request, &own)) {
        answer(conn, request, own.status, own.extra, own.type, bytes_text(own.text));
        return false;
    }
    conn->route = find_route(shared, request->path);
    if (conn->route == NULL && !page_find(request, shared->multi_user, shared->licences, &page))
        refuse(conn, request, 404, "");
    else if (request->method != HTTP_GET_ && (conn->route != NULL || request->method != HTTP_HEAD_))
        refuse(conn, request, 405, conn->route != NULL ? "Allow: GET\r\n" : "Allow: GET, HEAD\r\n");
    else if (conn->route == NULL)
        answer(conn, request, page.status, page.extra, page.type, page.body);
    else if (conn->route->login)
        return asks_login(conn, request);
    else
        upgrade(conn, request);
    return false;
}

size_t conn_http_input(struct conn *conn, uint8_t *ptr, size_t len)
{
    struct http_request request;
    size_t head_len = 0;
    enum http_status status = http_parse(bytes_of(ptr, len), &request, &head_len);
    if (status == HTTP_INCOMPLETE)
        return 0;
    if (status != HTTP_OK) {
        refuse(conn, NULL, (unsigned)status, "");
        return len;
    }
    return dispatch(conn, &request) ? 0 : head_len;
}

// ---- the login's answer ----

static void refuse_login(struct conn *conn, const struct http_request *request, const struct login_answer *login)
{
    char retry[48];
    struct metrics *metrics = &conn->shard->metrics;
    snprintf(retry, sizeof(retry), "Retry-After: %u\r\n", login->retry_after_s > 0 ? login->retry_after_s : 1);
    switch ((enum login_verdict)login->verdict) {
    case LOGIN_THROTTLED:
        metrics->logins_throttled++;
        refuse(conn, request, 429, retry);
        return;
    case LOGIN_BUSY:
        metrics->logins_busy++;
        refuse(conn, request, 503, retry);
        return;
    case LOGIN_FAILED:
        refuse(conn, request, 500, "");
        return;
    case LOGIN_REFUSED:
    case LOGIN_OK:
        metrics->logins_refused++;
        refuse(conn, request, 403, "");
        return;
    }
    UNREACHABLE();
}

void conn_login_answered(struct conn *conn, const struct login_answer *answer)
{
    CHECK(conn->phase == CONN_LOGIN && !conn->login_answered);
    conn->state.login = *answer;
    conn->login_answered = true;
    node_ready(conn->shard->node, &conn->source);
}

void conn_login_carry_out(struct conn *conn)
{
    struct login_answer login = conn->state.login;
    struct http_request request;
    size_t head_len = 0;
    struct block *held = conn->held;
    CHECK(conn->phase == CONN_LOGIN && conn->login_answered && held != NULL);
    conn->login_answered = false;
    memset(&conn->state, 0, sizeof(conn->state)); // as rooms expect it
    enum http_status status = http_parse(bytes_of(held->data + held->start, held->end - held->start), &request, &head_len);
    CHECK(status == HTTP_OK);
    conn->phase = CONN_HEAD;
    if (login.verdict == LOGIN_OK) {
        conn->shard->metrics.logins++;
        conn->account = login.account;
        upgrade(conn, &request);
    } else {
        refuse_login(conn, &request, &login);
    }
    if (conn->phase == CONN_GONE || conn->phase == CONN_FREE)
        return;
    held->start += (uint32_t)head_len;
    if (held->start == held->end) {
        conn->held = NULL;
        pool_give(conn->shard->pool, held);
    }
    node_ready(conn->shard->node, &conn->source);
    conn_arm_timer(conn);
}
