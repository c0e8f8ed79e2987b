// A simulated Backbone client's bytes: frames out, cut anywhere; frames in, which must open with its own key.
// One rule: whatever the server sends must be a whole frame for this client, and nothing follows its STOP.
#include "auth/rsa.h"
#include "shards/base/check.h"
#include "tests/sim/bone.h"

#define RECEIVE_BYTES_MAX 65536
#define S_NS 1000000000ull

struct bone_client bone_clients[BONE_CLIENTS_MAX];

static size_t buffer_len(const struct buffer *buffer)
{
    return buffer->end - buffer->start;
}

// ---- out ----

void bone_put_body(struct bone_client *client, const uint8_t *body, size_t len)
{
    uint8_t head[BACKBONE_HEAD_BYTES];
    backbone_put_u16(head, len);
    buffer_put(&client->out, head, sizeof(head));
    buffer_put(&client->out, body, len);
}

void bone_put_frame(struct bone_client *client, const uint8_t *plain, size_t len)
{
    static uint8_t cipher[BACKBONE_BODY_MAX];
    CHECK(len > 0 && len <= BACKBONE_PLAIN_MAX);
    bone_put_body(client, cipher, bone_encrypt(bone_server_key(), plain, len, cipher));
}

void bone_connect(struct bone_client *client, uint16_t shard)
{
    CHECK(client->phase == BONE_IDLE && client->view != NULL);
    client->socket = kernel_connect(bone_listener(shard));
    client->shard = shard;
    client->phase = BONE_CHALLENGE_DUE;
    client->view->last_sent_ns = kernel_now_ns();
    sim_trace("bone %u device %u plan %u shard %u socket %d", client->view->id, client->view->device, (unsigned)client->view->plan,
              (unsigned)shard, client->socket);
}

static void end_pause(struct bone_client *client)
{
    uint64_t now_ns = kernel_now_ns();
    if (client->paused_ns != 0 && client->view != NULL && now_ns - client->paused_ns > client->view->pause_ns_max)
        client->view->pause_ns_max = now_ns - client->paused_ns;
    client->paused_ns = 0;
}

static void clear(struct bone_client *client)
{
    client->socket = -1;
    client->view = NULL;
    client->phase = BONE_IDLE;
    client->in.start = client->in.end = client->out.start = client->out.end = 0;
    client->paused_until_ns = client->frame_open_ns = 0;
    client->frame_left = 0;
    client->beat_at_ns = client->give_up_ns = UINT64_MAX;
    client->act_at_ns = bone_acts() ? kernel_now_ns() + sim_below(S_NS / 50) : UINT64_MAX;
}

void bone_end(struct bone_client *client, bool reset)
{
    sim_trace("bone %u ends%s", client->view->id, reset ? ", reset" : "");
    end_pause(client);
    client->view->cut = client->view->cut || reset || buffer_len(&client->out) > 0 || kernel_can_receive(client->socket);
    bone_ended(client->view, /* by_server= */ false, false);
    kernel_disconnect(client->socket, reset);
    clear(client);
}

// Follows the frames in what the kernel takes, so that checkers know for how long one was unfinished.
static void follow_frames(struct bone_client *client, const uint8_t *ptr, size_t len)
{
    struct bone_view *view = client->view;
    uint64_t now_ns = kernel_now_ns();
    for (size_t at = 0; at < len;) {
        if (client->frame_left == 0) { // the head's first byte; the buffer has the second, but for frames that never end
            size_t body = at + 1 < buffer_len(&client->out) ? (size_t)ptr[at] << 8 | ptr[at + 1] : BACKBONE_BODY_MAX;
            client->frame_left = BACKBONE_HEAD_BYTES + body;
            client->frame_open_ns = now_ns;
        }
        size_t part = client->frame_left < len - at ? client->frame_left : len - at;
        client->frame_left -= part;
        at += part;
        if (client->frame_left > 0)
            continue;
        if (now_ns - client->frame_open_ns > view->frame_ns_max)
            view->frame_ns_max = now_ns - client->frame_open_ns;
        client->frame_open_ns = 0;
    }
}

static bool transmit(struct bone_client *client)
{
    if (buffer_len(&client->out) == 0 || client->view->half_closed || !kernel_can_send(client->socket))
        return false;
    size_t len = sim_part(buffer_len(&client->out), client->trickles);
    const uint8_t *ptr = client->out.ptr + client->out.start;
    size_t sent = kernel_send(client->socket, ptr, len);
    follow_frames(client, ptr, sent);
    client->out.start += sent;
    if (sent > 0)
        bone_view_sent(client->view);
    if (client->view->half_closes && buffer_len(&client->out) == 0) {
        kernel_half_close(client->socket);
        client->view->half_closed = true;
    }
    return true;
}

// ---- in ----

static void take_message(struct bone_client *client, struct bytes body)
{
    static uint8_t plain[BACKBONE_BODY_MAX];
    struct bone_view *view = client->view;
    size_t len = 0;
    SIM_CHECK(bone_decrypt(bone_key(view->device, view->version), body, plain, &len), "bone %u: a frame that is for somebody else",
              view->id);
    bool configured = view->configured_ns != 0;
    bone_told(view, bytes_of(plain, len));
    if (view->stopped) {
        client->phase = BONE_ENDING;
        client->act_at_ns = UINT64_MAX;
        client->beat_at_ns = UINT64_MAX;
        client->give_up_ns = kernel_now_ns() + 20 * S_NS;
        if (sim_chance(300)) // does not wait for the server's end
            client->give_up_ns = kernel_now_ns();
    } else if (!configured && view->configured_ns != 0 && client->phase == BONE_CONFIG_DUE) {
        client->phase = BONE_OPEN;
        bone_configured(client);
    }
}

