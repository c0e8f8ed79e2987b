// The Backbone room (protocols/backbone.md): challenge, response, CONFIG, then messages; STOP before every close of a session that has
// proved itself. One rule: whatever a client sends is worked off in its order, and only that client pays for what is wrong with it.
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <stdio.h>
#include <stdlib.h>

#include "net/backbone/internal.h"
#include "shards/base/bug.h"
#include "shards/base/check.h"
#include "shards/log.h"
#include "shards/os.h"

#define SECOND_NS 1000000000ull
#define REASON_PEER_STOPPED "handler stopping" // what the original answers a client's STOP with

static void send_c2s(struct backbone_session *session, enum backbone_type type, struct bytes payload)
{
    uint8_t head[BACKBONE_C2S_HEAD_BYTES];
    backbone_c2s_head(head, type, (uint32_t)os_wall_s());
    if (!backbone_lane_put(session, &session->out, bytes_of(head, sizeof(head)), payload, /* is_data= */ false)) {
        if (session->stage != STAGE_OVER)
            conn_close(session->conn, ERROR_OUT_OF_MEMORY);
        return;
    }
    session->answers++;
    session->backbone->shard->metrics.events_out++;
    backbone_pump(session);
}

static void send_state(struct backbone_session *session, const char *state, uint32_t clients)
{
    char json[160];
    const struct backbone_shared *shared = session->backbone->shared;
    uint64_t uptime_s = (node_now_ns(session->backbone->shard->node) - shared->started_ns) / SECOND_NS;
    int len = snprintf(json, sizeof(json), "{\"state\": \"%s\", \"clients\": %u, \"version\": \"%s\", \"uptime\": %llu}", state, clients,
                       SHARDRELAY_VERSION, (unsigned long long)uptime_s);
    CHECK(len > 0 && (size_t)len < sizeof(json));
    send_c2s(session, BACKBONE_SERVER_STATE, bytes_of(json, (size_t)len));
}

void backbone_address(const uint8_t id[BACKBONE_ID_BYTES], struct bytes der, struct key *ret_key)
{
    uint8_t text[8 + BACKBONE_ID_BYTES + IDENTITY_KEY_MAX] = {'b', 'a', 'c', 'k', 'b', 'o', 'n', 'e'};
    CHECK(der.len <= IDENTITY_KEY_MAX);
    memcpy(text + 8, id, BACKBONE_ID_BYTES);
    if (der.len > 0)
        memcpy(text + 8 + BACKBONE_ID_BYTES, der.ptr, der.len);
    int hashed = EVP_Digest(text, 8 + BACKBONE_ID_BYTES + der.len, ret_key->bytes, NULL, EVP_sha256(), NULL);
    CHECK(hashed == 1);
}

// ---- waiting ----

static bool replies_wait(const struct backbone_session *session)
{
    return session->router_waits || session->question != NULL || session->answers >= BACKBONE_ANSWERS_MAX;
}

static bool c2c_under_way(const struct backbone_session *session)
{
    return session->c2c != C2C_NONE && session->c2c != C2C_SETTLED;
}

static bool input_waits(const struct backbone_session *session)
{
    bool is_full = session->in.frames >= BACKBONE_LANE_FRAMES_MAX || session->in.bytes >= BACKBONE_LANE_BYTES_MAX;
    return replies_wait(session) || session->stage == STAGE_CHECKED || (is_full && !BUG(52));
}

static void go_on_reading(struct backbone_session *session)
{
    struct conn *conn = session->conn;
    if (input_waits(session) || conn->waits_flushed)
        return;
    if (conn->waiting || (conn->read_ended && session->in.head == NULL))
        conn_resume(conn);
}

// ---- login ----

