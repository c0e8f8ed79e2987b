// HTTP/1.1 request heads and responses. http-parser reads the head; what it is lax about (bare CR and LF, folded lines, spaces, names)
// is refused here. One rule: what two readers might understand differently is an error (RFC 9112 2.2, 5, 6.3, 11.2). Any thread.
#include "net/http.h"

// The library has enums of these names too; ours keep them.
#define http_method parser_method
#define http_status parser_status
#include <http_parser.h>
#undef http_method
#undef http_status

#include <stdio.h>
#include <strings.h>
#include <time.h>

#include "net/ws.h"
#include "shards/base/check.h"

#define VERSION_LEN 8 // "HTTP/1.1"

struct reader {
    struct http_request *request;
    struct bytes target;
    bool in_value; // the last piece was a value's: a name begins the next header
    bool done;     // the whole head was read
    bool too_many; // HTTP_HEADERS_MAX
};

static void extend(struct bytes *bytes, const char *at, size_t len)
{
    if (bytes->ptr == NULL)
        bytes->ptr = (const uint8_t *)at;
    CHECK(bytes->ptr + bytes->len == (const uint8_t *)at);
    bytes->len += len;
}

static int on_url(http_parser *parser, const char *at, size_t len)
{
    extend(&((struct reader *)parser->data)->target, at, len);
    return 0;
}

static int on_header_field(http_parser *parser, const char *at, size_t len)
{
    struct reader *reader = parser->data;
    struct http_request *request = reader->request;
    if (reader->in_value || request->header_count == 0) {
        if (request->header_count == HTTP_HEADERS_MAX) {
            reader->too_many = true;
            return -1;
        }
        request->headers[request->header_count++] = (struct http_header){.name = {NULL, 0}};
        reader->in_value = false;
    }
    extend(&request->headers[request->header_count - 1].name, at, len);
    return 0;
}

static int on_header_value(http_parser *parser, const char *at, size_t len)
{
    struct reader *reader = parser->data;
    CHECK(reader->request->header_count > 0);
    reader->in_value = true;
    extend(&reader->request->headers[reader->request->header_count - 1].value, at, len);
    return 0;
}

static int on_headers_complete(http_parser *parser)
{
    ((struct reader *)parser->data)->done = true;
    return 0;
}

static bool is_space(uint8_t byte)
{
    return byte == ' ' || byte == '\t';
}

static struct bytes trim(struct bytes text)
{
    while (text.len > 0 && is_space(text.ptr[0])) {
        text.ptr++;
        text.len--;
    }
    while (text.len > 0 && is_space(text.ptr[text.len - 1]))
        text.len--;
    return text;
}

static bool is_name(struct bytes text, const char *name)
{
    return text.len == strlen(name) && strncasecmp((const char *)text.ptr, name, text.len) == 0;
}

// RFC 9110 5.6.2
static bool is_token(struct bytes text)
{
    for (size_t i = 0; i < text.len; i++) {
        uint8_t byte = text.ptr[i], lower = byte | 0x20;
        bool alphanumeric = (byte >= '0' && byte <= '9') || (lower >= 'a' && lower <= 'z');
        if (!alphanumeric && (byte == 0 || strchr("!#$%&'*+-.^_`|~", byte) == NULL))
            return false;
    }
    return text.len > 0;
}

// No control bytes but tabs, no CR or LF but together, no folded line (RFC 9110 5.5, 9112 2.2, 5.2). Holds for each prefix of a good head.
static bool lines_are_sound(struct bytes head)
{
    for (size_t i = 0; i < head.len; i++) {
        uint8_t byte = head.ptr[i], next = i + 1 < head.len ? head.ptr[i + 1] : 0;
        bool is_end = i + 1 == head.len;
        bool is_control = byte < ' ' || byte == 0x7f;
        if (is_control && byte != '\t' && byte != '\r' && byte != '\n')
            return false;
        if (byte == '\r' && !is_end && next != '\n')
            return false;
        if (byte == '\n' && (i == 0 || head.ptr[i - 1] != '\r' || is_space(next)))
            return false;
    }
    return true;
}

