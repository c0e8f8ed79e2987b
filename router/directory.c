// The key's home: which session holds a key. One holder at a time; the newest that wants it waits until the holder has unregistered.
#include "router/internal.h"

static uint16_t home_of(const struct router *router, uint64_t hash)
{
    return (uint16_t)((hash >> 32) % router->shard_count);
}

uint16_t directory_home(const struct router *router, const struct key *key)
{
    return home_of(router, hash_key(&router->secret, key));
}

// The index of the key's record, or SLAB_NONE.
static uint32_t find(const struct router *router, uint64_t hash, const struct key *key)
{
    struct table_cursor cursor = table_look(&router->owner_table, hash);
    uint32_t index;
    while (table_next(&router->owner_table, &cursor, &index)) {
        const struct owner *owner = slab_at(&router->owners, index);
        if (key_equal(&owner->key, key))
            return index;
    }
    return SLAB_NONE;
}

struct handle directory_holder(const struct router *router, const struct key *key)
{
    uint32_t index = find(router, hash_key(&router->secret, key), key);
    const struct handle none = {.generation = 0};
    return index == SLAB_NONE ? none : ((const struct owner *)slab_at(&router->owners, index))->session;
}

struct place directory_place(const struct router *router, const struct key *key, uint32_t *last)
{
    const struct handle none = {.generation = 0};
    const struct owner *owner = slab_find(&router->owners, *last);
    if (owner != NULL && key_equal(&owner->key, key) && !handle_is_none(owner->session))
        return (struct place){.home = router->shard, .holder = owner->session};
    uint64_t hash = hash_key(&router->secret, key);
    uint16_t home = home_of(router, hash);
    *last = home == router->shard ? find(router, hash, key) : SLAB_NONE;
    owner = slab_find(&router->owners, *last);
    return (struct place){.home = home, .holder = owner != NULL ? owner->session : none};
}

// The key is the session's now: on to presence, or straight to its welcome.
static void hand_over(struct router *router, struct owner *owner, struct handle session, uint64_t account, struct effects *out)
{
    CHECK(!handle_is_none(session));
    owner->session = session;
    owner->account = account;
    owner->exiting = false;
    owner->told = false;
    owner->fences = 0;
    owner->waiting = (struct handle){.generation = 0};
    if (account == 0) {
        mail_reply(router, MAIL_WELCOME, session, session, out);
        return;
    }
    struct mail mail = {
        .type = MAIL_ENTER, .to_shard = presence_home(router, account), .from = session, .account = account, .a = owner->key};
    mail_send(router, &mail, out);
}

static void on_register(struct router *router, const struct mail *mail, struct effects *out)
{
    uint64_t hash = hash_key(&router->secret, &mail->a);
    uint32_t index = find(router, hash, &mail->a);
    if (index == SLAB_NONE) {
        index = slab_take(&router->owners);
        struct owner *fresh = slab_at(&router->owners, index);
        *fresh = (struct owner){.key = mail->a};
        table_insert(&router->owner_table, hash, index);
        hand_over(router, fresh, mail->from, mail->account, out);
        return;
    }
    struct owner *owner = slab_at(&router->owners, index);
    CHECK(!handle_equal(owner->session, mail->from));
    if (handle_is_none(owner->waiting))
        mail_reply(router, MAIL_EVICT, owner->session, mail->from, out);
    else
        mail_reply(router, MAIL_SUPERSEDED, owner->waiting, mail->from, out);
    owner->waiting = mail->from;
    owner->waiting_account = mail->account;
}

// The old session is gone and everybody who was to be told of it has been.
static void pass_on(struct router *router, uint32_t index, uint64_t hash, struct effects *out)
{
    struct owner *owner = slab_at(&router->owners, index);
    if (!handle_is_none(owner->waiting)) {
        hand_over(router, owner, owner->waiting, owner->waiting_account, out);
        return;
    }
    table_remove(&router->owner_table, hash, index);
    owner->session = (struct handle){.generation = 0}; // directory_place may look at it yet
    slab_give(&router->owners, index);
}

static void on_unregister(struct router *router, const struct mail *mail, struct effects *out)
{
    uint64_t hash = hash_key(&router->secret, &mail->a);
    uint32_t index = find(router, hash, &mail->a);
    if (index == SLAB_NONE)
        return;
    struct owner *owner = slab_at(&router->owners, index);
    if (handle_equal(owner->waiting, mail->from)) {
        owner->waiting = (struct handle){.generation = 0};
        return;
    }
    if (!handle_equal(owner->session, mail->from) && !BUG(1))
        return; // one that was superseded while it waited
    if (owner->exiting)
        return;
    if (owner->account == 0) {
        pass_on(router, index, hash, out);
        return;
    }
    owner->exiting = true;
    struct mail leave = {.type = MAIL_EXIT,
                         .to_shard = presence_home(router, owner->account),
                         .from = owner->session,
                         .account = owner->account,
                         .a = owner->key};
    mail_send(router, &leave, out);
}

static void on_exit_ack(struct router *router, const struct mail *mail, struct effects *out)
{
    uint64_t hash = hash_key(&router->secret, &mail->a);
    uint32_t index = find(router, hash, &mail->a);
    CHECK(index != SLAB_NONE);
    struct owner *owner = slab_at(&router->owners, index);
    CHECK(owner->exiting);
    if (mail->flags & MAIL_EXIT_TOLD) {
        owner->told = true;
        owner->fences += (int32_t)mail->number;
    } else {
        owner->fences--; // may overtake the account home's count
    }
    if (owner->told && owner->fences == 0)
        pass_on(router, index, hash, out);
}

void directory_mail(struct router *router, const struct mail *mail, struct effects *out)
{
    CHECK(directory_home(router, &mail->a) == router->shard);
    if (mail->type == MAIL_EXIT_ACK) {
        on_exit_ack(router, mail, out);
        return;
    }
    CHECK(!handle_is_none(mail->from));
    if (mail->type == MAIL_REGISTER)
        on_register(router, mail, out);
    else
        on_unregister(router, mail, out);
}

void directory_check(const struct router *router)
{
    table_check(&router->owner_table);
    CHECK(router->owner_table.count == router->owners.count);
    uint32_t position = 0;
    uint32_t index;
    while (table_each(&router->owner_table, &position, &index)) {
        const struct owner *owner = slab_at(&router->owners, index);
        CHECK(!handle_is_none(owner->session));
        CHECK(!handle_equal(owner->session, owner->waiting));
        CHECK(directory_home(router, &owner->key) == router->shard);
        CHECK(find(router, hash_key(&router->secret, &owner->key), &owner->key) == index);
    }
}
