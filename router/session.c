// Sessions: registering, waiting, leaving; and the effects that reach them.
#include "router/internal.h"

void effect_event(struct effects *out, uint32_t slot, enum router_event event, const struct key *key)
{
    struct effect *effect = effect_add(out, EFFECT_EVENT, slot);
    effect->event = (uint8_t)event;
    if (key != NULL)
        effect->key = *key;
}

struct session *session_of(const struct router *router, struct handle handle)
{
    CHECK(handle.shard == router->shard);
    struct session *session = session_at(router, handle.slot);
    return session != NULL && session->generation == handle.generation ? session : NULL;
}

struct handle session_handle(const struct router *router, uint32_t slot)
{
    const struct session *session = slab_at(&router->sessions, slot);
    return (struct handle){.slot = slot, .generation = session->generation, .shard = router->shard};
}

void session_wait(struct router *router, uint32_t slot, enum session_wait wait)
{
    session_wait_end(router, slot);
    ((struct session *)slab_at(&router->sessions, slot))->wait = (uint8_t)wait;
}

void session_wait_shard(struct router *router, uint32_t slot, uint16_t shard)
{
    session_wait(router, slot, WAIT_SHARD);
    struct session *session = slab_at(&router->sessions, slot);
    struct target *target = &router->targets[shard];
    CHECK(target->full);
    session->wait_shard = shard;
    session->wait_prev = target->waiting_tail;
    session->wait_next = SLAB_NONE;
    if (target->waiting_tail == SLAB_NONE)
        target->waiting_head = slot;
    else
        ((struct session *)slab_at(&router->sessions, target->waiting_tail))->wait_next = slot;
    target->waiting_tail = slot;
}

void session_wait_end(struct router *router, uint32_t slot)
{
    struct session *session = slab_at(&router->sessions, slot);
    if (session->wait == WAIT_SHARD) {
        struct target *target = &router->targets[session->wait_shard];
        if (session->wait_prev == SLAB_NONE)
            target->waiting_head = session->wait_next;
        else
            ((struct session *)slab_at(&router->sessions, session->wait_prev))->wait_next = session->wait_next;
        if (session->wait_next == SLAB_NONE)
            target->waiting_tail = session->wait_prev;
        else
            ((struct session *)slab_at(&router->sessions, session->wait_next))->wait_prev = session->wait_prev;
    }
    session->wait = WAIT_NONE;
}

void session_resume(struct router *router, uint32_t slot, struct effects *out)
{
    const struct session *session = slab_at(&router->sessions, slot);
    CHECK(session->wait != WAIT_NONE);
    CHECK(session->state == SESSION_LIVE);
    session_wait_end(router, slot);
    effect_add(out, EFFECT_RESUME, slot);
}

void session_enter(struct router *router, struct handle handle, const struct key *key, uint64_t account, struct effects *out)
{
    slab_reserve(&router->sessions, handle.slot);
    struct session *session = slab_at(&router->sessions, handle.slot);
    CHECK(session->state == SESSION_FREE);
    CHECK(session->generation != handle.generation); // mail to the slot's last session must find it stale
    *session = (struct session){.key = *key,
                                .account = account,
                                .generation = handle.generation,
                                .state = SESSION_REGISTERING,
                                .wait = WAIT_FENCE,
                                .links = SLAB_NONE,
                                .last = SLAB_NONE,
                                .starved = SLAB_NONE,
                                .last_owner = SLAB_NONE,
                                .held = SLAB_NONE,
                                .held_last = SLAB_NONE};
    router->sessions_count++;
    mail_send(router,
              &(struct mail){.type = MAIL_REGISTER, .to_shard = directory_home(router, key), .from = handle, .account = account, .a = *key},
              out);
}

void session_unregister(struct router *router, uint32_t slot, struct effects *out)
{
    const struct session *session = slab_at(&router->sessions, slot);
    CHECK(session->state == SESSION_LEAVING);
    mail_send(router,
              &(struct mail){.type = MAIL_UNREGISTER,
                             .to_shard = directory_home(router, &session->key),
                             .from = session_handle(router, slot),
                             .a = session->key},
              out);
}

void session_try_release(struct router *router, uint32_t slot, struct effects *out)
{
    struct session *session = slab_at(&router->sessions, slot);
    CHECK(session->state == SESSION_LEAVING && session->wait == WAIT_NONE);
    if (session->links != SLAB_NONE)
        return;
    CHECK(session->links_live == 0 && session->links_parting == 0 && session->starved == SLAB_NONE && session->held == SLAB_NONE);
    session_unregister(router, slot, out);
    session->state = SESSION_FREE;
    CHECK(router->sessions_count > 0);
    router->sessions_count--;
    effect_add(out, EFFECT_RELEASED, slot);
}

