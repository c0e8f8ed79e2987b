// The queue node: see queue.h. A turn takes its records first, then commits once, then answers, then serves fetches.
#include "net/queue/queue.h"

#include <stdio.h>
#include <stdlib.h>

#include "net/queue/month.h"
#include "net/queue/queue_internal.h"
#include "shards/base/bug.h"
#include "shards/base/check.h"
#include "shards/log.h"
#include "shards/os.h"

#define EXPIRE_INTERVAL_NS 500000000ull
#define TTL_S_MAX (100ull * 366 * 86400)
#define IDLE_DEVICES_MAX 65536

static const struct handle nobody;

static void answer(struct queue *queue, uint16_t shard, uint16_t kind, const void *record, size_t len)
{
    post_write(queue->post, queue->config.node, shard, kind, bytes_of(record, len), bytes_of(NULL, 0));
}

// Once on the way into failing and once on the way out.
void queue_note(struct queue *queue, enum store_result result)
{
    bool fails = result == STORE_FAILED;
    if (fails == queue->is_failing)
        return;
    queue->is_failing = fails;
    struct log_value buffer;
    if (fails)
        LOG(ERROR, "QUEUE_FAILED", "reason=%s", log_value(store_queue_error(queue->store), &buffer));
    else
        LOG(INFO, "QUEUE_RECOVERED", "failed=%llu", (unsigned long long)queue->counts.failed);
}

// ---- counts of what is kept ----

static void count_in(struct queue *queue, const struct key *recipient, const struct key *sender, uint64_t bytes)
{
    uint32_t to = devices_get(&queue->devices, recipient);
    struct device *device = devices_at(&queue->devices, to);
    device->kept_count++;
    device->kept_bytes += bytes;
    devices_settle(&queue->devices, to);
    uint32_t from = devices_get(&queue->devices, sender);
    devices_at(&queue->devices, from)->sent_count++;
    devices_settle(&queue->devices, from);
    queue->kept_bytes += bytes;
}

static void count_out(struct queue *queue, const struct store_queue_row *row)
{
    struct key recipient, sender;
    memcpy(recipient.bytes, row->recipient, KEY_BYTES);
    memcpy(sender.bytes, row->sender, KEY_BYTES);
    uint32_t to = devices_find(&queue->devices, &recipient);
    CHECK(to != SLAB_NONE);
    struct device *device = devices_at(&queue->devices, to);
    CHECK(device->kept_count > 0 && device->kept_bytes >= row->text_bytes && queue->kept_bytes >= row->text_bytes);
    device->kept_count--;
    device->kept_bytes -= row->text_bytes;
    devices_settle(&queue->devices, to);
    uint32_t from = devices_find(&queue->devices, &sender);
    CHECK(from != SLAB_NONE && devices_at(&queue->devices, from)->sent_count > 0);
    devices_at(&queue->devices, from)->sent_count--;
    devices_settle(&queue->devices, from);
    queue->kept_bytes -= row->text_bytes;
}

static bool count_row(void *owner, const struct store_queue_row *row)
{
    struct queue *queue = owner;
    struct key recipient, sender;
    memcpy(recipient.bytes, row->recipient, KEY_BYTES);
    memcpy(sender.bytes, row->sender, KEY_BYTES);
    count_in(queue, &recipient, &sender, row->text_bytes);
    if (row->number >= queue->next_number)
        queue->next_number = row->number + 1;
    return true;
}

static bool uncount_row(void *owner, const struct store_queue_row *row)
{
    count_out(owner, row);
    return true;
}

// After a transaction that came to nothing the memory is wrong and the file is right.
static void recount(struct queue *queue)
{
    uint32_t *indices = malloc(queue->devices.table.count * sizeof(*indices) + 1);
    uint32_t position = 0, count = 0, index;
    CHECK(indices != NULL);
    while (table_each(&queue->devices.table, &position, &index)) {
        struct device *device = devices_at(&queue->devices, index);
        device->kept_count = device->sent_count = 0;
        device->kept_bytes = 0;
        indices[count++] = index;
    }
    queue->kept_bytes = 0;
    queue_note(queue, store_queue_each(queue->store, count_row, queue));
    while (count > 0)
        devices_settle(&queue->devices, indices[--count]);
    free(indices);
}

