// The running relay: see server.h. Nodes: shards 0..N-1, then accounts, hashing nodes, mail, crypto nodes, main. Everything is made by the
// main thread before the others start and torn down by it after they have ended, so no start or end races with anything.
#include "net/server.h"

#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "auth/auth.h"
#include "net/control.h"
#include "net/listen.h"
#include "net/mail.h"
#include "net/queue/queue.h"
#include "net/shard.h"
#include "net/tls_reload.h"
#include "net/web/auth_room.h"
#include "shards/base/check.h"
#include "shards/cpus.h"
#include "shards/log.h"
#include "shards/os.h"

#define SHARDS_MAX 256
#define HASHERS_MAX 64
#define HASH_QUEUE_MAX 256  // password checks waiting per hashing node
#define FAILURES_BURST 10   // wrong passwords at once, per address and per account
#define FAILURES_REFILL_S 6 // and then one each so many seconds
#define CONTROL_BYTES_MAX 524288
#define LINKS_PER_SESSION_MAX 1024
#define DEVICES_PER_ACCOUNT_MAX 4096
#define TOLD_AT_ONCE 64 // some 20 us
#define CLOSE_TIMEOUT_NS 2000000000ull
#define MMAP_BYTES_MIN (2 << 20)
#define SECOND_NS 1000000000ull

_Static_assert(SHARDS_MAX + HASHERS_MAX + BACKBONE_WORKERS_MAX + 4 <= POST_NODES_MAX, "accounts, mail, queue and main too");

struct thread {
    pthread_t id;
    struct server *server;
    uint16_t index; // of the shard or hasher
    int cpu;        // -1: not pinned
};

struct server {
    const struct server_config *config;
    struct shard_shared shared;
    struct accounts *accounts;
    struct licence_key *licence_key; // NULL: licence logins are off
    struct queue *queue;             // NULL: no room keeps messages
    uint16_t hasher_count;
    struct hasher *hashers[HASHERS_MAX];
    uint16_t mail_node;
    struct mail *mail; // NULL: single-user mode
    struct shard *shards[SHARDS_MAX];
    struct node *main_node;
    struct source signals;
    struct backbone_shared backbone; // worker_count 0: no Backbone listener
    struct worker *workers[BACKBONE_WORKERS_MAX];
    struct control *control; // NULL: none
    struct tls_reload *tls;  // NULL: no listener has TLS
    uint16_t shards_stopped;
    bool stopping;
    struct cpus cpus;
    struct thread threads[SHARDS_MAX + HASHERS_MAX + BACKBONE_WORKERS_MAX + 3]; // accounts, queue, mail
    size_t thread_count;
    uint32_t listeners_open;
    char error_text[512];
};

// ---- set-up ----

static bool fail(struct server *server, const char *what)
{
    snprintf(server->error_text, sizeof(server->error_text), "%s", what);
    return false;
}

static bool choose_cpus(struct server *server)
{
    struct cpus allowed;
    if (cpus_allowed(&allowed) != 0 || allowed.count == 0)
        return fail(server, "cannot read the CPU affinity mask");
    server->cpus = allowed;
    const char *wanted = server->config->cpus;
    if (wanted != NULL) {
        int failed = cpus_parse(wanted, &allowed, &server->cpus);
        if (failed == -ERANGE)
            return fail(server, "--cpus names a CPU that this process may not use");
        if (failed != 0)
            return fail(server, "--cpus: expected a list like 2-5,8");
    }
    unsigned shard_count = server->config->shard_count;
    if (shard_count == 0) {
        unsigned quota = cpus_quota();
        shard_count = quota > 0 && quota < server->cpus.count ? quota : server->cpus.count;
    }
    server->shared.shard_count = (uint16_t)(shard_count < SHARDS_MAX ? shard_count : SHARDS_MAX);
    return true;
}

