// Addressed delivery without a connection: sender -> home of the key -> holder -> report to the sender. Every hop keeps the order of its
// sender, so datagrams to one holder arrive in order. A full receiver holds the reports back, which is what stops its senders.
// Mail with a payload never waits in the FIFO: on one shard the next step is a call.
#include "router/internal.h"

static uint32_t cost_of(size_t payload_len)
{
    CHECK(payload_len <= DATA_BYTES_MAX);
    return (uint32_t)router_queue_bytes(payload_len);
}

// At the sender's shard.
static void reported(struct router *router, struct handle sender, uint32_t token, uint32_t cost, enum router_report what,
                     struct effects *out)
{
    struct session *session = session_of(router, sender);
    if (session == NULL || session->state == SESSION_LEAVING)
        return;
    CHECK(session->datagrams_out > 0 && session->datagram_bytes_out >= cost);
    session->datagrams_out--;
    session->datagram_bytes_out -= cost;
    struct effect *effect = effect_add(out, EFFECT_REPORT, sender.slot);
    effect->report = (uint8_t)what;
    effect->token = token;
    if (session->wait == WAIT_REPORT && session->datagram_bytes_out < router->limits.window_bytes)
        session_resume(router, sender.slot, out);
}

static void report(struct router *router, struct handle sender, uint32_t token, uint32_t cost, enum router_report what, struct effects *out)
{
    if (sender.shard == router->shard) { // nothing in the FIFO matters to it
        reported(router, sender, token, cost, what, out);
        return;
    }
    struct mail mail = {
        .type = MAIL_REPORT, .flags = (uint8_t)what, .to_shard = sender.shard, .number = token, .to = sender, .account = cost};
    mail_send(router, &mail, out);
}

static void hold(struct router *router, struct session *session, const struct mail *mail, uint32_t cost)
{
    uint32_t index = slab_take(&router->held);
    struct held *held = slab_at(&router->held, index);
    *held = (struct held){.next = SLAB_NONE, .sender = mail->from, .token = mail->number, .cost = cost};
    if (session->held_last == SLAB_NONE)
        session->held = index;
    else
        ((struct held *)slab_at(&router->held, session->held_last))->next = index;
    session->held_last = index;
    session->held_count++;
}

void datagram_release(struct router *router, uint32_t slot, enum router_report what, struct effects *out)
{
    struct session *session = slab_at(&router->sessions, slot);
    while (session->held != SLAB_NONE) {
        uint32_t index = session->held;
        struct held held = *(struct held *)slab_at(&router->held, index);
        session->held = held.next;
        slab_give(&router->held, index);
        report(router, held.sender, held.token, held.cost, what, out);
    }
    session->held_last = SLAB_NONE;
    session->held_count = 0;
}

// At the holder's shard.
static void deliver(struct router *router, struct handle to, const struct mail *mail, struct bytes payload, struct effects *out)
{
    struct session *session = session_of(router, to);
    uint32_t cost = cost_of(payload.len);
    if (session == NULL || session->state == SESSION_LEAVING) {
        report(router, mail->from, mail->number, cost, ROUTER_ABSENT, out);
        return;
    }
    if (session->held_count >= HELD_MAX) {
        report(router, mail->from, mail->number, cost, ROUTER_CONGESTED, out);
        return;
    }
    struct effect *effect = effect_add(out, EFFECT_DATA, to.slot);
    effect->payload = payload;
    effect->key = mail->a;
    router->data_delivered++;
    session->queued_bytes += router_queue_bytes(payload.len);
    if (session->queued_bytes < router->limits.queue_bytes_max)
        report(router, mail->from, mail->number, cost, ROUTER_TAKEN, out);
    else
        hold(router, session, mail, cost);
}

// At the key's home.
static void route(struct router *router, const struct mail *mail, struct handle holder, struct bytes payload, struct effects *out)
{
    if (handle_is_none(holder)) {
        report(router, mail->from, mail->number, cost_of(payload.len), ROUTER_ABSENT, out);
        return;
    }
    if (holder.shard == router->shard) {
        deliver(router, holder, mail, payload, out);
        return;
    }
    struct effect *effect = effect_add(out, EFFECT_MAIL, 0);
    effect->payload = payload;
    effect->mail = *mail;
    effect->mail.type = MAIL_FORWARD;
    effect->mail.to = holder;
    effect->mail.to_shard = holder.shard;
}

void datagram_send(struct router *router, uint32_t slot, const struct key *dest, const struct place *place, uint32_t token,
                   struct bytes payload, struct effects *out)
{
    struct session *session = slab_at(&router->sessions, slot);
    session->datagrams_out++;
    session->datagram_bytes_out += cost_of(payload.len);
    struct mail mail = {.type = MAIL_DATAGRAM,
                        .to_shard = place->home,
                        .number = token,
                        .from = session_handle(router, slot),
                        .a = session->key,
                        .b = *dest};
    if (mail.to_shard == router->shard) {
        route(router, &mail, place->holder, payload, out);
        return;
    }
    struct effect *effect = effect_add(out, EFFECT_MAIL, slot);
    effect->payload = payload;
    effect->mail = mail;
}

void datagram_mail(struct router *router, const struct mail *mail, struct bytes payload, struct effects *out)
{
    if (mail->type == MAIL_REPORT)
        reported(router, mail->to, mail->number, (uint32_t)mail->account, (enum router_report)mail->flags, out);
    else if (mail->type == MAIL_DATAGRAM)
        route(router, mail, directory_holder(router, &mail->b), payload, out);
    else
        deliver(router, mail->to, mail, payload, out);
}

void datagram_check(const struct router *router)
{
    uint32_t held = 0;
    for (uint32_t slot = 0; slot < router->limits.sessions_max; slot++) {
        if (slab_find(&router->sessions, slot) == NULL) {
            slot |= SLAB_CHUNK_RECORDS - 1;
            continue;
        }
        const struct session *session = session_at(router, slot);
        if (session == NULL)
            continue;
        uint32_t count = 0;
        uint32_t last = SLAB_NONE;
        for (uint32_t i = session->held; i != SLAB_NONE; i = ((const struct held *)slab_at(&router->held, i))->next) {
            last = i;
            count++;
        }
        CHECK(count == session->held_count && last == session->held_last && count <= HELD_MAX);
        CHECK(session->wait != WAIT_REPORT || session->datagrams_out > 0);
        held += count;
    }
    CHECK(held == router->held.count);
}
