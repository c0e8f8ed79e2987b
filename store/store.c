// Opening and closing the database, and its statements. One thread at a time.
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "shards/base/check.h"
#include "store/store_internal.h"

static const char *const statement_sql[STATEMENT_COUNT] = {
#define X(name, sql) sql,
    STATEMENT_TABLE(X)
#undef X
};

// A database holds password hashes: a new one is for its owner's eyes only. SQLite gives its WAL the same mode.
static bool create_private(const char *path)
{
    int fd = open(path, O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC, 0600);
    if (fd >= 0)
        close(fd);
    return fd >= 0 || errno == EEXIST;
}

static void describe(const char *path, sqlite3 *db, int code, const char *reason, char *error_text, size_t error_max)
{
    int system_error = db == NULL ? 0 : sqlite3_system_errno(db);
    if ((code & 0xff) == SQLITE_READONLY)
        snprintf(error_text, error_max, "database %s: %s: it needs a folder to write its -wal and -shm files to", path, reason);
    else if (code == SQLITE_CANTOPEN && system_error != 0)
        snprintf(error_text, error_max, "database %s: %s: %s", path, reason, strerror(system_error));
    else
        snprintf(error_text, error_max, "database %s: %s", path, reason);
}

// Looks at the file through a connection that cannot write. true: go on; false: error_text says why not.
static bool look_readonly(const char *path, char *error_text, size_t error_max)
{
    sqlite3 *db = NULL;
    char reason[STORE_ERROR_MAX] = "not enough memory";
    enum schema_state state = SCHEMA_REFUSED;
    int code = sqlite3_open_v2(path, &db, SQLITE_OPEN_READONLY | SQLITE_OPEN_NOMUTEX, NULL);
    if (code == SQLITE_OK) {
        sqlite3_busy_timeout(db, STORE_BUSY_MS);
        state = schema_look(db, &code, reason, sizeof(reason));
    } else if (db != NULL) {
        snprintf(reason, sizeof(reason), "%s", sqlite3_errmsg(db));
    }
    // After a crash only a writer can roll back or recover, which it must do before anybody can look.
    bool needs_writer = (code & 0xff) == SQLITE_READONLY;
    if (state == SCHEMA_REFUSED && !needs_writer)
        describe(path, db, code, reason, error_text, error_max);
    sqlite3_close(db);
    return state != SCHEMA_REFUSED || needs_writer;
}

// WAL and durability are wishes: a read-only file or one that another program holds right now goes on as it is.
static bool prepare_file(sqlite3 *db, int *ret_code, char *reason, size_t reason_max)
{
    sqlite3_busy_timeout(db, STORE_BUSY_MS);
    enum schema_state state = schema_look(db, ret_code, reason, reason_max);
    if (state == SCHEMA_REFUSED)
        return false;
    sqlite3_exec(db, "PRAGMA journal_mode = WAL", NULL, NULL, NULL);
    if (state == SCHEMA_EMPTY) {
        *ret_code = schema_create(db);
        // Another process may have been faster: then its tables are there now.
        if (*ret_code != SQLITE_OK && schema_look(db, &(int){0}, reason, reason_max) != SCHEMA_CURRENT) {
            snprintf(reason, reason_max, "cannot create its tables: %s", sqlite3_errstr(*ret_code));
            return false;
        }
    }
    *ret_code = sqlite3_exec(db, "PRAGMA foreign_keys = ON; PRAGMA synchronous = FULL", NULL, NULL, NULL);
    if (*ret_code != SQLITE_OK)
        snprintf(reason, reason_max, "%s", sqlite3_errmsg(db));
    return *ret_code == SQLITE_OK;
}

