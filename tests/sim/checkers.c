// The checkers: what each session may be told, what must have arrived, and what the shards may hold. The invariants of ARCHITECTURE.md.
// One rule: they know only what devices sent and saw, and the public state of the shards; never why the code did something.
#include <netinet/in.h>
#include <stdlib.h>

#include "net/buckets/codec.h"
#include "shards/base/check.h"
#include "tests/sim/bone.h"
#include "tests/sim/sim.h"

#define EPOCHS_MAX 8192

// A finished connection as its receiver saw it.
struct epoch {
    const struct session_view *receiver, *sender;
    uint32_t expected;
};

static struct session_view *views[SIM_SESSIONS_MAX];
static uint32_t view_count;
static struct epoch epochs[EPOCHS_MAX];
static uint32_t epoch_count;

void checkers_open(void)
{
    view_count = epoch_count = 0;
}

void checkers_close(void)
{
    for (uint32_t i = 0; i < view_count; i++)
        free(views[i]);
    view_count = 0;
}

struct session_view *view_create(const struct sim_room *room, uint32_t device, uint32_t account)
{
    SIM_CHECK(view_count < SIM_SESSIONS_MAX, "too many sessions in one run");
    struct session_view *view = calloc(1, sizeof(*view));
    CHECK(view != NULL);
    views[view_count++] = view;
    view->id = view_count;
    view->room = room;
    view->device = device;
    view->account = account;
    return view;
}

static bool is_live(const struct session_view *view)
{
    return view->authenticated && !view->dead && view->close_code == 0;
}

// ---- payloads: their length and bytes follow from sender, receiver and number ----

uint32_t payload_len(const struct session_view *sender, uint32_t device, uint32_t number)
{
    uint64_t random = sim_hash(sender->id, device, number);
    unsigned choice = (unsigned)(random % 1000);
    uint32_t max = sim_config.payload_bytes_max;
    random >>= 16;
    if (sim_config.floods && number % 60 != 0)
        return 0;
    if (choice < sim_config.big_per_thousand)
        return max;
    if (number % 4 != 0 && choice < 300)
        return (uint32_t)(random % 12);
    uint32_t span = choice < 700 ? 128 : choice < 900 ? 1024 : choice < 980 ? 16384 : 65536;
    span = span < max ? span : max;
    return 12 + (uint32_t)(random % (span - 11));
}

void payload_fill(const struct session_view *sender, uint32_t device, uint32_t number, uint8_t *ptr, size_t len)
{
    uint64_t word = sim_hash(sender->id, device, number ^ 0x80000000u);
    for (size_t at = 0; at < len; at += 8) {
        memcpy(ptr + at, &word, len - at < 8 ? len - at : 8);
        word = word * 6364136223846793005ull + 1442695040888963407ull;
    }
    if (len >= 12) {
        memcpy(ptr, &sender->id, 4);
        memcpy(ptr + 4, &number, 4);
    }
}

// ---- data ----

static void delivered(struct session_view *sender, uint32_t device, uint32_t number)
{
    struct peer_view *peer = &sender->peers[device];
    SIM_CHECK(number < peer->sent, "session %u: message %u to device %u was never sent", sender->id, number, device);
    sender->delivered++;
    if (number >= SIM_NUMBERS_MAX)
        return;
    uint64_t bit = 1ull << number % 64;
    SIM_CHECK((peer->arrived[number / 64] & bit) == 0, "session %u: message %u to device %u arrived twice", sender->id, number, device);
    peer->arrived[number / 64] |= bit;
}

