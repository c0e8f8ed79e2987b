// Registration on the accounts node: see signup.h. The way of a request: its form, its limits, the database, then a hashing node or the
// mail node, the database again. Thread: the accounts node.
//
// Limits. Buckets count what a stranger could do harm with: accounts made and letters caused by an address, letters to a mailbox, wrong
// codes from an address and for an account. Asking about an account that is not there counts as a wrong code, so that nobody can find
// out at speed who has one; that it can be found out at all is the protocol's ("Not found", "Account already exists").
#include "net/signup.h"

#include <stdlib.h>

#include "auth/email.h"
#include "net/accounts_internal.h"
#include "net/hashing.h"
#include "net/mail.h"
#include "shards/base/check.h"
#include "shards/log.h"
#include "shards/os.h"

#define OPS_MAX 1024u      // requests that wait for a hash or a letter; more are answered SIGNUP_BUSY
#define BUCKETS_MAX 16384u // per kind; the oldest is forgotten
#define NONE UINT32_MAX

// X(name, burst, seconds until one comes back)
#define LIMIT_TABLE(X)                                                                                                                     \
    X(ACCOUNTS_BY_ADDRESS, 10, 60)                                                                                                         \
    X(LETTERS_BY_ADDRESS, 20, 60)                                                                                                          \
    X(LETTERS_TO_MAILBOX, 4, 300)                                                                                                          \
    X(WRONG_BY_ADDRESS, 10, 10)                                                                                                            \
    X(WRONG_AT_ACCOUNT, 10, 30)

enum limit {
#define X(name, burst, refill_s) LIMIT_##name,
    LIMIT_TABLE(X)
#undef X
        LIMIT_COUNT
};

static const struct {
    uint32_t burst, refill_s;
} limits[LIMIT_COUNT] = {
#define X(name, burst, refill_s) {burst, refill_s},
    LIMIT_TABLE(X)
#undef X
};

// A request that waits for a hash, then a letter.
struct op {
    uint32_t generation, next_free;
    bool is_used;
    uint8_t command;
    struct waiter waiter;
    char email[STORE_EMAIL_MAX + 1];
    char token[STORE_TOKEN_BYTES];
};

struct signups {
    struct throttle *throttles[LIMIT_COUNT];
    struct op ops[OPS_MAX];
    uint32_t first_free;
    struct signup_counts counts;
};

// A request as it is worked on.
struct signup {
    const struct signup_request *request;
    struct waiter waiter; // its address too
    struct fingerprint account;
    char email[STORE_EMAIL_MAX + 1]; // lower case
    uint64_t now_ns;
    int64_t wall_s;
};

struct signups *signups_create(void)
{
    struct signups *signups = calloc(1, sizeof(*signups));
    if (signups == NULL)
        return NULL;
    for (uint32_t i = 0; i < OPS_MAX; i++)
        signups->ops[i] = (struct op){.generation = 1, .next_free = i + 1 < OPS_MAX ? i + 1 : NONE};
    for (int i = 0; i < LIMIT_COUNT; i++) {
        signups->throttles[i] = throttle_create(BUCKETS_MAX, limits[i].burst, limits[i].refill_s);
        if (signups->throttles[i] == NULL) {
            signups_destroy(signups);
            return NULL;
        }
    }
    return signups;
}

void signups_destroy(struct signups *signups)
{
    if (signups == NULL)
        return;
    for (int i = 0; i < LIMIT_COUNT; i++)
        throttle_destroy(signups->throttles[i]);
    free(signups);
}

void signups_counts(const struct signups *signups, struct signup_counts *ret_counts)
{
    *ret_counts = signups->counts;
    for (int i = 0; i < LIMIT_COUNT; i++)
        ret_counts->displaced += throttle_displaced(signups->throttles[i]);
}

// ---- answers and limits ----

static void answer_late(struct accounts *accounts, const struct waiter *waiter, enum signup_outcome outcome, uint32_t retry_after_s)
{
    CHECK(outcome < SIGNUP_OUTCOME_COUNT);
    const struct signup_answer record = {
        .slot = waiter->slot, .generation = waiter->generation, .outcome = outcome, .retry_after_s = retry_after_s};
    accounts->signups->counts.outcomes[outcome]++;
    LOG(DEBUG, "SIGNUP", "shard=%u outcome=%d", waiter->shard, outcome);
    post_write(accounts->post, accounts->config.node, waiter->shard, RECORD_SIGNUP_ANSWER, bytes_of(&record, sizeof(record)),
               bytes_of(NULL, 0));
}

static void answer(struct accounts *accounts, const struct signup *signup, enum signup_outcome outcome)
{
    answer_late(accounts, &signup->waiter, outcome, 0);
}

