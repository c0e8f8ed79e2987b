// What a message costs between cores as shards become more: 8, 32 and 64 of them, three devices on each, each linked with two on other
// shards. One rule: everything is counted, nothing is timed, so the figures are the same on every machine (`sim_test scale`).
#include <stdio.h>
#include <stdlib.h>

#include "auth/basic.h"
#include "net/buckets/codec.h"
#include "net/ws.h"
#include "shards/base/check.h"
#include "tests/sim/lines.h"
#include "tests/sim/sim.h"

#define DEVICES_EACH 3 // of one shard
#define PEERS 2        // of one device
#define DEVICES_MAX (SIM_SHARDS_MAX * DEVICES_EACH)
#define IN_BYTES_MAX 8192
#define PAYLOAD_BYTES 100
#define LAPS 4
#define S_NS 1000000000ull

struct device {
    int socket;
    struct key key;
    uint32_t peers[PEERS];
    bool upgraded, authenticated;
    uint32_t connected, received;
    uint8_t in[IN_BYTES_MAX];
    size_t in_len;
};

// Of one scenario with so many shards, for each message.
struct figures {
    double touched, moved, hand_offs, wakes, turns;
};

static struct device devices[DEVICES_MAX];
static uint32_t device_count;

// ---- devices ----

static void send_all(const struct device *device, const uint8_t *ptr, size_t len)
{
    CHECK(kernel_send(device->socket, ptr, len) == len);
}

static void send_frame(const struct device *device, const uint8_t *ptr, size_t len)
{
    const uint8_t mask[4] = {1, 2, 3, 4};
    uint8_t frame[WS_HEAD_MAX + 256];
    size_t head_len = ws_head(frame, WS_BINARY, /* rsv1= */ false, len, mask);
    CHECK(head_len + len <= sizeof(frame));
    memcpy(frame + head_len, ptr, len);
    ws_mask(frame + head_len, len, mask, 0);
    send_all(device, frame, head_len + len);
}

static void send_message(const struct device *device, uint32_t peer)
{
    uint8_t message[BUCKETS_DATA_HEAD_MAX + PAYLOAD_BYTES + 2] = {0};
    size_t head_len = buckets_send_head(message, &devices[device->peers[peer]].key, PAYLOAD_BYTES);
    memcpy(message + head_len + PAYLOAD_BYTES, ",,", 2);
    send_frame(device, message, head_len + PAYLOAD_BYTES + 2);
}

static void on_event(struct device *device, struct bytes message)
{
    struct buckets_event event;
    uint8_t signature[BUCKETS_SIGNATURE_BYTES], iam[128];
    SIM_CHECK(buckets_event_parse(message, &event) == ERROR_NONE && event.kind != 'E' && (event.kind != 'x' || sim_is_stopping),
              "event %.*s", (int)message.len, (const char *)message.ptr);
    if (event.kind == '?') {
        device_sign(event.key.ptr, device->key.bytes, signature);
        send_frame(device, iam, buckets_iam(iam, &device->key, signature));
    }
    device->authenticated = device->authenticated || event.kind == '+';
    device->connected += event.kind == 'c';
    device->received += event.kind == 'd';
}

// The length of what lies whole at the start of the input: the HTTP answer, or one frame; 0: nothing.
static size_t take_one(struct device *device)
{
    const uint8_t *in = device->in;
    if (!device->upgraded) {
        const uint8_t *end = memmem(in, device->in_len, "\r\n\r\n", 4);
        device->upgraded = end != NULL;
        return end != NULL ? (size_t)(end - in) + 4 : 0;
    }
    size_t head_len = device->in_len >= 2 && in[1] == 126 ? 4 : 2;
    if (device->in_len < head_len)
        return 0;
    size_t len = head_len == 4 ? (size_t)in[2] << 8 | in[3] : in[1];
    if (device->in_len < head_len + len)
        return 0;
    if ((in[0] & 15) == WS_BINARY)
        on_event(device, bytes_of(in + head_len, len));
    return head_len + len;
}

static bool device_receive(struct device *device)
{
    if (!kernel_can_receive(device->socket))
        return false;
    bool end, reset;
    size_t got = kernel_receive(device->socket, device->in + device->in_len, IN_BYTES_MAX - device->in_len, &end, &reset);
    device->in_len += got;
    size_t used;
    while ((used = take_one(device)) > 0) {
        device->in_len -= used;
        memmove(device->in, device->in + used, device->in_len);
    }
    return got > 0;
}

