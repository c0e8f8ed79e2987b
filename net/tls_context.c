// From PEM files to a TLS context: see tls_context.h.
#include "net/tls_context.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/ocsp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "shards/base/check.h"

#define FILE_BYTES_MAX (1 << 20)
#define OCSP_SKEW_S 300      // between our clock and the authority's
#define TICKET_KEYS_BYTES 80 // SSL_CTX_set_tlsext_ticket_keys of OpenSSL 3.0
#define SESSION_TIMEOUT_S 43200

struct tls_identity {
    X509 *certificate;
    EVP_PKEY *key;
    STACK_OF(X509) * chain;
    uint8_t *ocsp; // DER, or NULL
    size_t ocsp_bytes;
    char subject[128];
};

struct loading {
    const char *certificate, *key, *ocsp; // file names
    char *error_text;
    size_t error_max;
};

__attribute__((format(printf, 2, 3))) static bool fail(const struct loading *loading, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(loading->error_text, loading->error_max, format, arguments);
    va_end(arguments);
    ERR_clear_error();
    return false;
}

// ---- files ----

// A whole file in memory. NULL: told.
static BIO *read_file(const struct loading *loading, const char *option, const char *path)
{
    FILE *file = fopen(path, "rbe");
    BIO *bio = file != NULL ? BIO_new(BIO_s_mem()) : NULL;
    uint8_t piece[4096];
    size_t got = 0, total = 0;
    int failed = file == NULL ? errno : 0;
    while (bio != NULL && failed == 0 && total <= FILE_BYTES_MAX && (got = fread(piece, 1, sizeof(piece), file)) > 0) {
        total += got;
        if (BIO_write(bio, piece, (int)got) != (int)got)
            failed = ENOMEM;
    }
    if (file != NULL && ferror(file) != 0)
        failed = errno;
    if (file != NULL)
        fclose(file);
    if (failed == 0 && total <= FILE_BYTES_MAX && bio != NULL)
        return bio;
    BIO_free(bio);
    fail(loading, "%s: cannot read %s: %s", option, path, failed != 0 ? strerror(failed) : "it is too large");
    return NULL;
}

static int no_passphrase(char *ptr, int max, int writing, void *data)
{
    (void)ptr, (void)max, (void)writing;
    *(bool *)data = true;
    return -1;
}

static bool load_key(struct tls_identity *identity, const struct loading *loading)
{
    bool locked = false;
    BIO *bio = read_file(loading, "--tls-key", loading->key);
    if (bio == NULL)
        return false;
    identity->key = PEM_read_bio_PrivateKey(bio, NULL, no_passphrase, &locked);
    BIO_free(bio);
    if (identity->key != NULL)
        return true;
    return fail(loading, locked ? "--tls-key: %s needs a passphrase; give a key without one" : "--tls-key: %s holds no private key in PEM",
                loading->key);
}

static bool load_certificate(struct tls_identity *identity, const struct loading *loading)
{
    BIO *bio = read_file(loading, "--tls-cert", loading->certificate);
    if (bio == NULL)
        return false;
    identity->chain = sk_X509_new_null();
    identity->certificate = PEM_read_bio_X509(bio, NULL, NULL, NULL);
    X509 *next = NULL;
    bool stored = identity->chain != NULL;
    while (stored && identity->certificate != NULL && (next = PEM_read_bio_X509(bio, NULL, NULL, NULL)) != NULL) {
        stored = sk_X509_push(identity->chain, next) > 0;
        if (!stored)
            X509_free(next);
    }
    unsigned long code = ERR_peek_last_error();
    BIO_free(bio);
    if (!stored)
        return fail(loading, "--tls-cert: out of memory");
    if (identity->certificate == NULL)
        return fail(loading, "--tls-cert: %s holds no certificate in PEM", loading->certificate);
    if (ERR_GET_LIB(code) != ERR_LIB_PEM || ERR_GET_REASON(code) != PEM_R_NO_START_LINE)
        return fail(loading, "--tls-cert: %s is damaged behind certificate %d", loading->certificate, sk_X509_num(identity->chain) + 1);
    ERR_clear_error();
    X509_NAME_oneline(X509_get_subject_name(identity->certificate), identity->subject, sizeof(identity->subject));
    return true;
}

// ---- checks ----

static const char *time_text(const ASN1_TIME *time, char ret_text[32])
{
    struct tm parts;
    if (ASN1_TIME_to_tm(time, &parts) != 1 || strftime(ret_text, 32, "%Y-%m-%d %H:%M:%S UTC", &parts) == 0)
        snprintf(ret_text, 32, "an unknown time");
    return ret_text;
}

