// Every length around the chunks, every wrong parameter, and the forms of keys. What other programs make is tried end to end.
#include "auth/rsa.h"

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <stdio.h>

#include "shards/base/check.h"

static struct rsa_key *key, *other;
static char private_pem[RSA_PEM_MAX];

static EVP_PKEY *openssl_key(void)
{
    BIO *bio = BIO_new_mem_buf(private_pem, -1);
    EVP_PKEY *pkey = PEM_read_bio_PrivateKey(bio, NULL, NULL, NULL);
    CHECK(pkey != NULL);
    BIO_free(bio);
    return pkey;
}

static void test_lengths(void)
{
    static const size_t lens[] = {0, 1, 17, 189, 190, 191, 379, 380, 381, 1900, 48450};
    static uint8_t plain[48450], cipher[65536], back[48450 + RSA_CHUNK_BYTES];
    for (size_t i = 0; i < sizeof(plain); i++)
        plain[i] = (uint8_t)(i * 7 + i / 251);
    for (size_t i = 0; i < sizeof(lens) / sizeof(lens[0]); i++) {
        size_t len = 99999, cipher_len = rsa_cipher_bytes(lens[i]);
        CHECK(rsa_encrypt(key, bytes_of(plain, lens[i]), cipher));
        CHECK(rsa_decrypt(key, bytes_of(cipher, cipher_len), back, &len));
        CHECK(len == lens[i] && memcmp(plain, back, len) == 0);
    }
    CHECK(rsa_cipher_bytes(48450) == 65280 && rsa_cipher_bytes(190) == 256 && rsa_cipher_bytes(191) == 512);
}

static void test_wrong_ciphers(void)
{
    uint8_t cipher[RSA_BLOCK_BYTES], back[RSA_CHUNK_BYTES];
    size_t len = 77;
    CHECK(rsa_encrypt(key, bytes_text("hello"), cipher));
    CHECK(!rsa_decrypt(other, bytes_of(cipher, sizeof(cipher)), back, &len));
    CHECK(!rsa_decrypt(key, bytes_of(cipher, sizeof(cipher) - 1), back, &len));
    cipher[200] ^= 1;
    CHECK(!rsa_decrypt(key, bytes_of(cipher, sizeof(cipher)), back, &len));
    cipher[200] ^= 1;
    CHECK(len == 77 && rsa_decrypt(key, bytes_of(cipher, sizeof(cipher)), back, &len) && len == 5);
    memset(cipher, 0xff, sizeof(cipher)); // larger than the modulus
    CHECK(!rsa_decrypt(key, bytes_of(cipher, sizeof(cipher)), back, &len));
}

// A signature by OpenSSL with these parameters, taken by rsa_verify or not.
static bool is_taken(int padding, int salt_bytes, const EVP_MD *md)
{
    uint8_t signature[RSA_SIGNATURE_BYTES];
    size_t len = sizeof(signature);
    EVP_PKEY_CTX *context = NULL;
    EVP_PKEY *pkey = openssl_key();
    EVP_MD_CTX *digest = EVP_MD_CTX_new();
    CHECK(EVP_DigestSignInit(digest, &context, md, NULL, pkey) == 1 && EVP_PKEY_CTX_set_rsa_padding(context, padding) == 1);
    CHECK(padding != RSA_PKCS1_PSS_PADDING || EVP_PKEY_CTX_set_rsa_pss_saltlen(context, salt_bytes) == 1);
    CHECK(EVP_DigestSign(digest, signature, &len, (const unsigned char *)"challenge", 9) == 1);
    EVP_MD_CTX_free(digest);
    EVP_PKEY_free(pkey);
    return rsa_verify(key, bytes_text("challenge"), bytes_of(signature, len));
}

