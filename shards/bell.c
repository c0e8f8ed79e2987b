// The bell: see bell.h. Ringing and taking are sequentially consistent, as is asking for the sleeper: with the sleeper's fence that is what
// the rule of nobody being missed rests on. Reading first keeps the line shared while nothing happens.
#include "shards/bell.h"

#include "shards/base/bug.h"
#include "shards/base/check.h"
#include "shards/ring.h"

void bell_init(struct bell *bell, int wake_fd)
{
    bell->wake_fd = wake_fd;
    atomic_init(&bell->asleep, false);
    for (unsigned i = 0; i < BELL_WORDS; i++)
        atomic_init(&bell->senders[i], 0);
}

void bell_ring(struct bell *bell, uint16_t sender)
{
    CHECK(sender < BELL_NODES_MAX);
    atomic_fetch_or_explicit(&bell->senders[sender / 64], 1ull << (sender % 64), memory_order_seq_cst);
}

bool bell_must_wake(struct bell *bell)
{
    if (!atomic_load_explicit(&bell->asleep, memory_order_seq_cst) || BUG(20))
        return false;
    return atomic_exchange_explicit(&bell->asleep, false, memory_order_relaxed); // else another sender was first
}

void bell_take(struct bell *bell, uint64_t *senders, unsigned words)
{
    CHECK(words > 0 && words <= BELL_WORDS);
    for (unsigned i = 0; i < words; i++)
        if (atomic_load_explicit(&bell->senders[i], memory_order_relaxed) != 0)
            senders[i] |= atomic_exchange_explicit(&bell->senders[i], 0, memory_order_seq_cst);
}

bool bell_has_rung(const struct bell *bell, unsigned words)
{
    CHECK(words > 0 && words <= BELL_WORDS);
    for (unsigned i = 0; i < words; i++)
        if (atomic_load_explicit(&bell->senders[i], memory_order_relaxed) != 0)
            return true;
    return false;
}

void bell_sleep(struct bell *bell)
{
    atomic_store_explicit(&bell->asleep, true, memory_order_relaxed);
    ring_fence();
}

void bell_awake(struct bell *bell)
{
    if (atomic_load_explicit(&bell->asleep, memory_order_relaxed))
        atomic_store_explicit(&bell->asleep, false, memory_order_relaxed);
}
