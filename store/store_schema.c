// The original's schema, version "initial": the one this program reads and writes. One rule: look before touching.
#include "shards/base/check.h"
#include "store/store_internal.h"

#include <stdio.h>

// Column order, types and defaults are the original's, which compares nothing but would read a differing table wrongly.
static const char schema_sql[] = "BEGIN IMMEDIATE;"
                                 "CREATE TABLE IF NOT EXISTS _schema_version ("
                                 " id INTEGER PRIMARY KEY,"
                                 " created TIMESTAMP DEFAULT CURRENT_TIMESTAMP,"
                                 " name TEXT UNIQUE);"
                                 "CREATE TABLE IF NOT EXISTS iplog ("
                                 " day TEXT NOT NULL,"
                                 " ip TEXT NOT NULL,"
                                 " bytes_sent INT DEFAULT 0,"
                                 " bytes_recv INT DEFAULT 0,"
                                 " PRIMARY KEY (day, ip));"
                                 "CREATE TABLE IF NOT EXISTS user ("
                                 " id INTEGER PRIMARY KEY,"
                                 " created TIMESTAMP DEFAULT CURRENT_TIMESTAMP,"
                                 " email TEXT NOT NULL,"
                                 " pwhash TEXT NOT NULL,"
                                 " emailverified TINYINT DEFAULT 0,"
                                 " blocked TINYINT DEFAULT 0,"
                                 " recentlicensehash TEXT DEFAULT '',"
                                 " UNIQUE (email));"
                                 "CREATE TABLE IF NOT EXISTS userlog ("
                                 " day TEXT NOT NULL,"
                                 " user_id INTEGER,"
                                 " bytes_sent INT DEFAULT 0,"
                                 " bytes_recv INT DEFAULT 0,"
                                 " PRIMARY KEY (day, user_id),"
                                 " FOREIGN KEY (user_id) REFERENCES user (id));"
                                 "CREATE TABLE IF NOT EXISTS emailtoken ("
                                 " id INTEGER PRIMARY KEY,"
                                 " expires TIMESTAMP DEFAULT (datetime('now', '+1 hour')),"
                                 " user_id INTEGER NOT NULL,"
                                 " token TEXT,"
                                 " FOREIGN KEY (user_id) REFERENCES user (id));"
                                 "CREATE TABLE IF NOT EXISTS pwreset ("
                                 " id INTEGER PRIMARY KEY,"
                                 " expires TIMESTAMP DEFAULT (datetime('now', '+1 hour')),"
                                 " user_id INTEGER NOT NULL,"
                                 " token TEXT,"
                                 " FOREIGN KEY (user_id) REFERENCES user (id));"
                                 "CREATE TABLE IF NOT EXISTS disabledlicense (licensehash TEXT PRIMARY KEY);"
                                 "INSERT INTO _schema_version (name) VALUES ('initial');"
                                 "COMMIT;";

// Names in _schema_version that this program knows.
static const char *const known_schemas[] = {"initial"};

static bool is_known(const char *name)
{
    for (size_t i = 0; i < sizeof(known_schemas) / sizeof(known_schemas[0]); i++) {
        if (strcmp(name, known_schemas[i]) == 0)
            return true;
    }
    return false;
}

// One number from a query; *ret_code is SQLITE_ROW when it is there.
static int query_number(sqlite3 *db, const char *sql, int *ret_code)
{
    sqlite3_stmt *statement = NULL;
    int number = 0;
    *ret_code = sqlite3_prepare_v2(db, sql, -1, &statement, NULL);
    if (*ret_code == SQLITE_OK)
        *ret_code = sqlite3_step(statement);
    if (*ret_code == SQLITE_ROW)
        number = sqlite3_column_int(statement, 0);
    sqlite3_finalize(statement);
    return number;
}

static enum schema_state look_at_versions(sqlite3 *db, int *ret_code, char *error, size_t error_max)
{
    sqlite3_stmt *statement = NULL;
    enum schema_state state = SCHEMA_EMPTY; // a table without rows is an interrupted start of the original
    int code = sqlite3_prepare_v2(db, "SELECT name FROM _schema_version", -1, &statement, NULL);
    while (code == SQLITE_OK || code == SQLITE_ROW) {
        code = sqlite3_step(statement);
        if (code != SQLITE_ROW)
            break;
        const char *name = (const char *)sqlite3_column_text(statement, 0);
        if (name == NULL || !is_known(name)) {
            snprintf(error, error_max, "it has the schema \"%.64s\", which this version does not know", name == NULL ? "" : name);
            state = SCHEMA_REFUSED;
            break;
        }
        state = SCHEMA_CURRENT;
    }
    if (code != SQLITE_DONE && code != SQLITE_ROW) {
        snprintf(error, error_max, "%s", sqlite3_errmsg(db));
        state = SCHEMA_REFUSED;
    }
    sqlite3_finalize(statement);
    *ret_code = code;
    return state;
}

enum schema_state schema_look(sqlite3 *db, int *ret_code, char *error, size_t error_max)
{
    CHECK(db != NULL && ret_code != NULL && error_max > 0);
    int tables = query_number(db, "SELECT count(*) FROM sqlite_master", ret_code);
    if (*ret_code != SQLITE_ROW) {
        snprintf(error, error_max, "%s", sqlite3_errmsg(db));
        return SCHEMA_REFUSED;
    }
    if (tables == 0)
        return SCHEMA_EMPTY;
    int versions = query_number(db, "SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = '_schema_version'", ret_code);
    if (*ret_code != SQLITE_ROW || versions == 0) {
        snprintf(error, error_max, "it is not a relay's database (it has other tables and no _schema_version)");
        return SCHEMA_REFUSED;
    }
    return look_at_versions(db, ret_code, error, error_max);
}

int schema_create(sqlite3 *db)
{
    CHECK(db != NULL && sqlite3_get_autocommit(db) != 0);
    int code = sqlite3_exec(db, schema_sql, NULL, NULL, NULL);
    if (sqlite3_get_autocommit(db) == 0)
        sqlite3_exec(db, "ROLLBACK", NULL, NULL, NULL);
    return code;
}