// ---- the run ----

// Everybody in turn, beginning anywhere, until nobody can do more; logins under way are waited for.
static void settle(void)
{
    bool any = true;
    while (any) {
        any = false;
        uint32_t first = (uint32_t)sim_below(sim_config.shard_count);
        for (uint32_t i = 0; i < sim_config.shard_count; i++) {
            uint32_t shard = (first + i) % sim_config.shard_count;
            if (!fiber_is_runnable(shard))
                continue;
            fiber_resume(shard);
            any = true;
        }
        for (uint32_t i = 0; i < device_count; i++)
            any = device_receive(&devices[i]) || any;
        if (accounts_is_runnable()) {
            accounts_step();
            any = true;
        } else if (!any && accounts_due_ns() != UINT64_MAX) {
            kernel_advance_ns(accounts_due_ns() - kernel_now_ns());
            any = true;
        }
    }
}

static void log_in(uint32_t number)
{
    struct device *device = &devices[number];
    uint32_t shards = sim_config.shard_count;
    uint32_t shard = number % shards, place = number / shards;
    uint32_t away = (place + 1) * (shards / 8); // the same number of neighbours, whatever the number of shards
    *device = (struct device){.socket = kernel_connect(sim_listeners[shard])};
    device->peers[0] = place * shards + (shard + away) % shards;
    device->peers[1] = place * shards + (shard + shards - away) % shards;
    for (size_t i = 0; i < KEY_BYTES; i++)
        device->key.bytes[i] = (uint8_t)sim_random();
    char text[512], user[16], basic[128];
    snprintf(user, sizeof(user), "user%u", number % sim_config.accounts);
    CHECK(basic_format(user, "pw", basic, sizeof(basic)) > 0);
    int len = snprintf(text, sizeof(text),
                       "GET /v1/relay HTTP/1.1\r\nHost: relay\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
                       "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nAuthorization: %s\r\n\r\n",
                       basic);
    send_all(device, (const uint8_t *)text, (size_t)len);
}

static void open_devices(void)
{
    uint32_t wanted = (uint32_t)sim_config.shard_count * DEVICES_EACH;
    device_count = 0;
    while (device_count < wanted) {
        log_in(device_count);
        device_count++;
        if (device_count % sim_config.shard_count == 0) // all shards have the same number: nobody is handed over
            settle();
    }
    for (uint32_t i = 0; i < device_count; i++) {
        uint8_t message[64];
        CHECK(devices[i].authenticated);
        for (uint32_t peer = 0; peer < PEERS; peer++)
            send_frame(&devices[i], message, buckets_connect(message, &devices[devices[i].peers[peer]].key));
    }
    settle();
    for (uint32_t i = 0; i < device_count; i++)
        SIM_CHECK(devices[i].connected == PEERS, "device %u has %u connections", i, devices[i].connected);
    for (uint16_t i = 0; i < sim_config.shard_count; i++)
        SIM_CHECK(sim_shards[i]->conn_count == DEVICES_EACH, "shard %u has %u devices", (unsigned)i, sim_shards[i]->conn_count);
}

static uint64_t turns_of_all(void)
{
    uint64_t turns = 0;
    for (uint16_t i = 0; i < sim_config.shard_count; i++)
        turns += sim_shards[i]->metrics.turns;
    return turns;
}

static struct post_counts post_of_all(void)
{
    struct post_counts sum = {.records_sent = 0};
    for (uint16_t i = 0; i < sim_config.shard_count; i++) {
        struct post_counts counts;
        post_counts(sim_shared.post, i, &counts);
        sum.parcels_sent += counts.parcels_sent;
        sum.wakes_sent += counts.wakes_sent;
    }
    return sum;
}

// alone: a message is sent when the one before has arrived and everybody sleeps; else every device sends to all its peers at once.
static void exchange(bool alone)
{
    for (uint32_t i = 0; i < device_count; i++) {
        for (uint32_t peer = 0; peer < PEERS; peer++) {
            send_message(&devices[i], peer);
            if (alone)
                settle();
        }
    }
    settle();
}

