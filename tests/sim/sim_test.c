// The simulator: N shards on the production duty cycle (node_run), stepped by one seed over a fake kernel, among simulated devices.
//   sim_test                     1000 seeds (150 under sanitizers); SIM_SEEDS=n for another number
//   sim_test SEED [--verbose]    one seed again
//   sim_test scale               no seeds: counts with many shards (scale.c)
//   sim_bug_test BUG             the same with a bug planted (shards/base/bug.h), which some seed must notice
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "shards/base/bug.h"
#include "shards/base/check.h"
#include "shards/log.h"
#include "tests/sim/bone.h"
#include "tests/sim/sim.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SEEDS_DEFAULT 150
#else
#define SEEDS_DEFAULT 1000
#endif
#define BUG_SEEDS 3000
#define BUG_SECONDS_MAX 100
#define STEPS_MAX 4000000u
#ifdef RELAY_BUG
int sim_bug;
#define IS_ROOM_SOUGHT (sim_bug >= 32 && sim_bug < 50) // a bug of OpenRelay: all seeds have it
#define IS_BACKBONE_SOUGHT (sim_bug >= 50 && sim_bug < 60)
#else
#define IS_ROOM_SOUGHT false
#define IS_BACKBONE_SOUGHT false
#endif
#define ROOM_SEEDS 350 // of 1000: those with more than Buckets
#define S_NS 1000000000ull
#define LATE_MAX 8
#define LATE_STEPS_MAX 30
#define ACTORS_MAX (SIM_SHARDS_MAX + SIM_SERVICES_MAX + SIM_CLIENTS_MAX + 1 + BONE_CLIENTS_MAX + BONE_NODES_MAX)

bool sim_verbose;
uint64_t sim_current_seed;
struct sim_config sim_config;
struct shard_shared sim_shared;
struct shard *sim_shards[SIM_SHARDS_MAX];
int sim_listeners[SIM_SHARDS_MAX];
int sim_side_listeners[SIM_SHARDS_MAX];
bool sim_is_stopping;

// The kinds of clients. Each but Buckets comes with some seeds.
static const struct sim_room *const sim_rooms[] = {&sim_room_buckets, &sim_room_openrelay};
#define ROOM_COUNT (sizeof(sim_rooms) / sizeof(sim_rooms[0]))
_Static_assert(ROOM_COUNT <= SIM_ROOMS_MAX, "sim_config.room_chances");

static uint64_t random_state;
static struct client clients[SIM_CLIENTS_MAX];
static unsigned weights[ACTORS_MAX];
static unsigned steps;

// ---- randomness and reports ----

static uint64_t mix(uint64_t value)
{
    value = (value ^ (value >> 30)) * 0xbf58476d1ce4e5b9ull;
    value = (value ^ (value >> 27)) * 0x94d049bb133111ebull;
    return value ^ (value >> 31);
}

void sim_seed(uint64_t seed)
{
    random_state = mix(seed + 1);
}

uint64_t sim_random(void)
{
    random_state += 0x9e3779b97f4a7c15ull;
    return mix(random_state);
}

uint64_t sim_below(uint64_t limit)
{
    CHECK(limit > 0);
    return sim_random() % limit;
}

bool sim_chance(unsigned per_thousand)
{
    return sim_below(1000) < per_thousand;
}

size_t sim_part(size_t len, bool trickles)
{
    CHECK(len > 0);
    if (trickles && sim_chance(900))
        return 1;
    return sim_chance(300) ? 1 + sim_below(len) : len;
}

uint64_t sim_hash(uint64_t a, uint64_t b, uint64_t c)
{
    return mix(mix(mix(sim_current_seed * 3 + a) + b) + c);
}

void sim_trace(const char *format, ...)
{
    if (!sim_verbose)
        return;
    va_list args;
    va_start(args, format);
    fprintf(stderr, "%10.6f ", (double)kernel_now_ns() / 1e9);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    va_end(args);
}

static void print_replay(void)
{
    fprintf(stderr, "seed %llu failed; again with: sim_test %llu --verbose\n", (unsigned long long)sim_current_seed,
            (unsigned long long)sim_current_seed);
}

