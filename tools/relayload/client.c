// See client.h.
#include "tools/relayload/client.h"

#include "shards/base/check.h"
#include "tools/relayload/openrelay.h"
#include "tools/relayload/worker.h"
#include <errno.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define MESSAGE_MAX (BUCKETS_MESSAGE_MAX + WS_HEAD_MAX)
#define HEAD_MAX 8192u // of the HTTP answer
#define READS_MAX 4    // of one client in a turn, when the buffer came back full
#define OUT_MAX (64u << 20)

static const struct ws_limits limits = {.message_bytes_max = BUCKETS_MESSAGE_MAX, .expect_mask = false, .deflate = false};

void client_create_key(struct client *client)
{
    CHECK(client->state == CLIENT_CLOSED);
    CHECK(crypto_sign_keypair(client->key.bytes, client->secret) == 0);
}

static void buffer_free(struct client_buffer *buffer)
{
    free(buffer->ptr);
    *buffer = (struct client_buffer){0};
}

static uint8_t *buffer_reserve(struct client_buffer *buffer, size_t len, size_t max)
{
    if (buffer->end + len > buffer->capacity && buffer->start > buffer->capacity / 2) { // sent bytes make room
        memmove(buffer->ptr, buffer->ptr + buffer->start, buffer->end - buffer->start);
        buffer->end -= buffer->start;
        buffer->start = 0;
    }
    if (buffer->end - buffer->start + len > max)
        return NULL;
    if (buffer->end + len > buffer->capacity) {
        size_t capacity = buffer->capacity * 2 > buffer->end + len ? buffer->capacity * 2 : buffer->end + len;
        uint8_t *ptr = realloc(buffer->ptr, capacity);
        if (!ptr)
            return NULL;
        buffer->ptr = ptr;
        buffer->capacity = capacity;
    }
    return buffer->ptr + buffer->end;
}

static bool buffer_append(struct client_buffer *buffer, const void *ptr, size_t len, size_t max)
{
    uint8_t *to = buffer_reserve(buffer, len, max);
    if (!to)
        return false;
    memcpy(to, ptr, len);
    buffer->end += len;
    return true;
}

static void drop(struct client *client)
{
    CHECK(client->state != CLIENT_CLOSED && client->fd >= 0);
    SSL_free(client->ssl);
    client->ssl = NULL;
    close(client->fd); // leaves epoll too
    client->fd = -1;
    client->state = CLIENT_CLOSED;
    client->paused = client->wants_room = false;
    ERR_clear_error(); // or the next SSL_get_error of this thread would read it
    buffer_free(&client->in);
    buffer_free(&client->out);
}

static void lose(struct client *client, uint16_t close_code, const char *reason)
{
    drop(client);
    client->close_code = close_code;
    worker_on_closed(client->worker, client, reason);
}

static void watch(struct client *client, int operation)
{
    struct epoll_event event = {
        .events = (client->paused ? 0 : (uint32_t)EPOLLIN) | (client->wants_room ? (uint32_t)EPOLLOUT : 0),
        .data.u64 = (uint64_t)client->generation << 32 | client->index,
    };
    CHECK(epoll_ctl(client->worker->epoll_fd, operation, client->fd, &event) == 0);
}

static void set_wants_room(struct client *client, bool wants_room)
{
    if (client->wants_room == wants_room)
        return;
    client->wants_room = wants_room;
    watch(client, EPOLL_CTL_MOD);
}

void client_pause(struct client *client)
{
    CHECK(client->state == CLIENT_READY);
    client->paused = true;
    watch(client, EPOLL_CTL_MOD);
}

void client_resume(struct client *client)
{
    CHECK(client->state == CLIENT_READY);
    client->paused = false;
    watch(client, EPOLL_CTL_MOD);
}

static int open_socket(struct client *client)
{
    const struct args *args = client->worker->args;
    int fd = socket(args->address.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), one = 1;
    if (fd < 0)
        return -errno;
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one); // fails on no TCP socket
    if (args->local_count > 0) {
        struct sockaddr_in local = {.sin_family = AF_INET, .sin_addr = args->locals[client->index % args->local_count]};
        (void)setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof one);
        if (bind(fd, (struct sockaddr *)&local, sizeof local) != 0) {
            int error = errno;
            close(fd);
            return -error;
        }
    }
    if (connect(fd, (const struct sockaddr *)&args->address, args->address_bytes) != 0 && errno != EINPROGRESS) {
        int error = errno;
        close(fd);
        return -error;
    }
    return fd;
}

