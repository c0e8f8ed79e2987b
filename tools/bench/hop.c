// The floor's relay: see hop.h. Runs in the main thread of the program that measures.
#include "tools/bench/hop.h"

#include "shards/base/check.h"
#include "tools/bench/hop_load.h"
#include "tools/bench/leg.h"
#include <arpa/inet.h>
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define STALL_TURNS_MAX 100 // of 100 ms

struct lane {
    struct leg in, out;
    uint8_t *pending; // bytes that did not fit into the out socket
    size_t start, end;
    size_t message_left; // bytes of the message that is being written (without batch)
    size_t unanswered;   // bytes of a message that has not come whole (with answer_bytes)
    bool stalled;
};

struct hop {
    const struct hop_options *options;
    struct hop_shared *shared;
    struct lane *lanes;
    uint8_t *buffer, *answers;
    int epoll_fd, listen_fd;
    uint32_t open;
    uint64_t bytes;
    int phase;
    uint64_t cpu_ns, measured_bytes; // at the start of the measured part, then of it
    bool finished;
};

static uint64_t thread_cpu_ns(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
    return (uint64_t)ts.tv_sec * 1000000000ull + (uint64_t)ts.tv_nsec;
}

static void watch(struct hop *hop, struct lane *lane, bool out, uint32_t events, int operation)
{
    struct epoll_event event = {.events = events, .data.ptr = lane};
    CHECK(epoll_ctl(hop->epoll_fd, operation, out ? lane->out.fd : lane->in.fd, &event) == 0);
}

static void set_stalled(struct hop *hop, struct lane *lane, bool stalled)
{
    if (lane->stalled == stalled)
        return;
    lane->stalled = stalled;
    watch(hop, lane, false, stalled ? 0 : EPOLLIN, EPOLL_CTL_MOD);
    watch(hop, lane, true, stalled ? EPOLLOUT : 0, EPOLL_CTL_MOD);
}

// How much one write may carry: all of it, or the rest of the current message.
static size_t write_length(const struct hop *hop, const struct lane *lane, size_t len)
{
    return hop->options->batch || len < lane->message_left ? len : lane->message_left;
}

// Returns how many bytes went out; fewer than len when the socket is full.
static size_t pass_on(struct hop *hop, struct lane *lane, const uint8_t *buf, size_t len)
{
    size_t done = 0;
    while (done < len) {
        ssize_t n = leg_write(&lane->out, buf + done, write_length(hop, lane, len - done));
        if (n <= 0)
            break;
        done += (size_t)n;
        if (!hop->options->batch) {
            lane->message_left -= (size_t)n;
            if (lane->message_left == 0)
                lane->message_left = hop->options->message_bytes;
        }
    }
    hop->bytes += done;
    return done;
}

// One write for all messages that came whole. The load always reads its answers, so they fit.
static bool answer(const struct hop *hop, struct lane *lane, size_t len)
{
    lane->unanswered += len;
    size_t left = lane->unanswered / hop->options->message_bytes * hop->options->answer_bytes;
    lane->unanswered %= hop->options->message_bytes;
    CHECK(left <= HOP_BUFFER_BYTES);
    return left == 0 || (leg_write(&lane->in, hop->answers, left) == (ssize_t)left && leg_flush(&lane->in) == 0);
}

// false: the lane has ended.
static bool serve(struct hop *hop, struct lane *lane)
{
    if (lane->stalled) {
        lane->start += pass_on(hop, lane, lane->pending + lane->start, lane->end - lane->start);
        if (lane->start < lane->end || leg_flush(&lane->out) != 0)
            return true;
        set_stalled(hop, lane, false);
    }
    ssize_t n = leg_read(&lane->in, hop->buffer, HOP_BUFFER_BYTES);
    if (n == -EAGAIN)
        return true;
    if (n <= 0)
        return false;
    size_t done = pass_on(hop, lane, hop->buffer, (size_t)n);
    if (done < (size_t)n) {
        if (!lane->pending && !(lane->pending = malloc(HOP_BUFFER_BYTES)))
            return false;
        memcpy(lane->pending, hop->buffer + done, (size_t)n - done);
        lane->start = 0;
        lane->end = (size_t)n - done;
    }
    set_stalled(hop, lane, done < (size_t)n || leg_flush(&lane->out) != 0);
    return answer(hop, lane, (size_t)n);
}

static void follow_phase(struct hop *hop)
{
    int phase = atomic_load_explicit(&hop->shared->phase, memory_order_relaxed);
    if (phase == hop->phase)
        return;
    if (phase == HOP_MEASURE) {
        hop->cpu_ns = thread_cpu_ns();
        hop->measured_bytes = hop->bytes;
    } else if (hop->phase == HOP_MEASURE) {
        hop->cpu_ns = thread_cpu_ns() - hop->cpu_ns;
        hop->measured_bytes = hop->bytes - hop->measured_bytes;
        hop->finished = true;
    }
    hop->phase = phase;
}

static void lane_close(struct hop *hop, struct lane *lane)
{
    if (lane->in.fd < 0)
        return;
    if (lane->out.fd >= 0) {
        leg_close(&lane->out);
        CHECK(hop->open > 0);
        hop->open--;
    }
    leg_close(&lane->in);
    free(lane->pending);
    lane->pending = NULL;
}

