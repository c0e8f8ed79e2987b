// Frames on their way through the crypto nodes: see internal.h. Each session has two lanes, in (decrypting) and out (encrypting); frames
// leave a lane in the order in which they came, whatever the order in which their parts come back.
#include <stdlib.h>

#include "net/backbone/internal.h"
#include "shards/base/bug.h"
#include "shards/base/check.h"

#define DECRYPT_CHUNKS_MAX 4  // 1 ms: what another session's frame waits for at most behind one part
#define ENCRYPT_CHUNKS_MAX 16 // 0.3 ms
#define DECRYPT_COST 16       // of a chunk, in those of encrypting
_Static_assert((BACKBONE_BODY_MAX / RSA_BLOCK_BYTES + DECRYPT_CHUNKS_MAX - 1) / DECRYPT_CHUNKS_MAX <= BACKBONE_PARTS_MAX, "parts fit");

static struct pool *pool_of(struct backbone_session *session)
{
    return session->backbone->shard->pool;
}

static size_t chunk_bytes(const struct backbone_lane *lane)
{
    return lane->kind == CRYPTO_DECRYPT ? RSA_BLOCK_BYTES : RSA_CHUNK_BYTES;
}

static void free_work(struct backbone_session *session, struct backbone_work *work)
{
    pool_give(pool_of(session), work->input);
    pool_give(pool_of(session), work->output);
    free(work);
}

bool backbone_lane_put(struct backbone_session *session, struct backbone_lane *lane, struct bytes head, struct bytes tail, bool is_data)
{
    size_t len = head.len + tail.len;
    size_t chunks = (len + chunk_bytes(lane) - 1) / chunk_bytes(lane);
    size_t workers = session->backbone->shared->worker_count;
    CHECK(len > 0 && len <= BACKBONE_BODY_MAX && workers > 0);
    struct backbone_work *work = calloc(1, sizeof(*work));
    if (work == NULL)
        return false;
    work->input = pool_take(pool_of(session), len);
    if (lane->kind == CRYPTO_ENCRYPT)
        work->output = pool_take(pool_of(session), BACKBONE_HEAD_BYTES + chunks * RSA_BLOCK_BYTES);
    if (work->input == NULL || (lane->kind == CRYPTO_ENCRYPT && work->output == NULL)) {
        free_work(session, work);
        return false;
    }
    memcpy(work->input->data, head.ptr, head.len);
    if (tail.len > 0)
        memcpy(work->input->data + head.len, tail.ptr, tail.len);
    work->input->end = (uint32_t)len;
    if (work->output != NULL) {
        backbone_put_u16(work->output->data, chunks * RSA_BLOCK_BYTES);
        work->output->end = (uint32_t)(BACKBONE_HEAD_BYTES + chunks * RSA_BLOCK_BYTES);
    }
    size_t most = lane->kind == CRYPTO_DECRYPT ? DECRYPT_CHUNKS_MAX : ENCRYPT_CHUNKS_MAX;
    size_t even = lane->kind == CRYPTO_DECRYPT ? (chunks + workers - 1) / workers : most;
    work->part_chunks = (uint16_t)(even < most ? even : most);
    work->parts = (uint16_t)((chunks + work->part_chunks - 1) / work->part_chunks);
    work->is_data = is_data;
    CHECK(work->parts <= BACKBONE_PARTS_MAX);
    if (lane->tail != NULL)
        lane->tail->next = work;
    else
        lane->head = work;
    lane->tail = work;
    if (lane->giving == NULL)
        lane->giving = work;
    lane->frames++;
    lane->bytes += len;
    return true;
}

struct backbone_work *backbone_lane_ready(const struct backbone_lane *lane)
{
    return lane->head != NULL && lane->head->parts_back == lane->head->parts ? lane->head : NULL;
}

// The parts lie where their ciphertext began; they are moved together once.
struct bytes backbone_lane_plain(struct backbone_work *work)
{
    struct block *block = work->input;
    size_t len = 0;
    for (size_t part = 0; part < work->parts; part++) {
        size_t from = part * work->part_chunks * RSA_BLOCK_BYTES;
        CHECK(from >= len);
        memmove(block->data + len, block->data + from, work->part_bytes[part]);
        len += work->part_bytes[part];
    }
    work->parts = work->parts_back = work->parts_given = 1; // asked again, it is in one piece
    work->part_bytes[0] = (uint16_t)len;
    return bytes_of(block->data, len);
}

void backbone_lane_drop(struct backbone_session *session, struct backbone_lane *lane)
{
    struct backbone_work *work = lane->head;
    CHECK(work != NULL && lane->giving != work && work->parts_back == work->parts_given);
    lane->head = work->next;
    if (lane->head == NULL)
        lane->tail = NULL;
    lane->frames--;
    lane->bytes -= work->input->end;
    free_work(session, work);
}

// ---- to the crypto nodes ----

static uint16_t least_loaded(const struct backbone *backbone)
{
    uint16_t least = 0;
    for (uint16_t i = 1; i < backbone->shared->worker_count; i++)
        if (backbone->load[i] < backbone->load[least])
            least = i;
    return least;
}

