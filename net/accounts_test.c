// The accounts node and its hashing nodes on real threads; the test is shard 0 and main. Waiting is for records, with a deadline.
#include "net/accounts.h"

#include <poll.h>
#include <pthread.h>

#include "auth/auth.h"
#include "auth/licence_maker.h"
#include "auth/password.h"
#include "shards/log.h"
#include "store/store.h"
#include "store/testdir.h"

enum { NODE_SHARD, NODE_ACCOUNTS, NODE_HASHER_1, NODE_HASHER_2, NODE_COUNT };
#define ANSWERS_MAX 256
#define DEADLINE_MS 20000

struct rig {
    struct testdir dir;
    struct store *store; // of the "other process"
    struct post *post;
    struct accounts *accounts;
    struct licence_key *key; // of licences, or NULL
    struct hasher *hashers[2];
    pthread_t accounts_thread, hasher_threads[2];
    uint32_t answer_count, ended_count;
    struct login_answer answers[ANSWERS_MAX];
    uint64_t ended;
    struct accounts_counts counts; // after rig_stop
};

static const struct accounts_config config_default = {.node = NODE_ACCOUNTS,
                                                      .shard_count = 1,
                                                      .hash_node_first = NODE_HASHER_1,
                                                      .hash_node_count = 2,
                                                      .hash_queue_max = 16,
                                                      .remember_s = 600,
                                                      .failures_burst = 3,
                                                      .failures_refill_s = 3600,
                                                      .store_interval_s = 3600};

static void *run_accounts(void *accounts)
{
    accounts_run(accounts);
    return NULL;
}

static void *run_hasher(void *hasher)
{
    hasher_run(hasher);
    return NULL;
}

static void rig_start_hashers(struct rig *rig)
{
    for (int i = 0; i < 2; i++) {
        rig->hashers[i] = hasher_create(rig->post, (uint16_t)(NODE_HASHER_1 + i), NODE_ACCOUNTS, rig->key, "salt");
        CHECK(rig->hashers[i] != NULL);
        CHECK(pthread_create(&rig->hasher_threads[i], NULL, run_hasher, rig->hashers[i]) == 0);
    }
}

static void rig_start(struct rig *rig, struct accounts_config config)
{
    char error[512] = "";
    *rig = (struct rig){0};
    testdir_init(&rig->dir);
    if (config.single_user == NULL) {
        config.database = rig->dir.file;
        rig->store = store_open(rig->dir.file, error, sizeof(error));
        CHECK(rig->store != NULL);
    }
    rig->post = post_create(NODE_COUNT, &post_limits_default);
    CHECK(rig->post != NULL);
    rig->accounts = accounts_create(rig->post, &config, error, sizeof(error));
    if (rig->accounts == NULL)
        fprintf(stderr, "%s\n", error);
    CHECK(rig->accounts != NULL);
    CHECK(pthread_create(&rig->accounts_thread, NULL, run_accounts, rig->accounts) == 0);
}

static void tell(struct rig *rig, uint16_t node, uint16_t kind)
{
    post_write(rig->post, NODE_SHARD, node, kind, bytes_of(NULL, 0), bytes_of(NULL, 0));
    post_flush(rig->post, NODE_SHARD);
}

static void rig_stop(struct rig *rig)
{
    tell(rig, NODE_ACCOUNTS, RECORD_STOP);
    tell(rig, NODE_ACCOUNTS, RECORD_STOPPED);
    CHECK(pthread_join(rig->accounts_thread, NULL) == 0);
    for (int i = 0; i < 2 && rig->hashers[0] != NULL; i++) {
        tell(rig, (uint16_t)(NODE_HASHER_1 + i), RECORD_STOP);
        CHECK(pthread_join(rig->hasher_threads[i], NULL) == 0);
        hasher_destroy(rig->hashers[i]);
    }
    accounts_counts(rig->accounts, &rig->counts);
    accounts_destroy(rig->accounts);
    post_destroy(rig->post);
}

static void rig_fini(struct rig *rig)
{
    store_close(rig->store);
    testdir_fini(&rig->dir);
}

