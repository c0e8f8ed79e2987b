// What simulated OpenRelay devices do, in both dialects: register, take each other's id, move to another, hide, send to whoever is there or
// not, dawdle, talk nonsense, vanish; and the room's part of the world: the production queue node, with a database in memory.
#include <stdio.h>
#include <stdlib.h>

#include "net/queue/queue.h"
#include "net/ws.h"
#include "shards/base/check.h"
#include "shards/base/hash.h"
#include "shards/os.h"
#include "tests/sim/or.h"

#define MS_NS 1000000ull
#define S_NS 1000000000ull
#define PAYLOAD_BYTES_MAX 200000u

struct openrelay_config or_limits;
struct kept_config or_kept;

static uint16_t service;
static struct queue *queue;
static uint32_t vogue;

struct queue *or_queue(void)
{
    return queue;
}

// ---- the world ----

static uint32_t pick(const uint32_t *from, size_t count)
{
    return from[sim_below(count)];
}
#define PICK(...) pick((const uint32_t[]){__VA_ARGS__}, sizeof((const uint32_t[]){__VA_ARGS__}) / sizeof(uint32_t))

static void choose(void)
{
    service = sim_config.service_count++;
    sim_config.limits.control_bytes_max = 524288; // answers may wait up to a bound of the room
    or_limits = (struct openrelay_config){.enabled = true,
                                          .timeout_ns = 60 * S_NS,
                                          .requests_max = PICK(3, 10, 60, 1000),
                                          .points_max = PICK(40, 512, 100000),
                                          .month_bytes = INT64_MAX,
                                          .stop_bytes = INT64_MAX,
                                          .warn_bytes = INT64_MAX,
                                          .import_file = ""};
    or_kept = (struct kept_config){.memory = true,
                                   .messages_max = PICK(5, 200, 100000),
                                   .bytes_max = PICK(20000, 1u << 30),
                                   .sender_max = PICK(10, 100000),
                                   .total_max = PICK(60000, 1u << 30)};
}

static void run_queue(void *argument)
{
    queue_run(argument);
}

static void open_queue(void)
{
    char error_text[256];
    sim_shared.openrelay = &or_limits;
    sim_shared.queue_node = sim_service_node(service);
    const struct queue_config config = {.kept = &or_kept,
                                        .openrelay = &or_limits,
                                        .node = sim_shared.queue_node,
                                        .shard_count = sim_config.shard_count,
                                        .batch_bytes = PICK(200, 2000, QUEUE_BATCH_BYTES),
                                        .wall_s = os_wall_s};
    queue = queue_create(sim_shared.post, &config, error_text, sizeof(error_text));
    CHECK(queue != NULL);
    sim_service_start(service, run_queue, queue);
    or_open();
    vogue = 0;
}

static void stop_queue(void)
{
    post_write(sim_shared.post, sim_shared.main_node, sim_shared.queue_node, RECORD_STOP, bytes_of(NULL, 0), bytes_of(NULL, 0));
    post_flush(sim_shared.post, sim_shared.main_node);
}

static void close_queue(void)
{
    or_close();
    queue_destroy(queue);
    queue = NULL;
}

// Secrets must follow from the seed, too: keys have their homes by them.
void __wrap_hash_secret_create(struct hash_secret *ret_secret);
void __wrap_hash_secret_create(struct hash_secret *ret_secret)
{
    for (size_t i = 0; i < HASH_SECRET_BYTES; i++)
        ret_secret->bytes[i] = (uint8_t)sim_random();
}

// ---- texts ----

// Names of keys are the sender's dialect: the older one says device_id for the target of Auth*.
static bool speaks_old(const struct client *client)
{
    return client->view->id % 3 == 0;
}

static void put_text(struct client *client, const char *text, size_t len)
{
    client_text(client, (const uint8_t *)text, len);
}

static void put_register(struct client *client, uint32_t id)
{
    char text[2 * OR_ID_BYTES_MAX];
    int len = snprintf(text, sizeof(text), "{\"type\":\"Register\",\"payload\":{\"hardware_id\":\"%s\"}}", or_id_text(id));
    or_said_register(client, id);
    put_text(client, text, (size_t)len);
}

