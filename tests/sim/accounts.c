// The accounts node and the main node, faked: logins are answered after a random time, usage is summed, stops are ordered and counted.
// Also what auth/ would do: challenges and their verification by a keyed hash, since the curve has tests of its own.
#include "auth/challenge.h"
#include "shards/base/check.h"
#include "tests/sim/sim.h"

#define WAITING_MAX 256
#define DELAY_NS_MAX 20000000u

struct waiting {
    uint64_t due_ns;
    uint16_t shard;
    struct login_answer answer;
};

static struct {
    uint16_t node, main_node;
    struct waiting waiting[WAITING_MAX];
    size_t waiting_count;
    uint32_t stopped;
    uint64_t usage_sent[SIM_ACCOUNTS_MAX], usage_recv[SIM_ACCOUNTS_MAX];
} accounts;

void accounts_open(uint16_t node, uint16_t main_node)
{
    memset(&accounts, 0, sizeof(accounts));
    accounts.node = node;
    accounts.main_node = main_node;
}

void accounts_login(struct post *post, uint16_t self, uint16_t accounts_node, const struct login_request *request)
{
    post_write(post, self, accounts_node, RECORD_LOGIN, bytes_of(request, sizeof(*request)), bytes_of(NULL, 0));
}

// Users are "user0".."userN" with the password "pw"; "wrong" is answered with every refusal that there is.
static void on_login(uint16_t from, struct bytes body)
{
    struct login_request request;
    CHECK(body.len == sizeof(request) && accounts.waiting_count < WAITING_MAX);
    memcpy(&request, body.ptr, sizeof(request));
    struct waiting *waiting = &accounts.waiting[accounts.waiting_count++];
    *waiting = (struct waiting){.due_ns = kernel_now_ns() + sim_below(DELAY_NS_MAX), .shard = from};
    waiting->answer = (struct login_answer){.slot = request.slot, .generation = request.generation};
    const char *user = request.credentials.user;
    SIM_CHECK(strncmp(user, "user", 4) == 0 && request.credentials.user_len == 5, "credentials came through wrong: %s", user);
    if (strcmp(request.credentials.password, "pw") == 0) {
        waiting->answer.verdict = LOGIN_OK;
        waiting->answer.account = (uint64_t)(user[4] - '0') + 1;
    } else {
        waiting->answer.verdict = LOGIN_REFUSED + (uint32_t)sim_below(4);
        waiting->answer.retry_after_s = (uint32_t)sim_below(3);
    }
}

static void on_usage(struct bytes body)
{
    CHECK(body.len % sizeof(struct usage_record) == 0 && body.len > 0);
    for (size_t at = 0; at < body.len; at += sizeof(struct usage_record)) {
        struct usage_record record;
        memcpy(&record, body.ptr + at, sizeof(record));
        if (record.account == 0) {
            SIM_CHECK(record.sent_bytes == 0 && record.recv_bytes == 0, "usage without an account");
            continue;
        }
        SIM_CHECK(record.account <= sim_config.accounts, "usage of an unknown account");
        accounts.usage_sent[record.account - 1] += record.sent_bytes;
        accounts.usage_recv[record.account - 1] += record.recv_bytes;
    }
}

static void on_record(void *owner, const struct post_record *record)
{
    (void)owner;
    if (record->kind == RECORD_LOGIN)
        on_login(record->from, record->body);
    else if (record->kind == RECORD_USAGE)
        on_usage(record->body);
    else if (record->kind == RECORD_STOPPED)
        accounts.stopped++;
    else
        sim_fail(__FILE__, __LINE__, "record %u for the accounts node", (unsigned)record->kind);
}

bool accounts_is_idle(void)
{
    return post_is_idle(sim_shared.post, accounts.node) && post_is_idle(sim_shared.post, accounts.main_node) && accounts.waiting_count == 0;
}

bool accounts_is_runnable(void)
{
    return !post_is_idle(sim_shared.post, accounts.node) || !post_is_idle(sim_shared.post, accounts.main_node) ||
           accounts_due_ns() <= kernel_now_ns();
}

uint64_t accounts_due_ns(void)
{
    uint64_t due_ns = UINT64_MAX;
    for (size_t i = 0; i < accounts.waiting_count; i++)
        due_ns = accounts.waiting[i].due_ns < due_ns ? accounts.waiting[i].due_ns : due_ns;
    return due_ns;
}

void accounts_step(void)
{
    post_drain(sim_shared.post, accounts.main_node, 16, on_record, NULL);
    post_flush(sim_shared.post, accounts.main_node);
    if (accounts.waiting_count < WAITING_MAX / 2)
        post_drain(sim_shared.post, accounts.node, 1 + sim_below(16), on_record, NULL);
    for (size_t i = 0; i < accounts.waiting_count;) {
        struct waiting *waiting = &accounts.waiting[i];
        if (waiting->due_ns > kernel_now_ns()) {
            i++;
            continue;
        }
        post_write(sim_shared.post, accounts.node, waiting->shard, RECORD_LOGIN_ANSWER, bytes_of(&waiting->answer, sizeof(waiting->answer)),
                   bytes_of(NULL, 0));
        *waiting = accounts.waiting[--accounts.waiting_count];
    }
    post_flush(sim_shared.post, accounts.node);
}

void accounts_stop_shards(void)
{
    for (uint16_t shard = 0; shard < sim_config.shard_count; shard++)
        post_write(sim_shared.post, accounts.main_node, shard, RECORD_STOP, bytes_of(NULL, 0), bytes_of(NULL, 0));
    post_flush(sim_shared.post, accounts.main_node);
}

uint32_t accounts_stopped_count(void)
{
    return accounts.stopped;
}

uint64_t accounts_usage_sent(uint32_t account)
{
    return accounts.usage_sent[account];
}

uint64_t accounts_usage_recv(uint32_t account)
{
    return accounts.usage_recv[account];
}

// ---- instead of auth/challenge.c ----

void challenge_create(uint8_t ret_challenge[CHALLENGE_BYTES])
{
    for (size_t i = 0; i < CHALLENGE_BYTES; i++)
        ret_challenge[i] = (uint8_t)sim_random();
}

bool challenge_verify(const uint8_t challenge[CHALLENGE_BYTES], struct bytes signature, struct bytes key)
{
    uint8_t right[64];
    CHECK(key.len == KEY_BYTES && signature.len == sizeof(right));
    device_sign(challenge, key.ptr, right);
    return memcmp(right, signature.ptr, sizeof(right)) == 0;
}
