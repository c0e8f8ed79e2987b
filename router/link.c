// Links: each is one session's half of a connection to a key. States and mail are in README.md.
// A link that is given up leaves the look-up table at once, and its record when all its mail has been answered.
#include "router/internal.h"

// The link, or NULL if the handle is stale.
static struct link *link_of(const struct router *router, struct handle handle)
{
    CHECK(handle.shard == router->shard && handle.slot < router->links.used);
    struct link *link = link_at(router, handle.slot);
    return link->generation == handle.generation && link->state != LINK_FREE ? link : NULL;
}

static struct handle link_handle(const struct router *router, uint32_t index)
{
    return (struct handle){.slot = index, .generation = link_at(router, index)->generation, .shard = router->shard};
}

static inline struct session *session_of_link(const struct router *router, const struct link *link)
{
    struct session *session = slab_at(&router->sessions, link->session);
    CHECK(session->state == SESSION_LIVE || session->state == SESSION_LEAVING);
    return session;
}

static bool is_live(const struct link *link)
{
    return link->state == LINK_ASKED || link->state == LINK_HALF || link->state == LINK_LINKED;
}

static uint64_t table_hash(const struct router *router, uint32_t slot, const struct key *peer)
{
    struct {
        struct key peer;
        uint32_t slot;
    } name = {.peer = *peer, .slot = slot};
    _Static_assert(sizeof(name) == KEY_BYTES + sizeof(uint32_t), "no padding is hashed");
    return hash_bytes(&router->secret, &name, sizeof(name));
}

uint32_t link_look_up(const struct router *router, uint32_t slot, const struct key *peer)
{
    struct table_cursor cursor = table_look(&router->link_table, table_hash(router, slot, peer));
    uint32_t index;
    while (table_next(&router->link_table, &cursor, &index)) {
        const struct link *link = link_at(router, index);
        if (link->session == slot && key_equal(&link->peer_key, peer))
            return index;
    }
    return SLAB_NONE;
}

void link_ask(struct router *router, uint32_t slot, const struct key *peer, uint16_t home, struct effects *out)
{
    struct session *session = slab_at(&router->sessions, slot);
    CHECK(session->state == SESSION_LIVE && !key_equal(&session->key, peer));
    uint32_t index = slab_take(&router->links);
    struct link *link = link_at(router, index);
    uint32_t generation = link->generation + 1;
    *link = (struct link){.next = session->links,
                          .prev = SLAB_NONE,
                          .generation = generation == 0 ? 1 : generation,
                          .session = slot,
                          .state = LINK_ASKED,
                          .undecided = 1,
                          .pair_home = home,
                          .starved_next = SLAB_NONE,
                          .starved_prev = SLAB_NONE,
                          .peer_key = *peer};
    if (session->links != SLAB_NONE)
        link_at(router, session->links)->prev = index;
    session->links = index;
    session->links_live++;
    table_insert(&router->link_table, table_hash(router, slot, peer), index);
    mail_send(router, &(struct mail){.type = MAIL_ASK, .to_shard = home, .from = link_handle(router, index), .a = session->key, .b = *peer},
              out);
}

static void starved_add(struct router *router, struct session *session, struct link *link, uint32_t index)
{
    if (link->starved)
        return;
    link->starved = 1;
    link->starved_prev = SLAB_NONE;
    link->starved_next = session->starved;
    if (session->starved != SLAB_NONE)
        link_at(router, session->starved)->starved_prev = index;
    session->starved = index;
}

static void starved_remove(struct router *router, struct session *session, struct link *link)
{
    if (!link->starved)
        return;
    link->starved = 0;
    if (link->starved_prev == SLAB_NONE)
        session->starved = link->starved_next;
    else
        link_at(router, link->starved_prev)->starved_next = link->starved_next;
    if (link->starved_next != SLAB_NONE)
        link_at(router, link->starved_next)->starved_prev = link->starved_prev;
}

// It is known now whether the connection came about; data may have waited for that.
static void decided(struct router *router, struct link *link, uint32_t index, struct effects *out)
{
    link->undecided = 0;
    const struct session *session = session_of_link(router, link);
    if (session->wait == WAIT_ANSWER && session->wait_link == index)
        session_resume(router, link->session, out);
}

