// TLS over a socket pair: an OpenSSL client of the test against net/tls, its bytes whole, one by one and at random splits.
#include "net/tls.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/x509.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "net/split_test.h"
#include "shards/base/check.h"
#include "shards/os.h"

#define DATA_BYTES 300000
#define POOL_BYTES (16u << 20)

static SSL_CTX *server_context(void)
{
    SSL_CTX *context = SSL_CTX_new(TLS_server_method());
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *certificate = X509_new();
    CHECK(context != NULL && key != NULL && certificate != NULL);
    ASN1_INTEGER_set(X509_get_serialNumber(certificate), 1);
    X509_gmtime_adj(X509_getm_notBefore(certificate), 0);
    X509_gmtime_adj(X509_getm_notAfter(certificate), 3600);
    CHECK(X509_set_pubkey(certificate, key) == 1 && X509_sign(certificate, key, EVP_sha256()) > 0);
    CHECK(SSL_CTX_use_cert_and_key(context, certificate, key, NULL, 1) == 1);
    SSL_CTX_set_mode(context, SSL_MODE_RELEASE_BUFFERS);
    X509_free(certificate);
    EVP_PKEY_free(key);
    return context;
}

// Both ends. The client's bytes are in memory, so that the test decides how they travel.
struct ends {
    struct pool *pool;
    struct metrics metrics;
    struct tls_engine *engine;
    struct tls *tls;
    struct outq plain;
    int fd, peer_fd;
    SSL_CTX *client_context;
    SSL *client;
    BIO *to_client, *from_client;
    struct split split;
    uint8_t *buffer; // TLS_READ_BYTES_MIN
    uint8_t *got;    // what the server has read
    size_t got_len;
    bool ended;
};

static void ends_init(struct ends *ends, unsigned way)
{
    int fds[2];
    *ends = (struct ends){.split = split_create(way), .buffer = malloc(TLS_READ_BYTES_MIN), .got = malloc(DATA_BYTES)};
    ends->pool = pool_create(POOL_BYTES);
    ends->engine = tls_engine_create(server_context(), ends->pool, &ends->metrics);
    ends->client_context = SSL_CTX_new(TLS_client_method());
    CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds) == 0);
    CHECK(ends->buffer != NULL && ends->got != NULL && ends->pool != NULL && ends->engine != NULL && ends->client_context != NULL);
    ends->fd = fds[0];
    ends->peer_fd = fds[1];
    if (way % 3 == 2)
        CHECK(SSL_CTX_set_max_proto_version(ends->client_context, TLS1_2_VERSION) == 1);
    ends->tls = tls_create(ends->engine);
    ends->client = SSL_new(ends->client_context);
    ends->to_client = BIO_new(BIO_s_mem());
    ends->from_client = BIO_new(BIO_s_mem());
    CHECK(ends->tls != NULL && ends->client != NULL && ends->to_client != NULL && ends->from_client != NULL);
    SSL_set_bio(ends->client, ends->to_client, ends->from_client);
    SSL_set_connect_state(ends->client);
}

static void ends_fini(struct ends *ends)
{
    tls_destroy(ends->engine, ends->tls);
    outq_clear(&ends->plain, ends->pool);
    tls_engine_destroy(ends->engine);
    CHECK(pool_bytes_in_use(ends->pool) == 0);
    pool_destroy(ends->pool);
    SSL_free(ends->client);
    SSL_CTX_free(ends->client_context);
    os_close(ends->fd);
    os_close(ends->peer_fd);
    free(ends->buffer);
    free(ends->got);
}

static ssize_t read_some(struct ends *ends)
{
    bool more = true;
    ssize_t got = 1;
    while (got > 0 && more) {
        got = tls_read(ends->engine, ends->tls, ends->fd, ends->buffer, TLS_READ_BYTES_MIN, &more);
        CHECK(got <= 0 || ends->got_len + (size_t)got <= DATA_BYTES);
        if (got > 0) {
            memcpy(ends->got + ends->got_len, ends->buffer, (size_t)got);
            ends->got_len += (size_t)got;
        }
    }
    ends->ended = ends->ended || got == 0;
    return got;
}

