// Output queue: see outq.h. Blocks grow with what is queued, so that a busy session needs few and an occasional event
// only 256 bytes: a login that thousands are told of would else take megabytes for a moment.
#include "net/outq.h"

#include <errno.h>

#include "shards/base/check.h"
#include "shards/os.h"

#define IOV_MAX_PER_WRITE 64
#define BLOCK_BYTES_BUSY 16384 // a queue that outgrew its first block is likely to go on
#define BLOCK_BYTES_FIRST 256

uint8_t *outq_reserve(struct outq *queue, struct pool *pool, size_t len)
{
    CHECK(len > 0);
    struct block *tail = queue->tail;
    if (tail == NULL || tail->capacity - tail->end < len) {
        size_t wanted = tail == NULL ? BLOCK_BYTES_FIRST : 4 * (size_t)tail->capacity;
        wanted = wanted < BLOCK_BYTES_BUSY ? wanted : BLOCK_BYTES_BUSY;
        struct block *block = pool_take(pool, len > wanted ? len : wanted);
        if (block == NULL)
            return NULL;
        block->next = NULL;
        if (tail != NULL)
            tail->next = block;
        else
            queue->head = block;
        queue->tail = tail = block;
    }
    return tail->data + tail->end;
}

void outq_commit(struct outq *queue, size_t len)
{
    CHECK(queue->tail != NULL && queue->tail->capacity - queue->tail->end >= len);
    queue->tail->end += (uint32_t)len;
    queue->bytes += len;
}

bool outq_append(struct outq *queue, struct pool *pool, struct bytes bytes)
{
    struct block *tail = queue->tail;
    if (tail != NULL && bytes.len > 0) {
        size_t room = tail->capacity - tail->end;
        size_t part = bytes.len < room ? bytes.len : room;
        memcpy(tail->data + tail->end, bytes.ptr, part);
        outq_commit(queue, part);
        bytes.ptr += part;
        bytes.len -= part;
    }
    if (bytes.len == 0)
        return true;
    uint8_t *rest = outq_reserve(queue, pool, bytes.len);
    if (rest == NULL)
        return false;
    memcpy(rest, bytes.ptr, bytes.len);
    outq_commit(queue, bytes.len);
    return true;
}

// Gives back whole blocks, and the start of the next.
void outq_consume(struct outq *queue, struct pool *pool, size_t len)
{
    CHECK(len <= queue->bytes);
    queue->bytes -= len;
    while (queue->head != NULL) {
        struct block *block = queue->head;
        size_t used = block->end - block->start;
        if (used > len) {
            block->start += (uint32_t)len;
            return;
        }
        len -= used;
        queue->head = block->next;
        if (queue->head == NULL)
            queue->tail = NULL;
        pool_give(pool, block);
    }
    CHECK(len == 0);
}

struct bytes outq_front(const struct outq *queue, uint8_t *scratch, size_t max)
{
    const struct block *block = queue->head;
    CHECK(queue->bytes > 0);
    while (block->end == block->start) // reserved, never committed
        block = block->next;
    size_t len = block->end - block->start;
    if (len >= max || len == queue->bytes || queue->bytes > max)
        return bytes_of(block->data + block->start, len < max ? len : max);
    for (size_t have = 0; have < queue->bytes; have += len, block = block->next) {
        len = block->end - block->start;
        memcpy(scratch + have, block->data + block->start, len);
    }
    return bytes_of(scratch, queue->bytes);
}

// What one write can carry of the queue. Returns the number of pieces.
static int list_blocks(const struct outq *queue, struct iovec ret_iov[IOV_MAX_PER_WRITE], size_t *ret_bytes)
{
    int count = 0;
    size_t bytes = 0;
    for (struct block *block = queue->head; block != NULL && count < IOV_MAX_PER_WRITE; block = block->next) {
        ret_iov[count++] = (struct iovec){.iov_base = block->data + block->start, .iov_len = block->end - block->start};
        bytes += block->end - block->start;
    }
    *ret_bytes = bytes;
    return count;
}

