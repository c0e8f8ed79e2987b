// Successful password checks, remembered by the fingerprint of user and password, so that a thousand reconnects cost one argon2.
// Nothing here can be turned back into a password. One thread at a time; time is a parameter.
#pragma once
#include "auth/fingerprint.h"

struct remember;

struct remember *remember_create(uint32_t entries_max, uint64_t keep_ns); // NULL when memory is short
void remember_destroy(struct remember *remember);                         // takes NULL

// The account of a check remembered less than keep_ns ago. A find does not prolong it.
bool remember_find(struct remember *remember, const struct fingerprint *credentials, uint64_t now_ns, uint64_t *ret_account);
void remember_add(struct remember *remember, const struct fingerprint *credentials, uint64_t account, uint64_t now_ns);
size_t remember_forget_account(struct remember *remember, uint64_t account); // returns how many; walks the table
void remember_forget_all(struct remember *remember);
