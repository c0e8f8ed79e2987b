// Tests of outq: one stream of random pieces, queued and lent, through a socket that takes what it likes; limits; failures.
// A lent payload is destroyed as soon as its loan is over, so that any later look at it shows.
#include "net/outq.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "shards/base/check.h"

#define STREAM_BYTES_MAX (8u << 20)
#define PAYLOAD_BYTES_MAX 20000
#define POOL_BYTES (64u << 20)

static uint64_t seed = 1;

static size_t below(size_t limit)
{
    seed = seed * 6364136223846793005ull + 1442695040888963407ull;
    return (size_t)(seed >> 33) % limit;
}

// A stream whose byte at each place is known, and what has become of it.
struct stream {
    struct outq queue;
    struct outq_loan loan;
    struct pool *pool;
    int fds[2]; // written, read
    size_t queued, read;
    uint8_t payloads[OUTQ_LOAN_MESSAGES_MAX][PAYLOAD_BYTES_MAX];
};

static uint8_t byte_at(size_t place)
{
    return (uint8_t)(place * 2654435761u >> 13);
}

static void fill(struct stream *stream, uint8_t *to, size_t len)
{
    for (size_t i = 0; i < len; i++)
        to[i] = byte_at(stream->queued + i);
    stream->queued += len;
}

static void open_stream(struct stream *stream, size_t pool_bytes)
{
    *stream = (struct stream){.pool = pool_create(pool_bytes)};
    CHECK(stream->pool != NULL && socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, stream->fds) == 0);
    int bytes = 4096;
    CHECK(setsockopt(stream->fds[0], SOL_SOCKET, SO_SNDBUF, &bytes, sizeof(bytes)) == 0);
}

static void close_stream(struct stream *stream)
{
    outq_clear(&stream->queue, stream->pool);
    CHECK(pool_bytes_in_use(stream->pool) == 0);
    pool_destroy(stream->pool);
    close(stream->fds[0]);
    if (stream->fds[1] >= 0)
        close(stream->fds[1]);
}

static void read_some(struct stream *stream, size_t max)
{
    uint8_t buffer[4096];
    while (max > 0) {
        ssize_t got = read(stream->fds[1], buffer, max < sizeof(buffer) ? max : sizeof(buffer));
        if (got <= 0)
            return;
        for (ssize_t i = 0; i < got; i++, stream->read++) {
            if (buffer[i] != byte_at(stream->read))
                fprintf(stderr, "byte %zu is wrong\n", stream->read);
            CHECK(buffer[i] == byte_at(stream->read));
        }
        max -= (size_t)got;
    }
}

static size_t unwritten(const struct stream *stream)
{
    return stream->queue.bytes + stream->loan.bytes;
}

// Ends the loan the one way or the other.
static void settle(struct stream *stream)
{
    if (stream->loan.bytes == 0)
        return;
    size_t before = unwritten(stream);
    int64_t written = 0;
    if (below(4) == 0)
        CHECK(outq_keep_loan(&stream->queue, &stream->loan, stream->pool));
    else
        written = outq_flush_loan(&stream->queue, &stream->loan, stream->pool, stream->fds[0]);
    CHECK(written >= 0 && stream->loan.bytes == 0 && stream->loan.count == 0);
    CHECK(stream->queue.bytes + (size_t)written == before);
    memset(stream->payloads, 0xee, sizeof(stream->payloads));
}

static void lend(struct stream *stream)
{
    uint8_t head[OUTQ_LOAN_EDGE_MAX], tail[OUTQ_LOAN_EDGE_MAX];
    if (stream->loan.messages == OUTQ_LOAN_MESSAGES_MAX)
        settle(stream);
    uint8_t *payload = stream->payloads[stream->loan.messages];
    size_t head_len = below(2) * below(60), tail_len = below(2) * below(36), len = 1 + below(PAYLOAD_BYTES_MAX);
    fill(stream, head, head_len);
    fill(stream, payload, len);
    fill(stream, tail, tail_len);
    CHECK(outq_lend(&stream->loan, bytes_of(head, head_len), bytes_of(payload, len), bytes_of(tail, tail_len)));
}

static void append(struct stream *stream)
{
    static uint8_t bytes[70000];
    settle(stream); // what is appended stands behind what was lent
    size_t len = below(20) == 0 ? below(sizeof(bytes)) : below(300);
    if (below(2) == 0 || len == 0) {
        fill(stream, bytes, len);
        CHECK(outq_append(&stream->queue, stream->pool, bytes_of(bytes, len)));
        return;
    }
    uint8_t *to = outq_reserve(&stream->queue, stream->pool, len);
    CHECK(to != NULL);
    len = below(3) == 0 ? 0 : len;
    fill(stream, to, len);
    outq_commit(&stream->queue, len);
}

