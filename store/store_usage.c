// Usage per day: adding, clearing out, the statistics. One thread at a time.
#include <stdio.h>
#include <time.h>

#include "shards/base/check.h"
#include "store/store_internal.h"

void store_day(int64_t wall_s, char ret_day[STORE_DAY_BYTES])
{
    time_t seconds = (time_t)wall_s;
    struct tm utc;
    CHECK(gmtime_r(&seconds, &utc) != NULL);
    CHECK(strftime(ret_day, STORE_DAY_BYTES, "%Y-%m-%d", &utc) == STORE_DAY_BYTES - 1);
}

static enum store_result add_row(struct store *store, const struct store_usage *row)
{
    CHECK(memchr(row->day, '\0', sizeof(row->day)) != NULL && row->user >= 0);
    CHECK(row->sent_bytes <= INT64_MAX && row->recv_bytes <= INT64_MAX);
    sqlite3_stmt *statement = store_statement(store, row->user > 0 ? STATEMENT_USAGE_USER : STATEMENT_USAGE_ADDRESS);
    if (statement == NULL)
        return STORE_FAILED;
    sqlite3_bind_text(statement, 1, row->day, -1, SQLITE_STATIC);
    if (row->user > 0)
        sqlite3_bind_int64(statement, 2, row->user);
    else
        sqlite3_bind_text(statement, 2, row->address, -1, SQLITE_STATIC);
    sqlite3_bind_int64(statement, 3, (int64_t)row->sent_bytes);
    sqlite3_bind_int64(statement, 4, (int64_t)row->recv_bytes);
    return store_run(store, statement, "cannot store usage");
}

enum store_result store_usage_add(struct store *store, const struct store_usage *rows, size_t count)
{
    CHECK(rows != NULL || count == 0);
    if (count == 0)
        return STORE_OK;
    // Usage written every few seconds need not survive a power cut by itself: no fsync for each transaction.
    if (store_do(store, STATEMENT_SYNC_NORMAL, "cannot store usage") != STORE_OK)
        return STORE_FAILED;
    enum store_result result = store_do(store, STATEMENT_BEGIN, "cannot store usage");
    for (size_t i = 0; i < count && result == STORE_OK; i++)
        result = add_row(store, &rows[i]);
    if (result == STORE_OK)
        result = store_do(store, STATEMENT_COMMIT, "cannot store usage");
    if (result != STORE_OK)
        store_rollback(store);
    if (store_do(store, STATEMENT_SYNC_FULL, "cannot store usage") != STORE_OK && result == STORE_OK)
        result = STORE_FAILED;
    return result;
}

static enum store_result bind_days(struct store *store, enum statement which, const char *today, uint32_t days,
                                   sqlite3_stmt **ret_statement)
{
    *ret_statement = store_statement(store, which);
    if (*ret_statement == NULL)
        return STORE_FAILED;
    sqlite3_bind_text(*ret_statement, 1, today, -1, SQLITE_TRANSIENT);
    sqlite3_bind_int64(*ret_statement, 2, days);
    return STORE_OK;
}

enum store_result store_usage_clean(struct store *store, const char *today, uint32_t days)
{
    CHECK(strlen(today) == STORE_DAY_BYTES - 1);
    static const enum statement which[] = {STATEMENT_USAGE_CLEAN_USERS, STATEMENT_USAGE_CLEAN_ADDRESSES};
    for (size_t i = 0; i < 2; i++) {
        sqlite3_stmt *statement;
        if (bind_days(store, which[i], today, days, &statement) != STORE_OK ||
            store_run(store, statement, "cannot clear out old usage") != STORE_OK)
            return STORE_FAILED;
    }
    return STORE_OK;
}

static enum store_result read_top(struct store *store, enum statement which, const char *today, uint32_t days, struct store_top *tops,
                                  size_t *ret_count)
{
    sqlite3_stmt *statement;
    if (bind_days(store, which, today, days, &statement) != STORE_OK)
        return STORE_FAILED;
    sqlite3_bind_int(statement, 3, STORE_TOP);
    size_t count = 0;
    int code = sqlite3_step(statement);
    for (; code == SQLITE_ROW; code = sqlite3_step(statement)) {
        CHECK(count < STORE_TOP);
        struct store_top *top = &tops[count++];
        const char *name = (const char *)sqlite3_column_text(statement, 0);
        snprintf(top->name, sizeof(top->name), "%s", name == NULL ? "" : name);
        top->sent_bytes = sqlite3_column_int64(statement, 1);
        top->recv_bytes = sqlite3_column_int64(statement, 2);
    }
    enum store_result result = code == SQLITE_DONE ? STORE_OK : store_fail(store, "cannot read the statistics");
    sqlite3_reset(statement);
    sqlite3_clear_bindings(statement);
    *ret_count = count;
    return result;
}

enum store_result store_stats(struct store *store, const char *today, uint32_t days, struct store_stats *ret_stats)
{
    CHECK(strlen(today) == STORE_DAY_BYTES - 1 && ret_stats != NULL);
    *ret_stats = (struct store_stats){.days = days};
    if (read_top(store, STATEMENT_STATS_USERS, today, days, ret_stats->users, &ret_stats->user_count) != STORE_OK)
        return STORE_FAILED;
    return read_top(store, STATEMENT_STATS_ADDRESSES, today, days, ret_stats->addresses, &ret_stats->address_count);
}
