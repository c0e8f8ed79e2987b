// See identities.h. One rule: every statement stands in the table, prepared when first used.
#include "store/identities.h"

#include <errno.h>
#include <fcntl.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "shards/base/check.h"

#define APPLICATION_ID 1112493650 // "BONR": tells our file from another program's
#define BUSY_MS 1000

#define SCHEMA                                                                                                                             \
    "BEGIN IMMEDIATE;"                                                                                                                     \
    "CREATE TABLE client (id BLOB PRIMARY KEY, key BLOB NOT NULL, created TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP) WITHOUT ROWID;"         \
    "CREATE TABLE server (one INTEGER PRIMARY KEY CHECK (one = 1), pem TEXT NOT NULL);"                                                    \
    "PRAGMA application_id = 1112493650;"                                                                                                  \
    "COMMIT;"

#define STATEMENT_TABLE(X)                                                                                                                 \
    X(ADD, "INSERT INTO client (id, key) VALUES (?1, ?2)")                                                                                 \
    X(FIND, "SELECT id, key, created FROM client WHERE id = ?1")                                                                           \
    X(EACH, "SELECT id, key, created FROM client ORDER BY id")                                                                             \
    X(DELETE, "DELETE FROM client WHERE id = ?1")                                                                                          \
    X(SERVER_KEY, "SELECT pem FROM server")                                                                                                \
    X(PUT_SERVER_KEY, "INSERT INTO server (one, pem) VALUES (1, ?1)")                                                                      \
    X(VERSION, "PRAGMA data_version")

enum statement {
#define X(name, sql) STATEMENT_##name,
    STATEMENT_TABLE(X)
#undef X
        STATEMENT_COUNT
};

static const char *const statement_sql[STATEMENT_COUNT] = {
#define X(name, sql) sql,
    STATEMENT_TABLE(X)
#undef X
};

struct identities {
    sqlite3 *db;
    sqlite3_stmt *statements[STATEMENT_COUNT];
    char error[STORE_ERROR_MAX];
};

static int64_t number_of(sqlite3 *db, const char *sql)
{
    sqlite3_stmt *statement = NULL;
    int64_t number = -1;
    if (sqlite3_prepare_v2(db, sql, -1, &statement, NULL) == SQLITE_OK && sqlite3_step(statement) == SQLITE_ROW)
        number = sqlite3_column_int64(statement, 0);
    sqlite3_finalize(statement);
    return number;
}

// NULL: the file is ours now; else why not.
static const char *prepare_file(sqlite3 *db)
{
    sqlite3_busy_timeout(db, BUSY_MS);
    int64_t tables = number_of(db, "SELECT count(*) FROM sqlite_master");
    if (tables < 0)
        return sqlite3_errmsg(db);
    // Another process may make the tables at the same moment: then ours fail, and the id is there.
    if (tables == 0 && sqlite3_exec(db, SCHEMA, NULL, NULL, NULL) != SQLITE_OK)
        sqlite3_exec(db, "ROLLBACK", NULL, NULL, NULL);
    if (number_of(db, "PRAGMA application_id") != APPLICATION_ID)
        return tables == 0 ? "cannot create its tables" : "is not a database of Backbone identities";
    return NULL;
}

struct identities *identities_open(const char *path, char *error_text, size_t error_max)
{
    CHECK(path != NULL && error_max > 0);
    int fd = open(path, O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC, 0600); // the private key is for its owner's eyes only
    if (fd >= 0)
        close(fd);
    struct identities *identities = calloc(1, sizeof(*identities));
    if (identities == NULL) {
        snprintf(error_text, error_max, "not enough memory for the Backbone identities");
        return NULL;
    }
    int code = sqlite3_open_v2(path, &identities->db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, NULL);
    const char *why = code == SQLITE_OK ? prepare_file(identities->db) : sqlite3_errstr(code);
    if (why != NULL) {
        snprintf(error_text, error_max, "Backbone database %s: %s", path, why);
        identities_close(identities);
        return NULL;
    }
    return identities;
}

void identities_close(struct identities *identities)
{
    if (identities == NULL)
        return;
    for (size_t i = 0; i < STATEMENT_COUNT; i++)
        sqlite3_finalize(identities->statements[i]);
    int code = sqlite3_close(identities->db);
    CHECK(code == SQLITE_OK);
    free(identities);
}

const char *identities_error(const struct identities *identities)
{
    return identities->error;
}

static enum store_result fail(struct identities *identities)
{
    snprintf(identities->error, sizeof(identities->error), "%s", sqlite3_errmsg(identities->db));
    return STORE_FAILED;
}

static sqlite3_stmt *statement_of(struct identities *identities, enum statement statement)
{
    sqlite3_stmt **place = &identities->statements[statement];
    if (*place == NULL &&
        sqlite3_prepare_v3(identities->db, statement_sql[statement], -1, SQLITE_PREPARE_PERSISTENT, place, NULL) != SQLITE_OK)
        (void)fail(identities);
    return *place;
}

// Runs a bound statement that answers no rows.
static enum store_result run(struct identities *identities, sqlite3_stmt *statement)
{
    enum store_result result = STORE_OK;
    if (sqlite3_step(statement) != SQLITE_DONE)
        result = sqlite3_errcode(identities->db) == SQLITE_CONSTRAINT ? STORE_EXISTS : fail(identities);
    sqlite3_reset(statement);
    sqlite3_clear_bindings(statement);
    return result;
}