static void fill_limits(struct server *server)
{
    const struct server_config *config = server->config;
    uint16_t shards = server->shared.shard_count;
    uint64_t queue_bytes = config->queue_bytes_max;
    server->shared.limits = (struct shard_limits){
        .conns_max = config->sessions_max,
        .http_timeout_ns = config->http_timeout_ns,
        .iam_timeout_ns = config->iam_timeout_ns,
        .ping_interval_ns = config->ping_interval_ns,
        .slow_timeout_ns = config->slow_timeout_ns,
        .close_timeout_ns = CLOSE_TIMEOUT_NS,
        .stop_timeout_ns = config->stop_timeout_ns,
        .usage_interval_ns = SECOND_NS * 2,
        .control_bytes_max = CONTROL_BYTES_MAX,
        .pool_bytes_max = config->memory_bytes_max / shards,
        .deflate = config->deflate,
        .router = {.links_per_session_max = LINKS_PER_SESSION_MAX,
                   .devices_per_account_max = DEVICES_PER_ACCOUNT_MAX,
                   .told_at_once = TOLD_AT_ONCE,
                   .queue_bytes_max = (uint32_t)(queue_bytes < UINT32_MAX ? queue_bytes : UINT32_MAX),
                   .window_bytes = (uint32_t)(queue_bytes / 16 > 16384 ? queue_bytes / 16 : 16384)},
    };
    // Slots come in chunks of CONN_CHUNK.
    server->shared.limits.router.sessions_max = (server->shared.limits.conns_max / CONN_CHUNK + 1) * CONN_CHUNK;
}

static bool has_backbone(const struct server_config *config)
{
    for (uint32_t l = 0; l < config->listener_count; l++)
        if (config->listeners[l].scheme == LISTEN_BACKBONE)
            return true;
    return false;
}

// Before the post is made: how many crypto nodes there are, and where.
static void plan_backbone(struct server *server, uint16_t first_node)
{
    const struct server_config *config = server->config;
    unsigned wanted = config->backbone_threads > 0 ? config->backbone_threads : server->cpus.count;
    server->backbone = (struct backbone_shared){
        .challenge_bytes = config->backbone_challenge_bytes,
        .heartbeat_interval_s = (uint32_t)(config->backbone_interval_ns / SECOND_NS),
        .heartbeat_timeout_s = (uint32_t)(config->backbone_timeout_ns / SECOND_NS),
        .login_timeout_ns = config->iam_timeout_ns,
        .frame_timeout_ns = config->http_timeout_ns,
        .keep_s = (config->backbone_queue_ns + SECOND_NS - 1) / SECOND_NS,
        .started_ns = os_now_ns(),
        .worker_first = first_node,
        .tasks_max = BACKBONE_TASKS_MAX,
        .logins_max = BACKBONE_LOGINS_MAX,
    };
    if (has_backbone(config))
        server->backbone.worker_count = (uint16_t)(wanted < BACKBONE_WORKERS_MAX ? wanted : BACKBONE_WORKERS_MAX);
}

static bool create_workers(struct server *server)
{
    for (uint16_t i = 0; i < server->backbone.worker_count; i++) {
        server->workers[i] = worker_create(server->shared.post, &server->backbone, i, server->shared.shard_count,
                                           server->config->backbone_database, server->error_text, sizeof(server->error_text));
        if (server->workers[i] == NULL)
            return false;
    }
    return true;
}

static bool create_queue(struct server *server)
{
    const struct shard_shared *shared = &server->shared;
    if (shared->queue_node == 0)
        return true;
    const struct queue_config queue = {.kept = &server->config->kept,
                                       .openrelay = shared->openrelay,
                                       .node = shared->queue_node,
                                       .shard_count = shared->shard_count,
                                       .batch_bytes = QUEUE_BATCH_BYTES,
                                       .wall_s = os_wall_s};
    server->queue = queue_create(shared->post, &queue, server->error_text, sizeof(server->error_text));
    return server->queue != NULL;
}

static bool read_licence_key(struct server *server)
{
    const char *pem = server->config->licence_key;
    if (pem == NULL || pem[0] == '\0' || server->config->database == NULL)
        return true;
    server->licence_key = licence_key_create(pem);
    return server->licence_key != NULL || fail(server, "AUTH_LICENSE_PUBKEY is no RSA public key of 1024 bits or more in PEM");
}