// Single spaces, a target of visible ASCII without fragment (RFC 9112 3).
static bool request_line_is_sound(struct bytes head, struct bytes method, struct bytes target)
{
    const uint8_t *end = memchr(head.ptr, '\r', head.len);
    CHECK(end != NULL);
    for (size_t i = 0; i < target.len; i++) {
        if (target.ptr[i] <= ' ' || target.ptr[i] >= 0x7f || target.ptr[i] == '#')
            return false;
    }
    return target.len > 0 && method.len + 1 + target.len + 1 + VERSION_LEN == (size_t)(end - head.ptr);
}

static void split_path(struct bytes all, struct http_request *request)
{
    const uint8_t *mark = all.len == 0 ? NULL : memchr(all.ptr, '?', all.len);
    size_t path_len = mark == NULL ? all.len : (size_t)(mark - all.ptr);
    request->path = bytes_of(all.ptr, path_len);
    request->query = mark == NULL ? bytes_of(NULL, 0) : bytes_of(mark + 1, all.len - path_len - 1);
}

// Origin form, absolute form ("http://host/path": the path counts), "*", or CONNECT's authority (left as it is).
static bool read_target(struct bytes target, struct http_request *request)
{
    CHECK(target.len > 0 && target.len <= HTTP_HEAD_MAX);
    bool is_connect = bytes_equal(request->method_text, bytes_text("CONNECT"));
    split_path(target, request);
    if (target.ptr[0] == '/' || is_connect || bytes_equal(target, bytes_text("*")))
        return true;
    struct http_parser_url url;
    http_parser_url_init(&url);
    if (http_parser_parse_url((const char *)target.ptr, target.len, 0, &url) != 0)
        return false;
    size_t end = target.len;
    if ((url.field_set & 1 << UF_PATH) != 0)
        split_path(bytes_of(target.ptr + url.field_data[UF_PATH].off, end - url.field_data[UF_PATH].off), request);
    else
        request->path = bytes_text("/");
    return true;
}

static bool list_has_token(const struct http_request *request, const char *name, const char *token)
{
    for (size_t i = 0; i < request->header_count; i++) {
        if (is_name(request->headers[i].name, name) && http_has_token(request->headers[i].value, token))
            return true;
    }
    return false;
}

static size_t count(const struct http_request *request, const char *name)
{
    size_t found = 0;
    for (size_t i = 0; i < request->header_count; i++)
        found += is_name(request->headers[i].name, name);
    return found;
}

// What the head as a whole must hold. Sets what follows from its headers.
static enum http_status check_headers(struct http_request *request, const http_parser *parser)
{
    for (size_t i = 0; i < request->header_count; i++)
        request->headers[i].value = trim(request->headers[i].value);
    if (parser->http_major != 1)
        return HTTP_VERSION_UNSUPPORTED;
    request->minor_version = parser->http_minor;
    size_t hosts = count(request, "Host"), encodings = count(request, "Transfer-Encoding");
    bool has_length = http_header(request, "Content-Length").ptr != NULL; // one, of digits: http-parser has seen to that
    if (hosts > 1 || (hosts == 0 && request->minor_version > 0))
        return HTTP_BAD_REQUEST;
    if (encodings > 0)
        return has_length ? HTTP_BAD_REQUEST : HTTP_NOT_IMPLEMENTED;
    request->content_length = has_length ? parser->content_length : 0;
    if (request->content_length > HTTP_BODY_MAX)
        return HTTP_PAYLOAD_TOO_LARGE;
    bool close = list_has_token(request, "Connection", "close");
    request->keep_alive = !close && (request->minor_version > 0 || list_has_token(request, "Connection", "keep-alive"));
    request->upgrade = list_has_token(request, "Connection", "upgrade") && list_has_token(request, "Upgrade", "websocket");
    return HTTP_OK;
}

