// One connection to the relay, from Who to the close handshake: wslay frames the WebSocket, one poll loop moves everything.
// What waits is bounded: one piece of input is queued at a time, and one incomplete event is kept.
#include "net/buckets/codec.h"
#include "shards/base/check.h"
#include "tools/client.h"
#include <errno.h>
#include <poll.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include <wslay/wslay.h>

#define SECOND_NS 1000000000ull
#define PING_NS (50 * SECOND_NS)        // as the original's client
#define ANSWER_NS (30 * SECOND_NS)      // for Who and Authenticated
#define CLOSE_NS (5 * SECOND_NS)        // for the close answer when nothing depends on it
#define CLOSE_SENT_NS (600 * SECOND_NS) // when it says that all was taken; a slow peer makes the relay slow to take
#define LONG_LIVED_NS (60 * SECOND_NS)
#define TURN_BYTES_MAX (256u << 10) // read per turn, so that pings and answers get out in between

enum phase {
    PHASE_WHO,       // waiting for the challenge
    PHASE_IAM,       // waiting for Authenticated
    PHASE_ASKED,     // waiting for Connected
    PHASE_CONNECTED, // transfer
    PHASE_CLOSING,   // our close is queued or sent
    PHASE_OVER,      // result stands
};

struct session {
    const struct client_options *options;
    const struct client_keys *keys;
    const struct key *peer;
    struct transport transport;
    wslay_event_context_ptr ws;
    enum phase phase;
    enum client_exit result; // what the session ends with
    char *error_text;        // its sentence
    bool transferred;        // data went either way: no second attempt
    bool input_ended;
    bool terminal; // stdout is one
    uint64_t started_ns, phase_ns, ping_ns;
    uint64_t done_bytes;
    struct progress progress;
    size_t turn_bytes;             // read in this turn
    uint8_t rest[CLIENT_REST_MAX]; // read behind the HTTP answer
    size_t rest_at, rest_len;
    bool in_data; // the frame being received carries data
    size_t event_len;
    uint8_t event[BUCKETS_MESSAGE_MAX]; // an incomplete event
    uint8_t piece[BUCKETS_DATA_HEAD_MAX + CLIENT_PIECE_MAX + 2];
};

static void note(const struct session *session, const char *text)
{
    if (session->options->verbose)
        fprintf(stderr, "relayclient: %s\n", text);
}

static void enter(struct session *session, enum phase phase)
{
    session->phase = phase;
    session->phase_ns = client_now_ns();
}

// The first result stands.
static void end(struct session *session, enum client_exit result, const char *text)
{
    if (session->phase == PHASE_OVER)
        return;
    bool again = result == CLIENT_AGAIN && session->transferred;
    session->result = again ? CLIENT_FAILED : result;
    if (result != CLIENT_OK)
        snprintf(session->error_text, CLIENT_ERROR_MAX, "%s", text);
    enter(session, PHASE_OVER);
}

static void send_message(struct session *session, const uint8_t *ptr, size_t len)
{
    const struct wslay_event_msg message = {.opcode = WSLAY_BINARY_FRAME, .msg = ptr, .msg_length = len};
    if (wslay_event_queue_msg(session->ws, &message) != 0)
        end(session, CLIENT_FAILED, "too little memory");
}

static void close_nicely(struct session *session)
{
    if (session->phase >= PHASE_CLOSING)
        return;
    if (wslay_event_queue_close(session->ws, WSLAY_CODE_NORMAL_CLOSURE, NULL, 0) != 0)
        end(session, CLIENT_FAILED, "too little memory");
    else
        enter(session, PHASE_CLOSING);
}

static void on_who(struct session *session, struct bytes challenge)
{
    uint8_t signature[BUCKETS_SIGNATURE_BYTES];
    uint8_t message[128];
    if (session->phase != PHASE_WHO || challenge.len != BUCKETS_CHALLENGE_BYTES) {
        end(session, CLIENT_FAILED, "the relay sent a challenge out of place");
        return;
    }
    crypto_sign_detached(signature, NULL, challenge.ptr, challenge.len, session->keys->secret);
    send_message(session, message, buckets_iam(message, &session->keys->key, signature));
    enter(session, PHASE_IAM);
}

