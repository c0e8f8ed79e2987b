// The load process of the floor. A message is answered by the next one: as many as were received in a wake are sent in one write.
#include "tools/bench/hop_load.h"

#include "shards/base/check.h"
#include "tools/bench/leg.h"
#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

struct flow {
    struct leg sender, receiver;
    size_t unsent_bytes, received_bytes;
    uint64_t *sent_at_ns; // ring of the window
    uint64_t sent, received;
    bool waits_for_room;
};

struct load {
    const struct hop_options *options;
    struct hop_shared *shared;
    struct flow *flows;
    int epoll_fd;
    uint8_t *buffer;
    bool measuring;
};

uint64_t hop_now_ns(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000000ull + (uint64_t)ts.tv_nsec;
}

static bool connect_leg(const struct sockaddr_in *address, SSL_CTX *context, struct leg *ret_leg)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return false;
    if (connect(fd, (const struct sockaddr *)address, sizeof *address) != 0) {
        close(fd);
        return false;
    }
    return leg_open(ret_leg, fd, context, false);
}

static void watch(struct load *load, struct flow *flow, bool sender, uint32_t events, int operation)
{
    uint64_t index = (uint64_t)(flow - load->flows);
    struct epoll_event event = {.events = events, .data.u64 = index << 1 | sender};
    CHECK(epoll_ctl(load->epoll_fd, operation, sender ? flow->sender.fd : flow->receiver.fd, &event) == 0);
}

// Writes what is owed; bytes are all zero, so any part of the buffer will do. Over TLS a write for each record, as OpenSSL does on a
// socket, so as relayload does.
static bool push(struct load *load, struct flow *flow)
{
    size_t len_max = flow->sender.ssl ? LEG_RECORD_BYTES : HOP_BUFFER_BYTES;
    while (flow->unsent_bytes > 0) {
        size_t len = flow->unsent_bytes < len_max ? flow->unsent_bytes : len_max;
        ssize_t n = leg_write(&flow->sender, load->buffer, len);
        if (n == -EAGAIN)
            break;
        if (n <= 0)
            return false;
        flow->unsent_bytes -= (size_t)n;
    }
    bool waits = flow->unsent_bytes > 0 || leg_flush(&flow->sender) != 0;
    if (waits != flow->waits_for_room) {
        watch(load, flow, true, EPOLLIN | (waits ? EPOLLOUT : 0), EPOLL_CTL_MOD);
        flow->waits_for_room = waits;
    }
    return true;
}

static bool send_messages(struct load *load, struct flow *flow, uint64_t count, uint64_t now_ns)
{
    CHECK(flow->sent + count - flow->received <= load->options->window);
    for (uint64_t i = 0; i < count; i++)
        flow->sent_at_ns[flow->sent++ % load->options->window] = now_ns;
    flow->unsent_bytes += count * load->options->message_bytes;
    return push(load, flow);
}

// Answers are of no interest.
static bool drain(struct load *load, struct flow *flow)
{
    ssize_t n = leg_read(&flow->sender, load->buffer, HOP_BUFFER_BYTES);
    return n > 0 || n == -EAGAIN;
}

static bool receive(struct load *load, struct flow *flow)
{
    ssize_t n = leg_read(&flow->receiver, load->buffer, HOP_BUFFER_BYTES);
    if (n == -EAGAIN)
        return true;
    if (n <= 0)
        return false;
    uint64_t now_ns = hop_now_ns(), complete = 0;
    flow->received_bytes += (size_t)n;
    while (flow->received_bytes >= load->options->message_bytes) {
        flow->received_bytes -= load->options->message_bytes;
        uint64_t sent_at_ns = flow->sent_at_ns[flow->received++ % load->options->window];
        if (load->measuring)
            histogram_add(&load->shared->latency, now_ns - sent_at_ns);
        complete++;
    }
    return complete == 0 || send_messages(load, flow, complete, now_ns);
}

static bool open_flows(struct load *load, const struct sockaddr_in *address, SSL_CTX *context)
{
    for (uint32_t i = 0; i < load->options->pairs; i++) {
        struct flow *flow = &load->flows[i];
        flow->sent_at_ns = calloc(load->options->window, sizeof *flow->sent_at_ns);
        if (!flow->sent_at_ns || !connect_leg(address, context, &flow->sender) || !connect_leg(address, context, &flow->receiver))
            return false;
        watch(load, flow, true, EPOLLIN, EPOLL_CTL_ADD);
        watch(load, flow, false, EPOLLIN, EPOLL_CTL_ADD);
    }
    return true;
}

static bool turn(struct load *load)
{
    struct epoll_event events[256];
    int count = epoll_wait(load->epoll_fd, events, 256, 100);
    for (int i = 0; i < count; i++) {
        struct flow *flow = &load->flows[events[i].data.u64 >> 1];
        bool ok = (events[i].data.u64 & 1) != 0 ? drain(load, flow) && push(load, flow) : receive(load, flow);
        if (!ok)
            return false;
    }
    return count >= 0 || errno == EINTR;
}

static int run(struct load *load)
{
    uint64_t begin_ns = hop_now_ns(), measure_ns = begin_ns + load->options->warmup_ms * 1000000ull;
    uint64_t end_ns = measure_ns + load->options->measure_ms * 1000000ull, measure_began_ns = 0;
    for (uint32_t i = 0; i < load->options->pairs; i++)
        if (!send_messages(load, &load->flows[i], load->options->window, begin_ns))
            return 1;
    for (;;) {
        if (!turn(load))
            return 1;
        uint64_t now_ns = hop_now_ns();
        if (!load->measuring && now_ns >= measure_ns) {
            load->measuring = true;
            measure_began_ns = now_ns;
            atomic_store(&load->shared->phase, HOP_MEASURE);
        } else if (now_ns >= end_ns) {
            load->shared->wall_ns = now_ns - measure_began_ns;
            atomic_store(&load->shared->phase, HOP_END);
            return 0;
        }
    }
}

// Memory and sockets go with the process.
int hop_load_run(const struct hop_options *options, const struct sockaddr_in *address, SSL_CTX *context, struct hop_shared *shared)
{
    CHECK(options->pairs > 0 && options->pairs <= HOP_PAIRS_MAX && options->window > 0 && options->window <= HOP_WINDOW_MAX);
    struct load load = {
        .options = options,
        .shared = shared,
        .flows = calloc(options->pairs, sizeof *load.flows),
        .buffer = calloc(1, HOP_BUFFER_BYTES),
        .epoll_fd = epoll_create1(EPOLL_CLOEXEC),
    };
    if (!load.flows || !load.buffer || load.epoll_fd < 0 || !open_flows(&load, address, context)) {
        // NOLINTNEXTLINE(clang-analyzer-unix.Malloc): goes with the process
        fputs("floor: the load process cannot connect\n", stderr);
        return 1;
    }
    return run(&load);
}