// The messages that came before the sender was known are its last ones before `number`.
static void resolve(const struct session_view *view, struct peer_view *from, struct session_view *sender, uint32_t number)
{
    SIM_CHECK(number >= from->early_count, "session %u: more data from session %u than it sent", view->id, sender->id);
    for (uint32_t i = 0; i < from->early_count; i++) {
        uint32_t early = number - from->early_count + i;
        SIM_CHECK(payload_len(sender, view->device, early) == from->early_len[i], "session %u: message %u from session %u is missing",
                  view->id, early, sender->id);
        delivered(sender, view->device, early);
    }
    SIM_CHECK(from->last_sender != sender || number - from->early_count >= from->last_expected,
              "session %u: message %u from session %u is out of order", view->id, number, sender->id);
    // Connected comes between Entered and Exited of a device of the same account, and outside of them for any other.
    SIM_CHECK(from->entered == (sender->account == view->account), "session %u: connected to session %u while it is %s", view->id,
              sender->id, from->entered ? "seen" : "not seen");
    from->sender = sender;
    from->expected = number;
}

static void view_data(struct session_view *view, uint32_t device, struct bytes data)
{
    static uint8_t expected[1 << 20];
    struct peer_view *from = &view->peers[device];
    SIM_CHECK(from->connected, "session %u: Data from device %u, which is not connected", view->id, device);
    if (from->sender == NULL && data.len >= 12) {
        uint32_t id, number;
        memcpy(&id, data.ptr, 4);
        memcpy(&number, data.ptr + 4, 4);
        SIM_CHECK(id >= 1 && id <= view_count && views[id - 1]->device == device, "session %u: data of nobody", view->id);
        resolve(view, from, views[id - 1], number);
    }
    if (from->sender == NULL) {
        SIM_CHECK(from->early_count < 64, "session %u: a message from device %u is missing", view->id, device);
        from->early_len[from->early_count++] = (uint32_t)data.len;
        return;
    }
    uint32_t number = from->expected++;
    SIM_CHECK(data.len == payload_len(from->sender, view->device, number),
              "session %u: message %u from session %u is missing or cut (%zu bytes)", view->id, number, from->sender->id, data.len);
    payload_fill(from->sender, view->device, number, expected, data.len);
    SIM_CHECK(data.len == 0 || memcmp(expected, data.ptr, data.len) == 0, "session %u: message %u from session %u is damaged", view->id,
              number, from->sender->id);
    delivered(from->sender, view->device, number);
}

// ---- events ----

static uint32_t device_of(const struct session_view *view, struct bytes key)
{
    SIM_CHECK(key.len == KEY_BYTES, "session %u: a key of %zu bytes", view->id, key.len);
    for (uint32_t device = 0; device < sim_config.keys; device++)
        if (memcmp(device_key(device)->bytes, key.ptr, KEY_BYTES) == 0)
            return device;
    sim_fail(__FILE__, __LINE__, "session %u: an event with an unknown key", view->id);
}

static void view_connected(struct session_view *view, uint32_t device)
{
    struct peer_view *peer = &view->peers[device];
    SIM_CHECK(device != view->device, "session %u: connected to itself", view->id);
    SIM_CHECK(!peer->connected, "session %u: Connected to device %u twice", view->id, device);
    SIM_CHECK(sim_config.accounts > 1 || peer->entered, "session %u: Connected to device %u before its Entered", view->id, device);
    SIM_CHECK(peer->asked || peer->disconnected_ever, "session %u: Connected to device %u without asking", view->id, device);
    peer->connected = true;
    peer->sender = NULL;
    peer->early_count = 0;
}

static void view_disconnected(struct session_view *view, uint32_t device)
{
    struct peer_view *peer = &view->peers[device];
    SIM_CHECK(peer->connected, "session %u: Disconnected from device %u, which is not connected", view->id, device);
    peer->connected = false;
    view->lossy++;
    if (peer->sender != NULL) {
        peer->last_sender = peer->sender;
        peer->last_expected = peer->expected;
    }
    if (peer->sender != NULL && epoch_count < EPOCHS_MAX)
        epochs[epoch_count++] = (struct epoch){.receiver = view, .sender = peer->sender, .expected = peer->expected};
}

static bool has_logged_in(uint32_t device, uint32_t account)
{
    for (uint32_t i = 0; i < view_count; i++)
        if (views[i]->device == device && views[i]->account == account && views[i]->iam_right)
            return true;
    return false;
}

