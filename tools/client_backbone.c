// relayclient backbone: keygen, send, receive, chat, status (protocols/backbone.md). One thread, one connection, one poll loop.
// One rule: success is said only after the server's answer to our STOP, which it gives after it has taken everything before it.
#include "auth/rsa.h"
#include "net/backbone/frame.h"
#include "shards/base/check.h"
#include "tools/client.h"
#include "tools/uuid.h"
#include "tools/values.h"
#include <argp.h>
#include <errno.h>
#include <fcntl.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define SECOND_NS 1000000000ull
#define ANSWER_NS (30 * SECOND_NS)
#define HEARTBEAT_S_MAX 20u // the original closes after 30 s, whatever it announces
#define FRAME_MAX (BACKBONE_HEAD_BYTES + BACKBONE_BODY_MAX)

enum backbone_mode { MODE_SEND, MODE_RECEIVE, MODE_CHAT, MODE_STATUS, MODE_KEYGEN };

struct line {
    struct client_options transport; // for the connection
    enum backbone_mode mode;
    const char *key_file, *server_key_file, *out_file;
    uint8_t id[UUID_BYTES];
    bool has_id;
    uint32_t count; // receive: messages; 0: no end
    const char *words[1 + BACKBONE_QUERY_MAX];
    size_t word_count;
};

struct client {
    const struct line *line;
    struct transport transport;
    struct rsa_key *own, *server;
    uint8_t ids[BACKBONE_QUERY_MAX][UUID_BYTES]; // the peer, or whom to ask about
    size_t id_count;
    uint64_t deadline_ns, heartbeat_ns, interval_ns;
    bool greeted, stopping, asked, over;
    uint32_t received, sent, undelivered;
    size_t in_len, out_at, out_len;
    uint8_t in[FRAME_MAX], out[FRAME_MAX], plain[BACKBONE_PLAIN_MAX + RSA_CHUNK_BYTES];
    enum client_exit result;
    char error[CLIENT_ERROR_MAX];
};

static bool fail(struct client *client, enum client_exit result, const char *why)
{
    client->result = result;
    client->over = true;
    snprintf(client->error, sizeof client->error, "%s", why);
    return false;
}

// ---- out ----

// One frame at a time waits to be written.
static bool put(struct client *client, size_t plain_len)
{
    size_t cipher_len = rsa_cipher_bytes(plain_len);
    CHECK(client->out_at == client->out_len && cipher_len <= BACKBONE_BODY_MAX);
    backbone_put_u16(client->out, cipher_len);
    if (!rsa_encrypt(client->server, bytes_of(client->plain, plain_len), client->out + BACKBONE_HEAD_BYTES))
        return fail(client, CLIENT_FAILED, "cannot encrypt");
    client->out_at = 0;
    client->out_len = BACKBONE_HEAD_BYTES + cipher_len;
    client->heartbeat_ns = client_now_ns() + client->interval_ns;
    return true;
}

static bool put_c2s(struct client *client, enum backbone_type type, size_t payload_len)
{
    backbone_c2s_head(client->plain, type, (uint32_t)time(NULL));
    return put(client, BACKBONE_C2S_HEAD_BYTES + payload_len);
}

static bool put_stop(struct client *client)
{
    client->stopping = true;
    client->deadline_ns = client_now_ns() + ANSWER_NS;
    return put_c2s(client, BACKBONE_STOP, 0);
}

static bool write_some(struct client *client)
{
    int64_t done = transport_write(&client->transport, client->out + client->out_at, client->out_len - client->out_at);
    if (done == TRANSPORT_LOST)
        return fail(client, CLIENT_FAILED, "the connection was lost");
    if (done > 0)
        client->out_at += (size_t)done;
    return true;
}

// Standard input: a message is what one read gives.
static bool read_input(struct client *client)
{
    client->plain[0] = BACKBONE_C2C;
    memcpy(client->plain + 1, client->ids[0], UUID_BYTES);
    ssize_t got = read(STDIN_FILENO, client->plain + BACKBONE_C2C_HEAD_BYTES, BACKBONE_PAYLOAD_MAX);
    if (got < 0)
        return errno == EINTR || fail(client, CLIENT_FAILED, "cannot read standard input");
    if (got == 0)
        return put_stop(client);
    client->sent++;
    return put(client, BACKBONE_C2C_HEAD_BYTES + (size_t)got);
}

// ---- in ----

