// Registration on the accounts node: the test is shard 0, the hashing node and the mail node, so it decides when a hash or a letter is
// done. Waiting is for records, with a deadline. What passes over HTTP is in tests/e2e/signup_test.py.
#include "net/signup.h"

#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <unistd.h>

#include "auth/auth.h"
#include "net/hashing.h"
#include "net/mail.h"
#include "shards/log.h"
#include "store/testdir.h"

enum { NODE_SHARD, NODE_ACCOUNTS, NODE_HASHER, NODE_MAIL, NODE_COUNT };
#define RECORDS_MAX 2048
#define DEADLINE_MS 20000
#define PASSWORD "12345678"

struct rig {
    struct testdir dir;
    struct store *store; // of the "other process"
    struct post *post;
    struct accounts *accounts;
    pthread_t thread;
    size_t answer_count, hash_count, letter_count, ended_count;
    struct signup_answer answers[RECORDS_MAX];
    uint64_t hashes[RECORDS_MAX];
    struct mail_letter letters[RECORDS_MAX];
};

static void *run(void *accounts)
{
    accounts_run(accounts);
    return NULL;
}

static void rig_start(struct rig *rig, uint32_t hash_queue_max)
{
    char error[512] = "";
    *rig = (struct rig){0};
    testdir_init(&rig->dir);
    rig->store = store_open(rig->dir.file, error, sizeof(error));
    rig->post = post_create(NODE_COUNT, &post_limits_default);
    CHECK(rig->store != NULL && rig->post != NULL);
    const struct accounts_config config = {.database = rig->dir.file,
                                           .node = NODE_ACCOUNTS,
                                           .shard_count = 1,
                                           .hash_node_first = NODE_HASHER,
                                           .hash_node_count = 1,
                                           .mail_node = NODE_MAIL,
                                           .hash_queue_max = hash_queue_max,
                                           .remember_s = 600,
                                           .failures_burst = 10,
                                           .failures_refill_s = 60,
                                           .store_interval_s = 3600};
    rig->accounts = accounts_create(rig->post, &config, error, sizeof(error));
    CHECK(rig->accounts != NULL && pthread_create(&rig->thread, NULL, run, rig->accounts) == 0);
}

static void tell(struct rig *rig, uint16_t from, uint16_t kind, const void *body, size_t len)
{
    post_write(rig->post, from, NODE_ACCOUNTS, kind, bytes_of(body, len), bytes_of(NULL, 0));
    post_flush(rig->post, from);
}

static void rig_stop(struct rig *rig)
{
    tell(rig, NODE_SHARD, RECORD_STOP, NULL, 0);
    tell(rig, NODE_SHARD, RECORD_STOPPED, NULL, 0);
    CHECK(pthread_join(rig->thread, NULL) == 0);
    accounts_destroy(rig->accounts);
    post_destroy(rig->post);
    store_close(rig->store);
    testdir_fini(&rig->dir);
}

static void on_record(void *owner, const struct post_record *record)
{
    struct rig *rig = owner;
    if (record->kind == RECORD_SIGNUP_ANSWER) {
        CHECK(rig->answer_count < RECORDS_MAX);
        memcpy(&rig->answers[rig->answer_count++], record->body.ptr, sizeof(struct signup_answer));
    } else if (record->kind == RECORD_HASH_NEW) {
        CHECK(record->body.len > sizeof(uint64_t) && rig->hash_count < RECORDS_MAX);
        memcpy(&rig->hashes[rig->hash_count++], record->body.ptr, sizeof(uint64_t));
    } else if (record->kind == RECORD_LETTER) {
        CHECK(record->body.len == sizeof(struct mail_letter) && rig->letter_count < RECORDS_MAX);
        memcpy(&rig->letters[rig->letter_count++], record->body.ptr, sizeof(struct mail_letter));
    } else {
        CHECK(record->kind == RECORD_ACCOUNT_ENDED);
        rig->ended_count++;
    }
}

// Until `counter` (of what `node` gets) has reached `wanted`.
static void wait_for(struct rig *rig, uint16_t node, const size_t *counter, size_t wanted)
{
    struct pollfd wake = {.fd = post_wake_fd(rig->post, node), .events = POLLIN};
    while (*counter < wanted) {
        if (post_drain(rig->post, node, 1000, on_record, rig) > 0)
            continue;
        post_flush(rig->post, node);
        if (post_sleep(rig->post, node)) {
            CHECK(poll(&wake, 1, DEADLINE_MS) == 1);
            uint64_t signals;
            CHECK(read(wake.fd, &signals, sizeof(signals)) == sizeof(signals));
        }
        post_awake(rig->post, node);
    }
    CHECK(*counter == wanted);
}