bool client_open(struct client *client)
{
    CHECK(client->state == CLIENT_CLOSED);
    client->fd = open_socket(client);
    if (client->fd < 0) {
        worker_fail(client->worker, "connect: %s", strerror(-client->fd));
        return false;
    }
    client->generation++;
    client->state = CLIENT_CONNECTING;
    client->wants_room = true;
    client->carry_len = 0;
    client->began_ns = worker_clock_ns();
    client->decoder = (struct ws_decoder){0};
    watch(client, EPOLL_CTL_ADD);
    return true;
}

// ---- output

// -EAGAIN, 0 when the connection is gone, or bytes taken.
static ssize_t write_some(struct client *client, const uint8_t *ptr, size_t len)
{
    if (!client->ssl) {
        ssize_t n = send(client->fd, ptr, len, MSG_NOSIGNAL);
        return n >= 0 ? n : errno == EAGAIN ? -EAGAIN : 0;
    }
    int n = SSL_write(client->ssl, ptr, len > INT32_MAX ? INT32_MAX : (int)len);
    if (n > 0)
        return n;
    int error = SSL_get_error(client->ssl, n);
    return error == SSL_ERROR_WANT_WRITE || error == SSL_ERROR_WANT_READ ? -EAGAIN : 0;
}

void client_flush(struct client *client)
{
    struct client_buffer *out = &client->out;
    if (client->state < CLIENT_UPGRADING || client->wants_room)
        return;
    while (out->start < out->end) {
        ssize_t n = write_some(client, out->ptr + out->start, out->end - out->start);
        if (n <= 0) { // when the connection is gone, reading tells
            set_wants_room(client, n == -EAGAIN);
            if (n == 0)
                out->start = out->end;
            break;
        }
        out->start += (size_t)n;
    }
    if (out->start == out->end)
        buffer_free(out);
}

size_t client_unsent_bytes(const struct client *client)
{
    return client->out.end - client->out.start;
}

// Fresh masks cost nothing here and are what clients must use (RFC 6455 5.3); they need not be secret in a load test.
static void draw_mask(struct client *client, uint8_t ret_mask[4])
{
    uint64_t mask = sizes_random(&client->worker->seed);
    memcpy(ret_mask, &mask, 4);
}

static bool append_frame(struct client *client, enum ws_opcode opcode, const uint8_t *payload, size_t len)
{
    uint8_t mask[4], *to = buffer_reserve(&client->out, WS_HEAD_MAX + len, OUT_MAX);
    if (!to)
        return false;
    draw_mask(client, mask);
    size_t head = ws_head(to, opcode, false, len, mask);
    if (len > 0)
        memcpy(to + head, payload, len);
    ws_mask(to + head, len, mask, 0);
    client->out.end += head + len;
    return true;
}

bool client_say(struct client *client, struct bytes text)
{
    return append_frame(client, WS_TEXT, text.ptr, text.len);
}

bool client_connect(struct client *client, const struct key *peer)
{
    uint8_t message[64];
    CHECK(client->state == CLIENT_READY);
    if (client->worker->args->openrelay) {
        client->asked = *peer;
        return client_say(client, openrelay_ping());
    }
    return append_frame(client, WS_BINARY, message, buckets_connect(message, peer));
}

bool client_disconnect(struct client *client, const struct key *peer)
{
    uint8_t message[64];
    CHECK(client->state == CLIENT_READY);
    return append_frame(client, WS_BINARY, message, buckets_disconnect(message, peer));
}

// The message lies unmasked behind its WebSocket head until client_send_end; the mask stands in that head.
uint8_t *client_send_begin(struct client *client, const struct key *peer, size_t payload_len)
{
    uint8_t command[BUCKETS_DATA_HEAD_MAX], mask[4];
    CHECK(client->state == CLIENT_READY);
    if (client->worker->args->openrelay)
        return openrelay_send_begin(peer, payload_len);
    size_t command_len = buckets_send_head(command, peer, payload_len), len = command_len + payload_len + 2;
    uint8_t *to = buffer_reserve(&client->out, WS_HEAD_MAX + len, OUT_MAX);
    if (!to)
        return NULL;
    draw_mask(client, mask);
    size_t head = ws_head(to, WS_BINARY, false, len, mask);
    memcpy(to + head, command, command_len);
    memcpy(to + head + command_len + payload_len, ",,", 2);
    client->send_at = client->out.end + head;
    client->out.end += head + len;
    return to + head + command_len;
}

