// See process.h. proc(5): /proc/PID/stat fields 14 and 15, statm field 2, task/*/status.
#include "tools/relayload/process.h"

#include "shards/base/check.h"
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define TEXT_MAX 4096

static bool read_text(const char *path, char *ret_text)
{
    FILE *file = fopen(path, "re");
    if (!file)
        return false;
    size_t len = fread(ret_text, 1, TEXT_MAX - 1, file);
    ret_text[len] = '\0';
    fclose(file);
    return len > 0;
}

static bool read_cpu(int pid, struct process_sample *sample)
{
    clockid_t clock;
    struct timespec ts;
    if (clock_getcpuclockid(pid, &clock) != 0 || clock_gettime(clock, &ts) != 0)
        return false;
    sample->cpu_ns = (uint64_t)ts.tv_sec * 1000000000ull + (uint64_t)ts.tv_nsec;
    return true;
}

static uint64_t thread_switches(int pid, const char *thread)
{
    char path[320], text[TEXT_MAX];
    snprintf(path, sizeof path, "/proc/%d/task/%s/status", pid, thread);
    const char *line = read_text(path, text) ? strstr(text, "\nvoluntary_ctxt_switches:") : NULL;
    return line ? strtoull(line + 25, NULL, 10) : 0;
}

static uint64_t read_switches(int pid)
{
    char path[64];
    uint64_t sum = 0;
    snprintf(path, sizeof path, "/proc/%d/task", pid);
    DIR *directory = opendir(path);
    if (!directory)
        return 0;
    for (const struct dirent *entry; (entry = readdir(directory)) != NULL;)
        if (entry->d_name[0] != '.')
            sum += thread_switches(pid, entry->d_name);
    closedir(directory);
    return sum;
}

bool process_sample(int pid, struct process_sample *ret_sample)
{
    struct process_sample sample = {0};
    char path[64], text[TEXT_MAX];
    CHECK(pid > 0);
    snprintf(path, sizeof path, "/proc/%d/stat", pid);
    if (!read_cpu(pid, &sample) || !read_text(path, text))
        return false;
    unsigned long user, system;
    const char *fields = strrchr(text, ')'); // the name may hold anything
    if (!fields || sscanf(fields + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user, &system) != 2)
        return false;
    uint64_t tick_ns = 1000000000ull / (uint64_t)sysconf(_SC_CLK_TCK);
    sample.user_ns = user * tick_ns;
    sample.system_ns = system * tick_ns;
    snprintf(path, sizeof path, "/proc/%d/statm", pid);
    unsigned long pages;
    if (!read_text(path, text) || sscanf(text, "%*u %lu", &pages) != 1)
        return false;
    sample.rss_bytes = (uint64_t)pages * (uint64_t)sysconf(_SC_PAGESIZE);
    sample.switches = read_switches(pid);
    *ret_sample = sample;
    return true;
}