// ---- keeping ----

static bool has_room(const struct queue *queue, const struct queue_store *store, uint64_t bytes)
{
    const struct kept_config *limits = queue->config.kept;
    uint32_t to = devices_find(&queue->devices, &store->recipient);
    uint32_t from = devices_find(&queue->devices, &store->sender);
    const struct device *recipient = to != SLAB_NONE ? devices_at(&queue->devices, to) : NULL;
    if (recipient != NULL && (recipient->kept_count >= limits->messages_max || recipient->kept_bytes + bytes > limits->bytes_max))
        return false;
    if (from != SLAB_NONE && devices_at(&queue->devices, from)->sent_count >= limits->sender_max)
        return false;
    return bytes <= limits->bytes_max && queue->kept_bytes + bytes <= limits->total_max;
}

static void answer_store(struct queue *queue, const struct waiting_store *waiting, enum queue_verdict verdict, struct handle holder)
{
    const struct queue_stored stored = {
        .slot = waiting->sender.slot, .generation = waiting->sender.generation, .verdict = verdict, .text_bytes = waiting->text_bytes};
    if (handle_is_none(holder)) {
        answer(queue, waiting->sender.shard, RECORD_QUEUE_STORED, &stored, sizeof(stored));
        return;
    }
    const struct queue_look look = {
        .slot = holder.slot, .generation = holder.generation, .sender_shard = waiting->sender.shard, .stored = stored};
    answer(queue, holder.shard, RECORD_QUEUE_LOOK, &look, sizeof(look));
}

static void commit(struct queue *queue)
{
    enum store_result result = store_queue_commit(queue->store);
    queue_note(queue, result);
    if (result == STORE_FAILED) {
        store_queue_rollback(queue->store);
        recount(queue);
        queue->month_unsaved = true;
    }
    queue->counts.commits++;
    for (uint32_t i = 0; i < queue->waiting_count; i++) {
        const struct waiting_store *waiting = &queue->waiting[i];
        queue->counts.kept += result == STORE_OK;
        queue->counts.failed += result != STORE_OK;
        const struct handle holder = result == STORE_OK ? devices_at(&queue->devices, waiting->recipient)->holder : nobody;
        answer_store(queue, waiting, result == STORE_OK ? QUEUE_KEPT : QUEUE_FAILED, holder);
    }
    queue->waiting_count = 0;
    queue->is_open = false;
}

static void on_store(struct queue *queue, const struct post_record *record)
{
    CHECK(record->body.len > sizeof(struct queue_store));
    const struct queue_store *store = (const struct queue_store *)(const void *)record->body.ptr;
    struct bytes text = bytes_of(record->body.ptr + sizeof(*store), record->body.len - sizeof(*store));
    struct waiting_store waiting = {.sender = {.shard = record->from, .slot = store->slot, .generation = store->generation},
                                    .text_bytes = text.len};
    if (!has_room(queue, store, text.len)) {
        queue->counts.refused++;
        answer_store(queue, &waiting, QUEUE_FULL, nobody);
        return;
    }
    uint64_t ttl_s = store->ttl_s < TTL_S_MAX ? store->ttl_s : TTL_S_MAX;
    const struct store_queue_row row = {.number = queue->next_number++,
                                        .recipient = store->recipient.bytes,
                                        .sender = store->sender.bytes,
                                        .expires_s = queue->config.wall_s() + (int64_t)ttl_s + BUG(36),
                                        .text_bytes = text.len,
                                        .text = text};
    enum store_result result = store_queue_add(queue->store, &row);
    queue->is_open = true;
    if (result != STORE_OK) { // the others of this turn may still be committed, or fail there
        queue_note(queue, result);
        queue->counts.failed++;
        answer_store(queue, &waiting, QUEUE_FAILED, nobody);
        return;
    }
    count_in(queue, &store->recipient, &store->sender, text.len);
    waiting.recipient = devices_find(&queue->devices, &store->recipient);
    queue->waiting[queue->waiting_count++] = waiting;
    if (queue->waiting_count == QUEUE_WAITING_MAX)
        commit(queue);
}

