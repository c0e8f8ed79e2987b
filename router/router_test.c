// Named behaviours: the sequencing facts of the Buckets protocol on one shard, and each race of the protocol between shards with its
// mail delivered by hand. What a client is told is compared as text: see world_log.
#include <stdio.h>
#include <stdlib.h>

#include "router/internal.h"
#include "router/world_test.h"

#define CLIENTS_MAX 8 // slots of one shard
#define LOG_BYTES 4096

struct fixture {
    struct world world;
    char logs[WORLD_SHARDS_MAX][CLIENTS_MAX][LOG_BYTES];
    uint32_t generation;
};

static const char *test_name;

static void on_effect(void *context, uint16_t shard, const struct effect *effect)
{
    struct fixture *f = context;
    CHECK(effect->slot < CLIENTS_MAX);
    world_log(effect, f->logs[shard][effect->slot], LOG_BYTES);
}

static const struct router_limits limits_default = {.sessions_max = CLIENTS_MAX,
                                                    .links_per_session_max = 4,
                                                    .devices_per_account_max = 3,
                                                    .told_at_once = 2,
                                                    .queue_bytes_max = 1000,
                                                    .window_bytes = 400};

static void begin(struct fixture *f, const char *name, uint16_t shards, const struct router_limits *limits)
{
    test_name = name;
    memset(f, 0, sizeof(*f));
    world_init(&f->world, shards, limits, 7);
    f->world.on_effect = on_effect;
    f->world.context = f;
}

static void end(struct fixture *f)
{
    for (uint16_t i = 0; i < f->world.shard_count; i++)
        router_check(f->world.routers[i]);
    world_fini(&f->world);
}

// The client's log since the last call, which must be `words`.
static void expect_at(struct fixture *f, int line, uint16_t shard, uint32_t slot, const char *words)
{
    char *log = f->logs[shard][slot];
    size_t used = strlen(log);
    if (used > 0)
        log[used - 1] = '\0'; // the last space
    if (strcmp(log, words) != 0) {
        fprintf(stderr, "%s: line %d: client %u.%u got \"%s\", not \"%s\"\n", test_name, line, shard, slot, log, words);
        exit(1);
    }
    log[0] = '\0';
}
#define expect(f, shard, slot, words) expect_at(f, __LINE__, shard, slot, words)

static void mail_at(struct fixture *f, int line, uint16_t from, uint16_t to, enum mail_type type)
{
    enum mail_type next = world_peek(&f->world, from, to);
    if (next != type) {
        fprintf(stderr, "%s: line %d: next mail from %u to %u is %s, not %s\n", test_name, line, from, to,
                next == MAIL_TYPE_COUNT ? "none" : mail_name(next), mail_name(type));
        exit(1);
    }
    world_deliver(&f->world, from, to);
    router_check(f->world.routers[to]);
}
#define mail(f, from, to, type) mail_at(f, __LINE__, from, to, type)

static struct key key_of(char letter)
{
    return (struct key){.bytes = {(uint8_t)letter}};
}

// A key with that letter whose home is `shard` and, if `peer` is given, whose pair with it has home `pair_shard`.
static struct key key_homed(const struct fixture *f, char letter, uint16_t shard, const struct key *peer, uint16_t pair_shard)
{
    struct key key = key_of(letter);
    for (uint8_t i = 0;; i++) {
        CHECK(i < UINT8_MAX);
        key.bytes[1] = i;
        bool pair_fits = peer == NULL || pair_home(f->world.routers[0], &key, peer) == pair_shard;
        if (directory_home(f->world.routers[0], &key) == shard && pair_fits)
            return key;
    }
}

static void enter(struct fixture *f, uint16_t shard, uint32_t slot, struct key key, uint64_t account)
{
    struct handle session = {.slot = slot, .generation = ++f->generation, .shard = shard};
    router_enter(f->world.routers[shard], session, &key, account, world_begin(&f->world));
    world_end(&f->world, shard);
}

static void leave(struct fixture *f, uint16_t shard, uint32_t slot)
{
    router_leave(f->world.routers[shard], slot, world_begin(&f->world));
    world_end(&f->world, shard);
}