static bool check_pair(const struct tls_identity *identity, const struct loading *loading)
{
    char when[32];
    const ASN1_TIME *before = X509_get0_notBefore(identity->certificate);
    const ASN1_TIME *after = X509_get0_notAfter(identity->certificate);
    if (X509_check_private_key(identity->certificate, identity->key) != 1)
        return fail(loading, "--tls-key: %s is not the key of the certificate in %s", loading->key, loading->certificate);
    if (X509_cmp_current_time(before) > 0)
        return fail(loading, "--tls-cert: %s is not valid before %s", loading->certificate, time_text(before, when));
    if (X509_cmp_current_time(after) < 0)
        return fail(loading, "--tls-cert: %s has expired: it was valid until %s", loading->certificate, time_text(after, when));
    return true;
}

// Is there an answer in `basic` about our certificate, good and fresh? NULL: yes, else what is wrong.
static const char *ocsp_fault(const struct tls_identity *identity, OCSP_BASICRESP *basic)
{
    X509 *issuer = sk_X509_num(identity->chain) > 0 ? sk_X509_value(identity->chain, 0) : NULL;
    if (issuer == NULL)
        return "cannot be matched: the certificate file lacks the authority's certificate";
    for (int i = 0; i < OCSP_resp_count(basic); i++) {
        OCSP_SINGLERESP *single = OCSP_resp_get0(basic, i);
        const OCSP_CERTID *theirs = OCSP_SINGLERESP_get0_id(single);
        ASN1_OBJECT *digest = NULL;
        ASN1_GENERALIZEDTIME *updated = NULL, *next = NULL;
        OCSP_id_get0_info(NULL, &digest, NULL, NULL, (OCSP_CERTID *)(uintptr_t)theirs);
        OCSP_CERTID *ours = OCSP_cert_to_id(EVP_get_digestbyobj(digest), identity->certificate, issuer);
        bool same = ours != NULL && OCSP_id_cmp(ours, theirs) == 0;
        OCSP_CERTID_free(ours);
        if (!same)
            continue;
        if (OCSP_single_get0_status(single, NULL, NULL, &updated, &next) != V_OCSP_CERTSTATUS_GOOD)
            return "says that the certificate is not good";
        return OCSP_check_validity(updated, next, OCSP_SKEW_S, -1) == 1 ? NULL : "is out of date";
    }
    return "is about another certificate";
}

static bool load_ocsp(struct tls_identity *identity, const struct loading *loading)
{
    if (loading->ocsp == NULL)
        return true;
    BIO *bio = read_file(loading, "--tls-ocsp", loading->ocsp);
    if (bio == NULL)
        return false;
    OCSP_RESPONSE *response = d2i_OCSP_RESPONSE_bio(bio, NULL);
    BIO_free(bio);
    bool answered = response != NULL && OCSP_response_status(response) == OCSP_RESPONSE_STATUS_SUCCESSFUL;
    OCSP_BASICRESP *basic = answered ? OCSP_response_get1_basic(response) : NULL;
    const char *fault = basic == NULL ? "holds no successful OCSP answer in DER" : ocsp_fault(identity, basic);
    int len = fault == NULL ? i2d_OCSP_RESPONSE(response, &identity->ocsp) : 0;
    identity->ocsp_bytes = len > 0 ? (size_t)len : 0;
    OCSP_BASICRESP_free(basic);
    OCSP_RESPONSE_free(response);
    if (fault != NULL)
        return fail(loading, "--tls-ocsp: %s %s", loading->ocsp, fault);
    return len > 0 || fail(loading, "--tls-ocsp: out of memory");
}

// OpenSSL has its own opinion on what is too weak (security level).
static bool check_strength(const struct tls_identity *identity, const struct loading *loading)
{
    SSL_CTX *context = tls_context_create(identity, NULL);
    const char *reason = ERR_reason_error_string(ERR_peek_error());
    SSL_CTX_free(context);
    if (context != NULL)
        return true;
    return fail(loading, "--tls-cert: %s cannot be used: %s", loading->certificate, reason != NULL ? reason : "out of memory");
}

struct tls_identity *tls_identity_load(const char *certificate, const char *key, const char *ocsp, char *error_text, size_t error_max)
{
    CHECK(certificate != NULL && key != NULL);
    const struct loading loading = {.certificate = certificate, .key = key, .ocsp = ocsp, .error_text = error_text, .error_max = error_max};
    struct tls_identity *identity = calloc(1, sizeof(*identity));
    ERR_clear_error();
    if (identity == NULL) {
        fail(&loading, "--tls-cert: out of memory");
        return NULL;
    }
    if (load_certificate(identity, &loading) && load_key(identity, &loading) && check_pair(identity, &loading) &&
        load_ocsp(identity, &loading) && check_strength(identity, &loading))
        return identity;
    tls_identity_destroy(identity);
    return NULL;
}

void tls_identity_destroy(struct tls_identity *identity)
{
    if (identity == NULL)
        return;
    X509_free(identity->certificate);
    EVP_PKEY_free(identity->key);
    sk_X509_pop_free(identity->chain, X509_free);
    OPENSSL_free(identity->ocsp);
    free(identity);
}

