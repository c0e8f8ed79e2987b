// The WebSocket upgrade, client side (RFC 6455 section 4.1); http-parser reads the answer.
#include "auth/basic.h"
#include "net/ws.h"
#include "shards/base/check.h"
#include "tools/client.h"
#include <http_parser.h>
#include <poll.h>
#include <sodium.h>
#include <stdio.h>
#include <strings.h>

#define ANSWER_TIMEOUT_NS 30000000000u
#define HEAD_MAX 16384
#define VALUE_MAX 128
#define REQUEST_MAX (HEAD_MAX + CLIENT_HOST_MAX + (BASIC_USER_MAX + BASIC_PASSWORD_MAX) * 2)

struct answer {
    http_parser parser;
    bool complete;
    unsigned status;
    char field[32], value[VALUE_MAX];
    bool in_value;
    char accept[VALUE_MAX];
    uint32_t retry_after_s;
};

// Adds a piece to a NUL-terminated text; what is too long for us is none of the names and values that we look for.
static void append(char *text, size_t max, const char *at, size_t len)
{
    size_t used = strlen(text);
    if (used + len >= max)
        len = max - 1 - used;
    memcpy(text + used, at, len);
    text[used + len] = '\0';
}

static void header_done(struct answer *answer)
{
    if (strcasecmp(answer->field, "Sec-WebSocket-Accept") == 0)
        snprintf(answer->accept, sizeof answer->accept, "%s", answer->value);
    if (strcasecmp(answer->field, "Retry-After") == 0 && strlen(answer->value) <= 4 && answer->value[0] >= '0' && answer->value[0] <= '9')
        sscanf(answer->value, "%u", &answer->retry_after_s);
    answer->field[0] = answer->value[0] = '\0';
    answer->in_value = false;
}

static int on_field(http_parser *parser, const char *at, size_t len)
{
    struct answer *answer = parser->data;
    if (answer->in_value)
        header_done(answer);
    append(answer->field, sizeof answer->field, at, len);
    return 0;
}

static int on_value(http_parser *parser, const char *at, size_t len)
{
    struct answer *answer = parser->data;
    answer->in_value = true;
    append(answer->value, sizeof answer->value, at, len);
    return 0;
}

static int on_headers_complete(http_parser *parser)
{
    struct answer *answer = parser->data;
    if (answer->in_value)
        header_done(answer);
    answer->complete = true;
    answer->status = parser->status_code;
    return 0;
}

static size_t request_text(char *ret_text, const struct client_options *options, const struct client_url *url, const char *ws_key)
{
    char login[(BASIC_USER_MAX + BASIC_PASSWORD_MAX) * 2];
    bool bare_v6 = strchr(url->host, ':') != NULL;
    if (basic_format(options->user, options->password, login, sizeof login) == 0)
        return 0;
    int len = snprintf(ret_text, REQUEST_MAX,
                       "GET %s HTTP/1.1\r\nHost: %s%s%s%s%s\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
                       "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: %s\r\nCache-Control: no-cache\r\nAuthorization: %s\r\n"
                       "User-Agent: relayclient/" SHARDRELAY_VERSION "\r\n\r\n",
                       url->path, bare_v6 ? "[" : "", url->host, bare_v6 ? "]" : "", url->default_port ? "" : ":",
                       url->default_port ? "" : url->port, ws_key, login);
    sodium_memzero(login, sizeof login);
    return len > 0 && len < REQUEST_MAX ? (size_t)len : 0;
}

static bool wait_until(const struct transport *transport, short events, uint64_t deadline_ns)
{
    uint64_t now_ns = client_now_ns();
    struct pollfd pollfd = {.fd = transport->fd, .events = events};
    return now_ns < deadline_ns && poll(&pollfd, 1, (int)((deadline_ns - now_ns) / 1000000u) + 1) > 0;
}

static bool send_all(struct transport *transport, const char *text, size_t len, uint64_t deadline_ns)
{
    while (len > 0) {
        int64_t n = transport_write(transport, (const uint8_t *)text, len);
        if (n == TRANSPORT_LOST || (n == TRANSPORT_AGAIN && !wait_until(transport, POLLOUT, deadline_ns)))
            return false;
        if (n > 0) {
            text += n;
            len -= (size_t)n;
        }
    }
    return true;
}

