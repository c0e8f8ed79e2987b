// Fuzz main: what a prefix of a message says about its length stays true as more arrives.
#include "net/buckets/codec.h"

#include "shards/base/check.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    int64_t told = 0;
    size_t step = size / 256 + 1;
    for (size_t len = 0; len <= size; len += len < 16 ? 1 : step) {
        int64_t length = buckets_message_length(bytes_of(data, len));
        CHECK(length <= (int64_t)BUCKETS_MESSAGE_MAX);
        CHECK(length >= 0 || length == -ERROR_NETSTRING || length == -ERROR_NETSTRING_TOO_BIG);
        bool comma_is_missing = told > 0 && length == -ERROR_NETSTRING && (size_t)told <= len && data[told - 1] != ',';
        CHECK(told == 0 || length == told || comma_is_missing);
        told = length;
    }
    return 0;
}