static void on_record(void *owner, const struct post_record *record)
{
    struct rig *rig = owner;
    CHECK(record->from == NODE_ACCOUNTS);
    if (record->kind == RECORD_ACCOUNT_ENDED) {
        CHECK(record->body.len == sizeof(struct account_ended));
        memcpy(&rig->ended, record->body.ptr, sizeof(rig->ended));
        rig->ended_count++;
        return;
    }
    CHECK(record->kind == RECORD_LOGIN_ANSWER && record->body.len == sizeof(struct login_answer));
    CHECK(rig->answer_count < ANSWERS_MAX);
    memcpy(&rig->answers[rig->answer_count++], record->body.ptr, sizeof(struct login_answer));
}

// Until `counter` (of the rig) has reached `wanted`.
static void wait_for(struct rig *rig, const uint32_t *counter, uint32_t wanted)
{
    struct pollfd wake = {.fd = post_wake_fd(rig->post, NODE_SHARD), .events = POLLIN};
    post_flush(rig->post, NODE_SHARD);
    while (*counter < wanted) {
        if (post_drain(rig->post, NODE_SHARD, 1000, on_record, rig) > 0)
            continue;
        post_flush(rig->post, NODE_SHARD);
        if (post_sleep(rig->post, NODE_SHARD)) {
            CHECK(poll(&wake, 1, DEADLINE_MS) == 1);
            uint64_t signals;
            CHECK(read(wake.fd, &signals, sizeof(signals)) == sizeof(signals));
        }
        post_awake(rig->post, NODE_SHARD);
    }
    CHECK(*counter == wanted);
}

static void ask(struct rig *rig, uint32_t slot, uint8_t address, const char *user, const char *password)
{
    struct login_request request = {.slot = slot, .generation = 7, .address = {.bytes = {[10] = 0xff, [11] = 0xff, 10, 0, 0, address}}};
    char header[2 * BASIC_PASSWORD_MAX];
    CHECK(basic_parse(bytes_of(header, basic_format(user, password, header, sizeof(header))), &request.credentials));
    accounts_login(rig->post, NODE_SHARD, NODE_ACCOUNTS, &request);
}

// One login, its answer.
static struct login_answer login(struct rig *rig, uint8_t address, const char *user, const char *password)
{
    rig->answer_count = 0;
    ask(rig, 42, address, user, password);
    wait_for(rig, &rig->answer_count, 1);
    CHECK(rig->answers[0].slot == 42 && rig->answers[0].generation == 7);
    return rig->answers[0];
}

static void expect(struct rig *rig, uint8_t address, const char *user, const char *password, enum login_verdict verdict, uint64_t account)
{
    struct login_answer answer = login(rig, address, user, password);
    if (answer.verdict != verdict || answer.account != account)
        fprintf(stderr, "%s %s: verdict %u, account %llu\n", user, password, answer.verdict, (unsigned long long)answer.account);
    CHECK(answer.verdict == verdict && answer.account == account);
    bool is_later = verdict == LOGIN_THROTTLED || verdict == LOGIN_BUSY;
    CHECK(is_later ? answer.retry_after_s > 0 && answer.retry_after_s <= 3600 : answer.retry_after_s == 0);
}

static uint64_t add_user(struct rig *rig, const char *email, const char *password, bool verified)
{
    char hash[PASSWORD_HASH_MAX] = "";
    int64_t id;
    CHECK(password[0] == '\0' || password_hash(bytes_text(password), hash));
    CHECK(store_user_add(rig->store, email, hash, verified, &id) == STORE_OK);
    return (uint64_t)id;
}

// Those who may, those who may not (alike), and what is remembered.
static void test_verdicts(void)
{
    struct rig rig;
    rig_start(&rig, config_default);
    rig_start_hashers(&rig);
    uint64_t me = add_user(&rig, "me@me.com", "foobar", true);
    int64_t blocked = (int64_t)add_user(&rig, "blocked@x", "pw", true);
    add_user(&rig, "unverified@x", "pw", false);
    add_user(&rig, "licence@x", "", true);
    CHECK(store_user_set_blocked(rig.store, blocked, true) == STORE_OK);
    expect(&rig, 1, "Me@Me.com", "foobar", LOGIN_OK, me);
    expect(&rig, 1, "me@me.com", "foobar", LOGIN_OK, me);
    expect(&rig, 1, "me@me.com", "Foobar", LOGIN_REFUSED, 0);
    expect(&rig, 2, "nobody@x", "foobar", LOGIN_REFUSED, 0);
    expect(&rig, 3, "blocked@x", "pw", LOGIN_REFUSED, 0);
    expect(&rig, 4, "unverified@x", "pw", LOGIN_REFUSED, 0);
    expect(&rig, 5, "licence@x", "", LOGIN_REFUSED, 0);
    expect(&rig, 6, "", "", LOGIN_REFUSED, 0);
    rig_stop(&rig);
    CHECK(rig.counts.hashed == 7 && rig.counts.remembered == 1); // every refusal costs the same
    CHECK(rig.counts.verdicts[LOGIN_OK] == 2 && rig.counts.verdicts[LOGIN_REFUSED] == 6);
    rig_fini(&rig);
}

