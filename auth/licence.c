// Licences by OpenSSL (RSA, SHA) and libsodium (base64url). Any thread.
#include "auth/licence.h"

#include <openssl/decoder.h>
#include <openssl/evp.h>
#include <openssl/rsa.h>
#include <sodium.h>
#include <stdlib.h>

#include "shards/base/check.h"

#define START_MARK "------------- START LICENSE ---------------"
#define END_MARK "------------- END LICENSE -----------------"
#define GROUP_BYTES 10
#define LINE_BYTES 40
#define KEY_BITS_MIN 1024
#define SIGNATURE_MAX 1024 // bytes: RSA up to 8192 bits
#define SHA1_BYTES 20

struct licence_key {
    EVP_PKEY *rsa;
};

struct licence_key *licence_key_create(const char *pem)
{
    CHECK(pem != NULL);
    EVP_PKEY *rsa = NULL;
    const unsigned char *at = (const unsigned char *)pem;
    size_t left = strlen(pem);
    OSSL_DECODER_CTX *decoder = OSSL_DECODER_CTX_new_for_pkey(&rsa, "PEM", NULL, "RSA", OSSL_KEYMGMT_SELECT_PUBLIC_KEY, NULL, NULL);
    bool decoded = decoder != NULL && OSSL_DECODER_from_data(decoder, &at, &left) == 1;
    OSSL_DECODER_CTX_free(decoder);
    struct licence_key *key = NULL;
    if (decoded && rsa != NULL && EVP_PKEY_is_a(rsa, "RSA") && EVP_PKEY_get_bits(rsa) >= KEY_BITS_MIN)
        key = calloc(1, sizeof(*key));
    if (key == NULL)
        EVP_PKEY_free(rsa);
    else
        key->rsa = rsa;
    return key;
}

void licence_key_destroy(struct licence_key *key)
{
    if (key == NULL)
        return;
    EVP_PKEY_free(key->rsa);
    free(key);
}

static bool is_token_byte(uint8_t c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '-' || c == '.';
}

// These belong to base64 in other dialects, and the original would keep them: they make no licence of ours, but must not vanish either.
static bool is_foreign_byte(uint8_t c)
{
    return c == '+' || c == '/' || c == '=';
}

static bool starts_with(struct bytes text, const char *mark)
{
    size_t len = strlen(mark);
    return text.len >= len && memcmp(text.ptr, mark, len) == 0;
}

// The bare token: without marks, spaces and line ends.
static bool unwrap(struct bytes text, struct licence *licence)
{
    size_t len = 0;
    while (text.len > 0) {
        size_t skip = starts_with(text, START_MARK) ? strlen(START_MARK) : starts_with(text, END_MARK) ? strlen(END_MARK) : 0;
        if (skip == 0) {
            skip = 1;
            if (is_foreign_byte(*text.ptr) || (is_token_byte(*text.ptr) && len == LICENCE_TOKEN_MAX))
                return false;
            if (is_token_byte(*text.ptr))
                licence->token[len++] = (char)*text.ptr;
        }
        text = bytes_of(text.ptr + skip, text.len - skip);
    }
    licence->token[len] = '\0';
    licence->token_len = len;
    return true;
}

// base64url without padding, in its one canonical spelling.
static bool decode(struct bytes text, void *out, size_t max, size_t *ret_len)
{
    return text.len > 0 && sodium_base642bin(out, max, (const char *)text.ptr, text.len, NULL, ret_len, NULL,
                                             sodium_base64_VARIANT_URLSAFE_NO_PADDING) == 0;
}

static bool verify_signature(const struct licence_key *key, struct bytes message, struct bytes signature)
{
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    bool verified = context != NULL && EVP_DigestVerifyInit(context, NULL, EVP_sha256(), NULL, key->rsa) == 1 &&
                    EVP_DigestVerify(context, signature.ptr, signature.len, message.ptr, message.len) == 1;
    EVP_MD_CTX_free(context);
    return verified;
}

