// The accounts node's inside: accounts.c (node, usage, stopping), accounts_login.c (who may log in), accounts_watch.c (whose account
// changed).
#pragma once
#include "auth/recent.h"
#include "auth/remember.h"
#include "auth/throttle.h"
#include "net/accounts.h"
#include "net/checks.h"
#include "net/signup.h"
#include "net/usage.h"
#include "shards/node.h"
#include "store/store.h"

// Limits; each policy stands where it is applied, each counter in struct accounts_counts.
#define ACCOUNTS_REMEMBERED_MAX 65536u // the oldest check is forgotten
#define ACCOUNTS_THROTTLED_MAX 65536u  // per kind of bucket; the oldest bucket is forgotten
#define ACCOUNTS_WATCHED_MAX 262144u   // the account that logged in longest ago is ended
#define ACCOUNTS_WAITERS_MAX 65536u    // LOGIN_BUSY
#define ACCOUNTS_USAGE_ROWS_MAX 65536u // usage is shed

enum store_use { STORE_READING, STORE_WRITING };

// An account that logged in.
struct watched {
    uint64_t account;
    uint64_t version; // of the database when the state was last compared
    struct fingerprint state;
};

struct accounts {
    struct accounts_config config; // its strings are the caller's and used only while creating
    struct post *post;
    struct node *node;
    struct store *store; // NULL: single-user mode

    struct fingerprint_secret secret;
    struct fingerprint single_credentials;
    struct throttle *addresses, *users;
    struct remember *remember;
    struct checks *checks;
    uint32_t *hash_queued; // checks under way, per hashing node

    struct recent *watched; // of struct watched
    uint32_t data_version;  // the database's, as last seen
    uint64_t version;       // grows whenever data_version changes
    bool is_sweeping;
    uint32_t sweep_place;

    struct signups *signups; // NULL: single-user mode

    struct usage *usage;
    char cleaned_day[STORE_DAY_BYTES]; // when usage of old days was deleted last; "": not yet
    struct timer watch_timer, usage_timer;
    bool is_store_failing[2]; // by enum store_use
    bool is_stopping;
    uint16_t shards_stopped;
    struct accounts_counts counts;
};

// Logs a failure of the database when it begins and when it ends, not in between; reading and writing apart, since a full disk can be read.
void accounts_note_store(struct accounts *accounts, enum store_use use, enum store_result result);

void accounts_on_login(struct accounts *accounts, const struct post_record *record);
void accounts_on_hash_answer(struct accounts *accounts, const struct post_record *record);
void accounts_on_licence_answer(struct accounts *accounts, const struct post_record *record);

// Which hashing node has the fewest jobs waiting, counted in hash_queued; -1: all are full. *ret_retry_after_s says when to ask again.
int accounts_shortest_queue(const struct accounts *accounts, uint32_t *ret_retry_after_s);

enum watch_result { WATCH_SAME, WATCH_CHANGED, WATCH_FAILED };
// The account's password and name, as one fingerprint. false: this user may not log in.
bool watch_state(const struct accounts *accounts, const struct store_user *user, struct fingerprint *ret_state);
// Notices whether another process has changed the database. WATCH_FAILED: it cannot be asked.
enum watch_result watch_look(struct accounts *accounts);
// Watches an account whose check in this state has just succeeded.
void watch_add(struct accounts *accounts, uint64_t account, const struct fingerprint *state);
// Whether an account may still log in as it did; WATCH_CHANGED: it was ended.
enum watch_result watch_account(struct accounts *accounts, uint64_t account);
// Forgets its checks and tells every shard to end its sessions.
void watch_end(struct accounts *accounts, uint64_t account);
void watch_on_time(struct timer *timer, uint64_t now_ns);
#define WATCH_INTERVAL_NS 500000000ull // so that a blocked user is gone within a second
