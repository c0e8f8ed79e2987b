// The fake kernel: every call of shards/os.h, and the other side of its sockets for the simulated devices.
// Its rule: Linux's edges and no kinder. An edge comes with new data, an end, or room after a write that fell short, and only then; buffers
// are small, so that transfers are cut anywhere. Descriptors are never used twice, so that any use after close is seen.
#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>

#include "shards/base/check.h"
#include "shards/os.h"
#include "tests/sim/sim.h"

#define FILES_MAX 16384
#define ACCEPT_QUEUE_MAX 64
#define WALL_START_S 1700000000

enum file_kind { FILE_CLOSED, FILE_EPOLL, FILE_EVENT, FILE_LISTENER, FILE_SOCKET };

// One direction of a connection.
struct pipe {
    uint8_t *data; // ring
    uint32_t capacity, start, count;
    bool ended; // no more will be written
};

struct file {
    enum file_kind kind;
    int epoll; // that it was added to, -1: none
    uint32_t interest;
    void *data;
    bool edge; // to be reported by the next wait
    // event
    uint64_t signals;
    // listener
    int queue[ACCEPT_QUEUE_MAX];
    uint32_t queued;
    // socket; it is the client's handle too
    struct pipe up, down; // to the server, to the client
    int listener;         // that it was connected to
    bool accepted, server_closed, client_closed;
    bool reset_by_client, reset_told, reset_by_server;
    bool lacked_room; // a write fell short: an edge is due when there is room
    size_t vanished;  // written when the client was gone: nobody will acknowledge it
};

static struct file *files[FILES_MAX];
static int file_count;
static uint64_t now_ns;
static struct kernel_limits limits;

// ---- files ----

static struct file *file_of(int fd, enum file_kind kind)
{
    SIM_CHECK(fd >= 0 && fd < file_count, "no such descriptor: %d", fd);
    SIM_CHECK(files[fd]->kind == kind, "descriptor %d used after close, or of another kind", fd);
    return files[fd];
}

static int file_create(enum file_kind kind)
{
    SIM_CHECK(file_count < FILES_MAX, "too many descriptors in one run");
    struct file *file = calloc(1, sizeof(*file));
    CHECK(file != NULL);
    file->kind = kind;
    file->epoll = -1;
    files[file_count] = file;
    return file_count++;
}

static bool pipe_has_room(const struct pipe *pipe)
{
    return pipe->count < pipe->capacity;
}

static uint32_t poll_of(const struct file *file)
{
    switch (file->kind) {
    case FILE_EVENT:
        return file->signals > 0 ? EPOLLIN : 0;
    case FILE_LISTENER:
        return file->queued > 0 ? EPOLLIN : 0;
    case FILE_SOCKET:
        break;
    case FILE_CLOSED:
    case FILE_EPOLL:
        UNREACHABLE();
    }
    if (file->reset_by_client)
        return EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLERR | EPOLLHUP;
    uint32_t ready = 0;
    if (file->up.count > 0 || file->up.ended)
        ready |= EPOLLIN;
    if (file->up.ended)
        ready |= EPOLLRDHUP;
    if (file->up.ended && file->down.ended)
        ready |= EPOLLHUP;
    if (pipe_has_room(&file->down) || file->down.ended)
        ready |= EPOLLOUT;
    return ready;
}

static void edge(struct file *file)
{
    if (file->epoll >= 0)
        file->edge = true;
}

static void pipe_init(struct pipe *pipe)
{
    uint32_t span = limits.buffer_bytes_max - limits.buffer_bytes_min + 1;
    pipe->capacity = limits.buffer_bytes_min + (uint32_t)sim_below(span);
    pipe->data = malloc(pipe->capacity);
    CHECK(pipe->data != NULL);
}

static size_t pipe_write(struct pipe *pipe, const uint8_t *ptr, size_t len)
{
    size_t room = pipe->capacity - pipe->count;
    len = len < room ? len : room;
    size_t at = (pipe->start + pipe->count) % pipe->capacity;
    size_t first = len < pipe->capacity - at ? len : pipe->capacity - at;
    memcpy(pipe->data + at, ptr, first);
    memcpy(pipe->data, ptr + first, len - first);
    pipe->count += (uint32_t)len;
    return len;
}

