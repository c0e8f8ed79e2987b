// See pairs.h. Each message carries its number; a gap, a repetition or a wrong length is a violation.
#include "tools/relayload/pairs.h"

#include "shards/base/check.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define UNSENT_MAX (4u << 20)  // of one sender, when the relay takes no more
#define OPEN_LOOP_WINDOW 4096u // messages under way in a pair of an open loop
#define FLOOD_WINDOW 65536u    // messages under way to a receiver that does not read
#define SETUP_LOGINS 64u

struct under_way {
    uint64_t at_ns;
    uint32_t len;
};

struct pair {
    struct client *sender, *receiver;
    struct under_way *ring; // of window
    uint32_t window;
    uint64_t sent, received;
    uint64_t scheduled;        // open loop: how many are due
    bool connected[2], broken; // broken: a connection that may not come back
};

struct pairs {
    struct pair *items;
    uint32_t count, connected_ends;
    uint8_t *filler;                     // the payload behind the number
    uint64_t interval_ns, began_ns, due; // open loop: message `due` of all pairs comes next
    uint64_t under_way;
    bool sending;
};

static struct pair *pair_of(struct pairs *pairs, const struct client *client)
{
    CHECK(client->index / 2 < pairs->count);
    return &pairs->items[client->index / 2];
}

// Every second receiver of scenario slow.
static bool is_slow(uint32_t pair_index)
{
    return pair_index % 2 == 0;
}

static bool start(struct worker *worker)
{
    struct pairs *pairs = calloc(1, sizeof *pairs);
    uint32_t filler_len = sizes_max(&worker->args->sizes) + 8;
    if (!pairs)
        return false;
    worker->state = pairs;
    pairs->count = worker->client_count / 2;
    pairs->interval_ns = worker->rate > 0 ? 1000000000ull / worker->rate : 0;
    pairs->items = calloc(pairs->count, sizeof *pairs->items);
    pairs->filler = malloc(filler_len);
    if (!pairs->items || !pairs->filler)
        return false;
    for (uint32_t i = 0; i < filler_len; i++)
        pairs->filler[i] = (uint8_t)sizes_random(&worker->seed);
    for (uint32_t i = 0; i < pairs->count; i++) {
        struct pair *pair = &pairs->items[i];
        pair->sender = &worker->clients[2 * i];
        pair->receiver = &worker->clients[2 * i + 1];
        bool is_flooded = worker->scenario == &scenario_slow && is_slow(i);
        pair->window = worker->rate > 0 ? OPEN_LOOP_WINDOW : is_flooded ? FLOOD_WINDOW : worker->window;
        pair->ring = calloc(pair->window, sizeof *pair->ring);
        if (!pair->ring)
            return false;
    }
    return true;
}

static void finish(struct worker *worker)
{
    struct pairs *pairs = worker->state;
    for (uint32_t i = 0; i < pairs->count; i++)
        free(pairs->items[i].ring);
    free(pairs->items);
    free(pairs->filler);
    free(pairs);
}

static bool send_one(struct worker *worker, struct pairs *pairs, struct pair *pair, uint64_t at_ns)
{
    uint32_t len = sizes_draw(&worker->args->sizes, &worker->seed);
    uint8_t *payload = client_send_begin(pair->sender, &pair->receiver->key, len);
    if (!payload) {
        worker_fail(worker, "out of memory for messages: a smaller --window or --size");
        pairs->sending = false;
        return false;
    }
    memcpy(payload, pairs->filler, len);
    if (len >= 8)
        memcpy(payload, &pair->sent, 8);
    client_send_end(pair->sender);
    if (pairs->interval_ns > 0 && worker->seen_phase == PHASE_MEASURE)
        histogram_add(&worker->late, worker->now_ns > at_ns ? worker->now_ns - at_ns : 0);
    pair->ring[pair->sent++ % pair->window] = (struct under_way){.at_ns = at_ns, .len = len};
    pairs->under_way++;
    COUNT(&worker->counters, messages_sent, 1);
    return true;
}