// Reads until the head is complete. The bytes behind it are left at buf + *ret_at.
static const char *read_answer(struct transport *transport, struct answer *answer, uint8_t *buf, size_t *ret_at, size_t *ret_len,
                               uint64_t deadline_ns)
{
    static const http_parser_settings settings = {
        .on_header_field = on_field, .on_header_value = on_value, .on_headers_complete = on_headers_complete};
    size_t total = 0;
    http_parser_init(&answer->parser, HTTP_RESPONSE);
    answer->parser.data = answer;
    while (total < HEAD_MAX) {
        int64_t n = transport_read(transport, buf, CLIENT_REST_MAX);
        if (n == TRANSPORT_LOST)
            return "the relay closed the connection without an answer";
        if (n == TRANSPORT_AGAIN && !wait_until(transport, transport->wants_write ? POLLIN | POLLOUT : POLLIN, deadline_ns))
            return "the relay did not answer within 30 s";
        if (n < 0)
            continue;
        size_t used = http_parser_execute(&answer->parser, &settings, (const char *)buf, (size_t)n);
        if (answer->complete) {
            *ret_at = used;
            *ret_len = (size_t)n;
            return NULL;
        }
        if (HTTP_PARSER_ERRNO(&answer->parser) != HPE_OK)
            return "the answer is not HTTP";
        total += (size_t)n;
    }
    return "the answer's head is too long";
}

static enum client_exit judge(const struct answer *answer, const char *ws_key, uint32_t *ret_retry_after_s, char *error_text)
{
    char accept[29];
    ws_accept(bytes_text(ws_key), accept);
    if (answer->status == 101 && answer->parser.upgrade && strcmp(answer->accept, accept) == 0)
        return CLIENT_OK;
    if (answer->status == 101) {
        snprintf(error_text, CLIENT_ERROR_MAX, "the answer's upgrade headers are wrong: this is no WebSocket relay");
        return CLIENT_FAILED;
    }
    if (answer->status == 403) {
        snprintf(error_text, CLIENT_ERROR_MAX, "the relay refuses user name and password (403)");
        return CLIENT_REFUSED;
    }
    snprintf(error_text, CLIENT_ERROR_MAX, "the relay answered %u %s", answer->status, http_status_str((enum http_status)answer->status));
    *ret_retry_after_s = answer->retry_after_s;
    return answer->status == 429 || answer->status == 503 ? CLIENT_AGAIN : CLIENT_FAILED;
}

enum client_exit client_upgrade(struct transport *transport, const struct client_options *options, const struct client_url *url,
                                uint8_t ret_rest[CLIENT_REST_MAX], size_t *ret_rest_len, uint32_t *ret_retry_after_s, char *error_text)
{
    CHECK(transport->fd >= 0);
    static char request[REQUEST_MAX];
    struct answer answer = {.complete = false};
    uint8_t nonce[16];
    char ws_key[25];
    size_t at = 0;
    size_t len = 0;
    uint64_t deadline_ns = client_now_ns() + ANSWER_TIMEOUT_NS;
    randombytes_buf(nonce, sizeof nonce);
    sodium_bin2base64(ws_key, sizeof ws_key, nonce, sizeof nonce, sodium_base64_VARIANT_ORIGINAL);
    size_t request_len = request_text(request, options, url, ws_key);
    if (request_len == 0) {
        snprintf(error_text, CLIENT_ERROR_MAX, "user name, password or URL is too long");
        return CLIENT_USAGE;
    }
    bool sent = send_all(transport, request, request_len, deadline_ns);
    sodium_memzero(request, sizeof request);
    const char *bad = sent ? read_answer(transport, &answer, ret_rest, &at, &len, deadline_ns) : "the connection was lost";
    if (bad != NULL) {
        snprintf(error_text, CLIENT_ERROR_MAX, "%s", bad);
        return answer.parser.http_errno != 0 ? CLIENT_FAILED : CLIENT_AGAIN;
    }
    enum client_exit result = judge(&answer, ws_key, ret_retry_after_s, error_text);
    memmove(ret_rest, ret_rest + at, len - at);
    *ret_rest_len = len - at;
    return result;
}