static struct figures measure(bool alone)
{
    exchange(alone); // parcels are made, lines are where they will be
    struct post_counts before = post_of_all();
    uint64_t turns = turns_of_all(), received = 0;
    for (uint32_t i = 0; i < device_count; i++)
        devices[i].received = 0;
    lines_start();
    for (unsigned lap = 0; lap < LAPS; lap++)
        exchange(alone);
    lines_stop();
    for (uint32_t i = 0; i < device_count; i++)
        received += devices[i].received;
    CHECK(received == (uint64_t)device_count * PEERS * LAPS);
    struct post_counts after = post_of_all();
    double messages = (double)received;
    return (struct figures){.touched = (double)lines_counts()->touched / messages,
                            .moved = (double)lines_counts()->moved / messages,
                            .hand_offs = (double)(after.parcels_sent - before.parcels_sent) / messages,
                            .wakes = (double)(after.wakes_sent - before.wakes_sent) / messages,
                            .turns = (double)(turns_of_all() - turns) / messages};
}

static void stop_world(void)
{
    sim_is_stopping = true;
    for (unsigned times = 0; times < 2; times++) { // to stop, then to end
        accounts_stop_shards();
        settle();
        kernel_advance_ns(sim_config.limits.stop_timeout_ns + S_NS);
        settle();
    }
}

static void run_with(uint16_t shards, struct figures ret_figures[2])
{
    sim_config = (struct sim_config){.shard_count = shards, .accounts = SIM_ACCOUNTS_MAX, .post = post_limits_default};
    sim_config.room_chances[0] = 1000; // Buckets alone
    sim_config.kernel = (struct kernel_limits){.buffer_bytes_min = IN_BYTES_MAX, .buffer_bytes_max = IN_BYTES_MAX};
    sim_config.limits = (struct shard_limits){.conns_max = 2 * DEVICES_MAX,
                                              .http_timeout_ns = 10 * S_NS,
                                              .iam_timeout_ns = 10 * S_NS,
                                              .ping_interval_ns = 3600 * S_NS,
                                              .slow_timeout_ns = 3600 * S_NS,
                                              .close_timeout_ns = S_NS,
                                              .stop_timeout_ns = S_NS,
                                              .usage_interval_ns = 3600 * S_NS,
                                              .control_bytes_max = 65536,
                                              .pool_bytes_max = 64u << 20,
                                              .router = {.sessions_max = 2 * DEVICES_MAX + CONN_CHUNK,
                                                         .links_per_session_max = 16,
                                                         .devices_per_account_max = DEVICES_MAX,
                                                         .told_at_once = DEVICES_MAX,
                                                         .queue_bytes_max = 1u << 20,
                                                         .window_bytes = 65536}};
    sim_seed(shards);
    open_world();
    open_devices();
    ret_figures[0] = measure(/* alone= */ true);
    ret_figures[1] = measure(/* alone= */ false);
    stop_world();
    close_world();
}

static void check_growth(const char *what, double few, double many, uint16_t shards)
{
    SIM_CHECK(many <= few * 1.02 + 0.02, "%s: %.2f for each message with 8 shards, %.2f with %u", what, few, many, (unsigned)shards);
}

void scale_run(void)
{
    static const uint16_t shards[] = {8, 32, 64};
    static const char *const names[] = {"one at a time", "all at once"};
    struct figures figures[3][2];
    for (size_t i = 0; i < 3; i++)
        run_with(shards[i], figures[i]);
    printf("%-14s %6s %14s %12s %10s %8s %6s   for each message\n", "", "shards", "lines touched", "lines moved", "hand-offs", "wakes",
           "turns");
    for (size_t k = 0; k < 2; k++)
        for (size_t i = 0; i < 3; i++) {
            const struct figures *f = &figures[i][k];
            printf("%-14s %6u %14.2f %12.2f %10.2f %8.2f %6.2f\n", names[k], (unsigned)shards[i], f->touched, f->moved, f->hand_offs,
                   f->wakes, f->turns);
        }
    fflush(stdout); // the table stands also when a check aborts
    for (size_t k = 0; k < 2; k++)
        for (size_t i = 1; i < 3; i++) {
            const struct figures *few = &figures[0][k], *many = &figures[i][k];
            check_growth("lines touched", few->touched, many->touched, shards[i]);
            check_growth("lines moved", few->moved, many->moved, shards[i]);
            check_growth("hand-offs", few->hand_offs, many->hand_offs, shards[i]);
            check_growth("wakes", few->wakes, many->wakes, shards[i]);
        }
}
