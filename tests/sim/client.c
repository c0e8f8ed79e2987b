// A simulated device's bytes: HTTP upgrade, masked frames cut at random, and a frame parser of its own for what the server answers.
// One rule: every byte that the server sends must parse, in its shortest form, and nothing may follow its close frame.
#include <stdio.h>
#include <stdlib.h>

#include "auth/basic.h"
#include "net/ws.h"
#include "shards/base/check.h"
#include "tests/sim/sim.h"

#define RECEIVE_BYTES_MAX 65536
#define DAWDLING_NS 400000000ull // a relay that closes need not wait so long
#define CLOSE_PATIENCE_NS 8000000000ull

// ---- buffers ----

void buffer_put(struct buffer *buffer, const void *ptr, size_t len)
{
    if (buffer->start == buffer->end)
        buffer->start = buffer->end = 0;
    if (buffer->capacity - buffer->end < len) {
        size_t have = buffer->end - buffer->start;
        if (have > 0)
            memmove(buffer->ptr, buffer->ptr + buffer->start, have);
        buffer->start = 0;
        buffer->end = have;
        if (buffer->capacity - have < len) {
            buffer->capacity = 2 * (have + len) + 256;
            buffer->ptr = realloc(buffer->ptr, buffer->capacity);
            CHECK(buffer->ptr != NULL);
        }
    }
    if (len > 0)
        memcpy(buffer->ptr + buffer->end, ptr, len);
    buffer->end += len;
}

void buffer_free(struct buffer *buffer)
{
    free(buffer->ptr);
    *buffer = (struct buffer){.ptr = NULL};
}

static size_t buffer_len(const struct buffer *buffer)
{
    return buffer->end - buffer->start;
}

// ---- out ----

void client_frame(struct client *client, bool fin, uint8_t opcode, const uint8_t *ptr, size_t len)
{
    uint8_t head[WS_HEAD_MAX];
    uint64_t random = sim_random();
    uint8_t mask[4];
    memcpy(mask, &random, sizeof(mask));
    size_t head_len = ws_head(head, (enum ws_opcode)opcode, /* rsv1= */ false, len, mask);
    if (!fin)
        head[0] &= 0x7f;
    CHECK(!client->close_sent && client->socket >= 0);
    buffer_put(&client->out, head, head_len);
    buffer_put(&client->out, ptr, len);
    ws_mask(client->out.ptr + client->out.end - len, len, mask, 0);
}

static void maybe_ping(struct client *client)
{
    if (!sim_chance(30))
        return;
    uint8_t payload[125] = {0};
    client_frame(client, true, WS_PING, payload, sim_below(sizeof(payload) + 1));
}

// Command bytes become messages and frames with cuts anywhere.
void client_flush_commands(struct client *client)
{
    struct buffer *commands = &client->commands;
    while (buffer_len(commands) > 0) {
        size_t len = buffer_len(commands);
        if (sim_chance(250))
            len = 1 + sim_below(len);
        bool fin = sim_chance(800);
        uint8_t opcode = client->fragmenting ? WS_CONTINUATION : WS_BINARY;
        client_frame(client, fin, opcode, commands->ptr + commands->start, len);
        client->fragmenting = !fin;
        client->view->usage_sent += len;
        commands->start += len;
        maybe_ping(client);
    }
    if (client->fragmenting && sim_chance(700)) {
        client_frame(client, true, WS_CONTINUATION, NULL, 0);
        client->fragmenting = false;
    }
}

void client_text(struct client *client, const uint8_t *ptr, size_t len)
{
    uint8_t opcode = WS_TEXT;
    for (;;) {
        size_t part = sim_chance(900) ? len : sim_below(len + 1);
        bool fin = part == len && sim_chance(950);
        client_frame(client, fin, opcode, ptr, part);
        maybe_ping(client);
        if (fin)
            return;
        opcode = WS_CONTINUATION;
        ptr += part;
        len -= part;
    }
}

void client_close_frame(struct client *client, uint16_t code)
{
    uint8_t payload[WS_CONTROL_MAX];
    size_t len = ws_close_payload(payload, code, bytes_text("bye"));
    client_frame(client, true, WS_CLOSE, payload, len);
    client->close_sent = true;
    if (client->phase == CLIENT_OPEN)
        client->phase = CLIENT_CLOSING;
    client->give_up_ns = kernel_now_ns() + CLOSE_PATIENCE_NS + sim_config.limits.slow_timeout_ns;
}

static void put_request(struct client *client, const char *method, const char *path, bool upgrade, const char *password)
{
    char text[1024], basic[128], user[8];
    snprintf(user, sizeof(user), "user%u", client->view->account);
    CHECK(basic_format(user, password, basic, sizeof(basic)) > 0);
    int len = snprintf(text, sizeof(text), "%s %s HTTP/1.1\r\nHost: relay\r\n", method, path);
    buffer_put(&client->out, text, (size_t)len);
    if (sim_chance(50)) { // a long head
        static char pad[7000];
        memset(pad, 'x', sizeof(pad));
        buffer_put(&client->out, "X-Pad: ", 7);
        buffer_put(&client->out, pad, 1 + sim_below(sizeof(pad) - 1));
        buffer_put(&client->out, "\r\n", 2);
    }
    if (upgrade) {
        len = snprintf(text, sizeof(text),
                       "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
                       "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n%s%s\r\n",
                       client->room->route.login ? "Authorization: " : "X-Nothing: ", basic);
        buffer_put(&client->out, text, (size_t)len);
    }
    buffer_put(&client->out, "\r\n", 2);
}

