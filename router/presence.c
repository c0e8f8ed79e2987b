// The account's home: which sessions of an account are in, and who is told of whom. A newcomer's commands wait until every shard that
// was told of it has answered a fence, its own included: that one says that its list of members is whole. A key that has left is free
// for its next session only when every shard that was told of the exit has answered the key's home.
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
    for (uint32_t i = account->members; i != SLAB_NONE;) {
        const struct member *member = slab_at(&router->members, i);
        CHECK(member->session.shard < router->shard_count);
        count += router->marks[member->session.shard] == 0;
        router->marks[member->session.shard] = 1;
        i = member->next;
    }
    return count;
}

// Sends `fence` to each marked shard, at the end of what its members were told, and clears the marks.
static void fence_shards(struct router *router, const struct account *account, uint16_t newcomer_shard, struct mail *fence,
                         struct effects *out)
{
    for (uint32_t i = account->members; i != SLAB_NONE;) {
        const struct member *member = slab_at(&router->members, i);
        fence->to_shard = member->session.shard;
        if (router->marks[fence->to_shard] != 0)
            mail_send(router, fence, out);
        router->marks[fence->to_shard] = 0;
        i = member->next;
    }
    fence->to_shard = newcomer_shard;
    if (newcomer_shard != SHARD_NONE && router->marks[newcomer_shard] != 0) {
        mail_send(router, fence, out);
        router->marks[newcomer_shard] = 0;
    }
}

static void welcome(struct router *router, const struct account *account, const struct mail *mail, struct effects *out)
{
    uint32_t fences = BUG(3) ? 0 : mark_shards(router, account, mail->from.shard);
    mail_send(router, &(struct mail){.type = MAIL_WELCOME, .to_shard = mail->from.shard, .number = fences, .to = mail->from}, out);
    for (uint32_t i = account->members; i != SLAB_NONE;) {
        const struct member *member = slab_at(&router->members, i);
        tell(router, MAIL_ENTERED, mail->from, member->session, &member->key, out);
        tell(router, MAIL_ENTERED, member->session, mail->from, &mail->a, out);
        i = member->next;
    }
    fence_shards(router, account, mail->from.shard, &(struct mail){.type = MAIL_FENCE, .from = mail->from}, out);
}

static void on_enter(struct router *router, const struct mail *mail, struct effects *out)
{
    uint32_t index = find(router, mail->account);
    if (index == SLAB_NONE) {
        index = slab_take(&router->accounts);
        struct account *fresh = slab_at(&router->accounts, index);
        *fresh = (struct account){.members = SLAB_NONE, .account = mail->account};
        table_insert(&router->account_table, account_hash(router, mail->account), index);
    }
    struct account *account = slab_at(&router->accounts, index);
    if (account->members_count >= router->limits.devices_per_account_max) {
        mail_reply(router, MAIL_REFUSED, mail->from, mail->from, out);
        return;
    }
    welcome(router, account, mail, out);
    uint32_t member_index = slab_take(&router->members);
    struct member *member = slab_at(&router->members, member_index);
    *member = (struct member){.next = account->members, .prev = SLAB_NONE, .session = mail->from, .key = mail->a};
    if (account->members != SLAB_NONE)
        ((struct member *)slab_at(&router->members, account->members))->prev = member_index;
    account->members = member_index;
    account->members_count++;
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

// Tells the members, and then the key's home how many shards will answer it that they have.
static void on_exit_mail(struct router *router, const struct mail *mail, struct effects *out)
{
    struct mail told = {.type = MAIL_EXIT_ACK, .flags = MAIL_EXIT_TOLD, .to_shard = directory_home(router, &mail->a), .a = mail->a};
    uint32_t index = find(router, mail->account);
    struct account *account = index == SLAB_NONE ? NULL : slab_at(&router->accounts, index);
    uint32_t leaver = account == NULL ? SLAB_NONE : find_member(router, account, mail->from);
    if (account == NULL || leaver == SLAB_NONE) { // it was refused
        mail_send(router, &told, out);
        return;
    }
    remove_member(router, account, leaver);
    told.number = BUG(7) ? 0 : mark_shards(router, account, SHARD_NONE);
    mail_send(router, &told, out);
    for (uint32_t i = account->members; i != SLAB_NONE;) {
        const struct member *member = slab_at(&router->members, i);
        tell(router, MAIL_EXITED, member->session, mail->from, &mail->a, out);
        i = member->next;
    }
    fence_shards(router, account, SHARD_NONE, &(struct mail){.type = MAIL_EXIT_FENCE, .a = mail->a}, out);
    if (account->members_count == 0) {
        table_remove(&router->account_table, account_hash(router, mail->account), index);
        slab_give(&router->accounts, index);
    }
}

void presence_mail(struct router *router, const struct mail *mail, struct effects *out)
{
    if (mail->type == MAIL_EXIT_FENCE) {
        mail_send(router, &(struct mail){.type = MAIL_EXIT_ACK, .to_shard = directory_home(router, &mail->a), .a = mail->a}, out);
        return;
    }
    CHECK(!handle_is_none(mail->from));
    CHECK(presence_home(router, mail->account) == router->shard);
    if (mail->type == MAIL_ENTER)
        on_enter(router, mail, out);
    else
        on_exit_mail(router, mail, out);
}

void presence_check(const struct router *router)
{
    table_check(&router->account_table);
    CHECK(router->account_table.count == router->accounts.count);
    uint32_t position = 0;
    uint32_t index;
    uint32_t members = 0;
    while (table_each(&router->account_table, &position, &index)) {
        const struct account *account = slab_at(&router->accounts, index);
        CHECK(presence_home(router, account->account) == router->shard);
        CHECK(account->members_count > 0 && account->members_count <= router->limits.devices_per_account_max);
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
    }
    CHECK(members == router->members.count);
    for (uint32_t i = 0; i < router->shard_count; i++)
        CHECK(router->marks[i] == 0);
}