// Leaves LINKED, in which alone credit means something; wakes its session if it waits for that.
static void unlink_peer(struct router *router, struct link *link, uint32_t index, enum link_state state, struct effects *out)
{
    CHECK(link->state == LINK_LINKED && state != LINK_LINKED);
    struct session *session = session_of_link(router, link);
    starved_remove(router, session, link);
    link->credit = 0;
    link->owed = 0;
    link->state = (uint8_t)state;
    if (session->wait == WAIT_CREDIT && session->wait_link == index)
        session_resume(router, link->session, out);
}

// A link that is given up and owed no answer any more is freed; its session may have waited for that.
static void try_free(struct router *router, struct link *link, uint32_t index, struct effects *out)
{
    if (link->state != LINK_PARTING || link->acks > 0)
        return;
    struct session *session = session_of_link(router, link);
    uint32_t slot = link->session;
    CHECK(session->last != index && !link->starved);
    if (link->prev == SLAB_NONE)
        session->links = link->next;
    else
        link_at(router, link->prev)->next = link->next;
    if (link->next != SLAB_NONE)
        link_at(router, link->next)->prev = link->prev;
    CHECK(session->links_parting > 0);
    session->links_parting--;
    link->state = LINK_FREE;
    slab_give(&router->links, index);
    if (session->state == SESSION_LEAVING)
        session_try_release(router, slot, out);
    else if (session->wait == WAIT_PARTING)
        session_resume(router, slot, out);
}

static void send_parted(struct router *router, struct link *link, uint32_t index, struct effects *out)
{
    mail_reply(router, MAIL_PARTED, link->peer, link_handle(router, index), out);
    link->acks = (uint8_t)(link->acks + !BUG(6));
    CHECK(link->acks <= 2);
}

void link_give_up(struct router *router, uint32_t index, struct effects *out)
{
    struct link *link = link_at(router, index);
    CHECK(is_live(link) && link->acks == 0);
    struct session *session = session_of_link(router, link);
    table_remove(&router->link_table, table_hash(router, link->session, &link->peer_key), index);
    session->links_live--;
    session->links_parting++;
    if (session->last == index)
        session->last = SLAB_NONE;
    mail_send(
        router,
        &(struct mail){
            .type = MAIL_UNASK, .to_shard = link->pair_home, .from = link_handle(router, index), .a = session->key, .b = link->peer_key},
        out);
    link->acks = 1;
    if (link->state == LINK_LINKED) {
        unlink_peer(router, link, index, LINK_PARTING, out);
        send_parted(router, link, index, out);
        if (session->state != SESSION_LEAVING)
            effect_event(out, link->session, ROUTER_DISCONNECTED, &link->peer_key);
        return;
    }
    link->state = link->state == LINK_HALF ? LINK_CANCELLED : LINK_PARTING;
    link->owed = 0;
}

// --- data and credit -----------------------------------------------------------------------------------------------------------------

static inline int32_t data_cost(size_t payload_bytes)
{
    CHECK(payload_bytes <= DATA_BYTES_MAX);
    return (int32_t)router_queue_bytes(payload_bytes);
}

static void on_credit(struct router *router, struct handle to, struct handle from, uint32_t bytes, struct effects *out)
{
    struct link *link = link_of(router, to);
    if (link == NULL || link->state != LINK_LINKED || !handle_equal(link->peer, from))
        return; // for a connection that is over
    CHECK(bytes <= 2 * DATA_BYTES_MAX && link->credit <= (int32_t)router->limits.window_bytes - (int32_t)bytes);
    link->credit += (int32_t)bytes;
    const struct session *session = session_of_link(router, link);
    if (link->credit > 0 && session->wait == WAIT_CREDIT && session->wait_link == to.slot && !BUG(4))
        session_resume(router, link->session, out);
}

