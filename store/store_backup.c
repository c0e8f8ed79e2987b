// A consistent copy of a database that others use meanwhile, by SQLite's online backup: one read transaction, which in WAL mode stops
// nobody. One thread at a time.
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "shards/base/check.h"
#include "store/store_internal.h"

static enum store_result copy(struct store *store, sqlite3 *target)
{
    sqlite3_backup *backup = sqlite3_backup_init(target, "main", store->db, "main");
    int code = SQLITE_NOMEM;
    if (backup != NULL) {
        sqlite3_backup_step(backup, -1);
        code = sqlite3_backup_finish(backup);
    }
    if (code == SQLITE_OK) // a copy is one file: whoever opens it read-only needs no WAL beside it
        code = sqlite3_exec(target, "PRAGMA journal_mode = DELETE", NULL, NULL, NULL);
    if (code == SQLITE_OK)
        return STORE_OK;
    int system_error = sqlite3_system_errno(target);
    bool is_io = (code & 0xff) == SQLITE_IOERR && system_error != 0;
    snprintf(store->error, sizeof(store->error), "cannot copy the database: %s%s%s", sqlite3_errstr(code), is_io ? ": " : "",
             is_io ? strerror(system_error) : "");
    return STORE_FAILED;
}

enum store_result store_backup(struct store *store, const char *path)
{
    CHECK(path != NULL);
    int fd = open(path, O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC, 0600);
    if (fd < 0) {
        snprintf(store->error, sizeof(store->error), "cannot create %s: %s", path, strerror(errno));
        return errno == EEXIST ? STORE_EXISTS : STORE_FAILED;
    }
    close(fd);
    sqlite3 *target = NULL;
    enum store_result result = STORE_FAILED;
    if (sqlite3_open_v2(path, &target, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, NULL) == SQLITE_OK)
        result = copy(store, target);
    else
        snprintf(store->error, sizeof(store->error), "cannot open %s: %s", path, target == NULL ? "no memory" : sqlite3_errmsg(target));
    if (sqlite3_close(target) != SQLITE_OK)
        UNREACHABLE();
    if (result != STORE_OK)
        unlink(path);
    return result;
}
