// Placement by one thread (where connections go, limits), then by two at once (counts stay exact).
#include "net/placement.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "shards/base/check.h"

#define SHARDS 4
#define ACCEPTORS 2 // threads; the other shards get nothing by themselves
#define EACH 20000  // connections of each thread

static uint64_t random_state = 1;

static uint32_t random_below(uint32_t limit)
{
    random_state = random_state * 6364136223846793005ull + 1442695040888963407ull;
    return (uint32_t)(random_state >> 33) % limit;
}

static void check_spread(const struct placement *placement, uint32_t total)
{
    uint32_t sum = 0;
    for (uint16_t i = 0; i < SHARDS; i++) {
        uint32_t load = placement_load(placement, i);
        sum += load;
        if ((uint64_t)load * SHARDS * 100 > (uint64_t)total * 115) {
            fprintf(stderr, "shard %u has %u of %u\n", (unsigned)i, load, total);
            abort();
        }
    }
    CHECK(sum == total);
}

static void test_all_arrive_at_one(void)
{
    struct placement *placement = placement_create(SHARDS, 1000);
    uint32_t handed_over = 0;
    for (uint32_t i = 0; i < 1000; i++)
        handed_over += placement_enter(placement, 2) != 2;
    check_spread(placement, 1000);
    CHECK(placement_load(placement, 2) > 250); // it keeps its sixteenth
    CHECK(handed_over == 1000 - placement_load(placement, 2));
    placement_destroy(placement);
    placement_destroy(NULL);
}

static void test_random_arrivals_seldom_move(void)
{
    struct placement *placement = placement_create(SHARDS, 100000);
    uint32_t handed_over = 0;
    for (uint32_t i = 0; i < 100000; i++) {
        uint16_t self = (uint16_t)random_below(SHARDS);
        handed_over += placement_enter(placement, self) != self;
    }
    check_spread(placement, 100000);
    CHECK(handed_over < 1000);
    placement_destroy(placement);
}

static void test_those_who_leave_make_room(void)
{
    struct placement *placement = placement_create(SHARDS, 2000);
    for (uint32_t i = 0; i < 1000; i++)
        (void)placement_enter(placement, (uint16_t)(i % SHARDS));
    while (placement_load(placement, 3) > 0)
        placement_leave(placement, 3);
    for (uint32_t i = 0; i < 250; i++)
        (void)placement_enter(placement, (uint16_t)(i % (SHARDS - 1))); // none arrives at the empty one
    check_spread(placement, 1000);
    placement_destroy(placement);
}

static void test_limit_is_exact(void)
{
    struct placement *placement = placement_create(SHARDS, 5);
    for (uint32_t i = 0; i < 5; i++)
        CHECK(placement_enter(placement, 0) != PLACEMENT_FULL);
    CHECK(placement_enter(placement, 0) == PLACEMENT_FULL && placement_enter(placement, 3) == PLACEMENT_FULL);
    placement_leave(placement, 1);
    CHECK(placement_enter(placement, 0) == 1);
    CHECK(placement_enter(placement, 1) == PLACEMENT_FULL);
    placement_destroy(placement);
    placement = placement_create(1, 2);
    CHECK(placement_enter(placement, 0) == 0 && placement_enter(placement, 0) == 0 && placement_enter(placement, 0) == PLACEMENT_FULL);
    placement_destroy(placement);
}

struct acceptor {
    pthread_t id;
    struct placement *placement;
    uint16_t self;
    uint32_t given[SHARDS];
};

static void *accept_many(void *argument)
{
    struct acceptor *acceptor = argument;
    for (uint32_t i = 0; i < EACH; i++) {
        uint16_t shard = placement_enter(acceptor->placement, acceptor->self);
        CHECK(shard < SHARDS);
        if (i % 4 == 3)
            placement_leave(acceptor->placement, shard);
        else
            acceptor->given[shard]++;
    }
    return NULL;
}

static void test_threads(void)
{
    struct placement *placement = placement_create(SHARDS, ACCEPTORS * EACH);
    struct acceptor acceptors[ACCEPTORS] = {0};
    for (uint16_t i = 0; i < ACCEPTORS; i++) {
        acceptors[i] = (struct acceptor){.placement = placement, .self = i};
        CHECK(pthread_create(&acceptors[i].id, NULL, accept_many, &acceptors[i]) == 0);
    }
    for (uint16_t i = 0; i < ACCEPTORS; i++)
        pthread_join(acceptors[i].id, NULL);
    for (uint16_t i = 0; i < SHARDS; i++) {
        uint32_t given = 0;
        for (uint16_t k = 0; k < ACCEPTORS; k++)
            given += acceptors[k].given[i];
        CHECK(placement_load(placement, i) == given);
    }
    check_spread(placement, ACCEPTORS * EACH * 3 / 4);
    placement_destroy(placement);
}

int main(void)
{
    test_all_arrive_at_one();
    test_random_arrivals_seldom_move();
    test_those_who_leave_make_room();
    test_limit_is_exact();
    test_threads();
    return 0;
}
