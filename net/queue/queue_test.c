// The queue node, stepped by hand with a clock of the test's own: keeping, giving, taking, expiry to the second, limits, the month.
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>

#include "net/queue/queue_internal.h"
#include "shards/base/check.h"
#include "shards/log.h"
#include "store/testdir.h"

#define SHARDS 2
#define NODE SHARDS

static int64_t wall_now_s = 1790000000; // September 2026

static int64_t wall_s(void)
{
    return wall_now_s;
}

// The shards' side: what came, as text.
struct world {
    struct testdir dir;
    struct openrelay_config config;
    struct kept_config kept;
    struct post *post;
    struct queue *queue;
    uint64_t now_ns;
    uint64_t since_ns; // of whoever fetches
    char said[4096];
    uint64_t last_number;
    uint64_t month;
    struct queue_memo memo;
};

static void open_queue(struct world *world)
{
    char error[512] = "";
    const struct queue_config config = {.kept = &world->kept,
                                        .openrelay = &world->config,
                                        .node = NODE,
                                        .shard_count = SHARDS,
                                        .batch_bytes = QUEUE_BATCH_BYTES,
                                        .wall_s = wall_s};
    world->post = post_create(SHARDS + 1, &post_limits_default);
    world->queue = queue_create(world->post, &config, error, sizeof(error));
    if (world->queue == NULL)
        fprintf(stderr, "%s\n", error);
    CHECK(world->queue != NULL);
    world->now_ns = node_now_ns(queue_node(world->queue));
}

static void close_queue(struct world *world)
{
    devices_check(&world->queue->devices);
    queue_destroy(world->queue);
    post_destroy(world->post);
}

static void world_init(struct world *world)
{
    *world = (struct world){.config = {.stop_bytes = 1000, .warn_bytes = 900, .import_file = "/nowhere"},
                            .kept = {.messages_max = 100, .bytes_max = 1 << 20, .sender_max = 1000, .total_max = 1 << 24}};
    testdir_init(&world->dir);
    world->kept.file = world->dir.file;
    open_queue(world);
}

static void world_fini(struct world *world)
{
    close_queue(world);
    testdir_fini(&world->dir);
}

__attribute__((format(printf, 2, 3))) static void say(struct world *world, const char *format, ...)
{
    va_list arguments;
    size_t used = strlen(world->said);
    va_start(arguments, format);
    vsnprintf(world->said + used, sizeof(world->said) - used, format, arguments);
    va_end(arguments);
}

static void on_batch(struct world *world, struct bytes body)
{
    struct queue_batch batch;
    size_t at = sizeof(batch);
    memcpy(&batch, body.ptr, sizeof(batch));
    world->memo = batch.memo;
    say(world, "batch%u:", batch.slot);
    for (uint32_t i = 0; i < batch.count; i++) {
        struct queue_row row;
        memcpy(&row, body.ptr + at, sizeof(row));
        say(world, "%.*s,", (int)(row.text_bytes < 8 ? row.text_bytes : 8), (const char *)body.ptr + at + sizeof(row));
        world->last_number = row.number;
        at += sizeof(row) + (row.text_bytes + 7) / 8 * 8;
    }
    CHECK(at == body.len);
    say(world, "%s ", batch.more ? "more" : "");
}

static void say_stored(struct world *world, const struct queue_stored *stored)
{
    const char *verdict = stored->verdict == QUEUE_KEPT ? "kept" : stored->verdict == QUEUE_FULL ? "full" : "failed";
    say(world, "%s%u ", verdict, stored->slot);
}

static void on_record(void *owner, const struct post_record *record)
{
    struct world *world = owner;
    if (record->kind == RECORD_QUEUE_BATCH) {
        on_batch(world, record->body);
    } else if (record->kind == RECORD_QUEUE_STORED) {
        say_stored(world, (const struct queue_stored *)(const void *)record->body.ptr);
    } else if (record->kind == RECORD_QUEUE_LOOK) {
        const struct queue_look *look = (const struct queue_look *)(const void *)record->body.ptr;
        say(world, "look%u:%u", look->slot, look->sender_shard);
        say_stored(world, &look->stored);
    } else {
        const struct queue_total *total = (const struct queue_total *)(const void *)record->body.ptr;
        CHECK(record->kind == RECORD_QUEUE_TOTAL);
        world->month = total->month;
    }
}

