// Fuzz main: negotiation never writes beyond its answer, inflation stays within its limit, what is deflated comes back.
// Input: one byte that chooses (its low bits also the window), then the header or the message.
#include "net/deflate.h"

#include "shards/base/check.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define INFLATED_MAX 100000

static uint8_t inflated[INFLATED_MAX];
static size_t inflated_len;

static bool on_piece(void *owner, struct bytes piece)
{
    CHECK(owner == inflated && piece.len <= INFLATED_MAX - inflated_len);
    memcpy(inflated + inflated_len, piece.ptr, piece.len);
    inflated_len += piece.len;
    return true;
}

static void negotiate(struct bytes offer)
{
    char answer[DEFLATE_ANSWER_MAX];
    uint8_t window_bits = 0;
    int len = deflate_negotiate(offer, answer, sizeof(answer), &window_bits);
    CHECK(len >= -1 && len < DEFLATE_ANSWER_MAX);
    if (len > 0)
        CHECK(strlen(answer) == (size_t)len && window_bits >= 8 && window_bits <= 15);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct deflate *deflate;
    static uint8_t packed[INFLATED_MAX];
    if (size < 1 || size > INFLATED_MAX)
        return 0;
    if (deflate == NULL)
        deflate = deflate_create();
    CHECK(deflate != NULL);
    struct bytes input = bytes_of(data + 1, size - 1);
    inflated_len = 0;
    if (data[0] >= 192) {
        negotiate(input);
    } else if (data[0] >= 64) {
        enum error error = deflate_inflate(deflate, input, INFLATED_MAX, on_piece, inflated);
        CHECK(error == ERROR_NONE || error == ERROR_WS_DEFLATE || error == ERROR_WS_INFLATED_TOO_BIG);
    } else {
        size_t len = deflate_message(deflate, 8 + (data[0] & 7), input, packed, sizeof(packed));
        CHECK(len < input.len || len == 0);
        if (len > 0)
            CHECK(deflate_inflate(deflate, bytes_of(packed, len), INFLATED_MAX, on_piece, inflated) == ERROR_NONE);
        CHECK(len == 0 || bytes_equal(input, bytes_of(inflated, inflated_len)));
    }
    return 0;
}
