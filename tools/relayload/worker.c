// See worker.h.
#include "tools/relayload/worker.h"

#include "shards/base/check.h"
#include "shards/cpus.h"
#include <errno.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#define EVENTS_MAX 256
#define SLEEP_MAX_NS 10000000ull // how late a change of phase may be seen
#define RETRY_SCAN_NS 50000000ull

uint64_t worker_clock_ns(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000000ull + (uint64_t)ts.tv_nsec;
}

static void keep_text(struct worker *worker, const char *format, va_list list)
{
    pthread_mutex_lock(&worker->text_lock);
    if (worker->first_failure[0] == '\0')
        vsnprintf(worker->first_failure, sizeof worker->first_failure, format, list);
    pthread_mutex_unlock(&worker->text_lock);
}

void worker_fail(struct worker *worker, const char *format, ...)
{
    va_list list;
    va_start(list, format);
    keep_text(worker, format, list);
    va_end(list);
}

void worker_violation(struct worker *worker, const char *format, ...)
{
    va_list list;
    va_start(list, format);
    keep_text(worker, format, list);
    va_end(list);
    COUNT(&worker->counters, violations, 1);
}

static uint32_t key_slot(const struct worker *worker, const struct key *key)
{
    uint32_t hash;
    memcpy(&hash, key->bytes, sizeof hash); // keys are random
    return hash & worker->by_key_mask;
}

struct client *worker_find(struct worker *worker, const struct key *key)
{
    uint32_t slot = key_slot(worker, key);
    for (; worker->by_key[slot]; slot = (slot + 1) & worker->by_key_mask)
        if (key_equal(&worker->by_key[slot]->key, key))
            return worker->by_key[slot];
    return NULL;
}

static bool create_clients(struct worker *worker)
{
    uint32_t slots = 4;
    worker->open_end = worker->client_count;
    while (slots < 2 * worker->client_count)
        slots *= 2;
    worker->by_key_mask = slots - 1;
    worker->clients = calloc(worker->client_count, sizeof *worker->clients);
    worker->by_key = calloc(slots, sizeof(struct client *));
    if (!worker->clients || !worker->by_key)
        return false;
    for (uint32_t i = 0; i < worker->client_count; i++) {
        struct client *client = &worker->clients[i];
        client->worker = worker;
        client->fd = -1;
        client->index = i;
        client->user = worker->user_first + (worker->index + i) % worker->user_count;
        client_create_key(client);
        uint32_t slot = key_slot(worker, &client->key);
        while (worker->by_key[slot])
            slot = (slot + 1) & worker->by_key_mask;
        worker->by_key[slot] = client;
    }
    return true;
}

void worker_open(struct worker *worker, struct client *client)
{
    CHECK(!client->in_login && client->state == CLIENT_CLOSED);
    if (!client_open(client)) {
        COUNT(&worker->counters, login_failures, 1);
        return;
    }
    client->in_login = true;
    worker->logins_under_way++;
}

static void leave_login(struct worker *worker, struct client *client)
{
    CHECK(client->in_login && worker->logins_under_way > 0);
    client->in_login = false;
    worker->logins_under_way--;
}

static void set_ready(struct worker *worker, int change)
{
    uint32_t ready = atomic_load_explicit(&worker->ready, memory_order_relaxed);
    CHECK(change > 0 || ready > 0);
    atomic_store_explicit(&worker->ready, ready + (uint32_t)change, memory_order_relaxed);
}

void worker_close(struct worker *worker, struct client *client, bool polite)
{
    if (client->state == CLIENT_CLOSED)
        return;
    if (client->in_login)
        leave_login(worker, client);
    else
        set_ready(worker, -1);
    client_close(client, polite);
    client->close_code = 0;
    COUNT(&worker->counters, closes, 1);
}

static void open_retries(struct worker *worker, uint32_t limit)
{
    if (worker->retry_count == 0 || worker->now_ns < worker->retry_scan_ns)
        return;
    worker->retry_scan_ns = worker->now_ns + RETRY_SCAN_NS;
    for (uint32_t i = 0; i < worker->client_count && worker->retry_count > 0 && worker->logins_under_way < limit; i++) {
        struct client *client = &worker->clients[i];
        if (client->retry_ns == 0 || client->retry_ns > worker->now_ns)
            continue;
        client->retry_ns = 0;
        worker->retry_count--;
        if (client->state == CLIENT_CLOSED)
            worker_open(worker, client);
    }
}

uint64_t worker_open_some(struct worker *worker, uint32_t limit)
{
    open_retries(worker, limit);
    while (worker->open_next < worker->open_end && worker->logins_under_way < limit) {
        struct client *client = &worker->clients[worker->open_next++];
        if (client->state == CLIENT_CLOSED && client->retry_ns == 0)
            worker_open(worker, client);
    }
    return worker->retry_count > 0 ? worker->retry_scan_ns : WORKER_NEVER;
}

