// The queue node's table of devices: see devices.h.
#include "net/queue/devices.h"

#include "shards/base/check.h"

void devices_init(struct devices *devices, uint32_t idle_max)
{
    CHECK(idle_max > 0);
    *devices = (struct devices){.idle_first = SLAB_NONE, .idle_last = SLAB_NONE, .idle_max = idle_max};
    slab_init(&devices->slab, sizeof(struct device));
    table_init(&devices->table);
    hash_secret_create(&devices->secret);
}

void devices_fini(struct devices *devices)
{
    slab_fini(&devices->slab);
    table_fini(&devices->table);
}

struct device *devices_at(const struct devices *devices, uint32_t index)
{
    return slab_at(&devices->slab, index);
}

uint32_t devices_find(const struct devices *devices, const struct key *key)
{
    struct table_cursor cursor = table_look(&devices->table, hash_key(&devices->secret, key));
    uint32_t index;
    while (table_next(&devices->table, &cursor, &index))
        if (key_equal(&devices_at(devices, index)->key, key))
            return index;
    return SLAB_NONE;
}

uint32_t devices_get(struct devices *devices, const struct key *key)
{
    uint32_t index = devices_find(devices, key);
    if (index != SLAB_NONE)
        return index;
    index = slab_take(&devices->slab);
    *devices_at(devices, index) = (struct device){.next = SLAB_NONE, .prev = SLAB_NONE, .key = *key, .fetch_next = SLAB_NONE};
    table_insert(&devices->table, hash_key(&devices->secret, key), index);
    return index;
}

static void unlist(struct devices *devices, struct device *device)
{
    CHECK(device->is_idle && devices->idle_count > 0);
    if (device->prev != SLAB_NONE)
        devices_at(devices, device->prev)->next = device->next;
    else
        devices->idle_first = device->next;
    if (device->next != SLAB_NONE)
        devices_at(devices, device->next)->prev = device->prev;
    else
        devices->idle_last = device->prev;
    device->next = device->prev = SLAB_NONE;
    device->is_idle = false;
    devices->idle_count--;
}

static void forget_oldest(struct devices *devices)
{
    uint32_t index = devices->idle_first;
    struct device *device = devices_at(devices, index);
    unlist(devices, device);
    table_remove(&devices->table, hash_key(&devices->secret, &device->key), index);
    slab_give(&devices->slab, index);
    devices->forgotten++;
}

void devices_settle(struct devices *devices, uint32_t index)
{
    struct device *device = devices_at(devices, index);
    bool idle = handle_is_none(device->holder) && device->kept_count == 0 && device->sent_count == 0 && !device->fetches;
    if (idle == device->is_idle)
        return;
    if (!idle) {
        unlist(devices, device);
        return;
    }
    device->is_idle = true;
    device->next = SLAB_NONE;
    device->prev = devices->idle_last;
    if (devices->idle_last != SLAB_NONE)
        devices_at(devices, devices->idle_last)->next = index;
    else
        devices->idle_first = index;
    devices->idle_last = index;
    devices->idle_count++;
    if (devices->idle_count > devices->idle_max)
        forget_oldest(devices);
}

void devices_check(const struct devices *devices)
{
    uint32_t idle = 0, prev = SLAB_NONE;
    for (uint32_t index = devices->idle_first; index != SLAB_NONE; index = devices_at(devices, index)->next) {
        const struct device *device = devices_at(devices, index);
        CHECK(device->is_idle && device->prev == prev && devices_find(devices, &device->key) == index);
        CHECK(device->kept_count == 0 && device->kept_bytes == 0 && device->sent_count == 0);
        prev = index;
        idle++;
    }
    CHECK(prev == devices->idle_last && idle == devices->idle_count && idle <= devices->idle_max);
    CHECK(devices->table.count == devices->slab.count);
}