static const struct fingerprint *who(const struct signup *signup, enum limit limit)
{
    bool is_account = limit == LIMIT_LETTERS_TO_MAILBOX || limit == LIMIT_WRONG_AT_ACCOUNT;
    return is_account ? &signup->account : &signup->waiter.address;
}

// Whether the limit lets the request pass; false: it was answered.
static bool may(struct accounts *accounts, const struct signup *signup, enum limit limit)
{
    uint32_t retry_after_s;
    if (throttle_may(accounts->signups->throttles[limit], who(signup, limit), signup->now_ns, &retry_after_s))
        return true;
    answer_late(accounts, &signup->waiter, SIGNUP_THROTTLED, retry_after_s);
    return false;
}

static void take(struct accounts *accounts, const struct signup *signup, enum limit limit)
{
    throttle_take(accounts->signups->throttles[limit], who(signup, limit), signup->now_ns);
}

static void answer_wrong(struct accounts *accounts, const struct signup *signup, enum signup_outcome outcome)
{
    take(accounts, signup, LIMIT_WRONG_BY_ADDRESS);
    answer(accounts, signup, outcome);
}

static void answer_failed(struct accounts *accounts, const struct waiter *waiter, enum store_use use)
{
    accounts_note_store(accounts, use, STORE_FAILED);
    answer_late(accounts, waiter, SIGNUP_UNEXPECTED, 0);
}

// ---- what waits ----

static struct op *take_op(struct signups *signups, const struct signup *signup)
{
    if (signups->first_free == NONE)
        return NULL;
    struct op *op = &signups->ops[signups->first_free];
    CHECK(!op->is_used);
    signups->first_free = op->next_free;
    op->is_used = true;
    op->command = signup->request->command;
    op->waiter = signup->waiter;
    memcpy(op->email, signup->email, sizeof(op->email));
    memcpy(op->token, signup->request->token, sizeof(op->token));
    op->token[sizeof(op->token) - 1] = '\0';
    return op;
}

static uint64_t op_id(const struct signups *signups, const struct op *op)
{
    return (uint64_t)op->generation << 32 | (uint64_t)(op - signups->ops);
}

static struct op *find_op(struct signups *signups, uint64_t id)
{
    CHECK((uint32_t)id < OPS_MAX);
    struct op *op = &signups->ops[(uint32_t)id];
    CHECK(op->is_used && op->generation == id >> 32); // every job is answered once
    return op;
}

static void end_op(struct accounts *accounts, struct op *op, enum signup_outcome outcome)
{
    struct signups *signups = accounts->signups;
    answer_late(accounts, &op->waiter, outcome, 0);
    op->is_used = false;
    op->generation++;
    op->next_free = signups->first_free;
    signups->first_free = (uint32_t)(op - signups->ops);
}

// The password goes to a hashing node, behind a quarter of a full queue at most: those who log in come first.
static void hash(struct accounts *accounts, const struct signup *signup)
{
    uint32_t retry_after_s = 0;
    int queue = accounts_shortest_queue(accounts, &retry_after_s);
    struct op *op = NULL;
    if (queue >= 0 && accounts->hash_queued[queue] <= accounts->config.hash_queue_max / 4)
        op = take_op(accounts->signups, signup);
    if (op == NULL) {
        answer_late(accounts, &signup->waiter, SIGNUP_BUSY, retry_after_s);
        return;
    }
    const struct hash_new_request request = {.id = op_id(accounts->signups, op)};
    accounts->hash_queued[queue]++;
    post_write(accounts->post, accounts->config.node, (uint16_t)(accounts->config.hash_node_first + queue), RECORD_HASH_NEW,
               bytes_of(&request, sizeof(request)), bytes_text(signup->request->password));
}

// Makes a code for the user and gives it to the mail node.
static void mail_code(struct accounts *accounts, struct op *op, int64_t user)
{
    struct mail_letter letter = {.id = op_id(accounts->signups, op)};
    letter.subject = op->command == SIGNUP_RESET_PASSWORD ? MAIL_RESET : MAIL_VERIFY;
    memcpy(letter.to, op->email, sizeof(letter.to));
    enum store_result result = letter.subject == MAIL_RESET ? store_token_add_reset(accounts->store, user, os_wall_s(), letter.token)
                                                            : store_token_add_verify(accounts->store, user, os_wall_s(), letter.token);
    accounts_note_store(accounts, STORE_WRITING, result);
    if (result != STORE_OK) {
        end_op(accounts, op, SIGNUP_UNEXPECTED);
        return;
    }
    accounts->signups->counts.mailed++;
    post_write(accounts->post, accounts->config.node, accounts->config.mail_node, RECORD_LETTER, bytes_of(&letter, sizeof(letter)),
               bytes_of(NULL, 0));
}

