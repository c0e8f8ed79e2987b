// The interface: checks who asks, decides whether a command must wait, and hands it on. See router.h.
#include <stdlib.h>

#include "router/internal.h"

size_t router_effects_max(const struct router_limits *limits)
{
    // A leave yields per link UNASK and either PARTED or the local peer's Disconnected and RESUME. The last acknowledgement may let a
    // newcomer in: Exited, and Entered both ways, per member told at once, and two fences per member. Each mail in the FIFO at one time has
    // its place here too. A leave or a drained queue also tells each held report.
    size_t devices = limits->devices_per_account_max;
    size_t told = limits->told_at_once < devices ? limits->told_at_once : devices;
    return (size_t)limits->links_per_session_max * 3 + told * 3 + devices * 2 + HELD_MAX + 16;
}

struct router *router_create(uint16_t shard, uint16_t shard_count, const struct router_limits *limits, const struct hash_secret *secret)
{
    CHECK(shard < shard_count && shard_count < UINT16_MAX);
    CHECK(limits->sessions_max > 0 && limits->sessions_max < SLAB_NONE);
    CHECK(limits->links_per_session_max > 0 && limits->devices_per_account_max > 0 && limits->told_at_once > 0);
    CHECK(limits->window_bytes > 0 && limits->window_bytes <= DATA_BYTES_MAX && limits->queue_bytes_max > 0);
    struct router *router = calloc(1, sizeof(*router));
    if (router == NULL)
        return NULL;
    *router = (struct router){.shard = shard, .shard_count = shard_count, .limits = *limits, .secret = *secret};
    router->effects_max = router_effects_max(limits);
    router->grant_bytes_min = limits->window_bytes / 4 > 0 ? limits->window_bytes / 4 : 1;
    slab_init(&router->sessions, sizeof(struct session));
    slab_init(&router->links, sizeof(struct link));
    slab_init(&router->owners, sizeof(struct owner));
    slab_init(&router->pairs, sizeof(struct pair));
    slab_init(&router->accounts, sizeof(struct account));
    slab_init(&router->members, sizeof(struct member));
    slab_init(&router->jobs, sizeof(struct job));
    router->busy = router->busy_last = SLAB_NONE;
    slab_init(&router->held, sizeof(struct held));
    router->targets = calloc(shard_count, sizeof(*router->targets));
    router->marks = calloc(shard_count, sizeof(*router->marks));
    if (router->targets == NULL || router->marks == NULL) {
        router_destroy(router);
        return NULL;
    }
    for (uint32_t i = 0; i < shard_count; i++)
        router->targets[i] = (struct target){.waiting_head = SLAB_NONE, .waiting_tail = SLAB_NONE};
    return router;
}

void router_destroy(struct router *router)
{
    if (router == NULL)
        return;
    slab_fini(&router->sessions);
    slab_fini(&router->links);
    slab_fini(&router->owners);
    slab_fini(&router->pairs);
    slab_fini(&router->accounts);
    slab_fini(&router->members);
    slab_fini(&router->jobs);
    slab_fini(&router->held);
    table_fini(&router->link_table);
    table_fini(&router->owner_table);
    table_fini(&router->pair_table);
    table_fini(&router->account_table);
    free(router->targets);
    free(router->marks);
    free(router->fifo);
    free(router);
}

static inline void begin(const struct router *router, const struct effects *out)
{
    CHECK(router->fifo_count == 0);
    CHECK(out->count == 0 && out->max >= router->effects_max);
}

void router_enter(struct router *router, struct handle session, const struct key *key, uint64_t account, struct effects *out)
{
    begin(router, out);
    CHECK(session.shard == router->shard && session.slot < router->limits.sessions_max);
    CHECK(!handle_is_none(session));
    session_enter(router, session, key, account, out);
    mail_drain(router, out);
}

// The slot's session if it may command now, else NULL.
static inline struct session *commander(struct router *router, uint32_t slot, const struct effects *out)
{
    begin(router, out);
    struct session *session = session_at(router, slot);
    if (session == NULL || session->state != SESSION_LIVE)
        return NULL;
    if (session->wait != WAIT_NONE)
        session_wait_end(router, slot); // the caller tries again unasked: it waits anew if it must
    return session;
}

