// Timers of one node: a wheel of coarse ticks (TIMER_TICK_NS). A timer never fires early and at most two ticks late. Embedded in its owner.
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TIMER_TICK_NS 100000000ull // 0.1 s

struct timer {
    struct timer *next, *prev; // NULL when not set
    uint64_t deadline_ns;
    void (*on_time)(struct timer *timer, uint64_t now_ns); // the timer is unset when this is called; it may set or free it
};

struct timer_wheel;
struct timer_wheel *timer_wheel_create(uint64_t now_ns); // NULL when memory is short
void timer_wheel_destroy(struct timer_wheel *wheel);     // takes NULL; no timer may be set any more (CHECK)

void timer_set(struct timer_wheel *wheel, struct timer *timer, uint64_t deadline_ns); // moves it if set
void timer_unset(struct timer_wheel *wheel, struct timer *timer);                     // harmless if not set
bool timer_is_set(const struct timer *timer);

size_t timer_expire(struct timer_wheel *wheel, uint64_t now_ns);         // calls what is due; returns how many
int64_t timer_wait_ns(const struct timer_wheel *wheel, uint64_t now_ns); // until the next may be due; -1: none set
