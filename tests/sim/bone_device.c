// What simulated Backbone clients do: log in rightly and wrongly, talk, ask, fall silent, dawdle, break the protocol, hang up, come twice.
// A device is an identity; several connections may claim it at one time.
#include "auth/rsa.h"
#include "shards/base/check.h"
#include "tests/sim/bone.h"

#define MS_NS 1000000ull
#define S_NS 1000000000ull

struct bone_config bone_config;

static struct {
    uint8_t id[BACKBONE_ID_BYTES];
    uint32_t version;
    bool is_enrolled;
} devices[BONE_DEVICES_MAX];
static uint32_t actions_left;
static bool is_leaving; // nobody says anything of itself any more

// ---- identities ----

static void fill_id(uint32_t device, uint8_t ret_id[BACKBONE_ID_BYTES])
{
    for (uint64_t i = 0; i < BACKBONE_ID_BYTES / 8; i++) {
        uint64_t word = sim_hash(device, i, 0x1d);
        memcpy(ret_id + i * 8, &word, 8);
    }
}

const uint8_t *bone_id(uint32_t device)
{
    static uint8_t nobody[BACKBONE_ID_BYTES];
    CHECK(device < bone_config.devices || device == BONE_NOBODY);
    if (device == BONE_NOBODY)
        fill_id(device, nobody);
    return device == BONE_NOBODY ? nobody : devices[device].id;
}

uint32_t bone_device_of(const uint8_t *id)
{
    for (uint32_t device = 0; device < bone_config.devices; device++)
        if (memcmp(devices[device].id, id, BACKBONE_ID_BYTES) == 0)
            return device;
    return BONE_NOBODY;
}

bool bone_is_enrolled(uint32_t device)
{
    return devices[device].is_enrolled;
}

uint32_t bone_version(uint32_t device)
{
    return devices[device].version;
}

void bone_devices_open(void)
{
    actions_left = bone_config.actions;
    is_leaving = false;
    for (uint32_t device = 0; device < bone_config.devices; device++) {
        fill_id(device, devices[device].id);
        devices[device].version = 1;
        devices[device].is_enrolled = device == 0 || sim_chance(950);
    }
}

bool bone_acts(void)
{
    return bone_config.is_on && actions_left > 0;
}

void bone_stop_acting(void)
{
    actions_left = 0;
}

static void change_identity(void)
{
    uint32_t device = (uint32_t)sim_below(bone_config.devices);
    devices[device].is_enrolled = !devices[device].is_enrolled || sim_chance(500);
    devices[device].version++;
    sim_trace("identity %u: version %u%s", device, devices[device].version, devices[device].is_enrolled ? "" : ", deleted");
    bone_identities_changed();
}

// ---- messages ----

static uint32_t any_recipient(const struct bone_view *view)
{
    if (sim_chance(60))
        return BONE_NOBODY;
    if (bone_config.crowds && sim_chance(700))
        return 0;
    return sim_chance(50) ? view->device : (uint32_t)sim_below(bone_config.devices);
}

static size_t random_len(void)
{
    static const uint16_t edges[] = {0, 1, 172, 173, 174, 363, 364, 743, 744, 3023, 3024};
    unsigned choice = (unsigned)sim_below(1000);
    size_t len = choice < 700 ? sim_below(150) : choice < 850 ? sim_below(2000) : sim_below(bone_config.payload_bytes_max + 1u);
    if (sim_chance(150))
        len = edges[sim_below(sizeof(edges) / sizeof(edges[0]))];
    if (sim_chance(10))
        len = bone_config.payload_bytes_max;
    return len < bone_config.payload_bytes_max ? len : bone_config.payload_bytes_max;
}

static void put_c2c(struct bone_client *client, uint32_t device)
{
    static uint8_t plain[BACKBONE_PLAIN_MAX];
    size_t len = random_len();
    plain[0] = BACKBONE_C2C;
    memcpy(plain + 1, bone_id(device), BACKBONE_ID_BYTES);
    bone_sends(client->view, device, plain + BACKBONE_C2C_HEAD_BYTES, len);
    bone_put_frame(client, plain, BACKBONE_C2C_HEAD_BYTES + len);
}

static void put_c2s(struct bone_client *client, enum backbone_type type, struct bytes payload)
{
    uint8_t plain[BACKBONE_C2S_HEAD_BYTES + 256];
    CHECK(payload.len <= 256);
    backbone_c2s_head(plain, type, (uint32_t)sim_random());
    if (payload.len > 0)
        memcpy(plain + BACKBONE_C2S_HEAD_BYTES, payload.ptr, payload.len);
    bone_put_frame(client, plain, BACKBONE_C2S_HEAD_BYTES + payload.len);
}

