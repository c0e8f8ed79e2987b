// Codes that were mailed: per user, for an hour, the three newest, spent on use; against real files in a temporary directory.
#include "store/store.h"

#include "store/testdir.h"

#define NOW 1700000000
#define HOUR STORE_TOKEN_SECONDS

struct rig {
    struct testdir dir;
    struct store *store;
    int64_t me, you;
};

static void rig_init(struct rig *rig)
{
    char error[STORE_ERROR_MAX] = "";
    testdir_init(&rig->dir);
    rig->store = store_open(rig->dir.file, error, sizeof(error));
    CHECK(rig->store != NULL);
    CHECK(store_user_add(rig->store, "me@me.com", "old", false, &rig->me) == STORE_OK);
    CHECK(store_user_add(rig->store, "you@me.com", "old", false, &rig->you) == STORE_OK);
}

static void rig_fini(struct rig *rig)
{
    store_close(rig->store);
    testdir_fini(&rig->dir);
}

static void expect_user(struct rig *rig, int64_t id, bool verified, const char *password_hash)
{
    struct store_user user;
    CHECK(store_user_get(rig->store, id, &user) == STORE_OK);
    CHECK(user.verified == verified && strcmp(user.password_hash, password_hash) == 0);
}

static void test_form(struct rig *rig)
{
    char first[STORE_TOKEN_BYTES], second[STORE_TOKEN_BYTES];
    CHECK(store_token_add_verify(rig->store, rig->me, NOW, first) == STORE_OK);
    CHECK(store_token_add_verify(rig->store, rig->me, NOW, second) == STORE_OK);
    CHECK(strlen(first) == 32 && strspn(first, "0123456789ABCDEF") == 32 && strcmp(first, second) != 0);
}

static void test_verify(struct rig *rig)
{
    char mine[STORE_TOKEN_BYTES], yours[STORE_TOKEN_BYTES], wrong[STORE_TOKEN_BYTES];
    CHECK(store_token_add_verify(rig->store, rig->me, NOW, mine) == STORE_OK);
    CHECK(store_token_add_verify(rig->store, rig->you, NOW, yours) == STORE_OK); // and mine still counts
    CHECK(store_token_use_verify(rig->store, rig->me, yours, NOW) == STORE_NOT_FOUND);
    memcpy(wrong, mine, sizeof(wrong));
    wrong[31] = wrong[31] == 'A' ? 'B' : 'A';
    CHECK(store_token_use_verify(rig->store, rig->me, wrong, NOW) == STORE_NOT_FOUND);
    CHECK(store_token_use_verify(rig->store, rig->me, "", NOW) == STORE_NOT_FOUND);
    char lower[STORE_TOKEN_BYTES];
    for (size_t i = 0; i < sizeof(lower); i++)
        lower[i] = mine[i] >= 'A' ? (char)(mine[i] + 32) : mine[i];
    CHECK(strcmp(lower, mine) == 0 || store_token_use_verify(rig->store, rig->me, lower, NOW) == STORE_NOT_FOUND);
    expect_user(rig, rig->me, false, "old");
    CHECK(store_token_use_verify(rig->store, rig->me, mine, NOW + HOUR - 1) == STORE_OK);
    expect_user(rig, rig->me, true, "old");
    expect_user(rig, rig->you, false, "old");
    CHECK(store_token_use_verify(rig->store, rig->me, mine, NOW) == STORE_NOT_FOUND); // spent
    CHECK(store_token_use_verify(rig->store, rig->you, yours, NOW) == STORE_OK);
}

static void test_expiry(struct rig *rig)
{
    char token[STORE_TOKEN_BYTES];
    int64_t user = 0;
    CHECK(store_token_add_verify(rig->store, rig->me, NOW, token) == STORE_OK);
    CHECK(store_token_use_verify(rig->store, rig->me, token, NOW + HOUR) == STORE_NOT_FOUND);
    CHECK(store_token_add_reset(rig->store, rig->me, NOW, token) == STORE_OK);
    CHECK(store_token_find_reset(rig->store, token, NOW + HOUR - 1, &user) == STORE_OK && user == rig->me);
    CHECK(store_token_find_reset(rig->store, token, NOW + HOUR, &user) == STORE_NOT_FOUND);
    CHECK(store_token_use_reset(rig->store, token, "new", NOW + HOUR, &user) == STORE_NOT_FOUND);
    expect_user(rig, rig->me, true, "old");
}

