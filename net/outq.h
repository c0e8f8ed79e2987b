// What a session has still to be sent: bytes in pooled blocks, written with one writev per turn. Idle: no block.
// Large payloads need not be copied: they are lent, and what the descriptor does not take of them is copied when they are written.
// Thread: the shard's. Limits are the caller's business; the pool's budget is the last one.
#pragma once
#include <sys/uio.h>

#include "shards/base/bytes.h"
#include "shards/pool.h"

#define OUTQ_LOAN_MESSAGES_MAX 32
#define OUTQ_LOAN_EDGE_MAX 96 // bytes of one message before and behind its payload

struct outq {
    struct block *head, *tail;
    size_t bytes;
};

// A run of messages on their way to one queue's descriptor, whose payloads stay where they lie. Zero it to start.
struct outq_loan {
    struct iovec iov[2 * OUTQ_LOAN_MESSAGES_MAX + 1];
    uint32_t count, messages;
    uint32_t edge_bytes;
    size_t bytes;
    uint8_t edges[OUTQ_LOAN_MESSAGES_MAX * OUTQ_LOAN_EDGE_MAX]; // what stands between the payloads
};

// Room for `len` contiguous bytes at the end, to be written at once and then counted by outq_commit. NULL: the pool is exhausted.
uint8_t *outq_reserve(struct outq *queue, struct pool *pool, size_t len);
void outq_commit(struct outq *queue, size_t len);

// Appends a copy. false: the pool is exhausted; a part may have been appended, so the connection cannot go on.
bool outq_append(struct outq *queue, struct pool *pool, struct bytes bytes);

// Writes as much as the descriptor takes. >= 0: bytes written (all: the queue is empty; fewer: the descriptor is full); < 0: -errno.
int64_t outq_flush(struct outq *queue, struct pool *pool, int fd);

// Adds a message: head and tail (together at most OUTQ_LOAN_EDGE_MAX) are copied, the payload (not empty) is borrowed until
// outq_flush_loan. false: the loan is full, nothing was added.
bool outq_lend(struct outq_loan *loan, struct bytes head, struct bytes payload, struct bytes tail);
// As outq_flush, with the loan behind the queue. What of it is not written is copied to the queue, so that the loan is empty afterwards, on
// failure too. -ENOMEM: the pool is exhausted, the connection cannot go on.
int64_t outq_flush_loan(struct outq *queue, struct outq_loan *loan, struct pool *pool, int fd);
bool outq_keep_loan(struct outq *queue, struct outq_loan *loan, struct pool *pool); // copies all of it to the queue. false: as above
void outq_drop_loan(struct outq_loan *loan);                                        // empties it

// The first bytes of a queue that is not empty, at most `max`, in one piece: all that is left, copied to `scratch` (`max` bytes) if it lies
// in several blocks, or when that is more than `max`, what the first block has. Borrowed until the queue changes.
struct bytes outq_front(const struct outq *queue, uint8_t *scratch, size_t max);
void outq_consume(struct outq *queue, struct pool *pool, size_t len); // drops the first `len` bytes

void outq_clear(struct outq *queue, struct pool *pool);
