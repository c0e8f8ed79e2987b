// The pair's home: which of two keys has asked for the other. It serialises both halves of a connect, so exactly one link is told to open.
#include "router/internal.h"

// keys in order: the smaller first. Returns the side of `a`.
static uint32_t sort_keys(const struct key *a, const struct key *b, struct key ret_keys[2])
{
    int order = memcmp(a->bytes, b->bytes, KEY_BYTES);
    CHECK(order != 0);
    uint32_t side = order < 0 ? 0 : 1;
    ret_keys[side] = *a;
    ret_keys[1 - side] = *b;
    return side;
}

static uint64_t pair_hash(const struct router *router, const struct key keys[2])
{
    return hash_bytes(&router->secret, keys, 2 * sizeof(keys[0]));
}

uint16_t pair_home(const struct router *router, const struct key *a, const struct key *b)
{
    struct key keys[2];
    sort_keys(a, b, keys);
    return (uint16_t)((pair_hash(router, keys) >> 32) % router->shard_count);
}

static uint32_t find(const struct router *router, uint64_t hash, const struct key keys[2])
{
    struct table_cursor cursor = table_look(&router->pair_table, hash);
    uint32_t index;
    while (table_next(&router->pair_table, &cursor, &index)) {
        const struct pair *pair = slab_at(&router->pairs, index);
        if (memcmp(pair->keys, keys, sizeof(pair->keys)) == 0)
            return index;
    }
    return SLAB_NONE;
}

static void on_ask(struct router *router, const struct mail *mail, struct effects *out)
{
    struct key keys[2];
    uint32_t side = sort_keys(&mail->a, &mail->b, keys);
    uint64_t hash = pair_hash(router, keys);
    uint32_t index = find(router, hash, keys);
    if (index == SLAB_NONE) {
        index = slab_take(&router->pairs);
        struct pair *fresh = slab_at(&router->pairs, index);
        *fresh = (struct pair){.keys = {keys[0], keys[1]}};
        table_insert(&router->pair_table, hash, index);
    }
    struct pair *pair = slab_at(&router->pairs, index);
    // A link asks once, and a key's next link comes only after its last one's UNASK.
    CHECK(handle_is_none(pair->asks[side]));
    pair->asks[side] = mail->from;
    struct handle other = pair->asks[1 - side];
    if (handle_is_none(other))
        mail_reply(router, MAIL_ASKED, mail->from, mail->from, out);
    else
        mail_reply(router, MAIL_OPEN, mail->from, other, out);
}

static void on_unask(struct router *router, const struct mail *mail, struct effects *out)
{
    struct key keys[2];
    uint32_t side = sort_keys(&mail->a, &mail->b, keys);
    uint64_t hash = pair_hash(router, keys);
    uint32_t index = find(router, hash, keys);
    CHECK(index != SLAB_NONE);
    struct pair *pair = slab_at(&router->pairs, index);
    CHECK(handle_equal(pair->asks[side], mail->from));
    pair->asks[side] = (struct handle){.generation = 0};
    if (handle_is_none(pair->asks[1 - side])) {
        table_remove(&router->pair_table, hash, index);
        slab_give(&router->pairs, index);
    }
    mail_reply(router, MAIL_UNASK_ACK, mail->from, mail->from, out);
}

void pair_mail(struct router *router, const struct mail *mail, struct effects *out)
{
    CHECK(!handle_is_none(mail->from));
    if (mail->type == MAIL_ASK)
        on_ask(router, mail, out);
    else
        on_unask(router, mail, out);
}

void pair_check(const struct router *router)
{
    table_check(&router->pair_table);
    CHECK(router->pair_table.count == router->pairs.count);
    uint32_t position = 0;
    uint32_t index;
    while (table_each(&router->pair_table, &position, &index)) {
        const struct pair *pair = slab_at(&router->pairs, index);
        CHECK(memcmp(&pair->keys[0], &pair->keys[1], sizeof(pair->keys[0])) < 0);
        CHECK(!handle_is_none(pair->asks[0]) || !handle_is_none(pair->asks[1]));
        CHECK(pair_home(router, &pair->keys[0], &pair->keys[1]) == router->shard);
        CHECK(find(router, pair_hash(router, pair->keys), pair->keys) == index);
    }
}