static void test_stream(void)
{
    static struct stream stream;
    open_stream(&stream, POOL_BYTES);
    while (stream.queued < STREAM_BYTES_MAX) {
        switch (below(8)) {
        case 0:
        case 1:
        case 2:
            lend(&stream);
            break;
        case 3:
        case 4:
            append(&stream);
            break;
        case 5:
            settle(&stream);
            CHECK(outq_flush(&stream.queue, stream.pool, stream.fds[0]) >= 0);
            break;
        case 6:
            settle(&stream);
            break;
        default:
            read_some(&stream, below(200000));
        }
    }
    settle(&stream);
    while (stream.read < stream.queued) {
        CHECK(outq_flush(&stream.queue, stream.pool, stream.fds[0]) >= 0);
        read_some(&stream, STREAM_BYTES_MAX);
    }
    CHECK(stream.queue.bytes == 0 && stream.queue.head == NULL);
    close_stream(&stream);
}

// A queue of more blocks than one write carries: the loan joins it and keeps its place.
static void test_long_queue(void)
{
    static struct stream stream;
    static uint8_t bytes[16000];
    open_stream(&stream, POOL_BYTES);
    for (int i = 0; i < 80; i++) {
        fill(&stream, bytes, sizeof(bytes));
        CHECK(outq_append(&stream.queue, stream.pool, bytes_of(bytes, sizeof(bytes))));
    }
    lend(&stream);
    settle(&stream);
    while (stream.read < stream.queued) {
        CHECK(outq_flush(&stream.queue, stream.pool, stream.fds[0]) >= 0);
        read_some(&stream, STREAM_BYTES_MAX);
    }
    close_stream(&stream);
}

static void test_full_loan(void)
{
    static struct stream stream;
    static const uint8_t payload[8], edge[OUTQ_LOAN_EDGE_MAX];
    open_stream(&stream, POOL_BYTES);
    for (int i = 0; i < OUTQ_LOAN_MESSAGES_MAX; i++)
        CHECK(outq_lend(&stream.loan, bytes_of(edge, 50), bytes_of(payload, 8), bytes_of(edge, OUTQ_LOAN_EDGE_MAX - 50)));
    size_t bytes = stream.loan.bytes;
    CHECK(bytes == OUTQ_LOAN_MESSAGES_MAX * (8 + OUTQ_LOAN_EDGE_MAX));
    CHECK(!outq_lend(&stream.loan, bytes_of(edge, 1), bytes_of(payload, 8), bytes_of(edge, 0)) && stream.loan.bytes == bytes);
    outq_drop_loan(&stream.loan);
    CHECK(stream.loan.bytes == 0 && stream.queue.bytes == 0);
    CHECK(outq_lend(&stream.loan, bytes_of(edge, 0), bytes_of(payload, 8), bytes_of(edge, 0)));
    CHECK(stream.loan.count == 1);
    outq_drop_loan(&stream.loan);
    close_stream(&stream);
}

static void test_failures(void)
{
    static struct stream stream;
    static uint8_t payload[1u << 20];
    const struct bytes none = bytes_of(NULL, 0);
    open_stream(&stream, 70000); // the rest of a megabyte does not fit
    CHECK(outq_lend(&stream.loan, none, bytes_of(payload, sizeof(payload)), none));
    CHECK(outq_flush_loan(&stream.queue, &stream.loan, stream.pool, stream.fds[0]) == -ENOMEM);
    CHECK(stream.loan.bytes == 0);
    CHECK(outq_lend(&stream.loan, none, bytes_of(payload, sizeof(payload)), none));
    CHECK(!outq_keep_loan(&stream.queue, &stream.loan, stream.pool) && stream.loan.bytes == 0);
    close(stream.fds[1]);
    stream.fds[1] = -1;
    CHECK(outq_lend(&stream.loan, none, bytes_of(payload, 10), none));
    CHECK(outq_flush_loan(&stream.queue, &stream.loan, stream.pool, stream.fds[0]) == -EPIPE);
    CHECK(stream.loan.bytes == 0);
    close_stream(&stream);
}

int main(void)
{
    test_stream();
    test_long_queue();
    test_full_loan();
    test_failures();
    return 0;
}
