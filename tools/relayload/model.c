// See model.h.
#include "tools/relayload/model.h"

#include "shards/base/check.h"
#include <stdlib.h>

struct relation {                 // of an end towards a peer
    uint64_t sent;                // messages to the peer, numbered from 0, over all sessions
    uint64_t sent_when_connected; // how many were sent before it was last told Connected
    uint64_t next;                // the lowest number that may still come from the peer
    uint64_t received;
    bool asked, ever_asked; // in this session
    bool connected;         // as told
    bool streaming;         // connected, and a message has come since
};

struct model {
    uint32_t count;
    uint64_t run_seed;
    const struct sizes *sizes;
    struct relation *relations; // [end][peer]
};

static struct relation *relation(const struct model *model, uint32_t end, uint32_t peer)
{
    CHECK(end < model->count && peer < model->count);
    return &model->relations[(size_t)end * model->count + peer];
}

struct model *model_create(uint32_t count, uint64_t run_seed, const struct sizes *sizes)
{
    struct model *model = calloc(1, sizeof *model);
    CHECK(count > 0 && sizes);
    if (!model)
        return NULL;
    *model = (struct model){.count = count, .run_seed = run_seed, .sizes = sizes};
    model->relations = calloc((size_t)count * count, sizeof *model->relations);
    if (model->relations)
        return model;
    free(model);
    return NULL;
}

void model_destroy(struct model *model)
{
    if (!model)
        return;
    free(model->relations);
    free(model);
}

void model_ask(struct model *model, uint32_t end, uint32_t peer)
{
    struct relation *own = relation(model, end, peer);
    CHECK(end != peer);
    own->asked = own->ever_asked = true;
}

void model_unask(struct model *model, uint32_t end, uint32_t peer)
{
    relation(model, end, peer)->asked = false;
}

void model_leave(struct model *model, uint32_t end)
{
    for (uint32_t peer = 0; peer < model->count; peer++) {
        struct relation *own = relation(model, end, peer);
        own->asked = own->ever_asked = own->connected = own->streaming = false;
    }
}

struct payload_id model_send(struct model *model, uint32_t sender, uint32_t receiver)
{
    struct relation *own = relation(model, sender, receiver);
    CHECK(own->connected && sender != receiver);
    return (struct payload_id){.run_seed = model->run_seed, .number = own->sent++, .sender = sender, .receiver = receiver};
}

const char *model_connected(struct model *model, uint32_t end, uint32_t peer)
{
    struct relation *own = relation(model, end, peer);
    if (own->connected)
        return "Connected twice";
    if (!own->ever_asked)
        return "Connected without having asked";
    own->connected = true;
    own->streaming = false;
    own->sent_when_connected = own->sent;
    return NULL;
}

const char *model_disconnected(struct model *model, uint32_t end, uint32_t peer)
{
    struct relation *own = relation(model, end, peer);
    if (!own->connected)
        return "Disconnected without a connection";
    own->connected = own->streaming = false;
    return NULL;
}

const char *model_data(struct model *model, uint32_t receiver, uint32_t sender, struct bytes payload)
{
    struct relation *own = relation(model, receiver, sender);
    struct payload_id id = {.run_seed = model->run_seed, .sender = sender, .receiver = receiver};
    if (!own->connected)
        return "data outside a connection";
    if (!payload_number(payload, &id.number))
        return "data too short";
    if (id.number >= relation(model, sender, receiver)->sent)
        return "data that was never sent (crosstalk or corruption)";
    if (!payload_matches(&id, model->sizes, payload))
        return "data with a wrong byte or length, or for somebody else";
    if (id.number < own->next)
        return id.number + 1 == own->next ? "data twice" : "data out of order";
    if (own->streaming && id.number != own->next)
        return "a message is missing inside a connection";
    own->next = id.number + 1;
    own->received++;
    own->streaming = true;
    return NULL;
}

bool model_is_connected(const struct model *model, uint32_t end, uint32_t peer)
{
    return relation(model, end, peer)->connected;
}

bool model_has_asked(const struct model *model, uint32_t end, uint32_t peer)
{
    return relation(model, end, peer)->asked;
}

static const char *pair_problem(const struct relation *own, const struct relation *other)
{
    bool both_asked = own->asked && other->asked;
    if (own->connected != other->connected)
        return "only one side knows of the connection";
    if (own->connected != both_asked)
        return both_asked ? "both asked and are not connected" : "connected although one has taken its request back";
    if (own->connected && own->sent > own->sent_when_connected && other->next != own->sent)
        return "messages never came although the connection stood";
    return NULL;
}

const char *model_problem(const struct model *model, uint32_t *ret_end, uint32_t *ret_peer)
{
    for (uint32_t end = 0; end < model->count; end++) {
        for (uint32_t peer = 0; peer < model->count; peer++) {
            const char *problem = pair_problem(relation(model, end, peer), relation(model, peer, end));
            if (problem) {
                *ret_end = end;
                *ret_peer = peer;
                return problem;
            }
        }
    }
    return NULL;
}

struct model_counts model_counts(const struct model *model)
{
    struct model_counts counts = {0};
    for (size_t i = 0; i < (size_t)model->count * model->count; i++) {
        counts.sent += model->relations[i].sent;
        counts.delivered += model->relations[i].received;
    }
    CHECK(counts.delivered <= counts.sent);
    counts.lost = counts.sent - counts.delivered;
    return counts;
}
