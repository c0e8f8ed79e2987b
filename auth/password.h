// Password hashes: argon2id with the original's parameters (protocols/buckets.md "Stats": m=9765 KiB, t=3, p=1), so that either program
// reads the other's database. One rule: 10 to 15 ms of CPU a call, so never on a shard. Any thread; no state.
#pragma once
#include "shards/base/bytes.h"

#define PASSWORD_HASH_MAX 128 // bytes with the NUL

// What a stored hash may cost at most; beyond that it is refused unread, so that a database cannot stall the hashing nodes.
#define PASSWORD_MEMORY_KIB_MAX 262144u
#define PASSWORD_PASSES_MAX 10u
#define PASSWORD_LANES_MAX 4u

// "$argon2id$v=19$m=9765,t=3,p=1$salt$hash". false: not enough memory.
bool password_hash(struct bytes password, char ret_hash[PASSWORD_HASH_MAX]);

// hash is an argon2id string within the limits above (the original leaves it empty for those who log in by licence).
bool password_is_hash(const char *hash);

// false: wrong, not a hash, or not enough memory.
bool password_verify(const char *hash, struct bytes password);

// A hash of nobody's password with the same parameters: checking against it takes the same time, so unknown users look like known ones.
extern const char password_dummy[];
