// A planted bug, built in the tsan preset only, where the test passes when TSan reports it: the receiver of a record keeps the bytes and
// writes to them after they have gone home, while their sender uses the parcel again. Proves that ring.c's annotations hide no real race.
#include "shards/post.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>

#include "shards/base/check.h"

static struct post *post;
static uint8_t *kept;
static atomic_int step; // relaxed, so that it orders the threads in time but not in TSan's eyes

static void wait_for(int value)
{
    while (atomic_load_explicit(&step, memory_order_relaxed) < value)
        sched_yield();
}

static void on_record(void *owner, const struct post_record *record)
{
    (void)owner;
    kept = (uint8_t *)record->body.ptr;
}

static void *receive(void *unused)
{
    wait_for(1);
    CHECK(post_drain(post, 1, 1, on_record, NULL) == 1);
    *kept = 1; // the bug
    atomic_store_explicit(&step, 2, memory_order_relaxed);
    return unused;
}

int main(void)
{
    pthread_t receiver;
    post = post_create(2, &post_limits_default);
    CHECK(post != NULL);
    CHECK(pthread_create(&receiver, NULL, receive, NULL) == 0);
    post_write(post, 0, 1, 0, bytes_text("a record"), bytes_text(""));
    post_flush(post, 0);
    atomic_store_explicit(&step, 1, memory_order_relaxed);
    wait_for(2);
    post_write(post, 0, 1, 0, bytes_text("another one"), bytes_text("")); // into the same parcel
    CHECK(pthread_join(receiver, NULL) == 0);
    post_destroy(post);
    return 0;
}
