// Support of the tests here: several routers, and the mail between them kept in order per pair of shards and delivered when the test says
// so. Only the bytes that travel are kept of a mail; the rest is poisoned.
#pragma once
#include "router/router.h"

#define WORLD_SHARDS_MAX 8
#define WORLD_PAYLOAD_BYTES_MAX 512

struct world_mail {
    struct mail mail;
    size_t payload_bytes;
    uint8_t payload[WORLD_PAYLOAD_BYTES_MAX];
};

struct world_queue {
    struct world_mail *items; // ring, capacity a power of two
    size_t head, count, capacity;
};

struct world {
    uint16_t shard_count;
    struct router *routers[WORLD_SHARDS_MAX];
    struct world_queue queues[WORLD_SHARDS_MAX][WORLD_SHARDS_MAX]; // [from][to]
    size_t mail_count;
    struct effects out; // of the call under way
    // Gets every effect that is no mail, in order.
    void (*on_effect)(void *context, uint16_t shard, const struct effect *effect);
    void *context;
};

void world_init(struct world *world, uint16_t shard_count, const struct router_limits *limits, uint8_t secret);
void world_fini(struct world *world);
// Before a router's API call: an empty list. After it: queues its mail and tells on_effect the rest.
struct effects *world_begin(struct world *world);
void world_end(struct world *world, uint16_t shard);
// Delivers the oldest mail of one queue; false if there is none.
bool world_deliver(struct world *world, uint16_t from, uint16_t to);
// Delivers until no mail is left.
void world_settle(struct world *world);
// The type of the oldest mail, or MAIL_TYPE_COUNT.
enum mail_type world_peek(const struct world *world, uint16_t from, uint16_t to);
// Appends what the effect tells its client, as one word and a space: + Authenticated, cB Connected, xB Disconnected, >B Entered,
// ^B Exited (B: the first byte of the key), dB=text data, E... errors, close:..., resume, released. Not for mail.
void world_log(const struct effect *effect, char *log, size_t log_bytes_max);