static void on_open(struct conn *conn)
{
    struct backbone *backbone = conn->shard->backbone;
    CHECK(backbone != NULL);
    const struct backbone_shared *shared = backbone->shared;
    struct backbone_session *session = backbone_session_create(backbone, conn);
    conn->state.backbone = session;
    uint32_t challenge_bytes = shared->challenge_bytes;
    if (session != NULL)
        session->challenge = pool_take(conn->shard->pool, challenge_bytes + BACKBONE_LOGIN_BLOCKS_MAX * RSA_BLOCK_BYTES);
    if (session == NULL || session->challenge == NULL) {
        conn_close(conn, ERROR_OUT_OF_MEMORY);
        return;
    }
    int filled = RAND_bytes(session->challenge->data, (int)challenge_bytes);
    CHECK(filled == 1);
    session->challenge->end = challenge_bytes;
    uint8_t head[2 * BACKBONE_HEAD_BYTES];
    size_t pem_len = strlen(shared->public_pem);
    backbone_put_u16(head, BACKBONE_HEAD_BYTES + pem_len + challenge_bytes);
    backbone_put_u16(head + BACKBONE_HEAD_BYTES, pem_len);
    conn->deadline_ns = node_now_ns(conn->shard->node) + shared->login_timeout_ns;
    if (conn_write(conn, bytes_of(head, sizeof(head))) && conn_write(conn, bytes_text(shared->public_pem)))
        (void)conn_write(conn, bytes_of(session->challenge->data, challenge_bytes));
}

static void take_response(struct backbone_session *session, struct bytes body)
{
    bool sized = body.len > 0 && body.len % RSA_BLOCK_BYTES == 0 && body.len <= BACKBONE_LOGIN_BLOCKS_MAX * RSA_BLOCK_BYTES;
    if (!sized) {
        session->backbone->shard->metrics.logins_refused++;
        conn_close(session->conn, ERROR_LOGIN_REFUSED);
        return;
    }
    struct block *both = session->challenge;
    CHECK(both->capacity - both->end >= body.len);
    memcpy(both->data + both->end, body.ptr, body.len);
    both->end += (uint32_t)body.len;
    session->stage = STAGE_CHECKED;
    session->login_due = true;
    backbone_pump(session);
}

void backbone_login_answered(struct backbone_session *session, const struct crypto_task *task, struct bytes der)
{
    struct shard *shard = session->backbone->shard;
    if (session->stage != STAGE_CHECKED && !BUG(50))
        return;
    if (!task->is_sound) {
        shard->metrics.logins_refused++;
        conn_close(session->conn, ERROR_LOGIN_REFUSED);
        return;
    }
    CHECK(der.len > 0 && der.len <= sizeof(session->peer.der));
    memcpy(session->id, task->id, sizeof(session->id));
    memcpy(session->peer.der, der.ptr, der.len);
    session->peer.der_len = (uint32_t)der.len;
    pool_give(shard->pool, session->challenge);
    session->challenge = NULL;
    session->stage = STAGE_PROVED;
    if (!backbone_ask(session, ASK_PROBE, (const uint8_t(*)[BACKBONE_ID_BYTES])session->id, 1))
        conn_close(session->conn, ERROR_OUT_OF_MEMORY);
}

static void enter(struct backbone_session *session)
{
    struct conn *conn = session->conn;
    const struct backbone_shared *shared = session->backbone->shared;
    struct key key;
    session->stage = STAGE_ENTERED;
    backbone_session_enter(session);
    session->backbone->shard->metrics.logins++;
    conn->last_input_ns = node_now_ns(conn->shard->node); // it had to wait for us
    conn_room_deadline(conn, conn->last_input_ns + shared->heartbeat_timeout_s * SECOND_NS);
    if (shared->keep_s > 0)
        backbone_kept_open(session);
    backbone_address(session->id, bytes_of(NULL, 0), &key);
    conn_enter(conn, &key);
}

static void on_event(struct conn *conn, enum router_event event, const struct key *key)
{
    char json[96];
    (void)key;
    if (event != ROUTER_AUTHENTICATED)
        return;
    const struct backbone_shared *shared = conn->shard->backbone->shared;
    int len = snprintf(json, sizeof(json), "{\"heartbeat_timeout\": %u, \"heartbeat_interval\": %u}", shared->heartbeat_timeout_s,
                       shared->heartbeat_interval_s);
    send_c2s(conn->state.backbone, BACKBONE_CONFIG, bytes_of(json, (size_t)len));
    if (shared->keep_s > 0 && conn->phase == CONN_OPEN)
        mailbox_fetch(conn);
}

void backbone_check_answered(struct backbone_session *session, bool is_sound)
{
    if (!is_sound && session->stage != STAGE_OVER)
        conn_close(session->conn, ERROR_ACCOUNT_ENDED);
}

