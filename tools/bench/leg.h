// One end of a loopback connection, plain or TLS, non-blocking, for the floor's relay and its load generator.
// One rule: one read and one write for each call, TLS or not, so that the floor makes no system call that a relay could save.
// Thread: the process's only one, since all TLS legs share the buffers between socket and OpenSSL.
#pragma once
#include <openssl/ssl.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define LEG_RECORD_BYTES 16384 // payload of one TLS record, RFC 8446 5.1

struct leg {
    int fd;
    SSL *ssl;        // NULL: plain
    uint8_t *unsent; // records that the socket did not take
    size_t unsent_bytes;
};

// Client context (no verification) or server context (self-signed) for TLS 1.3. NULL when OpenSSL fails.
SSL_CTX *leg_context(bool server);
// Blocking handshake on fd if context is given, then non-blocking and TCP_NODELAY. false: failed, fd is closed.
bool leg_open(struct leg *ret_leg, int fd, SSL_CTX *context, bool server);
void leg_close(struct leg *leg);

// Bytes that have come, of one read; -EAGAIN; 0: end; other -errno. len: at least LEG_READ_BYTES_MIN.
#define LEG_READ_BYTES_MIN (192u * 1024)
ssize_t leg_read(struct leg *leg, uint8_t *buf, size_t len);
// Bytes taken, which may be fewer than len; -EAGAIN when none. TLS: what the socket does not take at once waits for leg_flush.
ssize_t leg_write(struct leg *leg, const uint8_t *buf, size_t len);
int leg_flush(struct leg *leg); // 0: nothing waits; -EAGAIN: something does; other -errno
