// RSA as Backbone uses it (protocols/backbone.md 3): 2048-bit keys, OAEP with SHA-256 in chunks of 190 bytes, PSS with SHA-256 and a salt
// of 222 bytes. A key and its cached contexts belong to one thread at a time. Operations with a private key take about 0.3 ms: not on a
// shard.
#pragma once
#include "shards/base/bytes.h"

#define RSA_BLOCK_BYTES 256     // of ciphertext
#define RSA_CHUNK_BYTES 190     // of plaintext per block, at most
#define RSA_SIGNATURE_BYTES 256 // PSS
#define RSA_PUBLIC_DER_MAX 320  // PKCS#1; 270 with the exponent 65537
#define RSA_PEM_MAX 2048        // any of the texts, with its NUL

struct rsa_key;

struct rsa_key *rsa_key_create(void);          // a new pair, exponent 65537. NULL: OpenSSL failed
void rsa_key_destroy(struct rsa_key *rsa_key); // takes NULL

// Reads a PEM text: PKCS#1 or SPKI public keys, or (is_private) PKCS#1 or PKCS#8 private ones without passphrase. NULL: *ret_why says why
// (static text), e.g. another key size than 2048.
struct rsa_key *rsa_key_read(struct bytes pem, bool is_private, const char **ret_why);
struct rsa_key *rsa_key_read_der(struct bytes der); // a public key as rsa_public_der writes it. NULL: it is none, or of another size

// The texts that the original writes: PEM PKCS#1 ("RSA PUBLIC KEY", "RSA PRIVATE KEY") with NUL. Returns the length, 0: OpenSSL failed.
size_t rsa_public_pem(const struct rsa_key *rsa_key, char ret_pem[RSA_PEM_MAX]);
size_t rsa_private_pem(const struct rsa_key *rsa_key, char ret_pem[RSA_PEM_MAX]);
size_t rsa_public_der(const struct rsa_key *rsa_key, uint8_t ret_der[RSA_PUBLIC_DER_MAX]); // PKCS#1

// Bytes that a plaintext of this length is encrypted to.
static inline size_t rsa_cipher_bytes(size_t plain_bytes)
{
    return (plain_bytes + RSA_CHUNK_BYTES - 1) / RSA_CHUNK_BYTES * RSA_BLOCK_BYTES;
}

// Public key: chunk by chunk into ret_cipher (rsa_cipher_bytes). false: OpenSSL failed.
bool rsa_encrypt(struct rsa_key *rsa_key, struct bytes plain, uint8_t *ret_cipher);
// Private key: block by block into ret_plain, which has room for RSA_CHUNK_BYTES per block. false: not a multiple of the block, or a block
// that was not encrypted for this key.
bool rsa_decrypt(struct rsa_key *rsa_key, struct bytes cipher, uint8_t *ret_plain, size_t *ret_plain_len);

bool rsa_sign(struct rsa_key *rsa_key, struct bytes message, uint8_t ret_signature[RSA_SIGNATURE_BYTES]); // private key
bool rsa_verify(struct rsa_key *rsa_key, struct bytes message, struct bytes signature); // public key; wrong lengths: false
