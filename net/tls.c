// TLS between a connection and its socket: see tls.h.
#include "net/tls.h"

#include <errno.h>
#include <openssl/err.h>
#include <stdlib.h>

#include "shards/base/check.h"
#include "shards/log.h"
#include "shards/os.h"

#define RECORD_BYTES 16384 // payload of one record, RFC 8446 5.1
#define RAW_BYTES                                                                                                                          \
    (TLS_READ_BYTES_MIN - RECORD_BYTES - 1024) // one read: its payload and that of a record half read fit into the caller's buffer
#define BATCH_BYTES 147456                     // sealed before the socket is asked
#define SEALED_BYTES_MAX (BATCH_BYTES + RECORD_BYTES + 32768) // a peer that asks for answers (KeyUpdate) and takes none ends here
#define ROUNDS_MAX 8                                          // reads without payload in one call; more is abuse

struct tls_engine {
    SSL_CTX *context;
    struct pool *pool;
    struct metrics *metrics;
    BIO_METHOD *method;
    BIO *bio;                   // one for all: it holds nothing of a connection, and one each would take 210 bytes more
    struct tls *current;        // the connection that OpenSSL works for
    const uint8_t *in, *in_end; // what it may read
    size_t made_bytes;          // of `made`: what it has written; taken away at the end of each call
    uint8_t raw[RAW_BYTES];
    uint8_t record[RECORD_BYTES];
    uint8_t made[SEALED_BYTES_MAX];
};

// ---- OpenSSL's side: a BIO that reads from engine->in and writes to engine->made ----

static int bio_read(BIO *bio, char *ptr, int max)
{
    struct tls_engine *engine = BIO_get_data(bio);
    size_t left = (size_t)(engine->in_end - engine->in);
    BIO_clear_retry_flags(bio);
    if (left == 0) {
        BIO_set_retry_read(bio);
        return -1;
    }
    size_t len = left < (size_t)max ? left : (size_t)max;
    memcpy(ptr, engine->in, len);
    engine->in += len;
    return (int)len;
}

static int bio_write(BIO *bio, const char *ptr, int len)
{
    struct tls_engine *engine = BIO_get_data(bio);
    BIO_clear_retry_flags(bio);
    if (len <= 0)
        return 0;
    if (engine->current->sealed.bytes + engine->made_bytes + (size_t)len > SEALED_BYTES_MAX)
        return -1;
    memcpy(engine->made + engine->made_bytes, ptr, (size_t)len);
    engine->made_bytes += (size_t)len;
    return len;
}

static long bio_control(BIO *bio, int command, long number, void *ptr)
{
    (void)bio, (void)number, (void)ptr;
    return command == BIO_CTRL_FLUSH; // the handshake flushes; there is nothing else to do
}

static BIO_METHOD *create_method(void)
{
    BIO_METHOD *method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "shardrelay");
    if (method != NULL && BIO_meth_set_read(method, bio_read) == 1 && BIO_meth_set_write(method, bio_write) == 1 &&
        BIO_meth_set_ctrl(method, bio_control) == 1)
        return method;
    BIO_meth_free(method);
    return NULL;
}

// ---- engine and connection ----

struct tls_engine *tls_engine_create(SSL_CTX *context, struct pool *pool, struct metrics *metrics)
{
    CHECK(context != NULL && pool != NULL);
    struct tls_engine *engine = calloc(1, sizeof(*engine));
    BIO_METHOD *method = create_method();
    BIO *bio = method != NULL ? BIO_new(method) : NULL;
    if (engine == NULL || bio == NULL) {
        free(engine);
        BIO_free(bio);
        BIO_meth_free(method);
        SSL_CTX_free(context);
        return NULL;
    }
    engine->context = context;
    engine->pool = pool;
    engine->metrics = metrics;
    engine->method = method;
    engine->bio = bio;
    BIO_set_data(bio, engine);
    BIO_set_init(bio, 1);
    return engine;
}

void tls_engine_destroy(struct tls_engine *engine)
{
    if (engine == NULL)
        return;
    CHECK(engine->current == NULL);
    SSL_CTX_free(engine->context);
    BIO_free(engine->bio);
    BIO_meth_free(engine->method);
    free(engine);
}

void tls_engine_renew(struct tls_engine *engine, SSL_CTX *context)
{
    CHECK(context != NULL && context != engine->context);
    SSL_CTX_free(engine->context);
    engine->context = context;
}

