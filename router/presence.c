// The account's home: which sessions of an account are in, and who is told of whom. A newcomer's commands wait until every shard that
// was told of it has answered a fence, its own included: that one says that its list of members is whole. A key that has left is free
// for its next session only when every shard that was told of the exit has answered the key's home.
// One rule: an account tells of one comer or goer at a time, a piece of its members in each call, so that large accounts hold nobody up.
// What comes meanwhile waits; the next piece is asked for by GO_ON, one at a time for all accounts of this home.
#include "router/internal.h"

#define SHARD_NONE UINT16_MAX

static uint64_t account_hash(const struct router *router, uint64_t account)
{
    return hash_bytes(&router->secret, &account, sizeof(account));
}

uint16_t presence_home(const struct router *router, uint64_t account)
{
    CHECK(account != 0);
    return (uint16_t)((account_hash(router, account) >> 32) % router->shard_count);
}

static uint32_t find(const struct router *router, uint64_t account)
{
    struct table_cursor cursor = table_look(&router->account_table, account_hash(router, account));
    uint32_t index;
    while (table_next(&router->account_table, &cursor, &index)) {
        const struct account *record = slab_at(&router->accounts, index);
        if (record->account == account)
            return index;
    }
    return SLAB_NONE;
}

static void tell(struct router *router, enum mail_type type, struct handle to, struct handle who, const struct key *key,
                 struct effects *out)
{
    CHECK(!handle_equal(to, who));
    mail_send(router, &(struct mail){.type = (uint8_t)type, .to_shard = to.shard, .to = to, .from = who, .a = *key}, out);
}

// Marks the shards of the members and of the newcomer (or SHARD_NONE). Returns how many there are.
static uint32_t mark_shards(struct router *router, const struct account *account, uint16_t newcomer_shard)
{
    uint32_t count = 0;
    if (newcomer_shard != SHARD_NONE) {
        router->marks[newcomer_shard] = 1;
        count = 1;
    }
    for (uint32_t i = account->members; i != SLAB_NONE && count < router->shard_count;) {
        const struct member *member = slab_at(&router->members, i);
        CHECK(member->session.shard < router->shard_count);
        count += router->marks[member->session.shard] == 0;
        router->marks[member->session.shard] = 1;
        i = member->next;
    }
    return count;
}

// Sends `fence` to each shard of the members and of the newcomer, at the end of what they were told.
static void fence_shards(struct router *router, const struct account *account, uint16_t newcomer_shard, struct mail *fence,
                         struct effects *out)
{
    uint32_t left = mark_shards(router, account, newcomer_shard);
    for (uint16_t shard = 0; left > 0; shard++) {
        CHECK(shard < router->shard_count);
        if (router->marks[shard] == 0)
            continue;
        router->marks[shard] = 0;
        fence->to_shard = shard;
        mail_send(router, fence, out);
        left--;
    }
}

static void remove_member(struct router *router, struct account *account, uint32_t index)
{
    struct member *member = slab_at(&router->members, index);
    if (member->prev == SLAB_NONE)
        account->members = member->next;
    else
        ((struct member *)slab_at(&router->members, member->prev))->next = member->next;
    if (member->next != SLAB_NONE)
        ((struct member *)slab_at(&router->members, member->next))->prev = member->prev;
    CHECK(account->members_count > 0);
    account->members_count--;
    slab_give(&router->members, index);
}

static uint32_t find_member(const struct router *router, const struct account *account, struct handle session)
{
    uint32_t index = account->members;
    while (index != SLAB_NONE) {
        const struct member *member = slab_at(&router->members, index);
        if (handle_equal(member->session, session))
            break;
        index = member->next;
    }
    return index;
}

static void add_member(struct router *router, struct account *account, const struct job *job)
{
    uint32_t index = slab_take(&router->members);
    struct member *member = slab_at(&router->members, index);
    *member = (struct member){.next = account->members, .prev = SLAB_NONE, .session = job->session, .key = job->key};
    if (account->members != SLAB_NONE)
        ((struct member *)slab_at(&router->members, account->members))->prev = index;
    account->members = index;
    account->members_count++;
}

static uint16_t newcomer_of(const struct job *job)
{
    return job->is_exit ? SHARD_NONE : job->session.shard;
}

static uint32_t count_shards(struct router *router, const struct account *account, uint16_t newcomer)
{
    uint32_t count = mark_shards(router, account, newcomer);
    memset(router->marks, 0, router->shard_count * sizeof(*router->marks));
    return count;
}