static bool create_mail(struct server *server)
{
    const struct server_config *config = server->config;
    const struct mail_config mail = {
        .postmark_key = config->postmark_key,
        .postmark_url = config->postmark_url,
        .smtp_url = config->smtp_url,
        .from = config->mail_from,
        .public_url = config->public_url,
        .node = server->mail_node,
        .accounts_node = server->shared.accounts_node,
    };
    server->mail = mail_create(server->shared.post, &mail, server->error_text, sizeof(server->error_text));
    return server->mail != NULL;
}

static bool create_services(struct server *server)
{
    const struct server_config *config = server->config;
    struct shard_shared *shared = &server->shared;
    unsigned wanted = config->hash_threads > 0 ? config->hash_threads : (server->cpus.count + 3u) / 4;
    server->hasher_count = (uint16_t)(wanted < HASHERS_MAX ? wanted : HASHERS_MAX);
    shared->accounts_node = shared->shard_count;
    server->mail_node = (uint16_t)(shared->shard_count + 1 + server->hasher_count);
    plan_backbone(server, (uint16_t)(server->mail_node + 2)); // the queue has its index though it may not be there
    shared->main_node = (uint16_t)(server->backbone.worker_first + server->backbone.worker_count);
    shared->openrelay = config->openrelay.enabled ? &config->openrelay : NULL;
    bool backbone_keeps = server->backbone.worker_count > 0 && server->backbone.keep_s > 0;
    shared->queue_node = shared->openrelay != NULL || backbone_keeps ? (uint16_t)(server->mail_node + 1) : 0;
    shared->multi_user = config->database != NULL;
    shared->licences = server->licence_key != NULL;
    hash_secret_create(&shared->secret);
    shared->post = post_create((uint16_t)(shared->main_node + 1), &post_limits_default);
    shared->placement = placement_create(shared->shard_count, shared->limits.conns_max);
    if (shared->post == NULL || shared->placement == NULL)
        return fail(server, "out of memory");
    struct accounts_config accounts = {
        .database = config->database,
        .single_user = config->single_user,
        .single_password = config->single_password,
        .node = shared->accounts_node,
        .shard_count = shared->shard_count,
        .hash_node_first = (uint16_t)(shared->accounts_node + 1),
        .hash_node_count = server->hasher_count,
        .mail_node = server->mail_node,
        .hash_queue_max = HASH_QUEUE_MAX,
        .remember_s = (uint32_t)(config->remember_ns / SECOND_NS),
        .failures_burst = FAILURES_BURST,
        .failures_refill_s = FAILURES_REFILL_S,
        .store_interval_s = (uint32_t)((config->store_interval_ns + SECOND_NS - 1) / SECOND_NS),
        .keep_days = config->keep_stats_days,
        .licences = shared->licences,
    };
    if (config->openrelay.only && !config->openrelay.basic) { // nobody logs in
        accounts.single_user = "nobody";
        accounts.single_password = "nobody";
    }
    server->accounts = accounts_create(shared->post, &accounts, server->error_text, sizeof(server->error_text));
    if (server->accounts == NULL)
        return false;
    for (uint16_t i = 0; i < server->hasher_count; i++) {
        server->hashers[i] =
            hasher_create(shared->post, (uint16_t)(accounts.hash_node_first + i), accounts.node, server->licence_key, config->licence_salt);
        if (server->hashers[i] == NULL)
            return fail(server, "out of memory");
    }
    return create_workers(server) && (config->database == NULL || create_mail(server)) && create_queue(server);
}

static bool load_tls(struct server *server)
{
    const struct server_config *config = server->config;
    if (config->tls_certificate == NULL)
        return true;
    const struct tls_files files = {.certificate = config->tls_certificate, .key = config->tls_key, .ocsp = config->tls_ocsp};
    server->tls = tls_reload_create(&files, server->error_text, sizeof(server->error_text));
    return server->tls != NULL;
}

