// The table of devices: only idle ones are forgotten, the one that left longest ago first.
#include <stdlib.h>

#include "net/queue/devices.h"
#include "shards/base/check.h"

static struct key key_of(uint32_t number)
{
    struct key key = {{0}};
    memcpy(key.bytes, &number, sizeof(number));
    return key;
}

static void set(struct devices *devices, uint32_t number, uint32_t generation)
{
    struct key key = key_of(number);
    uint32_t index = devices_get(devices, &key);
    devices_at(devices, index)->holder = (struct handle){.generation = generation};
    devices_settle(devices, index);
    devices_check(devices);
}

static bool knows(const struct devices *devices, uint32_t number)
{
    struct key key = key_of(number);
    return devices_find(devices, &key) != SLAB_NONE;
}

static void test_oldest_goes_first(void)
{
    struct devices devices;
    devices_init(&devices, 3);
    for (uint32_t i = 0; i < 5; i++)
        set(&devices, i, 1);
    CHECK(devices.idle_count == 0);
    set(&devices, 2, 0);
    set(&devices, 0, 0);
    set(&devices, 1, 0);
    set(&devices, 2, 1); // it came back: it is the youngest when it leaves again
    set(&devices, 2, 0);
    CHECK(devices.idle_count == 3 && devices.forgotten == 0);
    set(&devices, 3, 0);
    CHECK(!knows(&devices, 0) && knows(&devices, 1) && knows(&devices, 2) && knows(&devices, 3) && knows(&devices, 4));
    CHECK(devices.forgotten == 1);
    devices_fini(&devices);
}

static void test_random(void)
{
    struct devices devices;
    srand(1);
    devices_init(&devices, 50);
    for (int i = 0; i < 3000; i++) {
        uint32_t number = (uint32_t)rand() % 200;
        struct key key = key_of(number);
        uint32_t index = devices_get(&devices, &key);
        struct device *device = devices_at(&devices, index);
        CHECK(key_equal(&device->key, &key));
        switch (rand() % 3) {
        case 0:
            device->holder.generation = (uint32_t)rand() % 2;
            break;
        case 1:
            device->kept_count = (uint32_t)rand() % 2;
            device->kept_bytes = device->kept_count;
            break;
        default:
            device->sent_count = (uint32_t)rand() % 2;
        }
        devices_settle(&devices, index);
        if (i % 50 == 0)
            devices_check(&devices);
    }
    devices_check(&devices);
    CHECK(devices.forgotten > 0);
    devices_fini(&devices);
}

int main(void)
{
    test_oldest_goes_first();
    test_random();
    return 0;
}