_Noreturn void sim_fail(const char *file, int line, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fprintf(stderr, "%s:%d: at %.6f s, step %u: ", file, line, (double)kernel_now_ns() / 1e9, steps);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    va_end(args);
    abort(); // print_replay by the handler
}

static void on_abort(int signal)
{
    (void)signal;
    print_replay();
}

// ---- one run's parameters ----

static uint32_t pick(const uint32_t *from, size_t count)
{
    return from[sim_below(count)];
}
#define PICK(...) pick((const uint32_t[]){__VA_ARGS__}, sizeof((const uint32_t[]){__VA_ARGS__}) / sizeof(uint32_t))

static void choose_limits(struct shard_limits *limits)
{
    *limits = (struct shard_limits){.conns_max = sim_chance(100) ? 8 : 512,
                                    .http_timeout_ns = 10 * S_NS,
                                    .iam_timeout_ns = 10 * S_NS,
                                    .ping_interval_ns = 50 * S_NS,
                                    .slow_timeout_ns = 30 * S_NS,
                                    .close_timeout_ns = 2 * S_NS,
                                    .stop_timeout_ns = 5 * S_NS,
                                    .usage_interval_ns = 5 * S_NS,
                                    .control_bytes_max = PICK(16384, 524288),
                                    .pool_bytes_max = 256u << 20};
    limits->router = (struct router_limits){.sessions_max = (limits->conns_max / CONN_CHUNK + 1) * CONN_CHUNK,
                                            .links_per_session_max = SIM_KEYS_MAX,
                                            .devices_per_account_max = SIM_KEYS_MAX,
                                            .told_at_once = PICK(1, 2, SIM_KEYS_MAX),
                                            .queue_bytes_max = PICK(1000, 8192, 65536, 1048576),
                                            .window_bytes = PICK(512, 4096, 65536)};
}

// Most seeds have Buckets alone; of the others half have one room more and half have that room alone.
static void choose_rooms(void)
{
    sim_config.room_chances[0] = 1000;
    if (ROOM_COUNT == 1 || !sim_chance(IS_ROOM_SOUGHT ? 1000 : ROOM_SEEDS))
        return;
    size_t room = 1 + sim_below(ROOM_COUNT - 1);
    sim_config.room_chances[room] = sim_chance(500) ? 1000 : 500;
    sim_config.room_chances[0] = 1000 - sim_config.room_chances[room];
    if (sim_rooms[room]->choose != NULL)
        sim_rooms[room]->choose();
}

const struct sim_room *sim_room_any(void)
{
    unsigned at = 0, chance = (unsigned)sim_below(1000);
    while (chance >= sim_config.room_chances[at]) {
        chance -= sim_config.room_chances[at];
        at++;
        CHECK(at < ROOM_COUNT);
    }
    return sim_rooms[at];
}

static void choose_config(void)
{
    sim_config = (struct sim_config){.shard_count = (uint16_t)PICK(1, 2, 2, 3, 4, 8),
                                     .clients = 2 + (uint32_t)sim_below(10),
                                     .keys = 2 + (uint32_t)sim_below(6),
                                     .accounts = 1 + (uint32_t)sim_below(3),
                                     .payload_bytes_max = PICK(100, 3000, 3000, 20000, 70000),
                                     .actions = 50 + (uint32_t)sim_below(500),
                                     .floods = sim_chance(60),
                                     .rude = sim_chance(500),
                                     .graceful_stop = sim_chance(300)};
    if (sim_chance(20)) {
        sim_config.payload_bytes_max = 999955;
        sim_config.big_per_thousand = 30;
    }
    if (sim_config.floods)
        sim_config.actions *= 5;
    sim_config.post = post_limits_default;
    if (sim_chance(500))
        sim_config.post = (struct post_limits){.ring_parcels = 4, .parcel_bytes = PICK(256, 1024), .overflow_parcels = PICK(1, 4)};
    sim_config.kernel.buffer_bytes_min = PICK(64, 500, 4096);
    sim_config.kernel.buffer_bytes_max = sim_config.kernel.buffer_bytes_min * PICK(1, 10, 60);
    sim_config.kernel.yields_per_thousand = PICK(60, 60, 60, 300);
    sim_config.kernel.accept_fails_per_thousand = sim_chance(100) ? 200 : 0;
    choose_limits(&sim_config.limits);
    choose_rooms();
    sim_config.lazy_services = sim_chance(300);
    if (sim_current_seed % 32 == 11) { // large messages that arrive whole, from several sessions of one shard: what is lent
        sim_config.shard_count = 1;
        sim_config.payload_bytes_max = 8000;
        sim_config.big_per_thousand = 400;
        sim_config.kernel.buffer_bytes_min = 30000;
        sim_config.kernel.buffer_bytes_max = 120000;
    }
    bone_choose(IS_BACKBONE_SOUGHT);
}

