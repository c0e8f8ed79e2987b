// What the accounts node and the hashing nodes tell each other (RECORD_HASH, RECORD_HASH_NEW, RECORD_LICENCE, answers). Structs are the
// records, byte for byte.
#pragma once
#include "auth/fingerprint.h"
#include "auth/password.h"
#include "net/licences.h"

// Followed by the password's bytes, to the end of the record.
struct hash_request {
    struct fingerprint credentials; // names the check; echoed
    char hash[PASSWORD_HASH_MAX];   // what the password is checked against
};

struct hash_answer {
    struct fingerprint credentials;
    uint32_t matches; // 0 or 1
};

// Followed by the licence's bytes, to the end of the record.
struct licence_request {
    struct fingerprint credentials; // names the check; echoed
};

struct licence_answer {
    struct fingerprint credentials;
    uint32_t matches; // 0 or 1
    struct licence_holder holder;
};

// A password to be hashed: followed by its bytes, to the end of the record.
struct hash_new_request {
    uint64_t id; // the sender's; echoed
};

struct hash_new_answer {
    uint64_t id;
    char hash[PASSWORD_HASH_MAX]; // "": there was not enough memory
};
