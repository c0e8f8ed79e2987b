// What nodes tell about themselves when the main node asks (RECORD_REPORT_ASK, RECORD_REPORT): records, byte for byte. One rule: an answer
// is bounded; whoever wants more asks again, so that no shard is held up and the asker's memory is bounded too.
#pragma once
#include "net/accounts.h"
#include "net/metrics.h"
#include "router/router.h"

#define REPORT_SLOTS_MAX 512u // looked at for one answer: some 20 us
#define REPORT_KEY_BYTES 8    // of a device's key: enough for people to tell devices apart

enum report_kind {
    REPORT_SESSIONS, // asked of shards. Answer: report_head, report_session[count]
    REPORT_METRICS,  // asked of shards and the accounts node. Answer: report_head, report_shard or struct accounts_counts
};

struct report_ask {
    uint32_t ticket; // echoed
    uint32_t kind;   // enum report_kind
    uint32_t slot;   // REPORT_SESSIONS: the first to look at
};

struct report_head {
    uint32_t ticket;
    uint32_t slot;  // where to go on; 0: that was all
    uint32_t count; // of sessions that follow
    uint32_t unused;
};

struct report_session {
    uint64_t account, queued_bytes; // waiting to be written
    uint64_t silent_ns;             // since the last input
    struct net_address address;
    uint32_t slot, links;
    uint8_t phase; // enum conn_phase
    uint8_t authenticated, waiting, unused[5];
    uint8_t key[REPORT_KEY_BYTES]; // 0 unless authenticated
};

struct report_shard {
    struct metrics metrics;
    struct router_counts router;
    uint64_t connections, pool_bytes;
};

struct shard;
void shard_report(struct shard *shard, const struct post_record *record); // answers a RECORD_REPORT_ASK
