// One router against a small sequential model of the original server (with the rights of its successor: a key taken over closes its
// holder). Every client must be told exactly what the model says, in that order, after every command.
// Usage: oracle_test [seeds [first]]; a failing seed prints the arguments that replay it.
#include <stdio.h>
#include <stdlib.h>

#include "router/world_test.h"
#include "shards/base/check.h"

#define SLOTS 9
#define KEYS 6
#define ACCOUNTS 3
#define MEMBERS_MAX 3 // devices_per_account_max
#define LINKS_MAX 4
#define LOG_BYTES 1024
#define NOBODY SLOTS
#define SEEDS_DEFAULT 2000
#define STEPS 400

struct client {
    bool in, welcome, closed, member;
    uint8_t key;
    uint64_t account;
};

struct oracle {
    struct client clients[SLOTS];
    uint32_t holder[KEYS];
    uint32_t waiting[KEYS];
    bool asked[KEYS][KEYS];
    bool connected[KEYS][KEYS];
    uint32_t members[ACCOUNTS][MEMBERS_MAX]; // newest first
    uint32_t members_count[ACCOUNTS];
    char logs[SLOTS][LOG_BYTES];
};

struct run {
    struct world world;
    struct oracle oracle;
    char logs[SLOTS][LOG_BYTES];
    uint32_t generation;
    uint32_t random;
};

static uint32_t random_below(struct run *run, uint32_t limit)
{
    run->random = run->random * 1664525u + 1013904223u;
    return (run->random >> 8) % limit;
}

static void say(struct oracle *o, uint32_t slot, const char *what, int key)
{
    size_t used = strlen(o->logs[slot]);
    int length = key < 0 ? snprintf(o->logs[slot] + used, LOG_BYTES - used, "%s ", what)
                         : snprintf(o->logs[slot] + used, LOG_BYTES - used, "%s%c ", what, 'A' + key);
    CHECK(length > 0 && (size_t)length < LOG_BYTES - used);
}

static void close_client(struct oracle *o, uint32_t slot, const char *why)
{
    if (!o->clients[slot].closed)
        say(o, slot, why, -1);
    o->clients[slot].closed = true;
}

static void give_key(struct oracle *o, uint32_t slot)
{
    struct client *client = &o->clients[slot];
    o->holder[client->key] = slot;
    o->waiting[client->key] = NOBODY;
    uint32_t *members = o->members[client->account];
    uint32_t *count = &o->members_count[client->account];
    if (client->account != 0 && *count == MEMBERS_MAX) {
        close_client(o, slot, "close:TOO_MANY_DEVICES");
        return;
    }
    client->welcome = true;
    say(o, slot, "+", -1);
    for (uint32_t i = 0; client->account != 0 && i < *count; i++) {
        say(o, slot, ">", o->clients[members[i]].key);
        say(o, members[i], ">", client->key);
    }
    say(o, slot, "resume", -1);
    if (client->account == 0)
        return;
    memmove(members + 1, members, *count * sizeof(*members));
    members[0] = slot;
    (*count)++;
    client->member = true;
}

static void oracle_enter(struct oracle *o, uint32_t slot, uint8_t key, uint64_t account)
{
    o->clients[slot] = (struct client){.in = true, .key = key, .account = account};
    if (o->holder[key] == NOBODY) {
        give_key(o, slot);
        return;
    }
    close_client(o, o->waiting[key] == NOBODY ? o->holder[key] : o->waiting[key], "close:SUPERSEDED");
    o->waiting[key] = slot;
}

static void part(struct oracle *o, uint8_t a, uint8_t b)
{
    o->asked[a][b] = false;
    if (!o->connected[a][b])
        return;
    o->connected[a][b] = o->connected[b][a] = false;
    say(o, o->holder[b], "x", a);
}

static void oracle_leave(struct oracle *o, uint32_t slot)
{
    struct client client = o->clients[slot];
    say(o, slot, "released", -1);
    o->clients[slot].in = false;
    if (!client.in)
        return;
    if (o->waiting[client.key] == slot)
        o->waiting[client.key] = NOBODY;
    if (o->holder[client.key] != slot)
        return;
    for (uint8_t peer = 0; peer < KEYS; peer++)
        part(o, client.key, peer);
    uint32_t *members = o->members[client.account];
    uint32_t *count = &o->members_count[client.account];
    uint32_t kept = 0;
    for (uint32_t i = 0; client.member && i < *count; i++) {
        if (members[i] != slot) {
            say(o, members[i], "^", client.key);
            members[kept++] = members[i];
        }
    }
    if (client.member)
        *count = kept;
    o->holder[client.key] = NOBODY;
    if (o->waiting[client.key] != NOBODY)
        give_key(o, o->waiting[client.key]);
}

static void oracle_connect(struct oracle *o, uint32_t slot, uint8_t peer)
{
    uint8_t key = o->clients[slot].key;
    uint32_t asked = 0;
    for (uint8_t i = 0; i < KEYS; i++)
        asked += o->asked[key][i];
    if (peer == key) {
        say(o, slot, "Eself", -1);
    } else if (!o->asked[key][peer] && asked == LINKS_MAX) {
        say(o, slot, "Etoo-many", -1);
    } else if (!o->asked[key][peer]) {
        o->asked[key][peer] = true;
        if (!o->asked[peer][key])
            return;
        o->connected[key][peer] = o->connected[peer][key] = true;
        say(o, slot, "c", peer);
        say(o, o->holder[peer], "c", key);
    }
}