// A hundred devices come back at once, before any hashing node runs: one hash, a hundred answers.
static void test_joined(void)
{
    struct rig rig;
    rig_start(&rig, config_default);
    uint64_t me = add_user(&rig, "me@me.com", "foobar", true);
    for (uint32_t i = 0; i < 100; i++)
        ask(&rig, i, (uint8_t)(i % 2), "me@me.com", "foobar");
    post_flush(rig.post, NODE_SHARD);
    rig_start_hashers(&rig);
    wait_for(&rig, &rig.answer_count, 100);
    for (uint32_t i = 0; i < 100; i++)
        CHECK(rig.answers[i].slot == i && rig.answers[i].verdict == LOGIN_OK && rig.answers[i].account == me);
    rig_stop(&rig);
    CHECK(rig.counts.hashed == 1 && rig.counts.joined + rig.counts.remembered == 99);
    rig_fini(&rig);
}

static void test_busy(void)
{
    struct rig rig;
    struct accounts_config config = config_default;
    config.hash_queue_max = 1;
    rig_start(&rig, config);
    uint64_t me = add_user(&rig, "me@me.com", "foobar", true);
    ask(&rig, 1, 1, "me@me.com", "foobar"); // one queue each
    ask(&rig, 2, 1, "other@x", "pw");
    ask(&rig, 3, 1, "third@x", "pw"); // both are full
    ask(&rig, 4, 1, "me@me.com", "foobar");
    wait_for(&rig, &rig.answer_count, 1);
    CHECK(rig.answers[0].slot == 3 && rig.answers[0].verdict == LOGIN_BUSY && rig.answers[0].retry_after_s > 0);
    rig_start_hashers(&rig);
    wait_for(&rig, &rig.answer_count, 4);
    for (int i = 1; i < 4; i++)
        CHECK(rig.answers[i].verdict == (rig.answers[i].slot == 2 ? LOGIN_REFUSED : LOGIN_OK));
    expect(&rig, 1, "third@x", "pw", LOGIN_REFUSED, 0); // room again
    expect(&rig, 1, "me@me.com", "foobar", LOGIN_OK, me);
    rig_stop(&rig);
    CHECK(rig.counts.verdicts[LOGIN_BUSY] == 1);
    rig_fini(&rig);
}

static void test_throttle(void)
{
    struct rig rig;
    rig_start(&rig, config_default);
    rig_start_hashers(&rig);
    uint64_t me = add_user(&rig, "me@me.com", "foobar", true);
    uint64_t you = add_user(&rig, "you@me.com", "foobar", true);
    for (int i = 0; i < 10; i++) // success costs nothing
        expect(&rig, 1, "me@me.com", "foobar", LOGIN_OK, me);
    expect(&rig, 9, "me@me.com", "guess1", LOGIN_REFUSED, 0);
    expect(&rig, 9, "me@me.com", "guess2", LOGIN_REFUSED, 0);
    expect(&rig, 9, "me@me.com", "guess3", LOGIN_REFUSED, 0);
    expect(&rig, 9, "me@me.com", "guess4", LOGIN_THROTTLED, 0); // the address is
    expect(&rig, 9, "me@me.com", "foobar", LOGIN_THROTTLED, 0); // and learns nothing from what is remembered
    expect(&rig, 9, "you@me.com", "foobar", LOGIN_THROTTLED, 0);
    expect(&rig, 1, "me@me.com", "guess5", LOGIN_THROTTLED, 0); // the account is, from anywhere
    expect(&rig, 1, "me@me.com", "foobar", LOGIN_OK, me);       // but its owner is not locked out
    expect(&rig, 8, "me@me.com", "foobar", LOGIN_OK, me);
    expect(&rig, 1, "you@me.com", "foobar", LOGIN_OK, you);
    expect(&rig, 1, "me@me.com", "guess6", LOGIN_THROTTLED, 0);
    expect(&rig, 1, "me@me.com", "guess7", LOGIN_THROTTLED, 0);
    expect(&rig, 1, "you@me.com", "foobar", LOGIN_THROTTLED, 0); // guesses that were not hashed cost the address too
    rig_stop(&rig);
    CHECK(rig.counts.hashed == 5);
    rig_fini(&rig);

    // Side by side, before the first has failed: the account's bucket counts checks that begin.
    rig_start(&rig, config_default);
    add_user(&rig, "me@me.com", "foobar", true);
    for (uint32_t i = 0; i < 8; i++) {
        char guess[16];
        snprintf(guess, sizeof(guess), "guess%u", i);
        ask(&rig, i, (uint8_t)i, "me@me.com", guess);
    }
    wait_for(&rig, &rig.answer_count, 5);
    for (int i = 0; i < 5; i++)
        CHECK(rig.answers[i].verdict == LOGIN_THROTTLED && rig.answers[i].slot >= 3);
    rig_start_hashers(&rig);
    wait_for(&rig, &rig.answer_count, 8);
    rig_stop(&rig);
    CHECK(rig.counts.hashed == 3 && rig.counts.verdicts[LOGIN_REFUSED] == 3);
    rig_fini(&rig);
}