static bool take_frame(struct bone_client *client)
{
    struct buffer *in = &client->in;
    struct bytes input = bytes_of(in->ptr + in->start, buffer_len(in));
    size_t total = backbone_frame_bytes(input);
    if (total == 0 || total > input.len)
        return false;
    struct bytes body = bytes_of(input.ptr + BACKBONE_HEAD_BYTES, total - BACKBONE_HEAD_BYTES);
    in->start += total;
    SIM_CHECK(!client->view->stopped, "bone %u: a frame after STOP", client->view->id);
    if (!client->view->challenged) {
        struct bytes pem, challenge;
        bool is_right = backbone_challenge_parse(body, &pem, &challenge) && bytes_equal(pem, bytes_text(BONE_PEM));
        SIM_CHECK(is_right, "bone %u: the first frame is no challenge", client->view->id);
        client->view->challenged = true;
        client->phase = BONE_CONFIG_DUE;
        bone_challenged(client, challenge);
        return client->socket >= 0;
    }
    if (body.len > 0) // else: is somebody there?
        take_message(client, body);
    return true;
}

static bool receive(struct bone_client *client)
{
    static uint8_t bytes[RECEIVE_BYTES_MAX];
    if (client->paused_until_ns > kernel_now_ns() || !kernel_can_receive(client->socket))
        return false;
    end_pause(client);
    bool end, reset;
    size_t got = kernel_receive(client->socket, bytes, 1 + sim_below(sizeof(bytes)), &end, &reset);
    buffer_put(&client->in, bytes, got);
    while (client->socket >= 0 && take_frame(client)) {
    }
    if (client->socket >= 0 && end) {
        bool whole = buffer_len(&client->in) == 0;
        struct bone_view *view = client->view;
        SIM_CHECK(whole || reset || sim_is_stopping || view->half_closed || view->pause_ns_max > S_NS || bone_nodes_lagged(),
                  "bone %u: the stream ends within a frame", view->id);
        bone_ended(view, /* by_server= */ true, reset);
        sim_trace("bone %u: the server ended it%s", view->id, reset ? ", reset" : "");
        kernel_disconnect(client->socket, false);
        clear(client);
    }
    return true;
}

// ---- steps ----

static bool client_is_runnable_now(const struct bone_client *client)
{
    uint64_t now_ns = kernel_now_ns();
    if (client->act_at_ns <= now_ns || client->give_up_ns <= now_ns || client->beat_at_ns <= now_ns)
        return true;
    if (client->phase == BONE_IDLE)
        return false;
    if (client->paused_until_ns <= now_ns && kernel_can_receive(client->socket))
        return true;
    return buffer_len(&client->out) > 0 && !client->view->half_closed && kernel_can_send(client->socket);
}

static void client_step_now(struct bone_client *client)
{
    uint64_t now_ns = kernel_now_ns();
    if (client->phase != BONE_IDLE && client->give_up_ns <= now_ns) {
        bone_end(client, sim_chance(300));
        return;
    }
    if (client->act_at_ns <= now_ns) {
        bone_act(client);
        return;
    }
    if (client->phase == BONE_IDLE)
        return;
    if (client->beat_at_ns <= now_ns) {
        bone_beat(client);
        return;
    }
    bool first = sim_chance(500);
    if (first ? transmit(client) : receive(client))
        return;
    (void)(first ? receive(client) : transmit(client));
}

static uint64_t client_due(const struct bone_client *client)
{
    uint64_t due_ns = client->act_at_ns < client->give_up_ns ? client->act_at_ns : client->give_up_ns;
    due_ns = client->beat_at_ns < due_ns ? client->beat_at_ns : due_ns;
    if (client->phase != BONE_IDLE && client->paused_until_ns > kernel_now_ns() && client->paused_until_ns < due_ns)
        due_ns = client->paused_until_ns;
    return due_ns;
}

// ---- actors: clients, then crypto nodes ----

uint32_t bone_actor_count(void)
{
    return bone_config.is_on ? bone_config.clients + bone_config.nodes : 0;
}

bool bone_actor_is_runnable(uint32_t actor)
{
    return actor < bone_config.clients ? client_is_runnable_now(&bone_clients[actor]) : bone_node_is_runnable(actor - bone_config.clients);
}

void bone_actor_step(uint32_t actor)
{
    if (actor < bone_config.clients)
        client_step_now(&bone_clients[actor]);
    else
        bone_node_step(actor - bone_config.clients);
}

uint64_t bone_due_ns(void)
{
    uint64_t due_ns = bone_config.is_on ? bone_nodes_due_ns() : UINT64_MAX;
    for (uint32_t i = 0; bone_config.is_on && i < bone_config.clients; i++)
        due_ns = client_due(&bone_clients[i]) < due_ns ? client_due(&bone_clients[i]) : due_ns;
    return due_ns;
}

bool bone_clients_are_idle(void)
{
    for (uint32_t i = 0; bone_config.is_on && i < bone_config.clients; i++) {
        const struct bone_client *client = &bone_clients[i];
        if (client->phase != BONE_IDLE && (client->paused_until_ns > kernel_now_ns() || kernel_can_receive(client->socket)))
            return false;
    }
    return true;
}

bool bone_somebody_is_connected(void)
{
    for (uint32_t i = 0; bone_config.is_on && i < bone_config.clients; i++)
        if (bone_clients[i].phase != BONE_IDLE)
            return true;
    return false;
}
