// Random commands over 1 to 8 routers whose mail is delivered in random order, checked against the invariants of ARCHITECTURE.md as
// each client sees them, and at rest. Usage: model_test [seeds [first]]; a failing seed prints the arguments that replay it.
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "router/world_test.h"
#include "shards/base/check.h"

#define SLOTS_MAX 6 // per shard
#define KEYS_MAX 9
#define ACCOUNTS_MAX 4
#define SEEDS_DEFAULT 5000
#define STEPS_MAX 3000

enum command { COMMAND_NONE, COMMAND_CONNECT, COMMAND_DISCONNECT, COMMAND_SEND };

// What travels as data.
struct message {
    uint32_t id;
    uint32_t connection; // the sender's count of its Connected events
    uint32_t sequence;   // within that connection
    uint8_t from, to;
    uint8_t unused[2];
};

// What a client knows of another key.
struct view {
    bool connected, entered, asked;
    uint32_t connection, sequence;             // of what is sent
    uint32_t heard_connection, heard_sequence; // of what arrives
};

struct client {
    bool used; // from enter to EFFECT_RELEASED
    bool left; // router_leave was called
    bool closing, authenticated, live, waiting;
    uint8_t key;
    uint64_t account;
    uint32_t generation;
    enum command pending; // got ROUTER_WAIT
    uint8_t pending_peer;
    size_t pending_bytes;
    size_t unwritten_bytes;
    struct view views[KEYS_MAX];
};

struct model {
    struct world world;
    struct router_limits limits;
    uint64_t random;
    uint32_t slots, keys, accounts;
    uint32_t mail_percent; // of the steps
    bool calm;             // nobody disconnects or leaves before the end: nothing may be lost
    struct client clients[WORLD_SHARDS_MAX][SLOTS_MAX];
    bool full[WORLD_SHARDS_MAX][WORLD_SHARDS_MAX];
    uint32_t next_id;
    uint64_t accepted, delivered, bounced;
    uint64_t partings;           // leaves and Disconnects
    const struct client *sender; // while router_send runs
    bool refused;                // it was told "no such connection"
    bool too_many;
};

static uint64_t replay_seed;
static struct {
    uint64_t accepted, delivered, bounced, connected, waited;
} total; // over all seeds: says that they do exercise something

static void on_abort(int signal_number)
{
    (void)signal_number;
    char text[96];
    int length = snprintf(text, sizeof(text), "replay with: model_test 1 %llu\n", (unsigned long long)replay_seed);
    if (write(STDERR_FILENO, text, (size_t)length) < 0)
        _exit(2);
    _exit(1);
}

static uint32_t random_below(struct model *model, uint32_t limit)
{
    model->random += 0x9e3779b97f4a7c15u; // splitmix64
    uint64_t z = model->random;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return (uint32_t)((z ^ (z >> 31)) % limit);
}

static struct key key_of(uint8_t number)
{
    struct key key = {.bytes = {number}};
    memset(key.bytes + 1, number * 37 + 1, sizeof(key.bytes) - 1);
    return key;
}

static uint8_t number_of(const struct key *key)
{
    CHECK(key->bytes[0] < KEYS_MAX);
    struct key expected = key_of(key->bytes[0]);
    CHECK(key_equal(key, &expected));
    return key->bytes[0];
}

static struct handle handle_of(const struct client *client, uint16_t shard, uint32_t slot)
{
    return (struct handle){.slot = slot, .generation = client->generation, .shard = shard};
}

// --- what clients are told -----------------------------------------------------------------------------------------------------------

