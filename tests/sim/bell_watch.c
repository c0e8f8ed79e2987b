// Bells under watch (linked in by --wrap): which accesses touch a bell's line is told to the model of caches.
#include "shards/bell.h"
#include "tests/sim/lines.h"

void __real_bell_ring(struct bell *bell, uint16_t sender) __attribute__((weak)); // missing when the link is without --wrap
bool __real_bell_must_wake(struct bell *bell) __attribute__((weak));
void __real_bell_take(struct bell *bell, uint64_t *senders, unsigned words) __attribute__((weak));
bool __real_bell_has_rung(const struct bell *bell, unsigned words) __attribute__((weak));
void __real_bell_sleep(struct bell *bell) __attribute__((weak));
void __real_bell_awake(struct bell *bell) __attribute__((weak));
void __wrap_bell_ring(struct bell *bell, uint16_t sender);
bool __wrap_bell_must_wake(struct bell *bell);
void __wrap_bell_take(struct bell *bell, uint64_t *senders, unsigned words);
bool __wrap_bell_has_rung(const struct bell *bell, unsigned words);
void __wrap_bell_sleep(struct bell *bell);
void __wrap_bell_awake(struct bell *bell);

void __wrap_bell_ring(struct bell *bell, uint16_t sender)
{
    line_write(bell, 0);
    __real_bell_ring(bell, sender);
}

bool __wrap_bell_must_wake(struct bell *bell)
{
    line_read(bell, 0);
    bool must_wake = __real_bell_must_wake(bell);
    if (must_wake)
        line_write(bell, 0);
    return must_wake;
}

void __wrap_bell_take(struct bell *bell, uint64_t *senders, unsigned words)
{
    line_read(bell, 0);
    if (__real_bell_has_rung(bell, words))
        line_write(bell, 0);
    __real_bell_take(bell, senders, words);
}

bool __wrap_bell_has_rung(const struct bell *bell, unsigned words)
{
    line_read(bell, 0);
    return __real_bell_has_rung(bell, words);
}

void __wrap_bell_sleep(struct bell *bell)
{
    line_write(bell, 0);
    __real_bell_sleep(bell);
}

void __wrap_bell_awake(struct bell *bell)
{
    line_read(bell, 0);
    if (atomic_load_explicit(&bell->asleep, memory_order_relaxed))
        line_write(bell, 0);
    __real_bell_awake(bell);
}
