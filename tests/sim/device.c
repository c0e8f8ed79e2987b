// What simulated devices do: log in, prove their key (or not), connect, disconnect, send, dawdle, take each other's key, break the
// protocol, vanish. A device is a key; several connections may claim it at one time.
#include <stdlib.h>

#include "auth/challenge.h"
#include "net/buckets/codec.h"
#include "net/ws.h"
#include "shards/base/check.h"
#include "tests/sim/sim.h"

#define MS_NS 1000000ull
#define S_NS 1000000000ull

enum iam_plan { IAM_RIGHT, IAM_WRONG, IAM_WRONG_THEN_RIGHT, IAM_NEVER, IAM_AFTER_OTHERS };

static struct key keys[SIM_KEYS_MAX];
static uint32_t actions_left;
static uint64_t rest_ns;

void device_reset(void)
{
    actions_left = sim_config.actions;
    rest_ns = 0;
    for (uint32_t i = 0; i < SIM_KEYS_MAX; i++)
        for (uint32_t j = 0; j < KEY_BYTES / 8; j++) {
            uint64_t word = sim_hash(i, j, 77);
            memcpy(keys[i].bytes + j * 8, &word, 8);
        }
}

const struct key *device_key(uint32_t device)
{
    CHECK(device < SIM_KEYS_MAX);
    return &keys[device];
}

bool device_is_active(void)
{
    return actions_left > 0;
}

void device_stop_acting(void)
{
    actions_left = 0;
}

// A stand-in for ed25519: what counts here is that only the right challenge and key verify.
void device_sign(const uint8_t challenge[32], const uint8_t key[32], uint8_t ret_signature[64])
{
    uint64_t sum[2] = {1, 2};
    for (size_t i = 0; i < 32; i++) {
        sum[0] = (sum[0] ^ challenge[i]) * 0x100000001b3ull;
        sum[1] = (sum[1] ^ key[i] ^ challenge[i]) * 0x100000001b3ull;
    }
    for (size_t i = 0; i < 64; i++)
        ret_signature[i] = (uint8_t)(sum[i / 32] >> (i % 8 * 8)) ^ (uint8_t)i;
}

// ---- commands ----

static void put_iam(struct client *client, bool right)
{
    struct session_view *view = client->view;
    uint8_t signature[BUCKETS_SIGNATURE_BYTES], message[128];
    device_sign(view->challenge, device_key(view->device)->bytes, signature);
    signature[5] ^= right ? 0 : 1;
    buffer_put(&client->commands, message, buckets_iam(message, device_key(view->device), signature));
    if (view->iam_sent)
        view->spent_due++;
    else if (right)
        view->iam_right = true;
    else
        view->bad_signature_due++;
    view->iam_sent = true;
}

static void put_connect(struct client *client, uint32_t device)
{
    struct session_view *view = client->view;
    uint8_t message[64];
    buffer_put(&client->commands, message, buckets_connect(message, device_key(device)));
    if (!view->iam_right)
        view->forbidden_due++;
    else if (device == view->device)
        view->self_due++;
    else
        view->peers[device].asked = true;
}

static void put_disconnect(struct client *client, uint32_t device)
{
    struct session_view *view = client->view;
    uint8_t message[64];
    buffer_put(&client->commands, message, buckets_disconnect(message, device_key(device)));
    if (!view->iam_right)
        return;
    view->peers[device].asked = false;
    view->peers[device].disconnected_ever = true;
}

static void put_send(struct client *client, uint32_t device)
{
    struct session_view *view = client->view;
    if (!view->iam_right) {
        uint8_t forbidden[BUCKETS_DATA_HEAD_MAX];
        buffer_put(&client->commands, forbidden, buckets_send_head(forbidden, device_key(device), 0));
        buffer_put(&client->commands, ",,", 2);
        view->send_forbidden_due++;
        return;
    }
    uint8_t head[BUCKETS_DATA_HEAD_MAX];
    uint32_t number = view->peers[device].sent++;
    uint32_t len = payload_len(view, device, number);
    buffer_put(&client->commands, head, buckets_send_head(head, device_key(device), len));
    size_t at = client->commands.end - client->commands.start;
    static const uint8_t nothing[4096];
    for (uint32_t left = len; left > 0; left -= left < sizeof(nothing) ? left : (uint32_t)sizeof(nothing))
        buffer_put(&client->commands, nothing, left < sizeof(nothing) ? left : sizeof(nothing));
    payload_fill(view, device, number, client->commands.ptr + client->commands.start + at, len);
    buffer_put(&client->commands, ",,", 2);
    view->sends++;
}