static void put_burst(struct bone_client *client)
{
    uint32_t device = any_recipient(client->view);
    uint64_t count = sim_chance(30) ? 100 : sim_chance(150) ? 5 + sim_below(30) : 1 + sim_below(3);
    for (uint64_t i = 0; i < count && client->out.end - client->out.start < 300000; i++)
        put_c2c(client, sim_chance(800) ? device : any_recipient(client->view));
}

static void put_question(struct bone_client *client)
{
    uint32_t asked[4] = {0};
    uint8_t ids[4 * BACKBONE_ID_BYTES];
    struct bone_view *view = client->view;
    if (view->asked - view->answered >= BONE_QUESTIONS_MAX)
        return;
    uint8_t count = sim_chance(300) ? 0 : (uint8_t)(1 + sim_below(4));
    for (uint32_t i = 0; i < count; i++) {
        asked[i] = any_recipient(view);
        memcpy(ids + i * BACKBONE_ID_BYTES, bone_id(asked[i]), BACKBONE_ID_BYTES);
    }
    bone_asks(view, asked, count);
    put_c2s(client, count > 0 ? BACKBONE_CLIENT_QUERY : BACKBONE_SERVER_QUERY, bytes_of(ids, (size_t)count * BACKBONE_ID_BYTES));
}

// What the server has to overlook.
static void put_noise(struct bone_client *client)
{
    static const uint8_t kinds[] = {0x0f, 0x10, 0x11, 0x12, 0x15, 0x16, 0x17, 0x1e, 0x20, 0x2e, 0x2f, 0x30, 0xf0, 0x00};
    uint8_t plain[16];
    for (size_t i = 0; i < sizeof(plain); i++)
        plain[i] = (uint8_t)sim_random();
    plain[0] = kinds[sim_below(sizeof(kinds))]; // the last is a C2C that is too short
    client->view->shows_ours = client->view->shows_ours || (plain[0] >= BACKBONE_UNDELIVERED && plain[0] <= BACKBONE_SERVER_STATE);
    bone_put_frame(client, plain, 1 + sim_below(sizeof(plain)));
    if (sim_chance(300))
        bone_put_body(client, NULL, 0);
}

static void put_broken(struct bone_client *client)
{
    static uint8_t body[4 * RSA_BLOCK_BYTES];
    uint8_t plain[300] = {BACKBONE_HEARTBEAT};
    size_t len = bone_encrypt(bone_server_key(), plain, sizeof(plain), body);
    client->view->broke = true;
    if (sim_chance(300)) // no whole block
        len -= 1 + sim_below(RSA_BLOCK_BYTES - 1);
    else if (sim_chance(500)) // the second block is damaged
        body[RSA_BLOCK_BYTES + 30] ^= 1;
    else
        len = bone_encrypt(bone_key(client->view->device, client->view->version), plain, sizeof(plain), body);
    bone_put_body(client, body, len);
}

void bone_beat(struct bone_client *client)
{
    uint64_t interval_ns = bone_config.interval_s * S_NS;
    client->beat_at_ns = kernel_now_ns() + interval_ns / 2 + sim_below(interval_ns / 2);
    if (!client->view->stuck && !client->view->broke && !client->view->half_closes)
        put_c2s(client, BACKBONE_HEARTBEAT, bytes_of(NULL, 0));
}

// ---- logging in ----

static void put_response(struct bone_client *client, uint64_t key, struct bytes challenge, const uint8_t *id)
{
    uint8_t plain[BACKBONE_RESPONSE_BYTES];
    memcpy(plain, id, BACKBONE_ID_BYTES);
    bone_sign(key, challenge, plain + BACKBONE_ID_BYTES);
    bone_put_frame(client, plain, sizeof(plain));
}

static void put_malformed(struct bone_client *client)
{
    static const uint16_t lens[] = {0, 1, 100, 255, 256, 272, 511, 513, 1280, 5000};
    static uint8_t body[5000];
    memset(body, 7, sizeof(body));
    if (sim_chance(300)) { // right in size, but not encrypted for the server
        uint8_t plain[BACKBONE_RESPONSE_BYTES] = {0};
        bone_put_body(client, body, bone_encrypt(1, plain, sizeof(plain), body));
        return;
    }
    if (sim_chance(300)) { // a byte too long
        uint8_t plain[BACKBONE_RESPONSE_BYTES + 1] = {0};
        bone_put_frame(client, plain, sizeof(plain));
        return;
    }
    bone_put_body(client, body, lens[sim_below(sizeof(lens) / sizeof(lens[0]))]);
}