// Carries what the client has made to the server, piece by piece, and what the server has made back. Returns the last read's result.
static ssize_t carry(struct ends *ends)
{
    uint8_t piece[4096];
    ssize_t result = -EAGAIN;
    size_t left;
    while ((left = BIO_ctrl_pending(ends->from_client)) > 0) {
        size_t len = split_next(&ends->split, left < sizeof(piece) ? left : sizeof(piece));
        CHECK(BIO_read(ends->from_client, piece, (int)len) == (int)len);
        struct iovec iov = {.iov_base = piece, .iov_len = len};
        CHECK(os_writev(ends->peer_fd, &iov, 1) == (ssize_t)len);
        result = read_some(ends);
        if (result == -EPROTO || result == 0)
            return result;
    }
    for (;;) {
        if (!ends->tls->failed)
            CHECK(tls_write(ends->engine, ends->tls, ends->fd, &ends->plain) >= 0);
        struct iovec iov = {.iov_base = piece, .iov_len = sizeof(piece)};
        ssize_t got = os_readv(ends->peer_fd, &iov, 1);
        if (got <= 0)
            return result;
        CHECK(BIO_write(ends->to_client, piece, (int)got) == (int)got);
    }
}

static void shake_hands(struct ends *ends)
{
    for (int i = 0; i < 6 && SSL_do_handshake(ends->client) != 1; i++)
        CHECK(carry(ends) == -EAGAIN);
    CHECK(SSL_is_init_finished(ends->client));
    CHECK(carry(ends) == -EAGAIN);
    CHECK(ends->tls->established && ends->metrics.tls_handshakes == 1 && ends->metrics.tls_failed == 0);
}

static void fill(uint8_t *ptr, size_t len)
{
    uint32_t random = 7;
    for (size_t i = 0; i < len; i++)
        ptr[i] = (uint8_t)split_random(&random);
}

// What is queued before the handshake waits for it; data of many records goes both ways; close_notify behind data comes behind it.
static void test_both_ways(unsigned way)
{
    struct ends ends;
    static uint8_t data[DATA_BYTES], back[DATA_BYTES];
    size_t have = 0;
    ends_init(&ends, way);
    fill(data, sizeof(data));
    CHECK(outq_append(&ends.plain, ends.pool, bytes_of(data, 1)));
    CHECK(tls_write(ends.engine, ends.tls, ends.fd, &ends.plain) == 0 && ends.plain.bytes == 1);
    shake_hands(&ends);
    for (size_t at = 1; at < sizeof(data); at += 4999) // blocks of all sizes
        CHECK(outq_append(&ends.plain, ends.pool, bytes_of(data + at, sizeof(data) - at < 4999 ? sizeof(data) - at : 4999)));
    for (int turn = 0; turn < 1000 && have < sizeof(back); turn++) {
        carry(&ends);
        int got = SSL_read(ends.client, back + have, (int)(sizeof(back) - have));
        have += got > 0 ? (size_t)got : 0;
    }
    CHECK(have == sizeof(data) && memcmp(data, back, have) == 0 && ends.plain.bytes == 0 && ends.tls->sealed.bytes == 0);
    CHECK(SSL_write(ends.client, data, sizeof(data)) == (int)sizeof(data));
    SSL_shutdown(ends.client);
    CHECK(carry(&ends) == 0 && ends.ended);
    CHECK(ends.got_len == sizeof(data) && memcmp(data, ends.got, sizeof(data)) == 0);
    tls_end(ends.engine, ends.tls, ends.fd);
    carry(&ends);
    CHECK(SSL_read(ends.client, back, 1) <= 0 && (SSL_get_shutdown(ends.client) & SSL_RECEIVED_SHUTDOWN) != 0);
    ends_fini(&ends);
}

