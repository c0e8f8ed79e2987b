// Request heads good and bad, each whole and as every prefix; responses byte for byte.
#include "net/http.h"

#include <stdio.h>
#include <stdlib.h>

#include "net/split_test.h"
#include "shards/base/check.h"

#define GET "GET / HTTP/1.1\r\n"
#define HOST "Host: x\r\n"

// A copy in a block of its exact size, so that AddressSanitizer sees a read beyond the head.
static enum http_status parse_exact(const char *text, size_t len, struct http_request *ret_request, size_t *ret_len, uint8_t **ret_copy)
{
    uint8_t *copy = malloc(len + 1);
    CHECK(copy != NULL);
    memcpy(copy + 1, text, len);
    *ret_copy = copy;
    return http_parse(bytes_of(copy + 1, len), ret_request, ret_len);
}

static const struct {
    const char *name;
    const char *head;
    enum http_status status;
} cases[] = {
    {"1.1", GET HOST "\r\n", HTTP_OK},
    {"1.0 without Host", "GET / HTTP/1.0\r\n\r\n", HTTP_OK},
    {"body follows", "POST / HTTP/1.1\r\n" HOST "Content-Length: 5\r\n\r\nhello", HTTP_OK},
    {"body of the largest size", "POST / HTTP/1.1\r\n" HOST "Content-Length: 65536\r\n\r\n", HTTP_OK},
    {"body too large", "POST / HTTP/1.1\r\n" HOST "Content-Length: 65537\r\n\r\n", HTTP_PAYLOAD_TOO_LARGE},
    {"empty lines ahead", "\r\n\r\n" GET HOST "\r\n", HTTP_OK},
    {"empty value", GET HOST "A:\r\nB: \r\nC:x\r\n\r\n", HTTP_OK},
    {"method unknown here", "DELETE / HTTP/1.1\r\n" HOST "\r\n", HTTP_OK},
    {"method unknown to all", "FROB / HTTP/1.1\r\n" HOST "\r\n", HTTP_NOT_IMPLEMENTED},
    {"star", "OPTIONS * HTTP/1.1\r\n" HOST "\r\n", HTTP_OK},
    {"CONNECT", "CONNECT a.example:443 HTTP/1.1\r\n" HOST "\r\n", HTTP_OK},
    {"no Host", GET "\r\n", HTTP_BAD_REQUEST},
    {"two Hosts", GET HOST HOST "\r\n", HTTP_BAD_REQUEST},
    {"HTTP/2.0", "GET / HTTP/2.0\r\n" HOST "\r\n", HTTP_VERSION_UNSUPPORTED},
    {"HTTP/0.9", "GET /\r\n\r\n", HTTP_BAD_REQUEST},
    {"HTTP/1.12", "GET / HTTP/1.12\r\n" HOST "\r\n", HTTP_BAD_REQUEST},
    {"lower-case http", "GET / http/1.1\r\n" HOST "\r\n", HTTP_BAD_REQUEST},
    {"TLS hello", "\x16\x03\x01\x02", HTTP_BAD_REQUEST},
    {"space ahead", " GET / HTTP/1.1\r\n" HOST "\r\n", HTTP_BAD_REQUEST},
    {"two spaces after the method", "GET  / HTTP/1.1\r\n" HOST "\r\n", HTTP_BAD_REQUEST},
    {"two spaces ahead of the version", "GET /  HTTP/1.1\r\n" HOST "\r\n", HTTP_BAD_REQUEST},
    {"space after the version", "GET / HTTP/1.1 \r\n" HOST "\r\n", HTTP_BAD_REQUEST},
    {"no target", "GET HTTP/1.1\r\n" HOST "\r\n", HTTP_BAD_REQUEST},
    {"fragment", "GET /#a HTTP/1.1\r\n" HOST "\r\n", HTTP_BAD_REQUEST},
    {"target not ASCII", "GET /\xc3\xa4 HTTP/1.1\r\n" HOST "\r\n", HTTP_BAD_REQUEST},
    {"target without slash", "GET x HTTP/1.1\r\n" HOST "\r\n", HTTP_BAD_REQUEST},
    {"bare LF", "GET / HTTP/1.1\n" HOST "\r\n", HTTP_BAD_REQUEST},
    {"bare LF after a header", GET "Host: x\n\r\n", HTTP_BAD_REQUEST},
    {"bare CR in a value", GET "Host: x\ry\r\n\r\n", HTTP_BAD_REQUEST},
    {"folded line", GET HOST "A: b\r\n c\r\n\r\n", HTTP_BAD_REQUEST},
    {"folded by tab", GET HOST "A: b\r\n\tc\r\n\r\n", HTTP_BAD_REQUEST},
    {"space ahead of the first header", GET " " HOST "\r\n", HTTP_BAD_REQUEST},
    {"space ahead of the colon", GET "Host : x\r\n\r\n", HTTP_BAD_REQUEST},
    {"no name", GET HOST ": x\r\n\r\n", HTTP_BAD_REQUEST},
    {"no colon", GET HOST "abc\r\n\r\n", HTTP_BAD_REQUEST},
    {"control byte in a value", GET HOST "A: \x01\r\n\r\n", HTTP_BAD_REQUEST},
    {"DEL in a value", GET HOST "A: \x7f\r\n\r\n", HTTP_BAD_REQUEST},
    {"length twice", GET HOST "Content-Length: 1\r\nContent-Length: 2\r\n\r\n", HTTP_BAD_REQUEST},
    {"same length twice", GET HOST "Content-Length: 1\r\nContent-Length: 1\r\n\r\n", HTTP_BAD_REQUEST},
    {"length list", GET HOST "Content-Length: 1, 1\r\n\r\n", HTTP_BAD_REQUEST},
    {"length with sign", GET HOST "Content-Length: +1\r\n\r\n", HTTP_BAD_REQUEST},
    {"length empty", GET HOST "Content-Length:\r\n\r\n", HTTP_BAD_REQUEST},
    {"length empty, then another", GET HOST "Content-Length:\r\nContent-Length: 3\r\n\r\n", HTTP_BAD_REQUEST},
    {"length beyond 64 bits", GET HOST "Content-Length: 99999999999999999999\r\n\r\n", HTTP_BAD_REQUEST},
    {"chunked", GET HOST "Transfer-Encoding: chunked\r\n\r\n", HTTP_NOT_IMPLEMENTED},
    {"other coding", GET HOST "Transfer-Encoding: gzip\r\n\r\n", HTTP_NOT_IMPLEMENTED},
    {"chunked and length", GET HOST "Transfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n", HTTP_BAD_REQUEST},
    {"length and other coding", GET HOST "Content-Length: 1\r\nTransfer-Encoding: gzip\r\n\r\n", HTTP_BAD_REQUEST},
};