static void try_go_live(struct router *router, struct session *session, uint32_t slot, struct effects *out)
{
    if (session->state != SESSION_FENCED || session->fences != 0)
        return;
    session->state = SESSION_LIVE;
    CHECK(session->wait == WAIT_FENCE);
    session_resume(router, slot, out);
}

static void close_once(struct session *session, uint32_t slot, enum error error, struct effects *out)
{
    if (session->close_sent)
        return;
    session->close_sent = 1;
    effect_add(out, EFFECT_CLOSE, slot)->error = (uint16_t)error;
}

void session_mail(struct router *router, const struct mail *mail, struct effects *out)
{
    if (mail->type == MAIL_FENCE) {
        mail_reply(router, MAIL_FENCE_ACK, mail->from, mail->from, out);
        return;
    }
    struct session *session = session_of(router, mail->to);
    if (session == NULL || session->state == SESSION_LEAVING)
        return; // it needs no telling
    uint32_t slot = mail->to.slot;
    switch (mail->type) {
    case MAIL_EVICT:
    case MAIL_SUPERSEDED:
        close_once(session, slot, ERROR_SUPERSEDED, out);
        break;
    case MAIL_REFUSED:
        CHECK(session->state == SESSION_REGISTERING);
        close_once(session, slot, ERROR_TOO_MANY_DEVICES, out);
        break;
    case MAIL_WELCOME:
        CHECK(session->state == SESSION_REGISTERING);
        session->state = SESSION_FENCED;
        session->fences += (int32_t)mail->number;
        effect_event(out, slot, ROUTER_AUTHENTICATED, NULL);
        try_go_live(router, session, slot, out);
        break;
    case MAIL_FENCE_ACK:
        session->fences--;
        CHECK(session->fences >= -(int32_t)router->shard_count);
        try_go_live(router, session, slot, out);
        break;
    case MAIL_ENTERED:
    case MAIL_EXITED:
        CHECK(session->state == SESSION_FENCED || session->state == SESSION_LIVE);
        CHECK(!key_equal(&session->key, &mail->a));
        effect_event(out, slot, mail->type == MAIL_ENTERED ? ROUTER_ENTERED : ROUTER_EXITED, &mail->a);
        break;
    default:
        UNREACHABLE();
    }
}

static void check_one(const struct router *router, const struct session *session, uint32_t slot)
{
    CHECK(session->generation != 0 && session->state <= SESSION_LEAVING);
    CHECK(session->links_live <= router->limits.links_per_session_max);
    CHECK(session->links_parting <= 2 * router->limits.links_per_session_max);
    CHECK((session->wait == WAIT_FENCE) == (session->state == SESSION_REGISTERING || session->state == SESSION_FENCED));
    CHECK(session->state != SESSION_LEAVING || session->wait == WAIT_NONE);
    CHECK(session->wait != WAIT_SHARD || router->targets[session->wait_shard].waiting_head != SLAB_NONE);
    CHECK(session->wait != WAIT_PARTING || session->links_parting > 0);
    if (session->wait == WAIT_CREDIT) {
        const struct link *link = slab_at(&router->links, session->wait_link);
        CHECK(link->session == slot && link->state == LINK_LINKED && link->credit <= 0);
    }
    if (session->wait == WAIT_ANSWER) {
        const struct link *link = slab_at(&router->links, session->wait_link);
        CHECK(link->session == slot && link->undecided && (link->state == LINK_ASKED || link->state == LINK_HALF));
    }
}

void session_check(const struct router *router)
{
    uint32_t count = 0;
    uint32_t waiting = 0;
    for (uint32_t slot = 0; slot < router->limits.sessions_max; slot++) {
        if (slab_find(&router->sessions, slot) == NULL) {
            slot |= SLAB_CHUNK_RECORDS - 1;
            continue;
        }
        const struct session *session = session_at(router, slot);
        if (session == NULL)
            continue;
        check_one(router, session, slot);
        count++;
        waiting += session->wait == WAIT_SHARD;
    }
    CHECK(count == router->sessions_count);
    for (uint32_t shard = 0; shard < router->shard_count; shard++) {
        uint32_t prev = SLAB_NONE;
        for (uint32_t slot = router->targets[shard].waiting_head; slot != SLAB_NONE; waiting--) {
            const struct session *session = session_at(router, slot);
            CHECK(session != NULL && session->wait == WAIT_SHARD && session->wait_shard == shard);
            CHECK(session->wait_prev == prev);
            prev = slot;
            slot = session->wait_next;
        }
        CHECK(router->targets[shard].waiting_tail == prev);
    }
    CHECK(waiting == 0);
}
