// Opening, the schema, accounts, other connections; against real files in a temporary directory.
#include "store/store.h"

#include <sys/stat.h>
#include <sys/wait.h>

#include "store/testdir.h"

// The tables as protocols/buckets.md words them: made by this test as the original would, rollback journal and all.
static const char original_sql[] =
    "CREATE TABLE _schema_version (id INTEGER PRIMARY KEY, created TIMESTAMP DEFAULT CURRENT_TIMESTAMP, name TEXT UNIQUE);"
    "CREATE TABLE iplog (day TEXT NOT NULL, ip TEXT NOT NULL, bytes_sent INT DEFAULT 0, bytes_recv INT DEFAULT 0, PRIMARY KEY (day, ip));"
    "CREATE TABLE user (id INTEGER PRIMARY KEY, created TIMESTAMP DEFAULT CURRENT_TIMESTAMP, email TEXT NOT NULL, pwhash TEXT NOT NULL,"
    " emailverified TINYINT DEFAULT 0, blocked TINYINT DEFAULT 0, recentlicensehash TEXT DEFAULT '', UNIQUE (email));"
    "CREATE TABLE userlog (day TEXT NOT NULL, user_id INTEGER, bytes_sent INT DEFAULT 0, bytes_recv INT DEFAULT 0,"
    " PRIMARY KEY (day, user_id), FOREIGN KEY (user_id) REFERENCES user(id));"
    "CREATE TABLE emailtoken (id INTEGER PRIMARY KEY, expires TIMESTAMP DEFAULT (datetime('now', '+1 hour')), user_id INTEGER NOT NULL,"
    " token TEXT, FOREIGN KEY (user_id) REFERENCES user(id));"
    "CREATE TABLE pwreset (id INTEGER PRIMARY KEY, expires TIMESTAMP DEFAULT (datetime('now', '+1 hour')), user_id INTEGER NOT NULL,"
    " token TEXT, FOREIGN KEY (user_id) REFERENCES user(id));"
    "CREATE TABLE disabledlicense (licensehash TEXT PRIMARY KEY);"
    "INSERT INTO _schema_version (name) VALUES ('initial');";

// All rows of a query as one text, columns parted by '|' and rows by newline.
static void dump(const char *path, const char *sql, char *out, size_t max)
{
    sqlite3 *db = testdir_database(path);
    sqlite3_stmt *statement = NULL;
    size_t at = 0;
    out[0] = '\0';
    CHECK(sqlite3_prepare_v2(db, sql, -1, &statement, NULL) == SQLITE_OK);
    while (sqlite3_step(statement) == SQLITE_ROW) {
        for (int i = 0; i < sqlite3_column_count(statement); i++) {
            const char *text = (const char *)sqlite3_column_text(statement, i);
            at += (size_t)snprintf(out + at, max - at, "%s%s", text == NULL ? "NULL" : text,
                                   i + 1 < sqlite3_column_count(statement) ? "|" : "\n");
            CHECK(at < max);
        }
    }
    sqlite3_finalize(statement);
    CHECK(sqlite3_close(db) == SQLITE_OK);
}

static void expect_rows(const char *path, const char *sql, const char *expected)
{
    char got[4096];
    dump(path, sql, got, sizeof(got));
    if (strcmp(got, expected) != 0)
        fprintf(stderr, "%s\n got: %s\nwant: %s\n", sql, got, expected);
    CHECK(strcmp(got, expected) == 0);
}

static struct store *must_open(const char *path)
{
    char error[STORE_ERROR_MAX] = "";
    struct store *store = store_open(path, error, sizeof(error));
    if (store == NULL)
        fprintf(stderr, "%s\n", error);
    CHECK(store != NULL);
    return store;
}

static void must_refuse(const char *path, const char *reason)
{
    char error[STORE_ERROR_MAX] = "";
    struct store *store = store_open(path, error, sizeof(error));
    if (store != NULL || strstr(error, reason) == NULL || strstr(error, path) == NULL)
        fprintf(stderr, "refused with: %s\nwanted: %s\n", error, reason);
    CHECK(store == NULL && strstr(error, reason) != NULL && strstr(error, path) != NULL);
}

