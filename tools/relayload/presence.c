// presence: accounts with many devices that come and go. Every device keeps who is there by its own events: Entered and Exited must
// alternate for each key, never name oneself, and in the end all views must be complete.
#include "shards/base/check.h"
#include "tools/relayload/churn.h"
#include "tools/relayload/scenarios.h"
#include <stdlib.h>
#include <string.h>

#define LOGINS_MAX 64u
#define RATE 50u // unless told

struct presence {
    struct churn churn;
    size_t row_bytes;
    uint8_t *seen; // bit [viewer][other]
};

static uint8_t *row(struct presence *presence, const struct client *viewer)
{
    return presence->seen + viewer->index * presence->row_bytes;
}

static bool start(struct worker *worker)
{
    struct presence *presence = calloc(1, sizeof *presence);
    worker->state = presence;
    if (!presence)
        return false;
    presence->row_bytes = (worker->client_count + 7) / 8;
    presence->seen = calloc(worker->client_count, presence->row_bytes);
    return presence->seen != NULL;
}

static void on_leaving(struct worker *worker, struct client *client)
{
    struct presence *presence = worker->state;
    memset(row(presence, client), 0, presence->row_bytes);
}

static void on_ready(struct worker *worker, struct client *client)
{
    on_leaving(worker, client);
    if (worker->seen_phase == PHASE_SETUP && worker_all_ready(worker))
        worker->is_set_up = true;
}

static void on_event(struct worker *worker, struct client *client, const struct buckets_event *event)
{
    struct presence *presence = worker->state;
    struct key key;
    if ((event->kind != '>' && event->kind != '^') || event->key.len != KEY_BYTES) {
        worker_violation(worker, "session %u: unexpected event '%c'", client->index, event->kind);
        return;
    }
    COUNT(&worker->counters, presence_events, 1);
    memcpy(key.bytes, event->key.ptr, KEY_BYTES);
    const struct client *other = worker_find(worker, &key);
    if (!other)
        return; // another worker's, or not ours at all
    uint8_t *byte = row(presence, client) + other->index / 8, bit = (uint8_t)(1u << other->index % 8);
    bool entered = event->kind == '>', was_seen = (*byte & bit) != 0;
    if (other == client || other->user != client->user)
        worker_violation(worker, "session %u was told of %s", client->index, other == client ? "itself" : "another account");
    else if (entered == was_seen)
        worker_violation(worker, "session %u: %s twice from %u", client->index, entered ? "Entered" : "Exited", other->index);
    *byte = (uint8_t)(entered ? *byte | bit : *byte & ~bit);
}

static bool views_complete(const struct worker *worker)
{
    struct presence *presence = worker->state;
    for (uint32_t i = 0; i < worker->client_count; i++) {
        const struct client *viewer = &worker->clients[i];
        for (uint32_t j = 0; j < worker->client_count; j++) {
            bool is_seen = (row(presence, viewer)[j / 8] >> j % 8 & 1) != 0;
            if (i != j && is_seen != (worker->clients[j].user == viewer->user))
                return false;
        }
    }
    return true;
}

static void on_phase(struct worker *worker, enum phase phase)
{
    struct presence *presence = worker->state;
    if (phase == PHASE_MEASURE)
        churn_start(worker, &presence->churn, worker->rate > 0 ? worker->rate : RATE);
}

static uint64_t on_turn(struct worker *worker)
{
    struct presence *presence = worker->state;
    switch (worker->seen_phase) {
    case PHASE_SETUP:
        return worker_open_some(worker, LOGINS_MAX);
    case PHASE_MEASURE:
        return churn_turn(worker, &presence->churn, on_leaving);
    case PHASE_SETTLE:
        worker->is_settled = worker_all_ready(worker) && views_complete(worker);
        worker_open_some(worker, LOGINS_MAX);
        return worker->now_ns + 10000000;
    default:
        return WORKER_NEVER;
    }
}

static void on_closed(struct worker *worker, struct client *client)
{
    on_leaving(worker, client);
}

static void finish(struct worker *worker)
{
    struct presence *presence = worker->state;
    free(presence->seen);
    free(presence);
}

const struct scenario scenario_presence = {
    .name = "presence",
    .summary = "accounts with many devices that come and go (--rate a second); every view is checked",
    .observed = true,
    .sessions = 100,
    .window = 64,
    .start = start,
    .on_phase = on_phase,
    .on_ready = on_ready,
    .on_event = on_event,
    .on_closed = on_closed,
    .on_turn = on_turn,
    .finish = finish,
};
