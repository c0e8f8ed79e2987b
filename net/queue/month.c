// The month's bytes: see month.h.
#include "net/queue/month.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "shards/base/check.h"
#include "shards/log.h"

uint32_t queue_month(int64_t wall_s)
{
    struct tm tm;
    time_t time = (time_t)wall_s;
    CHECK(gmtime_r(&time, &tm) != NULL && tm.tm_year >= 0);
    return (uint32_t)(tm.tm_year + 1900) * 12 + (uint32_t)tm.tm_mon;
}

static uint64_t total(const struct queue *queue)
{
    uint64_t sum = queue->month_base_bytes;
    for (uint16_t i = 0; i < queue->config.shard_count; i++)
        sum += queue->spent[i];
    return sum;
}

// "bytes,month,year": three parts; one that is no number keeps its default, as the original reads it.
static bool import(const char *path, uint32_t this_month, uint64_t *ret_bytes)
{
    char text[128];
    FILE *file = fopen(path, "r");
    if (file == NULL)
        return false;
    size_t len = fread(text, 1, sizeof(text) - 1, file);
    fclose(file);
    text[len] = '\0';
    uint64_t values[3] = {0, this_month % 12 + 1, this_month / 12};
    size_t part = 0;
    for (char *at = text; at != NULL; part++) {
        char *comma = strchr(at, ',');
        char *end;
        if (comma != NULL)
            *comma = '\0';
        uint64_t value = strtoull(at, &end, 10);
        if (part < 3 && end != at && *end == '\0' && at[0] >= '0' && at[0] <= '9')
            values[part] = value;
        at = comma != NULL ? comma + 1 : NULL;
    }
    bool matches = part == 3 && values[1] == this_month % 12 + 1 && values[2] == this_month / 12 && values[0] <= INT64_MAX;
    *ret_bytes = matches ? values[0] : 0;
    return part == 3;
}

bool month_load(struct queue *queue)
{
    uint32_t stored = 0;
    uint64_t bytes = 0;
    if (queue->config.openrelay == NULL)
        return true;
    queue->month = queue_month(queue->config.wall_s());
    queue->month_untold = true;
    enum store_result result = store_queue_month_get(queue->store, &stored, &bytes);
    if (result == STORE_FAILED)
        return false;
    if (result == STORE_OK && stored == queue->month)
        queue->month_base_bytes = bytes;
    if (result == STORE_NOT_FOUND && import(queue->config.openrelay->import_file, queue->month, &queue->month_base_bytes))
        LOG(INFO, "BANDWIDTH_IMPORTED", "bytes=%llu", (unsigned long long)queue->month_base_bytes);
    queue->month_unsaved = true; // so that the import happens once
    return true;
}

void month_on_spent(struct queue *queue, const struct post_record *record)
{
    const struct queue_spent *spent = (const struct queue_spent *)(const void *)record->body.ptr;
    CHECK(record->body.len == sizeof(*spent) && record->from < queue->config.shard_count);
    if (spent->month != queue->month || spent->bytes == queue->spent[record->from])
        return;
    CHECK(spent->bytes > queue->spent[record->from]);
    queue->spent[record->from] = spent->bytes;
    queue->month_unsaved = queue->month_untold = true;
}

void month_store(struct queue *queue)
{
    if (queue->month == 0 || !queue->month_unsaved)
        return;
    enum store_result result = store_queue_month_set(queue->store, queue->month, total(queue));
    queue->month_unsaved = result != STORE_OK;
    queue->is_open = queue->is_open || result == STORE_OK;
    if (result != STORE_OK)
        queue_note(queue, result);
}

void month_on_time(struct queue *queue)
{
    uint32_t month = queue_month(queue->config.wall_s());
    if (queue->month != 0 && month > queue->month) {
        queue->month = month;
        queue->month_base_bytes = 0;
        queue->month_warned = false;
        memset(queue->spent, 0, queue->config.shard_count * sizeof(queue->spent[0]));
        queue->month_unsaved = queue->month_untold = true;
    }
    month_store(queue);
}

void month_tell(struct queue *queue)
{
    if (!queue->month_untold)
        return;
    queue->month_untold = false;
    uint64_t sum = total(queue);
    for (uint16_t i = 0; i < queue->config.shard_count; i++) {
        const struct queue_total told = {.others_bytes = sum - queue->spent[i], .month = queue->month};
        post_write(queue->post, queue->config.node, i, RECORD_QUEUE_TOTAL, bytes_of(&told, sizeof(told)), bytes_of(NULL, 0));
    }
    if (!queue->month_warned && sum >= queue->config.openrelay->warn_bytes) {
        queue->month_warned = true;
        LOG(WARN, "BANDWIDTH", "month_bytes=%llu stop_at=%llu", (unsigned long long)sum,
            (unsigned long long)queue->config.openrelay->stop_bytes);
    }
}
