// Buckets licences: JSON Web Tokens (RFC 7519) signed RS256, in the wrapping they are delivered in or bare (protocols/buckets.md "Licence
// text and its hash"). One rule: one licence has one text, so that a disabled one cannot come back spelled otherwise. No state but the key.
#pragma once
#include "shards/base/bytes.h"

#define LICENCE_TOKEN_MAX 2048                            // bytes of header.claims.signature
#define LICENCE_JSON_MAX (LICENCE_TOKEN_MAX / 4 * 3)      // bytes of a decoded part
#define LICENCE_WRAPPED_MAX (LICENCE_TOKEN_MAX * 2 + 128) // bytes as delivered
#define LICENCE_HASH_BYTES 41                             // SHA-1 in upper-case hex, with the NUL

struct licence {
    size_t token_len, header_len, claims_len;
    char token[LICENCE_TOKEN_MAX + 1]; // the bare token, NUL-terminated
    char header[LICENCE_JSON_MAX + 1]; // decoded, NUL-terminated: JSON, {"alg":"RS256",...} for the caller to read
    char claims[LICENCE_JSON_MAX + 1]; // decoded, NUL-terminated: JSON, {"email":...,"iat":...}
};

struct licence_key;
// The RSA public key (1024 bits or more) that signs licences, in PEM. NULL: it is none.
struct licence_key *licence_key_create(const char *pem);
void licence_key_destroy(struct licence_key *key); // takes NULL

// Reads text in either form and verifies its signature: RSA PKCS#1 v1.5 with SHA-256, whatever the header says. The caller still
// refuses a header that says otherwise. false: not a licence of this key. Some 30 us. Any thread.
bool licence_verify(const struct licence_key *key, struct bytes text, struct licence *ret_licence);

// What the database keeps of a licence (user.recentlicensehash, disabledlicense.licensehash). email in lower case.
void licence_hash(const char *salt, const char *email, const struct licence *licence, char ret_hash[LICENCE_HASH_BYTES]);
// The delivered form of a token. Returns its length without the NUL.
size_t licence_wrap(struct bytes token, char ret_wrapped[LICENCE_WRAPPED_MAX]);