static bool take_challenge(struct client *client, struct bytes body)
{
    struct bytes pem, data;
    const char *why = "";
    if (!backbone_challenge_parse(body, &pem, &data))
        return fail(client, CLIENT_FAILED, "the server's challenge makes no sense");
    struct rsa_key *shown = rsa_key_read(pem, false, &why);
    char text[RSA_PEM_MAX], known[RSA_PEM_MAX];
    if (shown == NULL)
        return fail(client, CLIENT_FAILED, "the server's challenge holds no key of 2048 bits");
    if (client->server != NULL) {
        bool same = rsa_public_pem(shown, text) > 0 && rsa_public_pem(client->server, known) > 0 && strcmp(text, known) == 0;
        rsa_key_destroy(client->server);
        client->server = shown;
        if (!same)
            return fail(client, CLIENT_REFUSED, "the server has another key than --server-key says");
    }
    client->server = shown;
    memcpy(client->plain, client->line->id, UUID_BYTES);
    if (!rsa_sign(client->own, data, client->plain + UUID_BYTES))
        return fail(client, CLIENT_FAILED, "cannot sign");
    return put(client, BACKBONE_RESPONSE_BYTES);
}

// CONFIG: the number behind the key, without a whole JSON reader.
static void take_config(struct client *client, struct bytes json)
{
    static const char key[] = "\"heartbeat_interval\":";
    char text[512];
    size_t len = json.len < sizeof text - 1 ? json.len : sizeof text - 1;
    memcpy(text, json.ptr, len);
    text[len] = '\0';
    const char *at = strstr(text, key);
    unsigned long seconds = at != NULL ? strtoul(at + sizeof key - 1, NULL, 10) : HEARTBEAT_S_MAX;
    client->interval_ns = (seconds > 0 && seconds < HEARTBEAT_S_MAX ? seconds : HEARTBEAT_S_MAX) * SECOND_NS;
    client->heartbeat_ns = client_now_ns() + client->interval_ns;
    if (!client->greeted && client->line->transport.verbose)
        fputs("relayclient: logged in\n", stderr);
    client->greeted = true;
}

static bool take_c2c(struct client *client, struct bytes payload)
{
    bool wanted = client->line->mode == MODE_RECEIVE || client->line->mode == MODE_CHAT;
    if (wanted && (fwrite(payload.ptr, 1, payload.len, stdout) != payload.len || fflush(stdout) != 0))
        return fail(client, CLIENT_FAILED, "cannot write to standard output");
    client->received += wanted;
    return true;
}

static void take_undelivered(struct client *client, struct bytes payload)
{
    char text[UUID_TEXT_MAX];
    if (payload.len != 1 + UUID_BYTES + 4)
        return;
    static const char *const whys[] = {
        [BACKBONE_ABSENT] = "is not connected",
        [BACKBONE_CONGESTED] = "has too much waiting",
        [BACKBONE_KEPT] = "is not connected",
        [BACKBONE_FULL] = "is not connected, and too much is kept already",
        [BACKBONE_NOT_KEPT] = "is not connected, and the server failed to keep it",
    };
    uint8_t why = payload.ptr[0];
    bool kept = why == BACKBONE_KEPT;
    client->undelivered += !kept;
    uuid_text(payload.ptr + 1, text);
    fprintf(stderr, "relayclient: message %u %s: %s %s\n", backbone_get_u32(payload.ptr + 1 + UUID_BYTES),
            kept ? "is kept by the server" : "was not delivered", text,
            why >= BACKBONE_ABSENT && why <= BACKBONE_NOT_KEPT ? whys[why] : "cannot be reached");
}

static void take_statuses(struct bytes payload)
{
    char text[UUID_TEXT_MAX];
    for (size_t at = 0; at + UUID_BYTES < payload.len; at += UUID_BYTES + 1) {
        uuid_text(payload.ptr + at, text);
        printf("%s %s\n", text, payload.ptr[at + UUID_BYTES] == 1 ? "connected" : "absent");
    }
}

static bool take_stop(struct client *client, struct bytes reason)
{
    client->over = true;
    if (client->stopping)
        client->result = client->undelivered > 0 ? CLIENT_PEER_GONE : CLIENT_OK;
    else
        client->result = CLIENT_FAILED;
    snprintf(client->error, sizeof client->error, "the server stops: %.*s", (int)(reason.len < 200 ? reason.len : 200),
             (const char *)reason.ptr);
    if (client->stopping && client->undelivered > 0)
        snprintf(client->error, sizeof client->error, "%u of %u messages were not delivered", client->undelivered, client->sent);
    return false;
}

