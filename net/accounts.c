// The accounts node: its records, usage, stopping. Thread: its own; accounts_create and accounts_destroy before and after it.
#include "net/accounts.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include "auth/auth.h"
#include "net/accounts_internal.h"
#include "net/report.h"
#include "shards/base/check.h"
#include "shards/log.h"
#include "shards/os.h"

#define NS_PER_S 1000000000ull

void accounts_note_store(struct accounts *accounts, enum store_use use, enum store_result result)
{
    bool is_failing = result == STORE_FAILED;
    if (is_failing == accounts->is_store_failing[use])
        return;
    accounts->is_store_failing[use] = is_failing;
    const char *name = use == STORE_READING ? "read" : "write";
    struct log_value buffer;
    if (is_failing)
        LOG(ERROR, "DATABASE_FAILED", "use=%s reason=%s", name, log_value(store_error(accounts->store), &buffer));
    else
        LOG(INFO, "DATABASE_RECOVERED", "use=%s usage_shed=%llu", name, (unsigned long long)usage_shed(accounts->usage));
}

static void store_usage(struct accounts *accounts)
{
    if (usage_rows(accounts->usage) == 0)
        return;
    enum store_result result = usage_store(accounts->usage, accounts->store);
    accounts_note_store(accounts, STORE_WRITING, result);
    accounts->counts.usage_stores += result == STORE_OK;
    accounts->counts.usage_shed = usage_shed(accounts->usage);
}

// Once a day, and at the start. A day whose cleaning failed is tried again with the next usage.
static void clean_usage(struct accounts *accounts)
{
    char today[STORE_DAY_BYTES];
    store_day(os_wall_s(), today);
    if (accounts->config.keep_days == 0 || strcmp(today, accounts->cleaned_day) == 0)
        return;
    enum store_result result = store_usage_clean(accounts->store, today, accounts->config.keep_days);
    accounts_note_store(accounts, STORE_WRITING, result);
    if (result == STORE_OK)
        memcpy(accounts->cleaned_day, today, sizeof(today));
}

static void usage_on_time(struct timer *timer, uint64_t now_ns)
{
    struct accounts *accounts = (struct accounts *)(void *)((char *)timer - offsetof(struct accounts, usage_timer));
    store_usage(accounts);
    clean_usage(accounts);
    timer_set(node_timers(accounts->node), &accounts->usage_timer, now_ns + accounts->config.store_interval_s * NS_PER_S);
}

static void on_usage(struct accounts *accounts, const struct post_record *record)
{
    CHECK(record->body.len % sizeof(struct usage_record) == 0);
    if (accounts->store == NULL)
        return; // the original counts nothing for a single user
    const struct usage_record *usages = (const struct usage_record *)(const void *)record->body.ptr;
    int64_t wall_s = os_wall_s();
    bool was_crowded = usage_is_crowded(accounts->usage);
    for (size_t i = 0; i < record->body.len / sizeof(*usages); i++)
        usage_add(accounts->usage, &usages[i], wall_s);
    // Once on the way up, so that a failing database is not tried for each record.
    if (!was_crowded && usage_is_crowded(accounts->usage))
        store_usage(accounts);
}

static void on_report_ask(struct accounts *accounts, const struct post_record *record)
{
    struct report_ask ask;
    struct accounts_counts counts;
    CHECK(record->body.len == sizeof(ask));
    memcpy(&ask, record->body.ptr, sizeof(ask));
    const struct report_head head = {.ticket = ask.ticket};
    accounts_counts(accounts, &counts);
    post_write(accounts->post, accounts->config.node, record->from, RECORD_REPORT, bytes_of(&head, sizeof(head)),
               bytes_of(&counts, sizeof(counts)));
}

static void on_record(void *owner, const struct post_record *record)
{
    struct accounts *accounts = owner;
    switch (record->kind) {
    case RECORD_LOGIN:
        accounts_on_login(accounts, record);
        break;
    case RECORD_HASH_ANSWER:
        accounts_on_hash_answer(accounts, record);
        break;
    case RECORD_LICENCE_ANSWER:
        accounts_on_licence_answer(accounts, record);
        break;
    case RECORD_SIGNUP:
        signup_on_request(accounts, record);
        break;
    case RECORD_HASH_NEW_ANSWER:
        signup_on_hash_answer(accounts, record);
        break;
    case RECORD_LETTER_ANSWER:
        signup_on_mail_answer(accounts, record);
        break;
    case RECORD_USAGE:
        on_usage(accounts, record);
        break;
    case RECORD_REPORT_ASK:
        on_report_ask(accounts, record);
        break;
    case RECORD_STOP:
        accounts->is_stopping = true;
        break;
    case RECORD_STOPPED:
        accounts->shards_stopped++;
        CHECK(accounts->shards_stopped <= accounts->config.shard_count);
        break;
    default:
        UNREACHABLE();
    }
}

static void on_turn(void *owner, uint64_t now_ns)
{
    struct accounts *accounts = owner;
    (void)now_ns;
    if (!accounts->is_stopping || accounts->shards_stopped < accounts->config.shard_count)
        return;
    if (accounts->store != NULL)
        store_usage(accounts);
    if (accounts->store != NULL && usage_rows(accounts->usage) > 0)
        LOG(ERROR, "USAGE_LOST", "rows=%u", usage_rows(accounts->usage));
    node_stop(accounts->node);
}

