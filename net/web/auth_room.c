// The room behind /v1/auth: registration for people who have no account yet. One rule: one request of a connection is under way at a time,
// so that a peer cannot queue work; input waits meanwhile. Thread: its shard's.
#include "net/web/auth_room.h"

#include "net/shard.h"
#include "net/web/rpc.h"
#include "shards/base/check.h"

#define IDLE_NS 300000000000ull // a page that is left open asks again with a new connection

static void start_idling(struct conn *conn)
{
    conn_room_deadline(conn, node_now_ns(conn->shard->node) + IDLE_NS);
}

static void send_answer(struct conn *conn, enum signup_outcome outcome, uint32_t retry_after_s)
{
    char answer[RPC_ANSWER_MAX];
    size_t len = rpc_answer(conn->state.auth.id, outcome, retry_after_s, answer);
    conn_send(conn, WS_TEXT, bytes_of(answer, len), bytes_of(NULL, 0), bytes_of(NULL, 0), /* is_data= */ false);
}

static void on_open(struct conn *conn)
{
    conn->state.auth = (struct auth_state){0};
    start_idling(conn);
}

static void ask(struct conn *conn, struct signup_request *request)
{
    struct shard *shard = conn->shard;
    if (post_is_full(shard->shared->post, shard->index, shard->shared->accounts_node)) {
        send_answer(conn, SIGNUP_BUSY, 1);
        return;
    }
    request->slot = conn->slot;
    request->generation = conn->generation;
    request->address = conn->address;
    conn->state.auth.asked = true;
    conn_room_deadline(conn, 0);
    conn_wait(conn);
    post_write(shard->shared->post, shard->index, shard->shared->accounts_node, RECORD_SIGNUP, bytes_of(request, sizeof(*request)),
               bytes_of(NULL, 0));
}

static size_t on_input(struct conn *conn, uint8_t *ptr, size_t len, bool first, bool last, uint8_t opcode)
{
    (void)opcode;
    CHECK(last && !conn->state.auth.asked);
    if (!first) // a message that was used up before the wait
        return len;
    struct signup_request request;
    enum signup_outcome outcome = SIGNUP_UNEXPECTED;
    enum rpc_verdict verdict = rpc_parse(bytes_of(ptr, len), conn->state.auth.id, &request, &outcome);
    if (verdict == RPC_REFUSE) {
        conn_close(conn, ERROR_AUTH_REQUEST);
    } else if (verdict == RPC_ANSWER) {
        send_answer(conn, outcome, 0);
        start_idling(conn);
        conn_wait_flushed(conn);
    } else {
        ask(conn, &request);
    }
    explicit_bzero(&request, sizeof(request));
    if (len > 0)
        explicit_bzero(ptr, len);
    return len;
}

static bool on_resume(struct conn *conn)
{
    CHECK(!conn->state.auth.asked);
    return true;
}

void auth_room_answer(struct conn *conn, const struct signup_answer *answer)
{
    if (conn->phase != CONN_OPEN || conn->room != &auth_room || !conn->state.auth.asked)
        return; // it has gone meanwhile
    conn->state.auth.asked = false;
    start_idling(conn);
    send_answer(conn, (enum signup_outcome)answer->outcome, answer->retry_after_s);
    if (conn->phase == CONN_OPEN)
        conn_resume(conn);
}

static void on_event(struct conn *conn, enum router_event event, const struct key *key)
{
    (void)conn, (void)event, (void)key;
    UNREACHABLE(); // nobody here has entered the router
}

static void on_data(struct conn *conn, const struct key *sender, struct bytes payload)
{
    (void)conn, (void)sender, (void)payload;
    UNREACHABLE();
}

static void on_deadline(struct conn *conn)
{
    conn_close(conn, ERROR_AUTH_IDLE);
}

static void on_close(struct conn *conn)
{
    (void)conn;
}

const struct room auth_room = {
    .name = "auth",
    .whole_messages = true,
    .text_taken = true,
    .message_bytes_max = RPC_MESSAGE_MAX,
    .inflated_bytes_max = RPC_MESSAGE_MAX,
    .on_open = on_open,
    .on_input = on_input,
    .on_resume = on_resume,
    .on_event = on_event,
    .on_data = on_data,
    .on_deadline = on_deadline,
    .on_close = on_close,
};
