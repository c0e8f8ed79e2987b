// HTTP/1.1 request heads (by http-parser) and responses, without I/O. RFC 9110, 9112.
#pragma once
#include "shards/base/bytes.h"

#define HTTP_HEAD_MAX 8192  // a longer head: 431
#define HTTP_HEADERS_MAX 64 // more fields: 431
#define HTTP_BODY_MAX 65536 // longer: 413

enum http_method { HTTP_GET_, HTTP_HEAD_, HTTP_POST_, HTTP_OTHER_ };

struct http_header {
    struct bytes name, value; // as sent, value trimmed
};

// A parsed request head; everything borrowed from the caller's buffer.
struct http_request {
    enum http_method method;
    struct bytes method_text;
    struct bytes path;       // before '?'; of an absolute target only its path ("/" if none)
    struct bytes query;      // after '?', empty when none
    unsigned minor_version;  // HTTP/1.minor
    bool keep_alive;         // by version and Connection
    bool upgrade;            // Connection has token upgrade and Upgrade has token websocket
    uint64_t content_length; // 0 when absent
    size_t header_count;
    struct http_header headers[HTTP_HEADERS_MAX];
};

enum http_status {
    HTTP_INCOMPLETE = 0,
    HTTP_OK = 200,
    HTTP_BAD_REQUEST = 400,
    HTTP_PAYLOAD_TOO_LARGE = 413,
    HTTP_HEAD_TOO_LARGE = 431,
    HTTP_NOT_IMPLEMENTED = 501,
    HTTP_VERSION_UNSUPPORTED = 505
};

// Parses a head from the start of buf. HTTP_INCOMPLETE: wait for more (buf shorter than HTTP_HEAD_MAX). HTTP_OK: *ret_request is filled and
// *ret_len is the head's length with its empty line. Else the status to answer with before closing. Strict: bad or folded header lines,
// control bytes, more than one Content-Length or Host, Transfer-Encoding with Content-Length, missing Host in 1.1 are 400.
// Transfer-Encoding alone and methods unknown to http-parser are 501. Empty lines ahead of the request line are skipped.
// An error in a prefix is an error of the whole.
enum http_status http_parse(struct bytes buf, struct http_request *ret_request, size_t *ret_len);

// First value of a header by case-insensitive name; empty ptr NULL when absent. _joined: all its values, ", " between, into out (no NUL).
struct bytes http_header(const struct http_request *request, const char *name);
int http_header_joined(const struct http_request *request, const char *name, char *out, size_t max); // length (0: absent), -1: does not fit
bool http_has_token(struct bytes list, const char *token); // comma-separated list, case-insensitive

// Formats a whole response with Date, Content-Length, Content-Type (if type), Connection (close or keep-alive) and extra header lines
// ("Name: value\r\n"..., may be ""). Date comes first, as the original's. head_only: no body, but its Content-Length.
// Returns the length, or 0 if max is too small. A 304 has no body and no Content-Length. Not for 1xx, 204.
size_t http_response(uint8_t *out, size_t max, int64_t wall_s, unsigned status, const char *extra, const char *type, struct bytes body,
                     bool keep_alive, bool head_only);
const char *http_reason(unsigned status);
void http_date(int64_t wall_s, char ret_date[30]); // IMF-fixdate

// The whole 101 answer (protocols/buckets.md "HTTP layer": header order and spelling). extension NULL or the deflate answer.
// Returns the length, or 0 if max is too small.
size_t http_switch(uint8_t *out, size_t max, int64_t wall_s, struct bytes ws_key, const char *extension);
