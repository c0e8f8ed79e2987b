// Which CPUs this process may use, and pinning. Any thread; read at the start only.
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
// The same for the text of a /proc/PID/cgroup and the folder where the hierarchies are mounted. The tightest of the group and those above.
unsigned cpus_quota_of(const char *cgroup_text, const char *mount);
// "2-5,8" -> set (in any order, repeats allowed). 0; -EINVAL on syntax; -ERANGE when a CPU is not in `allowed`.
int cpus_parse(const char *text, const struct cpus *allowed, struct cpus *ret_cpus);
// Pins the calling thread. 0 or -errno (-EINVAL: not a CPU of this machine or not allowed).
int cpus_pin_self(uint16_t cpu);
