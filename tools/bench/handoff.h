// Handing records from one pinned thread to another through shards/post: the price of crossing a core, with and without sleeping.
#pragma once
#include <stdint.h>

enum handoff_mode {
    HANDOFF_STREAM,       // producer never pauses, a flush for every 32 records; the consumer spins
    HANDOFF_STREAM_SLEEP, // the same, but the consumer sleeps when it finds nothing
    HANDOFF_TURN,         // one record there and one back, both spin
    HANDOFF_TURN_SLEEP,   // one record there and one back, both sleep in between
    HANDOFF_MODES
};

struct handoff_result {
    uint64_t records, wall_ns; // records handed over, in turns: both ways
    uint64_t producer_cpu_ns, consumer_cpu_ns;
    uint64_t wakes; // eventfd signals
};

const char *handoff_mode_name(enum handoff_mode mode);
// 0 or -errno. cpus: the two threads' CPUs.
int handoff_measure(enum handoff_mode mode, const int cpus[2], uint32_t measure_ms, struct handoff_result *ret_result);
