// Shared by queue.c and month.c only.
#pragma once
#include "net/queue/devices.h"
#include "net/queue/queue.h"
#include "shards/node.h"
#include "store/store_queue.h"

#define QUEUE_WAITING_MAX 4096 // messages of one commit
#define QUEUE_EXPIRED_MAX 1000 // messages removed at once
#define QUEUE_BATCH_ROWS_MAX 512

struct waiting_store {
    struct handle sender;
    uint32_t recipient; // device
    uint64_t text_bytes;
};

struct queue {
    struct post *post;
    struct queue_config config;
    struct node *node;
    struct store_queue *store;
    struct devices devices;
    struct timer timer, retry_timer;
    struct queue_counts counts;
    uint64_t next_number;
    uint64_t kept_bytes;
    bool is_open; // something waits for the commit
    bool is_failing, is_stopping;
    uint16_t shards_stopped;
    uint32_t waiting_count, expired_count;
    struct waiting_store waiting[QUEUE_WAITING_MAX];
    uint64_t expired[QUEUE_EXPIRED_MAX];
    uint32_t fetch_first, fetch_last; // devices
    uint8_t *batch;
    size_t batch_used, batch_capacity;

    uint32_t month;            // see queue_month; 0: OpenRelay is off
    uint64_t month_base_bytes; // before this process
    bool month_unsaved, month_untold, month_warned;
    uint64_t spent[]; // by shard, this month
};

void queue_note(struct queue *queue, enum store_result result);
