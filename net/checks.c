// Checks by fingerprint; waiters in one array, chained by index. Thread: the accounts node.
#include "net/checks.h"

#include <stdlib.h>

#include "auth/recent.h"
#include "shards/base/check.h"

#define NONE UINT32_MAX

struct place {
    struct waiter waiter;
    uint32_t next;
};

struct checks {
    struct recent *table; // of struct check; never displaces one
    struct place *places;
    uint32_t waiters_max, waiting;
    uint32_t places_used, free;
};

struct checks *checks_create(uint32_t checks_max, uint32_t waiters_max)
{
    CHECK(waiters_max > 0 && waiters_max < NONE);
    struct checks *checks = calloc(1, sizeof(*checks));
    if (checks == NULL)
        return NULL;
    checks->waiters_max = waiters_max;
    checks->free = NONE;
    checks->table = recent_create(checks_max, sizeof(struct check));
    checks->places = calloc(waiters_max, sizeof(*checks->places));
    if (checks->table == NULL || checks->places == NULL) {
        checks_destroy(checks);
        return NULL;
    }
    return checks;
}

void checks_destroy(struct checks *checks)
{
    if (checks == NULL)
        return;
    recent_destroy(checks->table);
    free(checks->places);
    free(checks);
}

struct check *checks_find(const struct checks *checks, const struct fingerprint *credentials)
{
    return recent_find(checks->table, credentials);
}

struct check *checks_add(struct checks *checks, const struct fingerprint *credentials)
{
    if (recent_is_full(checks->table))
        return NULL;
    struct check *check = recent_add(checks->table, credentials);
    *check = (struct check){.credentials = *credentials, .first = NONE, .last = NONE};
    return check;
}

bool checks_wait(struct checks *checks, struct check *check, const struct waiter *waiter)
{
    CHECK(check != NULL && waiter->generation > 0);
    if (checks->waiting == checks->waiters_max)
        return false;
    uint32_t index = checks->free;
    if (index != NONE)
        checks->free = checks->places[index].next;
    else
        index = checks->places_used++;
    CHECK(index < checks->waiters_max);
    checks->places[index] = (struct place){.waiter = *waiter, .next = NONE};
    if (check->last != NONE)
        checks->places[check->last].next = index;
    else
        check->first = index;
    check->last = index;
    checks->waiting++;
    return true;
}

bool checks_next(struct checks *checks, struct check *check, struct waiter *ret_waiter)
{
    CHECK(ret_waiter != NULL);
    uint32_t index = check->first;
    if (index == NONE)
        return false;
    struct place *place = &checks->places[index];
    *ret_waiter = place->waiter;
    check->first = place->next;
    if (check->first == NONE)
        check->last = NONE;
    place->next = checks->free;
    checks->free = index;
    checks->waiting--;
    return true;
}

void checks_remove(struct checks *checks, struct check *check)
{
    CHECK(check->first == NONE && check->last == NONE);
    recent_remove(checks->table, check);
}

uint32_t checks_count(const struct checks *checks)
{
    return recent_count(checks->table);
}

uint32_t checks_waiting(const struct checks *checks)
{
    return checks->waiting;
}
