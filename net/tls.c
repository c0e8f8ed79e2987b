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
#define BATCH_BYTES 65536                      // sealed before the socket is asked
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
    uint8_t raw[RAW_BYTES];
    uint8_t record[RECORD_BYTES];
};

// ---- OpenSSL's side: a BIO that reads from engine->in and writes to current->sealed ----

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
    struct outq *sealed = &engine->current->sealed;
    BIO_clear_retry_flags(bio);
    if (len <= 0)
        return 0;
    if (sealed->bytes + (size_t)len > SEALED_BYTES_MAX || !outq_append(sealed, engine->pool, bytes_of(ptr, (size_t)len)))
        return -1;
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
    ERR_clear_error();
}

static void note_established(struct tls_engine *engine, struct tls *tls)
{
    if (tls->established || !SSL_is_init_finished(tls->ssl))
        return;
    tls->established = true;
    engine->metrics->tls_handshakes++;
    if (SSL_session_reused(tls->ssl))
        engine->metrics->tls_resumed++;
}

// All of engine->in into payload: > 0 bytes, 0 close_notify, -EAGAIN none, -EPROTO.
static ssize_t open_records(struct tls_engine *engine, struct tls *tls, int fd, uint8_t *ptr, size_t max)
{
    size_t total = 0;
    int result = 1;
    engine->current = tls;
    while (result > 0 && engine->in < engine->in_end) {
        CHECK(max - total > 0);
        ERR_clear_error();
        result = SSL_read(tls->ssl, ptr + total, (int)(max - total));
        if (result > 0)
            total += (size_t)result;
    }
    int why = result > 0 ? SSL_ERROR_NONE : SSL_get_error(tls->ssl, result);
    note_established(engine, tls);
    if (why != SSL_ERROR_NONE && why != SSL_ERROR_WANT_READ && why != SSL_ERROR_ZERO_RETURN)
        fail(engine, tls, fd);
    CHECK(why != SSL_ERROR_WANT_READ || engine->in == engine->in_end);
    CHECK(SSL_pending(tls->ssl) == 0 || tls->failed);
    engine->current = NULL;
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

// Up to BATCH_BYTES of `plain` as records in tls->sealed. false: out of memory.
static bool seal(struct tls_engine *engine, struct tls *tls, struct outq *plain)
{
    CHECK(tls->sealed.bytes == 0);
    while (plain->bytes > 0 && tls->sealed.bytes < BATCH_BYTES) {
        struct bytes piece = outq_front(plain, engine->record, RECORD_BYTES);
        ERR_clear_error();
        engine->current = tls;
        int result = SSL_write(tls->ssl, piece.ptr, (int)piece.len);
        engine->current = NULL;
        if (result != (int)piece.len) {
            tls->failed = true;
            engine->metrics->tls_failed++;
            ERR_clear_error();
            return false;
        }
        outq_consume(plain, engine->pool, piece.len);
    }
    return true;
}

int64_t tls_write(struct tls_engine *engine, struct tls *tls, int fd, struct outq *plain)
{
    int64_t total = 0;
    if (tls->failed)
        return -EPROTO;
    for (;;) {
        int64_t written = outq_flush(&tls->sealed, engine->pool, fd);
        if (written < 0)
            return written;
        total += written;
        if (tls->sealed.bytes > 0 || plain->bytes == 0 || !tls->established)
            return total;
        if (!seal(engine, tls, plain))
            return -ENOMEM;
    }
}

void tls_end(struct tls_engine *engine, struct tls *tls, int fd)
{
    if (tls->failed || !tls->established)
        return;
    ERR_clear_error();
    engine->current = tls;
    (void)SSL_shutdown(tls->ssl); // 0: the peer's has not come, which is not waited for
    engine->current = NULL;
    ERR_clear_error();
    (void)outq_flush(&tls->sealed, engine->pool, fd);
}