static enum router_verdict connect(struct fixture *f, uint16_t shard, uint32_t slot, struct key peer)
{
    enum router_verdict verdict = router_connect(f->world.routers[shard], slot, &peer, world_begin(&f->world));
    world_end(&f->world, shard);
    return verdict;
}

static enum router_verdict disconnect(struct fixture *f, uint16_t shard, uint32_t slot, struct key peer)
{
    enum router_verdict verdict = router_disconnect(f->world.routers[shard], slot, &peer, world_begin(&f->world));
    world_end(&f->world, shard);
    return verdict;
}

static enum router_verdict send_text(struct fixture *f, uint16_t shard, uint32_t slot, struct key peer, const char *text)
{
    enum router_verdict verdict = router_send(f->world.routers[shard], slot, &peer, bytes_text(text), world_begin(&f->world));
    world_end(&f->world, shard);
    return verdict;
}

static void written(struct fixture *f, uint16_t shard, uint32_t slot, size_t bytes)
{
    router_written(f->world.routers[shard], slot, bytes, world_begin(&f->world));
    world_end(&f->world, shard);
}

static bool shard_full(struct fixture *f, uint16_t shard, uint16_t target, bool full)
{
    bool more = router_shard_full(f->world.routers[shard], target, full, world_begin(&f->world));
    world_end(&f->world, shard);
    return more;
}

static struct router_counts counts(const struct fixture *f, uint16_t shard)
{
    struct router_counts result;
    router_counts(f->world.routers[shard], &result);
    return result;
}

// --- one shard: the sequencing facts -------------------------------------------------------------------------------------------------

// A (slot 0) and B (slot 1) of account 1 are in, and connected.
static void begin_connected(struct fixture *f, const char *name, const struct router_limits *limits)
{
    begin(f, name, 1, limits);
    enter(f, 0, 0, key_of('A'), 1);
    expect(f, 0, 0, "+ resume");
    enter(f, 0, 1, key_of('B'), 1);
    expect(f, 0, 0, ">B");
    expect(f, 0, 1, "+ >A resume");
    CHECK(connect(f, 0, 0, key_of('B')) == ROUTER_DONE);
    expect(f, 0, 0, "");
    CHECK(connect(f, 0, 1, key_of('A')) == ROUTER_DONE);
    expect(f, 0, 0, "cB");
    expect(f, 0, 1, "cA");
}

static void test_before_entering(struct fixture *f)
{
    begin(f, "before entering", 1, &limits_default);
    CHECK(connect(f, 0, 0, key_of('B')) == ROUTER_DONE);
    expect(f, 0, 0, "Econnect-forbidden");
    CHECK(send_text(f, 0, 0, key_of('B'), "hello") == ROUTER_DONE);
    expect(f, 0, 0, "Esend-forbidden");
    CHECK(disconnect(f, 0, 0, key_of('B')) == ROUTER_DONE);
    expect(f, 0, 0, "");
    leave(f, 0, 0);
    expect(f, 0, 0, "released");
    end(f);
}

static void test_presence(struct fixture *f)
{
    begin(f, "presence", 1, &limits_default);
    enter(f, 0, 0, key_of('A'), 1);
    enter(f, 0, 1, key_of('B'), 2);
    enter(f, 0, 2, key_of('C'), 1);
    enter(f, 0, 3, key_of('D'), 0);
    expect(f, 0, 0, "+ resume >C");
    expect(f, 0, 1, "+ resume"); // another account
    expect(f, 0, 2, "+ >A resume");
    expect(f, 0, 3, "+ resume"); // no account, no presence
    leave(f, 0, 3);
    leave(f, 0, 2);
    expect(f, 0, 0, "^C");
    expect(f, 0, 1, "");
    expect(f, 0, 2, "released");
    end(f);
}

static void test_too_many_devices(struct fixture *f)
{
    begin(f, "too many devices", 1, &limits_default);
    enter(f, 0, 0, key_of('A'), 1);
    enter(f, 0, 1, key_of('B'), 1);
    enter(f, 0, 2, key_of('C'), 1);
    expect(f, 0, 0, "+ resume >B >C");
    enter(f, 0, 3, key_of('D'), 1);
    expect(f, 0, 3, "close:TOO_MANY_DEVICES");
    CHECK(connect(f, 0, 3, key_of('A')) == ROUTER_WAIT);
    leave(f, 0, 3);
    expect(f, 0, 3, "released");
    expect(f, 0, 0, ""); // it never entered, so it does not exit
    end(f);
}

