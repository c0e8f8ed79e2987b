// What a worker counts: one table makes the fields, the JSON keys and the rows of the report. Written by one worker, read by main.
#pragma once
#include <stdatomic.h>
#include <stdint.h>

// X(name, what it counts)
#define COUNTER_TABLE(X)                                                                                                                   \
    X(messages_sent, "messages sent")                                                                                                      \
    X(messages, "messages received")                                                                                                       \
    X(bytes, "payload bytes received")                                                                                                     \
    X(logins, "sessions authenticated")                                                                                                    \
    X(login_retries, "logins told to come back later (429, 503)")                                                                          \
    X(login_failures, "logins failed")                                                                                                     \
    X(closes, "sessions closed by us")                                                                                                     \
    X(lost_sessions, "sessions lost unexpectedly")                                                                                         \
    X(slow_closes, "sessions closed as slow consumers (4001)")                                                                             \
    X(presence_events, "Entered and Exited received")                                                                                      \
    X(connection_events, "Connected and Disconnected received")                                                                            \
    X(bounces, "messages refused: no such connection")                                                                                     \
    X(lost_messages, "messages lost with a connection (allowed)")                                                                          \
    X(pings, "pings answered")                                                                                                             \
    X(violations, "violations of the protocol's promises")                                                                                 \
    X(sign_ns, "time spent on signatures here, ns")

struct counters {
#define X(name, text) _Atomic uint64_t name;
    COUNTER_TABLE(X)
#undef X
};

#define COUNT(counters, name, amount)                                                                                                      \
    atomic_store_explicit(&(counters)->name, atomic_load_explicit(&(counters)->name, memory_order_relaxed) + (amount), memory_order_relaxed)
#define COUNTED(counters, name) atomic_load_explicit(&(counters)->name, memory_order_relaxed)
