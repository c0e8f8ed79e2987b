// The accounts node: the one thread that owns the database and knows who may log in. It checks passwords on hashing nodes (argon2id takes
// 12 ms), remembers successful checks, throttles failures and stores usage. Shards reach it by post with the records below.
// One rule: a shard never waits for it; requests beyond its limits are answered LOGIN_BUSY at once.
#pragma once
#include "auth/basic.h"
#include "auth/licence.h"
#include "net/address.h"
#include "shards/post.h"

// Kinds of post records (struct post_record.kind). Records are these structs, byte for byte, between nodes of one process.
enum record_kind {
    RECORD_MAIL = 1,        // between shards: struct mail (mail_wire_bytes) + payload
    RECORD_LOGIN,           // shard -> accounts: struct login_request
    RECORD_LOGIN_ANSWER,    // accounts -> shard: struct login_answer
    RECORD_USAGE,           // shard -> accounts: array of struct usage_record
    RECORD_HASH,            // accounts -> hashing node
    RECORD_HASH_ANSWER,     // hashing node -> accounts
    RECORD_STOP,            // main -> any node: stop; a shard drains first
    RECORD_ACCEPTED,        // shard -> shard: struct accepted (net/shard.h): a connection to take over
    RECORD_STOP_FENCE,      // shard -> every other shard: what I took from my sessions before the stop is all before this
    RECORD_STOPPED,         // shard -> main and accounts: this shard has sent its last record
    RECORD_TLS_CONTEXT,     // main -> shard: SSL_CTX *, a reference to use for new connections
    RECORD_ACCOUNT_ENDED,   // accounts -> every shard: struct account_ended: close this account's sessions with 4003
    RECORD_SIGNUP,          // shard -> accounts: struct signup_request (net/signup.h)
    RECORD_SIGNUP_ANSWER,   // accounts -> shard: struct signup_answer
    RECORD_HASH_NEW,        // accounts -> hashing node: struct hash_new_request
    RECORD_HASH_NEW_ANSWER, // hashing node -> accounts
    RECORD_LETTER,          // accounts -> mail node: struct mail_letter (net/mail.h)
    RECORD_LETTER_ANSWER,   // mail node -> accounts: struct mail_answer
    RECORD_REPORT_ASK,      // main -> shard or accounts: struct report_ask (net/report.h)
    RECORD_REPORT,          // shard or accounts -> main: struct report_head and what was asked
    RECORD_LICENCE,         // accounts -> hashing node: struct licence_request (net/hashing.h)
    RECORD_LICENCE_ANSWER,  // hashing node -> accounts
    // net/backbone
    RECORD_CRYPTO,        // shard -> crypto node: struct crypto_task
    RECORD_CRYPTO_ANSWER, // crypto node -> shard
    RECORD_IDENTITIES,    // crypto node -> every shard: identities may have changed
    RECORD_BACKBONE_ASK,  // shard -> every shard: about clients
    RECORD_BACKBONE_TOLD, // shard -> shard: the answer
    // net/queue/records.h
    RECORD_QUEUE_FETCH,
    RECORD_QUEUE_BATCH,
    RECORD_QUEUE_STORE,
    RECORD_QUEUE_STORED,
    RECORD_QUEUE_LOOK,
    RECORD_QUEUE_TAKEN,
    RECORD_QUEUE_LEFT,
    RECORD_QUEUE_SPENT,
    RECORD_QUEUE_TOTAL,
};

enum login_verdict {
    LOGIN_OK,
    LOGIN_REFUSED,   // 403: unknown, wrong, unverified, blocked: never told apart
    LOGIN_THROTTLED, // 429: retry_after_s
    LOGIN_BUSY,      // 503: the queue is full; retry_after_s
    LOGIN_FAILED,    // 500: the database failed
};

struct login_request {
    uint32_t slot, generation; // echoed
    struct net_address address;
    struct basic credentials; // only the used part travels: see accounts_login
};

struct login_answer {
    uint32_t slot, generation;
    uint32_t verdict; // enum login_verdict
    uint32_t retry_after_s;
    uint64_t account; // > 0 when LOGIN_OK: the user's row id (1 in single-user mode)
};

struct usage_record {
    uint64_t account;
    struct net_address address;
    uint64_t sent_bytes, recv_bytes; // as the original counts: sent by the client, received by it
};

struct account_ended {
    uint64_t account;
};

struct accounts_config {
    const char *database;    // path; NULL: single-user mode
    const char *single_user; // single-user mode: RELAY_USERNAME (any letter case) and RELAY_PASSWORD
    const char *single_password;
    uint16_t node; // this node's index; shards are 0 .. shard_count - 1
    uint16_t shard_count;
    uint16_t hash_node_first, hash_node_count;
    uint16_t mail_node;
    uint32_t hash_queue_max;                    // checks waiting per hashing node; beyond: LOGIN_BUSY
    uint32_t remember_s;                        // how long a successful check is remembered (600)
    uint32_t failures_burst, failures_refill_s; // token bucket per address and per account
    uint32_t store_interval_s;                  // how often usage is written
    uint32_t keep_days;                         // usage of earlier days is deleted, daily; 0: kept for ever
    bool licences;                              // licence logins are on: hashing nodes have a key
};

struct accounts;
// Opens the database (creating or migrating it). On failure NULL and a sentence for the operator in error_text.
struct accounts *accounts_create(struct post *post, const struct accounts_config *config, char *error_text, size_t error_max);
void accounts_run(struct accounts *accounts);     // the thread; returns after RECORD_STOP and RECORD_STOPPED of all shards, usage stored
void accounts_destroy(struct accounts *accounts); // takes NULL

struct accounts_counts {
    uint64_t verdicts[LOGIN_FAILED + 1]; // answers, by enum login_verdict
    uint64_t hashed;                     // checks given to hashing nodes
    uint64_t joined;                     // logins that waited for a check of the same credentials
    uint64_t remembered;                 // logins answered by a remembered check
    uint64_t ended;                      // accounts whose sessions were told to end
    uint64_t throttles_displaced;        // buckets forgotten for want of room
    uint64_t usage_stores;               // transactions
    uint64_t usage_shed;                 // sums that found no room while the database failed
};
void accounts_counts(const struct accounts *accounts, struct accounts_counts *ret_counts); // the accounts thread, or after accounts_run

struct hasher;
// NULL when memory is short. key, salt: of licences, borrowed; key NULL: licences are off.
struct hasher *hasher_create(struct post *post, uint16_t node, uint16_t accounts_node, const struct licence_key *key, const char *salt);
void hasher_run(struct hasher *hasher); // the thread; returns after RECORD_STOP
void hasher_destroy(struct hasher *hasher);

// Shard side: posts a login request (copies what is used of the credentials, which the caller then wipes). Never blocks.
void accounts_login(struct post *post, uint16_t self, uint16_t accounts_node, const struct login_request *request);