// Garbage, and a damaged record: -EPROTO from then on, and the peer gets an alert.
static void test_broken(unsigned way)
{
    struct ends ends;
    ends_init(&ends, way);
    shake_hands(&ends);
    CHECK(SSL_write(ends.client, "hello", 5) == 5);
    char *ptr;
    long len = BIO_get_mem_data(ends.from_client, &ptr);
    ptr[len - 1] ^= 1;
    CHECK(carry(&ends) == -EPROTO && read_some(&ends) == -EPROTO);
    CHECK(ends.tls->failed && ends.metrics.tls_failed == 1 && ends.got_len == 0);
    CHECK(tls_write(ends.engine, ends.tls, ends.fd, &ends.plain) < 0);
    ends_fini(&ends);
    ends_init(&ends, way);
    CHECK(BIO_write(ends.from_client, "GET / HTTP/1.1\r\n\r\n", 18) == 18);
    CHECK(carry(&ends) == -EPROTO);
    char answer[200] = "";
    struct iovec iov = {.iov_base = answer, .iov_len = sizeof(answer) - 1};
    CHECK(os_readv(ends.peer_fd, &iov, 1) > 0 && strncmp(answer, "HTTP/1.1 400 ", 13) == 0);
    ends_fini(&ends);
}

// A peer that asks for new keys over and over, and takes none of the answers, cannot make the relay queue without bound.
static void test_key_updates(void)
{
    struct ends ends;
    int small = 4096;
    ends_init(&ends, 0);
    shake_hands(&ends);
    CHECK(setsockopt(ends.fd, SOL_SOCKET, SO_SNDBUF, &small, sizeof(small)) == 0);
    ssize_t result = -EAGAIN;
    for (int i = 0; i < 20000 && result == -EAGAIN; i++) {
        uint8_t piece[4096];
        CHECK(SSL_key_update(ends.client, SSL_KEY_UPDATE_REQUESTED) == 1 && SSL_do_handshake(ends.client) == 1);
        int len = BIO_read(ends.from_client, piece, sizeof(piece));
        struct iovec iov = {.iov_base = piece, .iov_len = (size_t)len};
        CHECK(os_writev(ends.peer_fd, &iov, 1) == len);
        result = read_some(&ends);
        CHECK(ends.tls->sealed.bytes <= 262144);
    }
    CHECK(result == -EPROTO);
    ends_fini(&ends);
}

static bool is_wiped(EVP_PKEY *key)
{
    uint8_t raw[64];
    size_t private_bytes = sizeof(raw), public_bytes = sizeof(raw);
    bool wiped = EVP_PKEY_get_raw_private_key(key, raw, &private_bytes) != 1 && EVP_PKEY_get_raw_public_key(key, raw, &public_bytes) != 1;
    EVP_PKEY_free(key);
    return wiped;
}

// Neither the keys of the handshake nor the certificate stay with an established connection; new keys can still be made.
static void test_forgotten(void)
{
    struct ends ends;
    EVP_PKEY *key = NULL;
    ends_init(&ends, 0);
    CHECK(SSL_get_certificate(ends.tls->ssl) != NULL);
    shake_hands(&ends);
    CHECK(SSL_get_tmp_key(ends.tls->ssl, &key) == 1 && is_wiped(key));
    CHECK(SSL_get_peer_tmp_key(ends.tls->ssl, &key) == 1 && is_wiped(key));
    CHECK(SSL_get_certificate(ends.tls->ssl) == NULL);
    CHECK(SSL_key_update(ends.client, SSL_KEY_UPDATE_REQUESTED) == 1 && SSL_write(ends.client, "hello", 5) == 5);
    CHECK(carry(&ends) > 0 && ends.got_len == 5 && memcmp(ends.got, "hello", 5) == 0);
    ends_fini(&ends);
}

// What came behind a PROXY head is read before the socket.
static void test_early(void)
{
    struct ends ends;
    uint8_t hello[4096];
    ends_init(&ends, 0);
    CHECK(SSL_do_handshake(ends.client) != 1);
    int len = BIO_read(ends.from_client, hello, sizeof(hello));
    CHECK(len > 0 && tls_put_early(ends.engine, ends.tls, bytes_of(hello, (size_t)len)));
    CHECK(read_some(&ends) == -EAGAIN && ends.tls->early == NULL && ends.tls->sealed.bytes > 0);
    carry(&ends);
    shake_hands(&ends);
    ends_fini(&ends);
}

int main(void)
{
    for (unsigned way = 0; way < SPLIT_WAYS; way++) {
        fprintf(stderr, "way %u\n", way);
        test_both_ways(way);
        test_broken(way);
    }
    test_key_updates();
    test_early();
    test_forgotten();
    return 0;
}
