// Payloads that tell where they belong: the message's number, then a stream seeded by run, sender, receiver and number. Length and every
// byte follow from these four, so a receiver needs nothing from the sender to check them. Pure; any thread.
#pragma once
#include "shards/base/bytes.h"
#include "tools/relayload/sizes.h"

#define PAYLOAD_MIN 8u // the number

struct payload_id {
    uint64_t run_seed, number;
    uint32_t sender, receiver;
};

uint32_t payload_len(const struct payload_id *id, const struct sizes *sizes); // at least PAYLOAD_MIN
void payload_fill(const struct payload_id *id, uint8_t *out, uint32_t len);
bool payload_matches(const struct payload_id *id, const struct sizes *sizes, struct bytes payload);
// The number that a payload claims. false: too short to be one.
bool payload_number(struct bytes payload, uint64_t *ret_number);