// A turn of the node; then what it said is compared.
static void expect(struct world *world, const char *expected)
{
    world->said[0] = '\0';
    for (uint16_t i = 0; i < SHARDS; i++)
        post_flush(world->post, i);
    world->now_ns += TIMER_TICK_NS * 8;
    (void)node_turn(queue_node(world->queue), world->now_ns, 0);
    for (uint16_t i = 0; i < SHARDS; i++)
        post_drain(world->post, i, 10000, on_record, world);
    if (strcmp(world->said, expected) != 0)
        fprintf(stderr, "said     \"%s\"\nexpected \"%s\"\n", world->said, expected);
    CHECK(strcmp(world->said, expected) == 0);
}

static struct key key_of(uint8_t number)
{
    return (struct key){.bytes = {number}};
}

static void store(struct world *world, uint16_t shard, uint32_t slot, uint8_t to, uint8_t from, uint64_t ttl_s, const char *text)
{
    const struct queue_store record = {.slot = slot, .generation = 1, .recipient = key_of(to), .sender = key_of(from), .ttl_s = ttl_s};
    post_write(world->post, shard, NODE, RECORD_QUEUE_STORE, bytes_of(&record, sizeof(record)), bytes_text(text));
}

static void fetch(struct world *world, uint16_t shard, uint32_t slot, uint8_t key, uint64_t after)
{
    const struct queue_fetch record = {.slot = slot, .generation = 1, .key = key_of(key), .since_ns = world->since_ns, .after = after};
    post_write(world->post, shard, NODE, RECORD_QUEUE_FETCH, bytes_of(&record, sizeof(record)), bytes_of(NULL, 0));
}

static void taken(struct world *world, uint8_t key, uint64_t number)
{
    const struct queue_taken record = {.key = key_of(key), .number = number};
    post_write(world->post, 0, NODE, RECORD_QUEUE_TAKEN, bytes_of(&record, sizeof(record)), bytes_of(NULL, 0));
}

static void left(struct world *world, uint16_t shard, uint32_t slot, uint8_t key, uint32_t requests)
{
    const struct queue_left record = {.slot = slot, .generation = 1, .key = key_of(key), .memo = {{5, requests}}};
    post_write(world->post, shard, NODE, RECORD_QUEUE_LEFT, bytes_of(&record, sizeof(record)), bytes_of(NULL, 0));
}

static void test_keep_and_give(void)
{
    struct world world;
    world_init(&world);
    store(&world, 0, 7, 1, 2, 300, "a");
    store(&world, 1, 8, 1, 3, 300, "b");
    expect(&world, "kept7 kept8 ");
    fetch(&world, 0, 9, 1, 0);
    expect(&world, "batch9:a,b, ");
    uint64_t upto = world.last_number;
    store(&world, 1, 8, 1, 3, 300, "c"); // it is there meanwhile
    expect(&world, "look9:1kept8 ");
    fetch(&world, 0, 9, 1, upto);
    expect(&world, "batch9:c, ");
    taken(&world, 1, upto);
    left(&world, 0, 9, 1, 0);
    expect(&world, "");
    fetch(&world, 1, 4, 1, 0); // the third was cut off
    expect(&world, "batch4:c, ");
    taken(&world, 1, world.last_number);
    fetch(&world, 1, 4, 1, 0);
    expect(&world, "batch4: ");
    CHECK(world.queue->kept_bytes == 0);
    world_fini(&world);
}

static void test_restart(void)
{
    struct world world;
    world_init(&world);
    store(&world, 0, 7, 1, 2, 300, "a");
    expect(&world, "kept7 ");
    store(&world, 0, 7, 1, 2, 300, "b"); // said nothing: may be lost
    post_flush(world.post, 0);
    close_queue(&world);
    open_queue(&world);
    CHECK(world.queue->kept_bytes == 1);
    fetch(&world, 0, 9, 1, 0);
    expect(&world, "batch9:a, ");
    store(&world, 0, 7, 1, 2, 300, "c");
    expect(&world, "look9:0kept7 ");
    fetch(&world, 0, 9, 1, world.last_number);
    expect(&world, "batch9:c, ");
    world_fini(&world);
}

