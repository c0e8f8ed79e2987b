// One line on stderr that says how far a transfer is; silent for short ones and when stderr is no terminal.
#include "shards/base/check.h"
#include "tools/client.h"
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#define SILENT_NS 1000000000u
#define EVERY_NS 200000000u
#define BAR_CELLS 30

uint64_t client_now_ns(void)
{
    struct timespec now;
    CHECK(clock_gettime(CLOCK_MONOTONIC, &now) == 0);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

void progress_init(struct progress *progress, bool wanted, uint64_t total_bytes, uint64_t now_ns)
{
    *progress =
        (struct progress){.on = wanted && isatty(STDERR_FILENO) == 1, .start_ns = now_ns, .shown_ns = 0, .total_bytes = total_bytes};
}

static void draw(const struct progress *progress, uint64_t done_bytes, uint64_t now_ns)
{
    char bar[BAR_CELLS + 32] = "";
    double seconds = (double)(now_ns - progress->start_ns) / 1e9;
    double mib = (double)done_bytes / 1048576.0;
    if (progress->total_bytes > 0) {
        uint64_t of = done_bytes < progress->total_bytes ? done_bytes : progress->total_bytes;
        int cells = (int)((double)of / (double)progress->total_bytes * BAR_CELLS);
        int percent = (int)((double)of / (double)progress->total_bytes * 100);
        snprintf(bar, sizeof bar, "[%.*s%*s] %3d %%  ", cells, "##############################", BAR_CELLS - cells, "", percent);
    }
    fprintf(stderr, "\r%s%.1f MiB  %.1f MiB/s \033[K", bar, mib, seconds > 0 ? mib / seconds : 0.0);
}

void progress_show(struct progress *progress, uint64_t done_bytes, uint64_t now_ns)
{
    CHECK(now_ns >= progress->start_ns);
    if (!progress->on || now_ns - progress->start_ns < SILENT_NS || now_ns - progress->shown_ns < EVERY_NS)
        return;
    progress->shown_ns = now_ns;
    draw(progress, done_bytes, now_ns);
}

void progress_fini(struct progress *progress, uint64_t done_bytes, uint64_t now_ns)
{
    if (!progress->on || progress->shown_ns == 0)
        return;
    draw(progress, done_bytes, now_ns);
    fputc('\n', stderr);
    progress->on = false;
}
