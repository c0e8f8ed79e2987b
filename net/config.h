// What the server is told: every option of `shardrelay server`, checked and in plain units. Made by tools/options; read-only afterwards,
// so any thread may read it. Texts are borrowed and live as long as the server runs.
#pragma once
#include "net/address.h"
#include "shards/base/error.h"
#include <stdbool.h>
#include <stdint.h>

#define CONFIG_LISTENERS_MAX 64
#define CONFIG_TRUSTED_MAX 64
#define CONFIG_ADDRESS_MAX 108 // with its NUL: what sockaddr_un takes

enum listen_scheme {
    LISTEN_BUCKETS, // HTTP and Buckets v1 over plain TCP
    LISTEN_BACKBONE,
    LISTEN_SCHEME_COUNT
};

enum listen_family { LISTEN_IPV4, LISTEN_IPV6, LISTEN_UNIX };

struct listen_config {
    enum listen_scheme scheme;
    enum listen_family family;
    char address[CONFIG_ADDRESS_MAX]; // numeric address without brackets, or the path of the UNIX socket; valid for inet_pton
    bool tls, proxy;                  // over TLS; with a PROXY head first (haproxy's PROXY protocol)
    uint16_t port;                    // 1..65535; 0 for LISTEN_UNIX
};

struct openrelay_config {
    bool enabled;
    bool only;                         // /relay and its pages alone, no Buckets
    bool basic;                        // HTTP Basic before the upgrade; ids are apart per account
    uint64_t timeout_ns;               // silence after which a client is gone; a ping at half of it
    uint32_t requests_max, points_max; // Sends and KiB a minute and id
    uint64_t month_bytes;              // 100 % of the page
    uint64_t stop_bytes, warn_bytes;   // from here on everything is refused; the operator is told
    const char *import_file;           // the original's bandwidth_data.txt, read once when the queue's file is new
};

// Messages for devices that are away: OpenRelay's and Backbone's.
struct kept_config {
    const char *file;
    bool memory;           // nothing touches the disk
    uint32_t messages_max; // for one recipient
    uint64_t bytes_max;
    uint32_t sender_max; // messages of one sender
    uint64_t total_max;  // bytes
};

struct server_config {
    struct listen_config listeners[CONFIG_LISTENERS_MAX];
    uint32_t listener_count; // >= 1

    struct openrelay_config openrelay;
    struct kept_config kept;

    const char *tls_certificate; // PEM files for listeners with tls; NULL: none has it
    const char *tls_key;
    const char *tls_ocsp;                             // DER, NULL: nothing is stapled
    struct address_range trusted[CONFIG_TRUSTED_MAX]; // proxies whose word about the client's address counts
    uint32_t trusted_count;

    const char *database;    // path; NULL: single-user mode
    const char *single_user; // single-user mode: RELAY_USERNAME, RELAY_PASSWORD; else both NULL
    const char *single_password;
    const char *control; // path of the control socket; NULL: beside the database
    bool allow_empty;    // start although nobody could log in

    uint32_t shard_count;  // 0: as many as affinity mask and cgroup quota allow
    bool pin;              // each shard to one CPU
    const char *cpus;      // "2-5,8": the CPUs to use; NULL: all that are allowed
    uint32_t hash_threads; // 0: a quarter of the CPUs, at least 1

    bool deflate;              // permessage-deflate when a client offers it
    uint64_t queue_bytes_max;  // waiting to be written, per session
    uint32_t sessions_max;     // of the whole process; beyond: 503
    uint64_t memory_bytes_max; // queues and half-read messages of all sessions; beyond: 503 to new ones

    uint64_t http_timeout_ns;  // for a whole request head
    uint64_t iam_timeout_ns;   // from Who to Iam
    uint64_t ping_interval_ns; // of silence, then a ping; dead after two
    uint64_t slow_timeout_ns;  // a receiver that takes nothing for so long is closed with 4001
    uint64_t stop_timeout_ns;  // to flush when stopping

    uint64_t remember_ns;       // how long a successful password check is remembered
    uint64_t store_interval_ns; // how often usage is written
    uint32_t keep_stats_days;   // usage of earlier days is deleted

    const char *licence_key;  // PEM of the key that signs licences; NULL: licence logins are off
    const char *licence_salt; // of their hashes in the database

    const char *postmark_key; // multi-user mode: mail by Postmark, by SMTP, or with neither to the log
    const char *postmark_url;
    const char *smtp_url;
    const char *mail_from;
    const char *public_url; // of this relay, for links in letters; NULL: no links

    const char *backbone_database;                      // path
    uint32_t backbone_threads;                          // crypto nodes; 0: as many as CPUs
    uint32_t backbone_challenge_bytes;                  // of random data
    uint64_t backbone_interval_ns, backbone_timeout_ns; // heartbeat, whole seconds
    uint64_t backbone_queue_ns;                         // messages for clients that are away are kept so long; 0: not

    enum log_level log_level;
};
