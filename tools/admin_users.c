// Commands on one user, listusers and backup. A running server notices what changed within a second: net/accounts_watch.c.
#include "auth/password.h"
#include "shards/base/check.h"
#include "tools/admin.h"
#include "tools/admin_internal.h"
#include <jansson.h>
#include <sodium.h>
#include <string.h>

// Does something to the user that the first argument names, says what was done, and returns the exit code.
static int change_user(const struct options *options, enum store_result (*change)(struct store *store, const struct store_user *user),
                       const char *done, const char *not_found)
{
    CHECK(options->argument_count == 1);
    const char *email = options->arguments[0];
    struct store *store = admin_open(options);
    if (store == NULL)
        return 1;
    struct store_user user;
    int code = 1;
    enum store_result result = store_user_find(store, email, &user);
    if (result == STORE_NOT_FOUND) {
        fprintf(stderr, "shardrelay: there is no user %s\n", email);
    } else {
        if (result == STORE_OK)
            result = change(store, &user);
        if (result == STORE_OK) {
            printf("%s %s\n", done, user.email);
            code = 0;
        } else if (result == STORE_NOT_FOUND) {
            fprintf(stderr, "shardrelay: the user %s %s\n", email, not_found);
        } else {
            code = admin_fail(store_error(store));
        }
    }
    store_close(store);
    return code;
}

#define GONE "was deleted meanwhile"

static enum store_result block(struct store *store, const struct store_user *user)
{
    return store_user_set_blocked(store, user->id, true);
}

int admin_blockuser(const struct options *options)
{
    return change_user(options, block, "blocked user", GONE);
}

static enum store_result unblock(struct store *store, const struct store_user *user)
{
    return store_user_set_blocked(store, user->id, false);
}

int admin_unblockuser(const struct options *options)
{
    return change_user(options, unblock, "unblocked user", GONE);
}

static enum store_result disable_licence(struct store *store, const struct store_user *user)
{
    return store_licence_disable(store, user->id);
}

int admin_disablelicense(const struct options *options)
{
    return change_user(options, disable_licence, "disabled license of", "has never used a license");
}

static enum store_result delete (struct store *store, const struct store_user *user) { return store_user_delete(store, user->id); }

int admin_deluser(const struct options *options)
{
    return change_user(options, delete, "deleted user", GONE);
}

static char new_hash[PASSWORD_HASH_MAX]; // of passwd

static enum store_result set_password(struct store *store, const struct store_user *user)
{
    return store_user_set_password(store, user->id, new_hash);
}

int admin_passwd(const struct options *options)
{
    char password[PASSWORD_LINE_MAX];
    if (!admin_get_password(options, password))
        return 1;
    bool hashed = password_hash(bytes_text(password), new_hash);
    sodium_memzero(password, sizeof password);
    if (!hashed)
        return admin_fail("too little memory to hash the password");
    return change_user(options, set_password, "changed password of", GONE);
}

// ---- listusers ----

static const char *state_of(const struct store_user *user)
{
    return user->blocked ? "blocked" : user->verified ? "active" : "unverified";
}

static const char *login_of(const struct store_user *user)
{
    bool has_password = user->password_hash[0] != '\0', has_licence = user->licence_hash[0] != '\0';
    if (user->licence_disabled)
        return has_password ? "password (license disabled)" : "none (license disabled)";
    if (has_licence)
        return has_password ? "password, license" : "license";
    return has_password ? "password" : "none";
}

static bool add_row(void *owner, const struct store_user *user)
{
    json_t *row = json_object();
    json_object_set_new(row, "id", json_integer(user->id));
    json_object_set_new(row, "email", admin_json_text(user->email));
    json_object_set_new(row, "created", admin_json_text(user->created));
    json_object_set_new(row, "verified", json_boolean(user->verified));
    json_object_set_new(row, "blocked", json_boolean(user->blocked));
    json_object_set_new(row, "password", json_boolean(user->password_hash[0] != '\0'));
    json_object_set_new(row, "license", json_boolean(user->licence_hash[0] != '\0'));
    json_object_set_new(row, "license_disabled", json_boolean(user->licence_disabled));
    json_array_append_new(owner, row);
    return true;
}

static bool print_row(void *owner, const struct store_user *user)
{
    size_t *count = owner;
    if ((*count)++ == 0)
        printf("%-36s %-19s  %-10s  %s\n", "USER", "CREATED (UTC)", "STATE", "LOGS IN BY");
    admin_print_text(user->email, 36);
    printf(" %-19.19s  %-10s  %s\n", user->created, state_of(user), login_of(user));
    return true;
}

int admin_listusers(const struct options *options)
{
    struct store *store = admin_open(options);
    if (store == NULL)
        return 1;
    int code = 0;
    size_t count = 0;
    json_t *rows = options->json ? json_array() : NULL;
    enum store_result result = store_user_list(store, options->json ? add_row : print_row, options->json ? (void *)rows : (void *)&count);
    if (result != STORE_OK)
        code = admin_fail(store_error(store));
    else if (options->json)
        code = admin_print_json(rows);
    else if (count == 0)
        puts("no users");
    json_decref(rows);
    store_close(store);
    return code;
}

int admin_backup(const struct options *options)
{
    CHECK(options->argument_count == 1);
    struct store *store = admin_open(options);
    if (store == NULL)
        return 1;
    int code = store_backup(store, options->arguments[0]) == STORE_OK ? 0 : admin_fail(store_error(store));
    if (code == 0)
        printf("copied %s to %s\n", options->config.database, options->arguments[0]);
    store_close(store);
    return code;
}