static void test_schema(struct testdir *dir)
{
    static const char *const views[] = {
        "SELECT m.name, c.cid, c.name, c.type, c.\"notnull\", c.dflt_value, c.pk FROM sqlite_master AS m, pragma_table_info(m.name) AS c "
        "WHERE m.type = 'table' ORDER BY 1, 2",
        "SELECT m.name, f.\"table\", f.\"from\", f.\"to\", f.on_update, f.on_delete FROM sqlite_master AS m, "
        "pragma_foreign_key_list(m.name) AS f WHERE m.type = 'table' ORDER BY 1, 2, 3",
        "SELECT m.name, i.name, i.\"unique\", i.origin, i.partial FROM sqlite_master AS m, pragma_index_list(m.name) AS i "
        "WHERE m.type = 'table' ORDER BY 1, 2",
        "SELECT type, name, tbl_name FROM sqlite_master ORDER BY 1, 2",
        "SELECT id, name FROM _schema_version",
    };
    char original[320], ours[4][16384];
    snprintf(original, sizeof(original), "%s/original.sqlite", dir->path);
    testdir_sql(original, original_sql);
    store_close(must_open(dir->file));
    for (size_t i = 0; i < sizeof(views) / sizeof(views[0]); i++) {
        dump(dir->file, views[i], ours[0], sizeof(ours[0]));
        dump(original, views[i], ours[1], sizeof(ours[1]));
        if (strcmp(ours[0], ours[1]) != 0)
            fprintf(stderr, "ours:\n%s\noriginal:\n%s\n", ours[0], ours[1]);
        CHECK(ours[0][0] != '\0' && strcmp(ours[0], ours[1]) == 0);
    }
    struct stat status;
    CHECK(stat(dir->file, &status) == 0 && (status.st_mode & 0777) == 0600);
    expect_rows(dir->file, "PRAGMA journal_mode", "wal\n");
    testdir_empty(dir);
}

static void test_original_database(struct testdir *dir)
{
    testdir_sql(dir->file, original_sql);
    testdir_sql(dir->file, "INSERT INTO user (email, pwhash, emailverified) VALUES ('old@x', 'h', 1);"
                           "INSERT INTO user (email, pwhash, emailverified, blocked) VALUES ('null@x', 'h', 1, NULL);"
                           "INSERT INTO user (email, pwhash, emailverified, blocked) VALUES ('null2@x', x'00', NULL, 0);"
                           "INSERT INTO user (email, pwhash, created) VALUES ('long@x', printf('%.200c', 'h'), NULL);"
                           "INSERT INTO userlog VALUES ('2026-01-02', 1, NULL, 5);");
    struct store *store = must_open(dir->file);
    struct store_user user;
    CHECK(store_user_find(store, "Old@X", &user) == STORE_OK);
    CHECK(user.id == 1 && user.verified && !user.blocked && strcmp(user.password_hash, "h") == 0 && strcmp(user.email, "old@x") == 0);
    CHECK(strlen(user.created) == 19);
    CHECK(store_user_find(store, "null@x", &user) == STORE_OK && user.blocked); // as the original: NOT NULL is not true
    CHECK(store_user_find(store, "null2@x", &user) == STORE_OK && !user.verified && user.password_hash[0] == '\0');
    CHECK(store_user_find(store, "long@x", &user) == STORE_OK && user.password_hash[0] == '\0' && user.created[0] == '\0');
    struct store_usage usage = {.day = "2026-01-02", .user = 1, .sent_bytes = 7, .recv_bytes = 1};
    CHECK(store_usage_add(store, &usage, 1) == STORE_OK);
    store_close(store);
    expect_rows(dir->file, "SELECT * FROM userlog", "2026-01-02|1|7|6\n");
    // The original opens it again: its tables, its version, nothing more.
    expect_rows(dir->file, "SELECT name FROM _schema_version", "initial\n");
    expect_rows(dir->file, "SELECT count(*) FROM sqlite_master WHERE type = 'table'", "7\n");
    expect_rows(dir->file, "PRAGMA integrity_check", "ok\n");
    testdir_empty(dir);

    // An interrupted start of the original: the version table alone, without rows, or an empty file.
    testdir_sql(dir->file,
                "CREATE TABLE _schema_version (id INTEGER PRIMARY KEY, created TIMESTAMP DEFAULT CURRENT_TIMESTAMP, name TEXT UNIQUE)");
    store_close(must_open(dir->file));
    expect_rows(dir->file, "SELECT name FROM _schema_version", "initial\n");
    testdir_empty(dir);
    testdir_sql(dir->file, "CREATE TABLE x (y); DROP TABLE x;");
    store_close(must_open(dir->file));
    testdir_empty(dir);
}

