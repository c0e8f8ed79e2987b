// What Backbone's clients may be told, what must have arrived or been reported, and why a session may end.
// One rule: as checkers.c: they know what clients sent and saw and who is in the shards' tables, never why the code did something.
#include <stdio.h>
#include <stdlib.h>

#include "net/backbone/internal.h"
#include "shards/base/check.h"
#include "tests/sim/bone.h"

#define S_NS 1000000000ull
#define CLAIMS_MAX 4096
#define PROBE_NS 2000000000ull     // net/backbone/README.md "Duplicate login"
#define DAWDLING_NS 400000000ull   // a relay that closes need not wait so long
#define UNNOTICED_NS 3000000000ull // a hang-up, by a relay that waits for others

struct message {
    uint32_t sender, number, receiver; // ids of views; receiver 0: has not arrived
    uint32_t device, prev;             // prev: index + 1 of the last one from that session to that device
    uint64_t sent_ns, arrival;         // arrival: a running number
    uint32_t len;
    bool is_reported; // the sender is told when it is not delivered
    bool was_held;    // when it was sent, the recipient was in some shard's table
    uint8_t why;      // reported undelivered: enum backbone_why
};

// "Not connected", said about a device; true unless it has been there all the time.
struct claim {
    uint32_t view, device;
    uint64_t since_ns;
};

static struct bone_view *views[BONE_VIEWS_MAX];
static uint32_t view_count;
static struct message *messages;
static uint32_t message_count, message_capacity;
static struct claim claims[CLAIMS_MAX];
static uint32_t claim_count, walk;
static uint64_t arrivals;
static uint32_t anonymous_sent[BONE_DEVICES_MAX][BONE_TAG_MIN], anonymous_arrived[BONE_DEVICES_MAX][BONE_TAG_MIN];
static bool was_congested;

void bone_checkers_open(void)
{
    view_count = message_count = claim_count = walk = 0;
    arrivals = 0;
    was_congested = false;
    memset(anonymous_sent, 0, sizeof(anonymous_sent));
    memset(anonymous_arrived, 0, sizeof(anonymous_arrived));
}

void bone_checkers_close(void)
{
    for (uint32_t i = 0; i < view_count; i++) {
        free(views[i]->messages);
        free(views[i]);
    }
    view_count = 0;
    free(messages);
    messages = NULL;
    message_count = message_capacity = 0;
}

struct bone_view *bone_view_create(uint32_t device, uint8_t plan)
{
    SIM_CHECK(view_count < BONE_VIEWS_MAX, "too many Backbone sessions in one run");
    struct bone_view *view = calloc(1, sizeof(*view));
    CHECK(view != NULL);
    views[view_count++] = view;
    view->id = view_count;
    view->device = device;
    view->plan = plan;
    view->started_ns = kernel_now_ns();
    return view;
}

static bool is_live(const struct bone_view *view)
{
    return view->configured_ns != 0 && view->ended_ns == 0 && !view->stopped && !view->half_closed;
}

static const struct bone_view *live_of(uint32_t device)
{
    for (uint32_t i = view_count; i-- > 0;)
        if (views[i]->device == device && is_live(views[i]))
            return views[i];
    return NULL;
}

bool bone_is_held(uint32_t device)
{
    for (uint16_t i = 0; device != BONE_NOBODY && i < sim_config.shard_count; i++)
        if (backbone_session_find(sim_shards[i]->backbone, bone_id(device)) != NULL)
            return true;
    return false;
}

// Could the device have been let in after `since_ns`, or still be there?
static bool may_be_there(uint32_t device, uint64_t since_ns)
{
    for (uint32_t i = 0; i < view_count; i++)
        if (views[i]->device == device && views[i]->is_right && (views[i]->ended_ns == 0 || views[i]->ended_ns + UNNOTICED_NS >= since_ns))
            return true;
    return false;
}

// ---- what clients do ----

void bone_view_sent(struct bone_view *view)
{
    uint64_t gap_ns = kernel_now_ns() - view->last_sent_ns;
    view->gap_ns_max = gap_ns > view->gap_ns_max ? gap_ns : view->gap_ns_max;
    view->last_sent_ns = kernel_now_ns();
}

