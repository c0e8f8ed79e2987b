// Is the first session alive? A second login of its identity asks, and what is known of the first one's connection decides.
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "net/backbone/internal.h"
#include "shards/base/check.h"
#include "shards/os.h"

#define S_NS 1000000000ull
#define START_NS (1000 * S_NS)
#define TICK_NS TIMER_TICK_NS

static struct backbone_shared config = {.worker_first = 1, .worker_count = 1, .heartbeat_interval_s = 10, .heartbeat_timeout_s = 30};
static struct shard_shared shared = {.shard_count = 1};
static struct shard shard = {.shared = &shared};
static struct conn *held;
static int answers;

static void on_asked(void *owner, const struct post_record *record)
{
    (void)owner;
    if (record->kind == RECORD_BACKBONE_ASK)
        backbone_ask_record(shard.backbone, record);
    else
        answers++;
}

static void drain(void)
{
    post_flush(shared.post, 0);
    post_drain(shared.post, 0, 100, on_asked, NULL);
    post_flush(shared.post, 0);
    post_drain(shared.post, 0, 100, on_asked, NULL);
}

// The first session's connection as it is after a while without input.
static void make_held(uint64_t silent_ns)
{
    outq_clear(&held->out, shard.pool);
    held->written_bytes = 1000;
    held->last_input_ns = START_NS - silent_ns;
    held->waiting = held->write_failed = false;
}

// Asks about the first session. Returns whether it is being probed; else it was said to be dead at once.
static bool ask(struct backbone_session *asker, const uint8_t id[BACKBONE_ID_BYTES])
{
    answers = 0;
    free(asker->question);
    asker->question = NULL;
    CHECK(backbone_ask(asker, ASK_PROBE, (const uint8_t(*)[BACKBONE_ID_BYTES])id, 1));
    drain();
    CHECK((shard.backbone->probes != NULL) == (answers == 0));
    return shard.backbone->probes != NULL;
}

// Ticks until there is an answer. Returns after how many.
static uint64_t ticks_until_answer(void)
{
    for (uint64_t tick = 1; tick < 100; tick++) {
        backbone_probe_time(&shard.backbone->probe_timer, START_NS + tick * TICK_NS);
        drain();
        if (answers > 0) {
            CHECK(answers == 1 && shard.backbone->probes == NULL);
            return tick;
        }
    }
    return UINT64_MAX;
}

// As if the socket had taken and the peer's kernel had acknowledged so much.
static void take(size_t bytes)
{
    outq_clear(&held->out, shard.pool);
    held->written_bytes += bytes;
}

static void test_alive(struct backbone_session *asker, const uint8_t *id)
{
    make_held(5 * S_NS);
    CHECK(ask(asker, id) && conn_unsent(held) == BACKBONE_HEAD_BYTES);
    take(BACKBONE_HEAD_BYTES);
    CHECK(ticks_until_answer() == 1);
}

static void test_dead(struct backbone_session *asker, const uint8_t *id)
{
    make_held(21 * S_NS); // more than two intervals
    CHECK(!ask(asker, id));
    make_held(5 * S_NS); // the empty frame stays
    CHECK(ask(asker, id) && ticks_until_answer() == 2 * S_NS / TICK_NS);
    make_held(5 * S_NS); // it has hung up, and is read to the end first
    held->write_failed = true;
    CHECK(ask(asker, id) && ticks_until_answer() == 2 * S_NS / TICK_NS);
}

// A session that is not read, since its recipient is slow, cannot be heard.
static void test_not_read(struct backbone_session *asker, const uint8_t *id)
{
    make_held(21 * S_NS);
    held->waiting = true;
    CHECK(ask(asker, id));
    take(BACKBONE_HEAD_BYTES);
    CHECK(ticks_until_answer() == 1);
}

// A session that is sent something all the time is alive as soon as the empty frame has arrived.
static void test_busy(struct backbone_session *asker, const uint8_t *id)
{
    make_held(5 * S_NS);
    CHECK(ask(asker, id));
    take(BACKBONE_HEAD_BYTES);
    CHECK(conn_write(held, bytes_text("more")) && conn_unsent(held) > 0);
    CHECK(ticks_until_answer() == 1);
    make_held(5 * S_NS);
    CHECK(conn_write(held, bytes_text("before")) && ask(asker, id));
    take(6);
    CHECK(conn_write(held, bytes_text("more")));
    CHECK(ticks_until_answer() == 2 * S_NS / TICK_NS);
}

int main(void)
{
    static const uint8_t id[BACKBONE_ID_BYTES] = "somebody";
    int pair[2];
    int failed = socketpair(AF_UNIX, SOCK_STREAM, 0, pair);
    CHECK(failed == 0);
    shared.post = post_create(2, &post_limits_default);
    shard.pool = pool_create(1u << 20);
    shard.conn_chunks = calloc(1, sizeof(struct conn *));
    CHECK(shared.post != NULL && shard.pool != NULL && shard.conn_chunks != NULL);
    shard.conn_chunks[0] = calloc(CONN_CHUNK, sizeof(struct conn));
    const struct node_owner owner = {.owner = &shard, .on_record = on_asked};
    shard.node = node_create(shared.post, 0, &owner, START_NS);
    shard.backbone = backbone_create(&shard, &config);
    CHECK(shard.conn_chunks[0] != NULL && shard.node != NULL && shard.backbone != NULL);
    shard.slot_count = CONN_CHUNK;
    held = shard_conn(&shard, 0);
    *held = (struct conn){.shard = &shard, .generation = 1, .phase = CONN_OPEN, .source.fd = pair[0]};
    struct conn asker_conn = {.shard = &shard, .slot = 1};
    struct backbone_session *first = backbone_session_create(shard.backbone, held);
    struct backbone_session *asker = backbone_session_create(shard.backbone, &asker_conn);
    CHECK(first != NULL && asker != NULL);
    memcpy(first->id, id, sizeof(id));
    first->stage = STAGE_ENTERED;
    backbone_session_enter(first);
    test_alive(asker, id);
    test_dead(asker, id);
    test_not_read(asker, id);
    test_busy(asker, id);
    outq_clear(&held->out, shard.pool);
    backbone_session_over(first);
    backbone_session_over(asker);
    CHECK(pool_bytes_in_use(shard.pool) == 0);
    backbone_destroy(shard.backbone);
    node_destroy(shard.node);
    free(shard.conn_chunks[0]);
    free(shard.conn_chunks);
    pool_destroy(shard.pool);
    post_destroy(shared.post);
    os_close(pair[0]);
    os_close(pair[1]);
    puts("ask: ok");
    return 0;
}