void client_send_end(struct client *client)
{
    if (client->worker->args->openrelay) {
        if (!client_say(client, openrelay_send_end(client)))
            lose(client, 1006, "out of memory");
        return;
    }
    uint8_t *message = client->out.ptr + client->send_at;
    CHECK(client->send_at >= 6 && client->send_at < client->out.end);
    ws_mask(message, client->out.end - client->send_at, message - 4, 0);
    client->send_at = 0;
}

// ---- login

static void send_upgrade(struct client *client)
{
    const struct worker *worker = client->worker;
    uint8_t nonce[16];
    char key[32], text[HEAD_MAX];
    for (unsigned i = 0; i < sizeof nonce; i++)
        nonce[i] = (uint8_t)sizes_random(&client->worker->seed);
    sodium_bin2base64(key, sizeof key, nonce, sizeof nonce, sodium_base64_VARIANT_ORIGINAL);
    int len = snprintf(text, sizeof text, "%sSec-WebSocket-Key: %s\r\n\r\n", worker->headers[client->user], key);
    CHECK(len > 0 && (size_t)len < sizeof text);
    client->state = CLIENT_UPGRADING;
    set_wants_room(client, false);
    if (!buffer_append(&client->out, text, (size_t)len, OUT_MAX))
        lose(client, 1006, "out of memory");
    else
        client_flush(client);
}

static void start_tls(struct client *client)
{
    const struct worker *worker = client->worker;
    client->state = CLIENT_TLS;
    client->ssl = SSL_new(worker->tls);
    if (!client->ssl || SSL_set_fd(client->ssl, client->fd) != 1 || SSL_set_tlsext_host_name(client->ssl, worker->args->url.host) != 1 ||
        SSL_set1_host(client->ssl, worker->args->url.host) != 1)
        lose(client, 1006, "TLS cannot start");
}

static void go_on_tls(struct client *client)
{
    int result = SSL_connect(client->ssl);
    if (result == 1) {
        if (!client->worker->cipher[0])
            snprintf(client->worker->cipher, sizeof client->worker->cipher, "%s %s", SSL_get_version(client->ssl),
                     SSL_get_cipher_name(client->ssl));
        send_upgrade(client);
        return;
    }
    int error = SSL_get_error(client->ssl, result);
    if (error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE)
        set_wants_room(client, error == SSL_ERROR_WANT_WRITE);
    else
        lose(client, 1015, "TLS handshake failed (an untrusted certificate? -k skips the check)");
}

static void finish_connect(struct client *client)
{
    int error = 0;
    socklen_t len = sizeof error;
    CHECK(getsockopt(client->fd, SOL_SOCKET, SO_ERROR, &error, &len) == 0);
    if (error != 0) {
        lose(client, 1006, strerror(error));
        return;
    }
    if (!client->worker->tls) {
        send_upgrade(client);
        return;
    }
    start_tls(client);
    if (client->state == CLIENT_TLS)
        go_on_tls(client);
}

static void answer_challenge(struct client *client, struct bytes challenge)
{
    uint8_t signature[BUCKETS_SIGNATURE_BYTES], message[128];
    if (challenge.len != BUCKETS_CHALLENGE_BYTES) {
        lose(client, 1006, "the challenge is not 32 bytes");
        return;
    }
    uint64_t began_ns = worker_clock_ns();
    crypto_sign_detached(signature, NULL, challenge.ptr, challenge.len, client->secret);
    COUNT(&client->worker->counters, sign_ns, worker_clock_ns() - began_ns);
    client->state = CLIENT_AWAITING_WELCOME;
    if (!append_frame(client, WS_BINARY, message, buckets_iam(message, &client->key, signature)))
        lose(client, 1006, "out of memory");
    else
        client_flush(client);
}

// ---- input

static void on_event(struct client *client, const struct buckets_event *event)
{
    struct worker *worker = client->worker;
    if (client->state == CLIENT_AWAITING_WHO && event->kind == '?') {
        answer_challenge(client, event->key);
    } else if (client->state == CLIENT_AWAITING_WELCOME && event->kind == '+') {
        client->state = CLIENT_READY;
        worker_on_ready(worker, client);
    } else if (client->state == CLIENT_READY && event->kind != '?' && event->kind != '+') {
        worker->scenario->on_event(worker, client, event);
    } else {
        worker_violation(worker, "event '%c' out of place: %.*s", event->kind, (int)event->data.len, (const char *)event->data.ptr);
        lose(client, 1002, "event out of place");
    }
}