// ---- the commands ----

// Reads the user that a request is about; false: it was answered.
static bool find_user(struct accounts *accounts, const struct signup *signup, struct store_user *ret_user)
{
    enum store_result found = store_user_find(accounts->store, signup->email, ret_user);
    if (found == STORE_FAILED)
        answer_failed(accounts, &signup->waiter, STORE_READING);
    else if (found == STORE_NOT_FOUND)
        answer_wrong(accounts, signup, SIGNUP_NOT_FOUND);
    return found == STORE_OK;
}

static bool sound_password(struct accounts *accounts, const struct signup *signup)
{
    size_t chars = 0; // of UTF-8, by their first bytes
    for (const char *at = signup->request->password; *at != '\0'; at++)
        chars += ((uint8_t)*at & 0xc0u) != 0x80u;
    if (signup->request->password_cut)
        answer(accounts, signup, SIGNUP_LONG_PASSWORD);
    else if (chars < SIGNUP_PASSWORD_CHARS_MIN)
        answer(accounts, signup, SIGNUP_SHORT_PASSWORD);
    return !signup->request->password_cut && chars >= SIGNUP_PASSWORD_CHARS_MIN;
}

static void on_register(struct accounts *accounts, const struct signup *signup)
{
    if (signup->request->email_cut || !email_is_sound(bytes_text(signup->email))) {
        answer(accounts, signup, SIGNUP_BAD_EMAIL);
        return;
    }
    if (!sound_password(accounts, signup) || !may(accounts, signup, LIMIT_ACCOUNTS_BY_ADDRESS) ||
        !may(accounts, signup, LIMIT_LETTERS_BY_ADDRESS) || !may(accounts, signup, LIMIT_LETTERS_TO_MAILBOX))
        return;
    struct store_user user;
    enum store_result found = store_user_find(accounts->store, signup->email, &user);
    take(accounts, signup, LIMIT_ACCOUNTS_BY_ADDRESS);
    if (found == STORE_FAILED) {
        answer_failed(accounts, &signup->waiter, STORE_READING);
    } else if (found == STORE_OK) {
        answer(accounts, signup, SIGNUP_EXISTS);
    } else {
        take(accounts, signup, LIMIT_LETTERS_BY_ADDRESS);
        take(accounts, signup, LIMIT_LETTERS_TO_MAILBOX);
        hash(accounts, signup);
    }
}

// sendVerify, resetPassword
static void on_send(struct accounts *accounts, const struct signup *signup)
{
    struct store_user user;
    if (!may(accounts, signup, LIMIT_WRONG_BY_ADDRESS) || !may(accounts, signup, LIMIT_LETTERS_BY_ADDRESS) ||
        !may(accounts, signup, LIMIT_LETTERS_TO_MAILBOX) || !find_user(accounts, signup, &user))
        return;
    struct op *op = take_op(accounts->signups, signup);
    if (op == NULL) {
        answer_late(accounts, &signup->waiter, SIGNUP_BUSY, 1);
        return;
    }
    take(accounts, signup, LIMIT_LETTERS_BY_ADDRESS);
    take(accounts, signup, LIMIT_LETTERS_TO_MAILBOX);
    mail_code(accounts, op, user.id);
}

static void on_verify(struct accounts *accounts, const struct signup *signup)
{
    struct store_user user;
    if (!may(accounts, signup, LIMIT_WRONG_BY_ADDRESS) || !may(accounts, signup, LIMIT_WRONG_AT_ACCOUNT) ||
        !find_user(accounts, signup, &user))
        return;
    enum store_result result = STORE_OK; // whoever is verified may send any code, as the original has it
    if (!user.verified)
        result = store_token_use_verify(accounts->store, user.id, signup->request->token, signup->wall_s);
    if (result == STORE_FAILED) {
        answer_failed(accounts, &signup->waiter, STORE_WRITING);
    } else if (result == STORE_OK) {
        answer(accounts, signup, SIGNUP_TRUE);
    } else {
        take(accounts, signup, LIMIT_WRONG_AT_ACCOUNT);
        answer_wrong(accounts, signup, SIGNUP_FALSE);
    }
}