static void test_expiry(void)
{
    struct world world;
    world_init(&world);
    store(&world, 0, 1, 1, 2, 10, "ten");
    store(&world, 0, 2, 1, 2, 11, "eleven");
    store(&world, 0, 3, 1, 2, UINT64_MAX, "never");
    expect(&world, "kept1 kept2 kept3 ");
    wall_now_s += 10;
    fetch(&world, 0, 9, 1, 0);
    expect(&world, "batch9:ten,eleven,never, ");
    wall_now_s += 1;
    fetch(&world, 0, 9, 1, 0);
    expect(&world, "batch9:eleven,never, ");
    wall_now_s += 1;
    expect(&world, "");
    CHECK(world.queue->devices.slab.count == 2 && world.queue->kept_bytes == 5);
    struct queue_counts counts;
    queue_counts(world.queue, &counts);
    CHECK(counts.expired == 2 && counts.kept == 3 && counts.taken == 0);
    world_fini(&world);
}

static void test_limits(void)
{
    struct world world;
    world_init(&world);
    world.kept.messages_max = 2;
    world.kept.sender_max = 3;
    world.kept.bytes_max = 10;
    world.kept.total_max = 25;
    store(&world, 0, 1, 1, 20, 300, "12345");
    store(&world, 0, 2, 1, 21, 300, "123456"); // bytes of the recipient
    store(&world, 0, 3, 1, 20, 300, "12345");
    store(&world, 0, 4, 1, 21, 300, "1"); // its count
    store(&world, 0, 5, 2, 20, 300, "1234");
    store(&world, 0, 6, 3, 20, 300, "1");           // count of the sender
    store(&world, 0, 7, 3, 21, 300, "12345678901"); // too long for any recipient
    store(&world, 0, 8, 3, 21, 300, "1234567890");
    store(&world, 0, 9, 4, 21, 300, "12"); // the whole
    store(&world, 0, 10, 4, 21, 300, "1");
    expect(&world, "full2 full4 full6 full7 full9 kept1 kept3 kept5 kept8 kept10 ");
    fetch(&world, 0, 9, 1, 0);
    expect(&world, "batch9:12345,12345, ");
    taken(&world, 1, world.last_number);
    store(&world, 0, 4, 1, 21, 300, "again");
    expect(&world, "look9:0kept4 ");
    world_fini(&world);
}

static void test_failure(void)
{
    struct world world;
    world_init(&world);
    store(&world, 0, 1, 1, 2, 300, "a");
    expect(&world, "kept1 ");
    struct rlimit old, tight = {.rlim_cur = 0};
    CHECK(getrlimit(RLIMIT_FSIZE, &old) == 0);
    tight.rlim_max = old.rlim_max;
    CHECK(setrlimit(RLIMIT_FSIZE, &tight) == 0); // no file grows any more: as a full disk
    store(&world, 0, 2, 1, 2, 300, "b");
    expect(&world, "failed2 ");
    CHECK(setrlimit(RLIMIT_FSIZE, &old) == 0);
    CHECK(world.queue->kept_bytes == 1);
    store(&world, 0, 3, 1, 2, 300, "c");
    expect(&world, "kept3 ");
    fetch(&world, 0, 9, 1, 0);
    expect(&world, "batch9:a,c, ");
    world_fini(&world);
}

static void test_batches(void)
{
    struct world world;
    static char large[100001];
    world_init(&world);
    memset(large, 'x', 100000);
    for (uint32_t i = 0; i < 3; i++)
        store(&world, 0, i, 1, 2, 300, large);
    expect(&world, "kept0 kept1 kept2 ");
    fetch(&world, 0, 9, 1, 0);
    expect(&world, "batch9:xxxxxxxx,more ");
    fetch(&world, 0, 9, 1, world.last_number + 1);
    expect(&world, "batch9:xxxxxxxx, ");
    world_fini(&world);
}

// A session that is gone before its fetch is answered: nobody is answered, and the device may be forgotten.
static void test_gone_before_the_answer(void)
{
    struct world world;
    world_init(&world);
    fetch(&world, 0, 9, 1, 0);
    left(&world, 0, 9, 1, 7);
    expect(&world, "");
    CHECK(world.queue->devices.slab.count == 1 && world.queue->devices.idle_count == 1);
    store(&world, 1, 8, 1, 3, 300, "a");
    expect(&world, "kept8 ");
    fetch(&world, 0, 9, 1, 0); // gone, and another comes
    left(&world, 0, 9, 1, 7);
    fetch(&world, 1, 4, 1, 0);
    expect(&world, "batch4:a, ");
    CHECK(world.memo.words[1] == 7);
    world_fini(&world);
}