// An account tells one member in a call; who comes or goes meanwhile waits in line, another account does not.
static void test_told_in_pieces(struct fixture *f)
{
    struct router_limits limits = limits_default;
    limits.devices_per_account_max = 4;
    limits.told_at_once = 1;
    begin(f, "told in pieces", 1, &limits);
    enter(f, 0, 0, key_of('A'), 1);
    expect(f, 0, 0, "+ resume");
    enter(f, 0, 1, key_of('B'), 1);
    expect(f, 0, 0, ">B");
    expect(f, 0, 1, "+ >A resume");
    enter(f, 0, 2, key_of('C'), 1);
    expect(f, 0, 0, "");
    expect(f, 0, 1, ">C");
    expect(f, 0, 2, "+ >B");
    enter(f, 0, 3, key_of('D'), 1);
    expect(f, 0, 3, "");
    enter(f, 0, 4, key_of('E'), 2);
    expect(f, 0, 4, "+ resume");
    mail(f, 0, 0, MAIL_GO_ON);
    expect(f, 0, 0, ">C");
    expect(f, 0, 2, ">A resume");
    leave(f, 0, 1);
    expect(f, 0, 1, "released");
    for (int i = 0; i < 3; i++)
        mail(f, 0, 0, MAIL_GO_ON);
    expect(f, 0, 0, ">D");
    expect(f, 0, 2, ">D");
    expect(f, 0, 3, "+ >C >B >A resume"); // B's Exit comes behind D's Enter
    for (int i = 0; i < 3; i++)
        mail(f, 0, 0, MAIL_GO_ON);
    expect(f, 0, 0, "^B");
    expect(f, 0, 2, "^B");
    expect(f, 0, 3, "^B");
    CHECK(f->world.mail_count == 0 && counts(f, 0).members_homed == 4 && counts(f, 0).keys_homed == 4);
    end(f);
}

static void test_connect(struct fixture *f)
{
    begin_connected(f, "connect", &limits_default);
    CHECK(connect(f, 0, 0, key_of('B')) == ROUTER_DONE);
    CHECK(connect(f, 0, 0, key_of('Z')) == ROUTER_DONE); // unknown: remembered, silent
    CHECK(connect(f, 0, 0, key_of('Z')) == ROUTER_DONE);
    expect(f, 0, 0, "");
    connect(f, 0, 0, key_of('A'));
    expect(f, 0, 0, "Eself");
    send_text(f, 0, 0, key_of('A'), "me");
    expect(f, 0, 0, "Enone");
    send_text(f, 0, 0, key_of('Z'), "who");
    expect(f, 0, 0, "Enone");
    send_text(f, 0, 0, key_of('B'), "hello");
    send_text(f, 0, 0, key_of('B'), "");
    expect(f, 0, 1, "dA=hello dA=");
    enter(f, 0, 2, key_of('Z'), 9); // across accounts
    connect(f, 0, 2, key_of('A'));
    expect(f, 0, 2, "+ resume cA");
    expect(f, 0, 0, "cZ");
    end(f);
}

static void test_disconnect(struct fixture *f)
{
    begin_connected(f, "disconnect", &limits_default);
    disconnect(f, 0, 0, key_of('B'));
    expect(f, 0, 0, "xB");
    expect(f, 0, 1, "xA");
    disconnect(f, 0, 0, key_of('B'));
    send_text(f, 0, 0, key_of('B'), "late");
    expect(f, 0, 0, "Enone");
    connect(f, 0, 0, key_of('B')); // the other's request stands
    expect(f, 0, 0, "cB");
    expect(f, 0, 1, "cA");
    send_text(f, 0, 1, key_of('A'), "again");
    expect(f, 0, 0, "dB=again");
    end(f);
}