static void oracle_disconnect(struct oracle *o, uint32_t slot, uint8_t peer)
{
    uint8_t key = o->clients[slot].key;
    if (o->connected[key][peer])
        say(o, slot, "x", peer);
    part(o, key, peer);
}

static void oracle_send(struct oracle *o, uint32_t slot, uint8_t peer, const char *text)
{
    uint8_t key = o->clients[slot].key;
    if (!o->connected[key][peer]) {
        say(o, slot, "Enone", -1);
        return;
    }
    char word[32];
    snprintf(word, sizeof(word), "d%c=%s", 'A' + key, text);
    say(o, o->holder[peer], word, -1);
}

static void on_effect(void *context, uint16_t shard, const struct effect *effect)
{
    struct run *run = context;
    CHECK(shard == 0 && effect->slot < SLOTS);
    world_log(effect, run->logs[effect->slot], LOG_BYTES);
}

static void step_command(struct run *run, uint32_t slot)
{
    struct router *router = run->world.routers[0];
    struct oracle *o = &run->oracle;
    const struct client *client = &o->clients[slot];
    uint8_t peer = (uint8_t)random_below(run, KEYS);
    uint32_t dice = random_below(run, 10);
    struct key key = {.bytes = {(uint8_t)('A' + peer)}};
    char text[9];
    snprintf(text, sizeof(text), "%u", random_below(run, 100000));
    enum router_verdict verdict;
    if (dice < 4)
        verdict = router_connect(router, slot, &key, world_begin(&run->world));
    else if (dice == 4)
        verdict = router_disconnect(router, slot, &key, world_begin(&run->world));
    else
        verdict = router_send(router, slot, &key, bytes_text(text), world_begin(&run->world));
    world_end(&run->world, 0);
    CHECK(verdict == (client->in && !client->welcome ? ROUTER_WAIT : ROUTER_DONE));
    if (!client->in && dice != 4)
        say(o, slot, dice < 4 ? "Econnect-forbidden" : "Esend-forbidden", -1);
    if (!client->in || !client->welcome)
        return;
    if (dice < 4)
        oracle_connect(o, slot, peer);
    else if (dice == 4)
        oracle_disconnect(o, slot, peer);
    else
        oracle_send(o, slot, peer, text);
}

static void step(struct run *run)
{
    struct router *router = run->world.routers[0];
    struct oracle *o = &run->oracle;
    uint32_t slot = random_below(run, SLOTS);
    uint32_t dice = random_below(run, 100);
    if (dice < 20 && !o->clients[slot].in) {
        uint8_t number = (uint8_t)random_below(run, KEYS);
        struct key key = {.bytes = {(uint8_t)('A' + number)}};
        uint64_t account = random_below(run, ACCOUNTS);
        router_enter(router, (struct handle){.slot = slot, .generation = ++run->generation}, &key, account, world_begin(&run->world));
        world_end(&run->world, 0);
        oracle_enter(o, slot, number, account);
    } else if (dice < (o->clients[slot].closed ? 30 : 3)) {
        router_leave(router, slot, world_begin(&run->world));
        world_end(&run->world, 0);
        oracle_leave(o, slot);
    } else {
        step_command(run, slot);
    }
}

static bool same_logs(struct run *run)
{
    for (uint32_t slot = 0; slot < SLOTS; slot++) {
        if (strcmp(run->logs[slot], run->oracle.logs[slot]) != 0) {
            fprintf(stderr, "client %u got \"%s\", not \"%s\"\n", slot, run->logs[slot], run->oracle.logs[slot]);
            return false;
        }
        run->logs[slot][0] = '\0';
        run->oracle.logs[slot][0] = '\0';
    }
    return true;
}

static bool run_seed(uint32_t seed)
{
    static struct run run;
    static const struct router_limits limits = {.sessions_max = SLOTS,
                                                .links_per_session_max = LINKS_MAX,
                                                .devices_per_account_max = MEMBERS_MAX,
                                                .told_at_once = MEMBERS_MAX,
                                                .queue_bytes_max = 1 << 28, // nobody waits for credit
                                                .window_bytes = 1 << 20};
    run = (struct run){.random = seed};
    for (uint32_t key = 0; key < KEYS; key++)
        run.oracle.holder[key] = run.oracle.waiting[key] = NOBODY;
    world_init(&run.world, 1, &limits, (uint8_t)seed);
    run.world.on_effect = on_effect;
    run.world.context = &run;
    bool same = true;
    for (uint32_t i = 0; i < STEPS && same; i++) {
        step(&run);
        same = same_logs(&run);
        if (!same)
            fprintf(stderr, "step %u; replay with: oracle_test 1 %u\n", i, seed);
    }
    router_check(run.world.routers[0]);
    world_fini(&run.world);
    return same;
}

int main(int argc, char **argv)
{
    uint32_t seeds = argc > 1 ? (uint32_t)strtoul(argv[1], NULL, 10) : SEEDS_DEFAULT;
    uint32_t first = argc > 2 ? (uint32_t)strtoul(argv[2], NULL, 10) : 1;
    for (uint32_t seed = first; seed < first + seeds; seed++) {
        if (!run_seed(seed))
            return 1;
    }
    return 0;
}
