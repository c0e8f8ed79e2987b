// Backbone on a shard (protocols/backbone.md): raw TCP, RSA identities, messages from client to client. See README.md.
#pragma once
#include "net/room.h"
#include "shards/post.h"

#define BACKBONE_WORKERS_MAX 64
#define BACKBONE_PEM_MAX 2048
#define BACKBONE_TASKS_MAX 1024 // tasks_max, logins_max of a server
#define BACKBONE_LOGINS_MAX 16

struct shard;

extern const struct room backbone_room;

// What all shards share, read-only after the start.
struct backbone_shared {
    char public_pem[BACKBONE_PEM_MAX]; // the server's key, as the challenge carries it
    uint32_t challenge_bytes;
    uint32_t heartbeat_interval_s, heartbeat_timeout_s;
    uint64_t login_timeout_ns; // from the challenge to a whole response
    uint64_t frame_timeout_ns; // from a frame's first byte to its last
    uint64_t keep_s;           // a message for a client that is away is kept so long by the queue node; 0: not at all
    uint64_t started_ns;
    uint16_t worker_first, worker_count; // crypto nodes
    uint32_t tasks_max;                  // of one shard at the crypto nodes; then sessions wait in line
    uint32_t logins_max;                 // of them logins, so that a flood of strangers delays nobody by more than some milliseconds
};

// Of a shard that has a Backbone listener. NULL: out of memory.
struct backbone *backbone_create(struct shard *shard, const struct backbone_shared *shared);
void backbone_destroy(struct backbone *backbone); // takes NULL; after the connections, before the shard's pool
void backbone_record(struct backbone *backbone, const struct post_record *record); // RECORD_CRYPTO_ANSWER .. RECORD_IDENTITIES

// A crypto node: everything with RSA in it, and the identities. One rule: every task is answered.
struct worker;
// Opens the identities (path) and the server's private key in them, which is made when there is none; fills shared->public_pem.
// Node shared->worker_first + number. NULL: error_text holds a sentence.
struct worker *worker_create(struct post *post, struct backbone_shared *shared, uint16_t number, uint16_t shard_count, const char *path,
                             char *error_text, size_t error_max);
void worker_run(struct worker *worker);     // the thread; returns after RECORD_STOP
void worker_destroy(struct worker *worker); // takes NULL