static void on_authenticated(struct session *session)
{
    uint8_t message[64];
    if (session->phase != PHASE_IAM)
        return;
    note(session, "authenticated; waiting for the peer");
    send_message(session, message, buckets_connect(message, session->peer));
    enter(session, PHASE_ASKED);
}

static uint64_t input_bytes(const struct session *session)
{
    struct stat stat;
    if (session->options->mode != CLIENT_SEND || fstat(STDIN_FILENO, &stat) != 0 || !S_ISREG(stat.st_mode))
        return 0;
    off_t at = lseek(STDIN_FILENO, 0, SEEK_CUR);
    return at >= 0 && at < stat.st_size ? (uint64_t)(stat.st_size - at) : 0;
}

static void on_connected(struct session *session)
{
    if (session->phase != PHASE_ASKED)
        return;
    note(session, "connected");
    enter(session, PHASE_CONNECTED);
    bool wanted = session->options->mode == CLIENT_SEND || (session->options->mode == CLIENT_RECEIVE && !session->terminal);
    progress_init(&session->progress, wanted, input_bytes(session), session->phase_ns);
}

static void on_disconnected(struct session *session)
{
    if (session->phase < PHASE_CONNECTED)
        return;
    note(session, "the peer has left");
    if (session->options->mode == CLIENT_SEND)
        end(session, CLIENT_PEER_GONE, "the peer left before the relay had taken everything");
    else
        close_nicely(session);
}

// A peer must not steer our terminal: of the control characters only line ends and tabs pass.
static void tame(uint8_t *ptr, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        if ((ptr[i] < ' ' && ptr[i] != '\n' && ptr[i] != '\t' && ptr[i] != '\r') || ptr[i] == 0x7f)
            ptr[i] = '?';
    }
}