static void test_leave_and_return(struct fixture *f)
{
    begin_connected(f, "leave and return", &limits_default);
    leave(f, 0, 0);
    expect(f, 0, 0, "released");
    expect(f, 0, 1, "xA ^A");
    enter(f, 0, 0, key_of('A'), 1);
    expect(f, 0, 1, ">A");
    expect(f, 0, 0, "+ >B resume");
    connect(f, 0, 0, key_of('B'));
    expect(f, 0, 0, "cB");
    expect(f, 0, 1, "cA");
    leave(f, 0, 0);
    leave(f, 0, 1);
    CHECK(counts(f, 0).sessions == 0 && counts(f, 0).links == 0 && counts(f, 0).keys_homed == 0);
    CHECK(counts(f, 0).pairs_homed == 0 && counts(f, 0).members_homed == 0);
    end(f);
}

static void test_takeover(struct fixture *f)
{
    begin_connected(f, "takeover", &limits_default);
    enter(f, 0, 2, key_of('A'), 1);
    expect(f, 0, 0, "close:SUPERSEDED");
    expect(f, 0, 2, "");
    enter(f, 0, 3, key_of('A'), 1); // the newest wins over the one that waits
    expect(f, 0, 2, "close:SUPERSEDED");
    leave(f, 0, 0);
    expect(f, 0, 0, "released");
    expect(f, 0, 1, "xA ^A >A");
    expect(f, 0, 3, "+ >B resume");
    leave(f, 0, 2); // a late close does not unregister the newer
    expect(f, 0, 2, "released");
    expect(f, 0, 1, "");
    connect(f, 0, 3, key_of('B'));
    expect(f, 0, 3, "cB");
    end(f);
}

static void test_link_limit(struct fixture *f)
{
    begin(f, "link limit", 1, &limits_default);
    enter(f, 0, 0, key_of('A'), 0);
    for (char letter = 'B'; letter < 'F'; letter++)
        CHECK(connect(f, 0, 0, key_of(letter)) == ROUTER_DONE);
    expect(f, 0, 0, "+ resume");
    connect(f, 0, 0, key_of('F'));
    expect(f, 0, 0, "Etoo-many");
    disconnect(f, 0, 0, key_of('B'));
    connect(f, 0, 0, key_of('F'));
    expect(f, 0, 0, "");
    end(f);
}

static void test_credit(struct fixture *f)
{
    const struct router_limits limits = {.sessions_max = 4,
                                         .links_per_session_max = 4,
                                         .devices_per_account_max = 3,
                                         .told_at_once = 2,
                                         .queue_bytes_max = 200,
                                         .window_bytes = 400};
    begin_connected(f, "credit", &limits);
    char text[101];
    memset(text, 'x', 100);
    text[100] = '\0';
    unsigned sent = 0;
    while (send_text(f, 0, 0, key_of('B'), text) == ROUTER_DONE)
        sent++;
    CHECK(sent == 5); // the first is granted back at once, then the queue is full and the window runs out
    f->logs[0][1][0] = '\0';
    expect(f, 0, 0, "");
    CHECK(send_text(f, 0, 1, key_of('A'), "back") == ROUTER_DONE); // the other way goes on
    expect(f, 0, 0, "dB=back");
    written(f, 0, 1, 399);
    expect(f, 0, 0, "");
    written(f, 0, 1, 1); // half of the limit is left
    expect(f, 0, 0, "resume");
    CHECK(send_text(f, 0, 0, key_of('B'), text) == ROUTER_DONE);
    f->logs[0][1][0] = '\0';
    while (send_text(f, 0, 0, key_of('B'), "") == ROUTER_DONE) // empty messages cost, too
        CHECK(++sent < 100);
    f->logs[0][1][0] = '\0';
    disconnect(f, 0, 1, key_of('A')); // no connection, nothing to wait for
    expect(f, 0, 0, "resume xB");
    send_text(f, 0, 0, key_of('B'), "x");
    expect(f, 0, 0, "Enone");
    end(f);
}

// --- two shards: the races -----------------------------------------------------------------------------------------------------------

// A (0.0) and B (1.0), keys without accounts homed at their own shards, their pair at shard `pair_shard`.
static void begin_two(struct fixture *f, const char *name, uint16_t pair_shard, struct key *ret_a, struct key *ret_b)
{
    begin(f, name, 2, &limits_default);
    *ret_a = key_homed(f, 'A', 0, NULL, 0);
    *ret_b = key_homed(f, 'B', 1, ret_a, pair_shard);
    enter(f, 0, 0, *ret_a, 0);
    enter(f, 1, 0, *ret_b, 0);
    expect(f, 0, 0, "+ resume");
    expect(f, 1, 0, "+ resume");
}

