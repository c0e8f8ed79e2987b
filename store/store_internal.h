// Shared by the files of store/ only.
#pragma once
#include <sqlite3.h>

#include "store/store.h"

#define STORE_BUSY_MS 1000 // waiting for another process's write, as the original does

// Every statement that store/ runs on an open database: name, SQL. Prepared when first used, kept until the store is closed.
#define USER_COLUMNS                                                                                                                       \
    "SELECT id, emailverified, blocked, email, pwhash, created, recentlicensehash, "                                                       \
    "EXISTS (SELECT 1 FROM disabledlicense WHERE licensehash = recentlicensehash) FROM user "
// Tokens. ?1 now, ?2 the user; the newest row has the highest id.
#define TOKEN_VALUES "(expires, user_id, token) VALUES (datetime(?1, 'unixepoch', '+1 hour'), ?2, ?3)"
#define TOKEN_OLD(table)                                                                                                                   \
    "WHERE expires <= datetime(?1, 'unixepoch') OR expires IS NULL OR "                                                                    \
    "(user_id = ?2 AND id NOT IN (SELECT id FROM " table " WHERE user_id = ?2 ORDER BY id DESC LIMIT 3))"
#define STATEMENT_TABLE(X)                                                                                                                 \
    X(BEGIN, "BEGIN IMMEDIATE")                                                                                                            \
    X(COMMIT, "COMMIT")                                                                                                                    \
    X(SYNC_NORMAL, "PRAGMA synchronous = NORMAL")                                                                                          \
    X(SYNC_FULL, "PRAGMA synchronous = FULL")                                                                                              \
    X(DATA_VERSION, "PRAGMA data_version")                                                                                                 \
    X(USER_ADD, "INSERT INTO user (email, pwhash, emailverified) VALUES (?1, ?2, ?3)")                                                     \
    X(USER_FIND, USER_COLUMNS "WHERE email = ?1")                                                                                          \
    X(USER_GET, USER_COLUMNS "WHERE id = ?1")                                                                                              \
    X(USER_LIST, USER_COLUMNS "ORDER BY email")                                                                                            \
    X(USER_COUNT, "SELECT count(*) FROM user")                                                                                             \
    X(USER_SET_BLOCKED, "UPDATE user SET blocked = ?2 WHERE id = ?1")                                                                      \
    X(USER_SET_VERIFIED, "UPDATE user SET emailverified = ?2 WHERE id = ?1")                                                               \
    X(USER_SET_PASSWORD, "UPDATE user SET pwhash = ?2 WHERE id = ?1")                                                                      \
    X(USER_DELETE, "DELETE FROM user WHERE id = ?1")                                                                                       \
    X(USER_DELETE_EMAILTOKEN, "DELETE FROM emailtoken WHERE user_id = ?1")                                                                 \
    X(USER_DELETE_PWRESET, "DELETE FROM pwreset WHERE user_id = ?1")                                                                       \
    X(USER_DELETE_USERLOG, "DELETE FROM userlog WHERE user_id = ?1")                                                                       \
    X(LICENCE_IS_DISABLED, "SELECT EXISTS (SELECT 1 FROM disabledlicense WHERE licensehash = ?1)")                                         \
    X(LICENCE_ADD_USER, "INSERT INTO user (email, pwhash, emailverified, recentlicensehash) VALUES (?1, '', 1, ?2)")                       \
    X(LICENCE_USE, "UPDATE user SET pwhash = CASE WHEN coalesce(recentlicensehash, '') = '' THEN '' ELSE pwhash END, "                     \
                   "recentlicensehash = ?2, emailverified = 1 WHERE email = ?1")                                                           \
    X(LICENCE_DISABLE, "INSERT INTO disabledlicense (licensehash) "                                                                        \
                       "SELECT recentlicensehash FROM user WHERE id = ?1 AND coalesce(recentlicensehash, '') <> '' "                       \
                       "ON CONFLICT (licensehash) DO UPDATE SET licensehash = excluded.licensehash")                                       \
    X(VERIFY_ADD, "INSERT INTO emailtoken " TOKEN_VALUES)                                                                                  \
    X(VERIFY_TRIM, "DELETE FROM emailtoken " TOKEN_OLD("emailtoken"))                                                                      \
    X(VERIFY_LIVE, "SELECT user_id, token FROM emailtoken WHERE expires > datetime(?1, 'unixepoch') AND user_id = ?2")                     \
    X(RESET_ADD, "INSERT INTO pwreset " TOKEN_VALUES)                                                                                      \
    X(RESET_TRIM, "DELETE FROM pwreset " TOKEN_OLD("pwreset"))                                                                             \
    X(RESET_LIVE, "SELECT user_id, token FROM pwreset WHERE expires > datetime(?1, 'unixepoch')")                                          \
    X(RESET_PASSWORD, "UPDATE user SET pwhash = ?2, emailverified = 1 WHERE id = ?1")                                                      \
    X(USAGE_USER, "INSERT INTO userlog (day, user_id, bytes_sent, bytes_recv) "                                                            \
                  "SELECT ?1, ?2, ?3, ?4 WHERE EXISTS (SELECT 1 FROM user WHERE id = ?2) "                                                 \
                  "ON CONFLICT (day, user_id) DO UPDATE SET bytes_sent = coalesce(bytes_sent, 0) + excluded.bytes_sent, "                  \
                  "bytes_recv = coalesce(bytes_recv, 0) + excluded.bytes_recv")                                                            \
    X(USAGE_ADDRESS, "INSERT INTO iplog (day, ip, bytes_sent, bytes_recv) VALUES (?1, ?2, ?3, ?4) "                                        \
                     "ON CONFLICT (day, ip) DO UPDATE SET bytes_sent = coalesce(bytes_sent, 0) + excluded.bytes_sent, "                    \
                     "bytes_recv = coalesce(bytes_recv, 0) + excluded.bytes_recv")                                                         \
    X(USAGE_CLEAN_USERS, "DELETE FROM userlog WHERE day < date(?1, '-' || ?2 || ' day')")                                                  \
    X(USAGE_CLEAN_ADDRESSES, "DELETE FROM iplog WHERE day < date(?1, '-' || ?2 || ' day')")                                                \
    X(STATS_USERS, "SELECT u.email, sum(l.bytes_sent), sum(l.bytes_recv) FROM userlog AS l LEFT JOIN user AS u ON u.id = l.user_id "       \
                   "WHERE l.day >= date(?1, '-' || ?2 || ' day') GROUP BY 1 "                                                              \
                   "ORDER BY sum(l.bytes_sent) + sum(l.bytes_recv) DESC, 1 LIMIT ?3")                                                      \
    X(STATS_ADDRESSES, "SELECT ip, sum(bytes_sent), sum(bytes_recv) FROM iplog "                                                           \
                       "WHERE day >= date(?1, '-' || ?2 || ' day') GROUP BY 1 "                                                            \
                       "ORDER BY sum(bytes_sent) + sum(bytes_recv) DESC, 1 LIMIT ?3")

