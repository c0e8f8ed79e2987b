// Who may log in. The way of a request: its address's bucket, the remembered checks, a check under way, its user's bucket, a hashing node.
// One rule: whatever is wrong (unknown, unverified, blocked, password) costs one argon2 and is answered alike. Thread: the accounts node.
//
// Throttling. An address with an empty bucket gets nothing, not even what is remembered: else it could try passwords against the memory
// as fast as it can send. A user's bucket only guards the way to the hashing nodes: a password that was right lately passes, so whoever
// guesses at an account cannot lock its devices out. A user's token is taken when a check begins, so that guesses sent side by side
// count, and given back when it succeeds; an address's is taken when a login fails. Logins that join a check under way guess nothing new.
#include <stddef.h>

#include "net/accounts_internal.h"
#include "net/hashing.h"
#include "shards/base/check.h"
#include "shards/log.h"

#define HASH_MS 15 // of one check, for Retry-After

// RECORD_LOGIN as it travels: this head up to the user's last byte, then the password.
struct login_head {
    uint32_t slot, generation;
    struct net_address address;
    uint16_t user_len, password_len;
    char user[BASIC_USER_MAX];
};

struct login {
    struct waiter waiter;
    struct bytes user, password; // borrowed from the record
    struct fingerprint credentials, user_print;
    uint64_t now_ns;
};

void accounts_login(struct post *post, uint16_t self, uint16_t accounts_node, const struct login_request *request)
{
    const struct basic *credentials = &request->credentials;
    CHECK(credentials->user_len <= BASIC_USER_MAX && credentials->password_len <= BASIC_PASSWORD_MAX && request->generation > 0);
    struct login_head head = {.slot = request->slot, .generation = request->generation, .address = request->address};
    head.user_len = (uint16_t)credentials->user_len;
    head.password_len = (uint16_t)credentials->password_len;
    memcpy(head.user, credentials->user, credentials->user_len);
    post_write(post, self, accounts_node, RECORD_LOGIN, bytes_of(&head, offsetof(struct login_head, user) + head.user_len),
               bytes_of(credentials->password, credentials->password_len));
}

static void read_login(const struct accounts *accounts, const struct post_record *record, struct login *ret_login)
{
    const struct login_head *head = (const struct login_head *)(const void *)record->body.ptr;
    CHECK(record->body.len >= offsetof(struct login_head, user));
    CHECK(record->body.len == offsetof(struct login_head, user) + head->user_len + head->password_len);
    *ret_login = (struct login){.now_ns = node_now_ns(accounts->node)};
    ret_login->waiter = (struct waiter){.slot = head->slot, .generation = head->generation, .shard = record->from};
    ret_login->user = bytes_of(head->user, head->user_len);
    ret_login->password = bytes_of(head->user + head->user_len, head->password_len);
    fingerprint_address(&accounts->secret, head->address.bytes, &ret_login->waiter.address);
    fingerprint_make(&accounts->secret, FINGERPRINT_CREDENTIALS, ret_login->user, ret_login->password, &ret_login->credentials);
    fingerprint_make(&accounts->secret, FINGERPRINT_USER, ret_login->user, bytes_of(NULL, 0), &ret_login->user_print);
}

static void answer(struct accounts *accounts, const struct waiter *waiter, enum login_verdict verdict, uint64_t account,
                   uint32_t retry_after_s)
{
    CHECK((verdict == LOGIN_OK) == (account > 0));
    struct login_answer record = {.slot = waiter->slot, .generation = waiter->generation, .verdict = verdict, .account = account};
    record.retry_after_s = retry_after_s;
    accounts->counts.verdicts[verdict]++;
    LOG(DEBUG, "LOGIN", "shard=%u verdict=%d account=%llu", waiter->shard, verdict, (unsigned long long)account);
    post_write(accounts->post, accounts->config.node, waiter->shard, RECORD_LOGIN_ANSWER, bytes_of(&record, sizeof(record)),
               bytes_of(NULL, 0));
}

int accounts_shortest_queue(const struct accounts *accounts, uint32_t *ret_retry_after_s)
{
    uint16_t best = 0;
    for (uint16_t i = 1; i < accounts->config.hash_node_count; i++) {
        if (accounts->hash_queued[i] < accounts->hash_queued[best])
            best = i;
    }
    *ret_retry_after_s = 1 + accounts->hash_queued[best] * HASH_MS / 1000;
    return accounts->hash_queued[best] < accounts->config.hash_queue_max ? best : -1;
}