// ---- giving ----

static void on_fetch(struct queue *queue, const struct post_record *record)
{
    const struct queue_fetch *fetch = (const struct queue_fetch *)(const void *)record->body.ptr;
    CHECK(record->body.len == sizeof(*fetch) && fetch->generation != 0);
    uint32_t index = devices_get(&queue->devices, &fetch->key);
    struct device *device = devices_at(&queue->devices, index);
    if (fetch->since_ns < device->since_ns && !BUG(39))
        return; // it has lost the key since, and awaits no answer
    device->holder = (struct handle){.shard = record->from, .slot = fetch->slot, .generation = fetch->generation};
    device->since_ns = fetch->since_ns;
    device->fetch_after = fetch->after;
    if (!device->fetches) {
        device->fetches = true;
        device->fetch_next = SLAB_NONE;
        if (queue->fetch_last != SLAB_NONE)
            devices_at(&queue->devices, queue->fetch_last)->fetch_next = index;
        else
            queue->fetch_first = index;
        queue->fetch_last = index;
    }
    devices_settle(&queue->devices, index);
}

struct batch {
    struct queue *queue;
    struct queue_batch head;
};

static bool add_to_batch(void *owner, const struct store_queue_row *row)
{
    struct batch *batch = owner;
    struct queue *queue = batch->queue;
    size_t need = sizeof(struct queue_row) + (row->text.len + 7) / 8 * 8;
    if (batch->head.count > 0 && (queue->batch_used + need > queue->config.batch_bytes || batch->head.count == QUEUE_BATCH_ROWS_MAX)) {
        batch->head.more = 1;
        return false;
    }
    if (queue->batch_used + need > queue->batch_capacity) {
        uint8_t *bigger = realloc(queue->batch, queue->batch_used + need);
        if (bigger == NULL) {
            batch->head.more = 1;
            return false;
        }
        queue->batch = bigger;
        queue->batch_capacity = queue->batch_used + need;
    }
    const struct queue_row head = {.number = row->number, .text_bytes = row->text.len};
    memcpy(queue->batch + queue->batch_used, &head, sizeof(head));
    memcpy(queue->batch + queue->batch_used + sizeof(head), row->text.ptr, row->text.len);
    queue->batch_used += need;
    batch->head.count++;
    return true;
}

static void serve(struct queue *queue, struct device *device)
{
    struct batch batch = {.queue = queue,
                          .head = {.slot = device->holder.slot, .generation = device->holder.generation, .memo = device->memo}};
    queue->batch_used = 0;
    if (device->kept_count > 0) {
        enum store_result result =
            store_queue_read(queue->store, device->key.bytes, device->fetch_after, queue->config.wall_s(), add_to_batch, &batch);
        queue_note(queue, result);
        if (result != STORE_OK)
            batch.head.more = 1;
    }
    queue->counts.given += batch.head.count;
    post_write(queue->post, queue->config.node, device->holder.shard, RECORD_QUEUE_BATCH, bytes_of(&batch.head, sizeof(batch.head)),
               bytes_of(queue->batch, queue->batch_used));
    if (queue->batch_capacity > 4 * QUEUE_BATCH_BYTES) {
        free(queue->batch);
        queue->batch = NULL;
        queue->batch_capacity = 0;
    }
}

