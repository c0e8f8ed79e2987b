// RSA by OpenSSL: see rsa.h. One rule: the parameters stand here once, for every way in and out.
#include "auth/rsa.h"

#include <openssl/decoder.h>
#include <openssl/encoder.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/rsa.h>
#include <stdlib.h>

#include "shards/base/check.h"

#define KEY_BITS 2048
#define SALT_BYTES 222 // the longest that fits: 256 - 32 - 2

struct rsa_key {
    EVP_PKEY *pkey;
    EVP_PKEY_CTX *encrypting, *decrypting; // made when first used
};

static struct rsa_key *take(EVP_PKEY *pkey)
{
    struct rsa_key *rsa_key = calloc(1, sizeof(*rsa_key));
    if (rsa_key == NULL)
        EVP_PKEY_free(pkey);
    else
        rsa_key->pkey = pkey;
    return rsa_key;
}

struct rsa_key *rsa_key_create(void)
{
    EVP_PKEY *pkey = EVP_RSA_gen(KEY_BITS);
    ERR_clear_error();
    return pkey != NULL ? take(pkey) : NULL;
}

void rsa_key_destroy(struct rsa_key *rsa_key)
{
    if (rsa_key == NULL)
        return;
    EVP_PKEY_CTX_free(rsa_key->encrypting);
    EVP_PKEY_CTX_free(rsa_key->decrypting);
    EVP_PKEY_free(rsa_key->pkey);
    free(rsa_key);
}

// ---- texts ----

static struct rsa_key *read_key(const char *form, struct bytes text, int selection, const char **ret_why)
{
    EVP_PKEY *pkey = NULL;
    const unsigned char *at = text.ptr;
    size_t left = text.len;
    OSSL_DECODER_CTX *decoder = OSSL_DECODER_CTX_new_for_pkey(&pkey, form, NULL, "RSA", selection, NULL, NULL);
    bool read = decoder != NULL && OSSL_DECODER_from_data(decoder, &at, &left) == 1 && pkey != NULL;
    OSSL_DECODER_CTX_free(decoder);
    ERR_clear_error();
    if (!read) {
        *ret_why =
            selection == EVP_PKEY_KEYPAIR ? "is not an RSA private key in PEM without passphrase" : "is not an RSA public key in PEM";
        EVP_PKEY_free(pkey);
        return NULL;
    }
    if (EVP_PKEY_get_bits(pkey) != KEY_BITS) {
        *ret_why = "is an RSA key of another size than 2048 bits, the only one that Backbone's clients can use";
        EVP_PKEY_free(pkey);
        return NULL;
    }
    struct rsa_key *rsa_key = take(pkey);
    if (rsa_key == NULL)
        *ret_why = "needs more memory than there is";
    return rsa_key;
}

struct rsa_key *rsa_key_read(struct bytes pem, bool is_private, const char **ret_why)
{
    CHECK(pem.ptr != NULL && ret_why != NULL);
    return read_key("PEM", pem, is_private ? EVP_PKEY_KEYPAIR : EVP_PKEY_PUBLIC_KEY, ret_why);
}

struct rsa_key *rsa_key_read_der(struct bytes der)
{
    const char *why;
    CHECK(der.ptr != NULL);
    return read_key("DER", der, EVP_PKEY_PUBLIC_KEY, &why);
}

static size_t write_key(const struct rsa_key *rsa_key, const char *form, int selection, void *ret_text, size_t text_max)
{
    unsigned char *at = ret_text;
    size_t left = text_max;
    OSSL_ENCODER_CTX *encoder = OSSL_ENCODER_CTX_new_for_pkey(rsa_key->pkey, selection, form, "type-specific", NULL);
    bool written = encoder != NULL && OSSL_ENCODER_to_data(encoder, &at, &left) == 1;
    OSSL_ENCODER_CTX_free(encoder);
    ERR_clear_error();
    return written ? text_max - left : 0;
}

static size_t write_pem(const struct rsa_key *rsa_key, int selection, char *ret_pem)
{
    size_t len = write_key(rsa_key, "PEM", selection, ret_pem, RSA_PEM_MAX - 1);
    CHECK(len < RSA_PEM_MAX);
    ret_pem[len] = '\0';
    return len;
}

size_t rsa_public_pem(const struct rsa_key *rsa_key, char ret_pem[RSA_PEM_MAX])
{
    return write_pem(rsa_key, EVP_PKEY_PUBLIC_KEY, ret_pem);
}

size_t rsa_private_pem(const struct rsa_key *rsa_key, char ret_pem[RSA_PEM_MAX])
{
    return write_pem(rsa_key, EVP_PKEY_KEYPAIR, ret_pem);
}

size_t rsa_public_der(const struct rsa_key *rsa_key, uint8_t ret_der[RSA_PUBLIC_DER_MAX])
{
    return write_key(rsa_key, "DER", EVP_PKEY_PUBLIC_KEY, ret_der, RSA_PUBLIC_DER_MAX);
}