static struct bytes method_text(struct bytes head)
{
    size_t len = 0;
    while (len < head.len && head.ptr[len] != ' ')
        len++;
    return bytes_of(head.ptr, len);
}

static enum http_method method_of(struct bytes text)
{
    static const char *const names[] = {[HTTP_GET_] = "GET", [HTTP_HEAD_] = "HEAD", [HTTP_POST_] = "POST"};
    for (unsigned i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (bytes_equal(text, bytes_text(names[i])))
            return (enum http_method)i;
    }
    return HTTP_OTHER_;
}

// What the library's verdict means for the peer.
static enum http_status status_of(const http_parser *parser, const struct reader *reader, struct bytes method)
{
    switch (HTTP_PARSER_ERRNO(parser)) {
    case HPE_OK:
        return HTTP_OK;
    case HPE_INVALID_TRANSFER_ENCODING: // check_headers says it better
        return reader->done ? HTTP_OK : HTTP_NOT_IMPLEMENTED;
    case HPE_INVALID_METHOD:
        return is_token(method) ? HTTP_NOT_IMPLEMENTED : HTTP_BAD_REQUEST;
    default:
        return reader->too_many ? HTTP_HEAD_TOO_LARGE : HTTP_BAD_REQUEST;
    }
}

enum http_status http_parse(struct bytes buf, struct http_request *ret_request, size_t *ret_len)
{
    static const http_parser_settings settings = {.on_url = on_url,
                                                  .on_header_field = on_header_field,
                                                  .on_header_value = on_header_value,
                                                  .on_headers_complete = on_headers_complete};
    size_t begin = 0;
    while (buf.len - begin >= 2 && memcmp(buf.ptr + begin, "\r\n", 2) == 0) // RFC 9112 2.2: empty lines ahead of a request
        begin += 2;
    struct bytes head = bytes_of(buf.ptr + begin, buf.len - begin);
    if (head.len == 0)
        return begin >= HTTP_HEAD_MAX ? HTTP_HEAD_TOO_LARGE : HTTP_INCOMPLETE;
    const uint8_t *end = memmem(head.ptr, head.len, "\r\n\r\n", 4);
    if (end != NULL)
        head.len = (size_t)(end + 4 - head.ptr);
    if (begin + head.len > HTTP_HEAD_MAX || (end == NULL && begin + head.len == HTTP_HEAD_MAX))
        return HTTP_HEAD_TOO_LARGE;
    if (!lines_are_sound(head))
        return HTTP_BAD_REQUEST;

    http_parser parser;
    ret_request->header_count = 0;
    struct reader reader = {.request = ret_request};
    http_parser_init(&parser, HTTP_REQUEST);
    parser.data = &reader;
    http_parser_execute(&parser, &settings, (const char *)head.ptr, head.len);
    struct bytes method = method_text(head);
    enum http_status status = status_of(&parser, &reader, method);
    if (status != HTTP_OK || end == NULL)
        return status == HTTP_OK ? HTTP_INCOMPLETE : status;
    if (!reader.done || !request_line_is_sound(head, method, reader.target))
        return HTTP_BAD_REQUEST;
    ret_request->method_text = method;
    ret_request->method = method_of(method);
    if (!read_target(reader.target, ret_request))
        return HTTP_BAD_REQUEST;
    *ret_len = begin + head.len;
    return check_headers(ret_request, &parser);
}

struct bytes http_header(const struct http_request *request, const char *name)
{
    for (size_t i = 0; i < request->header_count; i++) {
        if (is_name(request->headers[i].name, name))
            return request->headers[i].value;
    }
    return bytes_of(NULL, 0);
}

int http_header_joined(const struct http_request *request, const char *name, char *out, size_t max)
{
    size_t len = 0;
    bool is_first = true;
    for (size_t i = 0; i < request->header_count; i++) {
        struct bytes value = request->headers[i].value;
        if (!is_name(request->headers[i].name, name))
            continue;
        if (value.len + (is_first ? 0 : 2) > max - len)
            return -1;
        if (!is_first) {
            memcpy(out + len, ", ", 2);
            len += 2;
        }
        if (value.len > 0)
            memcpy(out + len, value.ptr, value.len);
        len += value.len;
        is_first = false;
    }
    CHECK(len <= max);
    return (int)len;
}