static void give(struct backbone_session *session, struct crypto_task *task, struct bytes bytes)
{
    struct backbone *backbone = session->backbone;
    struct shard *shard = backbone->shard;
    uint16_t worker = least_loaded(backbone);
    task->session = session;
    task->peer = &session->peer;
    session->tasks++;
    backbone->tasks++;
    backbone->logins += task->kind == CRYPTO_LOGIN;
    backbone->load[worker] += task->cost;
    shard->metrics.crypto_tasks++;
    post_write(shard->shared->post, shard->index, (uint16_t)(backbone->shared->worker_first + worker), RECORD_CRYPTO,
               bytes_of(task, sizeof(*task)), bytes);
}

static void give_part(struct backbone_session *session, struct backbone_lane *lane, struct backbone_work *work)
{
    size_t step = work->part_chunks * chunk_bytes(lane);
    size_t from = work->parts_given * step;
    size_t len = work->input->end - from < step ? work->input->end - from : step;
    size_t chunks = (len + chunk_bytes(lane) - 1) / chunk_bytes(lane);
    struct crypto_task task = {.work = work, .part = work->parts_given, .kind = (uint8_t)lane->kind};
    task.cost = (uint16_t)(chunks * (lane->kind == CRYPTO_DECRYPT ? DECRYPT_COST : 1));
    work->parts_given++;
    lane->tasks++;
    give(session, &task, bytes_of(work->input->data + from, len));
}

// A session that has to wait stands in a line once; lines are served in order as tasks come back.
static void stand_in_line(struct backbone_session *session, struct backbone_line *line)
{
    if (session->in_line)
        return;
    session->in_line = true;
    session->next_waiting = NULL;
    if (line->tail != NULL)
        line->tail->next_waiting = session;
    else
        line->head = session;
    line->tail = session;
    session->backbone->shard->metrics.crypto_waits++;
}

// false: the crypto nodes have as much as they may have.
static bool pump_lane(struct backbone_session *session, struct backbone_lane *lane)
{
    while (lane->giving != NULL && lane->tasks < BACKBONE_LANE_TASKS_MAX) {
        if (session->backbone->tasks >= session->backbone->shared->tasks_max)
            return false;
        struct backbone_work *work = lane->giving;
        give_part(session, lane, work);
        if (work->parts_given == work->parts)
            lane->giving = work->next;
    }
    return true;
}

static bool pump_login(struct backbone_session *session)
{
    struct backbone *backbone = session->backbone;
    if (backbone->logins >= backbone->shared->logins_max || backbone->tasks >= backbone->shared->tasks_max)
        return false;
    struct block *both = session->challenge;
    uint32_t challenge_bytes = backbone->shared->challenge_bytes;
    struct crypto_task task = {.kind = CRYPTO_LOGIN, .challenge_len = challenge_bytes};
    task.cost = (uint16_t)((both->end - challenge_bytes) / RSA_BLOCK_BYTES * DECRYPT_COST);
    session->login_due = false;
    give(session, &task, bytes_of(both->data, both->end));
    return true;
}

void backbone_pump(struct backbone_session *session)
{
    struct backbone *backbone = session->backbone;
    if (session->login_due && !pump_login(session))
        stand_in_line(session, &backbone->login_line);
    if (session->check_due && backbone->tasks < backbone->shared->tasks_max) {
        struct crypto_task task = {.kind = CRYPTO_CHECK, .cost = 1};
        memcpy(task.id, session->id, sizeof(task.id));
        session->check_due = false;
        give(session, &task, bytes_of(session->peer.der, session->peer.der_len));
    }
    if (session->known_due && backbone->tasks < BACKBONE_TASKS_MAX) {
        struct crypto_task task = {.kind = CRYPTO_KNOWN, .cost = 1};
        memcpy(task.id, session->sent[0].id, sizeof(task.id));
        session->known_due = false;
        give(session, &task, bytes_of(NULL, 0));
    }
    bool given = pump_lane(session, &session->out) && pump_lane(session, &session->in);
    if (!given || session->check_due || session->known_due)
        stand_in_line(session, &backbone->line);
}

static bool pump_first(struct backbone_line *line)
{
    struct backbone_session *session = line->head;
    if (session == NULL)
        return false;
    line->head = session->next_waiting;
    if (line->head == NULL)
        line->tail = NULL;
    session->in_line = false;
    backbone_pump(session);
    backbone_session_settle(session);
    return true;
}

void backbone_pump_lines(struct backbone *backbone)
{
    while (backbone->logins < backbone->shared->logins_max && backbone->tasks < backbone->shared->tasks_max &&
           pump_first(&backbone->login_line)) {
    }
    while (backbone->tasks < backbone->shared->tasks_max && pump_first(&backbone->line)) {
    }
}

void backbone_lane_back(struct backbone_session *session, const struct crypto_task *task, struct bytes result)
{
    struct backbone_lane *lane = task->kind == CRYPTO_DECRYPT ? &session->in : &session->out;
    struct backbone_work *work = task->work;
    CHECK(lane->tasks > 0 && work->parts_back < work->parts_given && task->part < work->parts_given);
    lane->tasks--;
    work->parts_back++;
    work->is_broken = work->is_broken || !task->is_sound;
    size_t part = BUG(51) ? work->parts_back - 1u : task->part;
    work->part_bytes[part] = (uint16_t)result.len;
    size_t place = part * work->part_chunks * RSA_BLOCK_BYTES;
    uint8_t *target = lane->kind == CRYPTO_DECRYPT ? work->input->data + place : work->output->data + BACKBONE_HEAD_BYTES + place;
    if (task->is_sound && result.len > 0)
        memcpy(target, result.ptr, result.len);
}
