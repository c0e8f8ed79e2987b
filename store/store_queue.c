// The queue's file: see store_queue.h. Statements are prepared when first used. One thread at a time.
#include "store/store_queue.h"

#include <errno.h>
#include <fcntl.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "shards/base/check.h"

#define BUSY_MS 1000
#define APPLICATION_ID 0x4f524c59 // "ORLY": tells this file from any other

#define ROW_COLUMNS "SELECT number, recipient, sender, expires, length(text)"
#define STATEMENT_TABLE(X)                                                                                                                 \
    X(BEGIN, "BEGIN IMMEDIATE")                                                                                                            \
    X(COMMIT, "COMMIT")                                                                                                                    \
    X(ADD, "INSERT INTO message (number, recipient, sender, expires, text) VALUES (?1, ?2, ?3, ?4, ?5)")                                   \
    X(READ, ROW_COLUMNS ", text FROM message WHERE recipient = ?1 AND number > ?2 AND expires >= ?3 ORDER BY number")                      \
    X(EXPIRED, ROW_COLUMNS " FROM message WHERE expires < ?1 ORDER BY expires LIMIT ?2")                                                   \
    X(UPTO, ROW_COLUMNS " FROM message WHERE recipient = ?1 AND number <= ?2")                                                             \
    X(EACH, ROW_COLUMNS " FROM message")                                                                                                   \
    X(DELETE_UPTO, "DELETE FROM message WHERE recipient = ?1 AND number <= ?2")                                                            \
    X(DELETE, "DELETE FROM message WHERE number = ?1")                                                                                     \
    X(MONTH_GET, "SELECT month, bytes FROM relayed")                                                                                       \
    X(MONTH_SET, "INSERT INTO relayed (only, month, bytes) VALUES (1, ?1, ?2) "                                                            \
                 "ON CONFLICT (only) DO UPDATE SET month = excluded.month, bytes = excluded.bytes")

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

static const char schema_sql[] =
    "BEGIN IMMEDIATE;"
    "CREATE TABLE IF NOT EXISTS message (number INTEGER PRIMARY KEY, recipient BLOB NOT NULL, sender BLOB NOT NULL,"
    " expires INTEGER NOT NULL, text BLOB NOT NULL);"
    "CREATE INDEX IF NOT EXISTS message_recipient ON message (recipient, number);"
    "CREATE INDEX IF NOT EXISTS message_expires ON message (expires);"
    "CREATE TABLE IF NOT EXISTS relayed (only INTEGER PRIMARY KEY, month INTEGER NOT NULL, bytes INTEGER NOT NULL);"
    "PRAGMA application_id = 1330793561;"
    "COMMIT;";
// A file that grows makes each fsync several times as slow (measured: 2,300 messages/s against 12,000), so the log is grown beforehand; it
// is used again from its start. SQLite deletes it when it is closed in order.
static const char grow_sql[] = "BEGIN IMMEDIATE;"
                               "INSERT INTO message (number, recipient, sender, expires, text) VALUES (-1, x'', x'', 0, zeroblob(4194304));"
                               "COMMIT;"
                               "DELETE FROM message WHERE number = -1;"
                               "PRAGMA wal_checkpoint(RESTART);";
_Static_assert(APPLICATION_ID == 1330793561, "the schema's");

struct store_queue {
    sqlite3 *db;
    sqlite3_stmt *statements[STATEMENT_COUNT];
    char error[STORE_ERROR_MAX];
};

static enum store_result fail(struct store_queue *queue, const char *doing)
{
    int system_error = sqlite3_system_errno(queue->db);
    snprintf(queue->error, sizeof(queue->error), "%s: %s%s%s", doing, sqlite3_errmsg(queue->db), system_error != 0 ? ": " : "",
             system_error != 0 ? strerror(system_error) : "");
    return STORE_FAILED;
}

static bool exec(sqlite3 *db, const char *sql)
{
    return sqlite3_exec(db, sql, NULL, NULL, NULL) == SQLITE_OK;
}

// A file that is another program's, or the accounts', is left alone.
static bool is_ours(sqlite3 *db)
{
    sqlite3_stmt *statement = NULL;
    bool ours = false;
    if (sqlite3_prepare_v2(db, "SELECT (SELECT count(*) FROM sqlite_master), (SELECT application_id FROM pragma_application_id)", -1,
                           &statement, NULL) == SQLITE_OK &&
        sqlite3_step(statement) == SQLITE_ROW)
        ours = sqlite3_column_int(statement, 0) == 0 || sqlite3_column_int(statement, 1) == APPLICATION_ID;
    sqlite3_finalize(statement);
    return ours;
}