static void on_text(struct client *client, struct bytes text)
{
    struct buckets_event event;
    if (!openrelay_event(client, text, &event)) {
        worker_violation(client->worker, "unexpected text: %.*s", (int)(text.len < 200 ? text.len : 200), (const char *)text.ptr);
        lose(client, 1002, "unexpected text");
    } else if (event.kind != 0) {
        on_event(client, &event);
    }
}

static void on_message(struct client *client, struct bytes message)
{
    if (client->worker->args->openrelay) {
        on_text(client, message);
        return;
    }
    uint32_t generation = client->generation;
    while (message.len > 0 && client->state != CLIENT_CLOSED && client->generation == generation) {
        int64_t len = buckets_message_length(message);
        struct buckets_event event;
        if (len <= 0 || (size_t)len > message.len || buckets_event_parse(bytes_of(message.ptr, (size_t)len), &event) != ERROR_NONE) {
            worker_violation(client->worker, "a message is no event (%zu bytes)", message.len);
            lose(client, 1002, "malformed event");
            return;
        }
        on_event(client, &event);
        message = bytes_of(message.ptr + len, message.len - (size_t)len);
    }
}

static void on_data(struct client *client, const struct ws_item *item)
{
    if (item->first && item->last) {
        on_message(client, bytes_of(item->ptr, item->len));
        return;
    }
    uint32_t generation = client->generation;
    if (!buffer_append(&client->in, item->ptr, item->len, MESSAGE_MAX)) {
        lose(client, 1009, "a message is too long, or memory is short");
    } else if (item->last) {
        struct client_buffer whole = client->in; // a scenario may close the client meanwhile
        client->in = (struct client_buffer){0};
        on_message(client, bytes_of(whole.ptr, whole.end));
        buffer_free(&whole);
        CHECK(client->generation != generation || client->in.ptr == NULL);
    }
}

static void on_close_frame(struct client *client, const struct ws_item *item)
{
    char text[160];
    snprintf(text, sizeof text, "closed by the relay: %u %.*s", item->close_code, (int)item->len, (const char *)item->ptr);
    append_frame(client, WS_CLOSE, NULL, 0);
    client_flush(client);
    lose(client, item->close_code, text);
}

static void on_item(struct client *client, const struct ws_item *item)
{
    switch (item->kind) {
    case WS_ITEM_DATA:
        on_data(client, item);
        break;
    case WS_ITEM_PING:
        COUNT(&client->worker->counters, pings, 1);
        append_frame(client, WS_PONG, item->ptr, item->len);
        client_flush(client);
        break;
    case WS_ITEM_PONG:
        break;
    case WS_ITEM_CLOSE:
        on_close_frame(client, item);
        break;
    case WS_ITEM_ERROR:
        worker_violation(client->worker, "WebSocket: %s", error_text(item->error));
        lose(client, 1002, error_text(item->error));
        break;
    case WS_ITEM_NONE:
        UNREACHABLE();
    }
}

static void take_frames(struct client *client, uint8_t *buf, size_t len)
{
    uint32_t generation = client->generation;
    size_t at = 0;
    for (;;) {
        struct ws_item item;
        at += ws_next(&client->decoder, &limits, buf + at, len - at, &item);
        if (item.kind == WS_ITEM_NONE)
            break;
        on_item(client, &item);
        if (client->state == CLIENT_CLOSED || client->generation != generation)
            return;
    }
    CHECK(len - at <= sizeof client->carry);
    client->carry_len = (uint8_t)(len - at);
    memcpy(client->carry, buf + at, len - at);
    if (client->state == CLIENT_READY && client->worker->scenario->on_batch)
        client->worker->scenario->on_batch(client->worker, client);
}

static uint32_t retry_after_ms(const char *head)
{
    const char *field = strcasestr(head, "\r\nRetry-After:");
    unsigned long seconds = field ? strtoul(field + 14, NULL, 10) : 1;
    return (uint32_t)(seconds > 10 ? 10 : seconds) * 1000 + 100;
}

