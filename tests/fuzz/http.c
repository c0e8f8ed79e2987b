// Fuzz main: a request head means the same at whatever length it is looked at, and what it yields lies within it.
#include "net/http.h"

#include "net/deflate.h"
#include "shards/base/check.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_inside(struct bytes part, const uint8_t *data, size_t len)
{
    CHECK(part.len == 0 || (part.ptr >= data && part.ptr + part.len <= data + len) || bytes_equal(part, bytes_text("/")));
}

static void check_request(const struct http_request *request, const uint8_t *data, size_t len)
{
    CHECK(request->header_count <= HTTP_HEADERS_MAX && request->content_length <= HTTP_BODY_MAX);
    check_inside(request->path, data, len);
    check_inside(request->query, data, len);
    check_inside(request->method_text, data, len);
    for (size_t i = 0; i < request->header_count; i++) {
        CHECK(request->headers[i].name.len > 0);
        check_inside(request->headers[i].name, data, len);
        check_inside(request->headers[i].value, data, len);
    }
    char joined[HTTP_HEAD_MAX];
    int joined_len = http_header_joined(request, "Sec-WebSocket-Extensions", joined, sizeof(joined));
    CHECK(joined_len >= 0);
    char answer[DEFLATE_ANSWER_MAX];
    uint8_t window_bits;
    deflate_negotiate(bytes_of(joined, (size_t)joined_len), answer, sizeof(answer), &window_bits);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct http_request request, shorter;
    size_t used = 0, shorter_used = 0;
    enum http_status status = http_parse(bytes_of(data, size), &request, &used);
    if (status == HTTP_OK) {
        CHECK(used > 0 && used <= size && used <= HTTP_HEAD_MAX);
        check_request(&request, data, used);
    }
    size_t step = size / 64 + 1;
    for (size_t len = 0; len < size; len += step) {
        enum http_status prefix = http_parse(bytes_of(data, len), &shorter, &shorter_used);
        if (prefix == HTTP_OK)
            CHECK(status == HTTP_OK && shorter_used == used && shorter.header_count == request.header_count);
        else if (prefix != HTTP_INCOMPLETE)
            CHECK(status != HTTP_OK && status != HTTP_INCOMPLETE);
        else
            CHECK(status != HTTP_OK || len < used);
    }
    return 0;
}