static uint32_t any_device(void)
{
    return (uint32_t)sim_below(sim_config.keys);
}

// A connected peer, or anybody.
static uint32_t likely_peer(const struct session_view *view)
{
    uint32_t start = any_device();
    for (uint32_t i = 0; i < sim_config.keys; i++) {
        uint32_t device = (start + i) % sim_config.keys;
        if (view->peers[device].connected)
            return device;
    }
    return start;
}

static void put_hello(struct client *client)
{
    switch ((enum iam_plan)client->iam_plan) {
    case IAM_NEVER:
        return;
    case IAM_AFTER_OTHERS:
        put_connect(client, any_device());
        put_send(client, any_device());
        put_disconnect(client, any_device());
        put_iam(client, true);
        break;
    case IAM_WRONG:
        put_iam(client, false);
        break;
    case IAM_WRONG_THEN_RIGHT:
        put_iam(client, false);
        put_iam(client, true);
        put_connect(client, any_device());
        break;
    case IAM_RIGHT:
        put_iam(client, true);
        break;
    }
    for (uint64_t i = sim_below(4); i > 0; i--) // in the same breath
        put_connect(client, any_device());
    if (sim_chance(200))
        put_send(client, any_device());
}

static void challenged(struct client *client, const uint8_t challenge[32])
{
    memcpy(client->view->challenge, challenge, 32);
    if (client->close_sent || client->half_closed)
        return;
    put_hello(client);
    client_flush_commands(client);
}

// ---- actions ----

static void start_session(struct client *client)
{
    uint16_t shard = (uint16_t)sim_below(sim_config.shard_count);
    if (!kernel_is_listening(sim_listeners[shard]))
        return;
    uint32_t device = any_device();
    client->view = view_create(&sim_room_buckets, device, (device + sim_chance(150)) % sim_config.accounts); // sometimes by another account
    client->iam_plan = IAM_RIGHT;
    if (sim_chance(100))
        client->iam_plan = (uint8_t)(1 + sim_below(4));
    client->mute = sim_config.rude && sim_chance(30);
    client->view->mute = client->mute;
    client_connect(client, shard);
}

void device_break_frame(struct client *client)
{
    client->view->rude = true;
    client->act_at_ns = UINT64_MAX;
    switch (sim_below(3)) {
    case 0: // a frame that is not masked
        buffer_put(&client->out,
                   "\x82\x01"
                   "a",
                   3);
        break;
    case 1: // reserved bits
        buffer_put(&client->out, "\xf2\x80\0\0\0\0", 6);
        break;
    default:
        client_frame(client, true, 5, NULL, 0);
    }
}

static void break_protocol(struct client *client)
{
    static const char *const bad[] = {"5:hello,", "0:,", "05:abcde,", "x", "1000001:", "37:c32:abc", "4:c0:;,", "3:?0:,"};
    if (sim_chance(750)) {
        device_break_frame(client);
        return;
    }
    client->view->rude = true;
    client->act_at_ns = UINT64_MAX;
    client->give_up_ns = kernel_now_ns() + 60 * S_NS; // some of it is never whole
    const char *text = bad[sim_below(sizeof(bad) / sizeof(bad[0]))];
    buffer_put(&client->commands, text, strlen(text));
    client_flush_commands(client);
}

void device_leave(struct client *client)
{
    switch (sim_below(4)) {
    case 0:
        client_end(client, /* reset= */ true);
        return;
    case 1:
        client_end(client, /* reset= */ false);
        return;
    case 2:
        kernel_half_close(client->socket);
        client->half_closed = true;
        client->give_up_ns = kernel_now_ns() + 10 * S_NS;
        client->act_at_ns = UINT64_MAX;
        return;
    default:
        if (client->phase != CLIENT_OPEN) {
            client_end(client, sim_chance(500));
            return;
        }
        client_close_frame(client, 1000);
    }
}

