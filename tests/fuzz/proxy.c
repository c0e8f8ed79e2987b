// Fuzz main: PROXY heads. A verdict on a prefix is the verdict on the whole; bytes behind the head change nothing.
#include "net/proxy.h"
#include "shards/base/check.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct net_address address = {{0}}, again = {{0}};
    size_t len = 0, again_len = 0;
    enum proxy_status status = proxy_parse(bytes_of(data, size), &address, &len);
    if (status == PROXY_OK) {
        CHECK(len > 0 && len <= size && len <= PROXY_HEAD_MAX);
        CHECK(proxy_parse(bytes_of(data, len), &again, &again_len) == PROXY_OK && again_len == len);
        CHECK(memcmp(&address, &again, sizeof(address)) == 0);
        CHECK(proxy_parse(bytes_of(data, len - 1), &again, &again_len) == PROXY_INCOMPLETE);
    }
    if (status == PROXY_INCOMPLETE && size > 0)
        CHECK(size < PROXY_HEAD_MAX && proxy_parse(bytes_of(data, size - 1), &again, &again_len) == PROXY_INCOMPLETE);
    return 0;
}
