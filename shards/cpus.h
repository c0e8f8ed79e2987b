// Which CPUs this process may use, and pinning.
#pragma once
#include <stddef.h>
#include <stdint.h>

#define CPUS_MAX 1024

struct cpus {
    uint16_t count;
    uint16_t ids[CPUS_MAX]; // ascending
};

// The affinity mask (which a container's cpuset has already cut). 0 or -errno.
int cpus_allowed(struct cpus *ret_cpus);
// How many CPUs the cgroup quota (v2 cpu.max, v1 cfs_quota) pays for, rounded up; 0: no quota.
unsigned cpus_quota(void);
// "2-5,8" -> set. 0; -EINVAL on syntax; -ERANGE when a CPU is not in `allowed`.
int cpus_parse(const char *text, const struct cpus *allowed, struct cpus *ret_cpus);
// Pins the calling thread. 0 or -errno.
int cpus_pin_self(uint16_t cpu);
