// The least that a relay must do on this kernel: one epoll thread that reads from one loopback socket and writes to another, no framing and
// no routing. The load comes from a forked process on the same CPU, which keeps `window` messages under way on each pair.
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct hop_options {
    uint32_t pairs;       // sockets are twice as many on either side
    uint32_t window;      // messages under way in each pair
    size_t message_bytes; // as the relay's frames are
    size_t answer_bytes;  // written back to the sender for each message, as OpenRelay's Ack is; 0: none
    bool tls;             // TLS 1.3 on both legs
    bool batch;           // one write per wake and peer; false: one per message
    int cpu;              // both processes run there; -1: anywhere
    uint32_t warmup_ms, measure_ms;
};

struct hop_result {
    uint64_t messages, wall_ns;
    uint64_t cpu_ns;         // of the relay's thread, user and system
    uint64_t p50_ns, p99_ns; // latency from write to read
    char cipher[64];         // "" when plain
};

// Takes warmup_ms + measure_ms. 0 or -errno (-ETIMEDOUT: no progress for 10 s). Main thread only: it forks.
int hop_measure(const struct hop_options *options, struct hop_result *ret_result);