static void on_event(struct model *model, struct client *client, const struct effect *effect)
{
    enum router_event event = effect->event;
    if (event == ROUTER_AUTHENTICATED) {
        CHECK(!client->authenticated);
        client->authenticated = true;
        return;
    }
    CHECK(client->authenticated);
    uint8_t number = number_of(&effect->key);
    struct view *view = &client->views[number];
    CHECK(number != client->key || event == ROUTER_CONNECT_SELF || event == ROUTER_NO_SUCH_CONNECTION);
    switch (event) {
    case ROUTER_CONNECTED:
        CHECK(!view->connected && client->live);
        view->connected = true;
        total.connected++;
        view->connection++;
        view->sequence = 0;
        view->heard_connection = 0;
        view->heard_sequence = 0;
        break;
    case ROUTER_DISCONNECTED:
        CHECK(view->connected);
        view->connected = false;
        break;
    case ROUTER_ENTERED:
        CHECK(!view->entered && !view->connected && client->account != 0);
        view->entered = true;
        break;
    case ROUTER_EXITED:
        CHECK(view->entered && !view->connected);
        view->entered = false;
        break;
    case ROUTER_NO_SUCH_CONNECTION:
        CHECK(!view->connected);
        if (model->sender == client)
            model->refused = true;
        else
            model->bounced++;
        break;
    case ROUTER_TOO_MANY_CONNECTIONS:
        model->too_many = true;
        break;
    case ROUTER_CONNECT_SELF:
        break;
    default:
        UNREACHABLE();
    }
}

static void on_data(struct model *model, struct client *client, const struct effect *effect)
{
    struct message message;
    CHECK(effect->payload.len >= sizeof(message));
    memcpy(&message, effect->payload.ptr, sizeof(message));
    uint8_t from = number_of(&effect->key);
    struct view *view = &client->views[from];
    CHECK(view->connected);
    CHECK(message.from == from && message.to == client->key);
    // All that one connection carries comes in order, without gaps, and never after its end.
    if (view->heard_sequence == 0)
        view->heard_connection = message.connection;
    CHECK(message.connection == view->heard_connection && message.sequence == view->heard_sequence);
    view->heard_sequence++;
    client->unwritten_bytes += router_queue_bytes(effect->payload.len);
    // The memory bound: the limit overshot by one message, and one window and one overdraft per link that can send.
    CHECK(client->unwritten_bytes <=
          model->limits.queue_bytes_max + WORLD_PAYLOAD_BYTES_MAX +
              (size_t)model->limits.links_per_session_max * (model->limits.window_bytes + WORLD_PAYLOAD_BYTES_MAX));
    model->delivered++;
}

static void on_effect(void *context, uint16_t shard, const struct effect *effect)
{
    struct model *model = context;
    CHECK(effect->slot < model->slots);
    struct client *client = &model->clients[shard][effect->slot];
    CHECK(client->used);
    CHECK(!client->left || effect->kind == EFFECT_RELEASED);
    switch (effect->kind) {
    case EFFECT_EVENT:
        on_event(model, client, effect);
        break;
    case EFFECT_DATA:
        on_data(model, client, effect);
        break;
    case EFFECT_CLOSE:
        CHECK(!client->closing);
        CHECK(effect->error == ERROR_SUPERSEDED || (effect->error == ERROR_TOO_MANY_DEVICES && !client->authenticated));
        client->closing = true;
        break;
    case EFFECT_RESUME:
        CHECK(client->authenticated && (client->waiting || !client->live));
        client->live = true;
        client->waiting = false;
        break;
    case EFFECT_RELEASED:
        CHECK(client->left);
        client->used = false;
        break;
    default:
        UNREACHABLE();
    }
}

// --- what clients do -----------------------------------------------------------------------------------------------------------------

static void do_enter(struct model *model, uint16_t shard, uint32_t slot)
{
    struct client *client = &model->clients[shard][slot];
    uint32_t generation = client->generation + 1;
    *client = (struct client){.used = true,
                              .generation = generation,
                              .key = (uint8_t)random_below(model, model->keys),
                              .account = random_below(model, model->accounts)};
    if (random_below(model, 3) != 0) // most keys stay with one account
        client->account = client->key % model->accounts;
    struct key key = key_of(client->key);
    router_enter(model->world.routers[shard], handle_of(client, shard, slot), &key, client->account, world_begin(&model->world));
    world_end(&model->world, shard);
}

static void do_leave(struct model *model, uint16_t shard, uint32_t slot)
{
    model->clients[shard][slot].left = true;
    model->partings++;
    router_leave(model->world.routers[shard], slot, world_begin(&model->world));
    world_end(&model->world, shard);
}