struct tls *tls_create(struct tls_engine *engine)
{
    struct tls *tls = calloc(1, sizeof(*tls));
    SSL *ssl = SSL_new(engine->context);
    if (tls == NULL || ssl == NULL || BIO_up_ref(engine->bio) != 1) {
        ERR_clear_error();
        free(tls);
        SSL_free(ssl);
        return NULL;
    }
    SSL_set_bio(ssl, engine->bio, engine->bio); // takes that reference
    SSL_set_accept_state(ssl);
    tls->ssl = ssl;
    return tls;
}

void tls_destroy(struct tls_engine *engine, struct tls *tls)
{
    if (tls == NULL)
        return;
    CHECK(engine->current == NULL);
    outq_clear(&tls->sealed, engine->pool);
    pool_give(engine->pool, tls->early);
    SSL_free(tls->ssl);
    free(tls);
}

bool tls_put_early(struct tls_engine *engine, struct tls *tls, struct bytes bytes)
{
    CHECK(tls->early == NULL && !tls->established);
    CHECK(bytes.len <= RAW_BYTES);
    if (bytes.len == 0)
        return true;
    tls->early = pool_take(engine->pool, bytes.len);
    if (tls->early == NULL)
        return false;
    memcpy(tls->early->data, bytes.ptr, bytes.len);
    tls->early->end = (uint32_t)bytes.len;
    return true;
}

// Puts the engine to work for `tls`. Errors that others have left would be taken for OpenSSL's; clearing none costs 800 instructions.
static void begin_work(struct tls_engine *engine, struct tls *tls)
{
    CHECK(engine->current == NULL && engine->made_bytes == 0);
    if (ERR_peek_error() != 0)
        ERR_clear_error();
    engine->current = tls;
}

// ... and queues what it has made, from `sent` on. false: out of memory, with a hole in the stream.
static bool end_work(struct tls_engine *engine, size_t sent)
{
    struct tls *tls = engine->current;
    size_t len = engine->made_bytes - sent;
    CHECK(sent <= engine->made_bytes);
    engine->made_bytes = 0;
    engine->current = NULL;
    return len == 0 || outq_append(&tls->sealed, engine->pool, bytes_of(engine->made + sent, len));
}

// ---- reading ----

// Broken TLS: the alert that OpenSSL has left is sent as far as it goes; a browser that speaks HTTP is told so.
static void fail(struct tls_engine *engine, struct tls *tls, int fd)
{
    static const char plain_answer[] = "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: 38\r\n"
                                       "Connection: close\r\n\r\nThis port speaks TLS: use https or wss";
    unsigned long code = ERR_peek_error();
    const char *reason = ERR_reason_error_string(code);
    struct log_value buffer;
    LOG(DEBUG, "TLS_FAILED", "reason=%s", log_value(reason != NULL ? reason : "unknown", &buffer));
    tls->failed = true;
    engine->metrics->tls_failed++;
    if (ERR_GET_LIB(code) == ERR_LIB_SSL && ERR_GET_REASON(code) == SSL_R_HTTP_REQUEST)
        (void)outq_append(&tls->sealed, engine->pool, bytes_of(plain_answer, sizeof(plain_answer) - 1));
    (void)outq_flush(&tls->sealed, engine->pool, fd);
}

// Takes a reference to a key over, wipes the key and leaves its shell to the connection.
static void wipe_key(EVP_PKEY *key)
{
    (void)EVP_PKEY_set_type(key, EVP_PKEY_get_base_id(key)); // frees what a key of any type holds
    EVP_PKEY_free(key);
}

// OpenSSL keeps for the life of a connection what only its handshake has needed: both ephemeral keys, ours even with its private half, and
// references to the certificates. 480 bytes.
static void forget_handshake(SSL *ssl)
{
    EVP_PKEY *key = NULL;
    if (SSL_get_tmp_key(ssl, &key) == 1)
        wipe_key(key);
    if (SSL_get_peer_tmp_key(ssl, &key) == 1)
        wipe_key(key);
    SSL_certs_clear(ssl);
}

static void note_established(struct tls_engine *engine, struct tls *tls)
{
    if (tls->established || !SSL_is_init_finished(tls->ssl))
        return;
    tls->established = true;
    engine->metrics->tls_handshakes++;
    if (SSL_session_reused(tls->ssl))
        engine->metrics->tls_resumed++;
    forget_handshake(tls->ssl);
}

