// Licences and keys for tests: what the seller of licences does. Failures end the test.
#pragma once
#include <openssl/bio.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <sodium.h>

#include "shards/base/check.h"

// The public key in PEM.
static inline void licence_maker_pem(EVP_PKEY *key, char *out, size_t max)
{
    BIO *memory = BIO_new(BIO_s_mem());
    CHECK(memory != NULL && PEM_write_bio_PUBKEY(memory, key) == 1);
    int len = BIO_read(memory, out, (int)max - 1);
    CHECK(len > 0);
    out[len] = '\0';
    BIO_free(memory);
}

static inline size_t licence_maker_encode(const void *data, size_t len, char *out, size_t max)
{
    sodium_bin2base64(out, max, data, len, sodium_base64_VARIANT_URLSAFE_NO_PADDING);
    return strlen(out);
}

// header.claims.signature, RS256 whatever the header says.
static inline void licence_maker_sign(EVP_PKEY *key, const char *header, const char *claims, char *out, size_t max)
{
    size_t len = licence_maker_encode(header, strlen(header), out, max);
    out[len++] = '.';
    len += licence_maker_encode(claims, strlen(claims), out + len, max - len);
    uint8_t signature[512];
    size_t signature_len = sizeof(signature);
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    CHECK(context != NULL && EVP_DigestSignInit(context, NULL, EVP_sha256(), NULL, key) == 1);
    CHECK(EVP_DigestSign(context, signature, &signature_len, (const uint8_t *)out, len) == 1);
    EVP_MD_CTX_free(context);
    out[len++] = '.';
    licence_maker_encode(signature, signature_len, out + len, max - len);
}