// ---- the world ----

static void run_shard(void *argument)
{
    node_run(shard_node(argument));
}

uint16_t sim_service_node(uint16_t service)
{
    CHECK(service < sim_config.service_count);
    return (uint16_t)(sim_config.shard_count + 2 + service);
}

void sim_service_start(uint16_t service, void (*run)(void *argument), void *argument)
{
    CHECK(service < sim_config.service_count);
    fiber_start(sim_config.shard_count + service, run, argument);
}

static bool has_room(size_t room)
{
    return sim_config.room_chances[room] > 0;
}

static void open_rooms(void)
{
    static struct route routes[ROOM_COUNT];
    sim_shared.routes = routes;
    for (size_t i = 0; i < ROOM_COUNT; i++) {
        if (has_room(i) && sim_rooms[i]->route.path != NULL)
            routes[sim_shared.route_count++] = sim_rooms[i]->route;
        if (has_room(i) && sim_rooms[i]->open != NULL)
            sim_rooms[i]->open();
    }
}

void open_world(void)
{
    uint16_t nodes = (uint16_t)(sim_config.shard_count + 2 + sim_config.service_count + (int)bone_config.nodes);
    kernel_open(&sim_config.kernel);
    ring_watch_reset();
    checkers_open();
    device_reset();
    sim_is_stopping = false;
    sim_shared = (struct shard_shared){.post = post_create(nodes, &sim_config.post),
                                       .limits = sim_config.limits,
                                       .shard_count = sim_config.shard_count,
                                       .accounts_node = sim_config.shard_count,
                                       .main_node = (uint16_t)(sim_config.shard_count + 1),
                                       .multi_user = true};
    sim_shared.placement = placement_create(sim_config.shard_count, sim_config.limits.conns_max);
    CHECK(sim_shared.post != NULL && sim_shared.placement != NULL);
    for (size_t i = 0; i < HASH_SECRET_BYTES; i++)
        sim_shared.secret.bytes[i] = (uint8_t)sim_random();
    accounts_open(sim_shared.accounts_node, sim_shared.main_node);
    open_rooms();
    bone_open((uint16_t)(sim_shared.main_node + 1 + sim_config.service_count));
    for (uint16_t i = 0; i < sim_config.shard_count; i++) {
        sim_shards[i] = shard_create(&sim_shared, i, kernel_now_ns());
        CHECK(sim_shards[i] != NULL);
        sim_listeners[i] = kernel_listen();
        sim_side_listeners[i] = kernel_listen();
        CHECK(shard_listen(sim_shards[i], sim_listeners[i], NULL) == 0);
        CHECK(shard_listen(sim_shards[i], sim_side_listeners[i], NULL) == 0);
        bone_listen(i);
        fiber_start(i, run_shard, sim_shards[i]);
    }
    memset(clients, 0, sizeof(clients));
    for (uint32_t i = 0; i < sim_config.clients; i++)
        clients[i] = (struct client){.socket = -1, .act_at_ns = kernel_now_ns() + sim_below(5000000), .give_up_ns = UINT64_MAX};
}

