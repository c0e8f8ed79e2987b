// What outlives the process: accounts and usage, in an SQLite file that the original opens too (protocols/buckets.md "Licence text and its
// hash", Schema). One rule: nothing is added to the original's tables. Functions block; a store is used by one thread at a time (the
// accounts node, or a command of the CLI). Other processes may use the file meanwhile.
#pragma once
#include "shards/base/bytes.h"

#define STORE_EMAIL_MAX 320  // bytes; what is longer in the file is cut in answers
#define STORE_HASH_MAX 127   // bytes of a password hash; a longer one reads as ""
#define STORE_LICENCE_MAX 63 // bytes of a licence's hash
#define STORE_ADDRESS_MAX 45 // bytes of an address as text
#define STORE_TOP 20         // users and addresses in the statistics
#define STORE_ERROR_MAX 512

struct store;

enum store_result {
    STORE_OK,
    STORE_NOT_FOUND,
    STORE_EXISTS, // the e-mail address is taken
    STORE_FAILED, // the database failed: store_error says how
};

// Opens the file, creating it (mode 0600) and its schema when it is missing or empty. A file that is no relay's database, or one of a newer
// schema, is refused untouched. NULL: error_text holds a sentence with path and reason for the operator.
struct store *store_open(const char *path, char *error_text, size_t error_max);
void store_close(struct store *store); // takes NULL

const char *store_error(const struct store *store); // why the last STORE_FAILED; valid until the next call
bool store_is_readonly(const struct store *store);  // the file may be read only: logins work, nothing is kept

// Changes whenever another connection has changed the database; own changes do not count.
enum store_result store_data_version(struct store *store, uint32_t *ret_version);

struct store_user {
    int64_t id; // > 0
    bool verified, blocked;
    char email[STORE_EMAIL_MAX + 1];
    char password_hash[STORE_HASH_MAX + 1];   // "" : logs in by licence only
    char created[32];                         // "YYYY-MM-DD HH:MM:SS", UTC
    char licence_hash[STORE_LICENCE_MAX + 1]; // of the licence used last (auth/licence.h); "": none yet
    bool licence_disabled;                    // that licence
};

// E-mail addresses are stored and looked up in lower case (ASCII), as the original does.
enum store_result store_user_add(struct store *store, const char *email, const char *password_hash, bool verified, int64_t *ret_id);
enum store_result store_user_find(struct store *store, const char *email, struct store_user *ret_user);
enum store_result store_user_get(struct store *store, int64_t id, struct store_user *ret_user);
enum store_result store_user_count(struct store *store, uint64_t *ret_count);
enum store_result store_user_set_blocked(struct store *store, int64_t id, bool blocked);
enum store_result store_user_set_verified(struct store *store, int64_t id, bool verified);
enum store_result store_user_set_password(struct store *store, int64_t id, const char *password_hash);
enum store_result store_user_delete(struct store *store, int64_t id); // with its tokens and usage
// Calls on_user for each, by e-mail address, until it returns false. on_user must not call the store.
enum store_result store_user_list(struct store *store, bool (*on_user)(void *owner, const struct store_user *user), void *owner);

// Codes that were mailed: 32 upper-case hex digits of 128 random bits, good for an hour, of which a user has at most the 3 newest of a
// kind. wall_s: UTC seconds since 1970.
#define STORE_TOKEN_BYTES 33 // with the NUL
#define STORE_TOKEN_SECONDS 3600
#define STORE_TOKENS_MAX 3
// Makes a code for a user who exists and stores it; nobody else's codes change but those that have expired, which go.
enum store_result store_token_add_verify(struct store *store, int64_t user, int64_t wall_s, char ret_token[STORE_TOKEN_BYTES]);
enum store_result store_token_add_reset(struct store *store, int64_t user, int64_t wall_s, char ret_token[STORE_TOKEN_BYTES]);
// Spends the code: the address is verified and all codes of this kind are gone. STORE_NOT_FOUND: not a live code of this user.
enum store_result store_token_use_verify(struct store *store, int64_t user, const char *token, int64_t wall_s);
// Whose live reset code this is. The time it takes says nothing about the codes that exist.
enum store_result store_token_find_reset(struct store *store, const char *token, int64_t wall_s, int64_t *ret_user);
// Spends the code: the user gets the password, is verified (the code came by mail) and all its reset codes are gone.
enum store_result store_token_use_reset(struct store *store, const char *token, const char *password_hash, int64_t wall_s,
                                        int64_t *ret_user);

// A licence's signature was right for email: remembers its hash, as the original does. An unknown e-mail address becomes a user, verified
// and without a password. At the first licence of a user the password is blanked: whoever set it need not have owned the address, as the
// holder of the licence does. STORE_NOT_FOUND, and nothing changed: the user is blocked or the licence disabled. A licence seen before
// writes nothing.
enum store_result store_licence_login(struct store *store, const char *email, const char *licence_hash, struct store_user *ret_user);
// Disables the licence that the user used last, in this program and the original. STORE_NOT_FOUND: no such user, or no licence.
enum store_result store_licence_disable(struct store *store, int64_t user);

// Copies the whole database into a new file (mode 0600) while others read and write it; on failure the new file is removed.
// STORE_EXISTS: there is a file of that name, untouched.
enum store_result store_backup(struct store *store, const char *path);

#define STORE_DAY_BYTES 11
void store_day(int64_t wall_s, char ret_day[STORE_DAY_BYTES]); // "YYYY-MM-DD", UTC

// What one user (user > 0) or one address (user 0) sent and received on a day; bytes as the original counts them.
struct store_usage {
    char day[STORE_DAY_BYTES];
    char address[STORE_ADDRESS_MAX + 1];
    int64_t user;
    uint64_t sent_bytes, recv_bytes;
};
// Adds all of it in one transaction, or nothing (STORE_FAILED). Usage of a user who is gone is left out.
enum store_result store_usage_add(struct store *store, const struct store_usage *rows, size_t count);
// Deletes usage of days before `days` days ago.
enum store_result store_usage_clean(struct store *store, const char *today, uint32_t days);

struct store_top {
    char name[STORE_EMAIL_MAX + 1]; // e-mail address or network address; "" when the user is gone
    int64_t sent_bytes, recv_bytes;
};
struct store_stats {
    uint32_t days;
    size_t user_count, address_count;
    struct store_top users[STORE_TOP], addresses[STORE_TOP]; // by total, descending
};
// The last `days` days up to `today`, as the original counts them: day >= today - days.
enum store_result store_stats(struct store *store, const char *today, uint32_t days, struct store_stats *ret_stats);