// Another process blocks, changes, deletes: remembered checks and sessions end, at the next login and without one.
static void test_changes(void)
{
    struct rig rig;
    char hash[PASSWORD_HASH_MAX];
    rig_start(&rig, config_default);
    rig_start_hashers(&rig);
    uint64_t me = add_user(&rig, "me@me.com", "foobar", true);
    uint64_t you = add_user(&rig, "you@me.com", "foobar", true);
    expect(&rig, 1, "me@me.com", "foobar", LOGIN_OK, me);
    expect(&rig, 1, "you@me.com", "foobar", LOGIN_OK, you);

    CHECK(store_user_set_blocked(rig.store, (int64_t)me, true) == STORE_OK);
    expect(&rig, 1, "me@me.com", "foobar", LOGIN_REFUSED, 0); // not a moment later
    wait_for(&rig, &rig.ended_count, 1);
    CHECK(rig.ended == me);
    expect(&rig, 2, "you@me.com", "foobar", LOGIN_OK, you); // others do not notice
    CHECK(store_user_set_blocked(rig.store, (int64_t)me, false) == STORE_OK);
    expect(&rig, 2, "me@me.com", "foobar", LOGIN_OK, me);

    CHECK(password_hash(bytes_text("newpass"), hash));
    CHECK(store_user_set_password(rig.store, (int64_t)you, hash) == STORE_OK);
    wait_for(&rig, &rig.ended_count, 2); // by the timer: nobody logs in
    CHECK(rig.ended == you);
    expect(&rig, 3, "you@me.com", "foobar", LOGIN_REFUSED, 0);
    expect(&rig, 3, "you@me.com", "newpass", LOGIN_OK, you);

    CHECK(store_user_delete(rig.store, (int64_t)you) == STORE_OK);
    int64_t heir; // SQLite uses row ids again; even the hash may be the same
    CHECK(store_user_add(rig.store, "heir@me.com", hash, true, &heir) == STORE_OK && heir == (int64_t)you);
    wait_for(&rig, &rig.ended_count, 3);
    CHECK(rig.ended == you);
    expect(&rig, 4, "you@me.com", "newpass", LOGIN_REFUSED, 0);
    expect(&rig, 4, "heir@me.com", "newpass", LOGIN_OK, you);
    rig_stop(&rig);
    CHECK(rig.counts.ended == 3);
    rig_fini(&rig);
}

// The block, or another password, comes while the right password is being hashed.
static void test_change_meanwhile(bool blocks)
{
    struct rig rig;
    rig_start(&rig, config_default);
    uint64_t me = add_user(&rig, "me@me.com", "foobar", true);
    ask(&rig, 1, 1, "me@me.com", "foobar");
    for (uint32_t i = 0; i < 3; i++) // their 429 says that the first is under way
        ask(&rig, 10 + i, 1, "me@me.com", i == 0 ? "a" : i == 1 ? "b" : "c");
    wait_for(&rig, &rig.answer_count, 1);
    CHECK(rig.answers[0].verdict == LOGIN_THROTTLED);
    enum store_result changed =
        blocks ? store_user_set_blocked(rig.store, (int64_t)me, true) : store_user_set_password(rig.store, (int64_t)me, password_dummy);
    CHECK(changed == STORE_OK);
    rig_start_hashers(&rig);
    wait_for(&rig, &rig.answer_count, 4);
    for (int i = 1; i < 4; i++)
        CHECK(rig.answers[i].verdict == LOGIN_REFUSED);
    rig_stop(&rig);
    rig_fini(&rig);
}

