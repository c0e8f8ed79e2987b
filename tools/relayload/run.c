// See run.h.
#include "tools/relayload/run.h"

#include "shards/base/check.h"
#include "shards/cpus.h"
#include "tools/relayload/pairs.h"
#include "tools/relayload/scenarios.h"
#include <errno.h>
#include <poll.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#define SETUP_LIMIT_S 120
#define OPEN_LIMIT_S 600 // for a scenario that holds what it opened for --seconds
#define SETTLE_LIMIT_S 15
#define OBSERVER_RATE 1000u
#define POLL_MS 5
#define PROGRESS_NS 250000000ull
#define WORKERS_MAX (ARGS_THREADS_MAX + 4)
#define HEADERS_MAX 4096

struct conductor {
    const struct args *args;
    struct run_result *result;
    struct worker *workers;
    unsigned worker_count;
    _Atomic int phase;
    SSL_CTX *tls;
    char **headers;
    struct cpus cpus; // count 0: not pinned
    uint64_t progress_ns, progress_messages;
};

const struct scenario *const run_scenarios[] = {&scenario_pairs, &scenario_presence, &scenario_idle,   &scenario_storm, &scenario_churn,
                                                &scenario_slow,  &scenario_mixed,    &scenario_verify, &scenario_die,   NULL};

const struct scenario *run_scenario(const char *name)
{
    for (unsigned i = 0; run_scenarios[i]; i++)
        if (strcmp(run_scenarios[i]->name, name) == 0)
            return run_scenarios[i];
    return NULL;
}

static void say_failure(struct run_result *result, const char *text)
{
    result->is_failed = true;
    if (result->failure[0] == '\0')
        snprintf(result->failure, sizeof result->failure, "%s", text);
}

// ---- preparation

static char *make_headers(const struct args *args, const struct args_user *user)
{
    char login[1024], basic[2048], text[HEADERS_MAX];
    bool is_ipv6 = strchr(args->url.host, ':') != NULL;
    int len = snprintf(login, sizeof login, "%s:%s", user->name, user->password);
    if (len < 0 || (size_t)len >= sizeof login)
        return NULL;
    sodium_bin2base64(basic, sizeof basic, (const unsigned char *)login, (size_t)len, sodium_base64_VARIANT_ORIGINAL);
    len = snprintf(text, sizeof text,
                   "GET %s HTTP/1.1\r\nHost: %s%s%s:%u\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
                   "Authorization: Basic %s\r\n",
                   args->url.path, is_ipv6 ? "[" : "", args->url.host, is_ipv6 ? "]" : "", args->url.port, basic);
    return len > 0 && (size_t)len < sizeof text ? strdup(text) : NULL;
}

static bool prepare_headers(struct conductor *conductor)
{
    const struct args *args = conductor->args;
    conductor->headers = calloc(args->user_count, sizeof(char *));
    for (uint32_t i = 0; conductor->headers && i < args->user_count; i++)
        if (!(conductor->headers[i] = make_headers(args, &args->users[i])))
            return false;
    return conductor->headers != NULL;
}

static bool prepare_tls(struct conductor *conductor)
{
    if (!conductor->args->url.tls)
        return true;
    SSL_CTX *tls = SSL_CTX_new(TLS_client_method());
    if (!tls)
        return false;
    conductor->tls = tls;
    SSL_CTX_set_mode(tls, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    SSL_CTX_set_options(tls, SSL_OP_IGNORE_UNEXPECTED_EOF);
    SSL_CTX_set_read_ahead(tls, 1);
    SSL_CTX_set_session_cache_mode(tls, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_verify(tls, conductor->args->insecure ? SSL_VERIFY_NONE : SSL_VERIFY_PEER, NULL);
    return SSL_CTX_set_default_verify_paths(tls) == 1;
}

// Every session needs a descriptor: the soft limit is raised to the hard one. false: still too low.
static bool raise_descriptor_limit(uint64_t sessions)
{
    struct rlimit limit;
    CHECK(getrlimit(RLIMIT_NOFILE, &limit) == 0);
    limit.rlim_cur = limit.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &limit) != 0)
        return false;
    return sessions + 64 + 2 * (uint64_t)WORKERS_MAX <= limit.rlim_cur;
}

