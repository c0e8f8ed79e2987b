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

size_t conn_unsent(const struct conn *conn)
{
    return conn->out.bytes + (conn->tls != NULL ? conn->tls->sealed.bytes : 0);
}

ssize_t conn_transport_read(struct conn *conn, uint8_t *buffer, bool *ret_more)
{
    struct shard *shard = conn->shard;
    if (conn->tls != NULL) {
        ssize_t got = tls_read(shard->tls, conn->tls, conn->source.fd, buffer, SHARD_READ_BYTES, ret_more);
        if (got >= -EAGAIN && conn_unsent(conn) > 0) // the handshake's answer, or what waited for its end
            conn_mark_dirty(conn);
        return got;
    }
    struct iovec iov = {.iov_base = buffer, .iov_len = conn->proxy_awaited ? PROXY_HEAD_MAX : SHARD_READ_BYTES};
    ssize_t got = os_readv(conn->source.fd, &iov, 1);
    *ret_more = got == (ssize_t)iov.iov_len;
    return got;
}

int64_t conn_transport_write(struct conn *conn)
{
    struct shard *shard = conn->shard;
    if (conn->tls != NULL)
        return tls_write(shard->tls, conn->tls, conn->source.fd, &conn->out);
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
