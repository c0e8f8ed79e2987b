// The table of mail types, and the way mail takes: to the own shard by a FIFO that each API call empties, to others as an effect.
#include <stdlib.h>

#include "router/internal.h"

#define FIFO_CAPACITY_MIN 64u

enum mail_party { PARTY_SESSION, PARTY_LINK, PARTY_DIRECTORY, PARTY_PRESENCE, PARTY_PAIR, PARTY_DATAGRAM };

// Bytes on the wire: links and sessions only; then the account; then key a; then key b.
#define WIRE_SHORT offsetof(struct mail, account)
#define WIRE_KEY offsetof(struct mail, b)
#define WIRE_KEYS sizeof(struct mail)

static const struct mail_row {
    const char *name;
    enum mail_party party; // who handles it
    size_t wire_bytes;
} rows[MAIL_TYPE_COUNT] = {
    // from the session, a its key, account
    [MAIL_REGISTER] = {"REGISTER", PARTY_DIRECTORY, WIRE_KEY},
    [MAIL_UNREGISTER] = {"UNREGISTER", PARTY_DIRECTORY, WIRE_KEY},
    [MAIL_ENTER] = {"ENTER", PARTY_PRESENCE, WIRE_KEY},
    [MAIL_EXIT] = {"EXIT", PARTY_PRESENCE, WIRE_KEY},
    // to the session
    [MAIL_EVICT] = {"EVICT", PARTY_SESSION, WIRE_SHORT},
    [MAIL_SUPERSEDED] = {"SUPERSEDED", PARTY_SESSION, WIRE_SHORT},
    [MAIL_REFUSED] = {"REFUSED", PARTY_SESSION, WIRE_SHORT},
    [MAIL_WELCOME] = {"WELCOME", PARTY_SESSION, WIRE_SHORT}, // number of fences
    [MAIL_ENTERED] = {"ENTERED", PARTY_SESSION, WIRE_KEY},   // a who
    [MAIL_EXITED] = {"EXITED", PARTY_SESSION, WIRE_KEY},     // a who
    // from the newcomer to a shard, and back to the newcomer
    [MAIL_FENCE] = {"FENCE", PARTY_SESSION, WIRE_SHORT},
    [MAIL_FENCE_ACK] = {"FENCE_ACK", PARTY_SESSION, WIRE_SHORT},
    // about key a: to a shard that was told of its exit; to the key's home, number of shards told (MAIL_EXIT_TOLD) or of one answer
    [MAIL_EXIT_FENCE] = {"EXIT_FENCE", PARTY_PRESENCE, WIRE_KEY},
    [MAIL_EXIT_ACK] = {"EXIT_ACK", PARTY_DIRECTORY, WIRE_KEY},
    // to oneself: the next piece of what presence has to tell
    [MAIL_GO_ON] = {"GO_ON", PARTY_PRESENCE, WIRE_SHORT},
    // from the link, a its own key, b its peer's; the answer to the link
    [MAIL_ASK] = {"ASK", PARTY_PAIR, WIRE_KEYS},
    [MAIL_ASKED] = {"ASKED", PARTY_LINK, WIRE_SHORT}, // to the link: the other has not asked yet
    [MAIL_UNASK] = {"UNASK", PARTY_PAIR, WIRE_KEYS},
    [MAIL_UNASK_ACK] = {"UNASK_ACK", PARTY_LINK, WIRE_SHORT},
    // to the link, from the link that is or becomes its peer; number of ACCEPT and CONFIRM: the credit to start with
    [MAIL_OPEN] = {"OPEN", PARTY_LINK, WIRE_SHORT},
    [MAIL_ACCEPT] = {"ACCEPT", PARTY_LINK, WIRE_SHORT},
    [MAIL_REJECT] = {"REJECT", PARTY_LINK, WIRE_SHORT},
    [MAIL_CONFIRM] = {"CONFIRM", PARTY_LINK, WIRE_SHORT},
    [MAIL_PARTED] = {"PARTED", PARTY_LINK, WIRE_SHORT},
    [MAIL_PARTED_ACK] = {"PARTED_ACK", PARTY_LINK, WIRE_SHORT},
    [MAIL_DATA] = {"DATA", PARTY_LINK, WIRE_SHORT},
    [MAIL_BOUNCE] = {"BOUNCE", PARTY_LINK, WIRE_SHORT},
    [MAIL_CREDIT] = {"CREDIT", PARTY_LINK, WIRE_SHORT}, // number of bytes
    // from the session, number the token, a its key, b the receiver's: to the home of b, and on to the session that holds it
    [MAIL_DATAGRAM] = {"DATAGRAM", PARTY_DATAGRAM, WIRE_KEYS},
    [MAIL_FORWARD] = {"FORWARD", PARTY_DATAGRAM, WIRE_KEY},
    [MAIL_REPORT] = {"REPORT", PARTY_DATAGRAM,
                     WIRE_KEY}, // to the session, number the token, account the cost, flags the enum router_report
};