// ---- OAEP ----

static bool set_oaep(EVP_PKEY_CTX *context)
{
    return EVP_PKEY_CTX_set_rsa_padding(context, RSA_PKCS1_OAEP_PADDING) == 1 && EVP_PKEY_CTX_set_rsa_oaep_md(context, EVP_sha256()) == 1 &&
           EVP_PKEY_CTX_set_rsa_mgf1_md(context, EVP_sha256()) == 1;
}

static EVP_PKEY_CTX *make_context(EVP_PKEY *pkey, int (*begin)(EVP_PKEY_CTX *))
{
    EVP_PKEY_CTX *context = EVP_PKEY_CTX_new(pkey, NULL);
    if (context != NULL && begin(context) == 1 && set_oaep(context))
        return context;
    EVP_PKEY_CTX_free(context);
    return NULL;
}

bool rsa_encrypt(struct rsa_key *rsa_key, struct bytes plain, uint8_t *ret_cipher)
{
    if (rsa_key->encrypting == NULL)
        rsa_key->encrypting = make_context(rsa_key->pkey, EVP_PKEY_encrypt_init);
    bool sound = rsa_key->encrypting != NULL;
    for (size_t at = 0; at < plain.len && sound; at += RSA_CHUNK_BYTES, ret_cipher += RSA_BLOCK_BYTES) {
        size_t len = RSA_BLOCK_BYTES;
        size_t chunk = plain.len - at < RSA_CHUNK_BYTES ? plain.len - at : RSA_CHUNK_BYTES;
        sound = EVP_PKEY_encrypt(rsa_key->encrypting, ret_cipher, &len, plain.ptr + at, chunk) == 1 && len == RSA_BLOCK_BYTES;
    }
    ERR_clear_error();
    return sound;
}

bool rsa_decrypt(struct rsa_key *rsa_key, struct bytes cipher, uint8_t *ret_plain, size_t *ret_plain_len)
{
    uint8_t chunk[RSA_BLOCK_BYTES];
    size_t plain_len = 0;
    if (rsa_key->decrypting == NULL)
        rsa_key->decrypting = make_context(rsa_key->pkey, EVP_PKEY_decrypt_init);
    bool sound = rsa_key->decrypting != NULL && cipher.len % RSA_BLOCK_BYTES == 0;
    for (size_t at = 0; at < cipher.len && sound; at += RSA_BLOCK_BYTES) {
        size_t len = sizeof(chunk);
        sound = EVP_PKEY_decrypt(rsa_key->decrypting, chunk, &len, cipher.ptr + at, RSA_BLOCK_BYTES) == 1;
        if (!sound)
            break;
        CHECK(len <= RSA_CHUNK_BYTES);
        memcpy(ret_plain + plain_len, chunk, len);
        plain_len += len;
    }
    OPENSSL_cleanse(chunk, sizeof(chunk));
    ERR_clear_error();
    if (sound)
        *ret_plain_len = plain_len;
    return sound;
}

// ---- PSS ----

static bool set_pss(EVP_PKEY_CTX *context)
{
    return EVP_PKEY_CTX_set_rsa_padding(context, RSA_PKCS1_PSS_PADDING) == 1 &&
           EVP_PKEY_CTX_set_rsa_pss_saltlen(context, SALT_BYTES) == 1 && EVP_PKEY_CTX_set_rsa_mgf1_md(context, EVP_sha256()) == 1;
}

bool rsa_sign(struct rsa_key *rsa_key, struct bytes message, uint8_t ret_signature[RSA_SIGNATURE_BYTES])
{
    EVP_PKEY_CTX *context = NULL; // the digest's
    size_t len = RSA_SIGNATURE_BYTES;
    EVP_MD_CTX *digest = EVP_MD_CTX_new();
    bool is_signed = digest != NULL && EVP_DigestSignInit(digest, &context, EVP_sha256(), NULL, rsa_key->pkey) == 1 && set_pss(context) &&
                     EVP_DigestSign(digest, ret_signature, &len, message.ptr, message.len) == 1 && len == RSA_SIGNATURE_BYTES;
    EVP_MD_CTX_free(digest);
    ERR_clear_error();
    return is_signed;
}

bool rsa_verify(struct rsa_key *rsa_key, struct bytes message, struct bytes signature)
{
    EVP_PKEY_CTX *context = NULL; // the digest's
    if (signature.len != RSA_SIGNATURE_BYTES)
        return false;
    EVP_MD_CTX *digest = EVP_MD_CTX_new();
    bool sound = digest != NULL && EVP_DigestVerifyInit(digest, &context, EVP_sha256(), NULL, rsa_key->pkey) == 1 && set_pss(context) &&
                 EVP_DigestVerify(digest, signature.ptr, signature.len, message.ptr, message.len) == 1;
    EVP_MD_CTX_free(digest);
    ERR_clear_error();
    return sound;
}