static void put_ping(struct client *client)
{
    static const char *const forms[] = {"{\"type\":\"Ping\"}", "{\"type\":\"Ping\",\"payload\":null}", " [\"Ping\", null] "};
    const char *text = forms[sim_below(3)];
    or_said_ping(client);
    put_text(client, text, strlen(text));
}

static void put_offline(struct client *client)
{
    char text[2 * OR_ID_BYTES_MAX];
    int len = snprintf(text, sizeof(text), "{\"type\":\"Status\",\"payload\":{\"hardware_id\":\"%s\",\"status\":\"Offline\"}}",
                       or_id_text(or_said_id(client)));
    or_said_offline(client);
    put_text(client, text, (size_t)len);
    put_ping(client);
}

static void put_nonsense(struct client *client)
{
    static const char *const bad[] = {"", "{}", "x", "{\"type\":\"Register\",\"payload\":{}}", "{\"type\":\"Nothing\",\"payload\":{}}"};
    const char *text = bad[sim_below(sizeof(bad) / sizeof(bad[0]))];
    or_said_wrong(client, 400, "Invalid message format");
    put_text(client, text, strlen(text));
}

// As somebody else.
static void put_mismatch(struct client *client)
{
    static const char text[] = "{\"type\":\"Send\",\"payload\":{\"recipient_id\":\"a\",\"sender_id\":\"b\",\"encrypted_data\":\"c\","
                               "\"message_id\":\"00000000000000000000000000000000\",\"timestamp\":1,\"ttl\":1,\"hardware_id\":\"nobody\","
                               "\"content_type\":\"Text\",\"size_bytes\":1}}";
    if (or_said_id(client) == OR_NONE)
        or_said_wrong(client, 403, "Must register with hardware ID first");
    else
        or_said_wrong(client, 403, "Hardware ID mismatch");
    put_text(client, text, sizeof(text) - 1);
}

static uint32_t any_len(void)
{
    uint32_t max = sim_config.payload_bytes_max < PAYLOAD_BYTES_MAX ? sim_config.payload_bytes_max : PAYLOAD_BYTES_MAX;
    return 16 + (uint32_t)sim_below(sim_chance(700) ? 100 : sim_chance(800) ? max / 8 + 1 : max);
}

static void put_send(struct client *client, uint32_t recipient)
{
    static const uint8_t ttls_s[] = {0, 0, 1, 2, 3, 5, 30, 200, 200, 250};
    uint64_t ttl_s = ttls_s[sim_below(sizeof(ttls_s))];
    uint32_t len = any_len(), number;
    uint64_t claimed = sim_chance(100) ? sim_below(2 * len) : len; // a lie below the truth does not count
    uint64_t charged = claimed > len ? claimed : len;
    struct or_message *message = or_said_message(client, OR_SEND, recipient, ttl_s, (uint32_t)((charged + 1023) / 1024), &number);
    if (message == NULL)
        return;
    message->type = OPENRELAY_Receive;
    message->text_bytes = len;
    char *payload = or_payload(number, len);
    size_t max = len + 3 * OR_ID_BYTES_MAX + 400;
    char *text = malloc(max);
    CHECK(text != NULL);
    const char *me = or_id_text(message->sender_id);
    int text_len = snprintf(text, max,
                            "{\"type\":\"Send\",\"payload\":{\"recipient_id\":\"%s\",\"sender_id\":\"%s\",\"encrypted_data\":\"%s\","
                            "\"message_id\":\"%08x-0000-4000-8000-%012x\",\"timestamp\":%u,\"ttl\":%llu,%s\"hardware_id\":\"%s\","
                            "\"content_type\":\"Text\",\"size_bytes\":%llu}}",
                            or_id_text(recipient), sim_chance(900) ? me : "somebody else", payload, message->session, number, number,
                            (unsigned long long)ttl_s, sim_chance(500) ? "\"signature\":null," : "", me, (unsigned long long)claimed);
    CHECK(text_len > 0 && (size_t)text_len < max);
    put_text(client, text, (size_t)text_len);
    free(text);
    free(payload);
}