void close_world(void)
{
    for (uint32_t i = 0; i < sim_config.clients; i++)
        client_free(&clients[i]);
    bone_close();
    for (uint16_t i = 0; i < sim_config.shard_count; i++) {
        CHECK(fiber_is_done(i));
        shard_destroy(sim_shards[i]);
        fiber_free(i);
    }
    for (uint16_t i = 0; i < sim_config.service_count; i++) {
        CHECK(fiber_is_done(sim_config.shard_count + i));
        fiber_free(sim_config.shard_count + i);
    }
    for (size_t i = 0; i < ROOM_COUNT; i++)
        if (has_room(i) && sim_rooms[i]->close != NULL)
            sim_rooms[i]->close();
    post_destroy(sim_shared.post);
    placement_destroy(sim_shared.placement);
    kernel_close();
    checkers_close();
}

// ---- the scheduler: who steps next ----

static uint32_t fiber_count(void)
{
    return (uint32_t)sim_config.shard_count + sim_config.service_count;
}

static uint32_t actor_count(void)
{
    return fiber_count() + sim_config.clients + 1 + bone_actor_count();
}

static bool actor_is_runnable(uint32_t actor)
{
    if (actor < fiber_count())
        return fiber_is_runnable(actor);
    actor -= fiber_count();
    if (actor < sim_config.clients)
        return client_is_runnable(&clients[actor]);
    actor -= sim_config.clients;
    return actor == 0 ? accounts_is_runnable() : bone_actor_is_runnable(actor - 1);
}

static void actor_step(uint32_t actor)
{
    if (actor < fiber_count()) {
        fiber_resume(actor);
        return;
    }
    actor -= fiber_count();
    if (actor < sim_config.clients) {
        (void)client_step(&clients[actor]);
        return;
    }
    actor -= sim_config.clients;
    if (actor == 0)
        accounts_step();
    else
        bone_actor_step(actor - 1);
}

// Some actors run all the time, some starve, for a while.
static void reweigh(void)
{
    for (uint32_t i = 0; i < actor_count(); i++)
        weights[i] = PICK(0, 1, 1, 4, 20);
    for (uint32_t i = sim_config.shard_count; i < fiber_count() && sim_config.lazy_services; i++)
        weights[i] = sim_chance(800) ? 0 : 20;
}

// The actor to step, or -1 when nobody can run.
static int choose_actor(void)
{
    uint32_t runnable[ACTORS_MAX];
    unsigned total = 0;
    uint32_t count = 0;
    for (uint32_t i = 0; i < actor_count(); i++) {
        if (!actor_is_runnable(i))
            continue;
        runnable[count++] = i;
        total += weights[i];
    }
    if (count == 0)
        return -1;
    if (total == 0)
        return (int)runnable[sim_below(count)];
    unsigned at = (unsigned)sim_below(total);
    for (uint32_t i = 0; i < count; i++) {
        if (at < weights[runnable[i]])
            return (int)runnable[i];
        at -= weights[runnable[i]];
    }
    UNREACHABLE();
}

static uint64_t next_due_ns(void)
{
    uint64_t due_ns = accounts_due_ns() < bone_due_ns() ? accounts_due_ns() : bone_due_ns();
    for (uint32_t i = 0; i < fiber_count(); i++)
        due_ns = fiber_due_ns(i) < due_ns ? fiber_due_ns(i) : due_ns;
    for (uint32_t i = 0; i < sim_config.clients; i++)
        due_ns = client_due_ns(&clients[i]) < due_ns ? client_due_ns(&clients[i]) : due_ns;
    return due_ns;
}

static bool clients_are_idle(void)
{
    for (uint32_t i = 0; i < sim_config.clients; i++)
        if (clients[i].phase != CLIENT_IDLE && (clients[i].paused_until_ns > kernel_now_ns() || kernel_can_receive(clients[i].socket)))
            return false;
    return bone_clients_are_idle();
}

static void quiet(void)
{
    bool clients_idle = clients_are_idle();
    check_quiet(clients_idle);
    bone_check_quiet();
    for (size_t i = 0; i < ROOM_COUNT; i++)
        if (has_room(i) && sim_rooms[i]->check_quiet != NULL)
            sim_rooms[i]->check_quiet(clients_idle);
}