static void on_update_password(struct accounts *accounts, const struct signup *signup)
{
    int64_t user;
    if (!may(accounts, signup, LIMIT_WRONG_BY_ADDRESS))
        return;
    enum store_result result = store_token_find_reset(accounts->store, signup->request->token, signup->wall_s, &user);
    if (result == STORE_FAILED)
        answer_failed(accounts, &signup->waiter, STORE_READING);
    else if (result != STORE_OK)
        answer_wrong(accounts, signup, SIGNUP_NOT_FOUND);
    else if (sound_password(accounts, signup)) // the code is not spent yet
        hash(accounts, signup);
}

void signup_on_request(struct accounts *accounts, const struct post_record *record)
{
    CHECK(record->from < accounts->config.shard_count && record->body.len == sizeof(struct signup_request));
    CHECK(accounts->signups != NULL); // no route leads here in single-user mode
    const struct signup_request *request = (const struct signup_request *)(const void *)record->body.ptr;
    struct signup signup = {.request = request, .now_ns = node_now_ns(accounts->node), .wall_s = os_wall_s()};
    signup.waiter = (struct waiter){.slot = request->slot, .generation = request->generation, .shard = record->from};
    fingerprint_address(&accounts->secret, request->address.bytes, &signup.waiter.address);
    for (size_t i = 0; request->email[i] != '\0'; i++)
        signup.email[i] = (char)(request->email[i] >= 'A' && request->email[i] <= 'Z' ? request->email[i] + 32 : request->email[i]);
    fingerprint_make(&accounts->secret, FINGERPRINT_USER, bytes_text(signup.email), bytes_of(NULL, 0), &signup.account);
    switch ((enum signup_command)request->command) {
    case SIGNUP_REGISTER:
        on_register(accounts, &signup);
        return;
    case SIGNUP_SEND_VERIFY:
    case SIGNUP_RESET_PASSWORD:
        on_send(accounts, &signup);
        return;
    case SIGNUP_VERIFY:
        on_verify(accounts, &signup);
        return;
    case SIGNUP_UPDATE_PASSWORD:
        on_update_password(accounts, &signup);
        return;
    case SIGNUP_COMMAND_COUNT:
        break;
    }
    UNREACHABLE();
}

// ---- the answers of other nodes ----

static void register_hashed(struct accounts *accounts, struct op *op, const char *password_hash)
{
    int64_t user;
    enum store_result result = store_user_add(accounts->store, op->email, password_hash, /* verified= */ false, &user);
    accounts_note_store(accounts, STORE_WRITING, result);
    if (result == STORE_OK)
        mail_code(accounts, op, user);
    else
        end_op(accounts, op, result == STORE_EXISTS ? SIGNUP_EXISTS : SIGNUP_UNEXPECTED);
}

static void update_hashed(struct accounts *accounts, struct op *op, const char *password_hash)
{
    int64_t user;
    enum store_result result = store_token_use_reset(accounts->store, op->token, password_hash, os_wall_s(), &user);
    accounts_note_store(accounts, STORE_WRITING, result);
    if (result == STORE_OK)
        watch_end(accounts, (uint64_t)user); // before the answer: whoever has it finds the old sessions ended
    end_op(accounts, op, result == STORE_OK ? SIGNUP_DONE : result == STORE_NOT_FOUND ? SIGNUP_NOT_FOUND : SIGNUP_UNEXPECTED);
}

void signup_on_hash_answer(struct accounts *accounts, const struct post_record *record)
{
    CHECK(record->body.len == sizeof(struct hash_new_answer) && record->from >= accounts->config.hash_node_first);
    const struct hash_new_answer *hashed = (const struct hash_new_answer *)(const void *)record->body.ptr;
    uint16_t queue = (uint16_t)(record->from - accounts->config.hash_node_first);
    CHECK(queue < accounts->config.hash_node_count && accounts->hash_queued[queue] > 0);
    accounts->hash_queued[queue]--;
    struct op *op = find_op(accounts->signups, hashed->id);
    if (hashed->hash[0] == '\0')
        end_op(accounts, op, SIGNUP_BUSY);
    else if (op->command == SIGNUP_REGISTER)
        register_hashed(accounts, op, hashed->hash);
    else
        update_hashed(accounts, op, hashed->hash);
}

void signup_on_mail_answer(struct accounts *accounts, const struct post_record *record)
{
    CHECK(record->from == accounts->config.mail_node && record->body.len == sizeof(struct mail_answer));
    const struct mail_answer *mailed = (const struct mail_answer *)(const void *)record->body.ptr;
    struct op *op = find_op(accounts->signups, mailed->id);
    enum signup_outcome sent = op->command == SIGNUP_RESET_PASSWORD ? SIGNUP_DONE : SIGNUP_TRUE;
    end_op(accounts, op, mailed->sent != 0 ? sent : SIGNUP_MAIL_FAILED);
}