// ---- messages in ----

static enum router_verdict take_c2c(struct backbone_session *session, struct bytes plain, const uint8_t id[BACKBONE_ID_BYTES])
{
    struct shard *shard = session->backbone->shard;
    struct key dest;
    bool all_out = session->datagrams == UINT64_MAX;
    uint32_t place = all_out ? 0 : (uint32_t)__builtin_ctzll(~session->datagrams);
    backbone_address(id, bytes_of(NULL, 0), &dest);
    enum router_verdict verdict = router_datagram(shard->router, session->handle.slot, &dest, place, plain, &shard->effects);
    if (verdict == ROUTER_WAIT)
        return verdict;
    CHECK(!all_out); // the router has the same limit
    session->datagrams |= 1ull << place;
    session->sent[place].number = ++session->c2c_count;
    memcpy(session->sent[place].id, id, BACKBONE_ID_BYTES);
    if (session->backbone->shared->keep_s > 0)
        session->c2c = C2C_GIVEN;
    shard_carry_out(shard);
    return verdict;
}

static void take_query(struct backbone_session *session, struct bytes ids)
{
    size_t count = ids.len / BACKBONE_ID_BYTES;
    if (count == 0 || count > BACKBONE_QUERY_MAX || ids.len % BACKBONE_ID_BYTES != 0)
        return;
    if (!backbone_ask(session, ASK_STATUS, (const uint8_t(*)[BACKBONE_ID_BYTES])ids.ptr, (uint8_t)count))
        conn_close(session->conn, ERROR_OUT_OF_MEMORY);
}

static enum router_verdict take_message(struct backbone_session *session, struct bytes plain)
{
    struct backbone_message message;
    backbone_parse(plain, &message);
    session->stops = message.type == BACKBONE_STOP;
    session->knows_ours |= message.type >= BACKBONE_UNDELIVERED && message.type <= BACKBONE_SERVER_STATE;
    switch (message.type) {
    case BACKBONE_C2C:
        return take_c2c(session, plain, message.id);
    case BACKBONE_CLIENT_QUERY:
        take_query(session, message.payload);
        break;
    case BACKBONE_SERVER_QUERY:
        if (!backbone_ask(session, ASK_COUNT, NULL, 0))
            conn_close(session->conn, ERROR_OUT_OF_MEMORY);
        break;
    case BACKBONE_STOP:
        if (session->datagrams == 0 || BUG(58))
            conn_close(session->conn, ERROR_PEER_CLOSED);
        break;
    case BACKBONE_HEARTBEAT: // that it came is all it says
    case BACKBONE_CONFIG:
    case BACKBONE_UNDELIVERED:
    case BACKBONE_CLIENT_STATUS:
    case BACKBONE_SERVER_STATE:
    case BACKBONE_IGNORED:
        break;
    }
    return ROUTER_DONE;
}

// Works off what is decrypted, in order.
void backbone_in_ready(struct backbone_session *session)
{
    struct shard *shard = session->backbone->shard;
    session->pins++;
    while (session->stage == STAGE_ENTERED && !replies_wait(session) && !c2c_under_way(session)) {
        struct backbone_work *work = backbone_lane_ready(&session->in);
        if (work == NULL)
            break;
        if (work->is_broken) {
            conn_close(session->conn, ERROR_FRAME_BROKEN);
            break;
        }
        if (session->c2c != C2C_SETTLED && take_message(session, backbone_lane_plain(work)) == ROUTER_WAIT) {
            session->router_waits = true;
            session->conn->waits_flushed = false; // only the router resumes it now
            conn_wait(session->conn);
            break;
        }
        // STOP: over now, or when the last report has come, so that the client learns what became of its messages.
        if (session->stops || c2c_under_way(session))
            break;
        session->c2c = C2C_NONE;
        shard->metrics.messages_in++;
        backbone_lane_drop(session, &session->in);
    }
    if (session->stage == STAGE_ENTERED)
        go_on_reading(session);
    session->pins--;
    backbone_session_settle(session);
}

