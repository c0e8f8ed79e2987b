// Order, limits, and the two ends on two threads.
#include "shards/ring.h"

#include <pthread.h>
#include <sched.h>
#include <stddef.h>

#include "shards/base/check.h"

static void test_fill_and_empty(void)
{
    int items[8];
    struct ring *ring = ring_create(8);
    CHECK(ring != NULL);
    CHECK(ring_is_empty(ring));
    CHECK(ring_pop(ring) == NULL);
    for (int round = 0; round < 5; round++) { // past the wrap
        for (int i = 0; i < 7; i++)
            CHECK(ring_push(ring, &items[i]));
        CHECK(!ring_push(ring, &items[7]));
        CHECK(!ring_is_empty(ring));
        for (int i = 0; i < 7; i++)
            CHECK(ring_pop(ring) == &items[i]);
        CHECK(ring_pop(ring) == NULL);
        CHECK(ring_is_empty(ring));
    }
    ring_destroy(ring);
    ring_destroy(NULL);
}

#define ITEMS 100000
static size_t items[ITEMS]; // written by the producer before the push, checked by the consumer after the pop

static void *produce(void *ring)
{
    for (size_t i = 0; i < ITEMS; i++) {
        items[i] = i + 1;
        while (!ring_push(ring, &items[i]))
            sched_yield();
    }
    return NULL;
}

static void test_two_threads(void)
{
    struct ring *ring = ring_create(16);
    pthread_t producer;
    CHECK(ring != NULL);
    CHECK(pthread_create(&producer, NULL, produce, ring) == 0);
    for (size_t i = 0; i < ITEMS; i++) {
        size_t *item;
        while ((item = ring_pop(ring)) == NULL)
            sched_yield();
        CHECK(item == &items[i]);
        CHECK(*item == i + 1);
        *item = 0; // ours to write now
    }
    CHECK(pthread_join(producer, NULL) == 0);
    CHECK(ring_is_empty(ring));
    ring_destroy(ring);
}

int main(void)
{
    test_fill_and_empty();
    test_two_threads();
    return 0;
}
