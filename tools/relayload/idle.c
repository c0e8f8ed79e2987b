// idle: how much memory a session costs. A first part of the sessions warms the relay up; the measured part opens the rest, and the
// relay's RSS difference is divided by their number. Guards: all sessions are still connected at the end, each has sent a command and had
// its answer.
#include "shards/base/check.h"
#include "tools/relayload/scenarios.h"
#include <stdlib.h>

#define LOGINS_MAX 64u
#define WARM_MAX 1000u // sessions of the first part; a tenth if that is less

struct idle {
    uint32_t warm_count, answered;
    uint64_t hold_until_ns;
};

static bool start(struct worker *worker)
{
    struct idle *idle = calloc(1, sizeof *idle);
    worker->state = idle;
    if (!idle)
        return false;
    uint32_t tenth = worker->client_count / 10 & ~1u;
    idle->warm_count = tenth < 2 ? 2 : tenth > WARM_MAX ? WARM_MAX : tenth;
    worker->open_end = idle->warm_count;
    return true;
}

// The one command: a Connect to the neighbour, which is answered when the neighbour has asked too.
static void on_ready(struct worker *worker, struct client *client)
{
    CHECK((client->index ^ 1) < worker->client_count);
    if (!client_connect(client, &worker->clients[client->index ^ 1].key))
        worker_fail(worker, "out of memory");
    client_flush(client);
}

static void on_event(struct worker *worker, struct client *client, const struct buckets_event *event)
{
    struct idle *idle = worker->state;
    switch (event->kind) {
    case 'c':
        COUNT(&worker->counters, connection_events, 1);
        idle->answered++;
        if (idle->answered == idle->warm_count)
            worker->is_set_up = true;
        if (idle->answered == worker->client_count)
            worker->is_done = true;
        break;
    case '>':
    case '^':
        COUNT(&worker->counters, presence_events, 1);
        break;
    default:
        worker_violation(worker, "session %u: unexpected event '%c'", client->index, event->kind);
    }
}

static void on_phase(struct worker *worker, enum phase phase)
{
    struct idle *idle = worker->state;
    if (phase == PHASE_MEASURE)
        worker->open_end = worker->client_count;
    if (phase == PHASE_SETTLE)
        idle->hold_until_ns = worker->now_ns + worker->args->seconds * 1000000000ull;
    if (phase == PHASE_SETTLE && idle->answered < worker->client_count)
        worker_fail(worker, "%u of %u sessions had no answer in time", worker->client_count - idle->answered, worker->client_count);
}

static uint64_t on_turn(struct worker *worker)
{
    struct idle *idle = worker->state;
    switch (worker->seen_phase) {
    case PHASE_SETUP:
    case PHASE_MEASURE:
        return worker_open_some(worker, LOGINS_MAX);
    case PHASE_SETTLE:
        if (worker->now_ns >= idle->hold_until_ns)
            worker->is_settled = true;
        return WORKER_NEVER;
    default:
        return WORKER_NEVER;
    }
}

static void on_closed(struct worker *worker, struct client *client)
{
    CHECK(client->worker == worker); // counted as lost: that is failure enough
}

static void finish(struct worker *worker)
{
    free(worker->state);
}

const struct scenario scenario_idle = {
    .name = "idle",
    .summary = "as many sessions as asked, doing nothing: memory of each (with --server-pid)",
    .holds = true,
    .sessions = 1000,
    .window = 1,
    .start = start,
    .on_phase = on_phase,
    .on_ready = on_ready,
    .on_event = on_event,
    .on_closed = on_closed,
    .on_turn = on_turn,
    .finish = finish,
};