struct store *store_open(const char *path, char *error_text, size_t error_max)
{
    CHECK(path != NULL && error_text != NULL && error_max > 0);
    if (!create_private(path)) {
        snprintf(error_text, error_max, "database %s: cannot be created: %s", path, strerror(errno));
        return NULL;
    }
    if (!look_readonly(path, error_text, error_max))
        return NULL;
    struct store *store = calloc(1, sizeof(*store));
    if (store == NULL) {
        snprintf(error_text, error_max, "database %s: not enough memory", path);
        return NULL;
    }
    char reason[STORE_ERROR_MAX] = "not enough memory";
    int code = sqlite3_open_v2(path, &store->db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, NULL);
    if (code == SQLITE_OK) {
        if (prepare_file(store->db, &code, reason, sizeof(reason)))
            return store;
    } else if (store->db != NULL) {
        snprintf(reason, sizeof(reason), "%s", sqlite3_errmsg(store->db));
    }
    describe(path, store->db, code, reason, error_text, error_max);
    store_close(store);
    return NULL;
}

void store_close(struct store *store)
{
    if (store == NULL)
        return;
    for (int i = 0; i < STATEMENT_COUNT; i++)
        sqlite3_finalize(store->statements[i]);
    int code = sqlite3_close(store->db);
    CHECK(code == SQLITE_OK);
    free(store);
}

const char *store_error(const struct store *store)
{
    return store->error;
}

bool store_is_readonly(const struct store *store)
{
    return sqlite3_db_readonly(store->db, "main") == 1;
}

enum store_result store_fail(struct store *store, const char *doing)
{
    int system_error = sqlite3_system_errno(store->db);
    bool is_io = (sqlite3_errcode(store->db) & 0xff) == SQLITE_IOERR && system_error != 0;
    snprintf(store->error, sizeof(store->error), "%s: %s%s%s", doing, sqlite3_errmsg(store->db), is_io ? ": " : "",
             is_io ? strerror(system_error) : "");
    return STORE_FAILED;
}

sqlite3_stmt *store_statement(struct store *store, enum statement statement)
{
    CHECK(statement < STATEMENT_COUNT);
    sqlite3_stmt **slot = &store->statements[statement];
    if (*slot == NULL && sqlite3_prepare_v3(store->db, statement_sql[statement], -1, SQLITE_PREPARE_PERSISTENT, slot, NULL) != SQLITE_OK) {
        store_fail(store, "cannot prepare a statement");
        return NULL;
    }
    CHECK(sqlite3_stmt_busy(*slot) == 0);
    return *slot;
}

enum store_result store_run(struct store *store, sqlite3_stmt *statement, const char *doing)
{
    CHECK(statement != NULL);
    int code = sqlite3_step(statement);
    while (code == SQLITE_ROW)
        code = sqlite3_step(statement);
    enum store_result result = STORE_OK;
    if (code != SQLITE_DONE) {
        bool is_taken = sqlite3_extended_errcode(store->db) == SQLITE_CONSTRAINT_UNIQUE;
        result = is_taken ? STORE_EXISTS : store_fail(store, doing);
    }
    sqlite3_reset(statement);
    sqlite3_clear_bindings(statement);
    return result;
}

enum store_result store_do(struct store *store, enum statement statement, const char *doing)
{
    sqlite3_stmt *prepared = store_statement(store, statement);
    return prepared == NULL ? STORE_FAILED : store_run(store, prepared, doing);
}

void store_rollback(struct store *store)
{
    if (sqlite3_get_autocommit(store->db) == 0) // by exec, so that the noted error stays
        sqlite3_exec(store->db, "ROLLBACK", NULL, NULL, NULL);
}

enum store_result store_data_version(struct store *store, uint32_t *ret_version)
{
    CHECK(ret_version != NULL);
    sqlite3_stmt *statement = store_statement(store, STATEMENT_DATA_VERSION);
    if (statement == NULL)
        return STORE_FAILED;
    enum store_result result = STORE_OK;
    if (sqlite3_step(statement) == SQLITE_ROW)
        *ret_version = (uint32_t)sqlite3_column_int64(statement, 0);
    else
        result = store_fail(store, "cannot read the data version");
    sqlite3_reset(statement);
    return result;
}