static void send_burst(struct client *client)
{
    uint32_t device = likely_peer(client->view);
    uint64_t count = sim_config.floods ? sim_below(1000) : sim_chance(20) ? 200 : sim_chance(200) ? 5 + sim_below(30) : 1 + sim_below(3);
    size_t bytes_max = client->commands.end - client->commands.start + 4u * sim_config.payload_bytes_max;
    for (uint64_t i = 0; i < count && client->commands.end - client->commands.start <= bytes_max; i++)
        put_send(client, device);
}

static void act_open(struct client *client)
{
    struct session_view *view = client->view;
    if (!view->challenge_taken)
        return;
    unsigned choice = (unsigned)sim_below(1000);
    bool entered = view->iam_right;
    if (choice < 480) {
        send_burst(client);
    } else if (choice < 720) {
        put_connect(client, any_device());
    } else if (choice < 790) {
        put_disconnect(client, likely_peer(view));
    } else if (choice < 820) {
        uint8_t payload[4] = {1, 2, 3, 4};
        client_frame(client, true, WS_PING, payload, sizeof(payload));
    } else if (choice < 860) { // reads nothing for a while
        client->paused_until_ns = kernel_now_ns() + sim_below(sim_chance(sim_config.floods ? 500 : 100) ? 50 * S_NS : 500 * MS_NS);
        view->slow = view->slow || client->paused_until_ns > kernel_now_ns() + 20 * S_NS;
    } else if (choice < 880 && entered) {
        put_iam(client, sim_chance(500));
    } else if (choice < 890 && sim_config.rude) {
        break_protocol(client);
        return;
    } else if (choice < 930) {
        client_flush_commands(client);
        device_leave(client);
        return;
    }
    if (sim_chance(900))
        client_flush_commands(client);
}

static void take_message(struct client *client, uint8_t opcode, struct bytes message)
{
    SIM_CHECK(opcode == WS_BINARY, "session %u: a message with opcode %u", client->view->id, (unsigned)opcode);
    client->view->usage_recv += message.len;
    view_message(client->view, message);
    const uint8_t *challenge = view_take_challenge(client->view);
    if (challenge != NULL)
        challenged(client, challenge);
}

static void closed(struct client *client, uint16_t code, struct bytes reason)
{
    view_closed_by_server(client->view, code, reason);
}

const struct sim_room sim_room_buckets = {
    .name = "Buckets",
    .route = {.path = "/v1/relay", .login = true, .room = &buckets_room},
    .start = start_session,
    .take = client_take_ws,
    .on_message = take_message,
    .act = act_open,
    .settle = client_flush_commands,
    .on_closed = closed,
    .check_converged = check_converged,
};

// ---- all rooms ----

static uint64_t next_action_ns(void)
{
    if (sim_chance(600))
        return sim_below(MS_NS);
    if (sim_chance(20))
        return sim_below(sim_chance(100) ? 120 * S_NS : 5 * S_NS);
    return sim_below(20 * MS_NS);
}

static bool is_backlogged(const struct client *client)
{
    return client->out.end - client->out.start > 4u * sim_config.payload_bytes_max + 65536;
}

void device_rest(uint64_t ns)
{
    rest_ns = ns > rest_ns ? ns : rest_ns;
}

uint64_t device_take_rest(void)
{
    uint64_t ns = rest_ns;
    rest_ns = 0;
    return ns;
}

static void start(struct client *client)
{
    client->room = sim_room_any();
    client->trickles = sim_chance(50);
    client->give_up_ns = UINT64_MAX;
    client->room->start(client);
}

void device_act(struct client *client)
{
    client->act_at_ns = kernel_now_ns() + next_action_ns();
    if (actions_left == 0) {
        client->act_at_ns = UINT64_MAX;
        return;
    }
    actions_left--;
    if (client->phase == CLIENT_IDLE)
        start(client);
    else if (client->phase == CLIENT_OPEN && !is_backlogged(client))
        client->room->act(client);
    else if (client->phase == CLIENT_HTTP && sim_chance(10))
        device_leave(client);
}