void client_connect(struct client *client, uint16_t shard)
{
    CHECK(client->phase == CLIENT_IDLE && client->view != NULL);
    client->socket = kernel_connect(sim_chance(300) ? sim_side_listeners[shard] : sim_listeners[shard]);
    client->shard = shard;
    client->phase = client->room->route.path != NULL ? CLIENT_HTTP : CLIENT_OPEN;
    client->dawdled = false;
    client->read_ns = kernel_now_ns();
    bool nothing = sim_chance(500);
    if (client->phase == CLIENT_HTTP && sim_chance(100))
        put_request(client, nothing ? "GET" : "HEAD", nothing ? "/nothing" : "/health", /* upgrade= */ false, "pw");
    if (client->phase == CLIENT_HTTP)
        put_request(client, "GET", client->room->route.path, /* upgrade= */ true, sim_chance(40) ? "no" : "pw");
    sim_trace("client session %u %s device %u shard %u socket %d", client->view->id, client->room->name, client->view->device, shard,
              client->socket);
}

// Our side of the connection is over.
void client_end(struct client *client, bool reset)
{
    sim_trace("client session %u ends%s", client->view->id, reset ? ", reset" : "");
    bool cleanly = client->close_sent && client->close_received && client->view->close_code == 1000;
    view_ended(client->view, cleanly);
    if (client->room->on_ended != NULL)
        client->room->on_ended(client);
    kernel_disconnect(client->socket, reset);
    client->socket = -1;
    client->view = NULL;
    client->room = NULL;
    client->phase = CLIENT_IDLE;
    client->in.start = client->in.end = client->out.start = client->out.end = client->commands.start = client->commands.end = 0;
    client->fragmenting = client->close_sent = client->close_received = client->half_closed = client->trickles = false;
    client->paused_until_ns = 0;
    client->give_up_ns = UINT64_MAX;
    client->act_at_ns = device_is_active() ? kernel_now_ns() + sim_below(20000000) : UINT64_MAX;
}

void client_free(struct client *client)
{
    buffer_free(&client->in);
    buffer_free(&client->out);
    buffer_free(&client->commands);
}

// ---- in ----

static bool take_http(struct client *client)
{
    struct buffer *in = &client->in;
    if (buffer_len(in) == 0)
        return false;
    const char *text = (const char *)in->ptr + in->start;
    const char *end = memmem(text, buffer_len(in), "\r\n\r\n", 4);
    if (end == NULL)
        return false;
    unsigned status = 0;
    size_t body_len = 0;
    SIM_CHECK(sscanf(text, "HTTP/1.1 %3u ", &status) == 1, "not an HTTP answer");
    const char *length = memmem(text, (size_t)(end - text), "Content-Length: ", 16);
    if (length != NULL)
        body_len = (size_t)strtoul(length + 16, NULL, 10);
    size_t head_len = (size_t)(end - text) + 4;
    bool is_health = status == 200; // asked for with HEAD
    if (is_health)
        body_len = 0;
    if (buffer_len(in) < head_len + body_len)
        return false;
    in->start += head_len + body_len;
    if (status == 101) {
        client->phase = CLIENT_OPEN;
        client->view->opened = true;
        return true;
    }
    if (status == 404 || is_health)
        return true;
    SIM_CHECK(status == 403 || status == 408 || status == 429 || status == 500 || status == 503, "HTTP status %u", status);
    SIM_CHECK(buffer_len(in) == 0, "bytes after the last HTTP answer");
    client->phase = CLIENT_ENDING;
    client->view->refused = true;
    return false;
}

static void take_close(struct client *client, const uint8_t *ptr, size_t len)
{
    SIM_CHECK(len != 1, "close frame of one byte");
    uint16_t code = len >= 2 ? (uint16_t)((unsigned)ptr[0] << 8 | ptr[1]) : (uint16_t)1005;
    client->close_received = true;
    sim_trace("client session %u got close %u", client->view->id, (unsigned)code);
    client->view->close_code = code;
    client->room->on_closed(client, code, len > 2 ? bytes_of(ptr + 2, len - 2) : bytes_of(NULL, 0));
    bool answers = !client->close_sent && !client->half_closed && sim_chance(900);
    if (answers)
        client_close_frame(client, code == 1005 ? 1000 : code);
    client->phase = CLIENT_ENDING;
    client->give_up_ns = kernel_now_ns() + CLOSE_PATIENCE_NS;
}

