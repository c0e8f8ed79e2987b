// Accounts. One thread at a time.
#include <stdio.h>

#include "shards/base/check.h"
#include "store/store_internal.h"

static char ascii_lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

bool store_lower(const char *email, char ret_lower[STORE_EMAIL_MAX + 1])
{
    size_t len = strlen(email);
    if (len > STORE_EMAIL_MAX)
        return false;
    for (size_t i = 0; i <= len; i++)
        ret_lower[i] = ascii_lower(email[i]);
    return true;
}

// Databases of long standing hold NULL and other types in odd places: every column reads as something, and what cannot be read as
// "may log in" reads as "may not", as in the original.
static void read_user(sqlite3_stmt *row, struct store_user *ret_user)
{
    const char *email = (const char *)sqlite3_column_text(row, 3);
    const char *password_hash = (const char *)sqlite3_column_text(row, 4);
    const char *created = (const char *)sqlite3_column_text(row, 5);
    *ret_user = (struct store_user){.id = sqlite3_column_int64(row, 0), .verified = sqlite3_column_int(row, 1) != 0};
    ret_user->blocked = sqlite3_column_type(row, 2) == SQLITE_NULL || sqlite3_column_int(row, 2) != 0;
    snprintf(ret_user->email, sizeof(ret_user->email), "%s", email == NULL ? "" : email);
    if (password_hash != NULL && strlen(password_hash) <= STORE_HASH_MAX)
        snprintf(ret_user->password_hash, sizeof(ret_user->password_hash), "%s", password_hash);
    const char *licence_hash = (const char *)sqlite3_column_text(row, 6);
    snprintf(ret_user->licence_hash, sizeof(ret_user->licence_hash), "%s", licence_hash == NULL ? "" : licence_hash);
    ret_user->licence_disabled = sqlite3_column_int(row, 7) != 0;
    snprintf(ret_user->created, sizeof(ret_user->created), "%.31s", created == NULL ? "" : created);
}

enum store_result store_user_add(struct store *store, const char *email, const char *password_hash, bool verified, int64_t *ret_id)
{
    CHECK(email != NULL && password_hash != NULL && ret_id != NULL);
    char lowered[STORE_EMAIL_MAX + 1];
    if (!store_lower(email, lowered)) {
        snprintf(store->error, sizeof(store->error), "an e-mail address has at most %d bytes", STORE_EMAIL_MAX);
        return STORE_FAILED;
    }
    sqlite3_stmt *statement = store_statement(store, STATEMENT_USER_ADD);
    if (statement == NULL)
        return STORE_FAILED;
    sqlite3_bind_text(statement, 1, lowered, -1, SQLITE_TRANSIENT);
    sqlite3_bind_text(statement, 2, password_hash, -1, SQLITE_TRANSIENT);
    sqlite3_bind_int(statement, 3, verified);
    enum store_result result = store_run(store, statement, "cannot add a user");
    if (result == STORE_OK)
        *ret_id = sqlite3_last_insert_rowid(store->db);
    return result;
}

// Steps a bound statement that answers one user at most.
static enum store_result read_one(struct store *store, sqlite3_stmt *statement, struct store_user *ret_user)
{
    int code = sqlite3_step(statement);
    enum store_result result = STORE_NOT_FOUND;
    if (code == SQLITE_ROW) {
        read_user(statement, ret_user);
        result = STORE_OK;
    } else if (code != SQLITE_DONE) {
        result = store_fail(store, "cannot read a user");
    }
    sqlite3_reset(statement);
    sqlite3_clear_bindings(statement);
    return result;
}

enum store_result store_user_find(struct store *store, const char *email, struct store_user *ret_user)
{
    CHECK(email != NULL && ret_user != NULL);
    char lowered[STORE_EMAIL_MAX + 1];
    if (!store_lower(email, lowered))
        return STORE_NOT_FOUND;
    sqlite3_stmt *statement = store_statement(store, STATEMENT_USER_FIND);
    if (statement == NULL)
        return STORE_FAILED;
    sqlite3_bind_text(statement, 1, lowered, -1, SQLITE_TRANSIENT);
    return read_one(store, statement, ret_user);
}