// While a shard lags behind, fetches wait here: one word each.
static void serve_fetches(struct queue *queue, uint64_t now_ns)
{
    while (queue->fetch_first != SLAB_NONE) {
        uint32_t index = queue->fetch_first;
        struct device *device = devices_at(&queue->devices, index);
        bool awaited = !handle_is_none(device->holder);
        if (awaited && post_is_full(queue->post, queue->config.node, device->holder.shard)) {
            timer_set(node_timers(queue->node), &queue->retry_timer, now_ns + 1);
            return;
        }
        queue->fetch_first = device->fetch_next;
        if (queue->fetch_first == SLAB_NONE)
            queue->fetch_last = SLAB_NONE;
        device->fetches = false;
        if (awaited)
            serve(queue, device);
        devices_settle(&queue->devices, index);
    }
}

static void retry_on_time(struct timer *timer, uint64_t now_ns)
{
    (void)timer; // to have a turn is all
    (void)now_ns;
}

static void on_taken(struct queue *queue, const struct post_record *record)
{
    const struct queue_taken *taken = (const struct queue_taken *)(const void *)record->body.ptr;
    CHECK(record->body.len == sizeof(*taken));
    uint64_t before = queue->kept_bytes;
    uint32_t index = devices_find(&queue->devices, &taken->key);
    uint32_t count = index != SLAB_NONE ? devices_at(&queue->devices, index)->kept_count : 0;
    if (count == 0)
        return;
    enum store_result result = store_queue_upto(queue->store, taken->key.bytes, taken->number, uncount_row, queue);
    if (result == STORE_OK)
        result = store_queue_delete_upto(queue->store, taken->key.bytes, taken->number);
    queue->is_open = queue->is_open || result == STORE_OK;
    if (result != STORE_OK) { // it stays, is given again one day, and message_id tells the client
        queue_note(queue, result);
        recount(queue);
        return;
    }
    CHECK(queue->kept_bytes <= before);
    index = devices_find(&queue->devices, &taken->key);
    queue->counts.taken += count - (index != SLAB_NONE ? devices_at(&queue->devices, index)->kept_count : 0);
}

static bool is_greater(const struct queue_memo *a, const struct queue_memo *b)
{
    return a->words[0] != b->words[0] ? a->words[0] > b->words[0] : a->words[1] > b->words[1];
}

static void on_left(struct queue *queue, const struct post_record *record)
{
    const struct queue_left *left = (const struct queue_left *)(const void *)record->body.ptr;
    CHECK(record->body.len == sizeof(*left));
    uint32_t index = devices_find(&queue->devices, &left->key);
    if (index == SLAB_NONE)
        return;
    struct device *device = devices_at(&queue->devices, index);
    struct handle handle = {.shard = record->from, .slot = left->slot, .generation = left->generation};
    if (is_greater(&left->memo, &device->memo) && !BUG(43))
        device->memo = left->memo;
    if (handle_equal(device->holder, handle) || BUG(34)) // else somebody else has entered since
        device->holder = nobody;
    devices_settle(&queue->devices, index);
}

// ---- time ----

static bool note_expired(void *owner, const struct store_queue_row *row)
{
    struct queue *queue = owner;
    queue->expired[queue->expired_count++] = row->number;
    count_out(queue, row);
    return true;
}

static void expire(struct queue *queue)
{
    queue->expired_count = 0;
    enum store_result result = store_queue_expired(queue->store, queue->config.wall_s(), QUEUE_EXPIRED_MAX, note_expired, queue);
    for (uint32_t i = 0; i < queue->expired_count && result == STORE_OK; i++) {
        result = store_queue_delete(queue->store, queue->expired[i]);
        queue->is_open = true;
    }
    queue->counts.expired += queue->expired_count;
    if (result == STORE_OK)
        return;
    queue_note(queue, result);
    recount(queue);
}

static void on_time(struct timer *timer, uint64_t now_ns)
{
    struct queue *queue = (struct queue *)(void *)((char *)timer - offsetof(struct queue, timer));
    expire(queue);
    month_on_time(queue);
    timer_set(node_timers(queue->node), timer, queue->expired_count == QUEUE_EXPIRED_MAX ? now_ns + 1 : now_ns + EXPIRE_INTERVAL_NS);
}