static void test_failing_database(void)
{
    struct rig rig;
    rig_start(&rig, config_default);
    rig_start_hashers(&rig);
    uint64_t me = add_user(&rig, "me@me.com", "foobar", true);
    testdir_sql(rig.dir.file, "ALTER TABLE user RENAME TO elsewhere");
    expect(&rig, 1, "me@me.com", "foobar", LOGIN_FAILED, 0);
    testdir_sql(rig.dir.file, "ALTER TABLE elsewhere RENAME TO user");
    for (int i = 0; i < 4; i++)
        expect(&rig, 1, "me@me.com", "foobar", LOGIN_OK, me); // and the failure was not held against anybody
    rig_stop(&rig);
    rig_fini(&rig);
}

static void test_usage(void)
{
    struct rig rig;
    rig_start(&rig, config_default);
    uint64_t me = add_user(&rig, "me@me.com", "", true);
    struct usage_record usages[3] = {{.account = me, .address = {.bytes = {[10] = 0xff, [11] = 0xff, 10, 0, 0, 1}}, .sent_bytes = 110},
                                     {.account = me, .address = {.bytes = {[10] = 0xff, [11] = 0xff, 10, 0, 0, 2}}, .recv_bytes = 45},
                                     {.address = {.bytes = {[10] = 0xff, [11] = 0xff, 10, 0, 0, 2}}, .recv_bytes = 41}};
    post_write(rig.post, NODE_SHARD, NODE_ACCOUNTS, RECORD_USAGE, bytes_of(usages, sizeof(usages)), bytes_of(NULL, 0));
    post_write(rig.post, NODE_SHARD, NODE_ACCOUNTS, RECORD_USAGE, bytes_of(usages, sizeof(usages[0])), bytes_of(NULL, 0));
    rig_stop(&rig); // stores what it has
    struct store_stats stats;
    CHECK(store_stats(rig.store, "2000-01-01", 0, &stats) == STORE_OK); // every day since
    CHECK(stats.user_count == 1 && stats.users[0].sent_bytes == 220 && stats.users[0].recv_bytes == 45);
    CHECK(stats.address_count == 2 && rig.counts.usage_stores == 1);
    CHECK(strcmp(stats.addresses[0].name, "10.0.0.1") == 0 && stats.addresses[0].sent_bytes == 220);
    CHECK(strcmp(stats.addresses[1].name, "10.0.0.2") == 0 && stats.addresses[1].recv_bytes == 86);
    rig_fini(&rig);
}

static void test_single_user(void)
{
    struct rig rig;
    struct accounts_config config = config_default;
    config.single_user = "Solo";
    config.single_password = "pW";
    rig_start(&rig, config);
    expect(&rig, 1, "solo", "pW", LOGIN_OK, 1);
    expect(&rig, 1, "SOLO", "pW", LOGIN_OK, 1);
    expect(&rig, 1, "solo", "pw", LOGIN_REFUSED, 0);
    expect(&rig, 2, "other", "pW", LOGIN_REFUSED, 0);
    expect(&rig, 1, "solo", "", LOGIN_REFUSED, 0);
    expect(&rig, 1, "solo", "x", LOGIN_REFUSED, 0);
    expect(&rig, 1, "solo", "pW", LOGIN_THROTTLED, 0); // this address
    expect(&rig, 3, "solo", "y", LOGIN_THROTTLED, 0);  // this user
    expect(&rig, 3, "solo", "pW", LOGIN_OK, 1);        // not locked out
    struct usage_record usage = {.account = 1, .sent_bytes = 1};
    post_write(rig.post, NODE_SHARD, NODE_ACCOUNTS, RECORD_USAGE, bytes_of(&usage, sizeof(usage)), bytes_of(NULL, 0));
    rig_stop(&rig);
    CHECK(rig.counts.hashed == 0);
    rig_fini(&rig);
}

static const char *const licence_header = "{\"alg\":\"RS256\"}";

static void sign(EVP_PKEY *rsa, const char *email, int issued, char token[LICENCE_TOKEN_MAX])
{
    char claims[128];
    snprintf(claims, sizeof(claims), "{\"email\":\"%s\",\"iat\":%d}", email, issued);
    licence_maker_sign(rsa, licence_header, claims, token, LICENCE_TOKEN_MAX);
}