static bool take_message(struct client *client, struct bytes plain)
{
    struct backbone_message message;
    backbone_parse(plain, &message);
    if (!client->greeted && message.type != BACKBONE_CONFIG && message.type != BACKBONE_STOP)
        return fail(client, CLIENT_FAILED, "the server answers the login with something else than CONFIG");
    switch (message.type) {
    case BACKBONE_CONFIG:
        take_config(client, message.payload);
        break;
    case BACKBONE_C2C:
        return take_c2c(client, message.payload);
    case BACKBONE_UNDELIVERED:
        take_undelivered(client, message.payload);
        break;
    case BACKBONE_CLIENT_STATUS:
        take_statuses(message.payload);
        break;
    case BACKBONE_SERVER_STATE:
        if (client->line->mode == MODE_STATUS)
            printf("%.*s\n", (int)message.payload.len, (const char *)message.payload.ptr);
        break;
    case BACKBONE_STOP:
        return take_stop(client, message.payload);
    default:
        break;
    }
    return true;
}

static bool take_frame(struct client *client, struct bytes body)
{
    static uint8_t plain[BACKBONE_PLAIN_MAX + RSA_CHUNK_BYTES];
    size_t len = 0;
    if (body.len == 0)
        return true;
    if (client->interval_ns == 0) {
        client->interval_ns = HEARTBEAT_S_MAX * SECOND_NS;
        return take_challenge(client, body);
    }
    if (!rsa_decrypt(client->own, body, plain, &len))
        return fail(client, CLIENT_FAILED, "a frame of the server cannot be decrypted");
    return take_message(client, bytes_of(plain, len));
}

static bool read_some(struct client *client)
{
    int64_t got = transport_read(&client->transport, client->in + client->in_len, sizeof client->in - client->in_len);
    if (got == TRANSPORT_LOST)
        return fail(client, client->greeted ? CLIENT_FAILED : CLIENT_REFUSED,
                    client->greeted ? "the connection was lost" : "the server refuses this login");
    if (got > 0)
        client->in_len += (size_t)got;
    size_t at = 0;
    bool sound = true;
    for (;;) {
        size_t total = backbone_frame_bytes(bytes_of(client->in + at, client->in_len - at));
        if (!sound || total == 0 || total > client->in_len - at)
            break;
        sound = take_frame(client, bytes_of(client->in + at + BACKBONE_HEAD_BYTES, total - BACKBONE_HEAD_BYTES));
        at += total;
    }
    client->in_len -= at;
    memmove(client->in, client->in + at, client->in_len);
    return sound;
}

// ---- the loop ----

// What is due when nothing waits to be written.
static bool next_step(struct client *client, bool has_input)
{
    const struct line *line = client->line;
    if (!client->greeted || client->stopping)
        return true;
    if (!client->asked) { // whatever the mode: only who has asked is told of what could not be delivered
        client->asked = true;
        return put_c2s(client, BACKBONE_SERVER_QUERY, 0);
    }
    if (line->mode == MODE_STATUS && client->id_count > 0) {
        memcpy(client->plain + BACKBONE_C2S_HEAD_BYTES, client->ids, client->id_count * UUID_BYTES);
        size_t len = client->id_count * UUID_BYTES;
        client->id_count = 0;
        return put_c2s(client, BACKBONE_CLIENT_QUERY, len);
    }
    if (line->mode == MODE_STATUS || (line->mode == MODE_RECEIVE && line->count > 0 && client->received >= line->count))
        return put_stop(client);
    if (has_input)
        return read_input(client);
    if (client_now_ns() >= client->heartbeat_ns)
        return put_c2s(client, BACKBONE_HEARTBEAT, 0);
    return true;
}

static bool reads_input(const struct client *client)
{
    bool wanted = client->line->mode == MODE_SEND || client->line->mode == MODE_CHAT;
    return wanted && client->greeted && !client->stopping;
}