static bool on_resume(struct conn *conn)
{
    struct backbone_session *session = conn->state.backbone;
    session->router_waits = false;
    if (session->stage == STAGE_ENTERED)
        backbone_in_ready(session);
    return conn->phase == CONN_OPEN && !conn->waiting;
}

// A whole frame's body.
static void take_frame(struct backbone_session *session, struct bytes body)
{
    struct conn *conn = session->conn;
    conn_count_usage(conn, BACKBONE_HEAD_BYTES + body.len, 0);
    if (session->stage == STAGE_CHALLENGED) {
        take_response(session, body);
        return;
    }
    CHECK(session->stage == STAGE_PROVED || session->stage == STAGE_ENTERED);
    if (body.len == 0)
        return;
    if (body.len % RSA_BLOCK_BYTES != 0)
        conn_close(conn, ERROR_FRAME_BROKEN);
    else if (!backbone_lane_put(session, &session->in, body, bytes_of(NULL, 0), /* is_data= */ false))
        conn_close(conn, ERROR_OUT_OF_MEMORY);
    else
        backbone_pump(session);
}

// Adds input to the incomplete frame. Returns the bytes used.
static size_t fill_partial(struct backbone_session *session, struct bytes input)
{
    struct conn *conn = session->conn;
    size_t have = session->partial != NULL ? session->partial->end : 0;
    size_t total = session->partial != NULL ? backbone_frame_bytes(bytes_of(session->partial->data, have)) : 0;
    size_t missing = total > 0 ? total - have : BACKBONE_HEAD_BYTES - have;
    size_t part = missing < input.len ? missing : input.len;
    if (have == 0) {
        session->frame_started_ns = node_now_ns(conn->shard->node);
        uint64_t deadline_ns = session->frame_started_ns + session->backbone->shared->frame_timeout_ns;
        if (session->stage == STAGE_ENTERED && deadline_ns < conn->deadline_ns)
            conn_room_deadline(conn, deadline_ns);
    }
    if (!conn_append(conn, &session->partial, bytes_of(input.ptr, part)))
        return input.len;
    struct block *partial = session->partial;
    if (partial->end == backbone_frame_bytes(bytes_of(partial->data, partial->end))) {
        session->partial = NULL; // ours while it is read
        struct pool *pool = conn->shard->pool;
        take_frame(session, bytes_of(partial->data + BACKBONE_HEAD_BYTES, partial->end - BACKBONE_HEAD_BYTES));
        pool_give(pool, partial);
    }
    return part;
}

static size_t on_input(struct conn *conn, uint8_t *ptr, size_t len, bool first, bool last, uint8_t opcode)
{
    (void)first;
    (void)last;
    (void)opcode;
    size_t used = 0;
    while (used < len && conn->phase == CONN_OPEN && !conn->waiting) {
        struct backbone_session *session = conn->state.backbone;
        struct bytes rest = bytes_of(ptr + used, len - used);
        if (input_waits(session)) {
            conn_wait(conn);
            break;
        }
        size_t total = session->partial == NULL ? backbone_frame_bytes(rest) : 0;
        if (total > 0 && total <= rest.len) {
            take_frame(session, bytes_of(rest.ptr + BACKBONE_HEAD_BYTES, total - BACKBONE_HEAD_BYTES));
            used += total;
        } else {
            used += fill_partial(session, rest);
        }
        // A peer that does not read what it is answered is not read either.
        if (conn->phase == CONN_OPEN && session->answer_bytes > conn->shard->shared->limits.control_bytes_max / 2)
            conn_wait_flushed(conn);
    }
    return conn->phase == CONN_OPEN ? used : len;
}

static bool on_end(struct conn *conn)
{
    const struct backbone_session *session = conn->state.backbone;
    return session->stage != STAGE_ENTERED || session->in.head == NULL || BUG(59);
}

// ---- messages out ----

// Only this room sends to its addresses, and only whole C2C; anything else is not for its clients.
bool backbone_is_for(const struct backbone_session *session, struct bytes plain)
{
    return plain.len >= BACKBONE_C2C_HEAD_BYTES && plain.len <= BACKBONE_PLAIN_MAX && plain.ptr[0] == BACKBONE_C2C &&
           memcmp(plain.ptr + 1, session->id, BACKBONE_ID_BYTES) == 0;
}