struct store_queue *store_queue_open(const char *path, char *error_text, size_t error_max)
{
    CHECK(error_text != NULL && error_max > 0);
    const char *name = path != NULL ? path : ":memory:";
    struct store_queue *queue = calloc(1, sizeof(*queue));
    if (queue == NULL) {
        snprintf(error_text, error_max, "queue %s: not enough memory", name);
        return NULL;
    }
    // Messages are for their recipients' eyes: a new file is its owner's only.
    int fd = path != NULL ? open(path, O_CREAT | O_RDWR | O_CLOEXEC, 0600) : -1;
    if (fd >= 0)
        close(fd);
    const char *reason = path != NULL && fd < 0 ? strerror(errno) : NULL;
    if (reason == NULL && sqlite3_open_v2(name, &queue->db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX, NULL) == 0) {
        sqlite3_busy_timeout(queue->db, BUSY_MS);
        if (!is_ours(queue->db))
            reason = sqlite3_errcode(queue->db) == SQLITE_ROW || sqlite3_errcode(queue->db) == SQLITE_OK ? "it is not a queue of messages"
                                                                                                         : sqlite3_errmsg(queue->db);
        else if (exec(queue->db, "PRAGMA secure_delete = ON; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL") &&
                 exec(queue->db, schema_sql) && (path == NULL || exec(queue->db, grow_sql)))
            return queue;
    }
    snprintf(error_text, error_max, "queue %s: %s", name, reason != NULL ? reason : sqlite3_errmsg(queue->db));
    store_queue_close(queue);
    return NULL;
}

void store_queue_close(struct store_queue *queue)
{
    if (queue == NULL)
        return;
    for (int i = 0; i < STATEMENT_COUNT; i++)
        sqlite3_finalize(queue->statements[i]);
    int code = sqlite3_close(queue->db);
    CHECK(code == SQLITE_OK);
    free(queue);
}

const char *store_queue_error(const struct store_queue *queue)
{
    return queue->error;
}

static sqlite3_stmt *prepared(struct store_queue *queue, enum statement which)
{
    CHECK(which < STATEMENT_COUNT);
    sqlite3_stmt **slot = &queue->statements[which];
    if (*slot == NULL && sqlite3_prepare_v3(queue->db, statement_sql[which], -1, SQLITE_PREPARE_PERSISTENT, slot, NULL) != SQLITE_OK) {
        fail(queue, "cannot prepare a statement");
        return NULL;
    }
    CHECK(sqlite3_stmt_busy(*slot) == 0);
    return *slot;
}

// Runs a bound statement without rows.
static enum store_result run(struct store_queue *queue, sqlite3_stmt *statement, const char *doing)
{
    if (statement == NULL)
        return STORE_FAILED;
    enum store_result result = sqlite3_step(statement) == SQLITE_DONE ? STORE_OK : fail(queue, doing);
    sqlite3_reset(statement);
    sqlite3_clear_bindings(statement);
    return result;
}

// A statement within the transaction, which it opens. NULL: failed.
static sqlite3_stmt *inside(struct store_queue *queue, enum statement which)
{
    if (sqlite3_get_autocommit(queue->db) != 0 && run(queue, prepared(queue, STATEMENT_BEGIN), "cannot begin") != STORE_OK)
        return NULL;
    return prepared(queue, which);
}

enum store_result store_queue_commit(struct store_queue *queue)
{
    if (sqlite3_get_autocommit(queue->db) != 0)
        return STORE_OK;
    return run(queue, prepared(queue, STATEMENT_COMMIT), "cannot commit");
}

void store_queue_rollback(struct store_queue *queue)
{
    if (sqlite3_get_autocommit(queue->db) == 0)
        exec(queue->db, "ROLLBACK");
}

static void bind_key(sqlite3_stmt *statement, int at, const uint8_t *key)
{
    sqlite3_bind_blob(statement, at, key, STORE_QUEUE_KEY_BYTES, SQLITE_STATIC);
}

enum store_result store_queue_add(struct store_queue *queue, const struct store_queue_row *row)
{
    CHECK(row->text.len == row->text_bytes && row->text.ptr != NULL);
    sqlite3_stmt *statement = inside(queue, STATEMENT_ADD);
    if (statement == NULL)
        return STORE_FAILED;
    sqlite3_bind_int64(statement, 1, (int64_t)row->number);
    bind_key(statement, 2, row->recipient);
    bind_key(statement, 3, row->sender);
    sqlite3_bind_int64(statement, 4, row->expires_s);
    sqlite3_bind_blob64(statement, 5, row->text.ptr, row->text.len, SQLITE_STATIC);
    return run(queue, statement, "cannot keep a message");
}

