// From PEM files to the context that makes TLS connections. Everything that can be wrong with the files is told in one sentence.
// Thread: main, before the start and on reload; a finished context is read-only, so all shards share it.
#pragma once
#include <openssl/ssl.h>
#include <stdbool.h>
#include <stddef.h>

// What the files hold, checked: they belong together and the certificate is valid today.
struct tls_identity;
// certificate: chain in PEM, own certificate first. key: PEM without passphrase. ocsp: the authority's answer in DER for stapling, or NULL.
// NULL: a sentence for the operator in error_text.
struct tls_identity *tls_identity_load(const char *certificate, const char *key, const char *ocsp, char *error_text, size_t error_max);
void tls_identity_destroy(struct tls_identity *identity);              // takes NULL
int tls_identity_days_left(const struct tls_identity *identity);       // of the certificate
const char *tls_identity_subject(const struct tls_identity *identity); // for people; lives as long as identity

// Suites of TLS 1.3 in our order, the one that every implementation must have (RFC 8446 9.1) first: 10 rounds in place of AES-256's 14, and
// 200 bytes less for a connection, since its SHA-256 states are half as large as SHA-384's.
#define TLS_CONTEXT_SUITES "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256"
// A context with fresh ticket keys, or with those of `old`, so that sessions made by either can be resumed (RFC 5077, RFC 8446 4.6.1).
// TLS 1.2 and 1.3, forward secrecy and AEAD only. The caller owns the reference. NULL: out of memory.
SSL_CTX *tls_context_create(const struct tls_identity *identity, SSL_CTX *old);