static void view_presence(struct session_view *view, uint32_t device, bool entered)
{
    struct peer_view *peer = &view->peers[device];
    SIM_CHECK(device != view->device, "session %u: told of its own %s", view->id, entered ? "Entered" : "Exited");
    SIM_CHECK(has_logged_in(device, view->account), "session %u: told of device %u of another account", view->id, device);
    SIM_CHECK(peer->entered != entered, "session %u: %s of device %u twice", view->id, entered ? "Entered" : "Exited", device);
    SIM_CHECK(!peer->connected, "session %u: %s of device %u while connected", view->id, entered ? "Entered" : "Exited", device);
    peer->entered = entered;
}

static void view_error(struct session_view *view, struct bytes text)
{
    const struct {
        const char *text;
        uint32_t *due;
    } errors[] = {{"Connection forbidden", &view->forbidden_due},
                  {"Sending forbidden", &view->send_forbidden_due},
                  {"Can't connect to self", &view->self_due},
                  {"Invalid signature", &view->bad_signature_due},
                  {"Authentication cannot proceed. Reconnect and try again.", &view->spent_due}};
    for (size_t i = 0; i < sizeof(errors) / sizeof(errors[0]); i++) {
        if (!bytes_equal(text, bytes_text(errors[i].text)))
            continue;
        SIM_CHECK(*errors[i].due > 0, "session %u: \"%s\" without a reason", view->id, errors[i].text);
        (*errors[i].due)--;
        return;
    }
    SIM_CHECK(bytes_equal(text, bytes_text("No such connection")), "session %u: unknown error %.*s", view->id, (int)text.len,
              (const char *)text.ptr);
    view->send_errors++;
    SIM_CHECK(view->send_errors + view->delivered <= view->sends, "session %u: more errors than messages", view->id);
}

void view_message(struct session_view *view, struct bytes message)
{
    struct buckets_event event;
    enum error error = buckets_event_parse(message, &event);
    SIM_CHECK(error == ERROR_NONE, "session %u: event of %zu bytes does not parse: %s", view->id, message.len, error_text(error));
    SIM_CHECK(view->challenged == (event.kind != '?'), "session %u: first event %c", view->id, event.kind);
    if (event.kind == '?') {
        CHECK(event.key.len == sizeof(view->challenge));
        memcpy(view->challenge, event.key.ptr, sizeof(view->challenge));
        view->challenged = true;
        return;
    }
    if (event.kind == 'E') {
        view_error(view, event.data);
        return;
    }
    if (event.kind == '+') {
        SIM_CHECK(view->iam_right && !view->authenticated, "session %u: Authenticated without a right Iam, or twice", view->id);
        view->authenticated = true;
        sim_trace("session %u: Authenticated", view->id);
        return;
    }
    SIM_CHECK(view->authenticated, "session %u: event %c before Authenticated", view->id, event.kind);
    uint32_t device = device_of(view, event.key);
    if (event.kind != 'd')
        sim_trace("session %u: %c device %u", view->id, event.kind, device);
    if (event.kind == 'd')
        view_data(view, device, event.data);
    else if (event.kind == 'c')
        view_connected(view, device);
    else if (event.kind == 'x')
        view_disconnected(view, device);
    else
        view_presence(view, device, event.kind == '>');
}

const uint8_t *view_take_challenge(struct session_view *view)
{
    if (!view->challenged || view->challenge_taken)
        return NULL;
    view->challenge_taken = true;
    return view->challenge;
}

// ---- the end of a session ----

static bool was_challenged_by_another(const struct session_view *view)
{
    for (uint32_t i = 0; i < view_count; i++)
        if (views[i] != view && views[i]->device == view->device && views[i]->iam_right)
            return true;
    return false;
}

