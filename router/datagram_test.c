// Datagrams: one report each, order per sender, back-pressure by held reports, and what a leaving holder means.
#include <stdio.h>

#include "router/world_test.h"
#include "shards/base/check.h"

#define LOG_BYTES_MAX 4096

struct fixture {
    struct world world;
    char log[WORLD_SHARDS_MAX][4][LOG_BYTES_MAX]; // by shard and slot
};

static const struct router_limits limits = {.sessions_max = 4,
                                            .links_per_session_max = 4,
                                            .devices_per_account_max = 4,
                                            .told_at_once = 4,
                                            .queue_bytes_max = 1000,
                                            .window_bytes = 4000};

static void on_effect(void *context, uint16_t shard, const struct effect *effect)
{
    struct fixture *f = context;
    char *log = f->log[shard][effect->slot];
    size_t used = strlen(log);
    if (effect->kind == EFFECT_REPORT) {
        static const char letters[] = {[ROUTER_TAKEN] = 'T', [ROUTER_ABSENT] = 'A', [ROUTER_CONGESTED] = 'C'};
        snprintf(log + used, LOG_BYTES_MAX - used, "%c%u ", letters[effect->report], effect->token);
    } else {
        world_log(effect, log, LOG_BYTES_MAX);
    }
}

static void expect(struct fixture *f, uint16_t shard, uint32_t slot, const char *wanted)
{
    char *log = f->log[shard][slot];
    if (strcmp(log, wanted) != 0) {
        printf("shard %u slot %u: wanted \"%s\", got \"%s\"\n", (unsigned)shard, slot, wanted, log);
        CHECK(false);
    }
    log[0] = '\0';
}

// Device `name` on the shard, in the slot; already live.
static struct key enter(struct fixture *f, uint16_t shard, uint32_t slot, uint32_t generation, char name)
{
    struct key key = {{(uint8_t)name}};
    const struct handle session = {.slot = slot, .generation = generation, .shard = shard};
    router_enter(f->world.routers[shard], session, &key, 0, world_begin(&f->world));
    world_end(&f->world, shard);
    world_settle(&f->world);
    expect(f, shard, slot, "+ resume ");
    return key;
}

static enum router_verdict send(struct fixture *f, uint16_t shard, uint32_t slot, struct key dest, uint32_t token, struct bytes payload)
{
    enum router_verdict verdict = router_datagram(f->world.routers[shard], slot, &dest, token, payload, world_begin(&f->world));
    world_end(&f->world, shard);
    return verdict;
}

static void written(struct fixture *f, uint16_t shard, uint32_t slot, size_t bytes)
{
    router_written(f->world.routers[shard], slot, bytes, world_begin(&f->world));
    world_end(&f->world, shard);
    world_settle(&f->world);
}

static void leave(struct fixture *f, uint16_t shard, uint32_t slot)
{
    router_leave(f->world.routers[shard], slot, world_begin(&f->world));
    world_end(&f->world, shard);
    world_settle(&f->world);
}

static void begin(struct fixture *f, uint16_t shards, uint8_t secret)
{
    memset(f, 0, sizeof(*f));
    world_init(&f->world, shards, &limits, secret);
    f->world.on_effect = on_effect;
    f->world.context = f;
}

static void end(struct fixture *f)
{
    for (uint16_t i = 0; i < f->world.shard_count; i++)
        router_check(f->world.routers[i]);
    world_fini(&f->world);
}

static void test_taken_and_absent(struct fixture *f, uint16_t shards, uint8_t secret)
{
    uint16_t last = (uint16_t)(shards - 1);
    begin(f, shards, secret);
    struct key nobody = {{'z'}};
    CHECK(send(f, 0, 3, nobody, 9, bytes_text("x")) == ROUTER_DONE);
    expect(f, 0, 3, "A9 "); // a slot that never entered
    enter(f, 0, 0, 1, 'A');
    struct key b = enter(f, last, 1, 1, 'B');
    CHECK(send(f, 0, 0, b, 1, bytes_text("one")) == ROUTER_DONE);
    CHECK(send(f, 0, 0, b, 2, bytes_text("two")) == ROUTER_DONE);
    CHECK(send(f, 0, 0, nobody, 3, bytes_text("x")) == ROUTER_DONE);
    world_settle(&f->world);
    expect(f, last, 1, "dA=one dA=two ");
    CHECK(strstr(f->log[0][0], "T1 ") != NULL && strstr(f->log[0][0], "T1 ") < strstr(f->log[0][0], "T2 "));
    CHECK(strstr(f->log[0][0], "A3 ") != NULL && strlen(f->log[0][0]) == 9);
    leave(f, last, 1);
    f->log[0][0][0] = '\0';
    CHECK(send(f, 0, 0, b, 4, bytes_text("late")) == ROUTER_DONE);
    world_settle(&f->world);
    expect(f, 0, 0, "A4 ");
    leave(f, 0, 0);
    end(f);
}