static void on_data(struct conn *conn, const struct key *sender, struct bytes payload)
{
    struct backbone_session *session = conn->state.backbone;
    (void)sender;
    if (mailbox_hold(conn, payload))
        return;
    if (!backbone_is_for(session, payload)) {
        conn->shard->metrics.datagrams_foreign++;
        conn->data_queued += router_queue_bytes(payload.len);
        conn_mark_dirty(conn);
        return;
    }
    if (!backbone_lane_put(session, &session->out, payload, bytes_of(NULL, 0), /* is_data= */ true))
        conn_close(conn, ERROR_OUT_OF_MEMORY);
    else
        backbone_pump(session);
}

void backbone_tell_undelivered(struct backbone_session *session, uint32_t place, enum backbone_why why)
{
    uint8_t payload[1 + BACKBONE_ID_BYTES + 4];
    session->backbone->shard->metrics.datagrams_undelivered += why != BACKBONE_KEPT;
    if (!session->knows_ours)
        return;
    payload[0] = (uint8_t)why;
    memcpy(payload + 1, session->sent[place].id, BACKBONE_ID_BYTES);
    backbone_put_u32(payload + 1 + BACKBONE_ID_BYTES, session->sent[place].number);
    send_c2s(session, BACKBONE_UNDELIVERED, bytes_of(payload, sizeof(payload)));
}

static void on_report(struct conn *conn, uint32_t token, enum router_report what)
{
    struct backbone_session *session = conn->state.backbone;
    CHECK(token < ROUTER_DATAGRAMS_MAX && (session->datagrams >> token & 1) == 1);
    session->datagrams &= ~(1ull << token);
    if (session->stops && session->datagrams == 0)
        conn_resume(conn);
    bool keeps = session->c2c == C2C_GIVEN;
    if (what == ROUTER_ABSENT && keeps) {
        backbone_kept_absent(session);
        return;
    }
    if (what != ROUTER_TAKEN && !BUG(55))
        backbone_tell_undelivered(session, token, what == ROUTER_ABSENT ? BACKBONE_ABSENT : BACKBONE_CONGESTED);
    if (keeps && session->stage == STAGE_ENTERED)
        backbone_settle_c2c(session);
}

void backbone_question_answered(struct backbone_session *session)
{
    struct backbone_question *question = session->question;
    uint8_t statuses[BACKBONE_QUERY_MAX * (BACKBONE_ID_BYTES + 1)];
    session->pins++;
    session->question = NULL;
    if (question->kind == ASK_PROBE && question->held != 0) {
        conn_close(session->conn, ERROR_ALREADY_CONNECTED);
    } else if (question->kind == ASK_PROBE) {
        enter(session);
    } else if (question->kind == ASK_COUNT) {
        send_state(session, "running", question->clients);
    } else {
        for (uint32_t i = 0; i < question->count; i++) {
            uint8_t *status = statuses + i * (BACKBONE_ID_BYTES + 1);
            memcpy(status, question->ids[i], BACKBONE_ID_BYTES);
            status[BACKBONE_ID_BYTES] = question->held >> i & 1;
        }
        send_c2s(session, BACKBONE_CLIENT_STATUS, bytes_of(statuses, (size_t)question->count * (BACKBONE_ID_BYTES + 1)));
    }
    free(question);
    if (session->stage == STAGE_ENTERED)
        backbone_in_ready(session);
    session->pins--;
    backbone_session_settle(session);
}

static bool is_answer(const struct backbone_work *work)
{
    return !work->is_data && work->kept_number == 0;
}

static void send_frame(struct backbone_session *session, const struct backbone_work *work)
{
    struct conn *conn = session->conn;
    if (session->stage != STAGE_OVER && is_answer(work))
        session->answer_bytes = work->output->end + (conn->out.bytes == 0 ? 0 : session->answer_bytes);
    struct bytes frame = bytes_of(work->output->data, work->output->end);
    if (session->stage == STAGE_OVER) {
        if (session->farewell && !work->is_broken && conn->generation == session->handle.generation && conn->phase == CONN_CLOSING)
            (void)conn_write(conn, frame);
        return;
    }
    if (work->is_broken)
        conn_close(conn, ERROR_INTERNAL);
    else if (conn_send_raw(conn, frame, work->is_data ? router_queue_bytes(work->input->end) : 0) && work->kept_number != 0)
        mailbox_written(conn, work->kept_number, work->input->end);
}