static size_t pipe_read(struct pipe *pipe, uint8_t *ptr, size_t max)
{
    size_t len = max < pipe->count ? max : pipe->count;
    size_t first = len < pipe->capacity - pipe->start ? len : pipe->capacity - pipe->start;
    memcpy(ptr, pipe->data + pipe->start, first);
    memcpy(ptr + first, pipe->data, len - first);
    pipe->start = (uint32_t)((pipe->start + len) % pipe->capacity);
    pipe->count -= (uint32_t)len;
    return len;
}

static void socket_free_buffers(struct file *file)
{
    free(file->up.data);
    free(file->down.data);
    file->up.data = file->down.data = NULL;
    file->up.count = file->down.count = 0;
}

// ---- the run ----

void kernel_open(const struct kernel_limits *new_limits)
{
    CHECK(file_count == 0);
    limits = *new_limits;
    now_ns = 1000000000;
}

void kernel_close(void)
{
    for (int fd = 0; fd < file_count; fd++) {
        SIM_CHECK(files[fd]->kind == FILE_CLOSED || (files[fd]->kind == FILE_SOCKET && files[fd]->server_closed),
                  "descriptor %d was left open", fd);
        socket_free_buffers(files[fd]);
        free(files[fd]);
    }
    file_count = 0;
}

uint64_t kernel_now_ns(void)
{
    return now_ns;
}

void kernel_advance_ns(uint64_t ns)
{
    now_ns += ns;
}

// ---- os.h ----

// A system call is where another thread may come in between.
static void maybe_yield(void)
{
    if (sim_chance(limits.yields_per_thousand))
        fiber_yield();
}

uint64_t os_now_ns(void)
{
    if (sim_chance(20)) // work takes time, so what is done for a limited time each turn is cut anywhere
        now_ns += sim_below(200000);
    return ++now_ns; // a call takes its time
}

int64_t os_wall_s(void)
{
    return WALL_START_S + (int64_t)(now_ns / 1000000000);
}

int os_epoll_create(void)
{
    return file_create(FILE_EPOLL);
}

int os_epoll_add(int epoll_fd, int fd, uint32_t events, void *data)
{
    (void)file_of(epoll_fd, FILE_EPOLL);
    SIM_CHECK(fd >= 0 && fd < file_count && files[fd]->kind != FILE_CLOSED && files[fd]->kind != FILE_EPOLL, "cannot watch descriptor %d",
              fd);
    struct file *file = files[fd];
    SIM_CHECK((events & EPOLLET) != 0, "level-triggered descriptor");
    SIM_CHECK(file->epoll < 0, "descriptor %d is watched twice", fd);
    file->epoll = epoll_fd;
    file->interest = events | EPOLLERR | EPOLLHUP;
    file->data = data;
    file->edge = (poll_of(file) & file->interest) != 0;
    return 0;
}

bool kernel_has_edge(int epoll_fd)
{
    for (int fd = 0; fd < file_count; fd++)
        if (files[fd]->edge && files[fd]->epoll == epoll_fd && (poll_of(files[fd]) & files[fd]->interest) != 0)
            return true;
    return false;
}

int os_epoll_wait(int epoll_fd, struct epoll_event *ret_events, int max, int64_t timeout_ns)
{
    CHECK(max > 0);
    (void)file_of(epoll_fd, FILE_EPOLL);
    if (timeout_ns != 0)
        fiber_sleep(epoll_fd, timeout_ns);
    else
        fiber_yield();
    int count = 0;
    int offset = file_count > 0 ? (int)sim_below((uint64_t)file_count) : 0;
    if (sim_chance(100)) // the kernel has more than it tells at once
        max = 1 + (int)sim_below(3);
    for (int i = 0; i < file_count && count < max; i++) {
        struct file *file = files[(i + offset) % file_count];
        if (!file->edge || file->epoll != epoll_fd)
            continue;
        file->edge = false;
        uint32_t ready = poll_of(file) & file->interest;
        if (ready != 0)
            ret_events[count++] = (struct epoll_event){.events = ready, .data.ptr = file->data};
    }
    return count;
}