// The verdict for a slot without a commander: it waits for its welcome, or has not entered and is told `forbidden`.
static enum router_verdict refuse(struct router *router, uint32_t slot, enum router_event forbidden, struct effects *out)
{
    const struct session *session = session_at(router, slot);
    if (session == NULL) {
        effect_event(out, slot, forbidden, NULL);
        return ROUTER_DONE;
    }
    CHECK(session->state == SESSION_REGISTERING || session->state == SESSION_FENCED);
    return ROUTER_WAIT;
}

// Whether a command that needs this shard must wait; then its session does.
static inline bool must_wait_for(struct router *router, uint32_t slot, uint16_t shard)
{
    if (!router->targets[shard].full)
        return false;
    session_wait_shard(router, slot, shard);
    return true;
}

enum router_verdict router_connect(struct router *router, uint32_t slot, const struct key *peer, struct effects *out)
{
    struct session *session = commander(router, slot, out);
    if (session == NULL)
        return refuse(router, slot, ROUTER_CONNECT_FORBIDDEN, out);
    if (key_equal(&session->key, peer)) {
        effect_event(out, slot, ROUTER_CONNECT_SELF, peer);
        return ROUTER_DONE;
    }
    if (link_find(router, session, slot, peer) != SLAB_NONE)
        return ROUTER_DONE;
    if (session->links_live >= router->limits.links_per_session_max) {
        effect_event(out, slot, ROUTER_TOO_MANY_CONNECTIONS, peer);
        return ROUTER_DONE;
    }
    if (session->links_parting >= router->limits.links_per_session_max) {
        session_wait(router, slot, WAIT_PARTING);
        return ROUTER_WAIT;
    }
    uint16_t home = pair_home(router, &session->key, peer);
    if (must_wait_for(router, slot, home))
        return ROUTER_WAIT;
    link_ask(router, slot, peer, home, out);
    mail_drain(router, out);
    return ROUTER_DONE;
}

enum router_verdict router_disconnect(struct router *router, uint32_t slot, const struct key *peer, struct effects *out)
{
    if (session_at(router, slot) == NULL)
        return ROUTER_DONE;
    struct session *session = commander(router, slot, out);
    if (session == NULL)
        return refuse(router, slot, ROUTER_CONNECT_FORBIDDEN, out);
    uint32_t index = link_find(router, session, slot, peer);
    if (index == SLAB_NONE)
        return ROUTER_DONE;
    const struct link *link = slab_at(&router->links, index);
    if (must_wait_for(router, slot, link->pair_home))
        return ROUTER_WAIT;
    if (link->state == LINK_LINKED && must_wait_for(router, slot, link->peer.shard))
        return ROUTER_WAIT;
    link_give_up(router, index, out);
    mail_drain(router, out);
    return ROUTER_DONE;
}

enum router_verdict router_send(struct router *router, uint32_t slot, const struct key *peer, struct bytes payload, struct effects *out)
{
    struct session *session = commander(router, slot, out);
    if (session == NULL)
        return refuse(router, slot, ROUTER_SEND_FORBIDDEN, out);
    uint32_t index = link_find(router, session, slot, peer);
    struct link *link = index == SLAB_NONE ? NULL : link_at(router, index);
    if (link == NULL || link->state != LINK_LINKED) {
        if (link != NULL && link->undecided) { // a Connect just before it may have connected: the answer is under way
            session_wait(router, slot, WAIT_ANSWER);
            session->wait_link = index;
            return ROUTER_WAIT;
        }
        effect_event(out, slot, ROUTER_NO_SUCH_CONNECTION, peer);
        return ROUTER_DONE;
    }
    if (must_wait_for(router, slot, link->peer.shard))
        return ROUTER_WAIT;
    if (link->credit <= 0) {
        session_wait(router, slot, WAIT_CREDIT);
        session->wait_link = index;
        return ROUTER_WAIT;
    }
    link_send(router, link, index, payload, out);
    return ROUTER_DONE;
}