static void test_cases(void)
{
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct http_request request;
        uint8_t *copy;
        size_t used = 0, len = strlen(cases[i].head);
        enum http_status status = parse_exact(cases[i].head, len, &request, &used, &copy);
        free(copy);
        if (status != cases[i].status) {
            fprintf(stderr, "%s: got %u, expected %u\n", cases[i].name, (unsigned)status, (unsigned)cases[i].status);
            exit(1);
        }
        for (size_t part = 0; part < len; part++) {
            enum http_status prefix = parse_exact(cases[i].head, part, &request, &used, &copy);
            free(copy);
            if (prefix == HTTP_INCOMPLETE || (prefix == HTTP_OK && status == HTTP_OK && used <= part))
                continue;
            if (prefix == HTTP_OK || status == HTTP_OK) {
                fprintf(stderr, "%s: %u after %zu bytes\n", cases[i].name, (unsigned)prefix, part);
                exit(1);
            }
        }
    }
    struct http_request request;
    size_t used;
    CHECK(http_parse(bytes_of(GET "Host: a\0b\r\n\r\n", sizeof(GET "Host: a\0b\r\n\r\n") - 1), &request, &used) == HTTP_BAD_REQUEST);
}

static bool is(struct bytes bytes, const char *text)
{
    return bytes_equal(bytes, bytes_text(text));
}

static void test_fields(void)
{
    static const char text[] =
        "\r\nGET /v1/relay?x=y HTTP/1.1\r\nHost:h:9001\r\nConnection: keep-alive,  Upgrade \r\nUPGRADE: WebSocket\r\n"
        "Sec-WebSocket-Extensions: a; b\r\nAuthorization:  \t Basic abc= \t\r\nsec-websocket-extensions: c\r\n\r\nrest";
    char joined[8];
    struct http_request request;
    size_t used;
    CHECK(http_parse(bytes_text(text), &request, &used) == HTTP_OK);
    CHECK(used == sizeof(text) - 1 - 4 && request.method == HTTP_GET_ && is(request.method_text, "GET"));
    CHECK(is(request.path, "/v1/relay") && is(request.query, "x=y") && request.minor_version == 1);
    CHECK(request.keep_alive && request.upgrade && request.content_length == 0 && request.header_count == 6);
    CHECK(is(http_header(&request, "authorization"), "Basic abc=") && is(http_header(&request, "HOST"), "h:9001"));
    CHECK(http_header(&request, "Origin").ptr == NULL);
    CHECK(http_header_joined(&request, "Sec-WebSocket-Extensions", joined, sizeof(joined)) == 7);
    CHECK(memcmp(joined, "a; b, c", 7) == 0);
    CHECK(http_header_joined(&request, "Sec-WebSocket-Extensions", joined, 6) == -1);
    CHECK(http_header_joined(&request, "Origin", joined, 0) == 0);
}

