// See payload.h.
#include "tools/relayload/payload.h"

#include "shards/base/check.h"

static uint64_t seed_of(const struct payload_id *id)
{
    uint64_t seed = id->run_seed;
    seed = sizes_random(&seed) ^ ((uint64_t)id->sender << 32 | id->receiver);
    seed = sizes_random(&seed) ^ id->number;
    return sizes_random(&seed);
}

uint32_t payload_len(const struct payload_id *id, const struct sizes *sizes)
{
    uint64_t seed = seed_of(id);
    uint32_t len = sizes_draw(sizes, &seed);
    return len < PAYLOAD_MIN ? PAYLOAD_MIN : len;
}

// The stream's word at byte offset `at` (a multiple of 8) behind the number.
static uint64_t word_at(uint64_t seed, uint32_t at)
{
    uint64_t state = seed + at;
    return sizes_random(&state);
}

void payload_fill(const struct payload_id *id, uint8_t *out, uint32_t len)
{
    CHECK(len >= PAYLOAD_MIN);
    uint64_t seed = seed_of(id);
    memcpy(out, &id->number, PAYLOAD_MIN);
    for (uint32_t at = PAYLOAD_MIN; at < len; at += 8) {
        uint64_t word = word_at(seed, at);
        memcpy(out + at, &word, len - at < 8 ? len - at : 8);
    }
}

bool payload_matches(const struct payload_id *id, const struct sizes *sizes, struct bytes payload)
{
    uint64_t seed = seed_of(id), number;
    if (!payload_number(payload, &number) || number != id->number || payload.len != payload_len(id, sizes))
        return false;
    for (uint32_t at = PAYLOAD_MIN; at < payload.len; at += 8) {
        uint64_t word = word_at(seed, at);
        if (memcmp(payload.ptr + at, &word, payload.len - at < 8 ? payload.len - at : 8) != 0)
            return false;
    }
    return true;
}

bool payload_number(struct bytes payload, uint64_t *ret_number)
{
    if (payload.len < PAYLOAD_MIN)
        return false;
    memcpy(ret_number, payload.ptr, PAYLOAD_MIN);
    return true;
}
