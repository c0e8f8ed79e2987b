// What shards and the queue node tell each other: bodies of the RECORD_QUEUE_* records (net/accounts.h), byte for byte.
#pragma once
#include "net/accounts.h"
#include "shards/base/key.h"

// What a room wants to find again at its device's next session. At first: zeros. Of several sessions', which may be told late, the greatest
// is kept: by the first word, then by the second.
struct queue_memo {
    uint64_t words[2];
};

// RECORD_QUEUE_FETCH, shard -> queue: this session holds the key; tell me what is kept for it after `after`. One is out at a time.
struct queue_fetch {
    uint32_t slot, generation;
    struct key key;
    uint64_t since_ns; // os_now_ns when it had entered. Shards' records overtake each other: the latest to enter holds the key
    uint64_t after;    // number of the last message it was given; 0: from the start
};

// RECORD_QUEUE_BATCH, queue -> shard: the answer. `count` rows follow, each struct queue_row and its text, padded to 8 bytes.
struct queue_batch {
    uint32_t slot, generation;
    uint32_t count;
    uint32_t more; // there are more, or reading failed: fetch again
    struct queue_memo memo;
};
struct queue_row {
    uint64_t number;
    uint64_t text_bytes;
};

// RECORD_QUEUE_STORE, shard -> queue: keep the text that follows. One is out per session.
struct queue_store {
    uint32_t slot, generation;
    struct key recipient, sender;
    uint64_t ttl_s;
};

enum queue_verdict {
    QUEUE_KEPT,   // committed
    QUEUE_FULL,   // a limit of the recipient, the sender or the whole
    QUEUE_FAILED, // the database failed
};

// RECORD_QUEUE_STORED, queue -> shard, or by way of the recipient's shard.
struct queue_stored {
    uint32_t slot, generation;
    uint32_t verdict;    // enum queue_verdict
    uint64_t text_bytes; // as asked
};

// RECORD_QUEUE_LOOK, queue -> shard: something was kept for this session's key after it had fetched. The shard passes the answer on to the
// sender's: what the sender says next must find the recipient waiting, and there is no order between rings.
struct queue_look {
    uint32_t slot, generation;
    uint32_t sender_shard;
    struct queue_stored stored;
};

// RECORD_QUEUE_TAKEN, shard -> queue: the client's TCP has everything up to `number`.
struct queue_taken {
    struct key key;
    uint64_t number;
};

// RECORD_QUEUE_LEFT, shard -> queue: this session holds the key no longer. It may be told again for the sake of the memo.
struct queue_left {
    uint32_t slot, generation;
    struct key key;
    struct queue_memo memo;
};

// RECORD_QUEUE_SPENT, shard -> queue: all that this shard has relayed in that month since it started. Counts only grow, so one may be lost.
struct queue_spent {
    uint64_t bytes;
    uint64_t month; // year * 12 + month - 1, UTC
};

// RECORD_QUEUE_TOTAL, queue -> shard: what all others have relayed, those before the restart included. A new month: start at 0.
struct queue_total {
    uint64_t others_bytes;
    uint64_t month;
};