static void ask(struct rig *rig, enum signup_command command, uint32_t address, const char *email, const char *token, const char *password)
{
    struct signup_request request = {.slot = 1, .generation = 7, .command = (uint8_t)command};
    memcpy(request.address.bytes + 12, &address, sizeof(address));
    request.address.bytes[10] = request.address.bytes[11] = 0xff;
    snprintf(request.email, sizeof(request.email), "%s", email);
    snprintf(request.token, sizeof(request.token), "%s", token);
    snprintf(request.password, sizeof(request.password), "%s", password);
    tell(rig, NODE_SHARD, RECORD_SIGNUP, &request, sizeof(request));
}

static void expect(struct rig *rig, enum signup_outcome outcome)
{
    wait_for(rig, NODE_SHARD, &rig->answer_count, rig->answer_count + 1);
    const struct signup_answer *answer = &rig->answers[rig->answer_count - 1];
    if (answer->outcome != outcome)
        fprintf(stderr, "outcome %u, not %u\n", answer->outcome, (unsigned)outcome);
    CHECK(answer->outcome == outcome && answer->slot == 1 && answer->generation == 7);
    CHECK((answer->retry_after_s > 0) == (outcome == SIGNUP_THROTTLED || outcome == SIGNUP_BUSY));
}

static void hashed(struct rig *rig, uint64_t id, const char *hash)
{
    struct hash_new_answer answer = {.id = id};
    snprintf(answer.hash, sizeof(answer.hash), "%s", hash);
    tell(rig, NODE_HASHER, RECORD_HASH_NEW_ANSWER, &answer, sizeof(answer));
}

static void mailed(struct rig *rig, uint64_t id, bool sent)
{
    const struct mail_answer answer = {.id = id, .sent = sent};
    tell(rig, NODE_MAIL, RECORD_LETTER_ANSWER, &answer, sizeof(answer));
}

// Two registers of one address pass the look at the database together; the second finds the first's account.
static void test_twice_at_once(void)
{
    struct rig rig;
    rig_start(&rig, 100);
    ask(&rig, SIGNUP_REGISTER, 1, "Me@me.com", "", PASSWORD);
    ask(&rig, SIGNUP_REGISTER, 2, "me@ME.com", "", PASSWORD);
    wait_for(&rig, NODE_HASHER, &rig.hash_count, 2);
    hashed(&rig, rig.hashes[1], "second");
    wait_for(&rig, NODE_MAIL, &rig.letter_count, 1);
    hashed(&rig, rig.hashes[0], "first");
    expect(&rig, SIGNUP_EXISTS);
    CHECK(strcmp(rig.letters[0].to, "me@me.com") == 0 && rig.letters[0].subject == MAIL_VERIFY);
    mailed(&rig, rig.letters[0].id, true);
    expect(&rig, SIGNUP_TRUE);
    struct store_user user;
    CHECK(store_user_find(rig.store, "me@me.com", &user) == STORE_OK && strcmp(user.password_hash, "second") == 0 && !user.verified);
    rig_stop(&rig);
}

// Of two changes with one code the first that is hashed wins; the sessions end before it is answered.
static void test_code_spent_meanwhile(void)
{
    struct rig rig;
    int64_t me;
    rig_start(&rig, 100);
    CHECK(store_user_add(rig.store, "me@me.com", "old", false, &me) == STORE_OK);
    ask(&rig, SIGNUP_RESET_PASSWORD, 1, "me@me.com", "", "");
    wait_for(&rig, NODE_MAIL, &rig.letter_count, 1);
    CHECK(rig.letters[0].subject == MAIL_RESET);
    mailed(&rig, rig.letters[0].id, true);
    expect(&rig, SIGNUP_DONE);
    for (int i = 0; i < 2; i++)
        ask(&rig, SIGNUP_UPDATE_PASSWORD, 1, "", rig.letters[0].token, PASSWORD);
    wait_for(&rig, NODE_HASHER, &rig.hash_count, 2);
    hashed(&rig, rig.hashes[0], "new");
    wait_for(&rig, NODE_SHARD, &rig.ended_count, 1);
    if (rig.answer_count == 1)
        expect(&rig, SIGNUP_DONE);
    hashed(&rig, rig.hashes[1], "newer");
    expect(&rig, SIGNUP_NOT_FOUND);
    struct store_user user;
    CHECK(store_user_get(rig.store, me, &user) == STORE_OK && strcmp(user.password_hash, "new") == 0 && user.verified);
    rig_stop(&rig);
}