// As begin_two, with B's request standing at the home, shard 0, so that A's Connect makes A's link HALF at once.
static void begin_asked(struct fixture *f, const char *name, struct key *ret_a, struct key *ret_b)
{
    begin_two(f, name, 0, ret_a, ret_b);
    connect(f, 1, 0, *ret_a);
    mail(f, 1, 0, MAIL_ASK);
    mail(f, 0, 1, MAIL_ASKED);
}

static void test_connect_two(struct fixture *f)
{
    struct key a, b;
    begin_asked(f, "connect over two shards", &a, &b);
    connect(f, 0, 0, b);
    expect(f, 0, 0, "");
    mail(f, 0, 1, MAIL_ACCEPT);
    expect(f, 1, 0, "cA");
    send_text(f, 1, 0, a, "hello"); // behind CONFIRM
    mail(f, 1, 0, MAIL_CONFIRM);
    expect(f, 0, 0, "cB");
    mail(f, 1, 0, MAIL_DATA);
    expect(f, 0, 0, "dB=hello");
    CHECK(counts(f, 0).data_delivered == 1);
    end(f);
}

// Connect and SendData in one go (the original's client does so): the data waits until it is known whether the other has asked.
static void test_data_behind_connect(struct fixture *f)
{
    struct key a, b;
    begin_asked(f, "data right behind a Connect", &a, &b);
    connect(f, 0, 0, b); // HALF at once: the home is here
    CHECK(send_text(f, 0, 0, b, "early") == ROUTER_WAIT);
    mail(f, 0, 1, MAIL_ACCEPT);
    mail(f, 1, 0, MAIL_CONFIRM);
    expect(f, 0, 0, "cB resume");
    CHECK(send_text(f, 0, 0, b, "early") == ROUTER_DONE);
    mail(f, 0, 1, MAIL_DATA);
    expect(f, 1, 0, "cA dA=early");
    end(f);

    begin_two(f, "data behind a Connect that nobody answers", 0, &a, &b);
    connect(f, 1, 0, a);
    CHECK(send_text(f, 1, 0, a, "x") == ROUTER_WAIT);
    mail(f, 1, 0, MAIL_ASK);
    mail(f, 0, 1, MAIL_ASKED);
    expect(f, 1, 0, "resume");
    CHECK(send_text(f, 1, 0, a, "x") == ROUTER_DONE);
    expect(f, 1, 0, "Enone");
    end(f);
}

static void test_accept_to_gone(struct fixture *f)
{
    struct key a, b;
    begin_asked(f, "ACCEPT to a link that is gone", &a, &b);
    connect(f, 0, 0, b);
    disconnect(f, 1, 0, a);
    mail(f, 1, 0, MAIL_UNASK);
    mail(f, 0, 1, MAIL_ACCEPT);
    mail(f, 1, 0, MAIL_REJECT);
    expect(f, 0, 0, "");
    world_settle(&f->world);
    CHECK(counts(f, 1).links == 0 && counts(f, 0).links == 1);
    connect(f, 1, 0, a); // A's request stands
    world_settle(&f->world);
    expect(f, 0, 0, "cB");
    expect(f, 1, 0, "cA");
    end(f);
}

static void test_accept_to_leaving(struct fixture *f)
{
    struct key a, b;
    begin_asked(f, "ACCEPT to a leaving session", &a, &b);
    connect(f, 0, 0, b);
    leave(f, 1, 0);
    expect(f, 1, 0, "");
    mail(f, 0, 1, MAIL_ACCEPT); // before the acknowledgement
    mail(f, 1, 0, MAIL_UNASK);
    mail(f, 0, 1, MAIL_UNASK_ACK);
    expect(f, 1, 0, "released");
    mail(f, 1, 0, MAIL_REJECT);
    expect(f, 0, 0, "");
    end(f);
}