// Whom a sender's last datagram went to is remembered; the key may be gone since, its record another's, its holder elsewhere.
static void test_last_receiver(struct fixture *f, uint16_t shards, uint8_t secret)
{
    uint16_t last = (uint16_t)(shards - 1);
    begin(f, shards, secret);
    enter(f, 0, 0, 1, 'A');
    struct key b = enter(f, last, 1, 1, 'B'), c = enter(f, last, 2, 1, 'C');
    CHECK(send(f, 0, 0, b, 1, bytes_text("one")) == ROUTER_DONE);
    world_settle(&f->world);
    leave(f, last, 1);
    leave(f, last, 2);
    CHECK(send(f, 0, 0, b, 2, bytes_text("two")) == ROUTER_DONE); // gone
    world_settle(&f->world);
    expect(f, last, 1, "dA=one released ");
    enter(f, last, 1, 2, 'B'); // in the record that was C's, if they share a home
    CHECK(send(f, 0, 0, b, 3, bytes_text("three")) == ROUTER_DONE);
    world_settle(&f->world);
    leave(f, last, 1);
    enter(f, 0, 3, 1, 'C'); // in the record that was B's
    CHECK(send(f, 0, 0, b, 4, bytes_text("four")) == ROUTER_DONE);
    CHECK(send(f, 0, 0, c, 5, bytes_text("five")) == ROUTER_DONE);
    world_settle(&f->world);
    expect(f, last, 2, "released ");
    expect(f, 0, 3, "dA=five ");
    expect(f, last, 1, "dA=three released ");
    for (char token = '1'; token <= '5'; token++) {
        const char report[] = {token == '2' || token == '4' ? 'A' : 'T', token, '\0'};
        CHECK(strstr(f->log[0][0], report) != NULL);
    }
    leave(f, 0, 0);
    leave(f, 0, 3);
    end(f);
}

// A full receiver has what came, but its senders are told only when there is room: they run into their own limit and wait.
static void test_back_pressure(struct fixture *f, uint16_t shards, uint8_t secret)
{
    static const uint8_t zeros[500];
    uint16_t last = (uint16_t)(shards - 1);
    begin(f, shards, secret);
    enter(f, 0, 0, 1, 'A');
    struct key b = enter(f, last, 1, 1, 'B');
    uint32_t sent = 0;
    while (send(f, 0, 0, b, sent, bytes_of(zeros, sizeof(zeros))) == ROUTER_DONE) {
        world_settle(&f->world);
        CHECK(++sent < 100);
    }
    CHECK(sent == 1 + 4000 / 500); // one was taken before the queue was full, a window's worth is held
    expect(f, 0, 0, "T0 ");
    written(f, last, 1, 600); // half is not yet free
    expect(f, 0, 0, "");
    written(f, last, 1, sent * 500 - 600);
    expect(f, 0, 0, "T1 resume T2 T3 T4 T5 T6 T7 T8 ");
    f->log[last][1][0] = '\0';
    CHECK(send(f, 0, 0, b, 99, bytes_text("on")) == ROUTER_DONE);
    world_settle(&f->world);
    expect(f, 0, 0, "T99 ");
    leave(f, 0, 0);
    leave(f, last, 1);
    end(f);
}

static void test_holder_leaves(struct fixture *f, uint16_t shards, uint8_t secret)
{
    static const uint8_t zeros[500];
    uint16_t last = (uint16_t)(shards - 1);
    begin(f, shards, secret);
    enter(f, 0, 0, 1, 'A');
    struct key b = enter(f, last, 1, 1, 'B');
    for (uint32_t token = 0; token < 4; token++)
        CHECK(send(f, 0, 0, b, token, bytes_of(zeros, sizeof(zeros))) == ROUTER_DONE);
    world_settle(&f->world);
    expect(f, 0, 0, "T0 ");
    leave(f, last, 1);
    expect(f, 0, 0, "A1 A2 A3 ");
    // The sender leaves before its reports come: they find nobody.
    struct key again = enter(f, last, 2, 1, 'B');
    for (uint32_t token = 4; token < 8; token++)
        CHECK(send(f, 0, 0, again, token, bytes_of(zeros, sizeof(zeros))) == ROUTER_DONE);
    leave(f, 0, 0);
    leave(f, last, 2);
    struct router_counts counts;
    router_counts(f->world.routers[last], &counts);
    CHECK(counts.sessions == 0 && counts.keys_homed == 0);
    end(f);
}

int main(void)
{
    static struct fixture fixture;
    for (uint8_t secret = 1; secret <= 8; secret++) { // so that homes fall on either shard
        for (uint16_t shards = 1; shards <= 3; shards++) {
            test_taken_and_absent(&fixture, shards, secret);
            test_last_receiver(&fixture, shards, secret);
            test_back_pressure(&fixture, shards, secret);
            test_holder_leaves(&fixture, shards, secret);
        }
    }
    return 0;
}