static void fill(uint32_t index, uint8_t *ptr, size_t len)
{
    uint64_t word = sim_hash(index, 0xf1, 0x11);
    for (size_t at = 0; at < len; at += 8) {
        memcpy(ptr + at, &word, len - at < 8 ? len - at : 8);
        word = word * 6364136223846793005ull + 1442695040888963407ull;
    }
    memcpy(ptr, &index, BONE_TAG_MIN);
}

static void append_number(struct bone_view *view, uint32_t index)
{
    if (view->message_count == view->message_capacity) {
        view->message_capacity = 2 * view->message_capacity + 16;
        view->messages = realloc(view->messages, view->message_capacity * sizeof(*view->messages));
        CHECK(view->messages != NULL);
    }
    view->messages[view->message_count++] = index;
}

void bone_sends(struct bone_view *view, uint32_t device, uint8_t *payload, size_t len)
{
    if (message_count == message_capacity) {
        message_capacity = 2 * message_capacity + 256;
        messages = realloc(messages, message_capacity * sizeof(*messages));
        CHECK(messages != NULL);
    }
    uint32_t index = message_count++;
    append_number(view, index);
    messages[index] = (struct message){.sender = view->id,
                                       .number = view->message_count,
                                       .device = device,
                                       .sent_ns = kernel_now_ns(),
                                       .len = (uint32_t)len,
                                       .is_reported = view->shows_ours,
                                       .was_held = bone_is_held(device)};
    if (device != BONE_NOBODY) {
        messages[index].prev = view->last_sent[device];
        view->last_sent[device] = index + 1;
    }
    if (len >= BONE_TAG_MIN)
        fill(index, payload, len);
    else if (device != BONE_NOBODY)
        anonymous_sent[device][len]++;
}

void bone_asks(struct bone_view *view, const uint32_t *devices, uint8_t count)
{
    struct bone_question *question = &view->questions[view->asked++ % BONE_QUESTIONS_MAX];
    view->shows_ours = true;
    *question = (struct bone_question){.sent_ns = kernel_now_ns(), .count = count};
    for (uint32_t i = 0; i < count; i++) {
        question->devices[i] = devices[i];
        question->was_held[i] = bone_is_held(devices[i]);
    }
}

// ---- what clients are told ----

static void told_c2c(struct bone_view *view, struct bytes plain)
{
    static uint8_t expected[BACKBONE_PLAIN_MAX];
    struct backbone_message parsed;
    uint32_t index;
    backbone_parse(plain, &parsed);
    SIM_CHECK(parsed.type == BACKBONE_C2C && bone_device_of(parsed.id) == view->device, "bone %u: a C2C for somebody else", view->id);
    struct bytes payload = parsed.payload;
    if (payload.len < BONE_TAG_MIN) {
        uint32_t count = ++anonymous_arrived[view->device][payload.len];
        SIM_CHECK(count <= anonymous_sent[view->device][payload.len], "bone %u: a C2C of %zu bytes that nobody sent", view->id,
                  payload.len);
        return;
    }
    memcpy(&index, payload.ptr, sizeof(index));
    SIM_CHECK(index < message_count, "bone %u: a C2C that nobody sent", view->id);
    struct message *message = &messages[index];
    sim_trace("bone %u: C2C %u of bone %u", view->id, message->number, message->sender);
    SIM_CHECK(message->device == view->device, "bone %u: C2C %u of bone %u is for device %u", view->id, message->number, message->sender,
              message->device);
    SIM_CHECK(message->receiver == 0, "bone %u: C2C %u of bone %u arrived twice", view->id, message->number, message->sender);
    SIM_CHECK(message->why != BACKBONE_CONGESTED, "bone %u: C2C %u of bone %u was refused and arrived", view->id, message->number,
              message->sender);
    fill(index, expected, message->len);
    SIM_CHECK(bytes_equal(payload, bytes_of(expected, message->len)), "bone %u: C2C %u of bone %u is damaged", view->id, message->number,
              message->sender);
    message->receiver = view->id;
    message->arrival = ++arrivals;
}