static bool create_shards(struct server *server)
{
    const struct server_config *config = server->config;
    uint16_t count = server->shared.shard_count;
    for (uint16_t i = 0; i < count; i++) {
        server->shards[i] = shard_create(&server->shared, i, os_now_ns());
        if (server->shards[i] == NULL)
            return fail(server, "out of memory or descriptors");
        if (server->tls != NULL && !shard_use_tls(server->shards[i], tls_reload_context(server->tls)))
            return fail(server, "out of memory");
        if (server->backbone.worker_count > 0 && !shard_use_backbone(server->shards[i], &server->backbone))
            return fail(server, "out of memory");
    }
    for (uint32_t l = 0; l < config->listener_count; l++) {
        int fds[SHARDS_MAX];
        if (listen_open(&config->listeners[l], count, fds, server->error_text, sizeof(server->error_text)) != 0)
            return false;
        server->listeners_open++;
        for (uint16_t i = 0; i < count; i++) {
            unsigned ways = (config->listeners[l].tls ? LISTENER_TLS : 0u) | (config->listeners[l].proxy ? LISTENER_PROXY : 0u);
            const struct room *room = config->listeners[l].scheme == LISTEN_BACKBONE ? &backbone_room : NULL;
            if (shard_listen_with(server->shards[i], fds[i], room, ways) != 0) {
                for (uint16_t rest = i; rest < count; rest++)
                    close(fds[rest]);
                return fail(server, "out of descriptors");
            }
        }
    }
    return true;
}

// ---- main thread ----

static void tell(struct server *server, uint16_t node)
{
    post_write(server->shared.post, server->shared.main_node, node, RECORD_STOP, bytes_of(NULL, 0), bytes_of(NULL, 0));
}

static bool on_signal(struct source *source, uint64_t now_ns)
{
    (void)now_ns;
    struct server *server = (struct server *)(void *)((char *)source - offsetof(struct server, signals));
    struct signalfd_siginfo info;
    source->ready = 0;
    while (read(source->fd, &info, sizeof(info)) == (ssize_t)sizeof(info)) {
        if (server->stopping)
            continue;
        if (info.ssi_signo == SIGHUP) {
            LOG(INFO, "RELOADING", "%s", "");
            tls_reload_now(server->tls);
            continue;
        }
        server->stopping = true;
        control_destroy(server->control);
        server->control = NULL;
        tls_reload_stop(server->tls);
        LOG(INFO, "STOPPING", "signal=%u", info.ssi_signo);
        for (uint16_t i = 0; i <= server->shared.accounts_node; i++)
            tell(server, i);
        if (server->queue != NULL)
            tell(server, server->shared.queue_node);
    }
    return false;
}

static void on_main_record(void *owner, const struct post_record *record)
{
    struct server *server = owner;
    if (record->kind == RECORD_REPORT) {
        control_on_report(server->control, record);
        return;
    }
    CHECK(record->kind == RECORD_STOPPED);
    if (++server->shards_stopped < server->shared.shard_count)
        return;
    for (uint16_t i = 0; i < server->shared.main_node; i++) // shards: end now; hashing nodes and mail: nobody needs you any more
        if (i != server->shared.accounts_node && (i == 0 || i != server->shared.queue_node))
            tell(server, i);
    node_stop(server->main_node);
}

// A wish: a relay that cannot be asked relays all the same.
static void create_control(struct server *server)
{
    const struct shard_shared *shared = &server->shared;
    char path[CONFIG_ADDRESS_MAX], error[128] = "the path is too long for a socket";
    struct log_value path_text, error_text;
    bool wanted = server->config->control != NULL || server->config->database != NULL;
    if (control_path(server->config, path))
        server->control = control_create(path, server->main_node, shared->shard_count, shared->accounts_node, error, sizeof(error));
    else
        snprintf(path, sizeof(path), "none");
    if (server->control == NULL && wanted)
        LOG(WARN, "CONTROL_OFF", "path=%s reason=%s", log_value(path, &path_text), log_value(error, &error_text));
}

static bool create_main(struct server *server)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGHUP);
    pthread_sigmask(SIG_BLOCK, &set, NULL); // before the threads start: they inherit it
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN); // a file that may not grow is a failed write, as a full disk is
    server->signals.fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
    server->signals.on_ready = on_signal;
    const struct node_owner owner = {.owner = server, .on_record = on_main_record};
    server->main_node = node_create(server->shared.post, server->shared.main_node, &owner, os_now_ns());
    if (server->signals.fd < 0 || server->main_node == NULL || node_add(server->main_node, &server->signals) != 0)
        return fail(server, "out of memory or descriptors");
    return true;
}