static bool write_out(const uint8_t *ptr, size_t len)
{
    while (len > 0) {
        ssize_t n = write(STDOUT_FILENO, ptr, len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return false;
        ptr += n;
        len -= (size_t)n;
    }
    return true;
}

static void on_data(struct session *session, struct bytes sender, struct bytes data)
{
    bool ours = sender.len == KEY_BYTES && memcmp(sender.ptr, session->peer->bytes, KEY_BYTES) == 0;
    if (session->options->mode == CLIENT_SEND || !ours || session->phase != PHASE_CONNECTED || data.len == 0)
        return;
    session->transferred = true;
    session->done_bytes += data.len;
    if (session->options->mode == CLIENT_CHAT && session->terminal)
        tame(session->event + (data.ptr - session->event), data.len); // data lies in our own buffer
    if (!write_out(data.ptr, data.len))
        end(session, CLIENT_FAILED, "cannot write to standard output");
}

static void on_error(struct session *session, struct bytes text)
{
    char sentence[256];
    snprintf(sentence, sizeof sentence, "the relay says: %.*s", (int)(text.len < 200 ? text.len : 200), (const char *)text.ptr);
    tame((uint8_t *)sentence, strlen(sentence));
    bool sending = session->phase >= PHASE_CONNECTED && session->options->mode == CLIENT_SEND;
    end(session, sending ? CLIENT_PEER_GONE : CLIENT_FAILED, sentence);
}

static void on_event(struct session *session, struct bytes message)
{
    struct buckets_event event;
    if (buckets_event_parse(message, &event) != ERROR_NONE) {
        end(session, CLIENT_FAILED, "the relay sent an event that makes no sense");
        return;
    }
    bool peer = event.key.len == KEY_BYTES && memcmp(event.key.ptr, session->peer->bytes, KEY_BYTES) == 0;
    switch (event.kind) {
    case '?':
        on_who(session, event.key);
        break;
    case '+':
        on_authenticated(session);
        break;
    case 'c':
        if (peer)
            on_connected(session);
        break;
    case 'x':
        if (peer)
            on_disconnected(session);
        break;
    case 'd':
        on_data(session, event.key, event.data);
        break;
    case 'E':
        on_error(session, event.data);
        break;
    default: // Entered, Exited: other devices of the account
        break;
    }
}

// Takes the bytes of the event stream: events may lie across messages, or several in one.
static void take_stream(struct session *session, const uint8_t *ptr, size_t len)
{
    while (session->phase != PHASE_OVER) {
        int64_t want = buckets_message_length(bytes_of(session->event, session->event_len));
        if (want < 0) {
            end(session, CLIENT_FAILED, "the relay sent no netstring");
            return;
        }
        CHECK(want <= (int64_t)BUCKETS_MESSAGE_MAX);
        if (want > 0 && session->event_len == (size_t)want) {
            on_event(session, bytes_of(session->event, session->event_len));
            session->event_len = 0;
            continue;
        }
        if (len == 0)
            return;
        size_t missing = want > 0 ? (size_t)want - session->event_len : 1; // the head byte by byte
        size_t part = missing < len ? missing : len;
        memcpy(session->event + session->event_len, ptr, part);
        session->event_len += part;
        ptr += part;
        len -= part;
    }
}

static void on_frame_start(wslay_event_context_ptr ws, const struct wslay_event_on_frame_recv_start_arg *frame, void *owner)
{
    (void)ws;
    struct session *session = owner;
    session->in_data = !wslay_is_ctrl_frame(frame->opcode);
}

static void on_frame_chunk(wslay_event_context_ptr ws, const struct wslay_event_on_frame_recv_chunk_arg *chunk, void *owner)
{
    (void)ws;
    struct session *session = owner;
    if (session->in_data)
        take_stream(session, chunk->data, chunk->data_length);
}

static void on_close(struct session *session, uint16_t code, struct bytes reason)
{
    char sentence[256];
    bool answered = session->phase == PHASE_CLOSING && wslay_event_get_close_sent(session->ws) && code == WSLAY_CODE_NORMAL_CLOSURE;
    bool courtesy = session->phase == PHASE_CLOSING && session->options->mode != CLIENT_SEND; // the end came before
    if (answered || courtesy) {
        end(session, CLIENT_OK, "");
        return;
    }
    snprintf(sentence, sizeof sentence, "closed by the relay: %u %.*s", code, (int)reason.len, (const char *)reason.ptr);
    tame((uint8_t *)sentence, strlen(sentence));
    // 1001 stopping, 1012 restart, 1013 overload, 4004 no answer to pings: another attempt may do better; the others would meet the same
    // end
    bool again = code == 1001 || code == 1012 || code == 1013 || code == 4004;
    end(session, again ? CLIENT_AGAIN : CLIENT_FAILED, sentence);
}

static void on_message(wslay_event_context_ptr ws, const struct wslay_event_on_msg_recv_arg *message, void *owner)
{
    (void)ws;
    struct session *session = owner;
    if (message->opcode != WSLAY_CONNECTION_CLOSE)
        return;
    size_t reason_at = message->msg_length < 2 ? message->msg_length : 2;
    on_close(session, message->status_code == 0 ? 1005 : message->status_code,
             bytes_of(message->msg + reason_at, message->msg_length - reason_at));
}

static ssize_t ws_result(wslay_event_context_ptr ws, int64_t result)
{
    if (result > 0)
        return (ssize_t)result;
    wslay_event_set_error(ws, result == TRANSPORT_AGAIN ? WSLAY_ERR_WOULDBLOCK : WSLAY_ERR_CALLBACK_FAILURE);
    return -1;
}

static ssize_t ws_read(wslay_event_context_ptr ws, uint8_t *buf, size_t max, int flags, void *owner)
{
    (void)flags;
    struct session *session = owner;
    size_t rest = session->rest_len - session->rest_at;
    if (rest > 0) {
        size_t part = rest < max ? rest : max;
        memcpy(buf, session->rest + session->rest_at, part);
        session->rest_at += part;
        return (ssize_t)part;
    }
    if (session->turn_bytes >= TURN_BYTES_MAX || session->phase == PHASE_OVER)
        return ws_result(ws, TRANSPORT_AGAIN);
    int64_t result = transport_read(&session->transport, buf, max);
    if (result > 0)
        session->turn_bytes += (size_t)result;
    return ws_result(ws, result);
}

static ssize_t ws_write(wslay_event_context_ptr ws, const uint8_t *ptr, size_t len, int flags, void *owner)
{
    (void)flags;
    struct session *session = owner;
    return ws_result(ws, transport_write(&session->transport, ptr, len));
}

static int ws_genmask(wslay_event_context_ptr ws, uint8_t *buf, size_t len, void *owner)
{
    (void)ws;
    (void)owner;
    randombytes_buf(buf, len);
    return 0;
}

// One read of standard input becomes one message. The head is written so that it ends where the piece begins.
static void take_input(struct session *session)
{
    uint8_t head[BUCKETS_DATA_HEAD_MAX];
    uint8_t *piece = session->piece + BUCKETS_DATA_HEAD_MAX;
    ssize_t n = read(STDIN_FILENO, piece, session->options->piece_bytes);
    if (n < 0 && (errno == EINTR || errno == EAGAIN))
        return;
    if (n < 0) {
        end(session, CLIENT_FAILED, "cannot read standard input");
        return;
    }
    if (n == 0) {
        session->input_ended = true;
        close_nicely(session);
        return;
    }
    size_t head_len = buckets_send_head(head, session->peer, (size_t)n);
    memcpy(piece - head_len, head, head_len);
    memcpy(piece + n, ",,", 2);
    send_message(session, piece - head_len, head_len + (size_t)n + 2);
    session->transferred = true;
    session->done_bytes += (uint64_t)n;
}

static bool wants_input(const struct session *session)
{
    return session->phase == PHASE_CONNECTED && session->options->mode != CLIENT_RECEIVE && !session->input_ended &&
           wslay_event_get_queued_msg_count(session->ws) == 0;
}

// The end of the current phase's patience; UINT64_MAX: none.
static uint64_t phase_deadline_ns(const struct session *session)
{
    switch (session->phase) {
    case PHASE_WHO:
    case PHASE_IAM:
        return session->phase_ns + ANSWER_NS;
    case PHASE_ASKED:
        return session->options->timeout_s > 0 ? session->phase_ns + session->options->timeout_s * SECOND_NS : UINT64_MAX;
    case PHASE_CLOSING:
        return session->phase_ns + (session->options->mode == CLIENT_SEND ? CLOSE_SENT_NS : CLOSE_NS);
    default:
        return UINT64_MAX;
    }
}

static void expire(struct session *session)
{
    if (session->phase == PHASE_ASKED)
        end(session, CLIENT_PEER_GONE, "the peer did not come in time");
    else if (session->phase != PHASE_CLOSING)
        end(session, CLIENT_AGAIN, "the relay did not answer in time");
    else if (session->options->mode == CLIENT_SEND)
        end(session, CLIENT_FAILED, "the relay did not confirm that it took everything");
    else
        end(session, CLIENT_OK, "");
}

static void timers(struct session *session)
{
    uint64_t now_ns = client_now_ns();
    if (now_ns >= phase_deadline_ns(session))
        expire(session);
    if (now_ns >= session->ping_ns && session->phase < PHASE_CLOSING) {
        const struct wslay_event_msg ping = {.opcode = WSLAY_PING};
        if (wslay_event_queue_msg(session->ws, &ping) != 0)
            end(session, CLIENT_FAILED, "too little memory");
        session->ping_ns = now_ns + PING_NS;
    }
    if (session->phase == PHASE_CONNECTED || session->phase == PHASE_CLOSING)
        progress_show(&session->progress, session->done_bytes, now_ns);
}

static int timeout_ms(const struct session *session)
{
    uint64_t now_ns = client_now_ns();
    uint64_t until_ns = phase_deadline_ns(session);
    if (session->turn_bytes >= TURN_BYTES_MAX)
        return 0; // there is more, perhaps inside TLS where poll cannot see it
    if (until_ns > session->ping_ns)
        until_ns = session->ping_ns;
    return until_ns <= now_ns ? 0 : (int)((until_ns - now_ns) / 1000000u) + 1;
}

static void exchange(struct session *session)
{
    session->turn_bytes = 0;
    bool lost = wslay_event_recv(session->ws) != 0 || wslay_event_send(session->ws) != 0;
    if (session->phase == PHASE_OVER || !lost)
        return;
    if (session->phase == PHASE_CLOSING && session->options->mode != CLIENT_SEND)
        end(session, CLIENT_OK, "");
    else
        end(session, CLIENT_AGAIN, "the connection to the relay was lost");
}

static void turn(struct session *session)
{
    bool writes = wslay_event_want_write(session->ws) || session->transport.wants_write;
    struct pollfd pollfds[2] = {
        {.fd = session->transport.fd, .events = (short)(POLLIN | (writes ? POLLOUT : 0))},
        {.fd = wants_input(session) ? STDIN_FILENO : -1, .events = POLLIN},
    };
    if (poll(pollfds, 2, timeout_ms(session)) < 0 && errno != EINTR) {
        end(session, CLIENT_FAILED, "poll failed");
        return;
    }
    timers(session);
    if (session->phase != PHASE_OVER)
        exchange(session);
    if (wants_input(session) && (pollfds[1].revents & (POLLIN | POLLHUP | POLLERR | POLLNVAL)) != 0)
        take_input(session);
}

static bool ws_open(struct session *session)
{
    static const struct wslay_event_callbacks callbacks = {
        .recv_callback = ws_read,
        .send_callback = ws_write,
        .genmask_callback = ws_genmask,
        .on_frame_recv_start_callback = on_frame_start,
        .on_frame_recv_chunk_callback = on_frame_chunk,
        .on_msg_recv_callback = on_message,
    };
    if (wslay_event_context_client_init(&session->ws, &callbacks, session) != 0)
        return false;
    wslay_event_config_set_no_buffering(session->ws, 1); // events are put together here, within bounds
    return true;
}

static void run(struct session *session, const struct client_url *url, uint32_t *ret_retry_after_s)
{
    char *error_text = session->error_text;
    session->result = transport_open(&session->transport, session->options, url, error_text);
    if (session->result == CLIENT_OK)
        session->result =
            client_upgrade(&session->transport, session->options, url, session->rest, &session->rest_len, ret_retry_after_s, error_text);
    if (session->result != CLIENT_OK)
        return;
    if (!ws_open(session)) {
        end(session, CLIENT_FAILED, "too little memory");
        return;
    }
    enter(session, PHASE_WHO);
    exchange(session); // the relay's Who may have come with the answer
    while (session->phase != PHASE_OVER)
        turn(session);
    if (session->result == CLIENT_OK && session->options->mode == CLIENT_RECEIVE && !session->options->raw &&
        !write_out((const uint8_t *)"\n", 1)) {
        session->result = CLIENT_FAILED;
        snprintf(error_text, CLIENT_ERROR_MAX, "cannot write to standard output");
    }
    progress_fini(&session->progress, session->done_bytes, client_now_ns());
}

enum client_exit client_session(const struct client_options *options, const struct client_url *url, const struct client_keys *keys,
                                const struct key *peer, uint32_t *ret_retry_after_s, bool *ret_long_lived, char *error_text)
{
    CHECK(options->piece_bytes >= 1 && options->piece_bytes <= CLIENT_PIECE_MAX);
    struct session *session = calloc(1, sizeof *session);
    if (session == NULL) {
        snprintf(error_text, CLIENT_ERROR_MAX, "too little memory");
        return CLIENT_FAILED;
    }
    session->options = options;
    session->keys = keys;
    session->peer = peer;
    session->error_text = error_text;
    session->terminal = isatty(STDOUT_FILENO) == 1;
    session->started_ns = client_now_ns();
    session->ping_ns = session->started_ns + PING_NS;
    run(session, url, ret_retry_after_s);
    enum client_exit result = session->result;
    *ret_long_lived = session->phase == PHASE_OVER && client_now_ns() - session->started_ns >= LONG_LIVED_NS;
    if (session->ws != NULL) {
        if (!wslay_event_get_close_sent(session->ws)) // a short farewell, if the socket takes it at once
            (void)(wslay_event_queue_close(session->ws, WSLAY_CODE_NORMAL_CLOSURE, NULL, 0) == 0 && wslay_event_send(session->ws) == 0);
        wslay_event_context_free(session->ws);
    }
    transport_close(&session->transport);
    free(session);
    return result;
}