enum statement {
#define X(name, sql) STATEMENT_##name,
    STATEMENT_TABLE(X)
#undef X
        STATEMENT_COUNT
};

struct store {
    sqlite3 *db;
    sqlite3_stmt *statements[STATEMENT_COUNT];
    char error[STORE_ERROR_MAX];
};

// Ready to be bound, or NULL with the error noted.
sqlite3_stmt *store_statement(struct store *store, enum statement statement);
// Notes what the database says went wrong; always STORE_FAILED.
enum store_result store_fail(struct store *store, const char *doing);
// Runs a bound statement that answers no rows, and resets it. STORE_EXISTS when it breaks a UNIQUE.
enum store_result store_run(struct store *store, sqlite3_stmt *statement, const char *doing);
// The same for a statement without parameters.
enum store_result store_do(struct store *store, enum statement statement, const char *doing);
// Ends a transaction that failed; harmless when SQLite has ended it already.
void store_rollback(struct store *store);

// email in ASCII lower case; false when it is longer than any that is stored.
bool store_lower(const char *email, char ret_lower[STORE_EMAIL_MAX + 1]);

enum schema_state { SCHEMA_CURRENT, SCHEMA_EMPTY, SCHEMA_REFUSED };
// Looks at an open database without changing it. SCHEMA_REFUSED: the reason is in error. *ret_code: the SQLite result that spoke last.
enum schema_state schema_look(sqlite3 *db, int *ret_code, char *error, size_t error_max);
// Makes the original's tables in an empty database, in one transaction. SQLite result.
int schema_create(sqlite3 *db);