// ---- threads ----

static void *shard_thread(void *argument)
{
    struct thread *thread = argument;
    log_node(thread->index);
    if (thread->cpu >= 0 && cpus_pin_self((uint16_t)thread->cpu) != 0)
        LOG(WARN, "NOT_PINNED", "cpu=%d", thread->cpu);
    node_run(shard_node(thread->server->shards[thread->index]));
    return NULL;
}

static void *accounts_thread(void *argument)
{
    struct thread *thread = argument;
    log_node(thread->server->shared.accounts_node);
    accounts_run(thread->server->accounts);
    return NULL;
}

static void *queue_thread(void *argument)
{
    struct thread *thread = argument;
    log_node(thread->server->shared.queue_node);
    queue_run(thread->server->queue);
    return NULL;
}

static void *hasher_thread(void *argument)
{
    struct thread *thread = argument;
    hasher_run(thread->server->hashers[thread->index]);
    return NULL;
}

static void *worker_thread(void *argument)
{
    struct thread *thread = argument;
    worker_run(thread->server->workers[thread->index]);
    return NULL;
}

static void *mail_thread(void *argument)
{
    struct thread *thread = argument;
    log_node(thread->server->mail_node);
    mail_run(thread->server->mail);
    return NULL;
}

static void start(struct server *server, void *(*run)(void *), uint16_t index, int cpu, const char *name)
{
    struct thread *thread = &server->threads[server->thread_count++];
    *thread = (struct thread){.server = server, .index = index, .cpu = cpu};
    int failed = pthread_create(&thread->id, NULL, run, thread);
    CHECK(failed == 0); // a relay without one of its threads cannot keep its promises
    pthread_setname_np(thread->id, name);
}

static int cpu_of(const struct server *server, uint16_t index)
{
    return server->config->pin ? server->cpus.ids[index % server->cpus.count] : -1;
}

static void start_threads(struct server *server)
{
    char name[16];
    start(server, accounts_thread, 0, -1, "accounts");
    if (server->queue != NULL)
        start(server, queue_thread, 0, -1, "queue");
    for (uint16_t i = 0; i < server->hasher_count; i++)
        start(server, hasher_thread, i, -1, "hasher");
    for (uint16_t i = 0; i < server->backbone.worker_count; i++)
        start(server, worker_thread, i, -1, "crypto");
    if (server->mail != NULL)
        start(server, mail_thread, 0, -1, "mail");
    for (uint16_t i = 0; i < server->shared.shard_count; i++) {
        snprintf(name, sizeof(name), "shard%u", (unsigned)i);
        start(server, shard_thread, i, cpu_of(server, i), name);
    }
}

static void print_plan(const struct server *server)
{
    const struct server_config *config = server->config;
    const struct shard_limits *limits = &server->shared.limits;
    printf("shardrelay %s: %u shards, %u hashing threads, %s mode\n", SHARDRELAY_VERSION, (unsigned)server->shared.shard_count,
           (unsigned)server->hasher_count,
           config->openrelay.only     ? "OpenRelay"
           : config->database != NULL ? "multi-user"
                                      : "single-user");
    for (uint16_t i = 0; i < server->shared.shard_count; i++) {
        int cpu = cpu_of(server, i);
        if (cpu >= 0)
            printf("  shard %u: cpu %d, %zu MiB of buffers\n", (unsigned)i, cpu, limits->pool_bytes_max >> 20);
        else
            printf("  shard %u: not pinned, %zu MiB of buffers\n", (unsigned)i, limits->pool_bytes_max >> 20);
    }
    for (uint32_t l = 0; l < config->listener_count; l++) {
        char name[LISTEN_NAME_MAX];
        listen_name(&config->listeners[l], name, sizeof(name));
        printf("  listening on %s (every shard)\n", name);
    }
    if (server->backbone.worker_count > 0)
        printf("  backbone: %u crypto threads, identities in %s\n", (unsigned)server->backbone.worker_count, config->backbone_database);
    printf("  all shards together: at most %u connections\n", limits->conns_max);
    printf("  per session: queue %u bytes, window %u bytes, %u connections; per account: %u devices\n", limits->router.queue_bytes_max,
           limits->router.window_bytes, limits->router.links_per_session_max, limits->router.devices_per_account_max);
    if (server->queue != NULL)
        printf("  messages for devices that are away: %s\n", config->kept.memory ? "in memory" : config->kept.file);
    if (server->mail != NULL)
        printf("  mail: %s\n", mail_way(server->mail));
    printf("ready\n");
    fflush(stdout);
}

