// What a session has still to be sent: bytes in pooled blocks, written with one writev per turn. Idle: no block.
// Thread: the shard's. Limits are the caller's business; the pool's budget is the last one.
#pragma once
#include "shards/base/bytes.h"
#include "shards/pool.h"

struct outq {
    struct block *head, *tail;
    size_t bytes;
};

// Room for `len` contiguous bytes at the end, to be written at once and then counted by outq_commit. NULL: the pool is exhausted.
uint8_t *outq_reserve(struct outq *queue, struct pool *pool, size_t len);
void outq_commit(struct outq *queue, size_t len);

// Appends a copy. false: the pool is exhausted; a part may have been appended, so the connection cannot go on.
bool outq_append(struct outq *queue, struct pool *pool, struct bytes bytes);

// Writes as much as the descriptor takes. >= 0: bytes written (all: the queue is empty; fewer: the descriptor is full); < 0: -errno.
int64_t outq_flush(struct outq *queue, struct pool *pool, int fd);

// The first bytes of a queue that is not empty, at most `max`, in one piece: all that is left, copied to `scratch` (`max` bytes) if it lies
// in several blocks, or when that is more than `max`, what the first block has. Borrowed until the queue changes.
struct bytes outq_front(const struct outq *queue, uint8_t *scratch, size_t max);
void outq_consume(struct outq *queue, struct pool *pool, size_t len); // drops the first `len` bytes

void outq_clear(struct outq *queue, struct pool *pool);