// Steps until nobody can run at this time. False: somebody always can.
static void run_until_quiet(void)
{
    for (;;) {
        SIM_CHECK(++steps < STEPS_MAX, "the run does not end");
        if (steps % 64 == 0)
            reweigh();
        if (steps % 512 == 0) {
            check_often();
            bone_check_often();
        }
        int actor = choose_actor();
        if (actor < 0)
            break;
        actor_step((uint32_t)actor);
        if (sim_chance(300))
            kernel_advance_ns(sim_below(50000));
    }
    if (!sim_is_stopping)
        quiet();
}

static bool advance_to_next(uint64_t until_ns)
{
    uint64_t due_ns = next_due_ns();
    if (due_ns > until_ns)
        return false;
    if (due_ns > kernel_now_ns())
        kernel_advance_ns(due_ns - kernel_now_ns());
    return true;
}

static void run_for(uint64_t ns)
{
    uint64_t until_ns = kernel_now_ns() + ns;
    do
        run_until_quiet();
    while (advance_to_next(until_ns));
}

// ---- the phases of a run ----

static bool somebody_is_connected(void)
{
    for (uint32_t i = 0; i < sim_config.clients; i++)
        if (clients[i].phase != CLIENT_IDLE)
            return true;
    return bone_somebody_is_connected();
}

// Nobody acts for a while; what is due must happen by itself.
static void rest(uint64_t ns)
{
    for (uint32_t i = 0; i < sim_config.clients; i++)
        if (clients[i].act_at_ns != UINT64_MAX)
            clients[i].act_at_ns += ns;
    run_for(ns);
    for (size_t i = 0; i < ROOM_COUNT; i++)
        if (has_room(i) && sim_rooms[i]->check_rested != NULL)
            sim_rooms[i]->check_rested();
}

static void act(void)
{
    while (device_is_active() || bone_acts()) {
        run_until_quiet();
        uint64_t rest_ns = device_take_rest();
        if (rest_ns > 0)
            rest(rest_ns);
        if (device_is_active() || bone_acts())
            CHECK(advance_to_next(UINT64_MAX - 1));
    }
}

// Devices finish what they have begun and read everything; then all views must agree.
static void settle(void)
{
    device_stop_acting();
    for (uint32_t i = 0; i < sim_config.clients; i++) {
        struct client *client = &clients[i];
        client->act_at_ns = UINT64_MAX;
        client->paused_until_ns = 0;
        if (client->phase == CLIENT_OPEN && !client->half_closed && !client->close_sent)
            client->room->settle(client);
    }
    bone_settle();
    run_until_quiet();
    do // logins under way; timers of rooms; crypto nodes
        run_for(bone_config.is_on ? 4 * S_NS : sim_config.service_count > 0 ? S_NS : 40000000);
    while (bone_is_busy());
    bone_check_converged();
    for (size_t i = 0; i < ROOM_COUNT; i++)
        if (has_room(i) && sim_rooms[i]->check_converged != NULL)
            sim_rooms[i]->check_converged();
    sim_trace("settled after %u steps", steps);
}

static void all_gone(void)
{
    check_gone();
    bone_check_gone();
    for (size_t i = 0; i < ROOM_COUNT; i++)
        if (has_room(i) && sim_rooms[i]->check_gone != NULL)
            sim_rooms[i]->check_gone();
}

static void leave_all(void)
{
    for (uint32_t i = 0; i < sim_config.clients; i++) {
        struct client *client = &clients[i];
        if (client->phase == CLIENT_IDLE)
            continue;
        if (client->phase == CLIENT_OPEN && !client->half_closed && sim_chance(700))
            client_close_frame(client, 1000);
        else if (sim_chance(700))
            client_end(client, sim_chance(500));
        else
            client->mute = client->view->mute = client->view->slow = true;
    }
    bone_leave_all();
    run_for(300 * S_NS);
    SIM_CHECK(!somebody_is_connected(), "the relay keeps silent peers for ever");
    all_gone();
}

// Connections that come together with the stop: wherever they are then, their descriptors are closed (kernel_close).
static void connect_late(void)
{
    int listener = sim_listeners[sim_below(sim_config.shard_count)];
    for (uint64_t i = sim_below(LATE_MAX); i > 0 && kernel_is_listening(listener); i--)
        (void)kernel_connect(listener);
    int actor = 0;
    for (uint64_t i = sim_below(LATE_STEPS_MAX); i > 0 && actor >= 0; i--) {
        actor = choose_actor();
        if (actor >= 0)
            actor_step((uint32_t)actor);
    }
}