static const struct {
    const char *line, *path, *query;
} targets[] = {
    {"GET / ", "/", ""},
    {"GET /? ", "/", ""},
    {"GET /a?b?c ", "/a", "b?c"},
    {"GET //a/../b ", "//a/../b", ""},
    {"GET http://h:80/v1/relay?q ", "/v1/relay", "q"},
    {"GET http://h ", "/", ""},
    {"GET http://h?q ", "/", "q"},
    {"OPTIONS * ", "*", ""},
    {"CONNECT h:1 ", "h:1", ""},
};

static void test_targets(void)
{
    for (size_t i = 0; i < sizeof(targets) / sizeof(targets[0]); i++) {
        char text[200];
        struct http_request request;
        size_t used;
        snprintf(text, sizeof(text), "%sHTTP/1.1\r\n" HOST "\r\n", targets[i].line);
        enum http_status status = http_parse(bytes_text(text), &request, &used);
        if (status != HTTP_OK || !is(request.path, targets[i].path) || !is(request.query, targets[i].query)) {
            fprintf(stderr, "%s: status %u, path %.*s\n", targets[i].line, (unsigned)status, (int)request.path.len, request.path.ptr);
            exit(1);
        }
    }
}

static const struct {
    const char *version, *connection;
    bool keep_alive;
} connections[] = {
    {"1.1", "Connection: x\r\n", true},
    {"1.1", "Connection: Close\r\n", false},
    {"1.1", "Connection: keep-alive\r\nConnection: a, close\r\n", false},
    {"1.0", "", false},
    {"1.0", "Connection: Keep-Alive\r\n", true},
    {"1.0", "Connection: keep-alive, close\r\n", false},
};

static void test_keep_alive(void)
{
    for (size_t i = 0; i < sizeof(connections) / sizeof(connections[0]); i++) {
        char text[200];
        struct http_request request;
        size_t used;
        snprintf(text, sizeof(text), "GET / HTTP/%s\r\n" HOST "%s\r\n", connections[i].version, connections[i].connection);
        CHECK(http_parse(bytes_text(text), &request, &used) == HTTP_OK);
        CHECK(request.keep_alive == connections[i].keep_alive && !request.upgrade);
    }
}

static void test_limits(void)
{
    static char text[HTTP_HEAD_MAX + 2];
    struct http_request request;
    size_t used, len = strlen(GET HOST "A: ");
    memset(text, 'x', sizeof(text));
    memcpy(text, GET HOST "A: ", len);
    memcpy(text + HTTP_HEAD_MAX - 4, "\r\n\r\n", 4);
    CHECK(http_parse(bytes_of(text, HTTP_HEAD_MAX), &request, &used) == HTTP_OK && used == HTTP_HEAD_MAX);
    CHECK(http_parse(bytes_of(text, HTTP_HEAD_MAX - 1), &request, &used) == HTTP_INCOMPLETE);
    memset(text + HTTP_HEAD_MAX - 4, 'x', 5);
    CHECK(http_parse(bytes_of(text, HTTP_HEAD_MAX - 1), &request, &used) == HTTP_INCOMPLETE);
    CHECK(http_parse(bytes_of(text, HTTP_HEAD_MAX), &request, &used) == HTTP_HEAD_TOO_LARGE);
    memcpy(text + HTTP_HEAD_MAX - 3, "\r\n\r\n", 4);
    CHECK(http_parse(bytes_of(text, HTTP_HEAD_MAX + 1), &request, &used) == HTTP_HEAD_TOO_LARGE);
    for (size_t i = 0; i < HTTP_HEAD_MAX; i++)
        text[i] = "\r\n"[i % 2];
    CHECK(http_parse(bytes_of(text, HTTP_HEAD_MAX), &request, &used) == HTTP_HEAD_TOO_LARGE);
    CHECK(http_parse(bytes_of(text, HTTP_HEAD_MAX - 1), &request, &used) == HTTP_INCOMPLETE);
}