int64_t outq_flush(struct outq *queue, struct pool *pool, int fd)
{
    int64_t total = 0;
    while (queue->bytes > 0) {
        struct iovec iov[IOV_MAX_PER_WRITE];
        size_t offered = 0;
        int count = list_blocks(queue, iov, &offered);
        ssize_t written = os_writev(fd, iov, count);
        if (written == -EAGAIN)
            return total;
        if (written < 0)
            return written;
        outq_consume(queue, pool, (size_t)written);
        total += written;
        if ((size_t)written < offered)
            return total;
    }
    if (queue->head != NULL) // an empty block: reserved, never committed
        outq_consume(queue, pool, 0);
    return total;
}

// ---- loans ----

static void add_edge(struct outq_loan *loan, struct bytes bytes)
{
    if (bytes.len == 0)
        return;
    uint8_t *to = loan->edges + loan->edge_bytes;
    memcpy(to, bytes.ptr, bytes.len);
    loan->edge_bytes += (uint32_t)bytes.len;
    struct iovec *last = loan->count > 0 ? &loan->iov[loan->count - 1] : NULL;
    if (last != NULL && (uint8_t *)last->iov_base + last->iov_len == to) // a tail and the next head
        last->iov_len += bytes.len;
    else
        loan->iov[loan->count++] = (struct iovec){.iov_base = to, .iov_len = bytes.len};
}

bool outq_lend(struct outq_loan *loan, struct bytes head, struct bytes payload, struct bytes tail)
{
    CHECK(payload.len > 0 && head.len + tail.len <= OUTQ_LOAN_EDGE_MAX);
    if (loan->messages == OUTQ_LOAN_MESSAGES_MAX)
        return false;
    loan->messages++;
    add_edge(loan, head);
    loan->iov[loan->count++] = (struct iovec){.iov_base = (void *)(uintptr_t)payload.ptr, .iov_len = payload.len};
    add_edge(loan, tail);
    loan->bytes += head.len + payload.len + tail.len;
    CHECK(loan->count <= sizeof(loan->iov) / sizeof(loan->iov[0]));
    return true;
}

void outq_drop_loan(struct outq_loan *loan)
{
    loan->count = loan->messages = loan->edge_bytes = 0;
    loan->bytes = 0;
}

// Copies all but the first `written` bytes of the loan to the queue, and ends it. false: the pool is exhausted.
static bool keep_rest(struct outq *queue, struct outq_loan *loan, struct pool *pool, size_t written)
{
    CHECK(written <= loan->bytes);
    bool kept = true;
    for (uint32_t i = 0; i < loan->count && kept; i++) {
        const struct iovec *iov = &loan->iov[i];
        size_t skip = written < iov->iov_len ? written : iov->iov_len;
        written -= skip;
        kept = outq_append(queue, pool, bytes_of((const uint8_t *)iov->iov_base + skip, iov->iov_len - skip));
    }
    outq_drop_loan(loan);
    return kept;
}

bool outq_keep_loan(struct outq *queue, struct outq_loan *loan, struct pool *pool)
{
    return keep_rest(queue, loan, pool, 0);
}

int64_t outq_flush_loan(struct outq *queue, struct outq_loan *loan, struct pool *pool, int fd)
{
    CHECK(loan->bytes > 0);
    struct iovec iov[IOV_MAX_PER_WRITE + sizeof(loan->iov) / sizeof(loan->iov[0])];
    size_t offered = 0, queued = queue->bytes;
    int count = list_blocks(queue, iov, &offered);
    if (offered == queued) { // else the queue alone is more than one write, and the loan joins it
        memcpy(iov + count, loan->iov, loan->count * sizeof(iov[0]));
        count += (int)loan->count;
    }
    ssize_t written = os_writev(fd, iov, count);
    if (written < 0 && written != -EAGAIN) {
        outq_drop_loan(loan);
        return written;
    }
    size_t taken = written > 0 ? (size_t)written : 0;
    size_t of_queue = taken < queued ? taken : queued;
    outq_consume(queue, pool, of_queue);
    return keep_rest(queue, loan, pool, taken - of_queue) ? (int64_t)taken : -ENOMEM;
}

void outq_clear(struct outq *queue, struct pool *pool)
{
    while (queue->head != NULL) {
        struct block *block = queue->head;
        queue->head = block->next;
        pool_give(pool, block);
    }
    *queue = (struct outq){0};
}