static uint64_t due_ns(const struct pairs *pairs, const struct pair *pair)
{
    uint64_t index = (uint64_t)(pair - pairs->items);
    return pairs->began_ns + (pair->sent * pairs->count + index) * pairs->interval_ns;
}

static void pump(struct worker *worker, struct pairs *pairs, struct pair *pair)
{
    if (!pairs->sending || pair->broken)
        return;
    while (pair->sent - pair->received < pair->window && client_unsent_bytes(pair->sender) < UNSENT_MAX) {
        if (pairs->interval_ns > 0 && pair->sent == pair->scheduled)
            break;
        if (!send_one(worker, pairs, pair, pairs->interval_ns > 0 ? due_ns(pairs, pair) : worker->now_ns))
            break;
    }
    client_flush(pair->sender);
}

static void on_ready(struct worker *worker, struct client *client)
{
    struct pair *pair = pair_of(worker->state, client);
    struct client *other = client == pair->sender ? pair->receiver : pair->sender;
    if (!client_connect(client, &other->key))
        worker_fail(worker, "out of memory");
    client_flush(client);
}

static void on_data(struct worker *worker, struct pairs *pairs, struct pair *pair, const struct buckets_event *event)
{
    struct counters *counters = &worker->counters;
    const struct under_way *message = &pair->ring[pair->received % pair->window];
    if (pair->received == pair->sent) {
        worker_violation(worker, "a message more than was sent");
        return;
    }
    if (event->data.len != message->len || (message->len >= 8 && memcmp(event->data.ptr, &pair->received, 8) != 0))
        worker_violation(worker, "message %llu of a pair: wrong length or number", (unsigned long long)pair->received);
    uint64_t latency_ns = worker->now_ns > message->at_ns ? worker->now_ns - message->at_ns : 0;
    if (worker->seen_phase == PHASE_MEASURE)
        histogram_add(&worker->latency, latency_ns);
    else if (worker->seen_phase == PHASE_WARMUP)
        histogram_add(&worker->calm, latency_ns);
    pair->received++;
    pairs->under_way--;
    COUNT(counters, messages, 1);
    COUNT(counters, bytes, event->data.len);
}

// What was under way is lost with the connection, which only a slow receiver may lose.
static void break_pair(struct worker *worker, struct pairs *pairs, struct pair *pair)
{
    if (pair->broken)
        return;
    pair->broken = true;
    pairs->under_way -= pair->sent - pair->received;
    COUNT(&worker->counters, lost_messages, pair->sent - pair->received);
    if (!pair->receiver->expendable && pair->connected[0] && pair->connected[1])
        worker_violation(worker, "a pair was disconnected");
}

static void on_connected(struct worker *worker, struct pairs *pairs, struct pair *pair, bool at_sender)
{
    if (pair->connected[at_sender])
        worker_violation(worker, "Connected twice");
    pair->connected[at_sender] = true;
    if (++pairs->connected_ends == 2 * pairs->count)
        worker->is_set_up = true;
}

static void on_event(struct worker *worker, struct client *client, const struct buckets_event *event)
{
    struct pairs *pairs = worker->state;
    struct pair *pair = pair_of(pairs, client);
    const struct client *other = client == pair->sender ? pair->receiver : pair->sender;
    bool is_peer = event->key.len == KEY_BYTES && memcmp(event->key.ptr, other->key.bytes, KEY_BYTES) == 0;
    switch (event->kind) {
    case 'd':
        if (!is_peer || client != pair->receiver)
            worker_violation(worker, "a message from a stranger");
        else if (!pair->broken)
            on_data(worker, pairs, pair, event);
        break;
    case 'c':
    case 'x':
        COUNT(&worker->counters, connection_events, 1);
        if (!is_peer)
            worker_violation(worker, "connected or disconnected with a stranger");
        else if (event->kind == 'c')
            on_connected(worker, pairs, pair, client == pair->sender);
        else
            break_pair(worker, pairs, pair);
        break;
    case '>':
    case '^':
        COUNT(&worker->counters, presence_events, 1);
        break;
    default:
        COUNT(&worker->counters, bounces, 1);
        if (!pair->broken && !pair->receiver->expendable)
            worker_violation(worker, "error event: %.*s", (int)event->data.len, (const char *)event->data.ptr);
    }
}