void view_closed_by_server(struct session_view *view, uint16_t code, struct bytes reason)
{
    bool explained = false;
    switch (code) {
    case 1000: // the client has asked for it: client.c
        explained = true;
        break;
    case 1001:
        explained = sim_config.graceful_stop && sim_is_stopping;
        break;
    case 1002:
    case 1009:
        explained = view->rude;
        break;
    case 4000:
        explained = was_challenged_by_another(view);
        break;
    case 4001:
        explained = view->slow || sim_config.limits.control_bytes_max < 100000;
        break;
    case 4002:
        explained = !view->authenticated && !view->iam_right;
        break;
    case 4004:
        explained = view->mute || view->slow;
        break;
    default:
        break;
    }
    SIM_CHECK(explained, "session %u: closed with %u (%.*s) for no reason", view->id, (unsigned)code, (int)reason.len,
              (const char *)reason.ptr);
    SIM_CHECK(code < 4000 || reason.len > 0, "session %u: code %u without a reason", view->id, (unsigned)code);
}

void view_ended(struct session_view *view, bool cleanly)
{
    CHECK(!view->dead);
    view->dead = true;
    view->closed_cleanly = cleanly;
}

// ---- after the devices have stopped acting ----

static const struct session_view *live_of(uint32_t device)
{
    const struct session_view *live = NULL;
    for (uint32_t i = 0; i < view_count; i++) {
        if (!is_live(views[i]) || views[i]->device != device)
            continue;
        SIM_CHECK(live == NULL, "device %u has two live sessions: %u and %u", device, live->id, views[i]->id);
        live = views[i];
    }
    return live;
}

static void check_pair(struct session_view *view, struct session_view *other)
{
    struct peer_view *mine = &view->peers[other->device];
    const struct peer_view *theirs = &other->peers[view->device];
    bool is_neighbour = view->account == other->account;
    SIM_CHECK(mine->entered == is_neighbour, "session %u: device %u is %s", view->id, other->device, mine->entered ? "seen" : "not seen");
    bool is_due = mine->asked && theirs->asked;
    SIM_CHECK(mine->connected == is_due, "session %u: device %u is %s", view->id, other->device,
              is_due ? "not connected though both asked" : "connected though one has gone");
    if (!mine->connected)
        return;
    if (mine->sender == NULL && mine->early_count > 0)
        resolve(view, mine, other, theirs->sent);
    if (mine->sender != NULL)
        SIM_CHECK(mine->sender == other && mine->expected == theirs->sent, "session %u: %u of %u messages from session %u arrived",
                  view->id, mine->expected, theirs->sent, other->id);
}

static void check_no_debts(const struct session_view *view)
{
    uint32_t due = view->forbidden_due + view->send_forbidden_due + view->self_due + view->bad_signature_due + view->spent_due;
    SIM_CHECK(due == 0, "session %u: %u answers are missing", view->id, due);
    SIM_CHECK(view->authenticated == view->iam_right, "session %u: not Authenticated", view->id);
    bool may_have_lost = view->lossy > 0;
    for (uint32_t device = 0; device < sim_config.keys; device++)
        may_have_lost = may_have_lost || view->peers[device].disconnected_ever;
    SIM_CHECK(may_have_lost || view->delivered + view->send_errors == view->sends,
              "session %u: of %u messages %u arrived and %u were refused", view->id, view->sends, view->delivered, view->send_errors);
}

void check_converged(void)
{
    for (uint32_t device = 0; device < sim_config.keys; device++) {
        struct session_view *view = (struct session_view *)(uintptr_t)live_of(device);
        for (uint32_t other = 0; view != NULL && other < sim_config.keys; other++) {
            struct session_view *peer = other == device ? NULL : (struct session_view *)(uintptr_t)live_of(other);
            if (peer != NULL)
                check_pair(view, peer);
            else
                SIM_CHECK(!view->peers[other].entered && !view->peers[other].connected, "session %u: still sees device %u, which is gone",
                          view->id, other);
        }
    }
    for (uint32_t i = 0; i < view_count; i++)
        if (views[i]->challenged && !views[i]->dead && views[i]->close_code == 0 && !views[i]->rude)
            check_no_debts(views[i]);
    for (uint32_t i = 0; i < epoch_count; i++) { // what a leaving session sent before its close frame arrived
        const struct session_view *sender = epochs[i].sender;
        uint32_t to = epochs[i].receiver->device;
        if (!sender->closed_cleanly || sender->peers[to].disconnected_ever || epochs[i].receiver->peers[sender->device].disconnected_ever)
            continue;
        SIM_CHECK(epochs[i].expected == sender->peers[to].sent,
                  "session %u: %u of %u messages arrived from session %u, which left in order", epochs[i].receiver->id, epochs[i].expected,
                  sender->peers[to].sent, sender->id);
    }
}