enum store_result identities_add(struct identities *identities, const uint8_t id[IDENTITY_ID_BYTES], struct bytes key)
{
    CHECK(key.len > 0 && key.len <= IDENTITY_KEY_MAX);
    sqlite3_stmt *statement = statement_of(identities, STATEMENT_ADD);
    if (statement == NULL)
        return STORE_FAILED;
    sqlite3_bind_blob(statement, 1, id, IDENTITY_ID_BYTES, SQLITE_STATIC);
    sqlite3_bind_blob(statement, 2, key.ptr, (int)key.len, SQLITE_STATIC);
    return run(identities, statement);
}

// false: the row is not one of ours.
static bool read_row(sqlite3_stmt *statement, struct identity *ret_identity)
{
    int key_len = sqlite3_column_bytes(statement, 1);
    const void *key = sqlite3_column_blob(statement, 1);
    if (sqlite3_column_bytes(statement, 0) != IDENTITY_ID_BYTES || key == NULL || key_len > IDENTITY_KEY_MAX)
        return false;
    memcpy(ret_identity->id, sqlite3_column_blob(statement, 0), IDENTITY_ID_BYTES);
    memcpy(ret_identity->key, key, (size_t)key_len);
    ret_identity->key_len = (uint32_t)key_len;
    snprintf(ret_identity->created, sizeof(ret_identity->created), "%s", (const char *)sqlite3_column_text(statement, 2));
    return true;
}

enum store_result identities_find(struct identities *identities, const uint8_t id[IDENTITY_ID_BYTES], struct identity *ret_identity)
{
    sqlite3_stmt *statement = statement_of(identities, STATEMENT_FIND);
    if (statement == NULL)
        return STORE_FAILED;
    sqlite3_bind_blob(statement, 1, id, IDENTITY_ID_BYTES, SQLITE_STATIC);
    enum store_result result = STORE_NOT_FOUND;
    int code = sqlite3_step(statement);
    if (code == SQLITE_ROW && read_row(statement, ret_identity))
        result = STORE_OK;
    else if (code != SQLITE_ROW && code != SQLITE_DONE)
        result = fail(identities);
    sqlite3_reset(statement);
    sqlite3_clear_bindings(statement);
    return result;
}

enum store_result identities_delete(struct identities *identities, const uint8_t id[IDENTITY_ID_BYTES])
{
    sqlite3_stmt *statement = statement_of(identities, STATEMENT_DELETE);
    if (statement == NULL)
        return STORE_FAILED;
    sqlite3_bind_blob(statement, 1, id, IDENTITY_ID_BYTES, SQLITE_STATIC);
    enum store_result result = run(identities, statement);
    return result == STORE_OK && sqlite3_changes(identities->db) == 0 ? STORE_NOT_FOUND : result;
}

enum store_result identities_each(struct identities *identities, void (*on_identity)(void *owner, const struct identity *identity),
                                  void *owner)
{
    struct identity identity;
    sqlite3_stmt *statement = statement_of(identities, STATEMENT_EACH);
    if (statement == NULL)
        return STORE_FAILED;
    int code = sqlite3_step(statement);
    for (; code == SQLITE_ROW; code = sqlite3_step(statement))
        if (read_row(statement, &identity))
            on_identity(owner, &identity);
    enum store_result result = code == SQLITE_DONE ? STORE_OK : fail(identities);
    sqlite3_reset(statement);
    return result;
}

enum store_result identities_server_key(struct identities *identities, char ret_pem[IDENTITY_PRIVATE_MAX])
{
    sqlite3_stmt *statement = statement_of(identities, STATEMENT_SERVER_KEY);
    if (statement == NULL)
        return STORE_FAILED;
    enum store_result result = STORE_NOT_FOUND;
    int code = sqlite3_step(statement);
    if (code == SQLITE_ROW && sqlite3_column_bytes(statement, 0) < IDENTITY_PRIVATE_MAX) {
        snprintf(ret_pem, IDENTITY_PRIVATE_MAX, "%s", (const char *)sqlite3_column_text(statement, 0));
        result = STORE_OK;
    } else if (code != SQLITE_ROW && code != SQLITE_DONE) {
        result = fail(identities);
    }
    sqlite3_reset(statement);
    return result;
}

enum store_result identities_put_server_key(struct identities *identities, const char *pem)
{
    CHECK(strlen(pem) < IDENTITY_PRIVATE_MAX);
    sqlite3_stmt *statement = statement_of(identities, STATEMENT_PUT_SERVER_KEY);
    if (statement == NULL)
        return STORE_FAILED;
    sqlite3_bind_text(statement, 1, pem, -1, SQLITE_STATIC);
    return run(identities, statement);
}

enum store_result identities_version(struct identities *identities, uint32_t *ret_version)
{
    sqlite3_stmt *statement = statement_of(identities, STATEMENT_VERSION);
    if (statement == NULL)
        return STORE_FAILED;
    bool read = sqlite3_step(statement) == SQLITE_ROW;
    if (read)
        *ret_version = (uint32_t)sqlite3_column_int64(statement, 0);
    sqlite3_reset(statement);
    return read ? STORE_OK : fail(identities);
}