static void test_signatures(void)
{
    uint8_t signature[RSA_SIGNATURE_BYTES + 1] = {0};
    CHECK(rsa_sign(key, bytes_text("challenge"), signature));
    struct bytes whole = bytes_of(signature, RSA_SIGNATURE_BYTES);
    CHECK(rsa_verify(key, bytes_text("challenge"), whole));
    CHECK(!rsa_verify(key, bytes_text("challengf"), whole));
    CHECK(!rsa_verify(other, bytes_text("challenge"), whole));
    CHECK(!rsa_verify(key, bytes_text("challenge"), bytes_of(signature, sizeof(signature))));
    CHECK(!rsa_verify(key, bytes_text("challenge"), bytes_of(signature, RSA_SIGNATURE_BYTES - 1)));
    CHECK(is_taken(RSA_PKCS1_PSS_PADDING, 222, EVP_sha256()));
    CHECK(!is_taken(RSA_PKCS1_PSS_PADDING, 32, EVP_sha256()));
    CHECK(!is_taken(RSA_PKCS1_PSS_PADDING, 221, EVP_sha256()));
    CHECK(!is_taken(RSA_PKCS1_PSS_PADDING, 32, EVP_sha512()));
    CHECK(!is_taken(RSA_PKCS1_PADDING, 0, EVP_sha256()));
}

static void test_texts(void)
{
    char pem[RSA_PEM_MAX];
    uint8_t der[RSA_PUBLIC_DER_MAX], cipher[RSA_BLOCK_BYTES], back[RSA_CHUNK_BYTES];
    const char *why = NULL;
    size_t len = 0, der_len = rsa_public_der(key, der);
    CHECK(rsa_public_pem(key, pem) == 426 && strncmp(pem, "-----BEGIN RSA PUBLIC KEY-----\n", 31) == 0 && pem[425] == '\n');
    CHECK(strncmp(private_pem, "-----BEGIN RSA PRIVATE KEY-----\n", 32) == 0 && der_len == 270);
    struct rsa_key *read[] = {rsa_key_read(bytes_text(pem), false, &why), rsa_key_read_der(bytes_of(der, der_len)), NULL};
    EVP_PKEY *pkey = openssl_key();
    BIO *bio = BIO_new(BIO_s_mem());
    char *text;
    CHECK(PEM_write_bio_PUBKEY(bio, pkey) == 1); // SPKI
    long text_len = BIO_get_mem_data(bio, &text);
    read[2] = rsa_key_read(bytes_of(text, (size_t)text_len), false, &why);
    for (size_t i = 0; i < 3; i++) {
        CHECK(read[i] != NULL && rsa_encrypt(read[i], bytes_text("hello"), cipher));
        CHECK(rsa_decrypt(key, bytes_of(cipher, sizeof(cipher)), back, &len) && len == 5 && memcmp(back, "hello", 5) == 0);
        CHECK(!rsa_decrypt(read[i], bytes_of(cipher, sizeof(cipher)), back, &len)); // has no private half
        rsa_key_destroy(read[i]);
    }
    CHECK(rsa_key_read(bytes_text(pem), true, &why) == NULL && strstr(why, "private") != NULL);
    CHECK(rsa_key_read(bytes_text("hello"), false, &why) == NULL && strstr(why, "public") != NULL);
    CHECK(rsa_key_read(bytes_of("", 0), false, &why) == NULL && rsa_key_read_der(bytes_of(der, der_len - 1)) == NULL);
    BIO_free(bio);
    EVP_PKEY_free(pkey);
}

static void test_sizes(void)
{
    static const unsigned sizes[] = {1024, 3072};
    for (size_t i = 0; i < 2; i++) {
        const char *why = "";
        char *text;
        EVP_PKEY *pkey = EVP_RSA_gen(sizes[i]);
        BIO *bio = BIO_new(BIO_s_mem());
        CHECK(PEM_write_bio_PUBKEY(bio, pkey) == 1);
        long len = BIO_get_mem_data(bio, &text);
        CHECK(rsa_key_read(bytes_of(text, (size_t)len), false, &why) == NULL && strstr(why, "2048") != NULL);
        BIO_free(bio);
        EVP_PKEY_free(pkey);
    }
}

int main(void)
{
    key = rsa_key_create();
    other = rsa_key_create();
    CHECK(key != NULL && other != NULL && rsa_private_pem(key, private_pem) > 0);
    test_lengths();
    test_wrong_ciphers();
    test_signatures();
    test_texts();
    test_sizes();
    rsa_key_destroy(key);
    rsa_key_destroy(other);
    puts("rsa: ok");
    return 0;
}