int os_eventfd_create(void)
{
    return file_create(FILE_EVENT);
}

void os_eventfd_signal(int fd)
{
    static unsigned calls;
    maybe_yield();
    struct file *file = file_of(fd, FILE_EVENT);
    if (limits.loses_wakes && ++calls % 2 == 0)
        return;
    file->signals++;
    edge(file);
}

int os_accept(int fd, struct sockaddr_storage *ret_peer, socklen_t *ret_peer_bytes)
{
    maybe_yield();
    struct file *listener = file_of(fd, FILE_LISTENER);
    if (listener->queued == 0)
        return -EAGAIN;
    if (sim_chance(limits.accept_fails_per_thousand))
        return -ECONNABORTED; // one that is gone already; ours stays in the queue
    if (sim_chance(limits.accept_fails_per_thousand))
        return -EMFILE;
    int accepted = listener->queue[0];
    listener->queued--;
    memmove(listener->queue, listener->queue + 1, listener->queued * sizeof(listener->queue[0]));
    files[accepted]->accepted = true;
    struct sockaddr_in *peer = (struct sockaddr_in *)(void *)ret_peer;
    *peer = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(kernel_address_of(accepted))};
    *ret_peer_bytes = sizeof(*peer);
    return accepted;
}

ssize_t os_readv(int fd, const struct iovec *iov, int count)
{
    maybe_yield();
    struct file *file = file_of(fd, FILE_SOCKET);
    SIM_CHECK(!file->server_closed, "descriptor %d is read after close", fd);
    size_t total = 0;
    for (int i = 0; i < count; i++)
        total += pipe_read(&file->up, iov[i].iov_base, iov[i].iov_len);
    if (total > 0)
        return (ssize_t)total;
    if (file->reset_by_client && !file->reset_told) {
        file->reset_told = true;
        return -ECONNRESET;
    }
    return file->up.ended || file->reset_by_client ? 0 : -EAGAIN;
}

ssize_t os_writev(int fd, const struct iovec *iov, int count)
{
    maybe_yield();
    struct file *file = file_of(fd, FILE_SOCKET);
    SIM_CHECK(!file->server_closed, "descriptor %d is written after close", fd);
    SIM_CHECK(!file->down.ended, "descriptor %d is written after shutdown", fd);
    if (file->reset_by_client) {
        file->reset_told = true;
        return -EPIPE;
    }
    size_t total = 0, wanted = 0;
    for (int i = 0; i < count; i++) {
        wanted += iov[i].iov_len;
        total += pipe_write(&file->down, iov[i].iov_base, iov[i].iov_len);
    }
    if (file->client_closed) { // nobody is there: the answer is a reset
        file->vanished += wanted - total;
        file->reset_by_client = true;
        edge(file);
        return (ssize_t)wanted;
    }
    if (total < wanted)
        file->lacked_room = true;
    return total == 0 && wanted > 0 ? -EAGAIN : (ssize_t)total;
}

int os_unacknowledged(int fd)
{
    const struct file *file = file_of(fd, FILE_SOCKET);
    return (int)(file->down.count + file->vanished); // Linux's count stays after a reset, too
}

void os_shutdown_write(int fd)
{
    struct file *file = file_of(fd, FILE_SOCKET);
    SIM_CHECK(!file->server_closed, "descriptor %d is shut down after close", fd);
    file->down.ended = true;
}

static void socket_close(struct file *file)
{
    // As Linux: unread input makes the close a reset, and what the client has not got yet may be lost.
    if (file->up.count > 0) {
        file->reset_by_server = true;
        file->down.count = (uint32_t)sim_below(file->down.count + 1u);
    }
    file->server_closed = true;
    file->down.ended = true;
    file->epoll = -1;
    file->edge = false;
}