// A licence makes its user, takes over a password account, and ends what was opened by the password; disabled ones and blocked users stay
// out.
static void test_licences(void)
{
    struct rig rig;
    struct accounts_config config = config_default;
    struct store_user user;
    char pem[2048], me[LICENCE_TOKEN_MAX], me_again[LICENCE_TOKEN_MAX], new_one[LICENCE_TOKEN_MAX], wrapped[LICENCE_WRAPPED_MAX];
    EVP_PKEY *rsa = EVP_RSA_gen(2048);
    CHECK(rsa != NULL);
    licence_maker_pem(rsa, pem, sizeof(pem));
    sign(rsa, "Me@Me.com", 1, me);
    sign(rsa, "me@me.com", 2, me_again);
    sign(rsa, "new@x", 1, new_one);
    licence_wrap(bytes_text(me), wrapped);
    config.licences = true;
    rig_start(&rig, config);
    rig.key = licence_key_create(pem);
    CHECK(rig.key != NULL);
    rig_start_hashers(&rig);
    uint64_t id = add_user(&rig, "me@me.com", "foobar", true);

    expect(&rig, 1, "me@me.com", "foobar", LOGIN_OK, id);
    expect(&rig, 1, "_LICENSE", me, LOGIN_OK, id);
    wait_for(&rig, &rig.ended_count, 1); // sessions by password
    CHECK(rig.ended == id);
    expect(&rig, 1, "me@me.com", "foobar", LOGIN_REFUSED, 0);
    expect(&rig, 1, "_license", me, LOGIN_OK, id); // remembered
    expect(&rig, 1, "_license", wrapped, LOGIN_OK, id);
    expect(&rig, 2, "_license", new_one, LOGIN_OK, id + 1);
    CHECK(store_user_find(rig.store, "new@x", &user) == STORE_OK && user.verified && user.password_hash[0] == '\0');
    me[10] ^= 1;
    expect(&rig, 3, "_license", me, LOGIN_REFUSED, 0);
    me[10] ^= 1;
    expect(&rig, 3, "_license", "garbage", LOGIN_REFUSED, 0);
    expect(&rig, 3, "_license", "", LOGIN_REFUSED, 0);
    expect(&rig, 3, "_license", me, LOGIN_THROTTLED, 0); // that address, and nobody else

    CHECK(store_licence_disable(rig.store, (int64_t)id) == STORE_OK);
    wait_for(&rig, &rig.ended_count, 2);
    CHECK(rig.ended == id);
    expect(&rig, 4, "_license", me, LOGIN_REFUSED, 0);
    expect(&rig, 4, "_license", me_again, LOGIN_OK, id); // bought anew
    CHECK(store_user_set_blocked(rig.store, (int64_t)id, true) == STORE_OK);
    expect(&rig, 4, "_license", me_again, LOGIN_REFUSED, 0);
    rig_stop(&rig);
    CHECK(rig.counts.remembered == 1);
    rig_fini(&rig);
    licence_key_destroy(rig.key);
    EVP_PKEY_free(rsa);
}

static void test_create_failures(void)
{
    char error[512] = "";
    struct post *post = post_create(NODE_COUNT, &post_limits_default);
    CHECK(post != NULL);
    struct accounts_config config = config_default;
    CHECK(accounts_create(post, &config, error, sizeof(error)) == NULL && error[0] != '\0');
    config.single_user = "with:colon";
    config.single_password = "x";
    CHECK(accounts_create(post, &config, error, sizeof(error)) == NULL && strstr(error, "colon") != NULL);
    config.database = "/nowhere/at/all.sqlite";
    CHECK(accounts_create(post, &config, error, sizeof(error)) == NULL);
    CHECK(strstr(error, "/nowhere/at/all.sqlite") != NULL && strstr(error, "No such file or directory") != NULL);
    accounts_destroy(NULL);
    hasher_destroy(NULL);
    post_destroy(post);
}

int main(void)
{
    auth_init();
    log_open(LOG_ERROR);
    test_verdicts();
    test_joined();
    test_busy();
    test_throttle();
    test_changes();
    test_change_meanwhile(true);
    test_change_meanwhile(false);
    test_failing_database();
    test_usage();
    test_single_user();
    test_licences();
    test_create_failures();
    return 0;
}