// ---- the shards ----

// Whichever shard accepted it, it is treated as its listener and its address demand.
static void check_origin(const struct shard *shard, const struct conn *conn)
{
    int fd = conn->source.fd;
    size_t index = SHARD_LISTENERS_MAX;
    for (uint16_t i = 0; i < sim_config.shard_count; i++)
        for (size_t k = 0; k < sim_shards[i]->listener_count; k++)
            if (sim_shards[i]->listeners[k].source.fd == kernel_listener_of(fd))
                index = k;
    uint32_t address = htonl(kernel_address_of(fd));
    SIM_CHECK(conn->listener == &shard->listeners[index], "shard %u slot %u: of another listener", (unsigned)shard->index, conn->slot);
    SIM_CHECK(memcmp(conn->peer.bytes + 12, &address, sizeof(address)) == 0, "shard %u slot %u: from another address",
              (unsigned)shard->index, conn->slot);
}

static void check_conn(struct shard *shard, struct conn *conn, bool clients_idle)
{
    bool reads = conn->phase == CONN_HEAD || conn->phase == CONN_OPEN || conn->phase == CONN_CLOSING;
    SIM_CHECK(conn->phase != CONN_GONE, "shard %u slot %u: gone and not released", (unsigned)shard->index, conn->slot);
    if (conn->phase == CONN_FREE)
        return;
    check_origin(shard, conn);
    SIM_CHECK(conn->waiting || !reads || conn->read_ended || kernel_unread_bytes(conn->source.fd) == 0,
              "shard %u slot %u phase %u: input is left unread", (unsigned)shard->index, conn->slot, (unsigned)conn->phase);
    SIM_CHECK(conn->out.bytes == 0 || !kernel_is_writable(conn->source.fd), "shard %u slot %u: output is left unwritten",
              (unsigned)shard->index, conn->slot);
    SIM_CHECK(!conn->dirty, "shard %u slot %u: left dirty", (unsigned)shard->index, conn->slot);
    if (!clients_idle || (conn->room == &backbone_room && bone_is_busy()))
        return;
    SIM_CHECK(conn->out.bytes == 0, "shard %u slot %u: %zu bytes are left", (unsigned)shard->index, conn->slot, conn->out.bytes);
    SIM_CHECK(!conn->waiting, "shard %u slot %u: waits for nothing", (unsigned)shard->index, conn->slot);
}

void check_quiet(bool clients_idle)
{
    for (uint16_t i = 0; i < sim_config.service_count; i++)
        SIM_CHECK(post_is_idle(sim_shared.post, sim_service_node(i)), "service %u sleeps with mail to take or to send", (unsigned)i);
    for (uint16_t i = 0; i < sim_config.shard_count; i++) {
        SIM_CHECK(post_is_idle(sim_shared.post, i) || bone_is_busy(), "shard %u sleeps with mail to take or to send: a wake-up was lost",
                  (unsigned)i);
        SIM_CHECK(placement_load(sim_shared.placement, i) == sim_shards[i]->conn_count, "shard %u has %u connections, %u are counted",
                  (unsigned)i, sim_shards[i]->conn_count, placement_load(sim_shared.placement, i));
        SIM_CHECK(sim_shards[i]->dirty == NULL && sim_shards[i]->leaving == NULL, "shard %u sleeps with work on its lists", (unsigned)i);
        for (uint32_t slot = 0; slot < sim_shards[i]->slot_count; slot++)
            check_conn(sim_shards[i], shard_conn(sim_shards[i], slot), clients_idle);
    }
}

