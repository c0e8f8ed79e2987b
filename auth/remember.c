// One rule: only what remember_add was given less than keep_ns ago is ever found. One thread at a time.
#include "auth/remember.h"

#include <stdlib.h>

#include "auth/recent.h"
#include "shards/base/check.h"

struct remember {
    struct recent *checks; // of struct check
    uint64_t keep_ns;
};

struct check {
    uint64_t account;
    uint64_t until_ns;
};

struct remember *remember_create(uint32_t entries_max, uint64_t keep_ns)
{
    struct remember *remember = calloc(1, sizeof(*remember));
    if (remember == NULL)
        return NULL;
    remember->keep_ns = keep_ns;
    remember->checks = recent_create(entries_max, sizeof(struct check));
    if (remember->checks == NULL) {
        free(remember);
        return NULL;
    }
    return remember;
}

void remember_destroy(struct remember *remember)
{
    if (remember == NULL)
        return;
    recent_destroy(remember->checks);
    free(remember);
}

bool remember_find(struct remember *remember, const struct fingerprint *credentials, uint64_t now_ns, uint64_t *ret_account)
{
    CHECK(ret_account != NULL);
    struct check *check = recent_find(remember->checks, credentials);
    if (check == NULL)
        return false;
    if (now_ns >= check->until_ns) {
        recent_remove(remember->checks, check);
        return false;
    }
    recent_use(remember->checks, check);
    *ret_account = check->account;
    return true;
}

void remember_add(struct remember *remember, const struct fingerprint *credentials, uint64_t account, uint64_t now_ns)
{
    CHECK(account > 0);
    struct check *check = recent_find(remember->checks, credentials);
    if (check == NULL)
        check = recent_add(remember->checks, credentials);
    else
        recent_use(remember->checks, check);
    *check = (struct check){.account = account, .until_ns = now_ns + remember->keep_ns};
}

static size_t forget(struct remember *remember, uint64_t account, bool all)
{
    size_t forgotten = 0;
    for (uint32_t place = 0; place < recent_places(remember->checks); place++) {
        struct check *check = recent_at(remember->checks, place);
        if (check == NULL || (!all && check->account != account))
            continue;
        recent_remove(remember->checks, check);
        forgotten++;
    }
    return forgotten;
}

size_t remember_forget_account(struct remember *remember, uint64_t account)
{
    CHECK(account > 0);
    return forget(remember, account, false);
}

void remember_forget_all(struct remember *remember)
{
    forget(remember, 0, true);
    CHECK(recent_count(remember->checks) == 0);
}
