// The account's home: which sessions of an account are in, and who is told of whom. A newcomer's commands wait until every shard that
// was told of it has answered a fence, its own included: that one says that its list of members is whole.
#include "router/internal.h"

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

// Marks the shards of the members and of the newcomer. Returns how many there are.
static uint32_t mark_shards(struct router *router, const struct account *account, uint16_t newcomer_shard)
{
    uint32_t count = 1;
    router->marks[newcomer_shard] = 1;
    for (uint32_t i = account->members; i != SLAB_NONE;) {
        const struct member *member = slab_at(&router->members, i);
        CHECK(member->session.shard < router->shard_count);
        count += router->marks[member->session.shard] == 0;
        router->marks[member->session.shard] = 1;
        i = member->next;
    }
    return count;
}

static void welcome(struct router *router, const struct account *account, const struct mail *mail, struct effects *out)
{
    uint32_t fences = mark_shards(router, account, mail->from.shard);
    struct mail welcome_mail = {.type = MAIL_WELCOME, .to_shard = mail->from.shard, .number = fences, .to = mail->from};
    if (BUG(3))
        welcome_mail.number = 0;
    mail_send(router, &welcome_mail, out);
    for (uint32_t i = account->members; i != SLAB_NONE;) {
        const struct member *member = slab_at(&router->members, i);
        tell(router, MAIL_ENTERED, mail->from, member->session, &member->key, out);
        tell(router, MAIL_ENTERED, member->session, mail->from, &mail->a, out);
        i = member->next;
    }
    // Each shard is fenced once: its mark is taken when met.
    for (uint32_t i = account->members; i != SLAB_NONE;) {
        const struct member *member = slab_at(&router->members, i);
        uint16_t shard = member->session.shard;
        if (router->marks[shard] != 0 && !BUG(3))
            mail_send(router, &(struct mail){.type = MAIL_FENCE, .to_shard = shard, .from = mail->from}, out);
        router->marks[shard] = 0;
        i = member->next;
    }
    if (router->marks[mail->from.shard] != 0 && !BUG(3))
        mail_send(router, &(struct mail){.type = MAIL_FENCE, .to_shard = mail->from.shard, .from = mail->from}, out);
    router->marks[mail->from.shard] = 0;
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

static void on_exit_mail(struct router *router, const struct mail *mail, struct effects *out)
{
    uint32_t index = find(router, mail->account);
    if (index == SLAB_NONE)
        return; // it was refused, and the others have left since
    struct account *account = slab_at(&router->accounts, index);
    uint32_t leaver = account->members;
    while (leaver != SLAB_NONE) {
        const struct member *member = slab_at(&router->members, leaver);
        if (handle_equal(member->session, mail->from))
            break;
        leaver = member->next;
    }
    if (leaver == SLAB_NONE)
        return; // it was refused
    remove_member(router, account, leaver);
    for (uint32_t i = account->members; i != SLAB_NONE;) {
        const struct member *member = slab_at(&router->members, i);
        tell(router, MAIL_EXITED, member->session, mail->from, &mail->a, out);
        i = member->next;
    }
    if (account->members_count == 0) {
        table_remove(&router->account_table, account_hash(router, mail->account), index);
        slab_give(&router->accounts, index);
    }
}

void presence_mail(struct router *router, const struct mail *mail, struct effects *out)
{
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