static void test_cancel_while_half(struct fixture *f)
{
    struct key a, b;
    begin_asked(f, "Disconnect while HALF, then CONFIRM", &a, &b);
    connect(f, 0, 0, b);
    disconnect(f, 0, 0, b);
    expect(f, 0, 0, "");
    mail(f, 0, 1, MAIL_ACCEPT);
    send_text(f, 1, 0, a, "lost");
    mail(f, 1, 0, MAIL_CONFIRM);
    expect(f, 0, 0, "cB xB"); // B was told, so A is
    mail(f, 1, 0, MAIL_DATA);
    mail(f, 0, 1, MAIL_PARTED);
    expect(f, 1, 0, "cA xA");
    mail(f, 0, 1, MAIL_BOUNCE);
    expect(f, 1, 0, "Enone");
    CHECK(counts(f, 1).data_bounced == 1);
    mail(f, 1, 0, MAIL_PARTED_ACK);
    CHECK(counts(f, 0).links == 0);
    end(f);
}

static void test_accept_to_linked(struct fixture *f)
{
    struct key a, b;
    begin_asked(f, "ACCEPT to a link whose peer was cancelled", &a, &b);
    connect(f, 0, 0, b);
    disconnect(f, 0, 0, b);
    connect(f, 0, 0, b);
    mail(f, 0, 1, MAIL_ACCEPT); // of the cancelled
    expect(f, 1, 0, "cA");
    send_text(f, 1, 0, a, "lost");
    mail(f, 0, 1, MAIL_ACCEPT);
    expect(f, 1, 0, "xA cA");
    send_text(f, 1, 0, a, "new");
    mail(f, 1, 0, MAIL_CONFIRM);
    expect(f, 0, 0, "cB xB");
    mail(f, 1, 0, MAIL_DATA); // to the cancelled
    mail(f, 1, 0, MAIL_CONFIRM);
    mail(f, 1, 0, MAIL_DATA);
    expect(f, 0, 0, "cB dB=new");
    mail(f, 0, 1, MAIL_PARTED); // not from B's peer
    mail(f, 0, 1, MAIL_BOUNCE);
    expect(f, 1, 0, "");
    CHECK(counts(f, 1).data_lost == 1 && counts(f, 1).data_bounced == 0);
    end(f);
}

static void test_reject_after_relink(struct fixture *f)
{
    struct key a, b;
    begin_asked(f, "REJECT after the link was linked anew", &a, &b);
    connect(f, 0, 0, b); // HALF towards B's first link
    disconnect(f, 1, 0, a);
    connect(f, 1, 0, a);
    mail(f, 1, 0, MAIL_UNASK);
    mail(f, 0, 1, MAIL_ACCEPT); // to B's first link
    mail(f, 1, 0, MAIL_ASK);
    mail(f, 0, 1, MAIL_UNASK_ACK);
    mail(f, 0, 1, MAIL_OPEN); // to B's second
    mail(f, 1, 0, MAIL_REJECT);
    mail(f, 1, 0, MAIL_ACCEPT);
    expect(f, 0, 0, "cB");
    mail(f, 0, 1, MAIL_CONFIRM);
    expect(f, 1, 0, "cA");
    end(f);
}

static void test_crossing_disconnects(struct fixture *f)
{
    struct key a, b;
    begin_asked(f, "crossing Disconnects", &a, &b);
    connect(f, 0, 0, b);
    world_settle(&f->world);
    expect(f, 0, 0, "cB");
    expect(f, 1, 0, "cA");
    disconnect(f, 0, 0, b);
    disconnect(f, 1, 0, a);
    world_settle(&f->world);
    expect(f, 0, 0, "xB");
    expect(f, 1, 0, "xA");
    CHECK(counts(f, 0).links == 0 && counts(f, 1).links == 0 && counts(f, 0).pairs_homed == 0);
    end(f);
}

