// One shard: a node with listeners, connections and a router. Everything in here is touched by its thread alone, from start to end.
// shard_* is what server.c and the simulator drive; net/conn*.c work inside.
#pragma once
#include "net/accounts.h"
#include "net/backbone/backbone.h"
#include "net/conn.h"
#include "net/deflate.h"
#include "net/http.h"
#include "net/metrics.h"
#include "net/openrelay/openrelay.h"
#include "net/outq.h"
#include "net/placement.h"
#include "net/tls.h"
#include "router/router.h"
#include "shards/node.h"
#include "shards/pool.h"

#define SHARD_READ_BYTES 262144 // one read at most
#define SHARD_SCRATCH_BYTES (1u << 20)
#define SHARD_READ_BUFFER_BYTES (SHARD_READ_BYTES + HTTP_HEAD_MAX) // a read behind the longest input that is held and joined with it
#define SHARD_LISTENERS_MAX 64

struct shard_limits {
    uint32_t conns_max;         // open connections of all shards; more are refused with 503
    uint64_t http_timeout_ns;   // from accept to a whole request head
    uint64_t iam_timeout_ns;    // from Who to Iam
    uint64_t ping_interval_ns;  // silence before a ping; closed after three of them
    uint64_t slow_timeout_ns;   // a receiver that takes nothing for so long is closed
    uint64_t close_timeout_ns;  // for the peer's part of a close
    uint64_t stop_timeout_ns;   // for everybody's close when the relay stops
    uint64_t usage_interval_ns; // how often usage is handed to the accounts node
    uint32_t control_bytes_max; // queued events, apart from data
    size_t pool_bytes_max;      // all buffers of this shard
    bool deflate;               // permessage-deflate when offered
    struct router_limits router;
};

// What all shards share, read-only after the start, but for the counters of placement.
struct shard_shared {
    struct post *post;
    struct placement *placement;
    struct shard_limits limits;
    struct hash_secret secret;
    uint16_t shard_count, accounts_node, main_node;
    const struct route *routes;
    size_t route_count;
    const struct address_range *trusted; // proxies
    size_t trusted_count;
    bool multi_user;
    bool licences;                            // licence login is on
    const struct openrelay_config *openrelay; // NULL: off
    uint16_t queue_node;                      // of messages for devices that are away; 0: nothing is kept
};

// What stands between the socket and the first byte of HTTP or of the room.
enum listener_way { LISTENER_TLS = 1, LISTENER_PROXY = 2 };

struct listener {
    struct source source;
    struct shard *shard;
    unsigned ways;           // of enum listener_way
    const struct room *room; // NULL: HTTP decides
};

// RECORD_ACCEPTED: a connection for a less loaded shard, which owns the descriptor from then on and is counted for it already.
struct accepted {
    int32_t fd;
    uint32_t listener;       // its index, the same in every shard
    struct net_address peer; // of the socket
};

struct shard {
    const struct shard_shared *shared;
    uint16_t index;
    struct node *node;
    struct router *router;
    struct pool *pool;
    struct deflate *deflate;
    struct backbone *backbone; // NULL: no Backbone listener
    struct tls_engine *tls;    // NULL: no listener has TLS
    struct effects effects;
    struct metrics metrics;

    struct listener listeners[SHARD_LISTENERS_MAX];
    size_t listener_count;

    struct conn **conn_chunks; // slots by chunks of CONN_CHUNK, made on demand
    uint32_t slot_count;       // slots ever used
    struct conn *free_conns;
    uint32_t conn_count; // slots in use

    struct conn *borrower; // the connection that `loan` is for: its large payloads are written from where they lie. NULL: no loan
    struct outq_loan loan;

    struct conn *dirty;   // connections with output to flush this turn
    struct conn *leaving; // connections that router_leave must be called for
    struct conn *left;    // open connections that the router has released: conn_left is due
    struct conn *usage;   // connections with usage not yet handed over
    struct timer usage_timer;
    struct openrelay_month month;
    uint64_t storing_bytes; // messages that the queue node has not answered yet
    bool *full;             // per shard: what the router was last told
    bool any_full;          // of these

    bool stopping;        // sessions are read no more
    bool closing;         // every shard has said so, and all that they took has come: sessions are being closed
    bool stopped;         // no session is left
    uint16_t stop_fences; // from other shards
    bool accept_stalled;  // accept failed: listeners are tried again when a descriptor is free
    struct timer stop_timer;

    uint8_t *scratch; // a whole message when it must lie in one piece (deflate); SHARD_SCRATCH_BYTES
    uint8_t *deflated;
    uint8_t *read_buffer; // held bytes in front, then one read
};

// Creates the shard and its node. NULL: out of memory or descriptors. `shared` must outlive it.
struct shard *shard_create(const struct shard_shared *shared, uint16_t index, uint64_t now_ns);
void shard_destroy(struct shard *shard); // takes NULL

// Takes over a listening, non-blocking descriptor. 0 or -errno.
int shard_listen(struct shard *shard, int fd, const struct room *room);
// The same with ways (enum listener_way). LISTENER_TLS: after shard_use_tls.
int shard_listen_with(struct shard *shard, int fd, const struct room *room, unsigned ways);
// Before the first listener with TLS; takes over the reference. false: out of memory.
bool shard_use_tls(struct shard *shard, SSL_CTX *context);
// Before the first listener of backbone_room. false: out of memory.
bool shard_use_backbone(struct shard *shard, const struct backbone_shared *backbone);
struct node *shard_node(struct shard *shard);

// ---- for net/ ----
void shard_carry_out(struct shard *shard); // effects of the last router call, and what follows from them
struct conn *shard_conn(struct shard *shard, uint32_t slot);
struct conn *shard_take_slot(struct shard *shard); // NULL: out of memory. The connection is counted in placement already
void shard_give_slot(struct shard *shard, struct conn *conn);
void shard_usage_now(struct shard *shard, struct conn *conn); // hands the connection's usage over
