// Fuzz main: the fields by which proxies name the client. One name or list in each of them; any answer must be an address.
#include "net/proxy.h"
#include "shards/base/check.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const names[] = {"X-Forwarded-For", "Forwarded", "X-Real-IP", "True-Client-IP"};
    struct http_request request = {.method = HTTP_GET_};
    struct address_range trusted;
    CHECK(address_range_parse("10.0.0.0/8", &trusted));
    // First byte: which field; a NUL parts two fields of the same name.
    if (size < 1)
        return 0;
    const char *name = names[data[0] % 4];
    struct bytes rest = bytes_of(data + 1, size - 1);
    while (rest.len > 0 && request.header_count < HTTP_HEADERS_MAX) {
        const uint8_t *end = memchr(rest.ptr, '\0', rest.len);
        size_t len = end != NULL ? (size_t)(end - rest.ptr) : rest.len;
        request.headers[request.header_count++] = (struct http_header){.name = bytes_text(name), .value = bytes_of(rest.ptr, len)};
        size_t used = end != NULL ? len + 1 : len;
        rest = bytes_of(rest.ptr + used, rest.len - used);
    }
    struct net_address address = {{0}}, nobody = {{0}};
    bool found = proxy_client(&request, &trusted, 1, &address);
    CHECK(found || memcmp(&address, &nobody, sizeof(address)) == 0);
    return 0;
}