static void test_header_count(void)
{
    char text[HTTP_HEAD_MAX];
    struct http_request request;
    size_t used;
    for (int extra = 0; extra < 2; extra++) {
        int len = snprintf(text, sizeof(text), GET HOST);
        for (int i = 1; i < HTTP_HEADERS_MAX + extra; i++)
            len += snprintf(text + len, sizeof(text) - (size_t)len, "A: b\r\n");
        snprintf(text + len, sizeof(text) - (size_t)len, "\r\n");
        CHECK(http_parse(bytes_text(text), &request, &used) == (extra ? HTTP_HEAD_TOO_LARGE : HTTP_OK));
    }
}

static void test_tokens(void)
{
    CHECK(http_has_token(bytes_text("a, Upgrade ,b"), "upgrade") && http_has_token(bytes_text("upgrade"), "upgrade"));
    CHECK(http_has_token(bytes_text(",,\tUPGRADE"), "upgrade") && !http_has_token(bytes_text("upgrades, x upgrade"), "upgrade"));
    CHECK(!http_has_token(bytes_of(NULL, 0), "upgrade") && !http_has_token(bytes_text(","), "upgrade"));
}

static void expect_text(const uint8_t *out, size_t len, const char *expected)
{
    if (len != strlen(expected) || memcmp(out, expected, len) != 0) {
        fprintf(stderr, "got:\n%.*s\nexpected:\n%s\n", (int)len, out, expected);
        exit(1);
    }
}

static void test_responses(void)
{
    uint8_t out[400];
    size_t len = http_response(out, sizeof(out), 784111777, 403, "", NULL, bytes_text("403 Forbidden"), false, false);
    expect_text(out, len,
                "HTTP/1.1 403 Forbidden\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\nContent-Length: 13\r\nConnection: close\r\n\r\n"
                "403 Forbidden");
    size_t exact = http_response(out, len + 1, 784111777, 403, "", NULL, bytes_text("403 Forbidden"), false, false);
    CHECK(exact == len);
    CHECK(http_response(out, len - 1, 784111777, 403, "", NULL, bytes_text("403 Forbidden"), false, false) == 0);
    CHECK(http_response(out, 20, 784111777, 403, "", NULL, bytes_text("403 Forbidden"), false, false) == 0);
    len = http_response(out, sizeof(out), 784111777, 304, "ETag: \"x\"\r\n", NULL, bytes_of(NULL, 0), true, false);
    CHECK(bytes_equal(bytes_of(out, len), bytes_text("HTTP/1.1 304 Not Modified\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\n"
                                                     "ETag: \"x\"\r\nConnection: keep-alive\r\n\r\n")));
    len = http_response(out, sizeof(out), 0, 405, "Allow: GET\r\n", "text/plain", bytes_text("no"), true, true);
    expect_text(out, len,
                "HTTP/1.1 405 Method Not Allowed\r\nDate: Thu, 01 Jan 1970 00:00:00 GMT\r\nAllow: GET\r\nContent-Type: text/plain\r\n"
                "Content-Length: 2\r\nConnection: keep-alive\r\n\r\n");
    CHECK(strcmp(http_reason(431), "Request Header Fields Too Large") == 0 && strcmp(http_reason(503), "Service Unavailable") == 0);
}

static void test_switch(void)
{
    uint8_t out[400];
    struct bytes key = bytes_text("dGhlIHNhbXBsZSBub25jZQ==");
    size_t len = http_switch(out, sizeof(out), 784111777, key, NULL);
    expect_text(out, len,
                "HTTP/1.1 101 Switching Protocols\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                "Sec-Websocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n");
    CHECK(http_switch(out, len, 784111777, key, NULL) == 0);
    len = http_switch(out, sizeof(out), 784111777, key, "permessage-deflate");
    expect_text(
        out, len,
        "HTTP/1.1 101 Switching Protocols\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\nSec-Websocket-Extensions: permessage-deflate\r\n"
        "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-Websocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n");
}

static void test_dates(void)
{
    char date[30];
    http_date(951782400, date);
    CHECK(strcmp(date, "Tue, 29 Feb 2000 00:00:00 GMT") == 0);
    http_date(253402300799, date);
    CHECK(strcmp(date, "Fri, 31 Dec 9999 23:59:59 GMT") == 0);
}

int main(void)
{
    test_cases();
    test_fields();
    test_targets();
    test_keep_alive();
    test_limits();
    test_header_count();
    test_tokens();
    test_responses();
    test_switch();
    test_dates();
    return 0;
}
