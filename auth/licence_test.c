// Licences signed by keys made here: both forms, what must be refused, and hashes computed by another program.
#include "auth/licence.h"

#include <stdio.h>

#include "auth/auth.h"
#include "auth/licence_maker.h"

#define HEADER "{\"alg\":\"RS256\",\"typ\":\"JWT\"}"
#define CLAIMS "{\"email\":\"foo@foo.com\",\"iat\":1700000000}"

static bool verify(const struct licence_key *key, const char *text)
{
    static struct licence licence;
    return licence_verify(key, bytes_text(text), &licence);
}

static void test_forms(const struct licence_key *key, const char *token)
{
    static struct licence licence;
    char wrapped[LICENCE_WRAPPED_MAX], crlf[2 * LICENCE_WRAPPED_MAX];
    CHECK(licence_verify(key, bytes_text(token), &licence));
    CHECK(strcmp(licence.token, token) == 0 && strcmp(licence.header, HEADER) == 0 && strcmp(licence.claims, CLAIMS) == 0);
    size_t len = licence_wrap(bytes_text(token), wrapped);
    CHECK(len == strlen(wrapped));
    CHECK(licence_verify(key, bytes_text(wrapped), &licence) && strcmp(licence.token, token) == 0);
    size_t at = 0; // as pasted from a mail: other line ends, blanks around
    at += (size_t)snprintf(crlf, sizeof(crlf), " \r\n");
    for (size_t i = 0; i < len; i++)
        at += (size_t)snprintf(crlf + at, sizeof(crlf) - at, "%s%c", wrapped[i] == '\n' ? "\r" : "", wrapped[i]);
    CHECK(licence_verify(key, bytes_of(crlf, at), &licence) && strcmp(licence.token, token) == 0);
}

static void test_tampered(const struct licence_key *key, const char *token)
{
    char copy[LICENCE_TOKEN_MAX + 8];
    size_t len = strlen(token);
    for (size_t i = 0; i < len; i++) { // every byte counts, the last bits of base64 too
        memcpy(copy, token, len + 1);
        copy[i] = copy[i] == 'A' ? 'B' : 'A';
        CHECK(!verify(key, copy));
        copy[i] = token[i] == '-' ? '+' : '='; // another dialect of base64 would be another text of the same licence
        CHECK(!verify(key, copy));
    }
    for (size_t cut = 0; cut < len; cut++) {
        memcpy(copy, token, len + 1);
        copy[cut] = '\0';
        CHECK(!verify(key, copy));
    }
    snprintf(copy, sizeof(copy), "%s=", token);
    CHECK(!verify(key, copy));
    snprintf(copy, sizeof(copy), "%sA", token);
    CHECK(!verify(key, copy));
    snprintf(copy, sizeof(copy), "%s.", token);
    CHECK(!verify(key, copy));
    CHECK(!verify(key, "") && !verify(key, "..") && !verify(key, ".") && !verify(key, "a.b.c") && !verify(key, "{}"));

    static char long_text[3 * LICENCE_TOKEN_MAX];
    memset(long_text, 'A', sizeof(long_text) - 1);
    CHECK(!verify(key, long_text));
    long_text[LICENCE_TOKEN_MAX] = '\0';
    CHECK(!verify(key, long_text));
}

static void test_keys(EVP_PKEY *rsa, const struct licence_key *key)
{
    char token[LICENCE_TOKEN_MAX], pem[2048];
    EVP_PKEY *other = EVP_RSA_gen(2048);
    EVP_PKEY *small = EVP_RSA_gen(512);
    EVP_PKEY *ec = EVP_EC_gen("P-256");
    CHECK(other != NULL && small != NULL && ec != NULL);
    licence_maker_sign(other, HEADER, CLAIMS, token, sizeof(token));
    CHECK(!verify(key, token));
    licence_maker_sign(rsa, "{\"alg\":\"none\"}", CLAIMS, token, sizeof(token)); // signed all the same: the caller reads the header
    CHECK(verify(key, token));
    *(strrchr(token, '.') + 1) = '\0'; // and unsigned
    CHECK(!verify(key, token));

    licence_maker_pem(small, pem, sizeof(pem));
    CHECK(licence_key_create(pem) == NULL);
    licence_maker_pem(ec, pem, sizeof(pem));
    CHECK(licence_key_create(pem) == NULL);
    CHECK(licence_key_create("") == NULL && licence_key_create("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n") == NULL);
    licence_key_destroy(NULL);
    EVP_PKEY_free(other);
    EVP_PKEY_free(small);
    EVP_PKEY_free(ec);
}

// Expected values by Python's hashlib from the wording of protocols/buckets.md.
static void test_hash(void)
{
    static struct licence licence;
    char hash[LICENCE_HASH_BYTES], wrapped[LICENCE_WRAPPED_MAX];
    licence.token_len = (size_t)snprintf(licence.token, sizeof(licence.token), "%s",
                                         "abcdefghijabcdefghijabcdefghijabcdefghijabcdefghijabcdefghijabcdefghijabcdefghijabcdefghijklm");
    licence_hash("yououghttochangethis", "foo@foo.com", &licence, hash);
    CHECK(strcmp(hash, "7F9021C94B47B5B782EE772B7F57FDA9ED26540B") == 0);
    licence.token_len = 80; // whole lines
    licence.token[80] = '\0';
    licence_hash("salt", "foo@foo.com", &licence, hash);
    CHECK(strcmp(hash, "064ACCED2D2969A7FFB5821AD53361730B72F9D2") == 0);
    licence_wrap(bytes_of(licence.token, 80), wrapped);
    CHECK(strcmp(wrapped, "------------- START LICENSE ---------------\n"
                          "abcdefghij abcdefghij abcdefghij abcdefghij\n"
                          "abcdefghij abcdefghij abcdefghij abcdefghij\n"
                          "------------- END LICENSE -----------------") == 0);
    static char longest[LICENCE_TOKEN_MAX];
    memset(longest, 'x', sizeof(longest));
    CHECK(licence_wrap(bytes_of(longest, sizeof(longest)), wrapped) < sizeof(wrapped));
}

int main(void)
{
    auth_init();
    char pem[2048], token[LICENCE_TOKEN_MAX];
    EVP_PKEY *rsa = EVP_RSA_gen(2048);
    CHECK(rsa != NULL);
    licence_maker_pem(rsa, pem, sizeof(pem));
    struct licence_key *key = licence_key_create(pem);
    CHECK(key != NULL);
    licence_maker_sign(rsa, HEADER, CLAIMS, token, sizeof(token));
    test_forms(key, token);
    test_tampered(key, token);
    test_keys(rsa, key);
    test_hash();
    licence_key_destroy(key);
    EVP_PKEY_free(rsa);
    return 0;
}