static void stop_all(void)
{
    connect_late();
    sim_is_stopping = true;
    view_mark_stop();
    bone_mark_stop();
    accounts_stop_shards();
    for (size_t i = 0; i < ROOM_COUNT; i++)
        if (has_room(i) && sim_rooms[i]->stop != NULL)
            sim_rooms[i]->stop();
    run_for(20 * S_NS);
    for (uint16_t i = 0; i < sim_config.shard_count; i++)
        SIM_CHECK(sim_shards[i]->stopped, "shard %u has not stopped", (unsigned)i);
    SIM_CHECK(accounts_stopped_count() == 2u * sim_config.shard_count, "%u reports of stopped shards", accounts_stopped_count());
    check_all_stopped();
    bone_check_all_stopped();
    accounts_stop_shards();
    run_for(20 * S_NS);
    for (uint16_t i = 0; i < sim_config.shard_count; i++)
        SIM_CHECK(fiber_is_done(i), "shard %u does not end", (unsigned)i);
    all_gone();
    check_usage();
}

static void run_seed(uint64_t seed)
{
    sim_current_seed = seed;
    sim_seed(seed);
    steps = 0;
    choose_config();
    open_world();
    reweigh();
    sim_trace("%u shards, %u clients, %u keys, %u accounts, payload %u, queue %u, window %u", (unsigned)sim_config.shard_count,
              sim_config.clients, sim_config.keys, sim_config.accounts, sim_config.payload_bytes_max,
              sim_config.limits.router.queue_bytes_max, sim_config.limits.router.window_bytes);
    act();
    settle();
    if (!sim_config.graceful_stop)
        leave_all();
    stop_all();
    close_world();
}

static uint64_t run_seeds(uint64_t count)
{
    uint64_t total = 0;
    for (uint64_t seed = 1; seed <= count; seed++) {
        run_seed(seed);
        total += steps;
    }
    return total;
}

#ifdef RELAY_BUG
// A child runs the seeds; it must fail.
int main(int argc, char **argv)
{
    CHECK(argc == 2);
    sim_bug = (int)strtol(argv[1], NULL, 10);
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        signal(SIGABRT, on_abort);
        log_open(LOG_ERROR);
        const struct rlimit limit = {.rlim_cur = BUG_SECONDS_MAX, .rlim_max = BUG_SECONDS_MAX + 1}; // of CPU: others may be at work, too
        CHECK(setrlimit(RLIMIT_CPU, &limit) == 0);
        (void)run_seeds(sim_bug == 0 ? BUG_SEEDS / 30 : BUG_SEEDS);
        _exit(0);
    }
    int status = 0;
    CHECK(waitpid(child, &status, 0) == child);
    bool is_caught = (WIFEXITED(status) && WEXITSTATUS(status) != 0) || (WIFSIGNALED(status) && WTERMSIG(status) != SIGXCPU);
    printf("bug %d %s\n", sim_bug, is_caught ? "caught" : "NOT caught");
    return is_caught == (sim_bug != 0) ? 0 : 1; // without a bug nothing may be noticed
}
#else
int main(int argc, char **argv)
{
    signal(SIGABRT, on_abort);
    log_open(LOG_ERROR);
    if (argc > 1 && strcmp(argv[1], "scale") == 0) {
        scale_run();
        return 0;
    }
    if (argc > 1) {
        sim_verbose = argc > 2 && strcmp(argv[2], "--verbose") == 0;
        run_seed(strtoull(argv[1], NULL, 10));
        printf("seed %s: %u steps\n", argv[1], steps);
        return 0;
    }
    const char *wanted = getenv("SIM_SEEDS");
    uint64_t seeds = wanted != NULL ? strtoull(wanted, NULL, 10) : SEEDS_DEFAULT;
    uint64_t total = run_seeds(seeds);
    printf("%llu seeds, %llu steps\n", (unsigned long long)seeds, (unsigned long long)total);
    return 0;
}
#endif