static void test_three_newest(struct rig *rig)
{
    char tokens[5][STORE_TOKEN_BYTES], other[STORE_TOKEN_BYTES];
    int64_t user;
    CHECK(store_token_add_reset(rig->store, rig->you, NOW, other) == STORE_OK);
    for (int i = 0; i < 5; i++)
        CHECK(store_token_add_reset(rig->store, rig->me, NOW, tokens[i]) == STORE_OK);
    for (int i = 0; i < 5; i++)
        CHECK(store_token_find_reset(rig->store, tokens[i], NOW, &user) == (i < 2 ? STORE_NOT_FOUND : STORE_OK));
    CHECK(store_token_find_reset(rig->store, other, NOW, &user) == STORE_OK && user == rig->you);
}

static void test_reset(struct rig *rig)
{
    char tokens[2][STORE_TOKEN_BYTES], other[STORE_TOKEN_BYTES];
    int64_t user = 0;
    CHECK(store_token_add_reset(rig->store, rig->me, NOW, tokens[0]) == STORE_OK);
    CHECK(store_token_add_reset(rig->store, rig->me, NOW, tokens[1]) == STORE_OK);
    CHECK(store_token_add_reset(rig->store, rig->you, NOW, other) == STORE_OK);
    CHECK(store_token_use_reset(rig->store, "0123456789ABCDEF0123456789ABCDEF", "new", NOW, &user) == STORE_NOT_FOUND);
    CHECK(store_token_use_reset(rig->store, tokens[0], "new", NOW, &user) == STORE_OK && user == rig->me);
    expect_user(rig, rig->me, true, "new");
    expect_user(rig, rig->you, true, "old");
    CHECK(store_token_use_reset(rig->store, tokens[0], "newer", NOW, &user) == STORE_NOT_FOUND); // spent
    CHECK(store_token_use_reset(rig->store, tokens[1], "newer", NOW, &user) == STORE_NOT_FOUND); // and so are its siblings
    CHECK(store_token_find_reset(rig->store, other, NOW, &user) == STORE_OK);
}

// What the original and time leave in these tables: NULL, odd lengths.
static void test_odd_rows(struct rig *rig)
{
    int64_t user;
    testdir_sql(rig->dir.file,
                "INSERT INTO pwreset (expires, user_id, token) VALUES ('2999-01-01 00:00:00', 1, NULL), "
                "('2999-01-01 00:00:00', 1, ''), ('2999-01-01 00:00:00', 1, 'ABC'), (NULL, 1, 'FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF')");
    CHECK(store_token_find_reset(rig->store, "FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF", NOW, &user) == STORE_NOT_FOUND);
    CHECK(store_token_find_reset(rig->store, "", NOW, &user) == STORE_NOT_FOUND);
    CHECK(store_token_find_reset(rig->store, "ABC", NOW, &user) == STORE_NOT_FOUND);
    CHECK(store_user_delete(rig->store, rig->me) == STORE_OK);
    testdir_sql(rig->dir.file, "ALTER TABLE pwreset RENAME TO elsewhere");
    CHECK(store_token_find_reset(rig->store, "FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF", NOW, &user) == STORE_FAILED);
    CHECK(store_token_use_reset(rig->store, "FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF", "x", NOW, &user) == STORE_FAILED);
    testdir_sql(rig->dir.file, "ALTER TABLE elsewhere RENAME TO pwreset");
    CHECK(store_token_find_reset(rig->store, "FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF", NOW, &user) == STORE_NOT_FOUND);
}

int main(void)
{
    struct rig rig;
    rig_init(&rig);
    test_form(&rig);
    test_verify(&rig);
    test_expiry(&rig);
    test_three_newest(&rig);
    test_reset(&rig);
    test_odd_rows(&rig);
    rig_fini(&rig);
    return 0;
}