// Starts a check on a hashing node. Unknown users and those who may not log in are checked against nobody's hash.
static void start_check(struct accounts *accounts, const struct login *login)
{
    uint32_t retry_after_s = 0;
    int queue = accounts_shortest_queue(accounts, &retry_after_s);
    if (queue < 0 || checks_waiting(accounts->checks) == ACCOUNTS_WAITERS_MAX) {
        answer(accounts, &login->waiter, LOGIN_BUSY, 0, retry_after_s);
        return;
    }
    char email[BASIC_USER_MAX + 1];
    memcpy(email, login->user.ptr, login->user.len);
    email[login->user.len] = '\0';
    struct store_user user;
    enum store_result found = store_user_find(accounts->store, email, &user);
    accounts_note_store(accounts, STORE_READING, found);
    if (found == STORE_FAILED) {
        answer(accounts, &login->waiter, LOGIN_FAILED, 0, 0);
        return;
    }
    struct check *check = checks_add(accounts->checks, &login->credentials);
    CHECK(check != NULL); // the queues have room for as many
    struct hash_request request = {.credentials = login->credentials};
    check->user = login->user_print;
    bool may_log_in = found == STORE_OK && watch_state(accounts, &user, &check->state) && password_is_hash(user.password_hash);
    if (may_log_in)
        check->account = user.id;
    memcpy(request.hash, may_log_in ? user.password_hash : password_dummy, strlen(may_log_in ? user.password_hash : password_dummy) + 1);
    bool waits = checks_wait(accounts->checks, check, &login->waiter);
    CHECK(waits);
    throttle_take(accounts->users, &login->user_print, login->now_ns);
    accounts->hash_queued[queue]++;
    accounts->counts.hashed++;
    post_write(accounts->post, accounts->config.node, (uint16_t)(accounts->config.hash_node_first + queue), RECORD_HASH,
               bytes_of(&request, sizeof(request)), login->password);
}

// Starts the check of a licence on a hashing node. No user's bucket is asked: the name is everybody's, and a signature is nothing to guess.
static void start_licence(struct accounts *accounts, const struct login *login)
{
    uint32_t retry_after_s = 0;
    int queue = accounts_shortest_queue(accounts, &retry_after_s);
    if (queue < 0 || checks_waiting(accounts->checks) == ACCOUNTS_WAITERS_MAX) {
        answer(accounts, &login->waiter, LOGIN_BUSY, 0, retry_after_s);
        return;
    }
    struct check *check = checks_add(accounts->checks, &login->credentials);
    CHECK(check != NULL); // the queues have room for as many
    bool waits = checks_wait(accounts->checks, check, &login->waiter);
    CHECK(waits);
    struct licence_request request = {.credentials = login->credentials};
    accounts->hash_queued[queue]++;
    post_write(accounts->post, accounts->config.node, (uint16_t)(accounts->config.hash_node_first + queue), RECORD_LICENCE,
               bytes_of(&request, sizeof(request)), login->password);
}

// true: answered.
static bool try_remembered(struct accounts *accounts, const struct login *login)
{
    uint64_t account;
    if (watch_look(accounts) == WATCH_FAILED) {
        answer(accounts, &login->waiter, LOGIN_FAILED, 0, 0);
        return true;
    }
    if (!remember_find(accounts->remember, &login->credentials, login->now_ns, &account))
        return false;
    enum watch_result result = watch_account(accounts, account);
    if (result == WATCH_CHANGED)
        return false;
    accounts->counts.remembered += result == WATCH_SAME;
    answer(accounts, &login->waiter, result == WATCH_SAME ? LOGIN_OK : LOGIN_FAILED, result == WATCH_SAME ? account : 0, 0);
    return true;
}

static void join_check(struct accounts *accounts, struct check *check, const struct login *login)
{
    if (checks_wait(accounts->checks, check, &login->waiter))
        accounts->counts.joined++;
    else
        answer(accounts, &login->waiter, LOGIN_BUSY, 0, 1);
}

// No hash is needed for one user whose password the operator put into the environment; its fingerprint is compared in constant time.
static void login_single(struct accounts *accounts, const struct login *login)
{
    if (fingerprint_equal(&login->credentials, &accounts->single_credentials)) {
        answer(accounts, &login->waiter, LOGIN_OK, 1, 0);
        return;
    }
    uint32_t retry_after_s;
    bool may = throttle_may(accounts->users, &login->user_print, login->now_ns, &retry_after_s);
    throttle_take(accounts->users, &login->user_print, login->now_ns);
    throttle_take(accounts->addresses, &login->waiter.address, login->now_ns);
    answer(accounts, &login->waiter, may ? LOGIN_REFUSED : LOGIN_THROTTLED, 0, retry_after_s);
}

static void login_multi(struct accounts *accounts, const struct login *login)
{
    if (try_remembered(accounts, login))
        return;
    struct check *check = checks_find(accounts->checks, &login->credentials);
    if (check != NULL) {
        join_check(accounts, check, login);
        return;
    }
    if (accounts->config.licences && bytes_equal(login->user, bytes_text(LICENCE_USER))) {
        start_licence(accounts, login);
        return;
    }
    uint32_t retry_after_s;
    if (!throttle_may(accounts->users, &login->user_print, login->now_ns, &retry_after_s)) {
        throttle_take(accounts->addresses, &login->waiter.address, login->now_ns);
        answer(accounts, &login->waiter, LOGIN_THROTTLED, 0, retry_after_s);
        return;
    }
    start_check(accounts, login);
}