size_t mail_wire_bytes(enum mail_type type)
{
    CHECK(type < MAIL_TYPE_COUNT);
    return rows[type].wire_bytes;
}

const char *mail_name(enum mail_type type)
{
    CHECK(type < MAIL_TYPE_COUNT);
    return rows[type].name;
}

static void fifo_grow(struct router *router)
{
    size_t capacity = router->fifo_capacity == 0 ? FIFO_CAPACITY_MIN : router->fifo_capacity * 2;
    struct mail *fifo = malloc(capacity * sizeof(*fifo));
    CHECK(fifo != NULL);
    for (size_t i = 0; i < router->fifo_count; i++)
        fifo[i] = router->fifo[(router->fifo_head + i) & (router->fifo_capacity - 1)];
    free(router->fifo);
    router->fifo = fifo;
    router->fifo_head = 0;
    router->fifo_capacity = capacity;
}

void mail_send(struct router *router, const struct mail *mail, struct effects *out)
{
    CHECK(mail->type < MAIL_TYPE_COUNT && mail->type != MAIL_DATA);
    CHECK(mail->to_shard < router->shard_count);
    if (mail->to_shard != router->shard) {
        struct effect *effect = effect_add(out, EFFECT_MAIL, 0);
        effect->payload = bytes_of(NULL, 0);
        effect->mail = *mail;
        return;
    }
    CHECK(router->fifo_count < router->effects_max);
    if (router->fifo_count == router->fifo_capacity)
        fifo_grow(router);
    router->fifo[(router->fifo_head + router->fifo_count) & (router->fifo_capacity - 1)] = *mail;
    router->fifo_count++;
}

void mail_reply(struct router *router, enum mail_type type, struct handle to, struct handle from, struct effects *out)
{
    CHECK(!handle_is_none(to));
    mail_send(router, &(struct mail){.type = (uint8_t)type, .to_shard = to.shard, .to = to, .from = from}, out);
}

void mail_handle(struct router *router, const struct mail *mail, struct bytes payload, struct effects *out)
{
    CHECK(mail->type < MAIL_TYPE_COUNT);
    CHECK(mail->to_shard == router->shard);
    switch (rows[mail->type].party) {
    case PARTY_LINK:
        link_mail(router, mail, payload, out);
        break;
    case PARTY_SESSION:
        session_mail(router, mail, out);
        break;
    case PARTY_DIRECTORY:
        directory_mail(router, mail, out);
        break;
    case PARTY_PRESENCE:
        presence_mail(router, mail, out);
        break;
    case PARTY_PAIR:
        pair_mail(router, mail, out);
        break;
    case PARTY_DATAGRAM:
        datagram_mail(router, mail, payload, out);
        break;
    }
}

void mail_drain(struct router *router, struct effects *out)
{
    while (router->fifo_count > 0) {
        struct mail mail = router->fifo[router->fifo_head]; // a copy: handling may grow the FIFO
        router->fifo_head = (router->fifo_head + 1) & (router->fifo_capacity - 1);
        router->fifo_count--;
        mail_handle(router, &mail, bytes_of(NULL, 0), out);
    }
    CHECK(out->count <= out->max);
}