// ---- the node ----

static void on_record(void *owner, const struct post_record *record)
{
    struct queue *queue = owner;
    switch (record->kind) {
    case RECORD_QUEUE_STORE:
        on_store(queue, record);
        break;
    case RECORD_QUEUE_FETCH:
        on_fetch(queue, record);
        break;
    case RECORD_QUEUE_TAKEN:
        on_taken(queue, record);
        break;
    case RECORD_QUEUE_LEFT:
        on_left(queue, record);
        break;
    case RECORD_QUEUE_SPENT:
        month_on_spent(queue, record);
        break;
    case RECORD_STOP:
        queue->is_stopping = true;
        break;
    case RECORD_STOPPED:
        queue->shards_stopped++;
        CHECK(queue->shards_stopped <= queue->config.shard_count);
        break;
    default:
        UNREACHABLE();
    }
}

static void on_turn(void *owner, uint64_t now_ns)
{
    struct queue *queue = owner;
    bool stops = queue->is_stopping && queue->shards_stopped == queue->config.shard_count;
    if (stops)
        month_store(queue);
    if (queue->is_open)
        commit(queue);
    serve_fetches(queue, now_ns);
    month_tell(queue);
    if (stops)
        node_stop(queue->node);
}

static bool prepare(struct queue *queue, char *error_text, size_t error_max)
{
    const struct kept_config *kept = queue->config.kept;
    queue->store = store_queue_open(kept->memory ? NULL : kept->file, error_text, error_max);
    if (queue->store == NULL)
        return false;
    snprintf(error_text, error_max, "queue: not enough memory or descriptors");
    if (store_queue_each(queue->store, count_row, queue) != STORE_OK || !month_load(queue)) {
        snprintf(error_text, error_max, "queue %s: %s", kept->file, store_queue_error(queue->store));
        return false;
    }
    const struct node_owner owner = {.owner = queue, .on_record = on_record, .on_turn = on_turn};
    queue->node = node_create(queue->post, queue->config.node, &owner, os_now_ns());
    if (queue->node == NULL)
        return false;
    queue->timer.on_time = on_time;
    queue->retry_timer.on_time = retry_on_time;
    timer_set(node_timers(queue->node), &queue->timer, node_now_ns(queue->node));
    return true;
}

struct queue *queue_create(struct post *post, const struct queue_config *config, char *error_text, size_t error_max)
{
    CHECK(config->batch_bytes > 0 && config->node < post_node_count(post) && config->shard_count <= config->node && config->wall_s != NULL);
    struct queue *queue = calloc(1, sizeof(*queue) + config->shard_count * sizeof(queue->spent[0]));
    if (queue == NULL) {
        snprintf(error_text, error_max, "queue: not enough memory");
        return NULL;
    }
    queue->post = post;
    queue->config = *config;
    queue->next_number = 1;
    queue->fetch_first = queue->fetch_last = SLAB_NONE;
    devices_init(&queue->devices, IDLE_DEVICES_MAX);
    if (prepare(queue, error_text, error_max))
        return queue;
    queue_destroy(queue);
    return NULL;
}

void queue_run(struct queue *queue)
{
    node_run(queue->node);
}

void queue_destroy(struct queue *queue)
{
    if (queue == NULL)
        return;
    if (queue->node != NULL) {
        timer_unset(node_timers(queue->node), &queue->timer);
        timer_unset(node_timers(queue->node), &queue->retry_timer);
    }
    node_destroy(queue->node);
    devices_fini(&queue->devices);
    store_queue_close(queue->store);
    free(queue->batch);
    free(queue);
}

struct node *queue_node(struct queue *queue)
{
    return queue->node;
}

void queue_counts(const struct queue *queue, struct queue_counts *ret_counts)
{
    *ret_counts = queue->counts;
    ret_counts->forgotten = queue->devices.forgotten;
}
