// Registration: what /v1/auth asks the accounts node for, and what it is answered (protocols/buckets.md "/v1/auth"). A register, a resent
// code or a reset ends when its mail has been sent or given up; a new password is hashed on a hashing node. Nothing blocks a shard.
// One rule: every request is answered once, in the order in which requests become ready.
#pragma once
#include "net/accounts.h"
#include "store/store.h"

#define SIGNUP_PASSWORD_CHARS_MIN 8
#define SIGNUP_PASSWORD_MAX 1024 // bytes

// X(name, the word on the wire)
#define SIGNUP_COMMAND_TABLE(X)                                                                                                            \
    X(REGISTER, "register")                                                                                                                \
    X(SEND_VERIFY, "sendVerify")                                                                                                           \
    X(VERIFY, "verify")                                                                                                                    \
    X(RESET_PASSWORD, "resetPassword")                                                                                                     \
    X(UPDATE_PASSWORD, "updatePassword")

enum signup_command {
#define X(name, word) SIGNUP_##name,
    SIGNUP_COMMAND_TABLE(X)
#undef X
        SIGNUP_COMMAND_COUNT
};

// X(name, the answer after the id: a "response", an "error", or nothing at all). The texts down to "Failed to send email" are the
// original's.
#define SIGNUP_OUTCOME_TABLE(X)                                                                                                            \
    X(TRUE, "\"response\":true")                                                                                                           \
    X(FALSE, "\"response\":false")                                                                                                         \
    X(DONE, "")                                                                                                                            \
    X(EXISTS, "\"error\":\"Account already exists\"")                                                                                      \
    X(NOT_FOUND, "\"error\":\"Not found\"")                                                                                                \
    X(UNKNOWN_COMMAND, "\"error\":\"Unknown command\"")                                                                                    \
    X(UNEXPECTED, "\"error\":\"Unexpected error\"")                                                                                        \
    X(MAIL_FAILED, "\"error\":\"Failed to send email\"")                                                                                   \
    X(BAD_EMAIL, "\"error\":\"Not an email address\"")                                                                                     \
    X(SHORT_PASSWORD, "\"error\":\"Password must have at least 8 characters\"")                                                            \
    X(LONG_PASSWORD, "\"error\":\"Password must have at most 1024 bytes\"")                                                                \
    X(THROTTLED, "\"error\":\"Too many requests\"")                                                                                        \
    X(BUSY, "\"error\":\"Relay is busy, try again\"")

enum signup_outcome {
#define X(name, text) SIGNUP_##name,
    SIGNUP_OUTCOME_TABLE(X)
#undef X
        SIGNUP_OUTCOME_COUNT
};

// RECORD_SIGNUP, byte for byte. Texts are NUL-terminated; what a command does not take is "". Too long: cut, and `email_cut` and
// `password_cut` say so.
struct signup_request {
    uint32_t slot, generation; // echoed
    struct net_address address;
    uint8_t command; // enum signup_command
    bool email_cut, password_cut;
    char email[STORE_EMAIL_MAX + 1];
    char token[STORE_TOKEN_BYTES + 1]; // a longer one is none: cut to one byte too many
    char password[SIGNUP_PASSWORD_MAX + 1];
};

// RECORD_SIGNUP_ANSWER, byte for byte.
struct signup_answer {
    uint32_t slot, generation;
    uint32_t outcome;       // enum signup_outcome
    uint32_t retry_after_s; // of SIGNUP_THROTTLED
};

// ---- for the accounts node ----

struct accounts;
struct signups;

struct signup_counts {
    uint64_t outcomes[SIGNUP_OUTCOME_COUNT]; // answers
    uint64_t mailed;                         // letters given to the mail node
    uint64_t displaced;                      // buckets forgotten for want of room
};

struct signups *signups_create(void);          // NULL when memory is short
void signups_destroy(struct signups *signups); // takes NULL
void signups_counts(const struct signups *signups, struct signup_counts *ret_counts);
void signup_on_request(struct accounts *accounts, const struct post_record *record);     // RECORD_SIGNUP
void signup_on_hash_answer(struct accounts *accounts, const struct post_record *record); // RECORD_HASH_NEW_ANSWER
void signup_on_mail_answer(struct accounts *accounts, const struct post_record *record); // RECORD_LETTER_ANSWER
