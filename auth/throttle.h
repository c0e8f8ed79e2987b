// Token buckets against guessing: one per source address or account that failed lately. Who has not failed has no bucket and a full one.
// A bucket is one number, the time at which it will be full again (GCRA). One thread at a time; time is a parameter.
#pragma once
#include "auth/fingerprint.h"

struct throttle;

// burst tokens (> 0) at most, one coming back every refill_s (> 0). entries_max buckets; a new one displaces the one used longest ago.
struct throttle *throttle_create(uint32_t entries_max, uint32_t burst, uint32_t refill_s); // NULL when memory is short
void throttle_destroy(struct throttle *throttle);                                          // takes NULL

// Whether a token is there; takes none. When not: the seconds until one is, > 0 (else 0).
bool throttle_may(const struct throttle *throttle, const struct fingerprint *who, uint64_t now_ns, uint32_t *ret_retry_after_s);
void throttle_take(struct throttle *throttle, const struct fingerprint *who, uint64_t now_ns); // an empty bucket stays empty
void throttle_give(struct throttle *throttle, const struct fingerprint *who);                  // gives one token back
uint32_t throttle_count(const struct throttle *throttle);                                      // buckets held
uint64_t throttle_displaced(const struct throttle *throttle);                                  // buckets forgotten for want of room