static void put_auth(struct client *client, uint32_t recipient)
{
    static const struct {
        const char *name, *before, *after;
        enum openrelay_type type;
    } forms[] = {{"AuthRequest", "public_key", "\"challenge\":\"c\",", OPENRELAY_AuthRequest},
                 {"AuthResponse", "challenge_response", "\"challenge\":\"c\",", OPENRELAY_AuthResponse},
                 {"AuthVerify", "challenge_response", "", OPENRELAY_AuthVerify}};
    size_t form = sim_below(3);
    uint32_t number, len = 16 + (uint32_t)sim_below(200);
    struct or_message *message = or_said_message(client, OR_AUTH, recipient, 0, 0, &number);
    if (message == NULL)
        return;
    message->type = forms[form].type;
    message->text_bytes = len;
    char *payload = or_payload(number, len);
    char text[3 * OR_ID_BYTES_MAX];
    int text_len = snprintf(text, sizeof(text), "{\"payload\":{\"%s\":\"%s\",\"%s\":\"%s\",%s\"hardware_id\":\"%s\"},\"type\":\"%s\"}",
                            speaks_old(client) ? "device_id" : "recipient_id", or_id_text(recipient), forms[form].before, payload,
                            forms[form].after, or_id_text(message->sender_id), forms[form].name);
    CHECK(text_len > 0 && (size_t)text_len < sizeof(text));
    put_text(client, text, (size_t)text_len);
    put_ping(client); // what is taken is not answered: this is
    free(payload);
}

static void put_rotation(struct client *client, uint32_t recipient)
{
    bool update = sim_chance(500);
    uint32_t number, len = 16 + (uint32_t)sim_below(200);
    struct or_message *message =
        or_said_message(client, update ? OR_ROTATION_UPDATE : OR_ROTATION_ACK, recipient, OR_ROTATION_TTL_S, 0, &number);
    if (message == NULL)
        return;
    message->type = update ? OPENRELAY_KeyRotationUpdate : OPENRELAY_KeyRotationAck;
    message->text_bytes = update ? len : 0;
    char *payload = or_payload(number, len);
    char text[3 * OR_ID_BYTES_MAX];
    int text_len =
        snprintf(text, sizeof(text), "{\"type\":\"%s\",\"payload\":{\"hardware_id\":\"%s\",\"%s\":\"%s\",\"%s\":%s%s%s,\"key_id\":%u}}",
                 update ? "KeyRotationUpdate" : "KeyRotationAck", or_id_text(message->sender_id),
                 speaks_old(client) ? "device_id" : "recipient_id", or_id_text(recipient), update ? "encrypted_key_package" : "success",
                 update ? "\"" : "", update ? payload : "true", update ? "\"" : "", number);
    CHECK(text_len > 0 && (size_t)text_len < sizeof(text));
    put_text(client, text, (size_t)text_len);
    put_ping(client); // what is taken is not answered: this is
    free(payload);
}

// ---- actions ----

// One id at a time is in vogue: what is sent to it meets those who take and leave it.
static uint32_t any_id(void)
{
    if (sim_chance(20))
        vogue = (uint32_t)sim_below(sim_config.keys);
    return sim_chance(400) ? vogue : (uint32_t)sim_below(sim_config.keys);
}

static void start(struct client *client)
{
    uint16_t shard = (uint16_t)sim_below(sim_config.shard_count);
    if (!kernel_is_listening(sim_listeners[shard]))
        return;
    client->view = view_create(client->room, any_id(), SIM_NO_ACCOUNT);
    client->mute = sim_config.rude && sim_chance(30);
    client->view->mute = client->mute;
    client_connect(client, shard);
    or_session_begin(client);
}

