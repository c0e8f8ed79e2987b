// recent against a plain model: random adds, uses and removals, every invariant checked.
#include "auth/recent.h"

#include "auth/auth.h"
#include "shards/base/check.h"

#define ITEMS_MAX 7
#define NAMES 20

static uint64_t random_state = 88172645463325252u; // fixed: the same run each time

static int random_below(int limit) // xorshift64*
{
    random_state ^= random_state >> 12;
    random_state ^= random_state << 25;
    random_state ^= random_state >> 27;
    return (int)(random_state * 2685821657736338717u >> 33) % limit;
}

struct model {
    uint32_t count;
    uint8_t order[ITEMS_MAX]; // names, oldest first
};

static void model_remove(struct model *model, uint8_t name)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < model->count; i++) {
        if (model->order[i] != name)
            model->order[kept++] = model->order[i];
    }
    model->count = kept;
}

static void model_add(struct model *model, uint8_t name)
{
    if (model->count == ITEMS_MAX)
        model_remove(model, model->order[0]);
    model->order[model->count++] = name;
}

static bool model_has(const struct model *model, uint8_t name)
{
    return memchr(model->order, name, model->count) != NULL;
}

// Names share few different first bytes, so that chains are long.
static struct fingerprint key_of(uint8_t name)
{
    struct fingerprint key = {{0}};
    key.bytes[0] = name % 3;
    key.bytes[31] = name;
    return key;
}

static void test_random(void)
{
    struct recent *recent = recent_create(ITEMS_MAX, 3);
    CHECK(recent != NULL);
    struct model model = {0};
    for (int step = 0; step < 20000; step++) {
        uint8_t name = (uint8_t)(random_below(NAMES));
        struct fingerprint key = key_of(name);
        uint8_t *item = recent_find(recent, &key);
        CHECK((item != NULL) == model_has(&model, name));
        CHECK(item == NULL || *item == name);
        if (item == NULL) {
            item = recent_add(recent, &key);
            CHECK(item[0] == 0 && item[1] == 0 && item[2] == 0);
            item[0] = item[1] = item[2] = name;
            model_add(&model, name);
        } else if (random_below(2) == 0) {
            recent_use(recent, item);
            model_remove(&model, name);
            model_add(&model, name);
        } else {
            recent_remove(recent, item);
            model_remove(&model, name);
        }
        CHECK(recent_count(recent) == model.count);
        CHECK(recent_is_full(recent) == (model.count == ITEMS_MAX));
        uint8_t *oldest = recent_oldest(recent);
        CHECK((oldest == NULL) == (model.count == 0));
        CHECK(oldest == NULL || *oldest == model.order[0]);
        recent_check(recent);
    }
    recent_destroy(recent);
}

static void test_walk(void)
{
    struct recent *recent = recent_create(4, 1);
    CHECK(recent != NULL && recent_places(recent) == 0);
    for (uint8_t name = 0; name < 3; name++) {
        struct fingerprint key = key_of(name);
        *(uint8_t *)recent_add(recent, &key) = name;
    }
    recent_remove(recent, recent_at(recent, 1));
    CHECK(recent_places(recent) == 3);
    CHECK(*(uint8_t *)recent_at(recent, 0) == 0 && recent_at(recent, 1) == NULL && *(uint8_t *)recent_at(recent, 2) == 2);
    recent_destroy(recent);
    recent_destroy(NULL);
}

int main(void)
{
    auth_init();
    test_random();
    test_walk();
    return 0;
}
