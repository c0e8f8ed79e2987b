// A disk that is full, a database that another process holds or that is damaged, and copies. Each failure is told, nothing is half done,
// and what could be read before can be read still.
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "store/store.h"
#include "store/testdir.h"

#define ROWS 2000

static struct store *must_open(const char *path)
{
    char error[STORE_ERROR_MAX] = "";
    struct store *store = store_open(path, error, sizeof(error));
    if (store == NULL)
        fprintf(stderr, "%s\n", error);
    CHECK(store != NULL);
    return store;
}

// No file of this process may grow beyond so many bytes: what a full disk does, without one.
static void limit_files(rlim_t bytes)
{
    struct rlimit limit;
    CHECK(getrlimit(RLIMIT_FSIZE, &limit) == 0);
    limit.rlim_cur = bytes;
    CHECK(setrlimit(RLIMIT_FSIZE, &limit) == 0);
}

static enum store_result add_usage(struct store *store)
{
    static struct store_usage rows[ROWS];
    for (int i = 0; i < ROWS; i++) {
        rows[i] = (struct store_usage){.day = "2026-11-23", .sent_bytes = 1, .recv_bytes = 2};
        snprintf(rows[i].address, sizeof(rows[i].address), "2001:db8:ffff:ffff:ffff:ffff:ffff:%x", (unsigned)i);
    }
    return store_usage_add(store, rows, ROWS);
}

static void expect_usage(struct store *store, int64_t each_recv_bytes)
{
    struct store_stats stats;
    CHECK(store_stats(store, "2026-11-23", 1, &stats) == STORE_OK);
    CHECK(stats.address_count == (each_recv_bytes > 0 ? STORE_TOP : 0));
    CHECK(each_recv_bytes == 0 || stats.addresses[0].recv_bytes == each_recv_bytes);
}

static void test_full(struct testdir *dir)
{
    struct store_user user;
    int64_t id;
    signal(SIGXFSZ, SIG_IGN);
    struct store *store = must_open(dir->file);
    CHECK(store_user_add(store, "a@x", "hash", true, &id) == STORE_OK);
    limit_files(128 << 10);
    CHECK(add_usage(store) == STORE_FAILED && strstr(store_error(store), "cannot store usage") != NULL);
    CHECK(store_user_find(store, "a@x", &user) == STORE_OK && user.id == id); // logins go on
    expect_usage(store, 0);                                                   // all or nothing
    CHECK(add_usage(store) == STORE_FAILED);
    limit_files(RLIM_INFINITY);
    CHECK(add_usage(store) == STORE_OK && add_usage(store) == STORE_OK); // there is room again
    expect_usage(store, 4);
    store_close(store);
    testdir_empty(dir);
}

static void test_locked(struct testdir *dir)
{
    struct store_user user;
    int64_t id;
    struct store *store = must_open(dir->file);
    CHECK(store_user_add(store, "a@x", "hash", true, &id) == STORE_OK);
    sqlite3 *other = testdir_database(dir->file);
    CHECK(sqlite3_exec(other, "BEGIN IMMEDIATE", NULL, NULL, NULL) == SQLITE_OK);
    CHECK(add_usage(store) == STORE_FAILED && strstr(store_error(store), "locked") != NULL);
    CHECK(store_user_find(store, "a@x", &user) == STORE_OK);
    CHECK(sqlite3_exec(other, "COMMIT", NULL, NULL, NULL) == SQLITE_OK && sqlite3_close(other) == SQLITE_OK);
    CHECK(add_usage(store) == STORE_OK);
    store_close(store);
    testdir_empty(dir);

    // Held as a whole, as programs without WAL do.
    char error[STORE_ERROR_MAX];
    other = testdir_database(dir->file);
    CHECK(sqlite3_exec(other, "CREATE TABLE t (i); BEGIN EXCLUSIVE", NULL, NULL, NULL) == SQLITE_OK);
    CHECK(store_open(dir->file, error, sizeof(error)) == NULL && strstr(error, "locked") != NULL && strstr(error, dir->file) != NULL);
    CHECK(sqlite3_close(other) == SQLITE_OK);
    testdir_empty(dir);
}

// Every page from this offset on.
static void damage(const char *path, long from)
{
    struct stat status;
    FILE *file = fopen(path, "r+b");
    CHECK(file != NULL && fstat(fileno(file), &status) == 0 && status.st_size > from && fseek(file, from, SEEK_SET) == 0);
    for (off_t i = from; i < status.st_size; i++)
        fputc(0xa5, file);
    CHECK(fclose(file) == 0);
}

static void test_damaged(struct testdir *dir)
{
    char error[STORE_ERROR_MAX];
    struct store_user user;
    int64_t id;
    struct store *store = must_open(dir->file);
    CHECK(store_user_add(store, "a@x", "hash", true, &id) == STORE_OK && add_usage(store) == STORE_OK);
    store_close(store);
    damage(dir->file, 3L * 4096); // behind _schema_version: found out in use
    store = must_open(dir->file);
    CHECK(store_user_find(store, "a@x", &user) == STORE_FAILED && strstr(store_error(store), "malformed") != NULL);
    CHECK(add_usage(store) == STORE_FAILED && store_user_add(store, "b@x", "hash", true, &id) == STORE_FAILED);
    store_close(store);
    damage(dir->file, 4096);
    CHECK(store_open(dir->file, error, sizeof(error)) == NULL && strstr(error, "malformed") != NULL && strstr(error, dir->file) != NULL);
    testdir_empty(dir);
}

static void test_backup(struct testdir *dir)
{
    char copy_path[400];
    struct store_user user;
    struct stat status;
    int64_t id;
    snprintf(copy_path, sizeof(copy_path), "%s/copy.sqlite", dir->path);
    struct store *store = must_open(dir->file);
    CHECK(store_user_add(store, "a@x", "hash", true, &id) == STORE_OK && add_usage(store) == STORE_OK);
    sqlite3 *writer = testdir_database(dir->file); // in the middle of a change: not part of the copy, and in nobody's way
    CHECK(sqlite3_exec(writer, "BEGIN IMMEDIATE; DELETE FROM user", NULL, NULL, NULL) == SQLITE_OK);
    CHECK(store_backup(store, copy_path) == STORE_OK);
    CHECK(sqlite3_exec(writer, "COMMIT", NULL, NULL, NULL) == SQLITE_OK && sqlite3_close(writer) == SQLITE_OK);
    CHECK(stat(copy_path, &status) == 0 && (status.st_mode & 0777) == 0600);
    CHECK(store_backup(store, copy_path) == STORE_EXISTS);
    store_close(store);
    store = must_open(copy_path);
    CHECK(store_user_find(store, "a@x", &user) == STORE_OK);
    expect_usage(store, 2);

    limit_files(16 << 10);
    snprintf(copy_path, sizeof(copy_path), "%s/none.sqlite", dir->path);
    CHECK(store_backup(store, copy_path) == STORE_FAILED && strstr(store_error(store), "cannot copy") != NULL);
    limit_files(RLIM_INFINITY);
    CHECK(access(copy_path, F_OK) != 0);
    snprintf(copy_path, sizeof(copy_path), "%s/missing/copy.sqlite", dir->path);
    CHECK(store_backup(store, copy_path) == STORE_FAILED && strstr(store_error(store), "No such file") != NULL);
    store_close(store);
    testdir_empty(dir);
}

int main(void)
{
    struct testdir dir;
    testdir_init(&dir);
    test_full(&dir);
    test_locked(&dir);
    test_damaged(&dir);
    test_backup(&dir);
    testdir_fini(&dir);
    return 0;
}
