// One TCP or TLS connection. Opening waits (poll with a deadline); afterwards nothing blocks.
#include "shards/base/check.h"
#include "tools/client.h"
#include <arpa/inet.h>
#include <errno.h>
#include <limits.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <poll.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#define OPEN_TIMEOUT_NS 30000000000u

static bool wait_for(int fd, short events, uint64_t deadline_ns)
{
    struct pollfd pollfd = {.fd = fd, .events = events};
    for (;;) {
        uint64_t now_ns = client_now_ns();
        if (now_ns >= deadline_ns)
            return false;
        int ready = poll(&pollfd, 1, (int)((deadline_ns - now_ns) / 1000000u) + 1);
        if (ready > 0)
            return true;
        if (ready < 0 && errno != EINTR)
            return false;
    }
}

// A relay that vanished without a word is noticed by the kernel in two minutes.
static void watch(int fd)
{
    static const int on = 1;
    static const int idle_s = 60;
    static const int interval_s = 15;
    static const int count = 4;
    setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle_s, sizeof idle_s);
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &interval_s, sizeof interval_s);
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &count, sizeof count);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

static int connect_one(const struct addrinfo *address, uint64_t deadline_ns)
{
    int why = 0;
    socklen_t why_bytes = sizeof why;
    int fd = socket(address->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    if (connect(fd, address->ai_addr, address->ai_addrlen) == 0)
        return fd;
    if (errno == EINPROGRESS && !wait_for(fd, POLLOUT, deadline_ns))
        why = ETIMEDOUT;
    else if (errno != EINPROGRESS)
        why = errno;
    else
        getsockopt(fd, SOL_SOCKET, SO_ERROR, &why, &why_bytes);
    if (why == 0)
        return fd;
    close(fd);
    return -why;
}

static enum client_exit connect_any(const struct client_url *url, uint64_t deadline_ns, int *ret_fd, char *error_text)
{
    static const struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_ADDRCONFIG | AI_NUMERICSERV};
    struct addrinfo *list;
    int bad = getaddrinfo(url->host, url->port, &hints, &list);
    if (bad != 0) {
        snprintf(error_text, CLIENT_ERROR_MAX, "%.200s: %s", url->host, gai_strerror(bad));
        return bad == EAI_AGAIN ? CLIENT_AGAIN : CLIENT_FAILED;
    }
    int fd = -EHOSTUNREACH;
    for (const struct addrinfo *address = list; address != NULL && fd < 0; address = address->ai_next)
        fd = connect_one(address, deadline_ns);
    freeaddrinfo(list);
    if (fd < 0) {
        snprintf(error_text, CLIENT_ERROR_MAX, "cannot connect to %.200s port %s: %s", url->host, url->port, strerror(-fd));
        return CLIENT_AGAIN;
    }
    watch(fd);
    *ret_fd = fd;
    return CLIENT_OK;
}

static void tls_error(const struct transport *transport, const char *what, char *error_text)
{
    long verdict = transport->ssl != NULL ? SSL_get_verify_result(transport->ssl) : X509_V_OK;
    unsigned long code = ERR_peek_last_error();
    const char *why = verdict != X509_V_OK ? X509_verify_cert_error_string(verdict) : code != 0 ? ERR_reason_error_string(code) : NULL;
    snprintf(error_text, CLIENT_ERROR_MAX, "TLS: %s: %s", what, why != NULL ? why : "the connection was lost");
    ERR_clear_error();
}