bool licence_verify(const struct licence_key *key, struct bytes text, struct licence *ret_licence)
{
    CHECK(key != NULL && ret_licence != NULL);
    struct licence *licence = ret_licence;
    if (!unwrap(text, licence))
        return false;
    const char *token = licence->token;
    const char *first_dot = strchr(token, '.');
    const char *second_dot = first_dot == NULL ? NULL : strchr(first_dot + 1, '.');
    if (second_dot == NULL || strchr(second_dot + 1, '.') != NULL)
        return false;
    struct bytes header = bytes_of(token, (size_t)(first_dot - token));
    struct bytes claims = bytes_of(first_dot + 1, (size_t)(second_dot - first_dot - 1));
    uint8_t signature[SIGNATURE_MAX];
    size_t signature_len;
    if (!decode(header, licence->header, LICENCE_JSON_MAX, &licence->header_len) ||
        !decode(claims, licence->claims, LICENCE_JSON_MAX, &licence->claims_len) ||
        !decode(bytes_text(second_dot + 1), signature, sizeof(signature), &signature_len))
        return false;
    licence->header[licence->header_len] = '\0';
    licence->claims[licence->claims_len] = '\0';
    return verify_signature(key, bytes_of(token, (size_t)(second_dot - token)), bytes_of(signature, signature_len));
}

static char *append(char *at, const char *text)
{
    size_t len = strlen(text);
    memcpy(at, text, len);
    return at + len;
}

size_t licence_wrap(struct bytes token, char ret_wrapped[LICENCE_WRAPPED_MAX])
{
    CHECK(token.len > 0 && token.len <= LICENCE_TOKEN_MAX);
    char *at = append(ret_wrapped, START_MARK "\n");
    for (size_t i = 0; i < token.len; i++) {
        *at++ = (char)token.ptr[i];
        if ((i + 1) % LINE_BYTES == 0)
            *at++ = '\n';
        else if ((i + 1) % GROUP_BYTES == 0)
            *at++ = ' ';
    }
    if (at[-1] != '\n')
        *at++ = '\n';
    at = append(at, END_MARK);
    *at = '\0';
    CHECK(at < ret_wrapped + LICENCE_WRAPPED_MAX);
    return (size_t)(at - ret_wrapped);
}

static void sha1_hex(struct bytes data, char ret_hex[LICENCE_HASH_BYTES])
{
    uint8_t digest[SHA1_BYTES];
    unsigned len = 0;
    int done = EVP_Digest(data.ptr, data.len, digest, &len, EVP_sha1(), NULL);
    CHECK(done == 1 && len == SHA1_BYTES);
    for (size_t i = 0; i < SHA1_BYTES; i++) {
        ret_hex[2 * i] = "0123456789ABCDEF"[digest[i] >> 4];
        ret_hex[2 * i + 1] = "0123456789ABCDEF"[digest[i] & 15];
    }
    ret_hex[LICENCE_HASH_BYTES - 1] = '\0';
}

void licence_hash(const char *salt, const char *email, const struct licence *licence, char ret_hash[LICENCE_HASH_BYTES])
{
    CHECK(salt != NULL && email != NULL);
    char wrapped[LICENCE_WRAPPED_MAX], hex[LICENCE_HASH_BYTES];
    char joined[3 * (LICENCE_HASH_BYTES - 1) + 1];
    size_t wrapped_len = licence_wrap(bytes_of(licence->token, licence->token_len), wrapped);
    sha1_hex(bytes_text(salt), hex);
    char *at = append(joined, hex);
    sha1_hex(bytes_text(email), hex);
    at = append(at, hex);
    sha1_hex(bytes_of(wrapped, wrapped_len), hex);
    at = append(at, hex);
    sha1_hex(bytes_of(joined, (size_t)(at - joined)), ret_hash);
}