static void talk(struct client *client)
{
    client->deadline_ns = client_now_ns() + ANSWER_NS;
    while (!client->over) {
        bool writes = client->out_at < client->out_len;
        struct pollfd fds[2] = {{.fd = client->transport.fd, .events = (short)(POLLIN | (writes ? POLLOUT : 0))},
                                {.fd = !writes && reads_input(client) ? STDIN_FILENO : -1, .events = POLLIN}};
        bool idle = client->transport.ssl == NULL || SSL_pending(client->transport.ssl) == 0;
        if (poll(fds, 2, idle ? 500 : 0) < 0 && errno != EINTR) {
            (void)fail(client, CLIENT_FAILED, "poll failed");
            return;
        }
        if ((!client->greeted || client->stopping) && client_now_ns() > client->deadline_ns)
            (void)fail(client, CLIENT_FAILED, "the server does not answer");
        if (!client->over && (fds[0].revents != 0 || !idle))
            (void)read_some(client);
        if (!client->over && client->out_at < client->out_len)
            (void)write_some(client);
        else if (!client->over)
            (void)next_step(client, fds[1].revents != 0);
    }
}

// ---- set-up ----

static struct rsa_key *read_key(const char *path, bool is_private)
{
    char text[16384];
    const char *why = strerror(errno);
    struct rsa_key *rsa_key = NULL;
    FILE *file = fopen(path, "re");
    if (file != NULL) {
        size_t len = fread(text, 1, sizeof text, file);
        fclose(file);
        rsa_key = rsa_key_read(bytes_of(text, len), is_private, &why);
        sodium_memzero(text, sizeof text);
    } else {
        why = strerror(errno);
    }
    if (rsa_key == NULL)
        fprintf(stderr, "relayclient: %s: %s\n", path, why);
    return rsa_key;
}

// HOST[:PORT], [IPV6][:PORT]; tls: in front.
static bool parse_server(const char *text, struct client_url *ret_url)
{
    char url[CLIENT_HOST_MAX + 32];
    bool tls = strncmp(text, "tls:", 4) == 0;
    text += tls ? 4 : 0;
    const char *last = strrchr(text, ':');
    bool has_port = last != NULL && strchr(last, ']') == NULL;
    int len = snprintf(url, sizeof url, "%s://%s%s/", tls ? "wss" : "ws", text, has_port ? "" : ":4000");
    if (len < 0 || (size_t)len >= sizeof url)
        return false;
    return client_url_parse(url, ret_url) == NULL;
}

static int run(struct client *client)
{
    const struct line *line = client->line;
    struct client_url url;
    if (!parse_server(line->words[0], &url)) {
        fputs("relayclient: SERVER is not HOST[:PORT] or tls:HOST[:PORT]\n", stderr);
        return CLIENT_USAGE;
    }
    client->own = read_key(line->key_file, true);
    if (client->own == NULL)
        return CLIENT_FAILED;
    if (line->server_key_file != NULL && (client->server = read_key(line->server_key_file, false)) == NULL)
        return CLIENT_FAILED;
    enum client_exit opened = transport_open(&client->transport, &line->transport, &url, client->error);
    if (opened == CLIENT_OK)
        talk(client);
    else
        client->result = CLIENT_FAILED;
    transport_close(&client->transport);
    if (client->result != CLIENT_OK)
        fprintf(stderr, "relayclient: %s\n", client->error);
    return (int)client->result;
}