// Data and credit to another shard: only the bytes that travel are written.
static void send_short(const struct router *router, const struct link *link, uint32_t index, enum mail_type type, uint32_t number,
                       struct bytes payload, struct effects *out)
{
    CHECK(link->peer.shard != router->shard);
    struct effect *effect = effect_add(out, EFFECT_MAIL, link->session);
    effect->payload = payload;
    effect->mail.type = (uint8_t)type;
    effect->mail.flags = 0;
    effect->mail.to_shard = link->peer.shard;
    effect->mail.number = number;
    effect->mail.to = link->peer;
    effect->mail.from = link_handle(router, index);
}

static void grant(struct router *router, struct link *link, uint32_t index, struct effects *out)
{
    CHECK(link->state == LINK_LINKED && link->owed > 0);
    uint32_t bytes = link->owed;
    link->owed = 0;
    starved_remove(router, session_of_link(router, link), link);
    if (link->peer.shard == router->shard) {
        on_credit(router, link->peer, link_handle(router, index), bytes, out);
        return;
    }
    send_short(router, link, index, MAIL_CREDIT, bytes, bytes_of(NULL, 0), out);
}

void link_grant_starved(struct router *router, uint32_t slot, struct effects *out)
{
    const struct session *session = slab_at(&router->sessions, slot);
    while (session->starved != SLAB_NONE) {
        uint32_t index = session->starved;
        struct link *link = link_at(router, index);
        CHECK(link->starved && link->session == slot);
        grant(router, link, index, out);
    }
}

static inline void deliver(struct router *router, struct link *link, uint32_t index, struct bytes payload, struct effects *out)
{
    struct session *session = session_of_link(router, link);
    struct effect *effect = effect_add(out, EFFECT_DATA, link->session);
    effect->payload = payload;
    effect->key = link->peer_key;
    router->data_delivered++;
    session->queued_bytes += router_queue_bytes(payload.len);
    link->owed += (uint32_t)data_cost(payload.len);
    if (link->owed < router->grant_bytes_min || link->starved) // a starved one waits until the queue has drained to half
        return;
    if (session->queued_bytes < router->limits.queue_bytes_max)
        grant(router, link, index, out);
    else
        starved_add(router, session, link, index);
}

void link_send(struct router *router, struct link *link, uint32_t index, struct bytes payload, struct effects *out)
{
    CHECK(link->state == LINK_LINKED && link->credit > 0);
    link->credit -= data_cost(payload.len);
    if (link->peer.shard == router->shard) {
        struct link *peer = link_at(router, link->peer.slot);
        CHECK(peer->generation == link->peer.generation && peer->state == LINK_LINKED); // on one shard both are or neither
        deliver(router, peer, link->peer.slot, payload, out);
        return;
    }
    send_short(router, link, index, MAIL_DATA, 0, payload, out);
}

static void on_data(struct router *router, struct link *link, const struct mail *mail, struct bytes payload, struct effects *out)
{
    if (link != NULL && link->state == LINK_LINKED && handle_equal(link->peer, mail->from))
        deliver(router, link, mail->to.slot, payload, out);
    else
        mail_reply(router, MAIL_BOUNCE, mail->from, mail->to, out);
}

static void on_bounce(struct router *router, const struct link *link, struct effects *out)
{
    if (link == NULL || !is_live(link) || link->state == LINK_LINKED) {
        router->data_lost++;
        return;
    }
    CHECK(session_of_link(router, link)->state == SESSION_LIVE);
    router->data_bounced++;
    effect_event(out, link->session, ROUTER_NO_SUCH_CONNECTION, &link->peer_key);
}

// --- opening and parting -------------------------------------------------------------------------------------------------------------

// What a new peer may send at first: nothing while the queue is full, or else who connects again and again would fill it without bound.
static uint32_t first_credit(const struct router *router, const struct link *link)
{
    bool full = session_of_link(router, link)->queued_bytes >= router->limits.queue_bytes_max;
    return full ? 0 : router->limits.window_bytes;
}

