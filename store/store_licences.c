// Licences as the database knows them: by the hash that auth/licence.h makes, which is the original's. One thread at a time.
#include "shards/base/check.h"
#include "store/store_internal.h"

static enum store_result is_disabled(struct store *store, const char *licence_hash, bool *ret_disabled)
{
    sqlite3_stmt *statement = store_statement(store, STATEMENT_LICENCE_IS_DISABLED);
    if (statement == NULL)
        return STORE_FAILED;
    enum store_result result = STORE_OK;
    sqlite3_bind_text(statement, 1, licence_hash, -1, SQLITE_STATIC);
    if (sqlite3_step(statement) == SQLITE_ROW)
        *ret_disabled = sqlite3_column_int(statement, 0) != 0;
    else
        result = store_fail(store, "cannot read the disabled licences");
    sqlite3_reset(statement);
    sqlite3_clear_bindings(statement);
    return result;
}

static enum store_result note(struct store *store, enum statement which, const char *email, const char *licence_hash)
{
    sqlite3_stmt *statement = store_statement(store, which);
    if (statement == NULL)
        return STORE_FAILED;
    sqlite3_bind_text(statement, 1, email, -1, SQLITE_STATIC);
    sqlite3_bind_text(statement, 2, licence_hash, -1, SQLITE_STATIC);
    return store_run(store, statement, "cannot store a licence");
}

// Whether the user stands as a licence login leaves it; else it has to be written.
static bool is_noted(const struct store_user *user, const char *licence_hash)
{
    return user->verified && strcmp(user->licence_hash, licence_hash) == 0;
}

enum store_result store_licence_login(struct store *store, const char *email, const char *licence_hash, struct store_user *ret_user)
{
    CHECK(licence_hash[0] != '\0' && strlen(licence_hash) <= STORE_LICENCE_MAX && email[0] != '\0');
    char lowered[STORE_EMAIL_MAX + 1];
    bool disabled = true;
    if (!store_lower(email, lowered))
        return STORE_NOT_FOUND;
    enum store_result result = is_disabled(store, licence_hash, &disabled);
    if (result != STORE_OK || disabled)
        return result == STORE_OK ? STORE_NOT_FOUND : result;
    result = store_user_find(store, lowered, ret_user);
    if (result == STORE_FAILED || (result == STORE_OK && is_noted(ret_user, licence_hash)))
        return result == STORE_OK && ret_user->blocked ? STORE_NOT_FOUND : result;
    if (result == STORE_OK && ret_user->blocked)
        return STORE_NOT_FOUND;
    // One statement each, so no transaction is needed. Should another process have made the user meanwhile, it is there to be updated.
    if (result == STORE_NOT_FOUND)
        result = note(store, STATEMENT_LICENCE_ADD_USER, lowered, licence_hash);
    else
        result = STORE_EXISTS;
    if (result == STORE_EXISTS)
        result = note(store, STATEMENT_LICENCE_USE, lowered, licence_hash);
    return result == STORE_OK ? store_user_find(store, lowered, ret_user) : result;
}

enum store_result store_licence_disable(struct store *store, int64_t user)
{
    sqlite3_stmt *statement = store_statement(store, STATEMENT_LICENCE_DISABLE);
    if (statement == NULL)
        return STORE_FAILED;
    sqlite3_bind_int64(statement, 1, user);
    enum store_result result = store_run(store, statement, "cannot disable a licence");
    return result == STORE_OK && sqlite3_changes(store->db) == 0 ? STORE_NOT_FOUND : result;
}
