// The control socket's clients: see control.h.
#include "net/control.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "net/control_text.h"
#include "shards/base/check.h"
#include "shards/log.h"
#include "shards/os.h"

#define CLIENTS_MAX 4 // more are hung up on
#define LINE_MAX_BYTES 32
#define PATIENCE_NS 10000000000ull // for a line, for taking a piece, for a shard's answer

struct client {
    struct source source; // fd < 0: free
    struct timer timer;
    struct control *control;
    char line[LINE_MAX_BYTES];
    size_t line_len;
    bool asked, awaits, finished; // the line is complete; a node has not answered yet; `out` is the last piece
    enum report_kind kind;
    uint32_t ticket; // of the last question
    uint16_t node;   // asked now, or next
    uint32_t slot;   // of its next question
    char *out;
    size_t out_len, out_at;
    struct control_sums sums;
};

struct control {
    struct source listener;
    struct node *node;
    uint16_t shard_count, accounts_node;
    uint32_t tickets;
    char path[CONFIG_ADDRESS_MAX];
    struct client clients[CLIENTS_MAX];
};

static void hang_up(struct client *client)
{
    struct node *node = client->control->node;
    timer_unset(node_timers(node), &client->timer);
    node_remove(node, &client->source);
    close(client->source.fd);
    free(client->out);
    *client = (struct client){.control = client->control, .source.fd = -1};
}

static void be_patient(struct client *client)
{
    struct node *node = client->control->node;
    timer_set(node_timers(node), &client->timer, node_now_ns(node) + PATIENCE_NS);
}

static void on_time(struct timer *timer, uint64_t now_ns)
{
    (void)now_ns;
    hang_up((struct client *)(void *)((char *)timer - offsetof(struct client, timer)));
}

static void ask(struct client *client, uint32_t slot)
{
    struct control *control = client->control;
    CHECK(!client->awaits && client->out == NULL);
    client->ticket = ++control->tickets;
    client->awaits = true;
    const struct report_ask question = {.ticket = client->ticket, .kind = client->kind, .slot = slot};
    post_write(node_post(control->node), node_index(control->node), client->node, RECORD_REPORT_ASK, bytes_of(&question, sizeof(question)),
               bytes_of(NULL, 0));
    be_patient(client);
}

// The next question, or the last piece of the answer.
static void go_on(struct client *client)
{
    const struct control *control = client->control;
    uint16_t last = client->kind == REPORT_METRICS ? control->accounts_node : (uint16_t)(control->shard_count - 1);
    if (client->node <= last) {
        ask(client, client->slot);
        return;
    }
    client->finished = true;
    client->out = client->kind == REPORT_METRICS ? control_metrics(&client->sums, &client->out_len) : strdup(CONTROL_SESSIONS_END);
    if (client->kind == REPORT_SESSIONS && client->out != NULL)
        client->out_len = strlen(client->out);
}

// true: all is written. false: the client must take some of it first, or is gone.
static bool write_out(struct client *client)
{
    while (client->out_at < client->out_len) {
        ssize_t written = write(client->source.fd, client->out + client->out_at, client->out_len - client->out_at);
        if (written < 0 && errno == EAGAIN) {
            client->source.ready &= ~(uint32_t)EPOLLOUT;
            return false;
        }
        if (written <= 0) {
            hang_up(client);
            return false;
        }
        client->out_at += (size_t)written;
        be_patient(client);
    }
    free(client->out);
    client->out = NULL;
    client->out_len = client->out_at = 0;
    return true;
}

static void step(struct client *client)
{
    for (;;) { // ends: each round asks a node or finishes
        if (client->out != NULL && !write_out(client))
            return;
        if (!client->asked || client->awaits)
            return;
        if (client->finished) { // without its last line when memory is short
            hang_up(client);
            return;
        }
        go_on(client);
    }
}

void control_on_report(struct control *control, const struct post_record *record)
{
    struct report_head head;
    CHECK(record->body.len >= sizeof(head));
    memcpy(&head, record->body.ptr, sizeof(head));
    struct client *client = NULL;
    for (size_t i = 0; control != NULL && i < CLIENTS_MAX; i++)
        if (control->clients[i].awaits && control->clients[i].ticket == head.ticket)
            client = &control->clients[i];
    if (client == NULL)
        return; // it has hung up meanwhile
    struct bytes body = bytes_of(record->body.ptr + sizeof(head), record->body.len - sizeof(head));
    CHECK(record->from == client->node);
    client->awaits = false;
    client->slot = head.slot;
    if (client->kind == REPORT_SESSIONS) {
        CHECK(body.len == head.count * sizeof(struct report_session));
        client->out = control_sessions(record->from, (const struct report_session *)(const void *)body.ptr, head.count, &client->out_len);
        if (client->out == NULL) {
            hang_up(client);
            return;
        }
    } else if (record->from == control->accounts_node) {
        CHECK(body.len == sizeof(client->sums.accounts));
        memcpy(&client->sums.accounts, body.ptr, body.len);
    } else {
        CHECK(body.len == sizeof(struct report_shard));
        control_add(&client->sums, (const struct report_shard *)(const void *)body.ptr);
    }
    if (head.slot == 0)
        client->node++;
    step(client);
}

