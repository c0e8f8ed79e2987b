// Who may log in by Backbone: UUIDs with RSA public keys, and the server's own private key, in an SQLite file of its own (mode 0600), so
// that nothing is added to the original's database. Functions block. A handle is used by one thread at a time; several may have the file
// open: the crypto nodes read, the CLI writes, also while the server runs.
#pragma once
#include "store/store.h"

#define IDENTITY_ID_BYTES 16      // UUID, RFC 4122 byte order
#define IDENTITY_KEY_MAX 320      // public key as PKCS#1 DER
#define IDENTITY_PRIVATE_MAX 2048 // the server's private key as PEM, with its NUL

struct identity {
    uint8_t id[IDENTITY_ID_BYTES];
    uint8_t key[IDENTITY_KEY_MAX];
    uint32_t key_len;
    char created[32]; // "YYYY-MM-DD HH:MM:SS", UTC
};

struct identities;

// Opens the file, creating it (mode 0600) when it is missing or empty; a database of another program is refused untouched.
// NULL: error_text holds a sentence for the operator.
struct identities *identities_open(const char *path, char *error_text, size_t error_max);
void identities_close(struct identities *identities);              // takes NULL
const char *identities_error(const struct identities *identities); // why the last STORE_FAILED

// STORE_EXISTS: the id has a key already, which stays.
enum store_result identities_add(struct identities *identities, const uint8_t id[IDENTITY_ID_BYTES], struct bytes key);
enum store_result identities_find(struct identities *identities, const uint8_t id[IDENTITY_ID_BYTES], struct identity *ret_identity);
enum store_result identities_delete(struct identities *identities, const uint8_t id[IDENTITY_ID_BYTES]); // STORE_NOT_FOUND
// Calls on_identity for each, by id.
enum store_result identities_each(struct identities *identities, void (*on_identity)(void *owner, const struct identity *identity),
                                  void *owner);

// The server's private key as PEM. STORE_NOT_FOUND: none yet.
enum store_result identities_server_key(struct identities *identities, char ret_pem[IDENTITY_PRIVATE_MAX]);
// Keeps it unless there is one: STORE_EXISTS.
enum store_result identities_put_server_key(struct identities *identities, const char *pem);

// Changes whenever another connection has changed the file.
enum store_result identities_version(struct identities *identities, uint32_t *ret_version);
