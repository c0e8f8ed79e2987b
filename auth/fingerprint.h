// Keyed hashes (BLAKE2b with a secret of this process) that stand for credentials, users and addresses in the tables of auth/:
// nothing secret is kept in memory, and nobody outside can aim for collisions.
#pragma once
#include "shards/base/bytes.h"

#define FINGERPRINT_BYTES 32

struct fingerprint_secret {
    uint8_t bytes[FINGERPRINT_BYTES];
};
struct fingerprint {
    uint8_t bytes[FINGERPRINT_BYTES];
};

// What is hashed; the same bytes of another kind have another fingerprint.
enum fingerprint_kind {
    FINGERPRINT_CREDENTIALS = 1,
    FINGERPRINT_USER,
    FINGERPRINT_ADDRESS,
    FINGERPRINT_ACCOUNT,
    FINGERPRINT_STATE,
    FINGERPRINT_USAGE,
};

void fingerprint_secret_create(struct fingerprint_secret *ret_secret); // any thread
// Of the pair (a, b); b may be empty. Any thread.
void fingerprint_make(const struct fingerprint_secret *secret, enum fingerprint_kind kind, struct bytes a, struct bytes b,
                      struct fingerprint *ret_fingerprint);
// Of a network address (16 bytes; IPv4 mapped): whole for IPv4, its /64 for IPv6, since a host has a /64 to itself.
void fingerprint_address(const struct fingerprint_secret *secret, const uint8_t address[16], struct fingerprint *ret_fingerprint);
bool fingerprint_equal(const struct fingerprint *a, const struct fingerprint *b); // in constant time
