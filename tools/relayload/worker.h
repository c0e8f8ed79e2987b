// One thread of load: an epoll loop, its clients, its scenario. Workers share nothing but the phase, which the main thread sets.
// One rule: both ends of every pair lie in one worker, so that latency is one clock's difference and nothing is locked.
#pragma once
#include "tools/relayload/args.h"
#include "tools/relayload/client.h"
#include "tools/relayload/counters.h"
#include "tools/relayload/histogram.h"
#include <pthread.h>

#define WORKER_BUFFER_BYTES (256u * 1024)
#define WORKER_NEVER UINT64_MAX
#define WORKER_TEXT_MAX 256

enum phase {
    PHASE_SETUP,   // connect; ends when every worker is_set_up
    PHASE_WARMUP,  // load that is not measured
    PHASE_MEASURE, // ends after --seconds, or when every worker is_done
    PHASE_SETTLE,  // no new load; ends when every worker is_settled
    PHASE_END,
};

struct scenario {
    const char *name, *summary;
    bool observed;     // disturbs: quiet pairs in a thread of their own tell how much
    bool urgent;       // its thread goes before all others where that is allowed, so that the load's own work delays nothing it measures
    bool holds;        // stays connected for --seconds when done
    uint32_t sessions; // unless told
    uint32_t window;   // unless told
    bool (*start)(struct worker *worker);
    void (*on_phase)(struct worker *worker, enum phase phase);
    void (*on_ready)(struct worker *worker, struct client *client);
    void (*on_event)(struct worker *worker, struct client *client, const struct buckets_event *event);
    void (*on_batch)(struct worker *worker, struct client *client);  // after the last event of one read; may be NULL
    void (*on_room)(struct worker *worker, struct client *client);   // everything queued has been sent; may be NULL
    void (*on_closed)(struct worker *worker, struct client *client); // lost, or failed to log in
    uint64_t (*on_turn)(struct worker *worker);                      // returns when it wants to be called again
    void (*finish)(struct worker *worker);                           // last checks; frees its state
};

struct worker {
    const struct args *args;
    const struct scenario *scenario;
    SSL_CTX *tls;               // NULL: plain
    const char *const *headers; // Authorization and so on, one for each user
    unsigned index;
    int cpu; // -1: not pinned
    uint32_t client_count, window, rate;
    uint32_t user_first, user_count; // of args->users, in turn
    _Atomic int *phase;
    pthread_t thread;

    int epoll_fd;
    uint8_t *buffer;
    struct client *clients;
    struct client **by_key; // open addressing, power of two
    uint32_t by_key_mask;
    uint32_t logins_under_way, retry_count;
    uint32_t open_next, open_end; // clients yet to be opened; a scenario may move both
    uint64_t retry_scan_ns;
    enum phase seen_phase;
    uint64_t now_ns, seed;
    void *state; // the scenario's

    _Atomic uint32_t ready; // clients authenticated now
    _Atomic bool is_set_up, is_done, is_settled, is_gone;
    bool is_urgent; // the scheduler has agreed
    struct counters counters;
    struct histogram latency;  // of messages while measuring
    struct histogram calm;     // of messages during warm-up
    struct histogram late;     // open loop, while measuring: from due to sent, which is this program's own delay
    struct histogram logins;   // connect to Authenticated, while measuring
    pthread_mutex_t text_lock; // first_failure is read by the main thread
    char first_failure[WORKER_TEXT_MAX];
    char cipher[64];
};

// Fields above the blank line are set by the caller. 0 or -errno; nothing to undo then.
int worker_start(struct worker *worker);
void worker_join(struct worker *worker);
void worker_fini(struct worker *worker); // after join and after the last look at its figures

uint64_t worker_clock_ns(void);

// Opens one client and counts the login as under way; closes one on purpose.
void worker_open(struct worker *worker, struct client *client);
void worker_close(struct worker *worker, struct client *client, bool polite);
// Opens the next clients in turn, at most limit logins under way, those that were told to wait when their time has come.
// Returns when it wants to be called again.
uint64_t worker_open_some(struct worker *worker, uint32_t limit);
bool worker_all_ready(const struct worker *worker);
struct client *worker_find(struct worker *worker, const struct key *key); // NULL: not ours
// Counts a violation or failure; the first one's text is kept for the report.
void worker_fail(struct worker *worker, const char *format, ...) __attribute__((format(printf, 2, 3)));
void worker_violation(struct worker *worker, const char *format, ...) __attribute__((format(printf, 2, 3)));

// Called by clients.
void worker_on_ready(struct worker *worker, struct client *client);
void worker_on_closed(struct worker *worker, struct client *client, const char *reason);
void worker_on_retry(struct worker *worker, struct client *client, uint32_t after_ms);