static void take_line(struct client *client)
{
    struct bytes line = bytes_of(client->line, client->line_len - 1);
    if (bytes_equal(line, bytes_text("sessions")))
        client->kind = REPORT_SESSIONS;
    else if (bytes_equal(line, bytes_text("metrics")))
        client->kind = REPORT_METRICS;
    else
        return;
    client->asked = true;
    step(client);
}

static bool on_readable(struct source *source, uint64_t now_ns)
{
    (void)now_ns;
    struct client *client = (struct client *)(void *)((char *)source - offsetof(struct client, source));
    for (;;) { // bounded: a line, then nothing
        char byte;
        ssize_t got = read(source->fd, &byte, 1);
        if (got < 0 && errno == EAGAIN) {
            source->ready &= ~(uint32_t)EPOLLIN;
            break;
        }
        if (got <= 0 || client->asked || client->line_len == LINE_MAX_BYTES) { // gone, or it says more than it should
            hang_up(client);
            return false;
        }
        client->line[client->line_len++] = byte;
        if (byte != '\n')
            continue;
        take_line(client);
        if (!client->asked) { // unknown, or answered and gone
            if (source->fd >= 0)
                hang_up(client);
            return false;
        }
    }
    step(client);
    return false;
}

static bool on_acceptable(struct source *source, uint64_t now_ns)
{
    (void)now_ns;
    struct control *control = (struct control *)(void *)((char *)source - offsetof(struct control, listener));
    int fd = accept4(source->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0) { // nobody left, or no descriptors: then the next connection is another chance
        source->ready &= ~(uint32_t)EPOLLIN;
        return false;
    }
    struct client *client = NULL;
    for (size_t i = 0; i < CLIENTS_MAX && client == NULL; i++)
        client = control->clients[i].source.fd < 0 ? &control->clients[i] : NULL;
    if (client == NULL) {
        LOG(WARN, "CONTROL_REFUSED", "clients=%d", CLIENTS_MAX);
        close(fd);
        return true;
    }
    *client = (struct client){.control = control, .source = {.fd = fd, .on_ready = on_readable}, .timer.on_time = on_time};
    if (node_add(control->node, &client->source) != 0) {
        close(fd);
        client->source.fd = -1;
        return true;
    }
    be_patient(client);
    return true;
}

// A socket that nobody answers on any more is left over from a server that was killed.
static bool remove_stale(const struct sockaddr_un *address)
{
    struct stat status;
    if (lstat(address->sun_path, &status) != 0)
        return true;
    int fd = S_ISSOCK(status.st_mode) ? socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0) : -1;
    bool stale = fd >= 0 && connect(fd, (const struct sockaddr *)address, sizeof(*address)) != 0 && errno == ECONNREFUSED;
    if (fd >= 0)
        close(fd);
    errno = EADDRINUSE;
    return stale && unlink(address->sun_path) == 0;
}

static int listen_at(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
    if (!remove_stale(&address))
        return -1;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    mode_t before = umask(0177); // of the process, whose other threads have not started yet
    bool bound = fd >= 0 && bind(fd, (const struct sockaddr *)&address, sizeof(address)) == 0 && listen(fd, CLIENTS_MAX) == 0;
    int saved = errno;
    umask(before);
    if (!bound && fd >= 0) {
        close(fd);
        fd = -1;
    }
    errno = saved;
    return fd;
}

struct control *control_create(const char *path, struct node *node, uint16_t shard_count, uint16_t accounts_node, char *error_text,
                               size_t error_max)
{
    CHECK(shard_count > 0 && strlen(path) < CONFIG_ADDRESS_MAX);
    struct control *control = calloc(1, sizeof(*control));
    int fd = control == NULL ? -1 : listen_at(path);
    if (fd >= 0) {
        control->node = node;
        control->shard_count = shard_count;
        control->accounts_node = accounts_node;
        snprintf(control->path, sizeof(control->path), "%s", path);
        control->listener = (struct source){.fd = fd, .on_ready = on_acceptable};
        for (size_t i = 0; i < CLIENTS_MAX; i++)
            control->clients[i] = (struct client){.control = control, .source.fd = -1};
        if (node_add(node, &control->listener) == 0)
            return control;
        close(fd);
        unlink(path);
    }
    snprintf(error_text, error_max, "%s", strerror(errno));
    free(control);
    return NULL;
}

void control_destroy(struct control *control)
{
    if (control == NULL)
        return;
    for (size_t i = 0; i < CLIENTS_MAX; i++)
        if (control->clients[i].source.fd >= 0)
            hang_up(&control->clients[i]);
    node_remove(control->node, &control->listener);
    close(control->listener.fd);
    unlink(control->path);
    free(control);
}
