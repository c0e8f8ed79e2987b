// Fibers: each shard, and each service, runs the production loop (node_run) on a stack of its own and is put aside in system calls. It
// sleeps in epoll_wait exactly until its epoll has an edge or its time has come, so a lost wake-up leaves it asleep for ever.
#include <stdlib.h>
#include <ucontext.h>

#include "shards/base/check.h"
#include "tests/sim/sim.h"

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/common_interface_defs.h>
#define STACK_BYTES (1u << 20)
#elif defined(__SANITIZE_THREAD__)
#include <sanitizer/tsan_interface.h>
#define STACK_BYTES (1u << 20)
#else
#define STACK_BYTES (256u << 10)
#endif

struct fiber {
    ucontext_t context;
    uint8_t *stack;
    void (*run)(void *argument);
    void *argument;
    bool started, done, asleep;
    int epoll_fd;
    uint64_t due_ns;
    void *fake_stack; // AddressSanitizer's
    void *thread;     // ThreadSanitizer's: to it, fibers are threads that hand over to each other
};

static struct fiber fibers[SIM_SHARDS_MAX + SIM_SERVICES_MAX];
static ucontext_t scheduler;
static int current = -1;
#ifdef __SANITIZE_THREAD__
static void *scheduler_thread;
#endif
#ifdef __SANITIZE_ADDRESS__
static void *scheduler_fake_stack;
static const void *scheduler_stack;
static size_t scheduler_stack_bytes;
#endif

int fiber_current(void)
{
    return current;
}

static void leave(struct fiber *fiber, bool for_ever)
{
#ifdef __SANITIZE_ADDRESS__
    __sanitizer_start_switch_fiber(for_ever ? NULL : &fiber->fake_stack, scheduler_stack, scheduler_stack_bytes);
#else
    (void)for_ever;
#endif
#ifdef __SANITIZE_THREAD__
    __tsan_switch_to_fiber(scheduler_thread, 0);
#endif
    CHECK(swapcontext(&fiber->context, &scheduler) == 0);
#ifdef __SANITIZE_ADDRESS__
    __sanitizer_finish_switch_fiber(fiber->fake_stack, &scheduler_stack, &scheduler_stack_bytes);
#endif
}

static void fiber_main(void)
{
    struct fiber *fiber = &fibers[current];
#ifdef __SANITIZE_ADDRESS__
    __sanitizer_finish_switch_fiber(NULL, &scheduler_stack, &scheduler_stack_bytes);
#endif
    fiber->run(fiber->argument);
    fiber->done = true;
    leave(fiber, /* for_ever= */ true);
    UNREACHABLE();
}

void fiber_start(unsigned index, void (*run)(void *argument), void *argument)
{
    struct fiber *fiber = &fibers[index];
    CHECK(index < SIM_SHARDS_MAX + SIM_SERVICES_MAX && fiber->stack == NULL);
    *fiber = (struct fiber){.run = run, .argument = argument, .stack = malloc(STACK_BYTES), .due_ns = UINT64_MAX};
    CHECK(fiber->stack != NULL);
    CHECK(getcontext(&fiber->context) == 0);
#ifdef __SANITIZE_THREAD__
    fiber->thread = __tsan_create_fiber(0);
#endif
    fiber->context.uc_stack.ss_sp = fiber->stack;
    fiber->context.uc_stack.ss_size = STACK_BYTES;
    fiber->context.uc_link = NULL;
    makecontext(&fiber->context, fiber_main, 0);
}

void fiber_resume(unsigned index)
{
    struct fiber *fiber = &fibers[index];
    CHECK(current < 0 && !fiber->done && fiber->stack != NULL);
    current = (int)index;
    fiber->asleep = false;
#ifdef __SANITIZE_ADDRESS__
    __sanitizer_start_switch_fiber(&scheduler_fake_stack, fiber->stack, STACK_BYTES);
#endif
#ifdef __SANITIZE_THREAD__
    scheduler_thread = __tsan_get_current_fiber();
    __tsan_switch_to_fiber(fiber->thread, 0);
#endif
    CHECK(swapcontext(&scheduler, &fiber->context) == 0);
#ifdef __SANITIZE_ADDRESS__
    __sanitizer_finish_switch_fiber(scheduler_fake_stack, NULL, NULL);
#endif
    current = -1;
}

void fiber_yield(void)
{
    if (current >= 0)
        leave(&fibers[current], /* for_ever= */ false);
}

void fiber_sleep(int epoll_fd, int64_t timeout_ns)
{
    CHECK(current >= 0);
    struct fiber *fiber = &fibers[current];
    fiber->epoll_fd = epoll_fd;
    fiber->due_ns = timeout_ns < 0 ? UINT64_MAX : kernel_now_ns() + (uint64_t)timeout_ns;
    fiber->asleep = true;
    leave(fiber, /* for_ever= */ false);
}

bool fiber_is_done(unsigned index)
{
    return fibers[index].done;
}

bool fiber_is_asleep(unsigned index)
{
    return fibers[index].asleep;
}

uint64_t fiber_due_ns(unsigned index)
{
    return fibers[index].asleep && !fibers[index].done ? fibers[index].due_ns : UINT64_MAX;
}

bool fiber_is_runnable(unsigned index)
{
    const struct fiber *fiber = &fibers[index];
    if (fiber->done || fiber->stack == NULL)
        return false;
    return !fiber->asleep || fiber->due_ns <= kernel_now_ns() || kernel_has_edge(fiber->epoll_fd);
}

void fiber_free(unsigned index)
{
#ifdef __SANITIZE_THREAD__
    __tsan_destroy_fiber(fibers[index].thread);
#endif
    free(fibers[index].stack);
    fibers[index] = (struct fiber){.stack = NULL};
}
