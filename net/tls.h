// TLS between a connection and its socket. One rule: OpenSSL never touches the descriptor and never blocks: what was read is handed to it,
// what it makes goes to a queue of the connection, so TLS needs no state of its own for partial reads and writes. Thread: the shard's. RFC
// 8446, RFC 5246.
#pragma once
#include "net/metrics.h"
#include "net/outq.h"
#include <openssl/ssl.h>
#include <sys/types.h>

// What the connections of one shard share: the context for new ones, and the buffers between socket and OpenSSL.
struct tls_engine;
// Takes over the reference to `context`. pool and metrics must outlive it. NULL: out of memory (the reference is given up too).
struct tls_engine *tls_engine_create(SSL_CTX *context, struct pool *pool, struct metrics *metrics);
void tls_engine_destroy(struct tls_engine *engine); // takes NULL; no connection may be left
// New connections use `context` from now on, whose reference is taken over; the others keep theirs.
void tls_engine_renew(struct tls_engine *engine, SSL_CTX *context);

struct tls {
    SSL *ssl;
    struct outq sealed;  // records made and not yet taken by the socket
    struct block *early; // what came behind a PROXY head, to be read first
    bool established;    // the handshake is done
    bool failed;         // only destroy is left
};
struct tls *tls_create(struct tls_engine *engine); // the server's side. NULL: out of memory
void tls_destroy(struct tls_engine *engine, struct tls *tls);
// Bytes that were read from the socket by somebody else, before the first tls_read. false: out of memory.
bool tls_put_early(struct tls_engine *engine, struct tls *tls, struct bytes bytes);

// As os_readv, of what the peer says: > 0 bytes, 0 the end, -EAGAIN nothing now, else -errno (-EPROTO: broken TLS, the peer has been told).
// max: at least TLS_READ_BYTES_MIN. *ret_more: another call may find something although the socket reports nothing new.
#define TLS_READ_BYTES_MIN 180224
ssize_t tls_read(struct tls_engine *engine, struct tls *tls, int fd, uint8_t *ptr, size_t max, bool *ret_more);
// Seals what is in `plain` and writes it, in records of up to 16 KiB. >= 0: bytes that the socket took; < 0: -errno.
// Afterwards tls->sealed is empty, or the socket is full. `plain` stays until the handshake is done.
int64_t tls_write(struct tls_engine *engine, struct tls *tls, int fd, struct outq *plain);
// Says that nothing more will follow (close_notify), as far as the socket takes it. The descriptor's writing half is the caller's to end.
void tls_end(struct tls_engine *engine, struct tls *tls, int fd);