static void add_worker(struct conductor *conductor, const struct scenario *scenario, uint32_t sessions, uint32_t rate)
{
    const struct args *args = conductor->args;
    struct worker *worker = &conductor->workers[conductor->worker_count];
    uint32_t others = args->user_count > 1 ? args->user_count - 1 : 1; // the last account is the observers' own
    CHECK(conductor->worker_count < WORKERS_MAX && sessions > 0);
    *worker = (struct worker){
        .args = args,
        .scenario = scenario,
        .tls = conductor->tls,
        .headers = (const char *const *)conductor->headers,
        .index = conductor->worker_count,
        .cpu = conductor->cpus.count > 0 ? conductor->cpus.ids[conductor->worker_count % conductor->cpus.count] : -1,
        .client_count = sessions,
        .window = args->window > 0 ? args->window : scenario->window,
        .rate = rate,
        .user_first = scenario == &scenario_observers ? args->user_count - 1 : 0,
        .user_count = scenario == &scenario_observers         ? 1
                      : conductor->result->scenario->observed ? others
                                                              : args->user_count,
        .phase = &conductor->phase,
    };
    conductor->worker_count++;
}

// Share `i` of `total` in `parts` even shares.
static uint32_t share(uint32_t total, uint32_t parts, uint32_t i)
{
    return (uint32_t)((uint64_t)total * (i + 1) / parts / 2 - (uint64_t)total * i / parts / 2) * 2;
}

static void plan_mixed(struct conductor *conductor, uint32_t sessions)
{
    static const struct {
        const struct scenario *scenario;
        uint32_t percent, rate;
    } parts[] = {{&scenario_pairs, 50, 5000}, {&scenario_churn, 20, 100}, {&scenario_presence, 20, 50}, {&scenario_slow, 10, 1000}};
    for (unsigned i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        uint32_t count = sessions * parts[i].percent / 100 & ~1u;
        add_worker(conductor, parts[i].scenario, count < 4 ? 4 : count, parts[i].rate);
    }
}

static void plan(struct conductor *conductor)
{
    const struct args *args = conductor->args;
    struct run_result *result = conductor->result;
    const struct scenario *scenario = result->scenario;
    uint32_t sessions = (args->sessions > 0 ? args->sessions : scenario->sessions) & ~1u, threads = args->threads;
    if (sessions < 2)
        sessions = 2;
    if (threads > sessions / 2)
        threads = sessions / 2;
    result->sessions = sessions;
    result->window = args->window > 0 ? args->window : scenario->window;
    result->rate = args->rate;
    if (scenario == &scenario_mixed) {
        plan_mixed(conductor, sessions);
    } else {
        for (uint32_t i = 0; i < threads; i++)
            add_worker(conductor, scenario, share(sessions, threads, i), args->rate == 0 ? 0 : (args->rate + threads - 1) / threads);
    }
    if (scenario->observed && args->observers > 0) {
        result->observer_pairs = args->observers;
        add_worker(conductor, &scenario_observers, 2 * args->observers, OBSERVER_RATE);
    }
}

static bool prepare(struct conductor *conductor)
{
    const struct args *args = conductor->args;
    struct run_result *result = conductor->result;
    struct cpus allowed;
    if (args->cpus && (cpus_allowed(&allowed) != 0 || cpus_parse(args->cpus, &allowed, &conductor->cpus) != 0)) {
        say_failure(result, "--cpus names CPUs that this process may not use");
        return false;
    }
    if (result->has_server && !process_sample(args->server_pid, &result->begin.server)) {
        say_failure(result, "--server-pid: no such process");
        return false;
    }
    if (!raise_descriptor_limit(args->sessions)) {
        say_failure(result, "more sessions than this process may have descriptors (ulimit -n)");
        return false;
    }
    conductor->workers = calloc(WORKERS_MAX, sizeof *conductor->workers);
    if (!conductor->workers || !prepare_headers(conductor) || !prepare_tls(conductor)) {
        say_failure(result, "cannot prepare: memory or OpenSSL");
        return false;
    }
    plan(conductor);
    return true;
}

// ---- watching