static int keygen(const struct line *line)
{
    char path[4096], pem[RSA_PEM_MAX], text[UUID_TEXT_MAX];
    uint8_t id[UUID_BYTES];
    struct rsa_key *rsa_key = rsa_key_create();
    int fd = open(line->out_file, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    size_t len = rsa_key != NULL ? rsa_private_pem(rsa_key, pem) : 0;
    bool kept = fd >= 0 && len > 0 && write(fd, pem, len) == (ssize_t)len;
    if (fd >= 0)
        kept = close(fd) == 0 && kept;
    sodium_memzero(pem, sizeof pem);
    snprintf(path, sizeof path, "%.4000s.pub", line->out_file);
    FILE *file = kept ? fopen(path, "we") : NULL;
    kept = file != NULL && rsa_public_pem(rsa_key, pem) > 0 && fputs(pem, file) >= 0;
    if (file != NULL)
        kept = fclose(file) == 0 && kept;
    rsa_key_destroy(rsa_key);
    if (!kept) {
        fprintf(stderr, "relayclient: %s: %s\n", line->out_file, strerror(errno));
        return CLIENT_FAILED;
    }
    uuid_create(id);
    uuid_text(id, text);
    printf("Wrote %s\nWrote %s\nEnrol it at the server:\nshardrelay backbone adduser --uuid %s --key %s\n", line->out_file, path, text,
           path);
    return fflush(stdout) == 0 ? CLIENT_OK : CLIENT_FAILED;
}

static error_t on_key(int key, char *argument, struct argp_state *state)
{
    struct line *line = state->input;
    uint64_t number;
    switch (key) {
    case 'i':
        line->has_id = uuid_parse(argument, line->id);
        if (!line->has_id)
            argp_error(state, "--id: \"%s\" is not a UUID", argument);
        return 0;
    case 'K':
        line->key_file = argument;
        return 0;
    case 's':
        line->server_key_file = argument;
        return 0;
    case 'o':
        line->out_file = argument;
        return 0;
    case 'n':
        if (!value_number(argument, &number) || number == 0 || number > UINT32_MAX)
            argp_error(state, "--count: \"%s\" is not a number", argument);
        line->count = (uint32_t)number;
        return 0;
    case 'k':
        line->transport.insecure = true;
        return 0;
    case 'c':
        line->transport.ca_file = argument;
        return 0;
    case 'v':
        line->transport.verbose = true;
        return 0;
    case ARGP_KEY_ARG:
        if (line->word_count == sizeof line->words / sizeof *line->words)
            argp_error(state, "too many words");
        line->words[line->word_count++] = argument;
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp_option rows[] = {
    {"id", 'i', "UUID", 0, "own id", 0},
    {"key", 'K', "FILE", 0, "own private key in PEM (default backbone.pem)", 0},
    {"server-key", 's', "FILE", 0, "refuse a server with another public key than this", 0},
    {"out", 'o', "FILE", 0, "keygen: for the private key (default backbone.pem); .pub for the public one", 0},
    {"count", 'n', "N", 0, "receive: end after so many messages", 0},
    {"no-ssl-verify", 'k', NULL, 0, "tls: do not check the certificate", 0},
    {"cafile", 'c', "FILE", 0, "tls: trust these certificates (PEM)", 0},
    {"verbose", 'v', NULL, 0, "tell on stderr what happens", 0},
    {0},
};

int client_backbone(int argc, char **argv)
{
    static const char *const names[] = {"send", "receive", "chat", "status", "keygen"};
    static const size_t words_min[] = {2, 1, 2, 1, 0}, words_max[] = {2, 1, 2, 1 + BACKBONE_QUERY_MAX, 0};
    static const struct argp argp = {.options = rows,
                                     .parser = on_key,
                                     .args_doc = "send SERVER PEER\nreceive SERVER\nchat SERVER PEER\nstatus SERVER [UUID...]\nkeygen",
                                     .doc = "Talk to a Backbone server. SERVER: HOST[:PORT] (default 4000), tls: in front for TLS."};
    struct line line = {.key_file = "backbone.pem", .out_file = "backbone.pem"};
    size_t mode = 0;
    argp_err_exit_status = CLIENT_USAGE;
    argp_parse(&argp, argc, argv, 0, NULL, &line);
    const char *name = line.word_count > 0 ? line.words[0] : "";
    while (mode < 5 && strcmp(names[mode], name) != 0)
        mode++;
    memmove(line.words, line.words + 1, sizeof line.words - sizeof *line.words);
    bool fits = mode < 5 && line.word_count - 1 >= words_min[mode] && line.word_count - 1 <= words_max[mode];
    if (!fits || (mode != MODE_KEYGEN && !line.has_id)) {
        fputs("relayclient backbone: send|receive|chat|status|keygen, and --id; see relayclient backbone --help\n", stderr);
        return CLIENT_USAGE;
    }
    line.mode = (enum backbone_mode)mode;
    if (mode == MODE_KEYGEN)
        return keygen(&line);
    struct client *client = calloc(1, sizeof *client);
    if (client == NULL)
        return CLIENT_FAILED;
    client->line = &line;
    client->transport.fd = -1;
    int code = CLIENT_OK;
    for (size_t i = 1; i + 1 < line.word_count && code == CLIENT_OK; i++) {
        if (!uuid_parse(line.words[i], client->ids[client->id_count++])) {
            fprintf(stderr, "relayclient: \"%.80s\" is not a UUID\n", line.words[i]);
            code = CLIENT_USAGE;
        }
    }
    if (code == CLIENT_OK)
        code = run(client);
    rsa_key_destroy(client->own);
    rsa_key_destroy(client->server);
    free(client);
    return code;
}