enum router_verdict router_datagram(struct router *router, uint32_t slot, const struct key *dest, uint32_t token, struct bytes payload,
                                    struct effects *out)
{
    if (session_at(router, slot) == NULL) {
        struct effect *effect = effect_add(out, EFFECT_REPORT, slot);
        effect->report = ROUTER_ABSENT;
        effect->token = token;
        return ROUTER_DONE;
    }
    struct session *session = commander(router, slot, out);
    if (session == NULL)
        return ROUTER_WAIT;
    const struct place place = directory_place(router, dest, &session->last_owner);
    if (must_wait_for(router, slot, place.home))
        return ROUTER_WAIT;
    if (session->datagrams_out >= ROUTER_DATAGRAMS_MAX || session->datagram_bytes_out >= router->limits.window_bytes) {
        session_wait(router, slot, WAIT_REPORT);
        return ROUTER_WAIT;
    }
    datagram_send(router, slot, dest, &place, token, payload, out);
    mail_drain(router, out);
    return ROUTER_DONE;
}

void router_leave(struct router *router, uint32_t slot, struct effects *out)
{
    begin(router, out);
    struct session *session = session_at(router, slot);
    if (session == NULL) {
        effect_add(out, EFFECT_RELEASED, slot);
        return;
    }
    CHECK(session->state != SESSION_LEAVING);
    session_wait_end(router, slot);
    session->state = SESSION_LEAVING;
    datagram_release(router, slot, ROUTER_ABSENT, out);
    for (uint32_t i = session->links; i != SLAB_NONE;) {
        const struct link *link = slab_at(&router->links, i);
        uint32_t next = link->next;
        if (link->state == LINK_ASKED || link->state == LINK_HALF || link->state == LINK_LINKED)
            link_give_up(router, i, out);
        i = next;
    }
    if (BUG(5))
        session_unregister(router, slot, out);
    session_try_release(router, slot, out);
    mail_drain(router, out);
}

void router_mail(struct router *router, const struct mail *mail, struct bytes payload, struct effects *out)
{
    begin(router, out);
    mail_handle(router, mail, payload, out);
    mail_drain(router, out);
}

void router_written(struct router *router, uint32_t slot, size_t queue_bytes, struct effects *out)
{
    begin(router, out);
    struct session *session = session_at(router, slot);
    if (session == NULL || session->state == SESSION_LEAVING)
        return;
    CHECK(session->queued_bytes >= queue_bytes);
    session->queued_bytes -= queue_bytes;
    if (session->starved != SLAB_NONE && session->queued_bytes <= router->limits.queue_bytes_max / 2)
        link_grant_starved(router, slot, out);
    if (session->held != SLAB_NONE && session->queued_bytes <= router->limits.queue_bytes_max / 2)
        datagram_release(router, slot, ROUTER_TAKEN, out);
    mail_drain(router, out);
}

bool router_shard_full(struct router *router, uint16_t shard, bool full, struct effects *out)
{
    begin(router, out);
    CHECK(shard < router->shard_count && shard != router->shard);
    struct target *target = &router->targets[shard];
    target->full = full;
    while (!full && target->waiting_head != SLAB_NONE && out->count < router->effects_max)
        session_resume(router, target->waiting_head, out);
    return !full && target->waiting_head != SLAB_NONE;
}

void router_counts(const struct router *router, struct router_counts *ret_counts)
{
    *ret_counts = (struct router_counts){.sessions = router->sessions_count,
                                         .links = router->links.count,
                                         .keys_homed = router->owners.count,
                                         .pairs_homed = router->pairs.count,
                                         .members_homed = router->members.count,
                                         .data_delivered = router->data_delivered,
                                         .data_bounced = router->data_bounced,
                                         .data_lost = router->data_lost};
}

bool router_session(const struct router *router, struct handle handle, struct router_session *ret_session)
{
    const struct session *session = session_of(router, handle);
    if (session == NULL)
        return false;
    *ret_session = (struct router_session){.key = session->key, .links = session->links_live};
    return true;
}

void router_check(const struct router *router)
{
    CHECK(router->fifo_count == 0);
    session_check(router);
    link_check(router);
    directory_check(router);
    presence_check(router);
    pair_check(router);
    datagram_check(router);
}
