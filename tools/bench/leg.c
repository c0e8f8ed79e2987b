// See leg.h.
#include "tools/bench/leg.h"

#include "net/tls_context.h"
#include "shards/base/check.h"
#include "tools/bench/selfsigned.h"
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define BATCH_BYTES (160u * 1024)  // of one read, and payload of one write
#define SEALED_BYTES (168u * 1024) // BATCH_BYTES as records
_Static_assert(BATCH_BYTES + LEG_RECORD_BYTES <= LEG_READ_BYTES_MIN, "a read and the record that it ends");

// Between socket and OpenSSL: empty between calls.
static struct {
    const uint8_t *in, *in_end;
    size_t sealed_bytes;
    uint8_t raw[BATCH_BYTES];
    uint8_t sealed[SEALED_BYTES];
} wire;

static int wire_read(BIO *bio, char *ptr, int max)
{
    size_t left = (size_t)(wire.in_end - wire.in);
    size_t len = left < (size_t)max ? left : (size_t)max;
    BIO_clear_retry_flags(bio);
    if (len == 0) {
        BIO_set_retry_read(bio);
        return -1;
    }
    memcpy(ptr, wire.in, len);
    wire.in += len;
    return (int)len;
}

static int wire_write(BIO *bio, const char *ptr, int len)
{
    BIO_clear_retry_flags(bio);
    CHECK(len > 0 && wire.sealed_bytes + (size_t)len <= sizeof wire.sealed);
    memcpy(wire.sealed + wire.sealed_bytes, ptr, (size_t)len);
    wire.sealed_bytes += (size_t)len;
    return len;
}

static long wire_control(BIO *bio, int command, long number, void *ptr)
{
    (void)bio, (void)number, (void)ptr;
    return command == BIO_CTRL_FLUSH;
}

// One for all legs: it holds nothing of a leg. Goes with the process.
static BIO *wire_bio(void)
{
    static BIO *bio;
    if (bio)
        return bio;
    BIO_METHOD *method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "wire");
    if (method && BIO_meth_set_read(method, wire_read) == 1 && BIO_meth_set_write(method, wire_write) == 1 &&
        BIO_meth_set_ctrl(method, wire_control) == 1)
        bio = BIO_new(method);
    if (bio)
        BIO_set_init(bio, 1);
    return bio;
}

SSL_CTX *leg_context(bool server)
{
    SSL_CTX *context = SSL_CTX_new(server ? TLS_server_method() : TLS_client_method());
    if (!context)
        return NULL;
    SSL_CTX_set_num_tickets(context, 0);
    if (SSL_CTX_set_min_proto_version(context, TLS1_3_VERSION) != 1 || SSL_CTX_set_ciphersuites(context, TLS_CONTEXT_SUITES) != 1 ||
        (server && !selfsigned_use(context))) {
        SSL_CTX_free(context);
        return NULL;
    }
    return context;
}

// The handshake on the socket itself, everything after it through the wire.
static bool shake_hands(struct leg *leg, SSL_CTX *context, bool server)
{
    BIO *bio = wire_bio();
    leg->ssl = SSL_new(context);
    if (!leg->ssl || !bio || SSL_set_fd(leg->ssl, leg->fd) != 1 || (server ? SSL_accept(leg->ssl) : SSL_connect(leg->ssl)) != 1)
        return false;
    CHECK(SSL_has_pending(leg->ssl) == 0 && BIO_up_ref(bio) == 1);
    SSL_set_bio(leg->ssl, bio, bio); // takes that reference
    return true;
}

bool leg_open(struct leg *ret_leg, int fd, SSL_CTX *context, bool server)
{
    struct leg leg = {.fd = fd};
    int one = 1;
    CHECK(fd >= 0);
    if ((context && !shake_hands(&leg, context, server)) || fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK) != 0 ||
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one) != 0) {
        leg_close(&leg);
        return false;
    }
    *ret_leg = leg;
    return true;
}

void leg_close(struct leg *leg)
{
    SSL_free(leg->ssl);
    free(leg->unsent);
    close(leg->fd);
    *leg = (struct leg){.fd = -1};
}

ssize_t leg_read(struct leg *leg, uint8_t *buf, size_t len)
{
    CHECK(len >= LEG_READ_BYTES_MIN && wire.in == wire.in_end);
    ssize_t n = leg->ssl ? recv(leg->fd, wire.raw, sizeof wire.raw, 0) : recv(leg->fd, buf, len, 0);
    if (n < 0)
        return errno == ECONNRESET ? 0 : -errno;
    if (!leg->ssl || n == 0)
        return n;
    size_t got = 0;
    int result = 1;
    wire.in = wire.raw;
    wire.in_end = wire.raw + n;
    while (wire.in < wire.in_end && result > 0) {
        result = SSL_read(leg->ssl, buf + got, (int)(len - got));
        got += result > 0 ? (size_t)result : 0;
    }
    if (result <= 0 && SSL_get_error(leg->ssl, result) != SSL_ERROR_WANT_READ) {
        wire.in = wire.in_end;
        return -EPROTO;
    }
    CHECK(wire.in == wire.in_end);
    return got > 0 ? (ssize_t)got : -EAGAIN;
}

static ssize_t socket_send(struct leg *leg, const uint8_t *buf, size_t len)
{
    ssize_t n = send(leg->fd, buf, len, MSG_NOSIGNAL);
    return n < 0 ? -errno : n;
}

int leg_flush(struct leg *leg)
{
    if (leg->unsent_bytes == 0)
        return 0;
    ssize_t n = socket_send(leg, leg->unsent, leg->unsent_bytes);
    if (n < 0)
        return (int)n;
    leg->unsent_bytes -= (size_t)n;
    memmove(leg->unsent, leg->unsent + n, leg->unsent_bytes);
    return leg->unsent_bytes == 0 ? 0 : -EAGAIN;
}

ssize_t leg_write(struct leg *leg, const uint8_t *buf, size_t len)
{
    CHECK(len > 0 && wire.sealed_bytes == 0);
    if (!leg->ssl)
        return socket_send(leg, buf, len);
    int status = leg_flush(leg);
    if (status != 0)
        return status;
    if (!leg->unsent && !(leg->unsent = malloc(SEALED_BYTES)))
        return -ENOMEM;
    if (len > BATCH_BYTES)
        len = BATCH_BYTES;
    bool sealed = SSL_write(leg->ssl, buf, (int)len) == (int)len;
    size_t bytes = wire.sealed_bytes;
    wire.sealed_bytes = 0;
    if (!sealed)
        return -EPROTO;
    ssize_t n = socket_send(leg, wire.sealed, bytes);
    if (n < 0 && n != -EAGAIN)
        return n;
    size_t sent = n > 0 ? (size_t)n : 0;
    leg->unsent_bytes = bytes - sent;
    memcpy(leg->unsent, wire.sealed + sent, leg->unsent_bytes);
    return (ssize_t)len;
}
