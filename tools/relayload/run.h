// One run: workers made from the arguments, phases one after another, samples at their edges, one result. Main thread.
#pragma once
#include "tools/relayload/process.h"
#include "tools/relayload/worker.h"

#define RUN_POINTS_MAX 600

struct run_totals { // of all workers
#define X(name, text) uint64_t name;
    COUNTER_TABLE(X)
#undef X
};

struct run_sample {
    uint64_t at_ns;
    uint32_t ready;
    struct run_totals totals;
    struct process_sample server; // zero without --server-pid
};

struct run_result {
    const struct args *args;
    const struct scenario *scenario;
    uint32_t sessions, window, rate, observer_pairs;
    double setup_s;
    struct run_sample begin, end, settled;    // of the measured part; after settling
    struct run_sample points[RUN_POINTS_MAX]; // evenly spaced in the measured part
    uint32_t point_count;
    struct histogram latency, logins; // while measuring
    struct histogram calm, disturbed; // observers, before and while
    struct histogram late;            // observers, while: what of it was relayload's own delay before sending
    bool observers_urgent;            // their thread went before all others
    bool has_server, is_failed;
    char failure[WORKER_TEXT_MAX]; // why, first of all
    char cipher[64];
};

const struct scenario *run_scenario(const char *name); // NULL: unknown
extern const struct scenario *const run_scenarios[];   // NULL-terminated

// Runs it. Always fills the result; false: it could not begin (said in failure).
bool run(const struct args *args, struct run_result *ret_result);
