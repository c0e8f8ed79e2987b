// A self-signed certificate (ECDSA P-256, for localhost and 127.0.0.1, one day) for measurements: nothing to install or to leave behind.
#pragma once
#include <openssl/ssl.h>
#include <stdbool.h>

// Makes key and certificate; the caller frees both. false: OpenSSL failed, nothing to free. Any thread.
bool selfsigned_create(EVP_PKEY **ret_key, X509 **ret_certificate);
// Gives a fresh pair to the context. Any thread.
bool selfsigned_use(SSL_CTX *context);
// Writes a fresh pair as PEM files (key readable by the owner only).
bool selfsigned_write(const char *key_path, const char *certificate_path);
