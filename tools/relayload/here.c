// See here.h.
#include "tools/relayload/here.h"

#include "shards/base/check.h"
#include "shards/cpus.h"
#include "tools/bench/hop.h"
#include "tools/bench/selfsigned.h"
#include "tools/relayload/report.h"
#include "tools/relayload/run.h"
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define START_LIMIT_MS 15000
#define STOP_LIMIT_MS 10000
#define POLL_MS 20
#define MEASURE_S 3u
#define USERS 50u // accounts made on the fly, so that presence does not dominate
#define PASSWORD "here"

extern char **environ;

struct here {
    const struct args *args;
    struct cpus cpus;
    char directory[64]; // of the certificate
    char key[128], certificate[128], database[128];
    struct args_user users[USERS];
    char user_names[USERS][32];
    char server[PATH_MAX];
    bool has_tls;
    pid_t pid; // 0: no relay runs
    struct args_url url;
    int failures;
};

// ---- the relay

static bool find_server(struct here *here)
{
    static const char *const places[] = {"/shardrelay", "/../shardrelay"}; // installed; in the build folder
    char self[PATH_MAX];
    if (here->args->server_binary) {
        snprintf(here->server, sizeof here->server, "%s", here->args->server_binary);
        return access(here->server, X_OK) == 0;
    }
    ssize_t len = readlink("/proc/self/exe", self, sizeof self - 1);
    if (len <= 0)
        return false;
    self[len] = '\0';
    *strrchr(self, '/') = '\0';
    for (unsigned i = 0; i < sizeof places / sizeof places[0]; i++) {
        int written = snprintf(here->server, sizeof here->server, "%s%s", self, places[i]);
        if (written > 0 && (size_t)written < sizeof here->server && access(here->server, X_OK) == 0)
            return true;
    }
    return false;
}

static uint16_t free_port(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof address;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return 0;
    if (bind(fd, (struct sockaddr *)&address, len) != 0 || getsockname(fd, (struct sockaddr *)&address, &len) != 0)
        address.sin_port = 0;
    close(fd);
    return ntohs(address.sin_port);
}

// Runs the program; in_fd and out_fd become its standard input and output (-1: /dev/null). 0: cannot.
static pid_t spawn(char *const *arguments, int in_fd, int out_fd)
{
    const int fds[] = {in_fd, out_fd, -1};
    posix_spawn_file_actions_t actions;
    pid_t pid;
    CHECK(posix_spawn_file_actions_init(&actions) == 0);
    for (int i = 0; i < 3; i++) {
        if (fds[i] < 0)
            CHECK(posix_spawn_file_actions_addopen(&actions, i, "/dev/null", O_RDWR, 0) == 0);
        else
            CHECK(posix_spawn_file_actions_adddup2(&actions, fds[i], i) == 0);
    }
    int status = posix_spawn(&pid, arguments[0], &actions, NULL, arguments, environ);
    posix_spawn_file_actions_destroy(&actions);
    return status == 0 ? pid : 0;
}

static bool add_user(struct here *here, char *name)
{
    char *arguments[] = {here->server, "-d", here->database, "adduser", name, "--password-stdin", NULL};
    int ends[2], status = -1;
    if (pipe2(ends, O_CLOEXEC) != 0)
        return false;
    bool written = write(ends[1], PASSWORD, strlen(PASSWORD)) == (ssize_t)strlen(PASSWORD); // a pipe holds that much
    close(ends[1]);
    pid_t pid = written ? spawn(arguments, ends[0], -1) : 0;
    close(ends[0]);
    return pid > 0 && waitpid(pid, &status, 0) == pid && status == 0;
}

static bool add_users(struct here *here)
{
    static char password[] = PASSWORD;
    for (unsigned i = 0; i < USERS; i++) {
        snprintf(here->user_names[i], sizeof here->user_names[i], "here%u@example.org", i);
        here->users[i] = (struct args_user){.name = here->user_names[i], .password = password};
        if (!add_user(here, here->user_names[i])) {
            fprintf(stderr, "relayload: %s adduser failed\n", here->server);
            return false;
        }
    }
    return true;
}

// Does `shardrelay server --help` know --tls-cert?
static bool knows_tls(struct here *here)
{
    char *arguments[] = {here->server, "server", "--help", NULL}, text[65536];
    int ends[2];
    size_t len = 0;
    if (pipe2(ends, O_CLOEXEC) != 0)
        return false;
    pid_t pid = spawn(arguments, -1, ends[1]);
    close(ends[1]);
    for (ssize_t n; pid > 0 && len < sizeof text - 1 && (n = read(ends[0], text + len, sizeof text - 1 - len)) > 0;)
        len += (size_t)n;
    text[len] = '\0';
    close(ends[0]);
    if (pid > 0)
        waitpid(pid, NULL, 0);
    return strstr(text, "--tls-cert") != NULL;
}

