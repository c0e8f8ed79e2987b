// verify: random traffic over a random and changing topology; sessions send, connect, disconnect, stop reading for a while, leave and
// come back. The model is told everything and objects to whatever must not be.
#include "shards/base/check.h"
#include "tools/relayload/model.h"
#include "tools/relayload/scenarios.h"
#include <stdlib.h>

#define LOGINS_MAX 64u
#define RATE 20000u    // actions a second, unless told
#define BURST_MAX 256u // actions in one turn
#define UNSENT_MAX (1u << 20)
#define PAUSE_NS 30000000ull
#define SESSIONS_MAX 512u // of one worker: the model keeps every pair of them

struct verify {
    struct model *model;
    uint64_t *paused_until_ns; // of each client; 0: reads
    uint64_t next_ns, interval_ns;
    bool is_acting;
};

static bool start(struct worker *worker)
{
    struct verify *verify = calloc(1, sizeof *verify);
    worker->state = verify;
    if (!verify || worker->client_count > SESSIONS_MAX)
        return false;
    verify->model = model_create(worker->client_count, worker->seed, &worker->args->sizes);
    verify->paused_until_ns = calloc(worker->client_count, sizeof *verify->paused_until_ns);
    verify->interval_ns = 1000000000ull / (worker->rate > 0 ? worker->rate : RATE);
    return verify->model && verify->paused_until_ns;
}

static uint32_t below(struct worker *worker, uint32_t limit)
{
    return (uint32_t)(sizes_random(&worker->seed) % limit);
}

static void ask(struct worker *worker, struct client *client, uint32_t peer)
{
    struct verify *verify = worker->state;
    if (peer == client->index || !client_connect(client, &worker->clients[peer].key))
        return;
    model_ask(verify->model, client->index, peer);
}

static void unask(struct worker *worker, struct client *client, uint32_t peer)
{
    struct verify *verify = worker->state;
    if (!model_has_asked(verify->model, client->index, peer) || !client_disconnect(client, &worker->clients[peer].key))
        return;
    model_unask(verify->model, client->index, peer);
}

// A few messages to one peer, so that batches meet on the way.
static void send_some(struct worker *worker, struct client *client)
{
    struct verify *verify = worker->state;
    uint32_t peer = below(worker, worker->client_count);
    for (uint32_t tried = 0; tried < worker->client_count && !model_is_connected(verify->model, client->index, peer); tried++)
        peer = (peer + 1) % worker->client_count;
    if (!model_is_connected(verify->model, client->index, peer))
        return;
    for (uint32_t left = 1 + below(worker, 8); left > 0 && client_unsent_bytes(client) < UNSENT_MAX; left--) {
        struct payload_id id = model_send(verify->model, client->index, peer);
        uint32_t len = payload_len(&id, &worker->args->sizes);
        uint8_t *payload = client_send_begin(client, &worker->clients[peer].key, len);
        if (!payload) {
            worker_fail(worker, "out of memory");
            return;
        }
        payload_fill(&id, payload, len);
        client_send_end(client);
        COUNT(&worker->counters, messages_sent, 1);
    }
}

static void leave(struct worker *worker, struct client *client)
{
    struct verify *verify = worker->state;
    worker_close(worker, client, below(worker, 2) == 0);
    model_leave(verify->model, client->index);
    verify->paused_until_ns[client->index] = 0;
    worker_open(worker, client);
}

static void act(struct worker *worker)
{
    struct verify *verify = worker->state;
    struct client *client = &worker->clients[below(worker, worker->client_count)];
    if (client->state != CLIENT_READY)
        return;
    uint32_t dice = below(worker, 10000);
    if (dice < 9000) {
        send_some(worker, client);
    } else if (dice < 9600) {
        ask(worker, client, below(worker, worker->client_count));
    } else if (dice < 9900) {
        unask(worker, client, below(worker, worker->client_count));
    } else if (dice < 9980 && !client->paused) {
        client_pause(client);
        verify->paused_until_ns[client->index] = worker->now_ns + PAUSE_NS;
    } else if (dice >= 9980) {
        leave(worker, client);
    }
    client_flush(client);
}

static void end_pauses(struct worker *worker)
{
    struct verify *verify = worker->state;
    for (uint32_t i = 0; i < worker->client_count; i++) {
        if (verify->paused_until_ns[i] == 0 || (verify->is_acting && verify->paused_until_ns[i] > worker->now_ns))
            continue;
        verify->paused_until_ns[i] = 0;
        if (worker->clients[i].state == CLIENT_READY && worker->clients[i].paused)
            client_resume(&worker->clients[i]);
    }
}