static void send_some(struct client *client)
{
    uint32_t recipient = any_id();
    uint64_t count = sim_chance(30) ? sim_below(80) : sim_chance(200) ? 5 + sim_below(20) : 1 + sim_below(3);
    for (uint64_t i = 0; i < count && or_has_room(client); i++)
        put_send(client, sim_chance(900) ? recipient : any_id());
}

// Everybody holds still: what is due comes by itself, time limits pass to the second.
static void rest(void)
{
    if (sim_chance(250))
        device_rest(60 * S_NS + sim_below(2 * S_NS));
    else
        device_rest((1 + sim_below(5)) * S_NS + sim_below(S_NS));
}

static void act_unregistered(struct client *client)
{
    if (sim_chance(800)) {
        put_register(client, client->view->device);
        if (sim_chance(200)) // in the same breath
            put_register(client, any_id());
    } else if (sim_chance(500))
        put_ping(client);
    else
        put_mismatch(client);
}

// Limits must not be evaded by going offline and back.
static void go_to_and_fro(struct client *client)
{
    uint32_t id = or_said_id(client);
    for (int i = 0; i < 6 && or_has_room(client); i++) {
        put_offline(client);
        send_some(client);
        if (or_has_room(client))
            put_register(client, id);
    }
}

static void act_registered(struct client *client)
{
    unsigned choice = (unsigned)sim_below(1000);
    if (or_is_offline(client) && sim_chance(250))
        put_register(client, or_said_id(client));
    else if (choice < 600)
        send_some(client);
    else if (choice < 700)
        put_rotation(client, any_id());
    else if (choice < 800)
        put_auth(client, any_id());
    else if (choice < 830)
        put_ping(client);
    else if (choice < 890)
        for (uint64_t i = 1 + sim_below(2); i > 0; i--)
            put_register(client, sim_chance(300) ? or_said_id(client) : any_id());
    else if (choice < 930 && sim_chance(800))
        put_offline(client);
    else if (choice < 930)
        go_to_and_fro(client);
    else if (choice < 945)
        put_nonsense(client);
    else if (choice < 955)
        put_mismatch(client);
    else if (choice < 980)
        rest();
}

static void act(struct client *client)
{
    unsigned choice = (unsigned)sim_below(1000);
    if (!or_has_room(client))
        return;
    if (choice < 40) { // reads nothing for a while
        client->paused_until_ns = kernel_now_ns() + sim_below(sim_chance(100) ? 50 * S_NS : 500 * MS_NS);
        client->view->slow = client->view->slow || client->paused_until_ns > kernel_now_ns() + 20 * S_NS;
    } else if (choice < 50 && sim_config.rude) {
        device_break_frame(client);
    } else if (choice < 120) {
        device_leave(client);
    } else if (or_said_id(client) == OR_NONE) {
        act_unregistered(client);
    } else {
        act_registered(client);
    }
}

static void heard(struct client *client, uint8_t opcode, struct bytes text)
{
    SIM_CHECK(opcode == WS_TEXT, "session %u: a message with opcode %u", client->view->id, (unsigned)opcode);
    bool of_device = or_heard(client, text);
    bool acknowledges = client->view->id % 2 == 0 && client->phase == CLIENT_OPEN && !client->half_closed;
    if (acknowledges && of_device) {
        static const char ack[] = "{\"type\":\"Ack\",\"payload\":{\"message_id\":\"any\"}}";
        put_text(client, ack, sizeof(ack) - 1);
    }
}

static void settle(struct client *client)
{
    if (or_has_room(client))
        put_ping(client);
}

const struct sim_room sim_room_openrelay = {
    .name = "OpenRelay",
    .route = {.path = "/relay", .below = true, .room = &openrelay_room},
    .choose = choose,
    .open = open_queue,
    .stop = stop_queue,
    .close = close_queue,
    .start = start,
    .take = client_take_ws,
    .on_message = heard,
    .act = act,
    .settle = settle,
    .on_closed = or_closed,
    .on_ended = or_session_ended,
    .check_quiet = or_check_quiet,
    .check_rested = or_check_rested,
    .check_converged = or_check_rested,
    .check_gone = or_check_gone,
};
