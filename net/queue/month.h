// The month's bytes (protocols/openrelay.md 6), within the queue node: the sum of what the shards tell, in UTC months, kept in the file.
// Thread: the queue node's.
#pragma once
#include "net/queue/queue_internal.h"

// Without OpenRelay there is none. Else from the file; else once from the original's bandwidth_data.txt; else 0. False: the file cannot be
// read.
bool month_load(struct queue *queue);
void month_on_spent(struct queue *queue, const struct post_record *record);
void month_on_time(struct queue *queue); // a new month; what is unsaved
void month_store(struct queue *queue);   // into the open transaction
void month_tell(struct queue *queue);    // all shards, if something has changed