static void told_undelivered(struct bone_view *view, struct bytes payload)
{
    SIM_CHECK(view->shows_ours, "bone %u: UNDELIVERED though it never said one of our types", view->id);
    SIM_CHECK(payload.len == 1 + BACKBONE_ID_BYTES + 4, "bone %u: UNDELIVERED of %zu bytes", view->id, payload.len);
    uint32_t number = backbone_get_u32(payload.ptr + 1 + BACKBONE_ID_BYTES);
    SIM_CHECK(number >= 1 && number <= view->message_count, "bone %u: C2C %u, never sent, was not delivered", view->id, number);
    struct message *message = &messages[view->messages[number - 1]];
    sim_trace("bone %u: C2C %u undelivered, %u", view->id, number, (unsigned)payload.ptr[0]);
    SIM_CHECK(memcmp(payload.ptr + 1, bone_id(message->device), BACKBONE_ID_BYTES) == 0,
              "bone %u: C2C %u was for device %u, not the one reported", view->id, number, message->device);
    SIM_CHECK(message->why == 0, "bone %u: C2C %u is reported twice", view->id, number);
    message->why = payload.ptr[0];
    SIM_CHECK(message->why == BACKBONE_ABSENT || (message->why == BACKBONE_CONGESTED && message->receiver == 0),
              "bone %u: C2C %u undelivered because of %u", view->id, number, (unsigned)message->why);
    was_congested = was_congested || message->why == BACKBONE_CONGESTED;
}

static struct bone_question *next_question(struct bone_view *view, bool about_clients)
{
    SIM_CHECK(view->answered < view->asked, "bone %u: an answer without a question", view->id);
    struct bone_question *question = &view->questions[view->answered++ % BONE_QUESTIONS_MAX];
    SIM_CHECK((question->count > 0) == about_clients, "bone %u: answers out of order", view->id);
    return question;
}

static void told_status(struct bone_view *view, struct bytes payload)
{
    const struct bone_question *question = next_question(view, true);
    SIM_CHECK(payload.len == (size_t)question->count * (BACKBONE_ID_BYTES + 1), "bone %u: CLIENT STATUS of %zu bytes", view->id,
              payload.len);
    for (uint32_t i = 0; i < question->count; i++) {
        const uint8_t *status = payload.ptr + i * (BACKBONE_ID_BYTES + 1);
        uint32_t device = question->devices[i];
        SIM_CHECK(memcmp(status, bone_id(device), BACKBONE_ID_BYTES) == 0 && status[BACKBONE_ID_BYTES] <= 1,
                  "bone %u: CLIENT STATUS about another client", view->id);
        if (status[BACKBONE_ID_BYTES] == 1)
            SIM_CHECK(question->was_held[i] || may_be_there(device, question->sent_ns), "bone %u: device %u is said to be connected",
                      view->id, device);
        else if (claim_count < CLAIMS_MAX)
            claims[claim_count++] = (struct claim){.view = view->id, .device = device, .since_ns = question->sent_ns};
    }
}

static void told_state(struct bone_view *view, struct bytes payload)
{
    char text[200], state[16];
    unsigned count;
    SIM_CHECK(payload.len < sizeof(text), "bone %u: SERVER STATE of %zu bytes", view->id, payload.len);
    memcpy(text, payload.ptr, payload.len);
    text[payload.len] = '\0';
    SIM_CHECK(sscanf(text, "{\"state\": \"%15[a-z]\", \"clients\": %u,", state, &count) == 2, "bone %u: SERVER STATE %s", view->id, text);
    if (strcmp(state, "stopping") == 0) {
        SIM_CHECK(sim_is_stopping && view->shows_ours, "bone %u: the server is said to be stopping", view->id);
        view->told_of_stop = true;
        return;
    }
    (void)next_question(view, false);
    // Shards count at different moments, and the older session of a takeover with the newer.
    SIM_CHECK(strcmp(state, "running") == 0 && count >= 1 && count <= view_count, "bone %u: SERVER STATE %s", view->id, text);
}

static void told_config(struct bone_view *view, struct bytes payload)
{
    char json[100];
    int len = snprintf(json, sizeof(json), "{\"heartbeat_timeout\": %u, \"heartbeat_interval\": %u}", bone_config.timeout_s,
                       bone_config.interval_s);
    SIM_CHECK(view->configured_ns == 0, "bone %u: CONFIG twice", view->id);
    SIM_CHECK(view->is_right, "bone %u: let in without a right response", view->id);
    SIM_CHECK(bytes_equal(payload, bytes_of(json, (size_t)len)), "bone %u: CONFIG says other times", view->id);
    view->configured_ns = kernel_now_ns();
    sim_trace("bone %u: CONFIG", view->id);
}