static void test_memos(void)
{
    struct world world;
    world_init(&world);
    fetch(&world, 0, 9, 1, 0);
    expect(&world, "batch9: ");
    CHECK(world.memo.words[0] == 0 && world.memo.words[1] == 0);
    left(&world, 0, 9, 1, 42);
    left(&world, 1, 9, 1, 30); // held it before, and is told late
    fetch(&world, 1, 3, 1, 0); // in the same turn: leaving comes first
    expect(&world, "batch3: ");
    CHECK(world.memo.words[0] == 5 && world.memo.words[1] == 42);
    world_fini(&world);
}

// Two take the key in turn, and the elder's records come last.
static void test_takeover(void)
{
    struct world world;
    world_init(&world);
    world.since_ns = 20;
    fetch(&world, 0, 9, 1, 0);
    world.since_ns = 10;
    fetch(&world, 1, 8, 1, 0);
    expect(&world, "batch9: ");
    left(&world, 1, 8, 1, 7);
    store(&world, 1, 1, 1, 2, 300, "a");
    expect(&world, "look9:1kept1 ");
    left(&world, 0, 9, 1, 5);
    store(&world, 1, 1, 1, 2, 300, "b");
    expect(&world, "kept1 ");
    world.since_ns = 30;
    fetch(&world, 0, 9, 1, 0);
    expect(&world, "batch9:a,b, ");
    CHECK(world.memo.words[1] == 7);
    world_fini(&world);
}

static void spend(struct world *world, uint16_t shard, uint64_t bytes, uint64_t month)
{
    const struct queue_spent spent = {.bytes = bytes, .month = month};
    post_write(world->post, shard, NODE, RECORD_QUEUE_SPENT, bytes_of(&spent, sizeof(spent)), bytes_of(NULL, 0));
}

static uint64_t stored_bytes(struct world *world)
{
    uint64_t bytes = 0;
    uint32_t month;
    CHECK(store_queue_month_get(world->queue->store, &month, &bytes) == STORE_OK && month == world->month);
    return bytes;
}

static void test_month(void)
{
    struct world world;
    char path[320];
    world_init(&world);
    expect(&world, "");
    CHECK(world.month == queue_month(wall_now_s) && world.month == 2026 * 12 + 8);
    spend(&world, 0, 100, world.month);
    spend(&world, 1, 50, world.month);
    spend(&world, 0, 150, world.month);
    spend(&world, 1, 1000, world.month - 1); // late
    expect(&world, "");
    CHECK(stored_bytes(&world) == 200);
    close_queue(&world);
    open_queue(&world);
    expect(&world, "");
    spend(&world, 0, 1, world.month);
    expect(&world, "");
    CHECK(stored_bytes(&world) == 201);
    wall_now_s += 40 * 86400;
    expect(&world, "");
    CHECK(world.month == 2026 * 12 + 9 && stored_bytes(&world) == 0);
    close_queue(&world);
    testdir_empty(&world.dir);
    snprintf(path, sizeof(path), "%s/bandwidth_data.txt", world.dir.path);
    world.config.import_file = path;
    FILE *file = fopen(path, "w");
    CHECK(file != NULL && fputs("1000000234,10,2026", file) >= 0);
    fclose(file);
    open_queue(&world);
    expect(&world, "");
    CHECK(stored_bytes(&world) == 1000000234);
    spend(&world, 0, 1, world.month);
    expect(&world, "");
    close_queue(&world);
    open_queue(&world); // once only
    expect(&world, "");
    CHECK(stored_bytes(&world) == 1000000235);
    world_fini(&world);
}

int main(void)
{
    signal(SIGXFSZ, SIG_IGN);
    log_open(LOG_ERROR);
    test_keep_and_give();
    test_restart();
    test_expiry();
    test_limits();
    test_failure();
    test_batches();
    test_memos();
    test_takeover();
    test_gone_before_the_answer();
    test_month();
    return 0;
}