static void on_ready(struct worker *worker, struct client *client)
{
    for (unsigned i = 0; i < 4; i++)
        ask(worker, client, below(worker, worker->client_count));
    ask(worker, client, client->index ^ 1); // so that somebody is connected at once
    client_flush(client);
    if (worker->seen_phase == PHASE_SETUP && worker_all_ready(worker))
        worker->is_set_up = true;
}

static void on_event(struct worker *worker, struct client *client, const struct buckets_event *event)
{
    CHECK(client != NULL);
    struct verify *verify = worker->state;
    const char *wrong = NULL;
    if (event->kind == 'E') {
        COUNT(&worker->counters, bounces, 1);
        return;
    }
    struct key key;
    const struct client *peer = NULL;
    if (event->key.len == KEY_BYTES) {
        memcpy(key.bytes, event->key.ptr, KEY_BYTES);
        peer = worker_find(worker, &key);
    }
    bool is_presence = event->kind == '>' || event->kind == '^';
    if (is_presence) {
        COUNT(&worker->counters, presence_events, 1);
        wrong = peer == client ? "was told of itself" : NULL;
    } else if (!peer) {
        wrong = "event of a stranger";
    } else if (event->kind == 'd') {
        COUNT(&worker->counters, messages, 1);
        COUNT(&worker->counters, bytes, event->data.len);
        wrong = model_data(verify->model, client->index, peer->index, event->data);
    } else {
        COUNT(&worker->counters, connection_events, 1);
        wrong = event->kind == 'c' ? model_connected(verify->model, client->index, peer->index)
                                   : model_disconnected(verify->model, client->index, peer->index);
    }
    if (wrong)
        worker_violation(worker, "%s: session %u from %d", wrong, client->index, peer ? (int)peer->index : -1);
}

static void on_phase(struct worker *worker, enum phase phase)
{
    struct verify *verify = worker->state;
    verify->is_acting = phase == PHASE_WARMUP || phase == PHASE_MEASURE;
    if (phase == PHASE_WARMUP)
        verify->next_ns = worker->now_ns;
}

static bool is_quiet(const struct worker *worker)
{
    const struct verify *verify = worker->state;
    uint32_t end, peer;
    return worker_all_ready(worker) && model_problem(verify->model, &end, &peer) == NULL;
}

static uint64_t on_turn(struct worker *worker)
{
    struct verify *verify = worker->state;
    worker_open_some(worker, LOGINS_MAX);
    end_pauses(worker);
    if (worker->seen_phase == PHASE_SETTLE)
        worker->is_settled = is_quiet(worker);
    if (!verify->is_acting)
        return WORKER_NEVER;
    for (unsigned i = 0; i < BURST_MAX && verify->next_ns <= worker->now_ns; i++) {
        act(worker);
        verify->next_ns += verify->interval_ns;
    }
    if (verify->next_ns < worker->now_ns)
        verify->next_ns = worker->now_ns; // the relay or we are the slower ones: nothing to catch up with
    return verify->next_ns;
}

static void on_closed(struct worker *worker, struct client *client)
{
    struct verify *verify = worker->state;
    model_leave(verify->model, client->index);
}

static void finish(struct worker *worker)
{
    struct verify *verify = worker->state;
    uint32_t end = 0, peer = 0;
    const char *problem = worker->is_set_up ? model_problem(verify->model, &end, &peer) : NULL;
    if (problem)
        worker_violation(worker, "%s: sessions %u and %u", problem, end, peer);
    struct model_counts counts = model_counts(verify->model);
    COUNT(&worker->counters, lost_messages, counts.lost);
    if (COUNTED(&worker->counters, bounces) > counts.lost)
        worker_violation(worker, "more messages refused than lost");
    model_destroy(verify->model);
    free(verify->paused_until_ns);
    free(verify);
}

const struct scenario scenario_verify = {
    .name = "verify",
    .summary = "random traffic, every byte and every order checked; exit status 1 if anything was wrong",
    .sessions = 32,
    .window = 1,
    .start = start,
    .on_phase = on_phase,
    .on_ready = on_ready,
    .on_event = on_event,
    .on_closed = on_closed,
    .on_turn = on_turn,
    .finish = finish,
};