static void read_whole(const char *path, char *out, size_t max, size_t *ret_len)
{
    FILE *file = fopen(path, "rb");
    CHECK(file != NULL);
    *ret_len = fread(out, 1, max, file);
    CHECK(*ret_len < max);
    fclose(file);
}

static void test_refusals(struct testdir *dir)
{
    static char before[200000], after[200000];
    size_t before_len, after_len;

    testdir_sql(dir->file, original_sql);
    testdir_sql(dir->file, "INSERT INTO _schema_version (name) VALUES ('from-the-future')");
    read_whole(dir->file, before, sizeof(before), &before_len);
    must_refuse(dir->file, "schema \"from-the-future\"");
    read_whole(dir->file, after, sizeof(after), &after_len);
    CHECK(before_len == after_len && memcmp(before, after, after_len) == 0);
    testdir_empty(dir);

    testdir_sql(dir->file, "CREATE TABLE recipes (name TEXT)");
    must_refuse(dir->file, "not a relay's database");
    testdir_empty(dir);

    FILE *file = fopen(dir->file, "wb");
    CHECK(file != NULL);
    for (int i = 0; i < 5000; i++)
        fputs("this is no database\n", file);
    fclose(file);
    must_refuse(dir->file, "not a database");
    testdir_empty(dir);

    must_refuse(dir->path, dir->path); // a directory
    char missing[400];
    snprintf(missing, sizeof(missing), "%s/missing/db.sqlite", dir->path);
    must_refuse(missing, "No such file or directory");
}

// Another program died in the middle of a transaction; what it had committed is there, the rest is rolled back.
static void test_crashed(struct testdir *dir, const char *journal_mode)
{
    char sql[512];
    testdir_sql(dir->file, original_sql);
    snprintf(sql, sizeof(sql),
             "PRAGMA journal_mode = %s; PRAGMA cache_size = 2; INSERT INTO user (email, pwhash) VALUES ('a@x', ''); BEGIN;"
             "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 3000)"
             "INSERT INTO iplog SELECT '2026-01-01', i, 1, 1 FROM n; UPDATE user SET email = 'b@x';",
             journal_mode);
    pid_t child = fork();
    if (child == 0) {
        sqlite3 *db = testdir_database(dir->file);
        _exit(sqlite3_exec(db, sql, NULL, NULL, NULL) == SQLITE_OK ? 0 : 1);
    }
    int status;
    CHECK(child > 0 && waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0);
    struct store *store = must_open(dir->file);
    struct store_user user;
    CHECK(store_user_find(store, "a@x", &user) == STORE_OK && store_user_find(store, "b@x", &user) == STORE_NOT_FOUND);
    store_close(store);
    expect_rows(dir->file, "SELECT count(*) FROM iplog", "0\n");
    testdir_empty(dir);
}

struct names {
    char text[512];
    size_t left;
};

static bool add_name(void *owner, const struct store_user *user)
{
    struct names *names = owner;
    size_t len = strlen(names->text);
    snprintf(names->text + len, sizeof(names->text) - len, "%s ", user->email);
    return --names->left > 0;
}