// false: nobody has to be told.
static bool begin_enter(struct router *router, const struct account *account, const struct job *job, struct effects *out)
{
    if (account->members_count >= router->limits.devices_per_account_max) {
        mail_reply(router, MAIL_REFUSED, job->session, job->session, out);
        return false;
    }
    uint32_t fences = BUG(3) ? 0 : count_shards(router, account, newcomer_of(job));
    mail_send(router, &(struct mail){.type = MAIL_WELCOME, .to_shard = job->session.shard, .number = fences, .to = job->session}, out);
    return true;
}

// The key's home is told how many shards will answer it that their members have been told.
static bool begin_exit(struct router *router, struct account *account, const struct job *job, struct effects *out)
{
    struct mail told = {.type = MAIL_EXIT_ACK, .flags = MAIL_EXIT_TOLD, .to_shard = directory_home(router, &job->key), .a = job->key};
    uint32_t leaver = find_member(router, account, job->session);
    bool was_in = leaver != SLAB_NONE; // else it was refused
    if (was_in) {
        remove_member(router, account, leaver);
        told.number = BUG(7) ? 0 : count_shards(router, account, SHARD_NONE);
    }
    mail_send(router, &told, out);
    return was_in;
}

static void finish(struct router *router, struct account *account, const struct job *job, struct effects *out)
{
    struct mail fence = {.type = MAIL_FENCE, .from = job->session};
    if (job->is_exit)
        fence = (struct mail){.type = MAIL_EXIT_FENCE, .a = job->key};
    fence_shards(router, account, newcomer_of(job), &fence, out);
    if (!job->is_exit)
        add_member(router, account, job);
}

static void tell_member(struct router *router, const struct member *member, const struct job *job, struct effects *out)
{
    if (job->is_exit) {
        tell(router, MAIL_EXITED, member->session, job->session, &job->key, out);
        return;
    }
    tell(router, MAIL_ENTERED, job->session, member->session, &member->key, out);
    tell(router, MAIL_ENTERED, member->session, job->session, &job->key, out);
}

static void pop_job(struct router *router, struct account *account)
{
    uint32_t index = account->jobs;
    const struct job *job = slab_at(&router->jobs, index);
    account->jobs = job->next;
    if (account->jobs == SLAB_NONE)
        account->jobs_last = SLAB_NONE;
    slab_give(&router->jobs, index);
}

// One piece of the account's first job.
static void work(struct router *router, struct account *account, struct effects *out)
{
    struct job *job = slab_at(&router->jobs, account->jobs);
    if (!job->begun) {
        bool must_tell = job->is_exit ? begin_exit(router, account, job, out) : begin_enter(router, account, job, out);
        if (!must_tell) {
            pop_job(router, account);
            return;
        }
        job->begun = true;
        account->cursor = account->members;
    }
    for (uint32_t i = 0; i < router->limits.told_at_once && account->cursor != SLAB_NONE; i++) {
        const struct member *member = slab_at(&router->members, account->cursor);
        tell_member(router, member, job, out);
        account->cursor = member->next;
    }
    if (account->cursor == SLAB_NONE) {
        finish(router, account, job, out);
        pop_job(router, account);
    }
}

static void put_busy(struct router *router, uint32_t index)
{
    struct account *account = slab_at(&router->accounts, index);
    account->busy_next = SLAB_NONE;
    if (router->busy == SLAB_NONE)
        router->busy = index;
    else
        ((struct account *)slab_at(&router->accounts, router->busy_last))->busy_next = index;
    router->busy_last = index;
}

// Works once on an account with jobs, then puts it behind the busy ones, or forgets it when it has neither jobs nor members.
static void work_once(struct router *router, uint32_t index, struct effects *out)
{
    struct account *account = slab_at(&router->accounts, index);
    CHECK(account->jobs != SLAB_NONE);
    work(router, account, out);
    if (account->jobs != SLAB_NONE) {
        put_busy(router, index);
    } else if (account->members_count == 0) {
        table_remove(&router->account_table, account_hash(router, account->account), index);
        slab_give(&router->accounts, index);
    }
}

static void ask_to_go_on(struct router *router, struct effects *out)
{
    struct effect *effect = effect_add(out, EFFECT_MAIL, 0); // not by the FIFO, which this call empties
    effect->payload = bytes_of(NULL, 0);
    effect->mail = (struct mail){.type = MAIL_GO_ON, .to_shard = router->shard};
}

