// Lanes with crypto nodes that answer in random order: frames leave whole and in order, limits hold, and nobody starves in the line.
// The "ciphertext" of a chunk is the chunk itself, shortened to what a block may hold, so no RSA is needed.
#include <stdio.h>
#include <stdlib.h>

#include "net/backbone/internal.h"
#include "net/split_test.h"
#include "shards/base/check.h"

#define WORKERS 3
#define HELD_MAX 4096
#define FRAMES 60

struct held {
    struct crypto_task task;
    uint16_t worker;
    size_t len;
    uint8_t bytes[BACKBONE_PARTS_MAX * RSA_BLOCK_BYTES];
};

static struct held *held[HELD_MAX];
static size_t held_count;
static uint32_t seed = 1;
static struct backbone_shared config = {
    .worker_first = 1, .worker_count = WORKERS, .tasks_max = BACKBONE_TASKS_MAX, .logins_max = BACKBONE_LOGINS_MAX};
static struct shard_shared shared = {.shard_count = 1};
static struct shard shard = {.shared = &shared};

static void nobody(void *owner, const struct post_record *record)
{
    (void)owner;
    (void)record;
}

static void on_task(void *owner, const struct post_record *record)
{
    struct held *one = malloc(sizeof(*one));
    CHECK(one != NULL && held_count < HELD_MAX && record->kind == RECORD_CRYPTO);
    memcpy(&one->task, record->body.ptr, sizeof(one->task));
    one->worker = *(const uint16_t *)owner;
    one->len = record->body.len - sizeof(one->task);
    CHECK(one->len <= sizeof(one->bytes));
    memcpy(one->bytes, record->body.ptr + sizeof(one->task), one->len);
    held[held_count++] = one;
}

static void collect(void)
{
    post_flush(shared.post, 0);
    for (uint16_t worker = 0; worker < WORKERS; worker++)
        post_drain(shared.post, (uint16_t)(1 + worker), HELD_MAX, on_task, &worker);
}

// What a crypto node would answer: of each block its first 190 bytes; or each chunk in a block of its own.
static size_t work_off(const struct held *one, uint8_t *out)
{
    bool opens = one->task.kind == CRYPTO_DECRYPT;
    size_t from = opens ? RSA_BLOCK_BYTES : RSA_CHUNK_BYTES, to = opens ? RSA_CHUNK_BYTES : RSA_BLOCK_BYTES, len = 0;
    for (size_t at = 0; at < one->len; at += from, len += to) {
        size_t part = one->len - at < RSA_CHUNK_BYTES ? one->len - at : RSA_CHUNK_BYTES;
        memset(out + len, 0, to);
        memcpy(out + len, one->bytes + at, part);
    }
    return len;
}

// Gives back one task, any of those under way.
static void give_back(struct backbone *backbone)
{
    static uint8_t out[2 * BACKBONE_PARTS_MAX * RSA_BLOCK_BYTES];
    collect();
    CHECK(held_count > 0);
    size_t which = split_random(&seed) % held_count;
    struct held *one = held[which];
    held[which] = held[--held_count];
    struct backbone_session *session = one->task.session;
    one->task.is_sound = true;
    size_t len = work_off(one, out);
    session->tasks--;
    backbone->tasks--;
    backbone->load[one->worker] -= one->task.cost;
    backbone_lane_back(session, &one->task, bytes_of(out, len));
    backbone_pump(session);
    backbone_pump_lines(backbone);
    free(one);
}

static uint8_t byte_of(size_t frame, size_t at)
{
    return (uint8_t)(frame * 31 + at * 7 + at / 256);
}

static void put(struct backbone_session *session, struct backbone_lane *lane, size_t frame, size_t len)
{
    static uint8_t bytes[BACKBONE_BODY_MAX];
    for (size_t i = 0; i < len; i++)
        bytes[i] = byte_of(frame, i);
    size_t head = len / 3;
    CHECK(backbone_lane_put(session, lane, bytes_of(bytes, head), bytes_of(bytes + head, len - head), false));
}

static size_t plain_at(size_t i, size_t in_unit, size_t out_unit)
{
    return i / out_unit * in_unit + i % out_unit;
}