static void told_stop(struct bone_view *view, struct bytes payload);

void bone_told(struct bone_view *view, struct bytes plain)
{
    struct backbone_message message;
    SIM_CHECK(plain.len > 0, "bone %u: an empty message", view->id);
    if (plain.ptr[0] == BACKBONE_C2C) {
        SIM_CHECK(view->configured_ns != 0, "bone %u: a C2C before CONFIG", view->id);
        told_c2c(view, plain);
        return;
    }
    backbone_parse(plain, &message);
    SIM_CHECK(message.time_s > 1700000000 && message.time_s <= 1700000000 + kernel_now_ns() / S_NS, "bone %u: sent at %u", view->id,
              message.time_s);
    SIM_CHECK(view->configured_ns != 0 || message.type == BACKBONE_CONFIG || message.type == BACKBONE_STOP,
              "bone %u: message %02x before CONFIG", view->id, (unsigned)message.type);
    if (message.type == BACKBONE_CONFIG)
        told_config(view, message.payload);
    else if (message.type == BACKBONE_UNDELIVERED)
        told_undelivered(view, message.payload);
    else if (message.type == BACKBONE_CLIENT_STATUS)
        told_status(view, message.payload);
    else if (message.type == BACKBONE_SERVER_STATE)
        told_state(view, message.payload);
    else if (message.type == BACKBONE_STOP)
        told_stop(view, message.payload);
    else
        sim_fail(__FILE__, __LINE__, "bone %u: message %02x", view->id, (unsigned)plain.ptr[0]);
}

// ---- why a session may end ----

static uint64_t silence_ns(const struct bone_view *view)
{
    uint64_t now_gap_ns = kernel_now_ns() - view->last_sent_ns;
    return now_gap_ns > view->gap_ns_max ? now_gap_ns : view->gap_ns_max;
}

// The newer session of the same device took over: since this one seemed dead, or since both came at the same moment.
static bool may_be_superseded(const struct bone_view *view)
{
    uint64_t patience_ns = 2 * bone_config.interval_s * S_NS;
    bool seemed_dead = silence_ns(view) + BONE_SLACK_NS >= patience_ns || view->pause_ns_max + BONE_SLACK_NS >= PROBE_NS;
    for (uint32_t i = 0; i < view_count; i++) {
        const struct bone_view *rival = views[i];
        bool over = rival->ended_ns != 0 && rival->ended_ns < view->responded_ns;
        bool at_once = view->configured_ns == 0 || rival->responded_ns <= view->configured_ns;
        if (rival != view && rival->device == view->device && rival->is_right && !over && (seemed_dead || at_once))
            return true;
    }
    return false;
}

// Another session of the device was there and seemed alive.
static bool may_be_refused(const struct bone_view *view)
{
    for (uint32_t i = 0; i < view_count; i++) {
        const struct bone_view *other = views[i];
        bool there = other != view && other->device == view->device && other->is_right;
        bool ended = other->ended_ns != 0 && other->ended_ns < view->responded_ns && !bone_nodes_lagged();
        bool silent = other->message_count == 0 && other->ended_ns == 0 &&
                      other->last_sent_ns + 2 * bone_config.interval_s * S_NS + BONE_SLACK_NS < view->responded_ns;
        if (there && !ended && !silent)
            return true;
    }
    return false;
}

static bool may_be_silent(const struct bone_view *view)
{
    uint64_t limit_ns = bone_config.timeout_s * S_NS;
    if (view->plan == BONE_DEAF_MUTE && view->pause_ns_max < DAWDLING_NS)
        SIM_CHECK(kernel_now_ns() <= view->configured_ns + limit_ns + BONE_SLACK_NS || bone_nodes_lagged(),
                  "bone %u: was silent for too long", view->id);
    return silence_ns(view) + BONE_SLACK_NS >= limit_ns;
}

static bool may_be_unfinished(const struct bone_view *view)
{
    return view->stuck || view->frame_ns_max + BONE_SLACK_NS >= sim_config.limits.http_timeout_ns;
}