void check_often(void)
{
    const struct shard_limits *limits = &sim_config.limits;
    // An empty message costs a frame and its head, so the bytes in the queue may be twice what the router counts.
    size_t per_link = 2 * (size_t)limits->router.window_bytes + sim_config.payload_bytes_max + 128;
    size_t bound = 2 * (size_t)limits->router.queue_bytes_max + sim_config.keys * per_link + limits->control_bytes_max + 8192;
    for (uint16_t i = 0; i < sim_config.shard_count; i++) {
        struct shard *shard = sim_shards[i];
        SIM_CHECK(pool_bytes_in_use(shard->pool) <= limits->pool_bytes_max, "shard %u: pool above its budget", (unsigned)i);
        router_check(shard->router);
        for (uint32_t slot = 0; slot < shard->slot_count; slot++) {
            const struct conn *conn = shard_conn(shard, slot);
            SIM_CHECK(conn->out.bytes <= bound || conn->room == &backbone_room, "shard %u slot %u: %zu bytes queued, at most %zu",
                      (unsigned)i, slot, conn->out.bytes, bound);
        }
    }
}

void check_gone(void)
{
    for (uint16_t i = 0; i < sim_config.shard_count; i++) {
        struct shard *shard = sim_shards[i];
        struct router_counts counts;
        router_counts(shard->router, &counts);
        SIM_CHECK(shard->conn_count == 0, "shard %u: %u connections are left", (unsigned)i, shard->conn_count);
        SIM_CHECK(pool_bytes_in_use(shard->pool) == 0, "shard %u: %zu bytes of buffers are left", (unsigned)i,
                  pool_bytes_in_use(shard->pool));
        SIM_CHECK(counts.sessions + counts.links + counts.keys_homed + counts.pairs_homed + counts.members_homed == 0,
                  "shard %u: %u sessions, %u links, %u keys, %u pairs, %u members are left", (unsigned)i, counts.sessions, counts.links,
                  counts.keys_homed, counts.pairs_homed, counts.members_homed);
        router_check(shard->router);
    }
}

void check_usage(void)
{
    for (uint32_t account = 0; account < sim_config.accounts; account++) {
        uint64_t sent = 0, recv = 0, sent_clean = 0;
        bool all_clean = true;
        for (uint32_t i = 0; i < view_count; i++) {
            if (views[i]->account != account)
                continue;
            sent += views[i]->usage_sent;
            recv += views[i]->usage_recv;
            sent_clean += views[i]->closed_cleanly ? views[i]->usage_sent : 0;
            all_clean = all_clean && (views[i]->closed_cleanly || views[i]->refused);
        }
        uint64_t counted_sent = accounts_usage_sent(account), counted_recv = accounts_usage_recv(account);
        SIM_CHECK(counted_sent <= sent && counted_sent >= sent_clean && counted_recv >= recv,
                  "account %u: usage %llu/%llu, devices count %llu/%llu (clean ones %llu)", account, (unsigned long long)counted_sent,
                  (unsigned long long)counted_recv, (unsigned long long)sent, (unsigned long long)recv, (unsigned long long)sent_clean);
        SIM_CHECK(!all_clean || (counted_sent == sent && counted_recv == recv), "account %u: usage %llu/%llu, devices count %llu/%llu",
                  account, (unsigned long long)counted_sent, (unsigned long long)counted_recv, (unsigned long long)sent,
                  (unsigned long long)recv);
    }
}

void check_all_stopped(void)
{
    for (uint32_t i = 0; i < view_count; i++) {
        const struct session_view *view = views[i];
        bool due = view->live_at_stop && !view->slow && !view->mute && !view->rude;
        SIM_CHECK(!due || view->close_code != 0, "session %u: not told that the relay stops", view->id);
    }
}

void view_mark_stop(void)
{
    for (uint32_t i = 0; i < view_count; i++)
        views[i]->live_at_stop =
            views[i]->room == &sim_room_buckets ? is_live(views[i]) : views[i]->opened && !views[i]->dead && views[i]->close_code == 0;
}
