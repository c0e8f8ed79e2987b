// Sums, midnight, a failing database, bounds; against a real store.
#include "net/usage.h"

#include "auth/auth.h"
#include "store/testdir.h"

#define MIDNIGHT_S 1772409600 // 2026-03-02 00:00:00 UTC

static struct net_address v4(uint8_t last)
{
    return (struct net_address){.bytes = {[10] = 0xff, [11] = 0xff, 10, 0, 0, last}};
}

static void add(struct usage *usage, uint64_t account, uint8_t last, uint64_t sent_bytes, uint64_t recv_bytes, int64_t wall_s)
{
    struct usage_record record = {.account = account, .address = v4(last), .sent_bytes = sent_bytes, .recv_bytes = recv_bytes};
    usage_add(usage, &record, wall_s);
}

static void expect(struct store *store, const char *today, size_t users, int64_t first_sent_bytes, size_t addresses)
{
    struct store_stats stats;
    CHECK(store_stats(store, today, 0, &stats) == STORE_OK);
    if (stats.user_count != users || stats.address_count != addresses)
        fprintf(stderr, "%s: %zu users, %zu addresses\n", today, stats.user_count, stats.address_count);
    CHECK(stats.user_count == users && stats.address_count == addresses);
    CHECK(users == 0 || stats.users[0].sent_bytes == first_sent_bytes);
}

static void test_text(void)
{
    char text[STORE_ADDRESS_MAX + 1];
    struct net_address address = v4(7);
    usage_address_text(&address, text);
    CHECK(strcmp(text, "10.0.0.7") == 0);
    address = (struct net_address){.bytes = {0x20, 1, 13, 184, [15] = 1}};
    usage_address_text(&address, text);
    CHECK(strcmp(text, "2001:db8::1") == 0);
}

static void test_sums(struct store *store)
{
    struct usage *usage = usage_create(64);
    CHECK(usage != NULL);
    add(usage, 1, 1, 10, 100, MIDNIGHT_S);
    add(usage, 1, 2, 1, 1, MIDNIGHT_S + 86399);
    add(usage, 2, 1, 5, 5, MIDNIGHT_S);
    add(usage, 0, 3, 5, 5, MIDNIGHT_S); // before the login: no account
    CHECK(usage_rows(usage) == 5);
    add(usage, 1, 1, 1000, 0, MIDNIGHT_S - 1); // the day before has rows of its own
    CHECK(usage_rows(usage) == 7);
    CHECK(usage_store(usage, store) == STORE_OK && usage_rows(usage) == 0);
    expect(store, "2026-03-02", 2, 11, 3);
    CHECK(usage_store(usage, store) == STORE_OK); // nothing is stored twice
    expect(store, "2026-03-02", 2, 11, 3);
    struct store_stats stats;
    CHECK(store_stats(store, "2026-03-02", 1, &stats) == STORE_OK && stats.users[0].sent_bytes == 1011 && stats.users[0].recv_bytes == 101);
    usage_destroy(usage);
    usage_destroy(NULL);
}

static void test_failing(struct store *store, const char *path)
{
    struct usage *usage = usage_create(4);
    CHECK(usage != NULL);
    testdir_sql(path, "ALTER TABLE iplog RENAME TO elsewhere");
    add(usage, 1, 1, 1, 1, MIDNIGHT_S + 86400);
    CHECK(usage_store(usage, store) == STORE_FAILED && usage_rows(usage) == 2 && !usage_is_crowded(usage));
    add(usage, 1, 1, 1, 1, MIDNIGHT_S + 86400); // goes on summing
    add(usage, 1, 2, 1, 1, MIDNIGHT_S + 86400);
    CHECK(usage_is_crowded(usage));
    add(usage, 2, 3, 1, 1, MIDNIGHT_S + 86400); // the address finds room, the account does not
    CHECK(usage_rows(usage) == 4 && usage_shed(usage) == 1);
    add(usage, 2, 4, 1, 1, MIDNIGHT_S + 86400);
    CHECK(usage_shed(usage) == 3);
    add(usage, 1, 1, 1, 1, MIDNIGHT_S + 86400); // known rows still count
    CHECK(usage_store(usage, store) == STORE_FAILED);
    testdir_sql(path, "ALTER TABLE elsewhere RENAME TO iplog");
    CHECK(usage_store(usage, store) == STORE_OK && usage_rows(usage) == 0 && !usage_is_crowded(usage));
    expect(store, "2026-03-03", 1, 4, 3);

    add(usage, 1, 1, UINT64_MAX, UINT64_MAX, MIDNIGHT_S + 2 * 86400); // no wrap around
    add(usage, 1, 1, UINT64_MAX, 1, MIDNIGHT_S + 2 * 86400);
    CHECK(usage_store(usage, store) == STORE_OK);
    expect(store, "2026-03-04", 1, INT64_MAX, 1);
    usage_destroy(usage);
}

int main(void)
{
    struct testdir dir;
    char error[STORE_ERROR_MAX];
    int64_t id;
    auth_init();
    testdir_init(&dir);
    struct store *store = store_open(dir.file, error, sizeof(error));
    CHECK(store != NULL);
    CHECK(store_user_add(store, "one@x", "h", true, &id) == STORE_OK && id == 1);
    CHECK(store_user_add(store, "two@x", "h", true, &id) == STORE_OK && id == 2);
    test_text();
    test_sums(store);
    test_failing(store, dir.file);
    store_close(store);
    testdir_fini(&dir);
    return 0;
}
