// Whose account changed: other processes (the CLI, the original) write the same database. Every account that logged in is watched, since
// its sessions may outlive the remembered check. Thread: the accounts node.
#include <stddef.h>
#include <stdio.h>

#include "net/accounts_internal.h"
#include "shards/base/check.h"
#include "shards/log.h"

#define SWEEP_PLACES_MAX 4096u          // looked at in one go: some 20 ms
#define SWEEP_INTERVAL_NS TIMER_TICK_NS // between two goes

static void account_key(const struct accounts *accounts, uint64_t account, struct fingerprint *ret_key)
{
    CHECK(account > 0);
    fingerprint_make(&accounts->secret, FINGERPRINT_ACCOUNT, bytes_of(&account, sizeof(account)), bytes_of(NULL, 0), ret_key);
}

bool watch_state(const struct accounts *accounts, const struct store_user *user, struct fingerprint *ret_state)
{
    // The name too: SQLite gives a deleted user's row id to the next one. And whether the last licence was disabled: the sessions that it
    // opened must go; one opened by password may come back.
    char name[STORE_EMAIL_MAX + 2];
    int len = snprintf(name, sizeof(name), "%c%s", user->licence_disabled ? '-' : '+', user->email);
    fingerprint_make(&accounts->secret, FINGERPRINT_STATE, bytes_of(name, (size_t)len), bytes_text(user->password_hash), ret_state);
    return user->verified && !user->blocked;
}

enum watch_result watch_look(struct accounts *accounts)
{
    uint32_t data_version = 0;
    enum store_result result = store_data_version(accounts->store, &data_version);
    accounts_note_store(accounts, STORE_READING, result);
    if (result != STORE_OK)
        return WATCH_FAILED;
    if (data_version == accounts->data_version)
        return WATCH_SAME;
    accounts->data_version = data_version;
    accounts->version++;
    accounts->is_sweeping = true;
    accounts->sweep_place = 0;
    return WATCH_CHANGED;
}

void watch_end(struct accounts *accounts, uint64_t account)
{
    struct fingerprint key;
    account_key(accounts, account, &key);
    struct watched *watched = recent_find(accounts->watched, &key);
    if (watched != NULL)
        recent_remove(accounts->watched, watched);
    remember_forget_account(accounts->remember, account);
    accounts->counts.ended++;
    LOG(INFO, "ACCOUNT_ENDED", "account=%llu", (unsigned long long)account);
    struct account_ended ended = {.account = account};
    for (uint16_t shard = 0; shard < accounts->config.shard_count; shard++)
        post_write(accounts->post, accounts->config.node, shard, RECORD_ACCOUNT_ENDED, bytes_of(&ended, sizeof(ended)), bytes_of(NULL, 0));
}

void watch_add(struct accounts *accounts, uint64_t account, const struct fingerprint *state)
{
    struct fingerprint key;
    account_key(accounts, account, &key);
    struct watched *watched = recent_find(accounts->watched, &key);
    if (watched != NULL && !fingerprint_equal(&watched->state, state)) {
        watch_end(accounts, account); // sessions of the former password
        watched = NULL;
    }
    if (watched == NULL) {
        // Sessions that nobody watches could not be ended later, so they end now and may come back.
        if (recent_is_full(accounts->watched)) {
            const struct watched *oldest = recent_oldest(accounts->watched);
            LOG(WARN, "ACCOUNTS_WATCHED_FULL", "account=%llu", (unsigned long long)oldest->account);
            watch_end(accounts, oldest->account);
        }
        watched = recent_add(accounts->watched, &key);
    } else {
        recent_use(accounts->watched, watched);
    }
    *watched = (struct watched){.account = account, .version = accounts->version, .state = *state};
}

// Compares with the database unless that was done since it changed last.
static enum watch_result compare(struct accounts *accounts, struct watched *watched)
{
    if (watched->version == accounts->version)
        return WATCH_SAME;
    struct store_user user;
    struct fingerprint state;
    enum store_result result = store_user_get(accounts->store, (int64_t)watched->account, &user);
    accounts_note_store(accounts, STORE_READING, result);
    if (result == STORE_FAILED)
        return WATCH_FAILED;
    if (result == STORE_OK && watch_state(accounts, &user, &state) && fingerprint_equal(&state, &watched->state)) {
        watched->version = accounts->version;
        return WATCH_SAME;
    }
    watch_end(accounts, watched->account);
    return WATCH_CHANGED;
}

enum watch_result watch_account(struct accounts *accounts, uint64_t account)
{
    struct fingerprint key;
    account_key(accounts, account, &key);
    struct watched *watched = recent_find(accounts->watched, &key);
    CHECK(watched != NULL); // what is remembered is watched: watch_end forgets both
    recent_use(accounts->watched, watched);
    return compare(accounts, watched);
}

// A bounded part of all watched accounts; what fails now is looked at by the next sweep or login.
static void sweep(struct accounts *accounts)
{
    uint32_t places = recent_places(accounts->watched);
    for (uint32_t looked = 0; looked < SWEEP_PLACES_MAX && accounts->sweep_place < places; looked++) {
        struct watched *watched = recent_at(accounts->watched, accounts->sweep_place);
        if (watched != NULL && compare(accounts, watched) == WATCH_FAILED)
            return;
        accounts->sweep_place++;
    }
    accounts->is_sweeping = accounts->sweep_place < places;
}

void watch_on_time(struct timer *timer, uint64_t now_ns)
{
    struct accounts *accounts = (struct accounts *)(void *)((char *)timer - offsetof(struct accounts, watch_timer));
    if (watch_look(accounts) != WATCH_FAILED && accounts->is_sweeping)
        sweep(accounts);
    uint64_t interval_ns = accounts->is_sweeping ? SWEEP_INTERVAL_NS : WATCH_INTERVAL_NS;
    timer_set(node_timers(accounts->node), &accounts->watch_timer, now_ns + interval_ns);
}