static void add_totals(struct run_totals *totals, const struct counters *counters)
{
#define X(name, text) totals->name += COUNTED(counters, name);
    COUNTER_TABLE(X)
#undef X
}

static void take_sample(struct conductor *conductor, struct run_sample *ret_sample)
{
    struct run_sample sample = {.at_ns = worker_clock_ns()};
    for (unsigned i = 0; i < conductor->worker_count; i++) {
        const struct worker *worker = &conductor->workers[i];
        if (worker->scenario == &scenario_observers) { // not the load: only its failures count
            sample.totals.login_failures += COUNTED(&worker->counters, login_failures);
            sample.totals.lost_sessions += COUNTED(&worker->counters, lost_sessions);
            sample.totals.violations += COUNTED(&worker->counters, violations);
            continue;
        }
        add_totals(&sample.totals, &worker->counters);
        sample.ready += atomic_load_explicit(&worker->ready, memory_order_relaxed);
    }
    if (conductor->result->has_server && !process_sample(conductor->args->server_pid, &sample.server))
        say_failure(conductor->result, "the relay's process has ended");
    *ret_sample = sample;
}

static bool all_say(const struct conductor *conductor, size_t flag_offset, bool with_observers)
{
    bool all = true;
    for (unsigned i = 0; i < conductor->worker_count; i++) {
        const struct worker *worker = &conductor->workers[i];
        if (!with_observers && worker->scenario == &scenario_observers)
            continue;
        all = all && atomic_load((const _Atomic bool *)((const char *)worker + flag_offset));
    }
    return all;
}

static void show_progress(struct conductor *conductor, const char *what, double seconds)
{
    uint64_t now_ns = worker_clock_ns();
    if (!isatty(STDERR_FILENO) || now_ns - conductor->progress_ns < PROGRESS_NS)
        return;
    struct run_sample sample;
    take_sample(conductor, &sample);
    double span_s = (double)(now_ns - conductor->progress_ns) / 1e9;
    fprintf(stderr, "\r\033[K%s %5.1f s  sessions %u  messages/s %.0f  logins %llu  failures %llu", what, seconds, sample.ready,
            (double)(sample.totals.messages - conductor->progress_messages) / span_s, (unsigned long long)sample.totals.logins,
            (unsigned long long)(sample.totals.login_failures + sample.totals.lost_sessions + sample.totals.violations));
    conductor->progress_ns = now_ns;
    conductor->progress_messages = sample.totals.messages;
}

static void take_point(struct conductor *conductor, uint64_t began_ns)
{
    struct run_result *result = conductor->result;
    uint64_t interval_ns = conductor->args->seconds * 1000000000ull / RUN_POINTS_MAX;
    if (interval_ns < 100000000ull)
        interval_ns = 100000000ull;
    if (result->point_count < RUN_POINTS_MAX && worker_clock_ns() >= began_ns + (result->point_count + 1) * interval_ns)
        take_sample(conductor, &result->points[result->point_count++]);
}

static bool has_failed(const struct conductor *conductor)
{
    uint64_t failures = 0;
    for (unsigned i = 0; i < conductor->worker_count; i++) {
        const struct counters *counters = &conductor->workers[i].counters;
        failures += COUNTED(counters, login_failures) + COUNTED(counters, lost_sessions) + COUNTED(counters, violations);
    }
    return failures > 0;
}

// Sets the phase and waits for its end: all workers agree (flag), or the time is over. false: the time was over first.
static bool go_through(struct conductor *conductor, enum phase phase, const char *what, double limit_s, size_t flag_offset, bool all)
{
    uint64_t began_ns = worker_clock_ns();
    atomic_store(&conductor->phase, phase);
    for (;;) {
        double seconds = (double)(worker_clock_ns() - began_ns) / 1e9;
        if (flag_offset != 0 && all_say(conductor, flag_offset, all))
            return true;
        if (seconds >= limit_s || (phase == PHASE_SETUP && has_failed(conductor)))
            return false;
        if (phase == PHASE_MEASURE)
            take_point(conductor, began_ns);
        show_progress(conductor, what, seconds);
        poll(NULL, 0, POLL_MS);
    }
}