static void on_go_on(struct router *router, struct effects *out)
{
    uint32_t index = router->busy;
    CHECK(index != SLAB_NONE);
    router->busy = ((const struct account *)slab_at(&router->accounts, index))->busy_next;
    work_once(router, index, out);
    if (router->busy != SLAB_NONE)
        ask_to_go_on(router, out);
}

static void on_comer_or_goer(struct router *router, const struct mail *mail, struct effects *out)
{
    uint32_t index = find(router, mail->account);
    if (index == SLAB_NONE) {
        index = slab_take(&router->accounts);
        struct account *fresh = slab_at(&router->accounts, index);
        *fresh = (struct account){.members = SLAB_NONE, .jobs = SLAB_NONE, .jobs_last = SLAB_NONE, .account = mail->account};
        table_insert(&router->account_table, account_hash(router, mail->account), index);
    }
    struct account *account = slab_at(&router->accounts, index);
    bool was_busy = account->jobs != SLAB_NONE;
    uint32_t job_index = slab_take(&router->jobs);
    struct job *job = slab_at(&router->jobs, job_index);
    *job = (struct job){.next = SLAB_NONE, .is_exit = mail->type == MAIL_EXIT, .session = mail->from, .key = mail->a};
    if (was_busy)
        ((struct job *)slab_at(&router->jobs, account->jobs_last))->next = job_index;
    else
        account->jobs = job_index;
    account->jobs_last = job_index;
    if (was_busy)
        return;
    bool asked = router->busy != SLAB_NONE;
    work_once(router, index, out);
    if (!asked && router->busy != SLAB_NONE && !BUG(8))
        ask_to_go_on(router, out);
}

void presence_mail(struct router *router, const struct mail *mail, struct effects *out)
{
    switch (mail->type) {
    case MAIL_EXIT_FENCE:
        mail_send(router, &(struct mail){.type = MAIL_EXIT_ACK, .to_shard = directory_home(router, &mail->a), .a = mail->a}, out);
        return;
    case MAIL_GO_ON:
        on_go_on(router, out);
        return;
    case MAIL_ENTER:
    case MAIL_EXIT:
        CHECK(!handle_is_none(mail->from));
        CHECK(presence_home(router, mail->account) == router->shard);
        on_comer_or_goer(router, mail, out);
        return;
    default:
        UNREACHABLE();
    }
}

static uint32_t check_jobs(const struct router *router, const struct account *account)
{
    uint32_t count = 0;
    uint32_t last = SLAB_NONE;
    for (uint32_t i = account->jobs; i != SLAB_NONE;) {
        const struct job *job = slab_at(&router->jobs, i);
        CHECK(!handle_is_none(job->session) && (!job->begun || i == account->jobs));
        last = i;
        i = job->next;
        count++;
    }
    CHECK(account->jobs_last == last);
    return count;
}

void presence_check(const struct router *router)
{
    table_check(&router->account_table);
    CHECK(router->account_table.count == router->accounts.count);
    uint32_t position = 0;
    uint32_t index;
    uint32_t members = 0;
    uint32_t jobs = 0;
    uint32_t busy = 0;
    while (table_each(&router->account_table, &position, &index)) {
        const struct account *account = slab_at(&router->accounts, index);
        CHECK(presence_home(router, account->account) == router->shard);
        CHECK(account->members_count > 0 || account->jobs != SLAB_NONE);
        CHECK(account->members_count <= router->limits.devices_per_account_max);
        uint32_t count = 0;
        uint32_t prev = SLAB_NONE;
        for (uint32_t i = account->members; i != SLAB_NONE;) {
            const struct member *member = slab_at(&router->members, i);
            CHECK(member->prev == prev && !handle_is_none(member->session));
            prev = i;
            i = member->next;
            count++;
        }
        CHECK(count == account->members_count);
        members += count;
        jobs += check_jobs(router, account);
        busy += account->jobs != SLAB_NONE;
    }
    CHECK(members == router->members.count && jobs == router->jobs.count);
    for (uint32_t i = router->busy; i != SLAB_NONE; busy--)
        i = ((const struct account *)slab_at(&router->accounts, i))->busy_next;
    CHECK(busy == 0);
    for (uint32_t i = 0; i < router->shard_count; i++)
        CHECK(router->marks[i] == 0);
}