void bone_challenged(struct bone_client *client, struct bytes challenge)
{
    static const uint8_t other[64] = "a challenge of another day";
    struct bone_view *view = client->view;
    uint64_t key = bone_key(view->device, bone_version(view->device));
    const uint8_t *id = bone_id(view->device);
    view->version = bone_version(view->device);
    view->responded_ns = kernel_now_ns();
    switch ((enum bone_plan)view->plan) {
    case BONE_RIGHT_AND_GONE:
        client->act_at_ns = kernel_now_ns() + sim_below(3 * MS_NS);
        view->half_closes = sim_chance(300);
        view->is_right = bone_is_enrolled(view->device);
        put_response(client, key, challenge, id);
        break;
    case BONE_RIGHT:
    case BONE_EAGER:
    case BONE_DEAF_MUTE:
        view->is_right = bone_is_enrolled(view->device);
        put_response(client, key, challenge, id);
        if (view->plan == BONE_EAGER)
            put_burst(client);
        break;
    case BONE_WRONG_SIGNATURE:
        put_response(client, key ^ 1, challenge, id);
        break;
    case BONE_OTHER_CHALLENGE:
        put_response(client, key, bytes_of(other, sizeof(other)), id);
        break;
    case BONE_OTHER_KEY:
        put_response(client, bone_key((view->device + 1) % bone_config.devices, 99), challenge, id);
        break;
    case BONE_UNKNOWN:
        put_response(client, key, challenge, bone_id(BONE_NOBODY));
        break;
    case BONE_MALFORMED:
        put_malformed(client);
        break;
    case BONE_HALF:
        put_response(client, key, challenge, id);
        client->out.end -= 1 + sim_below(RSA_BLOCK_BYTES);
        break;
    case BONE_SILENT:
    case BONE_PLANS:
        break;
    }
}

void bone_configured(struct bone_client *client)
{
    if (client->view->plan == BONE_DEAF_MUTE || is_leaving)
        return;
    if (sim_chance(700))
        put_question(client);
    bone_beat(client);
}

// ---- actions ----

// Connections that claim the device now.
static uint32_t claims_on(uint32_t device)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < bone_config.clients; i++)
        count += bone_clients[i].view != NULL && bone_clients[i].view->device == device;
    return count;
}

// Mostly one that is away; or one that seems to be: it does not read, or is not read.
static uint32_t choose_claim(void)
{
    uint32_t start = (uint32_t)sim_below(bone_config.clients);
    for (uint32_t i = 0; i < bone_config.clients && sim_chance(900); i++) {
        const struct bone_client *client = &bone_clients[(start + i) % bone_config.clients];
        if (client->phase != BONE_OPEN)
            continue;
        if (client->paused_until_ns > kernel_now_ns() || kernel_unread_bytes(client->socket) > RSA_BLOCK_BYTES)
            return client->view->device;
    }
    uint32_t device = (uint32_t)sim_below(bone_config.devices);
    for (uint32_t i = 0; i < bone_config.devices && claims_on(device) > 0 && sim_chance(900); i++)
        device = (device + 1) % bone_config.devices;
    return device;
}

static void start_session(struct bone_client *client)
{
    uint16_t shard = (uint16_t)sim_below(sim_config.shard_count);
    if (!kernel_is_listening(bone_listener(shard)))
        return;
    uint32_t device = choose_claim();
    if (claims_on(device) > 0 && sim_chance(600))
        return;
    uint8_t plan = sim_chance(700) ? (uint8_t)BONE_RIGHT : (uint8_t)sim_below(BONE_PLANS);
    client->view = bone_view_create(device, plan);
    client->trickles = sim_chance(50);
    client->give_up_ns = client->beat_at_ns = UINT64_MAX;
    bone_connect(client, shard);
}

static void say_stop(struct bone_client *client)
{
    if (client->phase != BONE_OPEN || client->view->stuck) {
        bone_end(client, sim_chance(500));
        return;
    }
    if (sim_chance(500)) // what becomes of these it is to be told before the end
        put_burst(client);
    put_c2s(client, BACKBONE_STOP, sim_chance(500) ? bytes_text("had enough") : bytes_of(NULL, 0));
    client->view->said_stop = true;
    client->phase = BONE_LEAVING;
    client->beat_at_ns = client->act_at_ns = UINT64_MAX;
    client->give_up_ns = kernel_now_ns() + 150 * S_NS;
}

static void leave(struct bone_client *client)
{
    switch (sim_below(5)) {
    case 0:
        bone_end(client, /* reset= */ true);
        return;
    case 1: // within a frame, perhaps
        if (client->out.end > client->out.start)
            client->out.end -= sim_below(client->out.end - client->out.start);
        bone_end(client, /* reset= */ false);
        return;
    case 2:
        client->view->half_closes = true; // behind what is to be said
        client->beat_at_ns = client->act_at_ns = UINT64_MAX;
        client->give_up_ns = kernel_now_ns() + 100 * S_NS;
        if (client->phase != BONE_CHALLENGE_DUE) // else it would be the answer, and a wrong one
            bone_put_body(client, NULL, 0);
        return;
    default:
        say_stop(client);
    }
}