static bool was_changed(const struct bone_view *view)
{
    return bone_version(view->device) != view->version || !bone_is_enrolled(view->device);
}

static void told_stop(struct bone_view *view, struct bytes payload)
{
    SIM_CHECK(payload.len > 0 && payload.len < sizeof(view->reason), "bone %u: STOP with %zu bytes of reason", view->id, payload.len);
    memcpy(view->reason, payload.ptr, payload.len);
    view->stopped = true;
    sim_trace("bone %u: STOP, %s", view->id, view->reason);
    const struct {
        const char *reason;
        bool is_true, after_config;
    } reasons[] = {
        {"handler stopping", view->said_stop, true},
        {"superseded", may_be_superseded(view), false},
        {"already connected", may_be_refused(view), false},
        {"heartbeat timeout", false, true}, // below
        {"frame took too long", may_be_unfinished(view), true},
        {"frame cannot be decrypted", view->broke, true},
        {"slow consumer", view->pause_ns_max + BONE_SLACK_NS >= sim_config.limits.slow_timeout_ns, true},
        {"account blocked, deleted or changed", was_changed(view), false},
        {"no login in time", bone_nodes_lagged(), false},
        {"relay is stopping", sim_is_stopping, false},
    };
    bool is_silence = strcmp(view->reason, "heartbeat timeout") == 0;
    SIM_CHECK(view->is_right, "bone %u: STOP for a stranger: %s", view->id, view->reason);
    for (size_t i = 0; i < sizeof(reasons) / sizeof(reasons[0]); i++) {
        if (strcmp(view->reason, reasons[i].reason) != 0)
            continue;
        SIM_CHECK(reasons[i].is_true || (is_silence && may_be_silent(view)), "bone %u: STOP without a cause: %s", view->id, view->reason);
        SIM_CHECK(view->configured_ns != 0 || !reasons[i].after_config || view->half_closed, "bone %u: STOP before CONFIG: %s", view->id,
                  view->reason);
        return;
    }
    sim_fail(__FILE__, __LINE__, "bone %u: STOP: %s", view->id, view->reason);
}

// It ended without a word, before CONFIG.
static void check_refusal(const struct bone_view *view)
{
    bool is_full = sim_config.limits.conns_max < SIM_CLIENTS_MAX + BONE_CLIENTS_MAX;
    bool may_log_in = view->plan <= BONE_DEAF_MUTE;
    uint64_t limit_ns = sim_config.limits.iam_timeout_ns, now_ns = kernel_now_ns();
    if (is_full && !view->challenged)
        return;
    SIM_CHECK(view->challenged, "bone %u: ended before the challenge", view->id);
    if (view->plan == BONE_HALF || view->plan == BONE_SILENT)
        SIM_CHECK(now_ns >= view->started_ns + limit_ns && now_ns <= view->responded_ns + limit_ns + BONE_SLACK_NS,
                  "bone %u: a login was given up after %.3f s", view->id, (double)(now_ns - view->started_ns) / 1e9);
    else
        SIM_CHECK(!may_log_in || !view->is_right || was_changed(view), "bone %u: a right response was refused", view->id);
}

void bone_ended(struct bone_view *view, bool by_server, bool was_reset)
{
    view->ended_ns = kernel_now_ns();
    if (!by_server || was_reset || sim_is_stopping || view->half_closed || bone_nodes_lagged())
        return;
    if (view->configured_ns == 0 && !view->stopped)
        check_refusal(view);
    else
        SIM_CHECK(view->stopped || view->pause_ns_max >= DAWDLING_NS, "bone %u: the end came without STOP", view->id);
}

// ---- after everything has settled ----

// Whether the session has been told all that is to be said about its messages.
static bool has_all_reports(const struct bone_view *view)
{
    return is_live(view) || (view->said_stop && strcmp(view->reason, "handler stopping") == 0);
}

// Everything that it said was taken, though it may have hung up behind it.
static bool was_heard(const struct bone_view *view)
{
    bool given_up = view->cut || view->broke || view->pause_ns_max >= DAWDLING_NS; // then a STOP may have been lost
    return has_all_reports(view) || (view->half_closed && view->configured_ns != 0 && !view->stopped && !given_up);
}