static void take_frame(struct client *client, uint8_t opcode, const uint8_t *ptr, size_t len)
{
    SIM_CHECK(!client->close_received, "a frame after the close frame");
    switch (opcode) {
    case WS_TEXT:
    case WS_BINARY:
        client->room->on_message(client, opcode, bytes_of(ptr, len));
        return;
    case WS_PING:
        if (!client->mute && !client->close_sent && !client->half_closed)
            client_frame(client, true, WS_PONG, ptr, len);
        return;
    case WS_PONG:
        return;
    case WS_CLOSE:
        take_close(client, ptr, len);
        return;
    default:
        sim_fail(__FILE__, __LINE__, "frame with opcode %u", opcode);
    }
}

// One frame from the server: never fragmented, masked or with reserved bits, its length in the shortest form.
bool client_take_ws(struct client *client)
{
    struct buffer *in = &client->in;
    const uint8_t *ptr = in->ptr + in->start;
    size_t have = buffer_len(in);
    if (have < 2)
        return false;
    SIM_CHECK((ptr[0] & 0xf0) == 0x80 && (ptr[1] & 0x80) == 0, "frame head %02x %02x", ptr[0], ptr[1]);
    uint64_t len = ptr[1];
    size_t head_len = 2;
    if (len >= 126) {
        size_t more = len == 126 ? 2 : 8;
        uint64_t smallest = len == 126 ? 126 : 65536;
        if (have < 2 + more)
            return false;
        len = 0;
        for (size_t i = 0; i < more; i++)
            len = len << 8 | ptr[2 + i];
        SIM_CHECK(len >= smallest && len <= 1000009, "frame length %llu in a long form", (unsigned long long)len);
        head_len += more;
    }
    uint8_t opcode = ptr[0] & 15;
    SIM_CHECK(opcode < 8 || len <= 125, "control frame of %llu bytes", (unsigned long long)len);
    if (have < head_len + len)
        return false;
    in->start += head_len + len;
    take_frame(client, opcode, ptr + head_len, len);
    return true;
}

static void received_end(struct client *client, bool reset)
{
    const struct session_view *view = client->view;
    bool explained = reset || view->rude || view->slow || client->half_closed || client->mute || client->dawdled ||
                     (client->phase == CLIENT_HTTP && sim_config.limits.conns_max < SIM_CLIENTS_MAX); // 503, as far as it went
    bool is_over = client->phase == CLIENT_ENDING || (client->phase == CLIENT_HTTP && sim_is_stopping);
    SIM_CHECK(explained || is_over, "session %u: the server ended the connection in phase %u", view->id, (unsigned)client->phase);
    SIM_CHECK(explained || buffer_len(&client->in) == 0, "session %u: the stream ends within a frame", view->id);
    client_end(client, /* reset= */ false);
}

static bool receive(struct client *client)
{
    static uint8_t bytes[RECEIVE_BYTES_MAX];
    if (client->paused_until_ns > kernel_now_ns() || !kernel_can_receive(client->socket))
        return false;
    uint64_t now_ns = kernel_now_ns();
    client->dawdled = client->dawdled || now_ns - client->read_ns > DAWDLING_NS;
    client->read_ns = now_ns;
    bool end, reset;
    size_t got = kernel_receive(client->socket, bytes, 1 + sim_below(sizeof(bytes)), &end, &reset);
    buffer_put(&client->in, bytes, got);
    bool more = true;
    while (more && client->socket >= 0) {
        if (client->phase == CLIENT_HTTP)
            more = take_http(client);
        else
            more = client->room->take(client);
    }
    if (client->socket >= 0 && end)
        received_end(client, reset);
    return true;
}

static bool transmit(struct client *client)
{
    if (buffer_len(&client->out) == 0 || client->half_closed || !kernel_can_send(client->socket))
        return false;
    size_t len = sim_part(buffer_len(&client->out), client->trickles);
    client->out.start += kernel_send(client->socket, client->out.ptr + client->out.start, len);
    return true;
}

// ---- steps ----

bool client_is_runnable(const struct client *client)
{
    uint64_t now_ns = kernel_now_ns();
    if (client->act_at_ns <= now_ns || client->give_up_ns <= now_ns)
        return true;
    if (client->phase == CLIENT_IDLE)
        return false;
    if (client->paused_until_ns <= now_ns && kernel_can_receive(client->socket))
        return true;
    return buffer_len(&client->out) > 0 && !client->half_closed && kernel_can_send(client->socket);
}

uint64_t client_due_ns(const struct client *client)
{
    uint64_t due_ns = client->act_at_ns < client->give_up_ns ? client->act_at_ns : client->give_up_ns;
    if (client->phase != CLIENT_IDLE && client->paused_until_ns > kernel_now_ns() && client->paused_until_ns < due_ns)
        due_ns = client->paused_until_ns;
    return due_ns;
}

bool client_step(struct client *client)
{
    uint64_t now_ns = kernel_now_ns();
    if (client->phase != CLIENT_IDLE && client->give_up_ns <= now_ns) {
        client_end(client, sim_chance(300));
        return true;
    }
    if (client->act_at_ns <= now_ns) {
        device_act(client);
        return true;
    }
    if (client->phase == CLIENT_IDLE)
        return false;
    bool first = sim_chance(500);
    if (first ? transmit(client) : receive(client))
        return true;
    return first ? receive(client) : transmit(client);
}