static void check_outcome(struct conductor *conductor)
{
    struct run_result *result = conductor->result;
    const struct run_totals *totals = &result->settled.totals;
    char text[WORKER_TEXT_MAX] = "";
    for (unsigned i = 0; i < conductor->worker_count; i++) {
        struct worker *worker = &conductor->workers[i];
        pthread_mutex_lock(&worker->text_lock);
        if (worker->first_failure[0] && !text[0])
            snprintf(text, sizeof text, "%s", worker->first_failure);
        pthread_mutex_unlock(&worker->text_lock);
    }
    if (totals->login_failures + totals->lost_sessions + totals->violations > 0 || text[0])
        say_failure(result, text[0] ? text : "sessions failed");
}

static void conduct(struct conductor *conductor)
{
    struct run_result *result = conductor->result;
    const struct args *args = conductor->args;
    uint64_t began_ns = worker_clock_ns();
    bool is_set_up = go_through(conductor, PHASE_SETUP, "setup", SETUP_LIMIT_S, offsetof(struct worker, is_set_up), true);
    result->setup_s = (double)(worker_clock_ns() - began_ns) / 1e9;
    if (is_set_up) {
        go_through(conductor, PHASE_WARMUP, "warm-up", args->warmup_s, 0, false);
        take_sample(conductor, &result->begin);
        double measure_s = result->scenario->holds ? OPEN_LIMIT_S : args->seconds;
        go_through(conductor, PHASE_MEASURE, "measure", measure_s, offsetof(struct worker, is_done), false);
        take_sample(conductor, &result->end);
        double limit_s = SETTLE_LIMIT_S + (result->scenario->holds ? args->seconds : 0);
        if (!go_through(conductor, PHASE_SETTLE, "settle", limit_s, offsetof(struct worker, is_settled), true))
            say_failure(result, "not everything arrived before the time limit");
    } else {
        check_outcome(conductor);
        say_failure(result, "not all sessions came up before the time limit");
    }
    take_sample(conductor, &result->settled);
}

static void collect(struct conductor *conductor)
{
    struct run_result *result = conductor->result;
    for (unsigned i = 0; i < conductor->worker_count; i++) {
        const struct worker *worker = &conductor->workers[i];
        if (worker->scenario == &scenario_observers) {
            histogram_merge(&result->calm, &worker->calm);
            histogram_merge(&result->disturbed, &worker->latency);
            histogram_merge(&result->late, &worker->late);
            result->observers_urgent = worker->is_urgent;
        } else {
            histogram_merge(&result->latency, &worker->latency);
            histogram_merge(&result->logins, &worker->logins);
        }
        if (!result->cipher[0])
            memcpy(result->cipher, worker->cipher, sizeof result->cipher);
    }
}

static void run_workers(struct conductor *conductor)
{
    unsigned started = 0;
    for (; started < conductor->worker_count; started++)
        if (worker_start(&conductor->workers[started]) != 0)
            break;
    if (started == conductor->worker_count)
        conduct(conductor);
    else
        say_failure(conductor->result, "cannot start a thread: memory is short");
    atomic_store(&conductor->phase, PHASE_END);
    for (unsigned i = 0; i < started; i++)
        worker_join(&conductor->workers[i]);
    if (isatty(STDERR_FILENO))
        fputs("\r\033[K", stderr);
    conductor->worker_count = started;
    take_sample(conductor, &conductor->result->settled); // with what the last checks found
    check_outcome(conductor);
    collect(conductor);
    for (unsigned i = 0; i < started; i++)
        worker_fini(&conductor->workers[i]);
}

bool run(const struct args *args, struct run_result *ret_result)
{
    struct conductor conductor = {.args = args, .result = ret_result};
    *ret_result = (struct run_result){.args = args, .scenario = run_scenario(args->scenario), .has_server = args->server_pid > 0};
    CHECK(ret_result->scenario && args->user_count > 0);
    bool is_prepared = prepare(&conductor);
    if (is_prepared)
        run_workers(&conductor);
    for (uint32_t i = 0; conductor.headers && i < args->user_count; i++)
        free(conductor.headers[i]);
    free(conductor.headers);
    free(conductor.workers);
    SSL_CTX_free(conductor.tls);
    return is_prepared;
}