static enum router_verdict do_send(struct model *model, uint16_t shard, uint32_t slot, uint8_t peer, size_t bytes)
{
    struct client *client = &model->clients[shard][slot];
    struct view *view = &client->views[peer];
    struct message message = {
        .id = model->next_id++, .connection = view->connection, .sequence = view->sequence, .from = client->key, .to = peer};
    uint8_t payload[WORLD_PAYLOAD_BYTES_MAX] = {0};
    memcpy(payload, &message, sizeof(message));
    CHECK(bytes >= sizeof(message) && bytes <= sizeof(payload));
    struct key key = key_of(peer);
    bool connected = view->connected;
    model->sender = client;
    model->refused = false;
    enum router_verdict verdict =
        router_send(model->world.routers[shard], slot, &key, bytes_of(payload, bytes), world_begin(&model->world));
    view->sequence += verdict == ROUTER_DONE && connected;
    world_end(&model->world, shard);
    model->sender = NULL;
    CHECK(!client->live || (verdict == ROUTER_DONE && !connected) == model->refused);
    model->accepted += verdict == ROUTER_DONE && connected;
    return verdict;
}

static void do_command(struct model *model, uint16_t shard, uint32_t slot, enum command command, uint8_t peer, size_t bytes)
{
    struct client *client = &model->clients[shard][slot];
    struct router *router = model->world.routers[shard];
    struct key key = key_of(peer);
    enum router_verdict verdict = ROUTER_DONE;
    bool was_live = client->live;
    if (command == COMMAND_CONNECT) {
        model->too_many = false;
        verdict = router_connect(router, slot, &key, world_begin(&model->world));
        client->views[peer].asked |= verdict == ROUTER_DONE && peer != client->key;
        world_end(&model->world, shard);
        if (model->too_many)
            client->views[peer].asked = false;
    } else if (command == COMMAND_DISCONNECT) {
        model->partings++;
        verdict = router_disconnect(router, slot, &key, world_begin(&model->world));
        client->views[peer].asked &= verdict == ROUTER_WAIT;
        world_end(&model->world, shard);
        CHECK(verdict == ROUTER_WAIT || !client->views[peer].connected);
    } else {
        verdict = do_send(model, shard, slot, peer, bytes);
    }
    CHECK(was_live || verdict == ROUTER_WAIT);
    client->pending = verdict == ROUTER_WAIT ? command : COMMAND_NONE;
    client->waiting = verdict == ROUTER_WAIT;
    total.waited += client->waiting;
    client->pending_peer = peer;
    client->pending_bytes = bytes;
}

static void do_written(struct model *model, uint16_t shard, uint32_t slot, size_t bytes)
{
    model->clients[shard][slot].unwritten_bytes -= bytes;
    router_written(model->world.routers[shard], slot, bytes, world_begin(&model->world));
    world_end(&model->world, shard);
}

static void do_full(struct model *model, uint16_t shard, uint16_t target, bool full)
{
    model->full[shard][target] = full;
    bool more;
    do {
        more = router_shard_full(model->world.routers[shard], target, full, world_begin(&model->world));
        world_end(&model->world, shard);
    } while (more);
}

static void step_client(struct model *model, uint16_t shard, uint32_t slot)
{
    struct client *client = &model->clients[shard][slot];
    if (!client->used) {
        if (random_below(model, 8) == 0)
            do_enter(model, shard, slot);
        return;
    }
    if (client->left)
        return;
    if (client->unwritten_bytes > 0 && random_below(model, 4) == 0) {
        size_t bytes = 1 + random_below(model, (uint32_t)client->unwritten_bytes);
        do_written(model, shard, slot, random_below(model, 2) ? client->unwritten_bytes : bytes);
        return;
    }
    if (random_below(model, client->closing ? 4 : 200) == 0 && (!model->calm || client->closing)) {
        do_leave(model, shard, slot);
        return;
    }
    if (client->waiting)
        return;
    if (client->pending != COMMAND_NONE) {
        do_command(model, shard, slot, client->pending, client->pending_peer, client->pending_bytes);
        return;
    }
    uint8_t peer = (uint8_t)random_below(model, model->keys);
    uint32_t dice = random_below(model, 10);
    enum command command = dice < 4 ? COMMAND_CONNECT : dice == 4 && !model->calm ? COMMAND_DISCONNECT : COMMAND_SEND;
    for (uint32_t i = 0; command == COMMAND_SEND && i < KEYS_MAX && !client->views[peer].connected; i++)
        peer = (uint8_t)random_below(model, model->keys); // mostly where somebody listens
    do_command(model, shard, slot, command, peer, sizeof(struct message) + random_below(model, 300));
}