// `credit` came with the peer's mail, `owed` is what ours withheld of the window.
static void link_up(struct router *router, struct handle self, struct handle peer, uint32_t credit, uint32_t owed, struct effects *out)
{
    struct link *link = link_at(router, self.slot);
    CHECK(link->state == LINK_ASKED || link->state == LINK_HALF);
    CHECK(credit <= router->limits.window_bytes && owed <= router->limits.window_bytes);
    struct session *session = session_of_link(router, link);
    CHECK(session->state == SESSION_LIVE);
    bool untold = BUG(2) && link->state == LINK_ASKED;
    link->state = LINK_LINKED;
    link->peer = peer;
    link->credit = (int32_t)credit;
    link->owed = owed;
    if (!untold)
        effect_event(out, link->session, ROUTER_CONNECTED, &link->peer_key);
    decided(router, link, self.slot, out);
    if (owed > 0 && session->queued_bytes < router->limits.queue_bytes_max)
        grant(router, link, self.slot, out);
    else if (owed > 0)
        starved_add(router, session, link, self.slot);
}

static void send_credit(struct router *router, enum mail_type type, const struct mail *answered, uint32_t credit, struct effects *out)
{
    mail_send(router,
              &(struct mail){
                  .type = (uint8_t)type, .to_shard = answered->from.shard, .number = credit, .to = answered->from, .from = answered->to},
              out);
}

static void on_open(struct router *router, struct link *link, const struct mail *mail, struct effects *out)
{
    // A link that is linked already was opened by a newer half of its peer: this one is gone.
    if (link == NULL || link->state != LINK_ASKED)
        return;
    uint32_t credit = first_credit(router, link);
    link->state = LINK_HALF;
    link->peer = mail->from;
    link->owed = router->limits.window_bytes - credit;
    send_credit(router, MAIL_ACCEPT, mail, credit, out);
}

static void on_accept(struct router *router, struct link *link, const struct mail *mail, struct effects *out)
{
    if (link == NULL || !is_live(link)) {
        mail_reply(router, MAIL_REJECT, mail->from, mail->to, out);
        return;
    }
    CHECK(link->state == LINK_ASKED || !handle_equal(link->peer, mail->from));
    if (link->state == LINK_LINKED) { // the old peer was cancelled
        unlink_peer(router, link, mail->to.slot, LINK_ASKED, out);
        effect_event(out, link->session, ROUTER_DISCONNECTED, &link->peer_key);
    }
    uint32_t credit = first_credit(router, link);
    link_up(router, mail->to, mail->from, mail->number, router->limits.window_bytes - credit, out);
    send_credit(router, MAIL_CONFIRM, mail, credit, out);
}

static void on_confirm(struct router *router, struct link *link, const struct mail *mail, struct effects *out)
{
    // Nothing but its answer ends HALF and CANCELLED, except an ACCEPT, and then the answer is a REJECT.
    CHECK(link != NULL && handle_equal(link->peer, mail->from));
    CHECK(link->state == LINK_HALF || link->state == LINK_CANCELLED);
    if (link->state == LINK_HALF) {
        link_up(router, mail->to, mail->from, mail->number, link->owed, out);
        return;
    }
    link->state = LINK_PARTING;
    if (session_of_link(router, link)->state == SESSION_LIVE) {
        effect_event(out, link->session, ROUTER_CONNECTED, &link->peer_key);
        effect_event(out, link->session, ROUTER_DISCONNECTED, &link->peer_key);
    }
    send_parted(router, link, mail->to.slot, out);
}

static void on_reject(struct router *router, struct link *link, const struct mail *mail, struct effects *out)
{
    if (link == NULL || !handle_equal(link->peer, mail->from))
        return; // it was linked anew meanwhile
    CHECK(link->state != LINK_LINKED);
    if (link->state == LINK_HALF) {
        link->state = LINK_ASKED;
        link->owed = 0;
        decided(router, link, mail->to.slot, out);
    } else if (link->state == LINK_CANCELLED) {
        link->state = LINK_PARTING;
        try_free(router, link, mail->to.slot, out);
    }
}

static void on_parted(struct router *router, struct link *link, const struct mail *mail, struct effects *out)
{
    if (link != NULL && link->state == LINK_LINKED && handle_equal(link->peer, mail->from)) {
        unlink_peer(router, link, mail->to.slot, LINK_ASKED, out);
        effect_event(out, link->session, ROUTER_DISCONNECTED, &link->peer_key);
    }
    if (!BUG(6))
        mail_reply(router, MAIL_PARTED_ACK, mail->from, mail->to, out);
}

