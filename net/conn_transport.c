// Between a connection and its descriptor: plain, or through TLS. See conn.h. Nothing else reads or writes the descriptor.
#include <errno.h>

#include "net/proxy.h"
#include "net/shard.h"
#include "shards/base/check.h"
#include "shards/os.h"

_Static_assert(SHARD_READ_BYTES >= TLS_READ_BYTES_MIN, "a read of TLS fits");

bool conn_begin(struct conn *conn, struct bytes early)
{
    struct shard *shard = conn->shard;
    CHECK(conn->phase == CONN_HEAD && !conn->proxy_awaited && conn->tls == NULL);
    if ((conn->listener->ways & LISTENER_TLS) != 0) {
        conn->tls = tls_create(shard->tls);
        if (conn->tls == NULL || !tls_put_early(shard->tls, conn->tls, early)) {
            conn_drop(conn, ERROR_OUT_OF_MEMORY);
            return false;
        }
        if (early.len > 0)
            conn->source.ready |= EPOLLIN; // epoll has told of it already
    }
    if (conn->listener->room != NULL)
        conn_open(conn, conn->listener->room);
    return true;
}

bool conn_begun(const struct conn *conn)
{
    return !conn->proxy_awaited && (conn->tls == NULL || conn->tls->established);
}

size_t conn_queued(const struct conn *conn)
{
    const struct shard *shard = conn->shard;
    return conn->out.bytes + (shard->borrower == conn ? shard->loan.bytes : 0);
}

size_t conn_unsent(const struct conn *conn)
{
    return conn_queued(conn) + (conn->tls != NULL ? conn->tls->sealed.bytes : 0);
}

ssize_t conn_transport_read(struct conn *conn, struct iovec place, uint8_t *buffer, bool *ret_more)
{
    struct shard *shard = conn->shard;
    CHECK(place.iov_len <= SHARD_READ_BYTES);
    if (conn->tls != NULL) {
        CHECK(place.iov_len == 0);
        ssize_t got = tls_read(shard->tls, conn->tls, conn->source.fd, buffer, SHARD_READ_BYTES, ret_more);
        if (got >= -EAGAIN && conn_unsent(conn) > 0) // the handshake's answer, or what waited for its end
            conn_mark_dirty(conn);
        return got;
    }
    size_t len = conn->proxy_awaited ? PROXY_HEAD_MAX : SHARD_READ_BYTES;
    const struct iovec iov[2] = {place, {.iov_base = buffer, .iov_len = len - place.iov_len}};
    bool has_place = place.iov_len > 0;
    ssize_t got = os_readv(conn->source.fd, has_place ? iov : iov + 1, has_place ? 2 : 1);
    *ret_more = got == (ssize_t)len;
    return got;
}

int64_t conn_transport_write(struct conn *conn)
{
    struct shard *shard = conn->shard;
    CHECK(shard->borrower != conn || conn->tls == NULL);
    if (conn->tls != NULL)
        return tls_write(shard->tls, conn->tls, conn->source.fd, &conn->out);
    if (shard->borrower == conn) {
        shard->borrower = NULL;
        return outq_flush_loan(&conn->out, &shard->loan, shard->pool, conn->source.fd);
    }
    return outq_flush(&conn->out, shard->pool, conn->source.fd);
}

void conn_transport_end(struct conn *conn)
{
    if (conn->tls != NULL)
        tls_end(conn->shard->tls, conn->tls, conn->source.fd);
    os_shutdown_write(conn->source.fd);
}

void conn_transport_close(struct conn *conn)
{
    if (conn->tls != NULL)
        tls_destroy(conn->shard->tls, conn->tls);
    conn->tls = NULL;
    os_close(conn->source.fd);
    conn->source.fd = -1;
}