static void test_leave_waits_for_acks(struct fixture *f)
{
    struct key a, b;
    begin_asked(f, "a key changes hands when all is acknowledged", &a, &b);
    connect(f, 0, 0, b);
    world_settle(&f->world);
    expect(f, 0, 0, "cB");
    expect(f, 1, 0, "cA");
    disconnect(f, 0, 0, b); // even what was parted before the leave
    leave(f, 0, 0);
    expect(f, 0, 0, "xB");
    enter(f, 0, 1, a, 0);
    expect(f, 0, 1, "");
    mail(f, 0, 1, MAIL_PARTED);
    expect(f, 1, 0, "xA");
    mail(f, 1, 0, MAIL_PARTED_ACK);
    expect(f, 0, 0, "released");
    expect(f, 0, 1, "+ resume");
    end(f);
}

static void test_bounce_to_leaver(struct fixture *f)
{
    struct key a, b;
    begin_asked(f, "data under way when both leave", &a, &b);
    connect(f, 0, 0, b);
    world_settle(&f->world);
    send_text(f, 1, 0, a, "lost");
    leave(f, 0, 0);
    leave(f, 1, 0);
    world_settle(&f->world);
    CHECK(counts(f, 1).data_lost == 1 && counts(f, 0).data_delivered == 0);
    CHECK(counts(f, 0).sessions == 0 && counts(f, 1).sessions == 0);
    end(f);
}

static void test_evict_before_welcome(struct fixture *f)
{
    begin(f, "EVICT overtakes WELCOME", 2, &limits_default);
    uint64_t account = 1;
    while (presence_home(f->world.routers[0], account) != 0)
        account++;
    struct key a = key_homed(f, 'A', 1, NULL, 0); // key's home 1, account's home 0
    enter(f, 1, 0, a, account);
    enter(f, 1, 1, a, account);
    expect(f, 1, 0, "close:SUPERSEDED");
    leave(f, 1, 0);
    expect(f, 1, 0, "released");
    world_settle(&f->world);
    expect(f, 1, 0, "");
    expect(f, 1, 1, "+ resume");
    CHECK(counts(f, 0).members_homed == 1 && counts(f, 1).keys_homed == 1);
    end(f);
}

static void test_fences(struct fixture *f)
{
    begin(f, "fences", 3, &limits_default);
    uint64_t account = 1;
    while (presence_home(f->world.routers[0], account) != 0)
        account++;
    struct key v = key_homed(f, 'V', 0, NULL, 0);
    struct key n = key_homed(f, 'N', 0, NULL, 0);
    enter(f, 1, 0, v, account);
    world_settle(&f->world);
    expect(f, 1, 0, "+ resume");
    enter(f, 2, 0, n, account);
    mail(f, 2, 0, MAIL_REGISTER);
    mail(f, 0, 1, MAIL_ENTERED);
    mail(f, 0, 1, MAIL_FENCE);
    mail(f, 1, 2, MAIL_FENCE_ACK); // overtakes WELCOME
    expect(f, 2, 0, "");
    mail(f, 0, 2, MAIL_WELCOME);
    expect(f, 2, 0, "+");
    CHECK(connect(f, 2, 0, v) == ROUTER_WAIT);
    mail(f, 0, 2, MAIL_ENTERED);
    expect(f, 2, 0, ">V");
    mail(f, 0, 2, MAIL_FENCE);
    expect(f, 2, 0, "resume");
    CHECK(connect(f, 2, 0, v) == ROUTER_DONE);
    leave(f, 1, 0);
    leave(f, 2, 0);
    world_settle(&f->world);
    CHECK(counts(f, 0).members_homed == 0 && counts(f, 0).keys_homed == 0);
    end(f);
}

static void test_exit_fence(struct fixture *f)
{
    begin(f, "a key changes accounts when its exit is known", 2, &limits_default);
    uint64_t account = 1;
    while (presence_home(f->world.routers[0], account) != 0)
        account++;
    struct key v = key_homed(f, 'V', 0, NULL, 0);
    struct key k = key_homed(f, 'K', 0, NULL, 0);
    enter(f, 1, 0, v, account);
    enter(f, 0, 0, k, account);
    world_settle(&f->world);
    enter(f, 0, 1, k, 0);
    leave(f, 0, 0);
    expect(f, 0, 1, "");
    world_settle(&f->world);
    expect(f, 1, 0, "+ >K resume ^K");
    f->logs[0][0][0] = '\0';
    expect(f, 0, 1, "+ resume");
    end(f);
}

