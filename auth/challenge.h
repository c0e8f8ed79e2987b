// ed25519 challenge (protocols/buckets.md "Iam"): a detached signature over exactly the session's 32 bytes.
#pragma once
#include "shards/base/bytes.h"
#include "shards/base/key.h"

#define CHALLENGE_BYTES 32
void challenge_create(uint8_t ret_challenge[CHALLENGE_BYTES]);
bool challenge_verify(const uint8_t challenge[CHALLENGE_BYTES], struct bytes signature, struct bytes key); // wrong lengths: false