// Delivers from a random queue that has mail.
static void step_mail(struct model *model)
{
    uint32_t shards = model->world.shard_count;
    uint32_t start = random_below(model, shards * shards);
    for (uint32_t i = 0; i < shards * shards; i++) {
        uint32_t queue = (start + i) % (shards * shards);
        if (world_deliver(&model->world, (uint16_t)(queue / shards), (uint16_t)(queue % shards)))
            return;
    }
}

static void step(struct model *model)
{
    uint16_t shards = model->world.shard_count;
    uint16_t shard = (uint16_t)random_below(model, shards);
    uint16_t other = (uint16_t)random_below(model, shards);
    uint32_t dice = random_below(model, 100);
    if (dice < model->mail_percent)
        step_mail(model);
    else if (dice > 95 && shard != other && (model->full[shard][other] || dice > 98))
        do_full(model, shard, other, !model->full[shard][other]);
    else
        step_client(model, shard, random_below(model, model->slots));
}

// --- at rest -------------------------------------------------------------------------------------------------------------------------

// Until nothing moves any more: mail delivered, output written, closed clients gone, commands that waited carried out.
static void settle(struct model *model)
{
    for (uint16_t i = 0; i < model->world.shard_count; i++) {
        for (uint16_t k = 0; k < model->world.shard_count; k++) {
            if (i != k)
                do_full(model, i, k, false);
        }
    }
    for (bool moved = true; moved;) {
        moved = model->world.mail_count > 0;
        world_settle(&model->world);
        for (uint16_t shard = 0; shard < model->world.shard_count; shard++) {
            for (uint32_t slot = 0; slot < model->slots; slot++) {
                struct client *client = &model->clients[shard][slot];
                if (!client->used || client->left)
                    continue;
                if (client->closing) {
                    do_leave(model, shard, slot);
                    moved = true;
                } else if (client->unwritten_bytes > 0) {
                    do_written(model, shard, slot, client->unwritten_bytes);
                    moved = true;
                } else if (client->pending != COMMAND_NONE && !client->waiting) {
                    do_command(model, shard, slot, client->pending, client->pending_peer, client->pending_bytes);
                    moved = true;
                }
            }
        }
    }
}

static void check_routers(const struct model *model)
{
#ifdef ROUTER_BUG
    (void)model; // planted bugs must show in what clients see
#else
    for (uint16_t i = 0; i < model->world.shard_count; i++)
        router_check(model->world.routers[i]);
#endif
}

static void check_counts(struct model *model, bool empty)
{
    check_routers(model);
    uint64_t delivered = 0;
    uint64_t bounced = 0;
    uint64_t lost = 0;
    for (uint16_t i = 0; i < model->world.shard_count; i++) {
        struct router_counts counts;
        router_counts(model->world.routers[i], &counts);
        delivered += counts.data_delivered;
        bounced += counts.data_bounced;
        lost += counts.data_lost;
        CHECK(!empty || (counts.sessions == 0 && counts.links == 0 && counts.keys_homed == 0 && counts.pairs_homed == 0 &&
                         counts.members_homed == 0));
    }
    CHECK(delivered == model->delivered && bounced == model->bounced);
    CHECK(model->accepted == delivered + bounced + lost);
    CHECK(model->partings > 0 || model->accepted == delivered); // nothing is lost while both ends stay
}

