// The CPU set from the affinity mask, the quota from the cgroup files. Its rule: what cannot be read or understood sets no limit, what a
// user wrote is parsed strictly. Any thread.
#include "shards/cpus.h"

#include <errno.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "shards/base/check.h"

#define PATH_BYTES_MAX 1024
#define TEXT_BYTES_MAX 4096
#define NUMBER_MAX 1000000000000ull

int cpus_allowed(struct cpus *ret_cpus)
{
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof(set), &set) != 0)
        return -errno;
    ret_cpus->count = 0;
    for (uint16_t cpu = 0; cpu < CPUS_MAX && cpu < CPU_SETSIZE; cpu++) {
        if (CPU_ISSET(cpu, &set))
            ret_cpus->ids[ret_cpus->count++] = cpu;
    }
    CHECK(ret_cpus->count > 0);
    return 0;
}

// Decimal digits at *text, at most NUMBER_MAX. On success *text stands behind them.
static bool take_number(const char **text, uint64_t *ret_number)
{
    const char *c = *text;
    uint64_t number = 0;
    if (*c < '0' || *c > '9')
        return false;
    for (; *c >= '0' && *c <= '9'; c++) {
        number = number * 10 + (uint64_t)(*c - '0');
        if (number > NUMBER_MAX)
            return false;
    }
    *text = c;
    *ret_number = number;
    return true;
}

static bool contains(const struct cpus *cpus, uint64_t cpu)
{
    for (uint16_t i = 0; i < cpus->count; i++) {
        if (cpus->ids[i] == cpu)
            return true;
    }
    return false;
}

// "N" or "N-M" at *text into wanted[].
static int take_range(const char **text, const struct cpus *allowed, bool wanted[CPUS_MAX])
{
    uint64_t first, last;
    if (!take_number(text, &first))
        return -EINVAL;
    last = first;
    if (**text == '-') {
        ++*text;
        if (!take_number(text, &last) || last < first)
            return -EINVAL;
    }
    for (uint64_t cpu = first; cpu <= last; cpu++) {
        if (cpu >= CPUS_MAX || !contains(allowed, cpu))
            return -ERANGE;
        wanted[cpu] = true;
    }
    return 0;
}

int cpus_parse(const char *text, const struct cpus *allowed, struct cpus *ret_cpus)
{
    CHECK(allowed->count <= CPUS_MAX);
    bool wanted[CPUS_MAX] = {false};
    int result = take_range(&text, allowed, wanted);
    while (result == 0 && *text == ',') {
        text++;
        result = take_range(&text, allowed, wanted);
    }
    if (result != 0)
        return result;
    if (*text != '\0')
        return -EINVAL;
    ret_cpus->count = 0;
    for (uint16_t cpu = 0; cpu < CPUS_MAX; cpu++) {
        if (wanted[cpu])
            ret_cpus->ids[ret_cpus->count++] = cpu;
    }
    CHECK(ret_cpus->count > 0);
    return 0;
}

int cpus_pin_self(uint16_t cpu)
{
    if (cpu >= CPUS_MAX || cpu >= CPU_SETSIZE)
        return -EINVAL;
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(cpu, &set);
    return sched_setaffinity(0, sizeof(set), &set) == 0 ? 0 : -errno;
}

// A small file as text. False when it is missing, unreadable or larger than the buffer.
static bool read_text(const char *path, char *ret_text, size_t bytes_max)
{
    FILE *file = fopen(path, "re");
    if (file == NULL)
        return false;
    size_t bytes = fread(ret_text, 1, bytes_max, file);
    bool is_whole = !ferror(file) && bytes < bytes_max;
    fclose(file);
    if (is_whole)
        ret_text[bytes] = '\0';
    return is_whole;
}

static unsigned quota_round(uint64_t quota_us, uint64_t period_us)
{
    if (quota_us == 0 || period_us == 0)
        return 0;
    uint64_t cpus = (quota_us + period_us - 1) / period_us;
    return cpus < CPUS_MAX ? (unsigned)cpus : CPUS_MAX;
}

