// What others leave at a node's door: who has published mail for it, and whether it sleeps; all in one cache line, however many nodes.
// One rule: ring after publishing, take before looking: what was published before a ring that was taken is seen.
// Nobody is missed: the sender rings, then asks whether the node sleeps; the node says that it sleeps, then looks whether somebody rang.
// Threads: any may ring and wake; take, sleep and awake are the node's own.
#pragma once
#include <stdalign.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define BELL_LINE_BYTES 64
#define BELL_WORDS 7
#define BELL_NODES_MAX (64 * BELL_WORDS)

struct bell {
    alignas(BELL_LINE_BYTES) atomic_bool asleep;
    int wake_fd; // the owner's eventfd; constant
    _Atomic uint64_t senders[BELL_WORDS];
};
_Static_assert(sizeof(struct bell) == BELL_LINE_BYTES, "one line");

void bell_init(struct bell *bell, int wake_fd);
void bell_ring(struct bell *bell, uint16_t sender); // < BELL_NODES_MAX. After the mail is in its ring

// Anybody who rang, or made room. true: the node sleeps and nobody woke it yet: signal its eventfd.
bool bell_must_wake(struct bell *bell);

// Adds those who rang to the owner's words, of which there are `words`.
void bell_take(struct bell *bell, uint64_t *senders, unsigned words);
bool bell_has_rung(const struct bell *bell, unsigned words);
void bell_sleep(struct bell *bell); // before looking once more for work
void bell_awake(struct bell *bell);