// All of engine->in into payload: > 0 bytes, 0 close_notify, -EAGAIN none, -EPROTO.
static ssize_t open_records(struct tls_engine *engine, struct tls *tls, int fd, uint8_t *ptr, size_t max)
{
    size_t total = 0;
    int result = 1;
    begin_work(engine, tls);
    while (result > 0 && engine->in < engine->in_end) {
        CHECK(max - total > 0);
        result = SSL_read(tls->ssl, ptr + total, (int)(max - total));
        if (result > 0)
            total += (size_t)result;
    }
    int why = result > 0 ? SSL_ERROR_NONE : SSL_get_error(tls->ssl, result);
    note_established(engine, tls);
    bool kept = end_work(engine, 0);
    if (!kept || (why != SSL_ERROR_NONE && why != SSL_ERROR_WANT_READ && why != SSL_ERROR_ZERO_RETURN))
        fail(engine, tls, fd);
    CHECK(why != SSL_ERROR_WANT_READ || engine->in == engine->in_end);
    CHECK(SSL_pending(tls->ssl) == 0 || tls->failed);
    engine->in = engine->in_end = NULL; // behind close_notify nothing counts
    if (total > 0)
        return (ssize_t)total;
    return tls->failed ? -EPROTO : why == SSL_ERROR_ZERO_RETURN ? 0 : -EAGAIN;
}

static bool peer_ended(const struct tls *tls)
{
    return (SSL_get_shutdown(tls->ssl) & SSL_RECEIVED_SHUTDOWN) != 0;
}

ssize_t tls_read(struct tls_engine *engine, struct tls *tls, int fd, uint8_t *ptr, size_t max, bool *ret_more)
{
    CHECK(engine->current == NULL && max >= TLS_READ_BYTES_MIN);
    *ret_more = false;
    for (unsigned round = 0; round < ROUNDS_MAX; round++) {
        if (tls->failed)
            return -EPROTO;
        if (peer_ended(tls))
            return 0;
        struct block *early = tls->early;
        struct iovec iov = {.iov_base = engine->raw, .iov_len = RAW_BYTES};
        ssize_t raw = early != NULL ? (ssize_t)early->end : os_readv(fd, &iov, 1);
        if (raw <= 0)
            return raw;
        engine->in = early != NULL ? early->data : engine->raw;
        engine->in_end = engine->in + raw;
        ssize_t got = open_records(engine, tls, fd, ptr, max);
        pool_give(engine->pool, early);
        tls->early = NULL;
        *ret_more = early != NULL || raw == RAW_BYTES || tls->failed || peer_ended(tls);
        if (got != -EAGAIN)
            return got;
    }
    fail(engine, tls, fd);
    return -EPROTO;
}

// ---- writing ----

// Up to BATCH_BYTES of `plain` as records in engine->made.
static bool seal(struct tls_engine *engine, struct tls *tls, struct outq *plain)
{
    CHECK(tls->sealed.bytes == 0 && engine->current == tls);
    while (plain->bytes > 0 && engine->made_bytes < BATCH_BYTES) {
        struct bytes piece = outq_front(plain, engine->record, RECORD_BYTES);
        if (SSL_write(tls->ssl, piece.ptr, (int)piece.len) != (int)piece.len)
            return false;
        outq_consume(plain, engine->pool, piece.len);
    }
    return true;
}

// Seals a batch and writes it: bytes that the socket took, what it did not take is in tls->sealed; < 0: -errno.
static int64_t write_batch(struct tls_engine *engine, struct tls *tls, int fd, struct outq *plain)
{
    begin_work(engine, tls);
    bool sealed = seal(engine, tls, plain);
    struct iovec iov = {.iov_base = engine->made, .iov_len = engine->made_bytes};
    ssize_t written = sealed ? os_writev(fd, &iov, 1) : -EPROTO;
    bool kept = end_work(engine, written > 0 ? (size_t)written : 0);
    if (sealed && kept)
        return written == -EAGAIN ? 0 : written;
    tls->failed = true;
    engine->metrics->tls_failed++;
    return sealed ? -ENOMEM : -EPROTO;
}

int64_t tls_write(struct tls_engine *engine, struct tls *tls, int fd, struct outq *plain)
{
    if (tls->failed)
        return -EPROTO;
    int64_t total = outq_flush(&tls->sealed, engine->pool, fd);
    while (total >= 0 && tls->sealed.bytes == 0 && plain->bytes > 0 && tls->established) {
        int64_t written = write_batch(engine, tls, fd, plain);
        if (written < 0)
            return written;
        total += written;
    }
    return total;
}

void tls_end(struct tls_engine *engine, struct tls *tls, int fd)
{
    if (tls->failed || !tls->established)
        return;
    begin_work(engine, tls);
    (void)SSL_shutdown(tls->ssl); // 0: the peer's has not come, which is not waited for
    if (end_work(engine, 0))
        (void)outq_flush(&tls->sealed, engine->pool, fd);
}
