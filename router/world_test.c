// Test only. See world_test.h.
#include "router/world_test.h"

#include <stdio.h>
#include <stdlib.h>

#include "shards/base/check.h"

void world_init(struct world *world, uint16_t shard_count, const struct router_limits *limits, uint8_t secret)
{
    CHECK(shard_count >= 1 && shard_count <= WORLD_SHARDS_MAX);
    *world = (struct world){.shard_count = shard_count};
    struct hash_secret hash_secret = {.bytes = {secret, 1, 2, 3}};
    for (uint16_t i = 0; i < shard_count; i++) {
        world->routers[i] = router_create(i, shard_count, limits, &hash_secret);
        CHECK(world->routers[i] != NULL);
    }
    world->out.max = router_effects_max(limits); // exactly: a bound that is too small is found
    world->out.items = calloc(world->out.max, sizeof(*world->out.items));
    CHECK(world->out.items != NULL);
}

void world_fini(struct world *world)
{
    for (uint16_t i = 0; i < world->shard_count; i++) {
        router_destroy(world->routers[i]);
        for (uint16_t k = 0; k < world->shard_count; k++)
            free(world->queues[i][k].items);
    }
    free(world->out.items);
}

struct effects *world_begin(struct world *world)
{
    world->out.count = 0;
    return &world->out;
}

static void give(struct world_queue *queue, const struct mail *mail, struct bytes payload)
{
    if (queue->count == queue->capacity) {
        size_t capacity = queue->capacity == 0 ? 8 : queue->capacity * 2;
        struct world_mail *items = calloc(capacity, sizeof(*items));
        CHECK(items != NULL);
        for (size_t i = 0; i < queue->count; i++)
            items[i] = queue->items[(queue->head + i) & (queue->capacity - 1)];
        free(queue->items);
        *queue = (struct world_queue){.items = items, .count = queue->count, .capacity = capacity};
    }
    CHECK(payload.len <= WORLD_PAYLOAD_BYTES_MAX);
    struct world_mail *item = &queue->items[(queue->head + queue->count++) & (queue->capacity - 1)];
    memset(&item->mail, 0xa5, sizeof(item->mail));
    memcpy(&item->mail, mail, mail_wire_bytes(mail->type));
    item->payload_bytes = payload.len;
    if (payload.len > 0)
        memcpy(item->payload, payload.ptr, payload.len);
}

void world_end(struct world *world, uint16_t shard)
{
    for (size_t i = 0; i < world->out.count; i++) {
        const struct effect *effect = &world->out.items[i];
        if (effect->kind == EFFECT_MAIL) {
            CHECK(effect->mail.to_shard < world->shard_count);
            CHECK((effect->mail.to_shard == shard) == (effect->mail.type == MAIL_GO_ON));
            give(&world->queues[shard][effect->mail.to_shard], &effect->mail, effect->payload);
            world->mail_count++;
        } else if (world->on_effect != NULL) {
            world->on_effect(world->context, shard, effect);
        }
    }
}

bool world_deliver(struct world *world, uint16_t from, uint16_t to)
{
    struct world_queue *queue = &world->queues[from][to];
    if (queue->count == 0)
        return false;
    struct world_mail item = queue->items[queue->head];
    queue->head = (queue->head + 1) & (queue->capacity - 1);
    queue->count--;
    world->mail_count--;
    router_mail(world->routers[to], &item.mail, bytes_of(item.payload, item.payload_bytes), world_begin(world));
    world_end(world, to);
    return true;
}

void world_settle(struct world *world)
{
    while (world->mail_count > 0) {
        for (uint16_t from = 0; from < world->shard_count; from++) {
            for (uint16_t to = 0; to < world->shard_count; to++)
                world_deliver(world, from, to);
        }
    }
}

enum mail_type world_peek(const struct world *world, uint16_t from, uint16_t to)
{
    const struct world_queue *queue = &world->queues[from][to];
    return queue->count == 0 ? MAIL_TYPE_COUNT : (enum mail_type)queue->items[queue->head].mail.type;
}

static const char *const event_words[] = {
    [ROUTER_AUTHENTICATED] = "+",
    [ROUTER_CONNECTED] = "c",
    [ROUTER_DISCONNECTED] = "x",
    [ROUTER_ENTERED] = ">",
    [ROUTER_EXITED] = "^",
    [ROUTER_CONNECT_FORBIDDEN] = "Econnect-forbidden",
    [ROUTER_SEND_FORBIDDEN] = "Esend-forbidden",
    [ROUTER_CONNECT_SELF] = "Eself",
    [ROUTER_NO_SUCH_CONNECTION] = "Enone",
    [ROUTER_TOO_MANY_CONNECTIONS] = "Etoo-many",
};

void world_log(const struct effect *effect, char *log, size_t log_bytes_max)
{
    size_t used = strlen(log);
    size_t room = log_bytes_max - used;
    char letter = (char)effect->key.bytes[0];
    int length = 0;
    switch (effect->kind) {
    case EFFECT_EVENT:
        if (effect->event >= ROUTER_CONNECTED && effect->event <= ROUTER_EXITED)
            length = snprintf(log + used, room, "%s%c ", event_words[effect->event], letter);
        else
            length = snprintf(log + used, room, "%s ", event_words[effect->event]);
        break;
    case EFFECT_DATA:
        length = snprintf(log + used, room, "d%c=%.*s ", letter, (int)(effect->payload.len < 8 ? effect->payload.len : 8),
                          effect->payload.len > 0 ? (const char *)effect->payload.ptr : "");
        break;
    case EFFECT_CLOSE:
        length = snprintf(log + used, room, "close:%s ", error_name(effect->error));
        break;
    case EFFECT_RESUME:
        length = snprintf(log + used, room, "resume ");
        break;
    default:
        CHECK(effect->kind == EFFECT_RELEASED);
        length = snprintf(log + used, room, "released ");
    }
    CHECK(length > 0 && (size_t)length < room);
}
