// Who the client behind a proxy is: the PROXY head before everything else, and the fields of a request. See net/proxy.h.
#include "net/proxy.h"

#include "net/shard.h"
#include "shards/base/check.h"
#include "shards/log.h"

size_t conn_proxy_input(struct conn *conn, uint8_t *ptr, size_t len)
{
    struct shard *shard = conn->shard;
    const struct shard_shared *shared = shard->shared;
    size_t head_len = 0;
    CHECK(conn->proxy_awaited && conn->trusted);
    enum proxy_status status = proxy_parse(bytes_of(ptr, len), &conn->peer, &head_len);
    if (status == PROXY_INCOMPLETE)
        return 0;
    if (status == PROXY_BAD) {
        shard->metrics.proxy_refused++;
        LOG(DEBUG, "PROXY_REFUSED", "slot=%u", conn->slot);
        conn_drop(conn, ERROR_PROXY);
        return len;
    }
    conn->proxy_awaited = false;
    conn->address = conn->peer;
    conn->trusted = address_in_ranges(&conn->peer, shared->trusted, shared->trusted_count);
    if (!conn_begin(conn, bytes_of(ptr + head_len, len - head_len)))
        return len;
    return conn->tls != NULL ? len : head_len;
}

void conn_find_client(struct conn *conn, const struct http_request *request)
{
    const struct shard_shared *shared = conn->shard->shared;
    conn->address = conn->peer;
    if (conn->trusted)
        (void)proxy_client(request, shared->trusted, shared->trusted_count, &conn->address);
}
