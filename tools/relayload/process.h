// CPU time and memory of another process (the relay), as the kernel accounts them. Any thread.
#pragma once
#include <stdbool.h>
#include <stdint.h>

struct process_sample {
    uint64_t cpu_ns;             // all threads, user and system
    uint64_t user_ns, system_ns; // the same in parts; only as fine as the kernel's tick
    uint64_t rss_bytes;
    uint64_t switches; // context switches that the threads made themselves (they slept)
};

// false: no such process, or not ours to look at.
bool process_sample(int pid, struct process_sample *ret_sample);
