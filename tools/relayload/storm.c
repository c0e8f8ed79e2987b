// storm: all sessions lose their connection at once and all come back, as after a relay's restart; done when the last is authenticated.
// die: they do not come back; others are watched for --seconds.
#include "shards/base/check.h"
#include "tools/relayload/scenarios.h"
#include <stdlib.h>

#define SETUP_LOGINS 64u

static bool start(struct worker *worker)
{
    worker->state = NULL;
    return true;
}

static void on_ready(struct worker *worker, struct client *client)
{
    CHECK(client->state == CLIENT_READY);
    if (!worker_all_ready(worker))
        return;
    if (worker->seen_phase == PHASE_SETUP)
        worker->is_set_up = true;
    else if (worker->seen_phase == PHASE_MEASURE)
        worker->is_done = worker->is_settled = true;
}

static void on_event(struct worker *worker, struct client *client, const struct buckets_event *event)
{
    if (event->kind == '>' || event->kind == '^')
        COUNT(&worker->counters, presence_events, 1);
    else
        worker_violation(worker, "session %u: unexpected event '%c'", client->index, event->kind);
}

static void on_phase(struct worker *worker, enum phase phase)
{
    if (phase == PHASE_MEASURE) {
        for (uint32_t i = 0; i < worker->client_count; i++)
            worker_close(worker, &worker->clients[i], false);
        worker->open_next = 0;
    } else if (phase == PHASE_SETTLE && !worker_all_ready(worker)) {
        worker_fail(worker, "the storm was not over in time (--seconds)");
        worker->is_settled = true;
    }
}

static uint64_t on_turn(struct worker *worker)
{
    if (worker->seen_phase == PHASE_SETUP)
        return worker_open_some(worker, SETUP_LOGINS);
    return worker->seen_phase == PHASE_MEASURE ? worker_open_some(worker, worker->window) : WORKER_NEVER;
}

static void die_on_phase(struct worker *worker, enum phase phase)
{
    for (uint32_t i = 0; phase == PHASE_MEASURE && i < worker->client_count; i++)
        worker_close(worker, &worker->clients[i], false);
}

static uint64_t die_on_turn(struct worker *worker)
{
    if (worker->seen_phase == PHASE_SETUP)
        return worker_open_some(worker, SETUP_LOGINS);
    worker->is_settled = worker->seen_phase == PHASE_SETTLE;
    return WORKER_NEVER;
}

static void on_closed(struct worker *worker, struct client *client)
{
    CHECK(client->worker == worker);
}

static void finish(struct worker *worker)
{
    CHECK(worker->state == NULL);
}

const struct scenario scenario_storm = {
    .name = "storm",
    .summary = "everybody reconnects at once (--window: logins under way): logins a second, and what others feel",
    .observed = true,
    .sessions = 1000,
    .window = 1000,
    .start = start,
    .on_phase = on_phase,
    .on_ready = on_ready,
    .on_event = on_event,
    .on_closed = on_closed,
    .on_turn = on_turn,
    .finish = finish,
};

const struct scenario scenario_die = {
    .name = "die",
    .summary = "all sessions end at once and stay away; what others feel",
    .observed = true,
    .sessions = 1000,
    .window = 1,
    .start = start,
    .on_phase = die_on_phase,
    .on_ready = on_ready,
    .on_event = on_event,
    .on_closed = on_closed,
    .on_turn = die_on_turn,
    .finish = finish,
};

const struct scenario scenario_mixed = {
    .name = "mixed",
    .summary = "pairs, churn, presence and slow receivers together, one thread each",
    .observed = true,
    .sessions = 200,
};