static void test_users(struct testdir *dir)
{
    struct store *store = must_open(dir->file);
    struct store_user user;
    int64_t first = 0, second = 0, third = 99;
    uint64_t count = 99;
    CHECK(!store_is_readonly(store));
    CHECK(store_user_count(store, &count) == STORE_OK && count == 0);
    CHECK(store_user_find(store, "me@me.com", &user) == STORE_NOT_FOUND);
    CHECK(store_user_add(store, "Me@Me.COM", "hash1", true, &first) == STORE_OK && first > 0);
    CHECK(store_user_add(store, "you@me.com", "", false, &second) == STORE_OK && second > first);
    CHECK(store_user_add(store, "ME@me.com", "hash2", true, &third) == STORE_EXISTS && third == 99);
    CHECK(store_user_find(store, "mE@mE.cOm", &user) == STORE_OK && user.id == first && strcmp(user.email, "me@me.com") == 0);
    CHECK(user.verified && !user.blocked && strcmp(user.password_hash, "hash1") == 0 && strlen(user.created) == 19);
    CHECK(store_user_get(store, second, &user) == STORE_OK && !user.verified && user.password_hash[0] == '\0');
    CHECK(store_user_count(store, &count) == STORE_OK && count == 2);

    // Not SQL, not a pattern.
    CHECK(store_user_find(store, "' OR 1=1 --", &user) == STORE_NOT_FOUND);
    CHECK(store_user_find(store, "%", &user) == STORE_NOT_FOUND);
    char long_email[STORE_EMAIL_MAX + 2];
    memset(long_email, 'a', sizeof(long_email));
    long_email[STORE_EMAIL_MAX + 1] = '\0';
    CHECK(store_user_find(store, long_email, &user) == STORE_NOT_FOUND);
    CHECK(store_user_add(store, long_email, "h", true, &third) == STORE_FAILED && strstr(store_error(store), "320") != NULL);
    long_email[STORE_EMAIL_MAX] = '\0';
    CHECK(store_user_add(store, long_email, "h", true, &third) == STORE_OK);
    CHECK(store_user_get(store, third, &user) == STORE_OK && strlen(user.email) == STORE_EMAIL_MAX);

    CHECK(store_user_set_blocked(store, first, true) == STORE_OK);
    CHECK(store_user_set_verified(store, second, true) == STORE_OK);
    CHECK(store_user_set_password(store, second, "hash3") == STORE_OK);
    CHECK(store_user_get(store, first, &user) == STORE_OK && user.blocked);
    CHECK(store_user_get(store, second, &user) == STORE_OK && user.verified && strcmp(user.password_hash, "hash3") == 0);
    CHECK(store_user_set_blocked(store, 12345, true) == STORE_NOT_FOUND);
    CHECK(store_user_set_password(store, 12345, "x") == STORE_NOT_FOUND);

    struct names names = {.left = 100};
    CHECK(store_user_delete(store, third) == STORE_OK);
    CHECK(store_user_list(store, add_name, &names) == STORE_OK && strcmp(names.text, "me@me.com you@me.com ") == 0);
    names = (struct names){.left = 1};
    CHECK(store_user_list(store, add_name, &names) == STORE_OK && strcmp(names.text, "me@me.com ") == 0);
    store_close(store);

    testdir_sql(dir->file, "INSERT INTO emailtoken (user_id, token) SELECT id, 'T' FROM user;"
                           "INSERT INTO pwreset (user_id, token) SELECT id, 'T' FROM user;"
                           "INSERT INTO userlog SELECT '2026-01-01', id, 1, 1 FROM user;");
    store = must_open(dir->file); // and everything is there after reopening
    CHECK(store_user_delete(store, first) == STORE_OK);
    CHECK(store_user_delete(store, first) == STORE_NOT_FOUND);
    CHECK(store_user_find(store, "me@me.com", &user) == STORE_NOT_FOUND);
    CHECK(store_user_find(store, "you@me.com", &user) == STORE_OK && user.id == second);
    store_close(store);
    expect_rows(dir->file, "SELECT (SELECT count(*) FROM emailtoken), (SELECT count(*) FROM pwreset), (SELECT count(*) FROM userlog)",
                "1|1|1\n");
    testdir_empty(dir);
}

static void test_other_connections(struct testdir *dir)
{
    struct store *store = must_open(dir->file);
    struct store *other = must_open(dir->file); // as a command of the CLI would
    uint32_t version, again;
    int64_t id;
    CHECK(store_data_version(store, &version) == STORE_OK);
    CHECK(store_user_add(store, "a@x", "h", true, &id) == STORE_OK);
    CHECK(store_data_version(store, &again) == STORE_OK && again == version); // own changes do not count
    CHECK(store_user_set_blocked(other, id, true) == STORE_OK);
    CHECK(store_data_version(store, &again) == STORE_OK && again != version);
    struct store_user user;
    CHECK(store_user_find(store, "a@x", &user) == STORE_OK && user.blocked);

    // A table that is gone: a clear error, and nothing else breaks.
    testdir_sql(dir->file, "ALTER TABLE user RENAME TO elsewhere");
    CHECK(store_user_find(store, "a@x", &user) == STORE_FAILED);
    CHECK(strstr(store_error(store), "no such table: user") != NULL);
    CHECK(store_user_delete(store, id) == STORE_FAILED);
    testdir_sql(dir->file, "ALTER TABLE elsewhere RENAME TO user");
    CHECK(store_user_find(store, "a@x", &user) == STORE_OK);
    store_close(other);
    store_close(store);
    store_close(NULL);
    testdir_empty(dir);
}

int main(void)
{
    struct testdir dir;
    testdir_init(&dir);
    test_schema(&dir);
    test_original_database(&dir);
    test_refusals(&dir);
    test_crashed(&dir, "delete");
    test_crashed(&dir, "wal");
    test_users(&dir);
    test_other_connections(&dir);
    testdir_fini(&dir);
    return 0;
}