void accounts_on_login(struct accounts *accounts, const struct post_record *record)
{
    CHECK(record->from < accounts->config.shard_count);
    struct login login;
    uint32_t retry_after_s;
    read_login(accounts, record, &login);
    if (!throttle_may(accounts->addresses, &login.waiter.address, login.now_ns, &retry_after_s))
        answer(accounts, &login.waiter, LOGIN_THROTTLED, 0, retry_after_s);
    else if (accounts->store == NULL)
        login_single(accounts, &login);
    else
        login_multi(accounts, &login);
}

// The password was right for the hash that the account had; whether it still has it decides.
static enum login_verdict conclude(struct accounts *accounts, const struct check *check, bool matches)
{
    if (!matches || check->account == 0)
        return LOGIN_REFUSED;
    struct store_user user;
    struct fingerprint state;
    enum store_result result = store_user_get(accounts->store, check->account, &user);
    accounts_note_store(accounts, STORE_READING, result);
    if (result == STORE_FAILED)
        return LOGIN_FAILED;
    if (result == STORE_NOT_FOUND || !watch_state(accounts, &user, &state) || !fingerprint_equal(&state, &check->state))
        return LOGIN_REFUSED;
    return LOGIN_OK;
}

// The check that a hashing node has done.
static struct check *take_check(struct accounts *accounts, uint16_t from, const struct fingerprint *credentials)
{
    CHECK(from >= accounts->config.hash_node_first);
    uint16_t queue = (uint16_t)(from - accounts->config.hash_node_first);
    CHECK(queue < accounts->config.hash_node_count && accounts->hash_queued[queue] > 0);
    accounts->hash_queued[queue]--;
    struct check *check = checks_find(accounts->checks, credentials);
    CHECK(check != NULL);
    return check;
}

// Remembers and watches what was right, and answers everybody who waited.
static void finish_check(struct accounts *accounts, struct check *check, enum login_verdict verdict)
{
    uint64_t now_ns = node_now_ns(accounts->node), account = 0;
    if (verdict == LOGIN_OK) {
        account = (uint64_t)check->account;
        watch_add(accounts, account, &check->state);
        remember_add(accounts->remember, &check->credentials, account, now_ns);
    }
    struct waiter waiter;
    while (checks_next(accounts->checks, check, &waiter)) {
        if (verdict == LOGIN_REFUSED)
            throttle_take(accounts->addresses, &waiter.address, now_ns);
        answer(accounts, &waiter, verdict, account, 0);
    }
    checks_remove(accounts->checks, check);
}

void accounts_on_hash_answer(struct accounts *accounts, const struct post_record *record)
{
    CHECK(record->body.len == sizeof(struct hash_answer));
    const struct hash_answer *hash_answer = (const struct hash_answer *)(const void *)record->body.ptr;
    struct check *check = take_check(accounts, record->from, &hash_answer->credentials);
    watch_look(accounts); // before the account is read: what is watched from now on is as new as that
    enum login_verdict verdict = conclude(accounts, check, hash_answer->matches != 0);
    if (verdict != LOGIN_REFUSED)
        throttle_give(accounts->users, &check->user);
    finish_check(accounts, check, verdict);
}

// The signature was right: what the database says of the licence and its holder decides.
static enum login_verdict conclude_licence(struct accounts *accounts, const struct licence_holder *holder, struct check *check)
{
    struct store_user user;
    enum store_result result = store_licence_login(accounts->store, holder->email, holder->hash, &user);
    if (result == STORE_FAILED) { // no news otherwise: a licence seen before is not written
        accounts_note_store(accounts, STORE_WRITING, result);
        return LOGIN_FAILED;
    }
    if (result == STORE_NOT_FOUND || !watch_state(accounts, &user, &check->state))
        return LOGIN_REFUSED;
    check->account = user.id;
    return LOGIN_OK;
}

void accounts_on_licence_answer(struct accounts *accounts, const struct post_record *record)
{
    CHECK(record->body.len == sizeof(struct licence_answer));
    const struct licence_answer *licence_answer = (const struct licence_answer *)(const void *)record->body.ptr;
    struct check *check = take_check(accounts, record->from, &licence_answer->credentials);
    watch_look(accounts); // as above
    enum login_verdict verdict = LOGIN_REFUSED;
    if (licence_answer->matches != 0)
        verdict = conclude_licence(accounts, &licence_answer->holder, check);
    finish_check(accounts, check, verdict);
}