static void on_ack(struct router *router, struct link *link, uint32_t index, struct effects *out)
{
    CHECK(link != NULL && link->acks > 0);
    CHECK(link->state == LINK_CANCELLED || link->state == LINK_PARTING);
    link->acks--;
    try_free(router, link, index, out);
}

void link_mail(struct router *router, const struct mail *mail, struct bytes payload, struct effects *out)
{
    CHECK(!handle_is_none(mail->to) && !handle_is_none(mail->from));
    struct link *link = link_of(router, mail->to);
    switch (mail->type) {
    case MAIL_DATA:
        on_data(router, link, mail, payload, out);
        break;
    case MAIL_CREDIT:
        on_credit(router, mail->to, mail->from, mail->number, out);
        break;
    case MAIL_BOUNCE:
        on_bounce(router, link, out);
        break;
    case MAIL_ASKED:
        CHECK(link != NULL); // UNASK_ACK comes later
        if (link->state == LINK_ASKED)
            decided(router, link, mail->to.slot, out);
        break;
    case MAIL_OPEN:
        on_open(router, link, mail, out);
        break;
    case MAIL_ACCEPT:
        on_accept(router, link, mail, out);
        break;
    case MAIL_CONFIRM:
        on_confirm(router, link, mail, out);
        break;
    case MAIL_REJECT:
        on_reject(router, link, mail, out);
        break;
    case MAIL_PARTED:
        on_parted(router, link, mail, out);
        break;
    case MAIL_UNASK_ACK:
    case MAIL_PARTED_ACK:
        on_ack(router, link, mail->to.slot, out);
        break;
    default:
        UNREACHABLE();
    }
}

static void check_list(const struct router *router, const struct session *session, uint32_t slot)
{
    uint32_t live = 0;
    uint32_t parting = 0;
    uint32_t starved = 0;
    uint32_t prev = SLAB_NONE;
    for (uint32_t i = session->links; i != SLAB_NONE;) {
        const struct link *link = link_at(router, i);
        CHECK(link->state != LINK_FREE && link->session == slot && link->prev == prev);
        CHECK(is_live(link) == (link->acks == 0) || link->state == LINK_CANCELLED);
        CHECK(link->state == LINK_LINKED || (link->credit == 0 && !link->starved));
        CHECK(link->state == LINK_LINKED || link->state == LINK_HALF || link->owed == 0);
        CHECK(link->owed <= 2 * DATA_BYTES_MAX);
        live += is_live(link);
        parting += !is_live(link);
        starved += link->starved;
        prev = i;
        i = link->next;
    }
    CHECK(live == session->links_live && parting == session->links_parting);
    for (uint32_t i = session->starved; i != SLAB_NONE; i = link_at(router, i)->starved_next)
        starved--;
    CHECK(starved == 0);
    CHECK(session->last == SLAB_NONE || (is_live(link_at(router, session->last)) && link_at(router, session->last)->session == slot));
    CHECK(live == 0 || session->state == SESSION_LIVE);
}

void link_check(const struct router *router)
{
    table_check(&router->link_table);
    uint32_t count = 0;
    uint32_t live = 0;
    for (uint32_t i = 0; i < router->links.used; i++) {
        const struct link *link = link_at(router, i);
        if (link->state == LINK_FREE)
            continue;
        count++;
        const struct session *session = session_of_link(router, link);
        if (link->prev == SLAB_NONE)
            check_list(router, session, link->session);
        if (!is_live(link))
            continue;
        live++;
        CHECK(link_look_up(router, link->session, &link->peer_key) == i);
        if (link->state == LINK_LINKED && link->peer.shard == router->shard) {
            const struct link *peer = link_of(router, link->peer);
            CHECK(peer != NULL && peer->state == LINK_LINKED && handle_equal(peer->peer, link_handle(router, i)));
        }
    }
    CHECK(count == router->links.count && live == router->link_table.count);
}