// Two numbers, each in a text of its own, or both in one: "150000 100000". 0 for anything else ("max", "-1").
static unsigned quota_parse(const char *quota_text, const char *period_text)
{
    uint64_t quota_us, period_us;
    if (!take_number(&quota_text, &quota_us))
        return 0;
    if (period_text == NULL) {
        if (*quota_text != ' ')
            return 0;
        period_text = quota_text + 1;
    }
    return take_number(&period_text, &period_us) ? quota_round(quota_us, period_us) : 0;
}

static bool read_at(const char *folder, const char *file, char *ret_text, size_t bytes_max)
{
    char path[PATH_BYTES_MAX];
    int length = snprintf(path, sizeof(path), "%s/%s", folder, file);
    return length > 0 && (size_t)length < sizeof(path) && read_text(path, ret_text, bytes_max);
}

static unsigned quota_in(const char *folder)
{
    char quota[64], period[64];
    if (read_at(folder, "cpu.max", quota, sizeof(quota)))
        return quota_parse(quota, NULL);
    if (read_at(folder, "cpu.cfs_quota_us", quota, sizeof(quota)) && read_at(folder, "cpu.cfs_period_us", period, sizeof(period)))
        return quota_parse(quota, period);
    return 0;
}

static unsigned tighter(unsigned a, unsigned b)
{
    if (a == 0 || b == 0)
        return a + b;
    return a < b ? a : b;
}

// The quotas of the group at mount/hierarchy/group and of all above it.
static unsigned quota_upwards(const char *mount, const char *hierarchy, const char *group)
{
    char path[PATH_BYTES_MAX];
    int root_length = snprintf(path, sizeof(path), "%s%s", mount, hierarchy);
    if (root_length <= 0 || (size_t)root_length + strlen(group) >= sizeof(path))
        return 0;
    if (strstr(group, "/..") == NULL) // a group outside of our namespace cannot be seen; its root can
        memcpy(path + root_length, group, strlen(group) + 1);
    unsigned quota = 0;
    for (;;) {
        quota = tighter(quota, quota_in(path));
        char *slash = strrchr(path + root_length, '/');
        if (slash == NULL)
            return quota;
        *slash = '\0';
    }
}

static bool names_cpu(const char *controllers)
{
    char list[256];
    int length = snprintf(list, sizeof(list), ",%s,", controllers);
    return length > 0 && (size_t)length < sizeof(list) && strstr(list, ",cpu,") != NULL;
}

// One line "id:controllers:group" (cgroups(7)).
static unsigned quota_of_line(char *line, const char *mount)
{
    char *controllers = strchr(line, ':');
    char *group = controllers != NULL ? strchr(controllers + 1, ':') : NULL;
    if (group == NULL || group[1] != '/')
        return 0;
    *group++ = '\0';
    controllers++;
    if (*controllers == '\0')
        return tighter(quota_upwards(mount, "", group), quota_upwards(mount, "/unified", group));
    if (!names_cpu(controllers))
        return 0;
    return tighter(quota_upwards(mount, "/cpu", group), quota_upwards(mount, "/cpu,cpuacct", group));
}

unsigned cpus_quota_of(const char *cgroup_text, const char *mount)
{
    char text[TEXT_BYTES_MAX];
    size_t length = strlen(cgroup_text);
    if (length >= sizeof(text))
        return 0;
    memcpy(text, cgroup_text, length + 1);
    unsigned quota = 0;
    char *rest = text, *line;
    while ((line = strsep(&rest, "\n")) != NULL)
        quota = tighter(quota, quota_of_line(line, mount));
    return quota;
}

unsigned cpus_quota(void)
{
    char text[TEXT_BYTES_MAX];
    if (!read_text("/proc/self/cgroup", text, sizeof(text)))
        return 0;
    return cpus_quota_of(text, "/sys/fs/cgroup");
}