static bool is_up(uint16_t port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK), .sin_port = htons(port)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return false;
    bool up = connect(fd, (const struct sockaddr *)&address, sizeof address) == 0;
    close(fd);
    return up;
}

static void stop_relay(struct here *here)
{
    if (here->pid == 0)
        return;
    kill(here->pid, SIGTERM);
    for (int waited_ms = 0; waitpid(here->pid, NULL, WNOHANG) == 0; waited_ms += POLL_MS) {
        poll(NULL, 0, POLL_MS);
        if (waited_ms >= STOP_LIMIT_MS)
            kill(here->pid, SIGKILL);
    }
    here->pid = 0;
}

static bool start_relay(struct here *here, unsigned shards, bool tls)
{
    char port_text[8], shards_text[8];
    uint16_t port = free_port();
    snprintf(port_text, sizeof port_text, "%u", port);
    snprintf(shards_text, sizeof shards_text, "%u", shards);
    char *arguments[] = {here->server,
                         "-d",
                         here->database,
                         "server",
                         "-a",
                         "127.0.0.1",
                         "-p",
                         port_text,
                         "--shards",
                         shards_text,
                         tls ? "--tls-cert" : NULL,
                         here->certificate,
                         "--tls-key",
                         here->key,
                         NULL};
    CHECK(here->pid == 0);
    here->pid = spawn(arguments, -1, -1);
    for (int waited_ms = 0; here->pid > 0 && waited_ms < START_LIMIT_MS; waited_ms += POLL_MS) {
        if (is_up(port)) {
            here->url = (struct args_url){.tls = tls, .host = "127.0.0.1", .port = port, .path = "/v1/relay"};
            return true;
        }
        if (waitpid(here->pid, NULL, WNOHANG) != 0) {
            here->pid = 0;
            break;
        }
        poll(NULL, 0, POLL_MS);
    }
    stop_relay(here);
    fprintf(stderr, "relayload: %s does not start\n", here->server);
    here->failures++;
    return false;
}

// ---- measurements

static bool measure(struct here *here, const char *scenario, uint32_t sessions, uint32_t size, uint32_t window,
                    struct run_result *ret_result, struct report_figures *ret_figures)
{
    struct args args = *here->args;
    args.scenario = scenario;
    args.url = here->url;
    args.users = here->users;
    args.user_count = USERS;
    args.server_pid = here->pid;
    args.insecure = true;
    args.seconds = MEASURE_S;
    args.warmup_s = 1;
    args.observers = 0;
    args.sessions = sessions;
    args.window = window;
    args.rate = 0;
    args.threads = 1;
    args.sizes = (struct sizes){.count = 1, .weight_sum = 1, .items = {{size, size, 1}}};
    if (!args_resolve(&args) || !run(&args, ret_result) || ret_result->is_failed) {
        printf("| %s | failed: %s |\n", scenario, ret_result->failure);
        here->failures++;
        return false;
    }
    report_figures(ret_result, ret_figures);
    return true;
}

static void print_pairs(struct here *here, const char *label, uint32_t sessions, uint32_t size, uint32_t window)
{
    static struct run_result result; // large
    struct report_figures figures;
    if (!measure(here, "pairs", sessions, size, window, &result, &figures))
        return;
    printf("| %s | %.0f messages/s here; %.3f us CPU each, so %.0f/s for each core of the relay | p50 %.0f, p99 %.0f, p99.9 %.0f us |\n",
           label, figures.messages_per_s, figures.cpu_us_per_message, 1e6 / figures.cpu_us_per_message,
           (double)histogram_quantile(&result.latency, 0.5) / 1e3, (double)histogram_quantile(&result.latency, 0.99) / 1e3,
           (double)histogram_quantile(&result.latency, 0.999) / 1e3);
    fflush(stdout);
}

static void print_floor(const struct here *here, const char *label, size_t frame_bytes, uint32_t pairs, uint32_t window, bool tls)
{
    struct hop_options options = {.pairs = pairs,
                                  .window = window,
                                  .message_bytes = frame_bytes,
                                  .tls = tls,
                                  .batch = true,
                                  .cpu = here->cpus.ids[0],
                                  .warmup_ms = 300,
                                  .measure_ms = 1500};
    struct hop_result floor;
    cpu_set_t before;
    CHECK(sched_getaffinity(0, sizeof before, &before) == 0);
    int status = hop_measure(&options, &floor);
    CHECK(sched_setaffinity(0, sizeof before, &before) == 0); // hop_measure pins this thread
    if (status != 0 || floor.messages == 0)
        return;
    double cpu_us = (double)floor.cpu_ns / 1e3 / (double)floor.messages;
    printf("| %s | %.3f us CPU a message: no relay gets beyond %.0f/s for each core | p50 %.0f us |\n", label, cpu_us, 1e6 / cpu_us,
           (double)floor.p50_ns / 1e3);
    fflush(stdout);
}