// Frames of all sizes; whatever the order of the answers, they leave in theirs, byte for byte.
static void test_order(struct backbone *backbone, struct backbone_session *session, struct backbone_lane *lane)
{
    size_t lens[FRAMES], left = 0;
    bool opens = lane->kind == CRYPTO_DECRYPT;
    size_t unit = opens ? RSA_BLOCK_BYTES : RSA_CHUNK_BYTES;
    for (size_t i = 0; i < FRAMES; i++) {
        lens[i] = unit * (1 + split_random(&seed) % (i % 10 == 0 ? 255 : 6)) - (opens ? 0 : split_random(&seed) % 190);
        put(session, lane, i, lens[i]);
    }
    backbone_pump(session);
    while (left < FRAMES) {
        struct backbone_work *work = backbone_lane_ready(lane);
        CHECK(lane->tasks <= BACKBONE_LANE_TASKS_MAX && session->tasks == lane->tasks && lane->frames == FRAMES - left);
        if (work == NULL) {
            give_back(backbone);
            continue;
        }
        if (opens) {
            struct bytes plain = backbone_lane_plain(work);
            CHECK(plain.len == lens[left] / RSA_BLOCK_BYTES * RSA_CHUNK_BYTES && bytes_equal(plain, backbone_lane_plain(work)));
            for (size_t i = 0; i < plain.len; i++)
                CHECK(plain.ptr[i] == byte_of(left, plain_at(i, RSA_BLOCK_BYTES, RSA_CHUNK_BYTES)));
        } else {
            const struct block *output = work->output;
            CHECK(output->end == BACKBONE_HEAD_BYTES + rsa_cipher_bytes(lens[left]));
            CHECK(backbone_frame_bytes(bytes_of(output->data, output->end)) == output->end);
            for (size_t i = 0; i < lens[left]; i++)
                CHECK(output->data[BACKBONE_HEAD_BYTES + plain_at(i, RSA_BLOCK_BYTES, RSA_CHUNK_BYTES)] == byte_of(left, i));
        }
        backbone_lane_drop(session, lane);
        left++;
    }
    CHECK(lane->head == NULL && lane->bytes == 0 && held_count == 0 && backbone->tasks == 0);
    for (size_t i = 0; i < WORKERS; i++)
        CHECK(backbone->load[i] == 0);
}

// More than the shard may have under way: sessions wait in line, the limit holds, and each gets its turn.
static void test_line(struct backbone *backbone)
{
    enum { SESSIONS = BACKBONE_TASKS_MAX / BACKBONE_LANE_TASKS_MAX + 20 };
    struct backbone_session *sessions[SESSIONS];
    struct conn conn = {.shard = &shard};
    for (size_t i = 0; i < SESSIONS; i++) {
        sessions[i] = backbone_session_create(backbone, &conn);
        CHECK(sessions[i] != NULL);
        put(sessions[i], &sessions[i]->in, i, 100 * RSA_BLOCK_BYTES);
        backbone_pump(sessions[i]);
        CHECK(backbone->tasks <= BACKBONE_TASKS_MAX);
    }
    CHECK(backbone->tasks == BACKBONE_TASKS_MAX && backbone->line.head != NULL && sessions[SESSIONS - 1]->tasks == 0);
    bool all = false;
    while (!all) {
        give_back(backbone);
        all = true;
        for (size_t i = 0; i < SESSIONS; i++)
            all = all && backbone_lane_ready(&sessions[i]->in) != NULL;
    }
    CHECK(backbone->line.head == NULL && backbone->tasks == 0);
    for (size_t i = 0; i < SESSIONS; i++) {
        CHECK(!sessions[i]->in_line);
        backbone_lane_drop(sessions[i], &sessions[i]->in);
        backbone_session_over(sessions[i]);
    }
}

int main(void)
{
    shared.post = post_create(1 + WORKERS, &post_limits_default);
    shard.pool = pool_create(256u << 20);
    CHECK(shared.post != NULL && shard.pool != NULL);
    const struct node_owner owner = {.owner = &shard, .on_record = nobody};
    shard.node = node_create(shared.post, 0, &owner, 1);
    struct backbone *backbone = backbone_create(&shard, &config);
    struct conn conn = {.shard = &shard};
    struct backbone_session *session = backbone_session_create(backbone, &conn);
    CHECK(shard.node != NULL && session != NULL);
    for (int round = 0; round < 20; round++) {
        test_order(backbone, session, &session->in);
        test_order(backbone, session, &session->out);
    }
    test_line(backbone);
    backbone_session_over(session);
    CHECK(backbone->sessions == NULL && pool_bytes_in_use(shard.pool) == 0);
    backbone_destroy(backbone);
    node_destroy(shard.node);
    pool_destroy(shard.pool);
    post_destroy(shared.post);
    puts("lane: ok");
    return 0;
}