static void stop_within_frame(struct bone_client *client)
{
    put_noise(client);
    client->out.end -= 1 + sim_below(RSA_BLOCK_BYTES);
    client->view->stuck = true;
    client->act_at_ns = UINT64_MAX;
}

static void act_open(struct bone_client *client)
{
    struct bone_view *view = client->view;
    unsigned choice = (unsigned)sim_below(1000);
    if (bone_config.crowds && view->device == 0 && choice < 500)
        choice = 720;
    if (choice < 500) {
        put_burst(client);
    } else if (choice < 650) {
        put_question(client);
    } else if (choice < 720) {
        put_noise(client);
    } else if (choice < 780) { // reads nothing for a while
        client->paused_ns = client->paused_ns != 0 ? client->paused_ns : kernel_now_ns();
        client->paused_until_ns = kernel_now_ns() + sim_below(bone_config.crowds || sim_chance(200) ? 60 * S_NS
                                                              : sim_chance(500)                     ? 8 * S_NS
                                                                                                    : S_NS);
    } else if (choice < 800) { // says nothing for a while
        client->act_at_ns = kernel_now_ns() + sim_below(2 * bone_config.timeout_s * S_NS);
        client->beat_at_ns = client->act_at_ns;
    } else if (choice < 815 && bone_config.rude) {
        put_broken(client);
    } else if (choice < 830 && bone_config.rude) {
        stop_within_frame(client);
    } else if (choice < 880) {
        leave(client);
    } else if (choice < 900 && bone_config.changes) {
        change_identity();
    }
    if (view->broke)
        client->act_at_ns = client->beat_at_ns = UINT64_MAX;
}

void bone_leave(struct bone_client *client, bool silently)
{
    is_leaving = true;
    if (!silently)
        say_stop(client);
    client->beat_at_ns = UINT64_MAX;
}

static uint64_t next_action_ns(void)
{
    if (bone_config.slow_motion)
        return sim_below(3 * S_NS);
    if (sim_chance(600))
        return sim_below(MS_NS);
    return sim_below(sim_chance(30) ? 5 * S_NS : 20 * MS_NS);
}

void bone_act(struct bone_client *client)
{
    client->act_at_ns = kernel_now_ns() + next_action_ns();
    if (actions_left == 0) {
        client->act_at_ns = UINT64_MAX;
        return;
    }
    actions_left--;
    bool speaks = client->phase == BONE_OPEN && client->view->plan != BONE_DEAF_MUTE && !client->view->half_closed;
    if (client->phase == BONE_IDLE)
        start_session(client);
    else if (speaks && client->out.end - client->out.start < 100000)
        act_open(client);
    else if ((client->phase == BONE_CHALLENGE_DUE || client->phase == BONE_CONFIG_DUE) &&
             (client->view->plan == BONE_RIGHT_AND_GONE || sim_chance(10)))
        leave(client);
}

// ---- the seed's parameters ----

static uint32_t pick(const uint32_t *from, size_t count)
{
    return from[sim_below(count)];
}
#define PICK(...) pick((const uint32_t[]){__VA_ARGS__}, sizeof((const uint32_t[]){__VA_ARGS__}) / sizeof(uint32_t))

void bone_choose(bool is_sought)
{
    bone_config = (struct bone_config){.is_on = is_sought || sim_hash(0xb0, 0xe, 0) % 100 < 30}; // the others' seeds stay what they are
    if (!bone_config.is_on)
        return;
    bone_config = (struct bone_config){.is_on = true,
                                       .clients = sim_chance(100) ? BONE_CLIENTS_MAX : 2 + (uint32_t)sim_below(8),
                                       .devices = 2 + (uint32_t)sim_below(BONE_DEVICES_MAX - 1),
                                       .nodes = 1 + (uint32_t)sim_below(BONE_NODES_MAX),
                                       .actions = 40 + (uint32_t)sim_below(200),
                                       .payload_bytes_max = PICK(100, 1000, 1000, 5000, BACKBONE_PAYLOAD_MAX),
                                       .interval_s = PICK(1, 3, 10),
                                       .logins_max = PICK(1, 2, 16),
                                       .slow_crypto = sim_chance(300),
                                       .slow_motion = sim_chance(400),
                                       .crowds = sim_chance(200),
                                       .rude = sim_chance(400),
                                       .changes = sim_chance(200)};
    bone_config.timeout_s = 3 * bone_config.interval_s;
    bone_config.tasks_max = bone_config.logins_max * PICK(1, 2, 4, 64);
}