static void check_two(const struct client *a, const struct client *b)
{
    CHECK(a->key != b->key); // one key, one live session
    const struct view *a_sees = &a->views[b->key];
    const struct view *b_sees = &b->views[a->key];
    CHECK(a_sees->connected == b_sees->connected);
    CHECK(a_sees->connected == (a_sees->asked && b_sees->asked));
    CHECK(a_sees->entered == (a->account == b->account && a->account != 0));
    CHECK(b_sees->entered == a_sees->entered);
}

static void check_rest(struct model *model)
{
    const struct client *live[WORLD_SHARDS_MAX * SLOTS_MAX];
    bool keys[KEYS_MAX] = {false};
    uint32_t count = 0;
    for (uint16_t shard = 0; shard < model->world.shard_count; shard++) {
        for (uint32_t slot = 0; slot < model->slots; slot++) {
            const struct client *client = &model->clients[shard][slot];
            if (!client->used)
                continue;
            CHECK(!client->left && client->live && !client->waiting);
            live[count++] = client;
            keys[client->key] = true;
        }
    }
    for (uint32_t i = 0; i < count; i++) {
        for (uint32_t k = 0; k < i; k++)
            check_two(live[i], live[k]);
        for (uint32_t key = 0; key < KEYS_MAX; key++)
            CHECK(keys[key] || (!live[i]->views[key].connected && !live[i]->views[key].entered));
    }
    check_counts(model, false);
}

static void run_seed(uint64_t seed)
{
    static struct model model;
    replay_seed = seed;
    model = (struct model){.random = seed * 0x2545f4914f6cdd1du + 1};
    uint16_t shards = (uint16_t)(1 + random_below(&model, WORLD_SHARDS_MAX));
    model.slots = 1 + random_below(&model, shards < 3 ? SLOTS_MAX : 12u / shards);
    model.keys = 2 + random_below(&model, KEYS_MAX - 1);
    model.accounts = 1 + random_below(&model, ACCOUNTS_MAX);
    model.mail_percent = 20 + random_below(&model, 60);
    model.calm = random_below(&model, 5) == 0;
    model.limits = (struct router_limits){.sessions_max = model.slots,
                                          .links_per_session_max = 1 + random_below(&model, KEYS_MAX),
                                          .devices_per_account_max = 2 + random_below(&model, 3 * KEYS_MAX),
                                          .told_at_once = 1 + random_below(&model, KEYS_MAX),
                                          .queue_bytes_max = 1 + random_below(&model, 2000),
                                          .window_bytes = 1 + random_below(&model, 1500)};
    world_init(&model.world, shards, &model.limits, (uint8_t)seed);
    model.world.on_effect = on_effect;
    model.world.context = &model;
    uint32_t steps = 50 + random_below(&model, STEPS_MAX);
    for (uint32_t i = 0; i < steps; i++) {
        step(&model);
        if (i % 64 == 0)
            check_routers(&model);
    }
    settle(&model);
    check_rest(&model);
    for (uint16_t shard = 0; shard < shards; shard++) {
        for (uint32_t slot = 0; slot < model.slots; slot++) {
            if (model.clients[shard][slot].used)
                do_leave(&model, shard, slot);
        }
    }
    settle(&model);
    check_counts(&model, true);
    total.accepted += model.accepted;
    total.delivered += model.delivered;
    total.bounced += model.bounced;
    world_fini(&model.world);
}

int main(int argc, char **argv)
{
    uint64_t seeds = argc > 1 ? strtoull(argv[1], NULL, 10) : SEEDS_DEFAULT;
    uint64_t first = argc > 2 ? strtoull(argv[2], NULL, 10) : 1;
    signal(SIGABRT, on_abort);
    for (uint64_t seed = first; seed < first + seeds; seed++)
        run_seed(seed);
    printf("%llu seeds: %llu connected, %llu waits, %llu messages, %llu delivered, %llu bounced\n", (unsigned long long)seeds,
           (unsigned long long)total.connected, (unsigned long long)total.waited, (unsigned long long)total.accepted,
           (unsigned long long)total.delivered, (unsigned long long)total.bounced);
    return 0;
}