static int relay(struct hop *hop)
{
    struct epoll_event events[256];
    unsigned idle_turns = 0;
    while (hop->open > 0) {
        int count = epoll_wait(hop->epoll_fd, events, 256, 100);
        follow_phase(hop);
        if (hop->phase == HOP_END)
            return hop->finished ? 0 : -EPROTO;
        idle_turns = count > 0 ? 0 : idle_turns + 1;
        if (idle_turns > STALL_TURNS_MAX)
            return -ETIMEDOUT;
        for (int i = 0; i < count; i++)
            if (!serve(hop, events[i].data.ptr))
                lane_close(hop, events[i].data.ptr);
    }
    return hop->finished ? 0 : -ECONNRESET;
}

static int listen_here(struct sockaddr_in *ret_address)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof address;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    if (bind(fd, (struct sockaddr *)&address, len) != 0 || listen(fd, 64) != 0 || getsockname(fd, (struct sockaddr *)&address, &len) != 0) {
        int error = errno;
        close(fd);
        return -error;
    }
    *ret_address = address;
    return fd;
}

// Blocking, but never for long: the listener has a time limit, and so have the sockets it makes.
static int accept_lanes(struct hop *hop, SSL_CTX *context)
{
    struct timeval limit = {.tv_sec = 10};
    CHECK(setsockopt(hop->listen_fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit) == 0);
    for (uint32_t i = 0; i < 2 * hop->options->pairs; i++) {
        struct lane *lane = &hop->lanes[i / 2];
        int fd = accept4(hop->listen_fd, NULL, NULL, SOCK_CLOEXEC);
        if (fd < 0)
            return -errno;
        if (!leg_open(i % 2 == 0 ? &lane->in : &lane->out, fd, context, true))
            return -EPROTO;
        if (i % 2 == 1) {
            lane->message_left = hop->options->message_bytes;
            watch(hop, lane, false, EPOLLIN, EPOLL_CTL_ADD);
            watch(hop, lane, true, 0, EPOLL_CTL_ADD);
            hop->open++;
        }
    }
    return 0;
}

static int pin(int cpu)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    if (cpu < 0)
        return 0;
    CPU_SET((size_t)cpu, &set);
    return sched_setaffinity(0, sizeof set, &set) == 0 ? 0 : -errno;
}

static int measure(struct hop *hop, SSL_CTX *server_context)
{
    int status = accept_lanes(hop, server_context);
    return status == 0 ? relay(hop) : status;
}

static void read_result(const struct hop *hop, struct hop_result *ret_result)
{
    const struct histogram *latency = &hop->shared->latency;
    *ret_result = (struct hop_result){
        .messages = hop->measured_bytes / hop->options->message_bytes,
        .wall_ns = hop->shared->wall_ns,
        .cpu_ns = hop->cpu_ns,
        .p50_ns = histogram_quantile(latency, 0.5),
        .p99_ns = histogram_quantile(latency, 0.99),
    };
    SSL *ssl = hop->lanes[0].in.ssl;
    if (ssl)
        strncpy(ret_result->cipher, SSL_get_cipher_name(ssl), sizeof ret_result->cipher - 1);
}

static int measure_with_load(struct hop *hop, struct hop_result *ret_result)
{
    const struct hop_options *options = hop->options;
    SSL_CTX *server_context = options->tls ? leg_context(true) : NULL;
    SSL_CTX *client_context = options->tls ? leg_context(false) : NULL;
    struct sockaddr_in address;
    int status = -ENOMEM;
    hop->listen_fd = -1;
    if (options->tls && (!server_context || !client_context))
        goto out;
    status = hop->listen_fd = listen_here(&address);
    if (status < 0)
        goto out;
    pid_t pid = fork();
    if (pid == 0)
        _exit(hop_load_run(options, &address, client_context, hop->shared));
    status = pid < 0 ? -errno : measure(hop, server_context);
    if (status == 0)
        read_result(hop, ret_result);
    if (pid > 0) {
        kill(pid, SIGKILL); // its work is done, or has failed
        waitpid(pid, NULL, 0);
    }
out:
    if (hop->listen_fd >= 0)
        close(hop->listen_fd);
    SSL_CTX_free(server_context);
    SSL_CTX_free(client_context);
    return status;
}

int hop_measure(const struct hop_options *options, struct hop_result *ret_result)
{
    CHECK(options->pairs > 0 && options->pairs <= HOP_PAIRS_MAX && options->message_bytes > 0);
    int status = pin(options->cpu);
    if (status != 0)
        return status;
    struct hop hop = {.options = options, .epoll_fd = epoll_create1(EPOLL_CLOEXEC)};
    hop.shared = mmap(NULL, sizeof *hop.shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    hop.lanes = calloc(options->pairs, sizeof *hop.lanes);
    hop.buffer = malloc(HOP_BUFFER_BYTES);
    hop.answers = calloc(1, HOP_BUFFER_BYTES);
    status = -ENOMEM;
    if (hop.lanes && hop.buffer && hop.answers && hop.epoll_fd >= 0 && hop.shared != MAP_FAILED) {
        for (uint32_t i = 0; i < options->pairs; i++)
            hop.lanes[i].in.fd = hop.lanes[i].out.fd = -1;
        status = measure_with_load(&hop, ret_result);
        for (uint32_t i = 0; i < options->pairs; i++)
            lane_close(&hop, &hop.lanes[i]);
    }
    if (hop.shared != MAP_FAILED)
        munmap(hop.shared, sizeof *hop.shared);
    free(hop.lanes);
    free(hop.buffer);
    free(hop.answers);
    if (hop.epoll_fd >= 0)
        close(hop.epoll_fd);
    return status;
}
