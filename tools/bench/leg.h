// One end of a loopback connection, plain or TLS, non-blocking, for the floor's relay and its load generator.
#pragma once
#include <openssl/ssl.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct leg {
    int fd;
    SSL *ssl; // NULL: plain
};

// Client context (no verification) or server context (self-signed) for TLS 1.3, buffers released when idle. NULL when OpenSSL fails.
SSL_CTX *leg_context(bool server, bool read_ahead);
// Blocking handshake on fd if context is given, then non-blocking and TCP_NODELAY. false: failed, fd is closed.
bool leg_open(struct leg *ret_leg, int fd, SSL_CTX *context, bool server);
void leg_close(struct leg *leg);

// Bytes moved (a TLS read goes on until nothing is left or the buffer is full); -EAGAIN; 0: end; other -errno.
ssize_t leg_read(struct leg *leg, uint8_t *buf, size_t len);
// Bytes taken, which may be fewer than len; -EAGAIN when none.
ssize_t leg_write(struct leg *leg, const uint8_t *buf, size_t len);
