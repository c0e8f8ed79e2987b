// OpenRelay's part of a shard (protocols/openrelay.md): pages, the month's bytes, and what comes from the queue node.
// Thread: the shard's.
#pragma once
#include "shards/post.h"

struct shard;
struct http_request;

// The month's bytes as this shard sees them (records.h: queue_spent, queue_total).
struct openrelay_month {
    uint64_t month; // 0: the queue node has not spoken yet
    uint64_t own_bytes, told_bytes;
    uint64_t others_bytes;
};

#define OPENRELAY_PAGE_MAX 96
struct openrelay_page {
    unsigned status;
    const char *extra; // header lines
    const char *type;  // NULL: none
    char text[OPENRELAY_PAGE_MAX];
};

// The answer to a request for one of OpenRelay's resources, when OpenRelay is on. False: not its business.
bool openrelay_page(const struct shard *shard, const struct http_request *request, struct openrelay_page *ret_page);

void openrelay_on_record(struct shard *shard, const struct post_record *record); // RECORD_QUEUE_TOTAL
void openrelay_on_time(struct shard *shard); // every few seconds and at the end: tells the month's bytes