// A quarter of a hashing queue is for those who register; beyond it they are told to come again.
static void test_busy(void)
{
    struct rig rig;
    char email[32];
    rig_start(&rig, 16);
    for (uint32_t i = 0; i < 5; i++) {
        snprintf(email, sizeof(email), "me%u@me.com", i);
        ask(&rig, SIGNUP_REGISTER, i, email, "", PASSWORD);
    }
    wait_for(&rig, NODE_HASHER, &rig.hash_count, 5);
    ask(&rig, SIGNUP_REGISTER, 99, "late@me.com", "", PASSWORD);
    expect(&rig, SIGNUP_BUSY);
    hashed(&rig, rig.hashes[0], ""); // a hashing node short of memory
    wait_for(&rig, NODE_SHARD, &rig.answer_count, 2);
    CHECK(rig.answers[1].outcome == SIGNUP_BUSY);
    ask(&rig, SIGNUP_REGISTER, 98, "later@me.com", "", PASSWORD);
    wait_for(&rig, NODE_HASHER, &rig.hash_count, 6);
    rig_stop(&rig);
}

// The mail node answers nothing: what waits is bounded, and room that is freed is used again.
static void test_waiting_is_bounded(void)
{
    struct rig rig;
    char email[32];
    rig_start(&rig, 100);
    testdir_sql(rig.dir.file, "WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 1024) "
                              "INSERT INTO user (email, pwhash) SELECT 'u' || i || '@me.com', 'x' FROM n");
    for (uint32_t i = 0; i < 1025; i++) {
        snprintf(email, sizeof(email), "u%u@me.com", i);
        ask(&rig, SIGNUP_SEND_VERIFY, i, email, "", "");
    }
    expect(&rig, SIGNUP_BUSY);
    wait_for(&rig, NODE_MAIL, &rig.letter_count, 1024);
    mailed(&rig, rig.letters[500].id, false);
    expect(&rig, SIGNUP_MAIL_FAILED);
    ask(&rig, SIGNUP_SEND_VERIFY, 5000, "u1024@me.com", "", "");
    wait_for(&rig, NODE_MAIL, &rig.letter_count, 1025);
    CHECK(rig.letters[1024].id != rig.letters[500].id); // the same place, another generation
    rig_stop(&rig);
}

static void test_failing_database(void)
{
    struct rig rig;
    rig_start(&rig, 100);
    testdir_sql(rig.dir.file, "ALTER TABLE emailtoken RENAME TO elsewhere");
    ask(&rig, SIGNUP_REGISTER, 1, "me@me.com", "", PASSWORD);
    wait_for(&rig, NODE_HASHER, &rig.hash_count, 1);
    hashed(&rig, rig.hashes[0], "hash");
    expect(&rig, SIGNUP_UNEXPECTED);
    testdir_sql(rig.dir.file, "ALTER TABLE elsewhere RENAME TO emailtoken; ALTER TABLE user RENAME TO elsewhere");
    ask(&rig, SIGNUP_SEND_VERIFY, 1, "me@me.com", "", "");
    expect(&rig, SIGNUP_UNEXPECTED);
    testdir_sql(rig.dir.file, "ALTER TABLE elsewhere RENAME TO user");
    ask(&rig, SIGNUP_SEND_VERIFY, 1, "me@me.com", "", "");
    wait_for(&rig, NODE_MAIL, &rig.letter_count, 1);
    ask(&rig, SIGNUP_VERIFY, 1, "me@me.com", rig.letters[0].token, "");
    expect(&rig, SIGNUP_TRUE);
    rig_stop(&rig);
}

int main(void)
{
    auth_init();
    log_open(LOG_ERROR);
    test_twice_at_once();
    test_code_spent_meanwhile();
    test_busy();
    test_waiting_is_bounded();
    test_failing_database();
    return 0;
}