// Hands over the rows of a bound statement.
static enum store_result each_row(struct store_queue *queue, sqlite3_stmt *statement,
                                  bool (*on_row)(void *owner, const struct store_queue_row *row), void *owner)
{
    bool more = true;
    int code = SQLITE_ROW;
    while (more && (code = sqlite3_step(statement)) == SQLITE_ROW) {
        struct store_queue_row row = {
            .number = (uint64_t)sqlite3_column_int64(statement, 0),
            .recipient = sqlite3_column_blob(statement, 1),
            .sender = sqlite3_column_blob(statement, 2),
            .expires_s = sqlite3_column_int64(statement, 3),
            .text_bytes = (uint64_t)sqlite3_column_int64(statement, 4),
        };
        bool sound =
            sqlite3_column_bytes(statement, 1) == STORE_QUEUE_KEY_BYTES && sqlite3_column_bytes(statement, 2) == STORE_QUEUE_KEY_BYTES;
        if (sqlite3_column_count(statement) > 5)
            row.text = bytes_of(sqlite3_column_blob(statement, 5), (size_t)sqlite3_column_bytes(statement, 5));
        if (sound)
            more = on_row(owner, &row);
    }
    enum store_result result = code == SQLITE_ROW || code == SQLITE_DONE ? STORE_OK : fail(queue, "cannot read messages");
    sqlite3_reset(statement);
    sqlite3_clear_bindings(statement);
    return result;
}

enum store_result store_queue_read(struct store_queue *queue, const uint8_t *recipient, uint64_t after, int64_t wall_s,
                                   bool (*on_row)(void *owner, const struct store_queue_row *row), void *owner)
{
    sqlite3_stmt *statement = prepared(queue, STATEMENT_READ);
    if (statement == NULL)
        return STORE_FAILED;
    bind_key(statement, 1, recipient);
    sqlite3_bind_int64(statement, 2, (int64_t)after);
    sqlite3_bind_int64(statement, 3, wall_s);
    return each_row(queue, statement, on_row, owner);
}

enum store_result store_queue_expired(struct store_queue *queue, int64_t wall_s, uint32_t max,
                                      bool (*on_row)(void *owner, const struct store_queue_row *row), void *owner)
{
    sqlite3_stmt *statement = prepared(queue, STATEMENT_EXPIRED);
    if (statement == NULL)
        return STORE_FAILED;
    sqlite3_bind_int64(statement, 1, wall_s);
    sqlite3_bind_int64(statement, 2, max);
    return each_row(queue, statement, on_row, owner);
}

enum store_result store_queue_upto(struct store_queue *queue, const uint8_t *recipient, uint64_t number,
                                   bool (*on_row)(void *owner, const struct store_queue_row *row), void *owner)
{
    sqlite3_stmt *statement = prepared(queue, STATEMENT_UPTO);
    if (statement == NULL)
        return STORE_FAILED;
    bind_key(statement, 1, recipient);
    sqlite3_bind_int64(statement, 2, (int64_t)number);
    return each_row(queue, statement, on_row, owner);
}

enum store_result store_queue_each(struct store_queue *queue, bool (*on_row)(void *owner, const struct store_queue_row *row), void *owner)
{
    sqlite3_stmt *statement = prepared(queue, STATEMENT_EACH);
    return statement == NULL ? STORE_FAILED : each_row(queue, statement, on_row, owner);
}

enum store_result store_queue_delete_upto(struct store_queue *queue, const uint8_t *recipient, uint64_t number)
{
    sqlite3_stmt *statement = inside(queue, STATEMENT_DELETE_UPTO);
    if (statement == NULL)
        return STORE_FAILED;
    bind_key(statement, 1, recipient);
    sqlite3_bind_int64(statement, 2, (int64_t)number);
    return run(queue, statement, "cannot delete messages");
}

enum store_result store_queue_delete(struct store_queue *queue, uint64_t number)
{
    sqlite3_stmt *statement = inside(queue, STATEMENT_DELETE);
    if (statement == NULL)
        return STORE_FAILED;
    sqlite3_bind_int64(statement, 1, (int64_t)number);
    return run(queue, statement, "cannot delete a message");
}

enum store_result store_queue_month_get(struct store_queue *queue, uint32_t *ret_month, uint64_t *ret_bytes)
{
    sqlite3_stmt *statement = prepared(queue, STATEMENT_MONTH_GET);
    if (statement == NULL)
        return STORE_FAILED;
    int code = sqlite3_step(statement);
    enum store_result result = code == SQLITE_ROW ? STORE_OK : code == SQLITE_DONE ? STORE_NOT_FOUND : fail(queue, "cannot read the month");
    if (result == STORE_OK) {
        *ret_month = (uint32_t)sqlite3_column_int64(statement, 0);
        *ret_bytes = (uint64_t)sqlite3_column_int64(statement, 1);
    }
    sqlite3_reset(statement);
    return result;
}

enum store_result store_queue_month_set(struct store_queue *queue, uint32_t month, uint64_t bytes)
{
    CHECK(bytes <= INT64_MAX);
    sqlite3_stmt *statement = inside(queue, STATEMENT_MONTH_SET);
    if (statement == NULL)
        return STORE_FAILED;
    sqlite3_bind_int64(statement, 1, month);
    sqlite3_bind_int64(statement, 2, (int64_t)bytes);
    return run(queue, statement, "cannot keep the month's bytes");
}