static void check_message(const struct message *message)
{
    const struct bone_view *sender = views[message->sender - 1];
    const struct bone_view *live = message->device == BONE_NOBODY ? NULL : live_of(message->device);
    if (!was_heard(sender) || sender->configured_ns == 0)
        return;
    if (live != NULL && live->configured_ns < message->sent_ns && message->len >= BONE_TAG_MIN) {
        bool may_know = has_all_reports(sender) && message->is_reported;
        bool refused = message->why == BACKBONE_CONGESTED || (!may_know && was_congested);
        SIM_CHECK(message->receiver == live->id || refused, "C2C %u of bone %u to bone %u, which is there, has not arrived",
                  message->number, sender->id, live->id);
        SIM_CHECK(message->why != BACKBONE_ABSENT, "C2C %u of bone %u: bone %u was there all the time", message->number, sender->id,
                  live->id);
    }
    bool nobody = message->device == BONE_NOBODY || (!message->was_held && !may_be_there(message->device, message->sent_ns));
    if (nobody && message->is_reported && has_all_reports(sender))
        SIM_CHECK(message->why == BACKBONE_ABSENT, "C2C %u of bone %u to device %u, which was not there: no UNDELIVERED", message->number,
                  sender->id, message->device);
}

// What came from one session to one device came in its order, to one session of that device after the other.
static void check_order(const struct bone_view *sender, uint32_t device)
{
    const struct message *later = NULL;
    walk++;
    for (uint32_t at = sender->last_sent[device]; at != 0; at = messages[at - 1].prev) {
        const struct message *message = &messages[at - 1];
        if (message->receiver == 0)
            continue;
        if (later != NULL && later->receiver != message->receiver)
            views[later->receiver - 1]->walked = walk;
        else
            SIM_CHECK(later == NULL || message->arrival < later->arrival, "bone %u: C2C %u of bone %u came before C2C %u",
                      message->receiver, later->number, sender->id, message->number);
        SIM_CHECK(views[message->receiver - 1]->walked != walk, "bone %u: C2C %u of bone %u, but the next went to another session",
                  message->receiver, message->number, sender->id);
        later = message;
    }
}

static void check_session(const struct bone_view *view)
{
    const struct bone_view *other = live_of(view->device);
    SIM_CHECK(other == NULL || other == view, "bone %u and bone %u are of one device", view->id, other->id);
    SIM_CHECK(!was_changed(view), "bone %u: is there though its identity has changed", view->id);
    SIM_CHECK(view->answered == view->asked, "bone %u: %u questions, %u answers", view->id, view->asked, view->answered);
}

void bone_check_converged(void)
{
    for (uint32_t i = 0; bone_config.is_on && i < view_count; i++) {
        if (is_live(views[i]) && !views[i]->stuck && !views[i]->broke)
            check_session(views[i]);
        for (uint32_t device = 0; device < bone_config.devices; device++)
            check_order(views[i], device);
    }
    for (uint32_t i = 0; bone_config.is_on && i < message_count; i++)
        check_message(&messages[i]);
    for (uint32_t i = 0; bone_config.is_on && i < claim_count; i++) {
        const struct bone_view *live = claims[i].device == BONE_NOBODY ? NULL : live_of(claims[i].device);
        SIM_CHECK(live == NULL || live->configured_ns >= claims[i].since_ns, "bone %u: was told that bone %u is not there", claims[i].view,
                  live->id);
    }
}

void bone_mark_stop(void)
{
    for (uint32_t i = 0; bone_config.is_on && i < view_count; i++)
        views[i]->live_at_stop = is_live(views[i]) && !views[i]->said_stop && !views[i]->broke && !views[i]->half_closes;
}

void bone_check_all_stopped(void)
{
    for (uint32_t i = 0; bone_config.is_on && i < view_count; i++) {
        const struct bone_view *view = views[i];
        bool is_due = view->live_at_stop && view->pause_ns_max < DAWDLING_NS && !bone_nodes_lagged();
        SIM_CHECK(!is_due || view->stopped, "bone %u: not told that the relay stops", view->id);
        bool is_told = view->told_of_stop || view->answered == 0 || strcmp(view->reason, "relay is stopping") != 0;
        SIM_CHECK(!is_due || is_told, "bone %u: no SERVER STATE at the end", view->id);
    }
}
