// churn: sessions end, some politely and some not, and come back with the same key; each asks for its neighbour, so that
// connections are made and broken all the time.
#include "tools/relayload/churn.h"

#include "shards/base/check.h"
#include "tools/relayload/scenarios.h"
#include <stdlib.h>

#define LOGINS_MAX 64u
#define BURST_MAX 64u // sessions in one turn
#define RATE 100u     // unless told

void churn_start(struct worker *worker, struct churn *churn, uint32_t rate)
{
    *churn = (struct churn){.next_ns = worker->now_ns, .interval_ns = rate > 0 ? 1000000000ull / rate : 0};
}

uint64_t churn_turn(struct worker *worker, struct churn *churn, void (*on_leaving)(struct worker *worker, struct client *client))
{
    worker_open_some(worker, LOGINS_MAX);
    for (unsigned i = 0; i < BURST_MAX && worker->logins_under_way < LOGINS_MAX && churn->next_ns <= worker->now_ns; i++) {
        struct client *client = &worker->clients[sizes_random(&worker->seed) % worker->client_count];
        churn->next_ns += churn->interval_ns;
        if (client->state != CLIENT_READY)
            continue;
        worker_close(worker, client, sizes_random(&worker->seed) & 1);
        if (on_leaving)
            on_leaving(worker, client);
        worker_open(worker, client);
    }
    return churn->interval_ns == 0 ? worker->now_ns + 1000000 : churn->next_ns;
}

static bool start(struct worker *worker)
{
    worker->state = calloc(1, sizeof(struct churn));
    return worker->state != NULL;
}

static void on_ready(struct worker *worker, struct client *client)
{
    if (!client_connect(client, &worker->clients[client->index ^ 1].key))
        worker_fail(worker, "out of memory");
    client_flush(client);
    if (worker->seen_phase == PHASE_SETUP && worker_all_ready(worker))
        worker->is_set_up = true;
}

static void on_event(struct worker *worker, struct client *client, const struct buckets_event *event)
{
    CHECK(client->state == CLIENT_READY);
    if (event->kind == '>' || event->kind == '^')
        COUNT(&worker->counters, presence_events, 1);
    else if (event->kind == 'c' || event->kind == 'x')
        COUNT(&worker->counters, connection_events, 1);
    else
        worker_violation(worker, "session %u: unexpected event '%c'", client->index, event->kind);
}

static void on_phase(struct worker *worker, enum phase phase)
{
    if (phase == PHASE_MEASURE)
        churn_start(worker, worker->state, worker->rate > 0 ? worker->rate : RATE);
}

static uint64_t on_turn(struct worker *worker)
{
    switch (worker->seen_phase) {
    case PHASE_SETUP:
        return worker_open_some(worker, LOGINS_MAX);
    case PHASE_MEASURE:
        return churn_turn(worker, worker->state, NULL);
    case PHASE_SETTLE:
        worker->is_settled = worker_all_ready(worker);
        return worker_open_some(worker, LOGINS_MAX);
    default:
        return WORKER_NEVER;
    }
}

static void on_closed(struct worker *worker, struct client *client)
{
    CHECK(client->worker == worker);
}

static void finish(struct worker *worker)
{
    free(worker->state);
}

const struct scenario scenario_churn = {
    .name = "churn",
    .summary = "sessions end and come back all the time (--rate of them a second), and what others feel",
    .observed = true,
    .sessions = 200,
    .window = 64,
    .start = start,
    .on_phase = on_phase,
    .on_ready = on_ready,
    .on_event = on_event,
    .on_closed = on_closed,
    .on_turn = on_turn,
    .finish = finish,
};
