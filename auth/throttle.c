// Buckets as the time of being full again. One thread at a time.
#include "auth/throttle.h"

#include <stdlib.h>

#include "auth/recent.h"
#include "shards/base/check.h"

#define NS_PER_S 1000000000ull

struct throttle {
    struct recent *buckets; // of struct bucket
    uint64_t token_ns;      // a token's worth of time
    uint64_t burst_ns;      // an empty bucket's time to be full
    uint64_t displaced;
};

struct bucket {
    uint64_t full_at_ns;
};

struct throttle *throttle_create(uint32_t entries_max, uint32_t burst, uint32_t refill_s)
{
    CHECK(burst > 0 && refill_s > 0);
    struct throttle *throttle = calloc(1, sizeof(*throttle));
    if (throttle == NULL)
        return NULL;
    throttle->token_ns = refill_s * NS_PER_S;
    throttle->burst_ns = burst * throttle->token_ns;
    throttle->buckets = recent_create(entries_max, sizeof(struct bucket));
    if (throttle->buckets == NULL) {
        free(throttle);
        return NULL;
    }
    return throttle;
}

void throttle_destroy(struct throttle *throttle)
{
    if (throttle == NULL)
        return;
    recent_destroy(throttle->buckets);
    free(throttle);
}

bool throttle_may(const struct throttle *throttle, const struct fingerprint *who, uint64_t now_ns, uint32_t *ret_retry_after_s)
{
    CHECK(ret_retry_after_s != NULL);
    const struct bucket *bucket = recent_find(throttle->buckets, who);
    uint64_t full_after_ns = bucket == NULL || bucket->full_at_ns <= now_ns ? 0 : bucket->full_at_ns - now_ns;
    uint64_t limit_ns = throttle->burst_ns - throttle->token_ns;
    *ret_retry_after_s = 0;
    if (full_after_ns <= limit_ns)
        return true;
    *ret_retry_after_s = (uint32_t)((full_after_ns - limit_ns + NS_PER_S - 1) / NS_PER_S);
    return false;
}

void throttle_take(struct throttle *throttle, const struct fingerprint *who, uint64_t now_ns)
{
    struct bucket *bucket = recent_find(throttle->buckets, who);
    if (bucket != NULL) {
        recent_use(throttle->buckets, bucket);
    } else {
        throttle->displaced += recent_is_full(throttle->buckets);
        bucket = recent_add(throttle->buckets, who);
    }
    if (bucket->full_at_ns < now_ns)
        bucket->full_at_ns = now_ns;
    bucket->full_at_ns += throttle->token_ns;
    if (bucket->full_at_ns > now_ns + throttle->burst_ns)
        bucket->full_at_ns = now_ns + throttle->burst_ns;
}

void throttle_give(struct throttle *throttle, const struct fingerprint *who)
{
    struct bucket *bucket = recent_find(throttle->buckets, who);
    if (bucket == NULL)
        return; // displaced meanwhile: a full bucket needs no token
    CHECK(bucket->full_at_ns >= throttle->token_ns);
    bucket->full_at_ns -= throttle->token_ns;
}

uint32_t throttle_count(const struct throttle *throttle)
{
    return recent_count(throttle->buckets);
}

uint64_t throttle_displaced(const struct throttle *throttle)
{
    return throttle->displaced;
}