static bool tls_prepare(struct transport *transport, const struct client_options *options, const struct client_url *url)
{
    struct in6_addr address;
    transport->ssl_ctx = SSL_CTX_new(TLS_client_method());
    if (transport->ssl_ctx == NULL || SSL_CTX_set_min_proto_version(transport->ssl_ctx, TLS1_2_VERSION) != 1)
        return false;
    SSL_CTX_set_verify(transport->ssl_ctx, options->insecure ? SSL_VERIFY_NONE : SSL_VERIFY_PEER, NULL);
    SSL_CTX_set_mode(transport->ssl_ctx, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    int trusted = options->ca_file != NULL ? SSL_CTX_load_verify_file(transport->ssl_ctx, options->ca_file)
                                           : SSL_CTX_set_default_verify_paths(transport->ssl_ctx);
    if (trusted != 1)
        return false;
    transport->ssl = SSL_new(transport->ssl_ctx);
    if (transport->ssl == NULL || SSL_set_fd(transport->ssl, transport->fd) != 1)
        return false;
    bool numeric = inet_pton(AF_INET, url->host, &address) == 1 || inet_pton(AF_INET6, url->host, &address) == 1;
    if (numeric) // certificates name addresses apart from hosts, and SNI takes no address (RFC 6066 3)
        return X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(transport->ssl), url->host) == 1;
    SSL_set_hostflags(transport->ssl, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
    return SSL_set_tlsext_host_name(transport->ssl, url->host) == 1 && SSL_set1_host(transport->ssl, url->host) == 1;
}

static enum client_exit tls_shake(struct transport *transport, uint64_t deadline_ns, char *error_text)
{
    for (;;) {
        ERR_clear_error();
        int done = SSL_connect(transport->ssl);
        if (done == 1)
            return CLIENT_OK;
        int why = SSL_get_error(transport->ssl, done);
        if (why != SSL_ERROR_WANT_READ && why != SSL_ERROR_WANT_WRITE) {
            tls_error(transport, "no handshake", error_text);
            return CLIENT_FAILED;
        }
        if (!wait_for(transport->fd, why == SSL_ERROR_WANT_READ ? POLLIN : POLLOUT, deadline_ns)) {
            snprintf(error_text, CLIENT_ERROR_MAX, "TLS: no handshake within 30 s");
            return CLIENT_AGAIN;
        }
    }
}

enum client_exit transport_open(struct transport *transport, const struct client_options *options, const struct client_url *url,
                                char *error_text)
{
    CHECK(error_text != NULL);
    *transport = (struct transport){.fd = -1};
    uint64_t deadline_ns = client_now_ns() + OPEN_TIMEOUT_NS;
    enum client_exit result = connect_any(url, deadline_ns, &transport->fd, error_text);
    if (result != CLIENT_OK || !url->tls)
        return result;
    ERR_clear_error();
    if (!tls_prepare(transport, options, url)) {
        tls_error(transport, options->ca_file != NULL ? options->ca_file : "set-up", error_text);
        return CLIENT_FAILED;
    }
    return tls_shake(transport, deadline_ns, error_text);
}

static int64_t tls_result(struct transport *transport, int result, bool reading)
{
    if (result > 0)
        return result;
    int why = SSL_get_error(transport->ssl, result);
    ERR_clear_error();
    if (why == SSL_ERROR_WANT_WRITE && reading)
        transport->wants_write = true;
    return why == SSL_ERROR_WANT_READ || why == SSL_ERROR_WANT_WRITE ? TRANSPORT_AGAIN : TRANSPORT_LOST;
}

static int64_t plain_result(ssize_t result)
{
    if (result > 0)
        return result;
    return result < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR) ? TRANSPORT_AGAIN : TRANSPORT_LOST;
}

int64_t transport_read(struct transport *transport, uint8_t *buf, size_t max)
{
    CHECK(transport->fd >= 0 && max > 0);
    if (transport->ssl == NULL)
        return plain_result(recv(transport->fd, buf, max, 0));
    transport->wants_write = false;
    return tls_result(transport, SSL_read(transport->ssl, buf, max < INT_MAX ? (int)max : INT_MAX), true);
}

int64_t transport_write(struct transport *transport, const uint8_t *ptr, size_t len)
{
    CHECK(transport->fd >= 0 && len > 0);
    if (transport->ssl == NULL)
        return plain_result(send(transport->fd, ptr, len, MSG_NOSIGNAL));
    return tls_result(transport, SSL_write(transport->ssl, ptr, len < INT_MAX ? (int)len : INT_MAX), false);
}

void transport_close(struct transport *transport)
{
    if (transport->ssl != NULL) {
        SSL_shutdown(transport->ssl);
        ERR_clear_error();
    }
    SSL_free(transport->ssl);
    SSL_CTX_free(transport->ssl_ctx);
    if (transport->fd >= 0)
        close(transport->fd);
    *transport = (struct transport){.fd = -1};
}
