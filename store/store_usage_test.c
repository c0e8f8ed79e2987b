// Usage: sums per day, all or nothing, statistics.
#include "store/store.h"
#include "store/testdir.h"

static struct store *must_open(const char *path)
{
    char error[STORE_ERROR_MAX] = "";
    struct store *store = store_open(path, error, sizeof(error));
    if (store == NULL)
        fprintf(stderr, "%s\n", error);
    CHECK(store != NULL);
    return store;
}

static struct store_usage user_row(const char *day, int64_t user, uint64_t sent_bytes, uint64_t recv_bytes)
{
    struct store_usage row = {.user = user, .sent_bytes = sent_bytes, .recv_bytes = recv_bytes};
    snprintf(row.day, sizeof(row.day), "%s", day);
    return row;
}

static struct store_usage address_row(const char *day, const char *address, uint64_t sent_bytes, uint64_t recv_bytes)
{
    struct store_usage row = user_row(day, 0, sent_bytes, recv_bytes);
    snprintf(row.address, sizeof(row.address), "%s", address);
    return row;
}

static void expect_top(const struct store_top *top, const char *name, int64_t sent_bytes, int64_t recv_bytes)
{
    bool right = strcmp(top->name, name) == 0 && top->sent_bytes == sent_bytes && top->recv_bytes == recv_bytes;
    if (!right)
        fprintf(stderr, "got %s %lld %lld, want %s\n", top->name, (long long)top->sent_bytes, (long long)top->recv_bytes, name);
    CHECK(right);
}

static void test_days(void)
{
    char day[STORE_DAY_BYTES];
    store_day(0, day);
    CHECK(strcmp(day, "1970-01-01") == 0);
    store_day(951868799, day);
    CHECK(strcmp(day, "2000-02-29") == 0);
    store_day(951868800, day);
    CHECK(strcmp(day, "2000-03-01") == 0);
}

static void test_sums(struct store *store)
{
    int64_t a, b;
    struct store_stats stats;
    CHECK(store_user_add(store, "a@x", "h", true, &a) == STORE_OK && store_user_add(store, "b@x", "h", true, &b) == STORE_OK);
    const struct store_usage first[] = {user_row("2026-03-01", a, 10, 1), user_row("2026-03-01", b, 5, 5),
                                        address_row("2026-03-01", "10.0.0.1", 15, 6), user_row("2026-03-02", a, 100, 10)};
    const struct store_usage second[] = {user_row("2026-03-01", a, 1, 2), address_row("2026-03-01", "10.0.0.1", 1, 2),
                                         address_row("2026-03-02", "2001:db8::1", 1000, 0), user_row("2026-03-02", 4711, 9, 9)};
    CHECK(store_usage_add(store, NULL, 0) == STORE_OK);
    CHECK(store_usage_add(store, first, 4) == STORE_OK);
    CHECK(store_usage_add(store, second, 4) == STORE_OK); // user 4711 does not exist: left out

    CHECK(store_stats(store, "2026-03-02", 30, &stats) == STORE_OK);
    CHECK(stats.days == 30 && stats.user_count == 2 && stats.address_count == 2);
    expect_top(&stats.users[0], "a@x", 111, 13);
    expect_top(&stats.users[1], "b@x", 5, 5);
    expect_top(&stats.addresses[0], "2001:db8::1", 1000, 0);
    expect_top(&stats.addresses[1], "10.0.0.1", 16, 8);

    CHECK(store_stats(store, "2026-03-02", 0, &stats) == STORE_OK && stats.user_count == 1 && stats.address_count == 1);
    expect_top(&stats.users[0], "a@x", 100, 10);
    CHECK(store_stats(store, "2026-03-31", 30, &stats) == STORE_OK && stats.user_count == 2); // day >= today - 30
    CHECK(store_stats(store, "2026-04-01", 30, &stats) == STORE_OK && stats.user_count == 1);

    CHECK(store_usage_clean(store, "2026-04-01", 30) == STORE_OK);
    CHECK(store_stats(store, "2026-04-01", 9999, &stats) == STORE_OK && stats.user_count == 1 && stats.address_count == 1);
    CHECK(store_usage_clean(store, "2026-06-01", 30) == STORE_OK);
    CHECK(store_stats(store, "2026-06-01", 9999, &stats) == STORE_OK && stats.user_count == 0 && stats.address_count == 0);
    CHECK(store_user_delete(store, b) == STORE_OK);
}

static void test_top(struct store *store)
{
    struct store_usage rows[25];
    struct store_stats stats;
    for (int i = 0; i < 25; i++) {
        char address[STORE_ADDRESS_MAX + 1];
        snprintf(address, sizeof(address), "10.0.0.%d", i);
        rows[i] = address_row("2026-03-01", address, (uint64_t)(i % 5), (uint64_t)i * 1000000000000);
    }
    CHECK(store_usage_add(store, rows, 25) == STORE_OK);
    CHECK(store_stats(store, "2026-03-01", 1, &stats) == STORE_OK && stats.address_count == STORE_TOP);
    expect_top(&stats.addresses[0], "10.0.0.24", 4, 24000000000000);
    expect_top(&stats.addresses[19], "10.0.0.5", 0, 5000000000000);
}

// One row cannot be written: none is, and later the same rows can be.
static void test_all_or_nothing(struct store *store, const char *path)
{
    const struct store_usage rows[] = {address_row("2026-05-01", "10.9.9.9", 1, 1), user_row("2026-05-01", 1, 1, 1)};
    struct store_stats stats;
    testdir_sql(path, "ALTER TABLE userlog RENAME TO elsewhere");
    CHECK(store_usage_add(store, rows, 2) == STORE_FAILED);
    CHECK(strstr(store_error(store), "userlog") != NULL);
    testdir_sql(path, "ALTER TABLE elsewhere RENAME TO userlog");
    CHECK(store_stats(store, "2026-05-01", 0, &stats) == STORE_OK && stats.address_count == 0);
    CHECK(store_usage_add(store, rows, 2) == STORE_OK);
    CHECK(store_stats(store, "2026-05-01", 0, &stats) == STORE_OK && stats.address_count == 1 && stats.user_count == 1);
}

int main(void)
{
    struct testdir dir;
    testdir_init(&dir);
    struct store *store = must_open(dir.file);
    test_days();
    test_sums(store);
    test_top(store);
    test_all_or_nothing(store, dir.file);
    store_close(store);
    testdir_fini(&dir);
    return 0;
}
