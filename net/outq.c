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
        size_t wanted = tail == NULL ? BLOCK_BYTES_FIRST : BLOCK_BYTES_BUSY;
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

int64_t outq_flush(struct outq *queue, struct pool *pool, int fd)
{
    int64_t total = 0;
    while (queue->bytes > 0) {
        struct iovec iov[IOV_MAX_PER_WRITE];
        int count = 0;
        size_t offered = 0;
        for (struct block *block = queue->head; block != NULL && count < IOV_MAX_PER_WRITE; block = block->next) {
            iov[count++] = (struct iovec){.iov_base = block->data + block->start, .iov_len = block->end - block->start};
            offered += block->end - block->start;
        }
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

void outq_clear(struct outq *queue, struct pool *pool)
{
    while (queue->head != NULL) {
        struct block *block = queue->head;
        queue->head = block->next;
        pool_give(pool, block);
    }
    *queue = (struct outq){0};
}