enum store_result store_user_get(struct store *store, int64_t id, struct store_user *ret_user)
{
    CHECK(ret_user != NULL);
    sqlite3_stmt *statement = store_statement(store, STATEMENT_USER_GET);
    if (statement == NULL)
        return STORE_FAILED;
    sqlite3_bind_int64(statement, 1, id);
    return read_one(store, statement, ret_user);
}

enum store_result store_user_count(struct store *store, uint64_t *ret_count)
{
    CHECK(ret_count != NULL);
    sqlite3_stmt *statement = store_statement(store, STATEMENT_USER_COUNT);
    if (statement == NULL)
        return STORE_FAILED;
    enum store_result result = STORE_OK;
    if (sqlite3_step(statement) == SQLITE_ROW)
        *ret_count = (uint64_t)sqlite3_column_int64(statement, 0);
    else
        result = store_fail(store, "cannot count the users");
    sqlite3_reset(statement);
    return result;
}

// Runs an UPDATE or DELETE of one user by id: no row changed means no such user.
static enum store_result change_one(struct store *store, sqlite3_stmt *statement, const char *doing)
{
    enum store_result result = store_run(store, statement, doing);
    return result == STORE_OK && sqlite3_changes(store->db) == 0 ? STORE_NOT_FOUND : result;
}

static enum store_result set_flag(struct store *store, enum statement which, int64_t id, bool value, const char *doing)
{
    sqlite3_stmt *statement = store_statement(store, which);
    if (statement == NULL)
        return STORE_FAILED;
    sqlite3_bind_int64(statement, 1, id);
    sqlite3_bind_int(statement, 2, value);
    return change_one(store, statement, doing);
}

enum store_result store_user_set_blocked(struct store *store, int64_t id, bool blocked)
{
    return set_flag(store, STATEMENT_USER_SET_BLOCKED, id, blocked, "cannot block or unblock a user");
}

enum store_result store_user_set_verified(struct store *store, int64_t id, bool verified)
{
    return set_flag(store, STATEMENT_USER_SET_VERIFIED, id, verified, "cannot change whether a user is verified");
}

enum store_result store_user_set_password(struct store *store, int64_t id, const char *password_hash)
{
    CHECK(password_hash != NULL);
    sqlite3_stmt *statement = store_statement(store, STATEMENT_USER_SET_PASSWORD);
    if (statement == NULL)
        return STORE_FAILED;
    sqlite3_bind_int64(statement, 1, id);
    sqlite3_bind_text(statement, 2, password_hash, -1, SQLITE_TRANSIENT);
    return change_one(store, statement, "cannot change a password");
}

enum store_result store_user_delete(struct store *store, int64_t id)
{
    // The user last: foreign keys are on, and its own result says whether there was one.
    static const enum statement deletions[] = {STATEMENT_USER_DELETE_EMAILTOKEN, STATEMENT_USER_DELETE_PWRESET,
                                               STATEMENT_USER_DELETE_USERLOG, STATEMENT_USER_DELETE};
    enum store_result result = store_do(store, STATEMENT_BEGIN, "cannot delete a user");
    if (result != STORE_OK)
        return result;
    for (size_t i = 0; i < sizeof(deletions) / sizeof(deletions[0]); i++) {
        sqlite3_stmt *statement = store_statement(store, deletions[i]);
        if (statement == NULL)
            goto fail;
        sqlite3_bind_int64(statement, 1, id);
        result = change_one(store, statement, "cannot delete a user");
        if (result == STORE_FAILED)
            goto fail;
    }
    if (store_do(store, STATEMENT_COMMIT, "cannot delete a user") != STORE_OK)
        goto fail;
    return result;
fail:
    store_rollback(store);
    return STORE_FAILED;
}

enum store_result store_user_list(struct store *store, bool (*on_user)(void *owner, const struct store_user *user), void *owner)
{
    CHECK(on_user != NULL);
    sqlite3_stmt *statement = store_statement(store, STATEMENT_USER_LIST);
    if (statement == NULL)
        return STORE_FAILED;
    enum store_result result = STORE_OK;
    int code = sqlite3_step(statement);
    struct store_user user;
    while (code == SQLITE_ROW) {
        read_user(statement, &user);
        if (!on_user(owner, &user))
            break;
        code = sqlite3_step(statement);
    }
    if (code != SQLITE_ROW && code != SQLITE_DONE)
        result = store_fail(store, "cannot list the users");
    sqlite3_reset(statement);
    return result;
}