bool worker_all_ready(const struct worker *worker)
{
    return atomic_load_explicit(&worker->ready, memory_order_relaxed) == worker->client_count;
}

void worker_on_ready(struct worker *worker, struct client *client)
{
    leave_login(worker, client);
    set_ready(worker, 1);
    COUNT(&worker->counters, logins, 1);
    if (worker->seen_phase == PHASE_MEASURE)
        histogram_add(&worker->logins, worker->now_ns - client->began_ns);
    worker->scenario->on_ready(worker, client);
}

void worker_on_closed(struct worker *worker, struct client *client, const char *reason)
{
    CHECK(client->state == CLIENT_CLOSED);
    if (client->in_login) {
        leave_login(worker, client);
        COUNT(&worker->counters, login_failures, 1);
        worker_fail(worker, "login: %s", reason);
    } else {
        set_ready(worker, -1);
        if (client->expendable) {
            COUNT(&worker->counters, slow_closes, 1);
        } else {
            COUNT(&worker->counters, lost_sessions, 1);
            worker_fail(worker, "session lost: %s", reason);
        }
    }
    worker->scenario->on_closed(worker, client);
}

void worker_on_retry(struct worker *worker, struct client *client, uint32_t after_ms)
{
    CHECK(client->state == CLIENT_CLOSED && client->retry_ns == 0);
    leave_login(worker, client);
    COUNT(&worker->counters, login_retries, 1);
    client->retry_ns = worker->now_ns + after_ms * 1000000ull;
    worker->retry_count++;
}

static void wait_for_events(struct worker *worker, uint64_t until_ns)
{
    struct epoll_event events[EVENTS_MAX];
    uint64_t now_ns = worker_clock_ns(), wait_ns = until_ns <= now_ns ? 0 : until_ns - now_ns;
    if (wait_ns > SLEEP_MAX_NS)
        wait_ns = SLEEP_MAX_NS;
    struct timespec timeout = {.tv_nsec = (long)wait_ns};
    int count = epoll_pwait2(worker->epoll_fd, events, EVENTS_MAX, &timeout, NULL);
    CHECK(count >= 0 || errno == EINTR);
    worker->now_ns = worker_clock_ns();
    for (int i = 0; i < count; i++) {
        struct client *client = &worker->clients[(uint32_t)events[i].data.u64];
        if (client->state != CLIENT_CLOSED && client->generation == events[i].data.u64 >> 32)
            client_on_events(client, events[i].events);
    }
}

static void *run(void *arg)
{
    struct worker *worker = arg;
    if (worker->cpu >= 0 && cpus_pin_self((uint16_t)worker->cpu) != 0)
        worker_fail(worker, "cannot be pinned to CPU %d", worker->cpu);
    const struct sched_param lowest = {.sched_priority = 1};
    worker->is_urgent = worker->scenario->urgent && pthread_setschedparam(pthread_self(), SCHED_FIFO, &lowest) == 0;
    prctl(PR_SET_TIMERSLACK, 1000ul); // open loops are due to the microsecond
    worker->now_ns = worker_clock_ns();
    for (;;) {
        enum phase phase = (enum phase)atomic_load_explicit(worker->phase, memory_order_relaxed);
        if (phase != worker->seen_phase) {
            worker->seen_phase = phase;
            worker->scenario->on_phase(worker, phase);
        }
        if (phase == PHASE_END)
            break;
        wait_for_events(worker, worker->scenario->on_turn(worker));
    }
    worker->scenario->finish(worker);
    for (uint32_t i = 0; i < worker->client_count; i++)
        client_close(&worker->clients[i], true);
    atomic_store(&worker->is_gone, true);
    return NULL;
}

int worker_start(struct worker *worker)
{
    CHECK(worker->client_count > 0 && worker->scenario && worker->phase);
    worker->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    worker->buffer = malloc(WORKER_BUFFER_BYTES);
    worker->seed = worker->args->seed * 1000003u + worker->index;
    worker->seen_phase = PHASE_SETUP;
    CHECK(pthread_mutex_init(&worker->text_lock, NULL) == 0);
    int status = -ENOMEM;
    if (worker->epoll_fd >= 0 && worker->buffer && create_clients(worker) && worker->scenario->start(worker)) {
        status = -pthread_create(&worker->thread, NULL, run, worker);
        if (status != 0)
            worker->scenario->finish(worker);
    }
    if (status != 0)
        worker_fini(worker);
    return status;
}

void worker_join(struct worker *worker)
{
    pthread_join(worker->thread, NULL);
    CHECK(worker->is_gone);
}

void worker_fini(struct worker *worker)
{
    if (worker->epoll_fd >= 0)
        close(worker->epoll_fd);
    free(worker->buffer);
    free(worker->clients);
    free(worker->by_key);
    pthread_mutex_destroy(&worker->text_lock);
    worker->buffer = NULL;
    worker->clients = NULL;
    worker->by_key = NULL;
    worker->epoll_fd = -1;
}