// The HTTP answer: 101 goes on with frames, 429 and 503 come back later, all else is a failure.
static void take_head(struct client *client, uint8_t *buf, size_t len)
{
    if (!buffer_append(&client->in, buf, len, HEAD_MAX) || !buffer_append(&client->in, "", 1, HEAD_MAX + 1)) {
        lose(client, 1006, "the HTTP answer is too long");
        return;
    }
    client->in.end--; // the NUL stays behind the text
    char *head = (char *)client->in.ptr, *end = strstr(head, "\r\n\r\n");
    unsigned status = 0;
    if (!end)
        return;
    if (sscanf(head, "HTTP/1.%*u %u", &status) != 1 || status != 101) {
        char text[64];
        snprintf(text, sizeof text, "HTTP status %u", status);
        if (status == 429 || status == 503) {
            uint32_t after_ms = retry_after_ms(head);
            drop(client);
            worker_on_retry(client->worker, client, after_ms);
        } else {
            lose(client, 1006, text);
        }
        return;
    }
    struct client_buffer whole = client->in;
    client->in = (struct client_buffer){0};
    client->state = CLIENT_AWAITING_WHO;
    if (client->worker->args->openrelay) {
        client->state = CLIENT_AWAITING_WELCOME;
        if (!openrelay_register(client))
            lose(client, 1006, "out of memory");
        client_flush(client);
    }
    size_t head_len = (size_t)(end - head) + 4;
    take_frames(client, whole.ptr + head_len, whole.end - head_len);
    buffer_free(&whole);
}

// Bytes read; 0: nothing now; -1: the end.
static ssize_t read_some(struct client *client, uint8_t *buf, size_t len)
{
    if (!client->ssl) {
        ssize_t n = recv(client->fd, buf, len, 0);
        return n > 0 ? n : n < 0 && errno == EAGAIN ? 0 : -1;
    }
    size_t got = 0;
    while (got < len) {
        int n = SSL_read(client->ssl, buf + got, (int)(len - got));
        if (n <= 0) {
            int error = SSL_get_error(client->ssl, n);
            return got > 0 ? (ssize_t)got : error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE ? 0 : -1;
        }
        got += (size_t)n;
    }
    return (ssize_t)got;
}

static void take_input(struct client *client)
{
    uint32_t generation = client->generation;
    // TLS may keep bytes that epoll does not know of: a full buffer is read again until it is not.
    for (unsigned i = 0; i < READS_MAX || client->ssl; i++) {
        uint8_t *buf = client->worker->buffer;
        size_t carried = client->carry_len;
        memcpy(buf, client->carry, carried);
        ssize_t n = read_some(client, buf + carried, WORKER_BUFFER_BYTES - carried);
        if (n < 0)
            lose(client, 1006, "connection lost");
        if (n <= 0)
            return;
        client->carry_len = 0;
        client->worker->now_ns = worker_clock_ns();
        if (client->state == CLIENT_UPGRADING)
            take_head(client, buf + carried, (size_t)n);
        else
            take_frames(client, buf, carried + (size_t)n);
        if (client->state == CLIENT_CLOSED || client->generation != generation || client->paused ||
            carried + (size_t)n < WORKER_BUFFER_BYTES)
            return;
    }
}

static void on_room(struct client *client)
{
    set_wants_room(client, false);
    client_flush(client);
    if (client->state == CLIENT_READY && client_unsent_bytes(client) == 0 && client->worker->scenario->on_room)
        client->worker->scenario->on_room(client->worker, client);
}

void client_on_events(struct client *client, uint32_t events)
{
    uint32_t generation = client->generation;
    if (client->state == CLIENT_CONNECTING) {
        finish_connect(client);
        return;
    }
    if (client->state == CLIENT_TLS) {
        go_on_tls(client);
        return;
    }
    if (events & EPOLLOUT)
        on_room(client);
    if (client->state != CLIENT_CLOSED && client->generation == generation && !client->paused)
        take_input(client);
    else if (client->state != CLIENT_CLOSED && client->generation == generation && (events & (EPOLLHUP | EPOLLERR)))
        lose(client, 1006, "connection lost");
}

void client_close(struct client *client, bool polite)
{
    static const uint8_t normal[2] = {1000 >> 8, 1000 & 255};
    if (client->state == CLIENT_CLOSED)
        return;
    if (polite && client->state >= CLIENT_AWAITING_WHO) {
        append_frame(client, WS_CLOSE, normal, sizeof normal);
        client_flush(client);
    }
    drop(client);
}
