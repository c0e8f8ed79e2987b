// Codes that were mailed to users: made, found, spent. One rule: a code is compared in constant time with every live one, never by SQL.
// One thread at a time.
#include <stdio.h>
#include <sys/random.h>

#include "shards/base/check.h"
#include "store/store_internal.h"

_Static_assert(STORE_TOKEN_SECONDS == 3600 && STORE_TOKENS_MAX == 3, "the statements say so");

#define RANDOM_BYTES ((STORE_TOKEN_BYTES - 1) / 2)

static bool make_token(char ret_token[STORE_TOKEN_BYTES])
{
    uint8_t random[RANDOM_BYTES];
    if (getrandom(random, sizeof(random), 0) != (ssize_t)sizeof(random))
        return false;
    for (size_t i = 0; i < sizeof(random); i++)
        snprintf(ret_token + 2 * i, 3, "%02X", random[i]);
    return true;
}

static bool is_equal(const char *stored, const char *token)
{
    volatile uint8_t difference = 0;
    for (size_t i = 0; i < STORE_TOKEN_BYTES - 1; i++)
        difference = (uint8_t)(difference | (uint8_t)(stored[i] ^ token[i]));
    return difference == 0;
}

// Runs a statement with ?1 now, ?2 the user and, where there is one, ?3 the token.
static enum store_result run_token(struct store *store, enum statement which, int64_t wall_s, int64_t user, const char *token)
{
    sqlite3_stmt *statement = store_statement(store, which);
    if (statement == NULL)
        return STORE_FAILED;
    sqlite3_bind_int64(statement, 1, wall_s);
    sqlite3_bind_int64(statement, 2, user);
    if (token != NULL)
        sqlite3_bind_text(statement, 3, token, -1, SQLITE_TRANSIENT);
    return store_run(store, statement, "cannot store a token");
}

// Runs a statement with ?1 the user and, where there is one, ?2 a text.
static enum store_result run_user(struct store *store, enum statement which, int64_t user, const char *text)
{
    sqlite3_stmt *statement = store_statement(store, which);
    if (statement == NULL)
        return STORE_FAILED;
    sqlite3_bind_int64(statement, 1, user);
    if (text != NULL)
        sqlite3_bind_text(statement, 2, text, -1, SQLITE_TRANSIENT);
    return store_run(store, statement, "cannot spend a token");
}

static enum store_result add(struct store *store, enum statement adding, enum statement trimming, int64_t user, int64_t wall_s,
                             char ret_token[STORE_TOKEN_BYTES])
{
    CHECK(user > 0 && ret_token != NULL);
    char token[STORE_TOKEN_BYTES];
    if (!make_token(token)) {
        snprintf(store->error, sizeof(store->error), "the system has no random bytes");
        return STORE_FAILED;
    }
    if (store_do(store, STATEMENT_BEGIN, "cannot store a token") != STORE_OK)
        return STORE_FAILED;
    if (run_token(store, adding, wall_s, user, token) != STORE_OK || run_token(store, trimming, wall_s, user, NULL) != STORE_OK ||
        store_do(store, STATEMENT_COMMIT, "cannot store a token") != STORE_OK) {
        store_rollback(store);
        return STORE_FAILED;
    }
    memcpy(ret_token, token, sizeof(token));
    return STORE_OK;
}

enum store_result store_token_add_verify(struct store *store, int64_t user, int64_t wall_s, char ret_token[STORE_TOKEN_BYTES])
{
    return add(store, STATEMENT_VERIFY_ADD, STATEMENT_VERIFY_TRIM, user, wall_s, ret_token);
}

enum store_result store_token_add_reset(struct store *store, int64_t user, int64_t wall_s, char ret_token[STORE_TOKEN_BYTES])
{
    return add(store, STATEMENT_RESET_ADD, STATEMENT_RESET_TRIM, user, wall_s, ret_token);
}

// Compares with every live token of the statement, of one user (> 0) or of all; there are at most three for each user.
static enum store_result find(struct store *store, enum statement which, int64_t user, const char *token, int64_t wall_s, int64_t *ret_user)
{
    CHECK(token != NULL);
    if (strlen(token) != STORE_TOKEN_BYTES - 1)
        return STORE_NOT_FOUND;
    sqlite3_stmt *statement = store_statement(store, which);
    if (statement == NULL)
        return STORE_FAILED;
    sqlite3_bind_int64(statement, 1, wall_s);
    if (user > 0)
        sqlite3_bind_int64(statement, 2, user);
    enum store_result result = STORE_NOT_FOUND;
    int code = sqlite3_step(statement);
    for (; code == SQLITE_ROW; code = sqlite3_step(statement)) {
        const char *stored = (const char *)sqlite3_column_text(statement, 1);
        if (stored == NULL || sqlite3_column_bytes(statement, 1) != STORE_TOKEN_BYTES - 1 || !is_equal(stored, token))
            continue;
        result = STORE_OK; // the others are compared all the same
        *ret_user = sqlite3_column_int64(statement, 0);
    }
    if (code != SQLITE_DONE)
        result = store_fail(store, "cannot read the tokens");
    sqlite3_reset(statement);
    sqlite3_clear_bindings(statement);
    return result;
}

enum store_result store_token_use_verify(struct store *store, int64_t user, const char *token, int64_t wall_s)
{
    CHECK(user > 0);
    enum store_result result = store_do(store, STATEMENT_BEGIN, "cannot spend a token");
    if (result != STORE_OK)
        return result;
    result = find(store, STATEMENT_VERIFY_LIVE, user, token, wall_s, &(int64_t){0});
    if (result != STORE_OK)
        goto fail;
    result = store_user_set_verified(store, user, true);
    if (result == STORE_OK)
        result = run_user(store, STATEMENT_USER_DELETE_EMAILTOKEN, user, NULL);
    if (result == STORE_OK)
        result = store_do(store, STATEMENT_COMMIT, "cannot spend a token");
    if (result == STORE_OK)
        return STORE_OK;
fail:
    store_rollback(store);
    return result;
}

enum store_result store_token_find_reset(struct store *store, const char *token, int64_t wall_s, int64_t *ret_user)
{
    CHECK(ret_user != NULL);
    return find(store, STATEMENT_RESET_LIVE, 0, token, wall_s, ret_user);
}

enum store_result store_token_use_reset(struct store *store, const char *token, const char *password_hash, int64_t wall_s,
                                        int64_t *ret_user)
{
    CHECK(password_hash != NULL && ret_user != NULL);
    int64_t user = 0;
    enum store_result result = store_do(store, STATEMENT_BEGIN, "cannot spend a token");
    if (result != STORE_OK)
        return result;
    result = find(store, STATEMENT_RESET_LIVE, 0, token, wall_s, &user);
    if (result != STORE_OK)
        goto fail;
    CHECK(user > 0);
    result = run_user(store, STATEMENT_RESET_PASSWORD, user, password_hash);
    if (result == STORE_OK)
        result = run_user(store, STATEMENT_USER_DELETE_PWRESET, user, NULL);
    if (result == STORE_OK)
        result = store_do(store, STATEMENT_COMMIT, "cannot spend a token");
    if (result == STORE_OK) {
        *ret_user = user;
        return STORE_OK;
    }
fail:
    store_rollback(store);
    return result;
}
