// Licences with right signatures and wrong contents, and with wrong signatures and right contents: only right ones have a holder.
#include "net/licences.h"

#include <openssl/hmac.h>
#include <stdio.h>

#include "auth/auth.h"
#include "auth/basic.h"
#include "auth/licence_maker.h"

#define HEADER "{\"alg\":\"RS256\",\"typ\":\"JWT\"}"
#define CLAIMS "{\"email\":\"Foo@Foo.com\",\"iat\":1700000000}"

static EVP_PKEY *rsa;
static struct licence_key *key;
static char pem[2048];

static bool reads(const char *token)
{
    struct licence_holder holder;
    return licences_read(key, LICENCE_SALT_DEFAULT, bytes_text(token), &holder);
}

// Signed by the right key: what is inside decides.
static void expect(const char *header, const char *claims, bool wanted)
{
    char token[2 * LICENCE_TOKEN_MAX];
    licence_maker_sign(rsa, header, claims, token, sizeof(token));
    if (reads(token) != wanted)
        fprintf(stderr, "%s %s: wanted %d\n", header, claims, wanted);
    CHECK(reads(token) == wanted);
}

static void test_contents(void)
{
    char claims[1024];
    expect(HEADER, CLAIMS, true);
    expect("{\"typ\":\"JWT\",\"alg\":\"RS256\"}", "{\"email\":\"a@b\",\"other\":[1,{}]}", true);
    const char *const headers[] = {"{}",
                                   "{\"alg\":\"none\"}",
                                   "{\"alg\":\"HS256\"}",
                                   "{\"alg\":\"RS512\"}",
                                   "{\"alg\":\"rs256\"}",
                                   "{\"alg\":[\"RS256\"]}",
                                   "{\"alg\":null}",
                                   "{\"alg\":\"RS256\\u0000\"}",
                                   "[\"RS256\"]",
                                   "\"RS256\"",
                                   "x",
                                   "{\"alg\":\"RS256\",\"alg\":\"none\"}",
                                   "{\"alg\":\"none\",\"alg\":\"RS256\"}",
                                   "{\"alg\":\"RS256\",\"crit\":[\"exp\"]}",
                                   HEADER HEADER};
    for (size_t i = 0; i < sizeof(headers) / sizeof(headers[0]); i++)
        expect(headers[i], CLAIMS, false);
    const char *const wrong[] = {"{}",
                                 "{\"email\":\"\"}",
                                 "{\"email\":1}",
                                 "{\"email\":null}",
                                 "{\"email\":[\"a@b\"]}",
                                 "[]",
                                 "null",
                                 "x",
                                 "{\"email\":\"a b\"}",
                                 "{\"email\":\"a:b\"}",
                                 "{\"email\":\"a@b\\n\"}",
                                 "{\"email\":\"a@b\\u0000\"}",
                                 "{\"email\":\"\xff@b\"}",
                                 "{\"email\":\"a@b\",\"email\":\"c@d\"}",
                                 "{\"email\":\"a@b\"",
                                 CLAIMS CLAIMS};
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
        expect(HEADER, wrong[i], false);
    for (int len = BASIC_USER_MAX - 1; len <= BASIC_USER_MAX + 1; len++) {
        snprintf(claims, sizeof(claims), "{\"email\":\"%0*d\"}", len, 7);
        expect(HEADER, claims, len <= BASIC_USER_MAX);
    }
}

static void test_holder(void)
{
    char token[LICENCE_TOKEN_MAX], wrapped[LICENCE_WRAPPED_MAX], hash[LICENCE_HASH_BYTES];
    struct licence_holder bare, delivered, salted;
    struct licence licence;
    licence_maker_sign(rsa, HEADER, CLAIMS, token, sizeof(token));
    licence_wrap(bytes_text(token), wrapped);
    CHECK(licences_read(key, "salt", bytes_text(token), &bare) && licences_read(key, "salt", bytes_text(wrapped), &delivered));
    CHECK(strcmp(bare.email, "foo@foo.com") == 0 && strcmp(delivered.email, bare.email) == 0 && strcmp(delivered.hash, bare.hash) == 0);
    CHECK(licences_read(key, "pepper", bytes_text(token), &salted) && strcmp(salted.hash, bare.hash) != 0);
    CHECK(licence_verify(key, bytes_text(token), &licence));
    licence_hash("salt", "foo@foo.com", &licence, hash);
    CHECK(strcmp(bare.hash, hash) == 0);
}

// The classic: the public key taken for an HMAC secret, which everybody knows.
static void test_hmac(void)
{
    char token[LICENCE_TOKEN_MAX];
    uint8_t tag[32];
    unsigned tag_len = 0;
    size_t len = licence_maker_encode("{\"alg\":\"HS256\"}", 15, token, sizeof(token));
    token[len++] = '.';
    len += licence_maker_encode(CLAIMS, strlen(CLAIMS), token + len, sizeof(token) - len);
    CHECK(HMAC(EVP_sha256(), pem, (int)strlen(pem), (const uint8_t *)token, len, tag, &tag_len) != NULL && tag_len == 32);
    token[len++] = '.';
    licence_maker_encode(tag, tag_len, token + len, sizeof(token) - len);
    CHECK(!reads(token));
}

static void test_signatures(void)
{
    char token[LICENCE_TOKEN_MAX], other_claims[LICENCE_TOKEN_MAX];
    EVP_PKEY *other = EVP_RSA_gen(2048);
    CHECK(other != NULL);
    licence_maker_sign(other, HEADER, CLAIMS, token, sizeof(token));
    CHECK(!reads(token)); // wrong key
    EVP_PKEY_free(other);
    licence_maker_sign(rsa, "{\"alg\":\"none\"}", CLAIMS, token, sizeof(token));
    *(strrchr(token, '.') + 1) = '\0';
    CHECK(!reads(token)); // none, unsigned
    licence_maker_sign(rsa, HEADER, CLAIMS, token, sizeof(token));
    *(strrchr(token, '.') + 1) = '\0';
    CHECK(!reads(token));
    licence_maker_sign(rsa, HEADER, CLAIMS, token, sizeof(token));
    licence_maker_sign(rsa, HEADER, "{\"email\":\"bar@bar.com\"}", other_claims, sizeof(other_claims));
    memcpy(strrchr(other_claims, '.'), strrchr(token, '.'), strlen(strrchr(token, '.')) + 1);
    CHECK(!reads(other_claims)); // somebody else's signature
    CHECK(!reads("") && !reads("garbage") && !reads("..") && reads(token));
}

int main(void)
{
    auth_init();
    rsa = EVP_RSA_gen(2048);
    CHECK(rsa != NULL);
    licence_maker_pem(rsa, pem, sizeof(pem));
    key = licence_key_create(pem);
    CHECK(key != NULL);
    test_contents();
    test_holder();
    test_hmac();
    test_signatures();
    licence_key_destroy(key);
    EVP_PKEY_free(rsa);
    return 0;
}
