// See leg.h.
#include "tools/bench/leg.h"

#include "shards/base/check.h"
#include "tools/bench/selfsigned.h"
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

SSL_CTX *leg_context(bool server, bool read_ahead)
{
    SSL_CTX *context = SSL_CTX_new(server ? TLS_server_method() : TLS_client_method());
    if (!context)
        return NULL;
    SSL_CTX_set_mode(context, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    SSL_CTX_set_read_ahead(context, read_ahead);
    SSL_CTX_set_num_tickets(context, 0);
    if (SSL_CTX_set_min_proto_version(context, TLS1_3_VERSION) != 1 || (server && !selfsigned_use(context))) {
        SSL_CTX_free(context);
        return NULL;
    }
    return context;
}

bool leg_open(struct leg *ret_leg, int fd, SSL_CTX *context, bool server)
{
    struct leg leg = {.fd = fd};
    CHECK(fd >= 0);
    if (context) {
        leg.ssl = SSL_new(context);
        if (!leg.ssl || SSL_set_fd(leg.ssl, fd) != 1 || (server ? SSL_accept(leg.ssl) : SSL_connect(leg.ssl)) != 1) {
            leg_close(&leg);
            return false;
        }
    }
    int one = 1;
    if (fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK) != 0 || setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one) != 0) {
        leg_close(&leg);
        return false;
    }
    *ret_leg = leg;
    return true;
}

void leg_close(struct leg *leg)
{
    SSL_free(leg->ssl);
    close(leg->fd);
    *leg = (struct leg){.fd = -1};
}

static ssize_t tls_result(struct leg *leg, int result)
{
    switch (SSL_get_error(leg->ssl, result)) {
    case SSL_ERROR_WANT_READ:
    case SSL_ERROR_WANT_WRITE:
        return -EAGAIN;
    case SSL_ERROR_ZERO_RETURN:
    case SSL_ERROR_SYSCALL:
        return 0;
    default:
        return -EPROTO;
    }
}

ssize_t leg_read(struct leg *leg, uint8_t *buf, size_t len)
{
    CHECK(len > 0);
    if (!leg->ssl) {
        ssize_t n = recv(leg->fd, buf, len, 0);
        return n < 0 ? (errno == ECONNRESET ? 0 : -errno) : n;
    }
    size_t got = 0;
    while (got < len) {
        int n = SSL_read(leg->ssl, buf + got, (int)(len - got));
        if (n <= 0)
            return got > 0 ? (ssize_t)got : tls_result(leg, n);
        got += (size_t)n;
    }
    return (ssize_t)got;
}

ssize_t leg_write(struct leg *leg, const uint8_t *buf, size_t len)
{
    CHECK(len > 0);
    if (!leg->ssl) {
        ssize_t n = send(leg->fd, buf, len, MSG_NOSIGNAL);
        return n < 0 ? -errno : n;
    }
    size_t put = 0;
    while (put < len) {
        int n = SSL_write(leg->ssl, buf + put, (int)(len - put));
        if (n <= 0)
            return put > 0 ? (ssize_t)put : tls_result(leg, n);
        put += (size_t)n;
    }
    return (ssize_t)put;
}
