// Counters of one shard, from one table: name, help. Plain integers: only the shard's thread writes them; who wants sums asks by post.
#pragma once
#include <stdint.h>

#define METRICS_TABLE(X)                                                                                                                   \
    X(accepted, "connections accepted")                                                                                                    \
    X(refused_full, "connections refused: --max-sessions reached, or out of memory")                                                       \
    X(handed_over, "connections given to a less loaded shard")                                                                             \
    X(accept_failed, "accept failed: descriptors or memory")                                                                               \
    X(http_requests, "HTTP requests answered")                                                                                             \
    X(logins, "successful logins")                                                                                                         \
    X(logins_refused, "logins answered 403")                                                                                               \
    X(logins_throttled, "logins answered 429")                                                                                             \
    X(logins_busy, "logins answered 503")                                                                                                  \
    X(messages_in, "commands taken")                                                                                                       \
    X(messages_relayed, "data messages delivered")                                                                                         \
    X(bytes_relayed, "payload bytes delivered")                                                                                            \
    X(events_out, "events sent, data apart")                                                                                               \
    X(waits, "sessions stopped reading: back-pressure")                                                                                    \
    X(pongs_dropped, "pings left unanswered: newer ping came first")                                                                       \
    X(reads, "read calls")                                                                                                                 \
    X(writes, "write calls")                                                                                                               \
    X(tls_handshakes, "TLS handshakes done, resumed ones included")                                                                        \
    X(tls_resumed, "TLS handshakes by a session ticket")                                                                                   \
    X(tls_failed, "TLS connections that broke")                                                                                            \
    X(proxy_refused, "PROXY heads that were malformed or not trusted")                                                                     \
    X(crypto_tasks, "tasks given to crypto nodes")                                                                                         \
    X(crypto_waits, "sessions that had to wait for a crypto node")                                                                         \
    X(datagrams_undelivered, "Backbone messages whose recipient was absent or congested")                                                  \
    X(datagrams_foreign, "datagrams dropped: not of the receiver's protocol")                                                              \
    X(messages_kept, "messages kept for devices that are away")                                                                            \
    X(messages_not_kept, "messages that could not be kept: the queue is full, or its database failed")                                     \
    X(turns, "turns of the loop")                                                                                                          \
    X(mail_in, "records from other nodes")

#define METRICS_CLOSED_MAX 64 // ERROR_COUNT at most, checked in metrics' user

struct metrics {
#define X(name, help) uint64_t name;
    METRICS_TABLE(X)
#undef X
    uint64_t closed[METRICS_CLOSED_MAX]; // by enum error
};
