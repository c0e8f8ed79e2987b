// Licences: first use, another one, disabled ones; the rows as the original writes them.
#include "store/store.h"
#include "store/testdir.h"

#define FIRST "7F9021C94B47B5B782EE772B7F57FDA9ED26540B"
#define SECOND "064ACCED2D2969A7FFB5821AD53361730B72F9D2"

static struct store *must_open(const char *path)
{
    char error[STORE_ERROR_MAX] = "";
    struct store *store = store_open(path, error, sizeof(error));
    if (store == NULL)
        fprintf(stderr, "%s\n", error);
    CHECK(store != NULL);
    return store;
}

static void test_unknown_user(struct store *store)
{
    struct store_user user;
    uint64_t count;
    CHECK(store_licence_login(store, "New@X.com", FIRST, &user) == STORE_OK);
    CHECK(strcmp(user.email, "new@x.com") == 0 && strcmp(user.password_hash, "") == 0 && user.verified && !user.blocked);
    CHECK(strcmp(user.licence_hash, FIRST) == 0 && !user.licence_disabled);
    int64_t id = user.id;
    CHECK(store_licence_login(store, "new@x.com", FIRST, &user) == STORE_OK && user.id == id);
    CHECK(store_user_count(store, &count) == STORE_OK && count == 1);
}

// The first licence blanks the password, later ones leave one that was set since.
static void test_password(struct store *store)
{
    struct store_user user;
    int64_t id;
    CHECK(store_user_add(store, "pw@x", "hash", false, &id) == STORE_OK);
    CHECK(store_licence_login(store, "pw@x", FIRST, &user) == STORE_OK && user.id == id);
    CHECK(user.verified && strcmp(user.password_hash, "") == 0);
    CHECK(store_user_set_password(store, id, "again") == STORE_OK);
    CHECK(store_licence_login(store, "pw@x", FIRST, &user) == STORE_OK && strcmp(user.password_hash, "again") == 0);
    CHECK(store_licence_login(store, "pw@x", SECOND, &user) == STORE_OK && strcmp(user.password_hash, "again") == 0);
    CHECK(strcmp(user.licence_hash, SECOND) == 0);
}

static void test_blocked(struct store *store)
{
    struct store_user user;
    int64_t id;
    CHECK(store_user_add(store, "blocked@x", "hash", false, &id) == STORE_OK && store_user_set_blocked(store, id, true) == STORE_OK);
    CHECK(store_licence_login(store, "blocked@x", FIRST, &user) == STORE_NOT_FOUND);
    CHECK(store_user_get(store, id, &user) == STORE_OK && strcmp(user.password_hash, "hash") == 0 && user.licence_hash[0] == '\0');
    CHECK(store_user_set_blocked(store, id, false) == STORE_OK && store_licence_login(store, "blocked@x", FIRST, &user) == STORE_OK);
    CHECK(store_user_set_blocked(store, id, true) == STORE_OK);
    CHECK(store_licence_login(store, "blocked@x", FIRST, &user) == STORE_NOT_FOUND); // a licence seen before helps nothing
}

static void test_disabled(struct store *store)
{
    struct store_user user;
    int64_t id;
    uint64_t before, after;
    CHECK(store_user_add(store, "off@x", "hash", true, &id) == STORE_OK);
    CHECK(store_licence_disable(store, id) == STORE_NOT_FOUND); // none used yet
    CHECK(store_licence_disable(store, 12345) == STORE_NOT_FOUND);
    CHECK(store_licence_login(store, "off@x", "AAAA", &user) == STORE_OK);
    CHECK(store_licence_disable(store, id) == STORE_OK && store_licence_disable(store, id) == STORE_OK);
    CHECK(store_licence_login(store, "off@x", "AAAA", &user) == STORE_NOT_FOUND);
    CHECK(store_user_get(store, id, &user) == STORE_OK && user.licence_disabled);
    CHECK(store_licence_login(store, "off@x", "BBBB", &user) == STORE_OK && !user.licence_disabled); // bought anew
    CHECK(store_licence_login(store, "off@x", "AAAA", &user) == STORE_NOT_FOUND);
    CHECK(store_user_count(store, &before) == STORE_OK);
    CHECK(store_licence_login(store, "unknown@x", "AAAA", &user) == STORE_NOT_FOUND); // makes no user
    CHECK(store_user_count(store, &after) == STORE_OK && before == after);
}

// What the original's disablelicense leaves behind holds here.
static void test_original_rows(struct testdir *dir, struct store *store)
{
    struct store_user user;
    testdir_sql(dir->file, "INSERT INTO user (email, pwhash, emailverified, recentlicensehash) VALUES ('old@x', '', 1, '" FIRST "');"
                           "INSERT INTO user (email, pwhash, emailverified, recentlicensehash) VALUES ('null@x', 'hash', 1, NULL);"
                           "INSERT INTO disabledlicense VALUES ('" FIRST "')");
    CHECK(store_user_find(store, "old@x", &user) == STORE_OK && user.licence_disabled);
    CHECK(store_licence_login(store, "old@x", FIRST, &user) == STORE_NOT_FOUND);
    CHECK(store_user_find(store, "null@x", &user) == STORE_OK && user.licence_hash[0] == '\0' && !user.licence_disabled);
    CHECK(store_licence_disable(store, user.id) == STORE_NOT_FOUND);
    CHECK(store_licence_login(store, "null@x", SECOND, &user) == STORE_OK && user.password_hash[0] == '\0');
}

int main(void)
{
    struct testdir dir;
    testdir_init(&dir);
    struct store *store = must_open(dir.file);
    test_unknown_user(store);
    test_password(store);
    test_blocked(store);
    test_disabled(store);
    test_original_rows(&dir, store);
    store_close(store);
    testdir_fini(&dir);
    return 0;
}