static void print_sessions(struct here *here)
{
    static struct run_result result; // large
    struct report_figures figures;
    if (measure(here, "idle", 2000, 100, 1, &result, &figures))
        printf("| idle sessions | %.0f bytes of memory each (%.0f for each GiB), %.2f %% CPU for 2,000 | |\n", figures.bytes_per_session,
               figures.bytes_per_session > 0 ? 1073741824.0 / figures.bytes_per_session : 0, figures.idle_cpu_percent);
    if (measure(here, "storm", 200, 100, 200, &result, &figures))
        printf("| logins | %.0f/s here; %.0f us CPU each, so %.0f/s for each core | p50 %.0f us |\n", figures.logins_per_s,
               figures.cpu_us_per_login, 1e6 / figures.cpu_us_per_login, (double)histogram_quantile(&result.logins, 0.5) / 1e3);
    fflush(stdout);
}

static void measure_relays(struct here *here)
{
    if (start_relay(here, 1, false)) {
        print_sessions(here); // first: memory wants a fresh relay
        print_pairs(here, "one shard, 100 B, 20 pairs, window 8", 40, 100, 8);
        print_pairs(here, "one shard, 100 B, one in flight", 2, 100, 1);
        print_pairs(here, "one shard, 16 KiB, 4 pairs, window 8", 8, 16384, 8);
        stop_relay(here);
    }
    if (here->cpus.count >= 2 && start_relay(here, 2, false)) {
        print_pairs(here, "two shards, 100 B, 200 pairs, window 8", 400, 100, 8);
        stop_relay(here);
    }
    if (here->has_tls && start_relay(here, 1, true)) {
        print_pairs(here, "TLS, 100 B, 20 pairs, window 8", 40, 100, 8);
        print_pairs(here, "TLS, 16 KiB, 4 pairs, window 8", 8, 16384, 8);
        stop_relay(here);
    }
}

static bool prepare(struct here *here)
{
    snprintf(here->directory, sizeof here->directory, "/tmp/relayload-here-XXXXXX");
    if (cpus_allowed(&here->cpus) != 0 || !find_server(here)) {
        fputs("relayload: no shardrelay program beside this one (--server FILE names it)\n", stderr);
        return false;
    }
    if (!mkdtemp(here->directory)) {
        fprintf(stderr, "relayload: %s: %s\n", here->directory, strerror(errno));
        return false;
    }
    snprintf(here->key, sizeof here->key, "%s/key.pem", here->directory);
    snprintf(here->certificate, sizeof here->certificate, "%s/certificate.pem", here->directory);
    here->has_tls = knows_tls(here) && selfsigned_write(here->key, here->certificate);
    snprintf(here->database, sizeof here->database, "%s/here.sqlite", here->directory);
    return add_users(here);
}

static void remove_directory(const struct here *here)
{
    static const char *const names[] = {"key.pem", "certificate.pem", "here.sqlite", "here.sqlite-wal", "here.sqlite-shm"};
    for (unsigned i = 0; i < sizeof names / sizeof names[0]; i++) {
        char path[128];
        snprintf(path, sizeof path, "%s/%s", here->directory, names[i]);
        unlink(path);
    }
    rmdir(here->directory);
}

int here_run(const struct args *args)
{
    static struct here here;
    here.args = args;
    if (!prepare(&here)) {
        remove_directory(&here);
        return 1;
    }
    printf("This machine: %u CPUs for this process. The load runs on them too, so what the relay carries alone is the figure for each "
           "core.\n\n"
           "| what | carries | latency |\n| --- | --- | --- |\n",
           here.cpus.count);
    print_floor(&here, "floor, 100 B, 20 pairs, window 8", 155, 20, 8, false);
    print_floor(&here, "floor, 100 B, one in flight", 155, 1, 1, false);
    print_floor(&here, "floor, 16 KiB, 4 pairs, window 8", 16443, 4, 8, false);
    if (here.has_tls)
        print_floor(&here, "floor, TLS 1.3, 100 B, 20 pairs, window 8", 155, 20, 8, true);
    measure_relays(&here);
    remove_directory(&here);
    return here.failures == 0 ? 0 : 1;
}
