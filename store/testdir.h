// A temporary directory for tests of the database, removed with all in it; and the database as another process sees it.
#pragma once
#include <dirent.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "shards/base/check.h"

struct testdir {
    char path[256];
    char file[300]; // "db.sqlite" in it; not made
};

static inline void testdir_init(struct testdir *dir)
{
    const char *base = getenv("TMPDIR");
    int len = snprintf(dir->path, sizeof(dir->path), "%s/shardrelay-test-XXXXXX", base == NULL || base[0] == '\0' ? "/tmp" : base);
    CHECK(len > 0 && (size_t)len < sizeof(dir->path));
    CHECK(mkdtemp(dir->path) != NULL);
    snprintf(dir->file, sizeof(dir->file), "%s/db.sqlite", dir->path);
}

static inline void testdir_empty(struct testdir *dir)
{
    DIR *entries = opendir(dir->path);
    CHECK(entries != NULL);
    for (struct dirent *entry = readdir(entries); entry != NULL; entry = readdir(entries)) {
        char name[600];
        snprintf(name, sizeof(name), "%s/%s", dir->path, entry->d_name);
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
            CHECK(unlink(name) == 0);
    }
    closedir(entries);
}

static inline void testdir_fini(struct testdir *dir)
{
    testdir_empty(dir);
    CHECK(rmdir(dir->path) == 0);
}

static inline sqlite3 *testdir_database(const char *path)
{
    sqlite3 *db = NULL;
    CHECK(sqlite3_open(path, &db) == SQLITE_OK);
    return db;
}

static inline void testdir_sql(const char *path, const char *sql)
{
    sqlite3 *db = testdir_database(path);
    char *error = NULL;
    if (sqlite3_exec(db, sql, NULL, NULL, &error) != SQLITE_OK)
        fprintf(stderr, "%s: %s\n", sql, error);
    CHECK(error == NULL);
    CHECK(sqlite3_close(db) == SQLITE_OK);
}