static void raise_descriptors(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
        limit.rlim_cur = limit.rlim_max;
        if (setrlimit(RLIMIT_NOFILE, &limit) != 0)
            LOG(WARN, "DESCRIPTORS", "errno=%d", errno);
    }
}

static void destroy(struct server *server)
{
    for (uint16_t i = 0; i < server->shared.shard_count; i++)
        shard_destroy(server->shards[i]);
    for (uint16_t i = 0; i < server->hasher_count; i++)
        hasher_destroy(server->hashers[i]);
    for (uint16_t i = 0; i < server->backbone.worker_count; i++)
        worker_destroy(server->workers[i]);
    mail_destroy(server->mail);
    accounts_destroy(server->accounts);
    queue_destroy(server->queue);
    licence_key_destroy(server->licence_key);
    control_destroy(server->control);
    tls_reload_destroy(server->tls);
    if (server->main_node != NULL)
        node_destroy(server->main_node);
    if (server->signals.fd >= 0)
        close(server->signals.fd);
    post_destroy(server->shared.post);
    placement_destroy(server->shared.placement);
    for (uint32_t l = 0; l < server->listeners_open; l++)
        if (server->config->listeners[l].family == LISTEN_UNIX)
            unlink(server->config->listeners[l].address);
    free(server);
}

int server_run(const struct server_config *config)
{
    struct route routes[3];
    size_t count = 0;
    if (!config->openrelay.only) {
        routes[count++] = (struct route){.path = "/v1/relay", .login = true, .room = &buckets_room};
        routes[count++] = (struct route){.path = "/v1/auth", .multi_user = true, .room = &auth_room};
    }
    if (config->openrelay.enabled)
        routes[count++] = (struct route){.path = "/relay", .below = true, .login = config->openrelay.basic, .room = &openrelay_room};
    return server_run_routes(config, routes, count);
}

int server_run_routes(const struct server_config *config, const struct route *routes, size_t route_count)
{
    log_open(config->log_level);
    auth_init();
    struct server *server = calloc(1, sizeof(*server));
    if (server == NULL)
        return 1;
    server->config = config;
    server->shared.routes = routes;
    server->shared.route_count = route_count;
    server->shared.trusted = config->trusted;
    server->shared.trusted_count = config->trusted_count;
    server->signals.fd = -1;
    raise_descriptors();
    // What no pool class holds (inflated bombs, huge messages) comes from mmap and returns to the system at once.
    mallopt(M_MMAP_THRESHOLD, MMAP_BYTES_MIN);
    mallopt(M_TRIM_THRESHOLD, 2 * MMAP_BYTES_MIN);
    bool made = choose_cpus(server);
    if (made) {
        fill_limits(server);
        made = read_licence_key(server) && load_tls(server) && create_services(server) && create_main(server) && create_shards(server);
    }
    if (!made) {
        fprintf(stderr, "shardrelay: %s\n", server->error_text);
        destroy(server);
        return 1;
    }
    create_control(server);
    if (server->tls != NULL)
        tls_reload_start(server->tls, server->main_node, server->shared.shard_count);
    start_threads(server);
    print_plan(server);
    node_run(server->main_node);
    for (size_t i = 0; i < server->thread_count; i++)
        pthread_join(server->threads[i].id, NULL);
    LOG(INFO, "STOPPED", "%s", "");
    destroy(server);
    return 0;
}
