// Keyed hash for tables that peers fill: SipHash-2-4 by libsodium, so that nobody outside can aim for collisions.
#pragma once
#include <stddef.h>
#include <stdint.h>

struct key;

#define HASH_SECRET_BYTES 16

struct hash_secret {
    uint8_t bytes[HASH_SECRET_BYTES];
};

// A new secret from the system's random source. One per process, shared read-only by all shards. Any thread.
void hash_secret_create(struct hash_secret *ret_secret);

// Any thread. Same secret and bytes, same value.
uint64_t hash_bytes(const struct hash_secret *secret, const void *ptr, size_t len);
// The address of a name, for rooms whose devices have no key of their own: 32 bytes of BLAKE2b over namespace, account and name, the same
// in every process. Nobody finds a second name, or an ed25519 key, for an address. Any thread.
void hash_name(const char *name_space, uint64_t account, const void *name, size_t len, struct key *ret_key);
uint64_t hash_key(const struct hash_secret *secret, const struct key *key);