static void on_batch(struct worker *worker, struct client *client)
{
    struct pairs *pairs = worker->state;
    struct pair *pair = pair_of(pairs, client);
    if (client == pair->receiver)
        pump(worker, pairs, pair);
}

static void on_room(struct worker *worker, struct client *client)
{
    struct pairs *pairs = worker->state;
    struct pair *pair = pair_of(pairs, client);
    if (client == pair->sender)
        pump(worker, pairs, pair);
}

static void on_closed(struct worker *worker, struct client *client)
{
    struct pairs *pairs = worker->state;
    break_pair(worker, pairs, pair_of(pairs, client));
}

static void on_phase(struct worker *worker, enum phase phase)
{
    struct pairs *pairs = worker->state;
    bool may_start = phase == PHASE_WARMUP || phase == PHASE_MEASURE; // without a warm-up the first may go unseen
    if (may_start && !pairs->sending && pairs->connected_ends == 2 * pairs->count) {
        pairs->sending = true;
        pairs->began_ns = worker->now_ns;
        for (uint32_t i = 0; i < pairs->count && pairs->interval_ns == 0; i++)
            pump(worker, pairs, &pairs->items[i]);
    } else if (phase == PHASE_SETTLE) {
        pairs->sending = false;
    }
}

static uint64_t on_turn(struct worker *worker)
{
    struct pairs *pairs = worker->state;
    if (worker->seen_phase == PHASE_SETUP)
        return worker_open_some(worker, SETUP_LOGINS);
    if (worker->seen_phase == PHASE_SETTLE && pairs->under_way == 0)
        worker->is_settled = true;
    if (!pairs->sending || pairs->interval_ns == 0)
        return WORKER_NEVER;
    while (pairs->began_ns + pairs->due * pairs->interval_ns <= worker->now_ns) {
        struct pair *pair = &pairs->items[pairs->due++ % pairs->count];
        pair->scheduled++;
        pump(worker, pairs, pair);
    }
    return pairs->began_ns + pairs->due * pairs->interval_ns;
}

static void slow_on_phase(struct worker *worker, enum phase phase)
{
    struct pairs *pairs = worker->state;
    for (uint32_t i = 0; i < pairs->count; i++) {
        struct client *receiver = pairs->items[i].receiver;
        if (!is_slow(i))
            continue;
        if (phase == PHASE_MEASURE && receiver->state == CLIENT_READY) {
            receiver->expendable = true;
            client_pause(receiver);
        } else if (phase == PHASE_SETTLE && receiver->state == CLIENT_READY) {
            client_resume(receiver);
        }
    }
    on_phase(worker, phase);
}

const struct scenario scenario_pairs = {
    .name = "pairs",
    .summary = "1:1 streams: latency, messages a second, CPU per message",
    .sessions = 40,
    .window = 8,
    .start = start,
    .on_phase = on_phase,
    .on_ready = on_ready,
    .on_event = on_event,
    .on_batch = on_batch,
    .on_room = on_room,
    .on_closed = on_closed,
    .on_turn = on_turn,
    .finish = finish,
};

const struct scenario scenario_observers = {
    .name = "observers",
    .urgent = true,
    .start = start,
    .on_phase = on_phase,
    .on_ready = on_ready,
    .on_event = on_event,
    .on_batch = on_batch,
    .on_room = on_room,
    .on_closed = on_closed,
    .on_turn = on_turn,
    .finish = finish,
};

const struct scenario scenario_slow = {
    .name = "slow",
    .summary = "half of the receivers stop reading while measured; the others must not feel it",
    .observed = true,
    .sessions = 40,
    .window = 8,
    .start = start,
    .on_phase = slow_on_phase,
    .on_ready = on_ready,
    .on_event = on_event,
    .on_batch = on_batch,
    .on_room = on_room,
    .on_closed = on_closed,
    .on_turn = on_turn,
    .finish = finish,
};
