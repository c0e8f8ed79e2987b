// The queue node: the one thread that owns the file of kept messages (store/store_queue), knows which session holds which device's key,
// remembers memos between sessions and sums OpenRelay's month. Shards reach it by post (records.h).
// One rule: a sender hears QUEUE_KEPT only after the commit; a turn's messages share one commit.
#pragma once
#include "net/config.h"
#include "net/queue/records.h"

struct queue;

#define QUEUE_BATCH_BYTES (128u << 10)

struct queue_config {
    const struct kept_config *kept;
    const struct openrelay_config *openrelay; // NULL: off, and there is no month
    uint16_t node;                            // this node's index; shards are 0 .. shard_count - 1
    uint16_t shard_count;
    uint32_t batch_bytes;    // of one answer to a fetch: QUEUE_BATCH_BYTES; a larger message comes alone
    int64_t (*wall_s)(void); // UTC; os_wall_s
};

// Opens the file. On failure NULL and a sentence for the operator in error_text.
struct queue *queue_create(struct post *post, const struct queue_config *config, char *error_text, size_t error_max);
void queue_run(struct queue *queue);          // the thread; returns after RECORD_STOP and RECORD_STOPPED of all shards
void queue_destroy(struct queue *queue);      // takes NULL
struct node *queue_node(struct queue *queue); // for tests, which step it

struct queue_counts {
    uint64_t kept, given, taken, expired, refused, failed; // messages
    uint64_t commits;
    uint64_t forgotten; // memos of idle devices, for want of room
};
void queue_counts(const struct queue *queue, struct queue_counts *ret_counts); // its thread, or after queue_run

// Year * 12 + month - 1 of that second, UTC. Any thread.
uint32_t queue_month(int64_t wall_s);
