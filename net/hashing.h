// What the accounts node and the hashing nodes tell each other (RECORD_HASH, RECORD_LICENCE and their answers). Structs are the records,
// byte for byte.
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
