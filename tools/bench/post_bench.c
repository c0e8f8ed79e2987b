// What one record costs across the post: a sender that writes bursts and a receiver that drains them, on two CPUs or on one.
// usage: post_bench [RECORD_BYTES [BURST [RECORDS]]]     Prints nanoseconds per record, of wall time and of both threads' CPU time.
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <time.h>

#include "shards/base/check.h"
#include "shards/cpus.h"
#include "shards/os.h"
#include "shards/post.h"

#define NS_PER_S 1000000000ull
#define PAYLOAD_BYTES_MAX 65536

struct bench {
    struct post *post;
    uint64_t records;
    uint32_t record_bytes;
    uint32_t burst;
    uint16_t receiver_cpu;
    uint64_t received, sum; // the receiver's
    uint64_t receiver_cpu_ns;
};

static uint64_t thread_cpu_ns(void)
{
    struct timespec used;
    CHECK(clock_gettime(CLOCK_THREAD_CPUTIME_ID, &used) == 0);
    return (uint64_t)used.tv_sec * NS_PER_S + (uint64_t)used.tv_nsec;
}

static void on_record(void *owner, const struct post_record *record)
{
    struct bench *bench = owner;
    bench->received++;
    bench->sum += record->body.len > 0 ? record->body.ptr[0] : 0;
}

// Sleeps in epoll as a node does, until mail or room wakes it.
static void sleep_until_woken(struct post *post, uint16_t self, int epoll_fd)
{
    struct epoll_event event;
    if (!post_sleep(post, self))
        return;
    (void)os_epoll_wait(epoll_fd, &event, 1, -1);
    post_awake(post, self);
}

static int epoll_of(struct post *post, uint16_t self)
{
    int epoll_fd = os_epoll_create();
    CHECK(epoll_fd >= 0);
    CHECK(os_epoll_add(epoll_fd, post_wake_fd(post, self), EPOLLIN | EPOLLET, NULL) == 0);
    return epoll_fd;
}

static void *receive(void *owner)
{
    struct bench *bench = owner;
    int epoll_fd = epoll_of(bench->post, 1);
    CHECK(cpus_pin_self(bench->receiver_cpu) == 0);
    while (bench->received < bench->records) {
        if (post_drain(bench->post, 1, 4096, on_record, bench) == 0)
            sleep_until_woken(bench->post, 1, epoll_fd);
    }
    bench->receiver_cpu_ns = thread_cpu_ns();
    os_close(epoll_fd);
    return NULL;
}

static void send_all(struct bench *bench)
{
    static uint8_t payload[PAYLOAD_BYTES_MAX];
    int epoll_fd = epoll_of(bench->post, 0);
    uint64_t sent = 0;
    while (sent < bench->records || !post_is_idle(bench->post, 0)) {
        bool is_held = post_is_full(bench->post, 0, 1) || sent == bench->records;
        for (uint32_t i = 0; i < bench->burst && sent < bench->records && !is_held; i++, sent++)
            post_write(bench->post, 0, 1, 1, bytes_of(payload, 16), bytes_of(payload + 16, bench->record_bytes - 16));
        if (post_flush(bench->post, 0) == 0 && is_held)
            sleep_until_woken(bench->post, 0, epoll_fd);
    }
    os_close(epoll_fd);
}

static void run(struct bench bench, uint16_t sender_cpu)
{
    pthread_t receiver;
    bench.post = post_create(2, &post_limits_default);
    CHECK(bench.post != NULL);
    CHECK(cpus_pin_self(sender_cpu) == 0);
    uint64_t cpu_ns = thread_cpu_ns(), start_ns = os_now_ns();
    CHECK(pthread_create(&receiver, NULL, receive, &bench) == 0);
    send_all(&bench);
    CHECK(pthread_join(receiver, NULL) == 0);
    uint64_t wall_ns = os_now_ns() - start_ns;
    cpu_ns = thread_cpu_ns() - cpu_ns;
    struct post_counts counts;
    post_counts(bench.post, 0, &counts);
    double records = (double)bench.records;
    printf("CPU %u -> %u, %u bytes, burst %u: wall %.1f ns, sender %.1f ns, receiver %.1f ns per record; %.1f records a parcel, %llu "
           "wakes, %llu parcels allocated\n",
           sender_cpu, bench.receiver_cpu, bench.record_bytes, bench.burst, (double)wall_ns / records, (double)cpu_ns / records,
           (double)bench.receiver_cpu_ns / records, records / (double)counts.parcels_sent, (unsigned long long)counts.wakes_sent,
           (unsigned long long)counts.parcels_allocated);
    post_destroy(bench.post);
}

int main(int argc, char **argv)
{
    struct cpus cpus;
    CHECK(cpus_allowed(&cpus) == 0);
    struct bench bench = {
        .record_bytes = argc > 1 ? (uint32_t)strtoul(argv[1], NULL, 10) : 100,
        .burst = argc > 2 ? (uint32_t)strtoul(argv[2], NULL, 10) : 32,
        .records = argc > 3 ? strtoull(argv[3], NULL, 10) : 5000000,
    };
    if (bench.record_bytes < 16 || bench.record_bytes > PAYLOAD_BYTES_MAX || bench.burst == 0 || bench.records == 0) {
        fprintf(stderr, "usage: post_bench [RECORD_BYTES (16 to 65536) [BURST [RECORDS]]]\n");
        return 2;
    }
    uint16_t first = cpus.ids[0], last = cpus.ids[cpus.count - 1];
    bench.receiver_cpu = last;
    run(bench, first);
    bench.receiver_cpu = first;
    if (last != first)
        run(bench, first);
    return 0;
}