static bool create_single(struct accounts *accounts, const struct accounts_config *config, char *error_text, size_t error_max)
{
    if (config->single_user == NULL || config->single_password == NULL || config->single_user[0] == '\0') {
        snprintf(error_text, error_max, "neither a database nor a user name and password are given");
        return false;
    }
    // The same reading as of a peer's credentials: lower case, limits, no colon in the name.
    struct basic basic;
    char header[BASIC_USER_MAX * 2 + BASIC_PASSWORD_MAX * 2];
    size_t len = basic_format(config->single_user, config->single_password, header, sizeof(header));
    bool parsed = basic_parse(bytes_of(header, len), &basic) && strlen(config->single_user) == basic.user_len;
    if (parsed)
        fingerprint_make(&accounts->secret, FINGERPRINT_CREDENTIALS, bytes_of(basic.user, basic.user_len),
                         bytes_of(basic.password, basic.password_len), &accounts->single_credentials);
    else
        snprintf(error_text, error_max, "the single user's name must have at most %d bytes and no colon, the password at most %d bytes",
                 BASIC_USER_MAX, BASIC_PASSWORD_MAX);
    basic_wipe(&basic);
    return parsed;
}

static bool create_multi(struct accounts *accounts, const struct accounts_config *config, char *error_text, size_t error_max)
{
    CHECK(config->hash_node_count > 0 && config->hash_queue_max > 0 && config->store_interval_s > 0);
    accounts->store = store_open(config->database, error_text, error_max);
    if (accounts->store == NULL)
        return false;
    snprintf(error_text, error_max, "not enough memory for the accounts");
    accounts->remember = remember_create(ACCOUNTS_REMEMBERED_MAX, config->remember_s * NS_PER_S);
    accounts->checks = checks_create(config->hash_queue_max * config->hash_node_count, ACCOUNTS_WAITERS_MAX);
    accounts->watched = recent_create(ACCOUNTS_WATCHED_MAX, sizeof(struct watched));
    accounts->usage = usage_create(ACCOUNTS_USAGE_ROWS_MAX);
    accounts->signups = signups_create();
    accounts->hash_queued = calloc(config->hash_node_count, sizeof(*accounts->hash_queued));
    if (accounts->remember == NULL || accounts->checks == NULL || accounts->watched == NULL || accounts->usage == NULL ||
        accounts->hash_queued == NULL || accounts->signups == NULL)
        return false;
    struct log_value buffer;
    if (store_is_readonly(accounts->store))
        LOG(WARN, "DATABASE_READONLY", "path=%s", log_value(config->database, &buffer));
    if (store_data_version(accounts->store, &accounts->data_version) != STORE_OK) {
        snprintf(error_text, error_max, "database %s: %s", config->database, store_error(accounts->store));
        return false;
    }
    return true;
}

static void start_timers(struct accounts *accounts, uint64_t now_ns)
{
    accounts->watch_timer.on_time = watch_on_time;
    accounts->usage_timer.on_time = usage_on_time;
    timer_set(node_timers(accounts->node), &accounts->watch_timer, now_ns + WATCH_INTERVAL_NS);
    timer_set(node_timers(accounts->node), &accounts->usage_timer, now_ns + accounts->config.store_interval_s * NS_PER_S);
}

struct accounts *accounts_create(struct post *post, const struct accounts_config *config, char *error_text, size_t error_max)
{
    CHECK(config->node < post_node_count(post) && config->shard_count <= config->node);
    CHECK(config->hash_node_first + config->hash_node_count <= post_node_count(post));
    auth_init();
    struct accounts *accounts = calloc(1, sizeof(*accounts));
    if (accounts == NULL) {
        snprintf(error_text, error_max, "not enough memory for the accounts");
        return NULL;
    }
    accounts->config = *config;
    accounts->post = post;
    fingerprint_secret_create(&accounts->secret);
    bool is_multi = config->database != NULL;
    if (!(is_multi ? create_multi : create_single)(accounts, config, error_text, error_max))
        goto fail;

    uint64_t now_ns = os_now_ns();
    struct node_owner owner = {.owner = accounts, .on_record = on_record, .on_turn = on_turn};
    accounts->addresses = throttle_create(ACCOUNTS_THROTTLED_MAX, config->failures_burst, config->failures_refill_s);
    accounts->users = throttle_create(ACCOUNTS_THROTTLED_MAX, config->failures_burst, config->failures_refill_s);
    accounts->node = node_create(post, config->node, &owner, now_ns);
    if (accounts->addresses == NULL || accounts->users == NULL || accounts->node == NULL) {
        snprintf(error_text, error_max, "not enough memory or file descriptors for the accounts");
        goto fail;
    }
    if (is_multi)
        start_timers(accounts, now_ns);
    return accounts;
fail:
    accounts_destroy(accounts);
    return NULL;
}

void accounts_run(struct accounts *accounts)
{
    node_run(accounts->node);
}

void accounts_destroy(struct accounts *accounts)
{
    if (accounts == NULL)
        return;
    if (accounts->node != NULL) {
        timer_unset(node_timers(accounts->node), &accounts->watch_timer);
        timer_unset(node_timers(accounts->node), &accounts->usage_timer);
    }
    node_destroy(accounts->node);
    throttle_destroy(accounts->addresses);
    throttle_destroy(accounts->users);
    remember_destroy(accounts->remember);
    checks_destroy(accounts->checks);
    recent_destroy(accounts->watched);
    usage_destroy(accounts->usage);
    signups_destroy(accounts->signups);
    store_close(accounts->store);
    free(accounts->hash_queued);
    free(accounts);
}

void accounts_counts(const struct accounts *accounts, struct accounts_counts *ret_counts)
{
    *ret_counts = accounts->counts;
    ret_counts->throttles_displaced = throttle_displaced(accounts->addresses) + throttle_displaced(accounts->users);
}
