// Password checks under way on the hashing nodes, each with the logins that wait for it: the same credentials are hashed once, however
// many ask. Bounded in checks and in waiters. Thread: the accounts node.
#pragma once
#include "auth/fingerprint.h"

struct checks;

struct check {
    struct fingerprint credentials; // its name
    struct fingerprint user;        // whose token it took
    struct fingerprint state;       // the account's password when it began
    int64_t account;                // 0: nobody's; refused whatever the answer
    uint32_t first, last;           // waiters: checks.c only
};

struct waiter {
    struct fingerprint address; // who pays when the check fails
    uint32_t slot, generation;
    uint16_t shard;
};

struct checks *checks_create(uint32_t checks_max, uint32_t waiters_max); // NULL when memory is short
void checks_destroy(struct checks *checks);                              // takes NULL

struct check *checks_find(const struct checks *checks, const struct fingerprint *credentials); // NULL: not under way
// A new check without waiters; NULL: checks_max are under way. credentials must not be under way.
struct check *checks_add(struct checks *checks, const struct fingerprint *credentials);
bool checks_wait(struct checks *checks, struct check *check, const struct waiter *waiter); // false: waiters_max wait already
bool checks_next(struct checks *checks, struct check *check, struct waiter *ret_waiter);   // takes the first waiter out; false: none left
void checks_remove(struct checks *checks, struct check *check);                            // no waiter may be left
uint32_t checks_count(const struct checks *checks);
uint32_t checks_waiting(const struct checks *checks);