static void test_credit_two(struct fixture *f)
{
    struct key a, b;
    begin_asked(f, "credit over two shards", &a, &b);
    connect(f, 0, 0, b);
    world_settle(&f->world);
    expect(f, 0, 0, "cB");
    char text[401];
    memset(text, 'x', 400);
    text[400] = '\0';
    CHECK(send_text(f, 0, 0, b, text) == ROUTER_DONE);
    CHECK(send_text(f, 0, 0, b, "y") == ROUTER_WAIT);
    mail(f, 0, 1, MAIL_DATA);
    mail(f, 1, 0, MAIL_CREDIT);
    expect(f, 0, 0, "resume");
    CHECK(send_text(f, 0, 0, b, text) == ROUTER_DONE);
    mail(f, 0, 1, MAIL_DATA);
    mail(f, 1, 0, MAIL_CREDIT);
    CHECK(send_text(f, 0, 0, b, text) == ROUTER_DONE);
    mail(f, 0, 1, MAIL_DATA);
    CHECK(f->world.mail_count == 0); // 1200 are queued, 1000 is the limit
    CHECK(send_text(f, 0, 0, b, "y") == ROUTER_WAIT);
    written(f, 1, 0, 700);
    mail(f, 1, 0, MAIL_CREDIT);
    expect(f, 0, 0, "resume");
    end(f);
}

static void test_full_shard(struct fixture *f)
{
    struct key a, b;
    begin_two(f, "full shard", 1, &a, &b);
    CHECK(!shard_full(f, 0, 1, true));
    CHECK(connect(f, 0, 0, b) == ROUTER_WAIT);
    enter(f, 0, 1, key_homed(f, 'C', 0, &b, 1), 0);
    CHECK(connect(f, 0, 1, b) == ROUTER_WAIT);
    expect(f, 0, 1, "+ resume");
    leave(f, 0, 1); // who waits may leave
    expect(f, 0, 1, "released");
    CHECK(!shard_full(f, 0, 1, false));
    expect(f, 0, 0, "resume");
    CHECK(connect(f, 0, 0, b) == ROUTER_DONE);
    connect(f, 1, 0, a);
    world_settle(&f->world);
    expect(f, 0, 0, "cB");
    shard_full(f, 0, 1, true);
    CHECK(send_text(f, 0, 0, b, "x") == ROUTER_WAIT);
    CHECK(disconnect(f, 0, 0, b) == ROUTER_WAIT);
    expect(f, 0, 0, "");
    shard_full(f, 0, 1, false);
    expect(f, 0, 0, "resume"); // once
    CHECK(disconnect(f, 0, 0, b) == ROUTER_DONE);
    world_settle(&f->world);
    end(f);
}

static void test_parting_limit(struct fixture *f)
{
    struct key a, b;
    begin_two(f, "Connect and Disconnect without end", 1, &a, &b);
    unsigned rounds = 0;
    while (connect(f, 0, 0, b) == ROUTER_DONE) {
        disconnect(f, 0, 0, b);
        CHECK(++rounds <= limits_default.links_per_session_max);
    }
    CHECK(rounds == limits_default.links_per_session_max);
    expect(f, 0, 0, "");
    world_settle(&f->world);
    expect(f, 0, 0, "resume");
    CHECK(connect(f, 0, 0, b) == ROUTER_DONE);
    end(f);
}

int main(void)
{
    static void (*const tests[])(struct fixture *) = {
        test_before_entering,
        test_presence,
        test_told_in_pieces,
        test_too_many_devices,
        test_connect,
        test_disconnect,
        test_leave_and_return,
        test_takeover,
        test_link_limit,
        test_credit,
        test_connect_two,
        test_data_behind_connect,
        test_accept_to_gone,
        test_accept_to_leaving,
        test_cancel_while_half,
        test_accept_to_linked,
        test_reject_after_relink,
        test_crossing_disconnects,
        test_leave_waits_for_acks,
        test_bounce_to_leaver,
        test_evict_before_welcome,
        test_fences,
        test_exit_fence,
        test_credit_two,
        test_full_shard,
        test_parting_limit,
    };
    static struct fixture fixture;
    for (size_t i = 0; i < sizeof(tests) / sizeof(tests[0]); i++)
        tests[i](&fixture);
    return 0;
}