int tls_identity_days_left(const struct tls_identity *identity)
{
    int days = 0, seconds = 0;
    if (ASN1_TIME_diff(&days, &seconds, NULL, X509_get0_notAfter(identity->certificate)) != 1)
        return 0;
    return days;
}

const char *tls_identity_subject(const struct tls_identity *identity)
{
    return identity->subject;
}

// ---- the context ----

// RFC 7301: HTTP/1.1 is what is spoken here. Clients that offer something else alone are told so.
static int choose_protocol(SSL *ssl, const unsigned char **ret_name, unsigned char *ret_len, const unsigned char *offer, unsigned offer_len,
                           void *data)
{
    (void)ssl, (void)data;
    static const unsigned char http[] = {8, 'h', 't', 't', 'p', '/', '1', '.', '1'};
    unsigned char *name;
    if (SSL_select_next_proto(&name, ret_len, http, sizeof(http), offer, offer_len) != OPENSSL_NPN_NEGOTIATED)
        return SSL_TLSEXT_ERR_ALERT_FATAL;
    *ret_name = name;
    return SSL_TLSEXT_ERR_OK;
}

// The stapled answer hangs at the context, as a length and its bytes.
struct stapled {
    size_t bytes;
    uint8_t der[];
};

static void free_stapled(void *parent, void *ptr, CRYPTO_EX_DATA *data, int index, long number, void *argument)
{
    (void)parent, (void)data, (void)index, (void)number, (void)argument;
    free(ptr);
}

// Only the main thread makes contexts, so that no lock is needed.
static int stapled_index(void)
{
    static int index = -1;
    if (index < 0)
        index = SSL_CTX_get_ex_new_index(0, NULL, NULL, NULL, free_stapled);
    return index;
}

static int staple(SSL *ssl, void *data)
{
    const struct stapled *stapled = data;
    unsigned char *copy = OPENSSL_memdup(stapled->der, stapled->bytes);
    if (copy == NULL)
        return SSL_TLSEXT_ERR_NOACK;
    SSL_set_tlsext_status_ocsp_resp(ssl, copy, (long)stapled->bytes); // frees it
    return SSL_TLSEXT_ERR_OK;
}

static bool set_stapled(SSL_CTX *context, const struct tls_identity *identity)
{
    if (identity->ocsp == NULL)
        return true;
    int index = stapled_index();
    struct stapled *stapled = malloc(sizeof(*stapled) + identity->ocsp_bytes);
    if (stapled == NULL || index < 0 || SSL_CTX_set_ex_data(context, index, stapled) != 1) {
        free(stapled);
        return false;
    }
    stapled->bytes = identity->ocsp_bytes;
    memcpy(stapled->der, identity->ocsp, identity->ocsp_bytes);
    SSL_CTX_set_tlsext_status_cb(context, staple);
    SSL_CTX_set_tlsext_status_arg(context, stapled);
    return true;
}

static bool copy_tickets(SSL_CTX *context, SSL_CTX *old)
{
    uint8_t keys[TICKET_KEYS_BYTES];
    if (old == NULL)
        return true;
    bool copied =
        SSL_CTX_get_tlsext_ticket_keys(old, keys, sizeof(keys)) == 1 && SSL_CTX_set_tlsext_ticket_keys(context, keys, sizeof(keys)) == 1;
    OPENSSL_cleanse(keys, sizeof(keys));
    return copied;
}

SSL_CTX *tls_context_create(const struct tls_identity *identity, SSL_CTX *old)
{
    SSL_CTX *context = SSL_CTX_new(TLS_server_method());
    if (context == NULL)
        return NULL;
    SSL_CTX_set_options(context,
                        SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION | SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_PRIORITIZE_CHACHA);
    SSL_CTX_set_mode(context, SSL_MODE_RELEASE_BUFFERS);         // an idle session holds no record buffers
    SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF); // tickets only: the client keeps them, all shards can read them
    SSL_CTX_set_timeout(context, SESSION_TIMEOUT_S);
    SSL_CTX_set_alpn_select_cb(context, choose_protocol, NULL);
    if (SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION) == 1 && SSL_CTX_set_num_tickets(context, 1) == 1 &&
        SSL_CTX_set_ciphersuites(context, TLS_CONTEXT_SUITES) == 1 &&
        SSL_CTX_set_cipher_list(context, "ECDHE+AESGCM:ECDHE+CHACHA20") == 1 &&
        SSL_CTX_set1_groups_list(context, "X25519:P-256:P-384") == 1 &&
        SSL_CTX_use_cert_and_key(context, identity->certificate, identity->key, identity->chain, /* override= */ 1) == 1 &&
        set_stapled(context, identity) && copy_tickets(context, old))
        return context;
    SSL_CTX_free(context);
    return NULL;
}