void backbone_out_ready(struct backbone_session *session)
{
    struct conn *conn = session->conn;
    struct backbone_work *work;
    session->pins++;
    while ((work = backbone_lane_ready(&session->out)) != NULL) {
        session->answers -= is_answer(work);
        send_frame(session, work);
        backbone_lane_drop(session, &session->out);
    }
    bool said = session->stage == STAGE_OVER && session->out.head == NULL;
    if (said && conn->generation == session->handle.generation && conn->phase == CONN_CLOSING) {
        conn->farewell_due = false;
        conn_mark_dirty(conn);
    } else if (session->stage == STAGE_ENTERED) {
        backbone_in_ready(session);
    }
    session->pins--;
    backbone_session_settle(session);
}

// ---- time and the end ----

static void wait_until(struct conn *conn, uint64_t deadline_ns)
{
    conn->deadline_ns = deadline_ns;
    mailbox_on_deadline(conn); // which looks more often while something is on its way
}

static void on_deadline(struct conn *conn)
{
    struct backbone_session *session = conn->state.backbone;
    const struct backbone_shared *shared = session->backbone->shared;
    uint64_t now_ns = node_now_ns(conn->shard->node);
    if (session->stage != STAGE_ENTERED) {
        conn_close(conn, ERROR_LOGIN_TIMEOUT);
        return;
    }
    if (conn->waiting) { // silent because we do not read it
        conn->last_input_ns = now_ns;
        session->frame_started_ns = now_ns;
    }
    uint64_t silent_ns = (BUG(53) ? 0 : conn->last_input_ns) + shared->heartbeat_timeout_s * SECOND_NS;
    uint64_t frame_ns = session->partial != NULL ? session->frame_started_ns + shared->frame_timeout_ns : UINT64_MAX;
    if (now_ns >= frame_ns)
        conn_close(conn, ERROR_FRAME_TIMEOUT);
    else if (now_ns >= silent_ns)
        conn_close(conn, ERROR_HEARTBEAT_TIMEOUT);
    else
        wait_until(conn, silent_ns < frame_ns ? silent_ns : frame_ns);
}

static void say_goodbye(struct conn *conn, struct backbone_session *session)
{
    enum error why = conn->closed_why;
    const char *reason = why == ERROR_PEER_CLOSED ? REASON_PEER_STOPPED : error_text(why);
    uint8_t stop[BACKBONE_C2S_HEAD_BYTES];
    if (why == ERROR_STOPPING && session->knows_ours)
        send_state(session, "stopping", session->backbone->entered);
    backbone_c2s_head(stop, BACKBONE_STOP, (uint32_t)os_wall_s());
    session->farewell = backbone_lane_put(session, &session->out, bytes_of(stop, sizeof(stop)), bytes_text(reason), /* is_data= */ false);
    session->answers += session->farewell;
    conn->farewell_due = session->farewell;
}

static void on_close(struct conn *conn)
{
    struct backbone_session *session = conn->state.backbone;
    static const struct queue_memo no_memo;
    if (session != NULL && session->stage == STAGE_ENTERED && session->backbone->shared->keep_s > 0)
        mailbox_leave(conn, &no_memo);
    conn->state.backbone = NULL;
    if (session == NULL)
        return;
    bool known = session->stage == STAGE_PROVED || session->stage == STAGE_ENTERED;
    session->pins++;
    uint8_t stage = session->stage;
    if (!BUG(56) && known && conn->phase == CONN_CLOSING && !conn->write_failed)
        say_goodbye(conn, session);
    CHECK(session->stage == stage);
    backbone_session_over(session);
    backbone_pump(session);
    session->pins--;
    backbone_session_settle(session);
}

const struct room backbone_room = {
    .name = "backbone",
    .raw = true,
    .on_open = on_open,
    .on_input = on_input,
    .on_resume = on_resume,
    .on_event = on_event,
    .on_data = on_data,
    .on_report = on_report,
    .on_deadline = on_deadline,
    .on_end = on_end,
    .mailbox = &backbone_mailbox,
    .on_close = on_close,
};