void os_close(int fd)
{
    SIM_CHECK(fd >= 0 && fd < file_count && files[fd]->kind != FILE_CLOSED, "descriptor %d is closed twice", fd);
    struct file *file = files[fd];
    if (file->kind == FILE_SOCKET) {
        SIM_CHECK(!file->server_closed, "descriptor %d is closed twice", fd);
        socket_close(file);
        return;
    }
    for (uint32_t i = 0; file->kind == FILE_LISTENER && i < file->queued; i++) {
        files[file->queue[i]]->reset_by_server = true;
        socket_close(files[file->queue[i]]);
    }
    file->kind = FILE_CLOSED;
    file->epoll = -1;
    file->edge = false;
}

// ---- the devices' side ----

int kernel_listen(void)
{
    return file_create(FILE_LISTENER);
}

bool kernel_is_listening(int fd)
{
    return files[fd]->kind == FILE_LISTENER && files[fd]->queued < ACCEPT_QUEUE_MAX;
}

int kernel_connect(int listener_fd)
{
    struct file *listener = file_of(listener_fd, FILE_LISTENER);
    int fd = file_create(FILE_SOCKET);
    pipe_init(&files[fd]->up);
    pipe_init(&files[fd]->down);
    files[fd]->listener = listener_fd;
    CHECK(listener->queued < ACCEPT_QUEUE_MAX);
    listener->queue[listener->queued++] = fd;
    edge(listener);
    return fd;
}

static struct file *client_of(int client)
{
    struct file *file = file_of(client, FILE_SOCKET);
    CHECK(!file->client_closed);
    return file;
}

size_t kernel_send(int client, const uint8_t *ptr, size_t len)
{
    struct file *file = client_of(client);
    CHECK(!file->up.ended);
    if (file->server_closed || file->reset_by_server)
        return len; // into the void: a reset will tell
    size_t sent = pipe_write(&file->up, ptr, len);
    if (sent > 0)
        edge(file);
    return sent;
}

size_t kernel_receive(int client, uint8_t *ptr, size_t max, bool *ret_end, bool *ret_reset)
{
    struct file *file = client_of(client);
    size_t got = pipe_read(&file->down, ptr, max);
    if (file->lacked_room && file->down.count <= file->down.capacity - (file->down.capacity + 2) / 3) {
        file->lacked_room = false;
        edge(file);
    }
    *ret_end = file->down.ended && file->down.count == 0;
    *ret_reset = *ret_end && file->reset_by_server;
    return got;
}

bool kernel_can_send(int client)
{
    const struct file *file = client_of(client);
    return file->server_closed || file->reset_by_server || pipe_has_room(&file->up);
}

bool kernel_can_receive(int client)
{
    const struct file *file = client_of(client);
    return file->down.count > 0 || file->down.ended;
}

void kernel_half_close(int client)
{
    struct file *file = client_of(client);
    file->up.ended = true;
    edge(file);
}

void kernel_disconnect(int client, bool reset)
{
    struct file *file = client_of(client);
    file->client_closed = true;
    if (file->server_closed)
        return;
    if (reset || file->down.count > 0) {
        file->reset_by_client = true;
        if (sim_chance(500))
            file->up.count = 0;
    } else {
        file->up.ended = true;
    }
    edge(file);
}

bool kernel_is_closed(int client)
{
    return file_of(client, FILE_SOCKET)->server_closed;
}

size_t kernel_unread_bytes(int fd)
{
    return file_of(fd, FILE_SOCKET)->up.count;
}

bool kernel_is_writable(int fd)
{
    const struct file *file = file_of(fd, FILE_SOCKET);
    return !file->reset_by_client && !file->down.ended && !file->lacked_room && pipe_has_room(&file->down);
}

int kernel_listener_of(int fd)
{
    return file_of(fd, FILE_SOCKET)->listener;
}

uint32_t kernel_address_of(int fd)
{
    CHECK(fd >= 0 && fd < FILES_MAX);
    return 0x7f000000u + (uint32_t)fd;
}