bool http_has_token(struct bytes list, const char *token)
{
    while (list.len > 0) {
        const uint8_t *comma = memchr(list.ptr, ',', list.len);
        size_t len = comma == NULL ? list.len : (size_t)(comma - list.ptr);
        if (is_name(trim(bytes_of(list.ptr, len)), token))
            return true;
        size_t skip = comma == NULL ? len : len + 1;
        list.ptr += skip;
        list.len -= skip;
    }
    return false;
}

const char *http_reason(unsigned status)
{
    CHECK(status >= 100 && status <= 599);
    return http_status_str((enum parser_status)status);
}

static void put_digits(char *out, size_t width, int64_t value)
{
    for (size_t i = width; i > 0; i--, value /= 10)
        out[i - 1] = (char)('0' + value % 10);
    CHECK(value == 0);
}

void http_date(int64_t wall_s, char ret_date[30])
{
    static const char days[] = "SunMonTueWedThuFriSat", months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
    struct tm tm;
    time_t when = wall_s;
    CHECK(wall_s >= 0 && gmtime_r(&when, &tm) != NULL);
    memcpy(ret_date, "ddd, 00 mmm 0000 00:00:00 GMT", 30);
    memcpy(ret_date, days + 3 * tm.tm_wday, 3);
    put_digits(ret_date + 5, 2, tm.tm_mday);
    memcpy(ret_date + 8, months + 3 * tm.tm_mon, 3);
    put_digits(ret_date + 12, 4, (int64_t)tm.tm_year + 1900);
    put_digits(ret_date + 17, 2, tm.tm_hour);
    put_digits(ret_date + 20, 2, tm.tm_min);
    put_digits(ret_date + 23, 2, tm.tm_sec);
}

size_t http_response(uint8_t *out, size_t max, int64_t wall_s, unsigned status, const char *extra, const char *type, struct bytes body,
                     bool keep_alive, bool head_only)
{
    CHECK(status >= 200 && extra != NULL && (status != 304 || body.len == 0));
    char date[30];
    http_date(wall_s, date);
    char content_length[48] = ""; // a 304 has no content (RFC 9110 15.4.5)
    if (status != 304)
        snprintf(content_length, sizeof(content_length), "Content-Length: %zu\r\n", body.len);
    int head_len = snprintf((char *)out, max, "HTTP/1.1 %u %s\r\nDate: %s\r\n%s%s%s%s%sConnection: %s\r\n\r\n", status, http_reason(status),
                            date, extra, type != NULL ? "Content-Type: " : "", type != NULL ? type : "", type != NULL ? "\r\n" : "",
                            content_length, keep_alive ? "keep-alive" : "close");
    CHECK(head_len > 0);
    size_t len = (size_t)head_len;
    size_t body_len = head_only ? 0 : body.len;
    if (len >= max || body_len > max - len)
        return 0;
    if (body_len > 0)
        memcpy(out + len, body.ptr, body_len);
    return len + body_len;
}

size_t http_switch(uint8_t *out, size_t max, int64_t wall_s, struct bytes ws_key, const char *extension)
{
    char date[30], accept[29];
    http_date(wall_s, date);
    ws_accept(ws_key, accept);
    int len = snprintf((char *)out, max,
                       "HTTP/1.1 101 Switching Protocols\r\nDate: %s\r\n%s%s%sUpgrade: websocket\r\nConnection: Upgrade\r\n"
                       "Sec-Websocket-Accept: %s\r\n\r\n",
                       date, extension != NULL ? "Sec-Websocket-Extensions: " : "", extension != NULL ? extension : "",
                       extension != NULL ? "\r\n" : "", accept);
    CHECK(len > 0);
    return (size_t)len >= max ? 0 : (size_t)len;
}
