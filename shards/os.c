// The real system calls behind os.h. Its rule: no policy here, so that the simulator's os.c can stand in. Any thread.
#include "shards/os.h"

#include <errno.h>
#include <limits.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "shards/base/check.h"

#define NS_PER_S 1000000000ull
#define NS_PER_MS 1000000ll

static uint64_t clock_ns(clockid_t clock)
{
    struct timespec now;
    CHECK(clock_gettime(clock, &now) == 0);
    return (uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec;
}

uint64_t os_now_ns(void)
{
    return clock_ns(CLOCK_MONOTONIC);
}

int64_t os_wall_s(void)
{
    return (int64_t)(clock_ns(CLOCK_REALTIME) / NS_PER_S);
}

int os_epoll_create(void)
{
    int fd = epoll_create1(EPOLL_CLOEXEC);
    return fd >= 0 ? fd : -errno;
}

int os_epoll_add(int epoll_fd, int fd, uint32_t events, void *data)
{
    struct epoll_event event = {.events = events, .data.ptr = data};
    return epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event) == 0 ? 0 : -errno;
}

int os_epoll_wait(int epoll_fd, struct epoll_event *ret_events, int max, int64_t timeout_ns)
{
    CHECK(max > 0);
    int timeout_ms = -1;
    if (timeout_ns >= 0) { // rounded up: a sleeper that wakes early would only sleep again
        int64_t ms = timeout_ns / NS_PER_MS + (timeout_ns % NS_PER_MS != 0);
        timeout_ms = ms < INT_MAX ? (int)ms : INT_MAX;
    }
    int count = epoll_wait(epoll_fd, ret_events, max, timeout_ms);
    if (count >= 0)
        return count;
    return errno == EINTR ? 0 : -errno; // not retried: the caller alone knows how much of the time is left
}

int os_eventfd_create(void)
{
    int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    return fd >= 0 ? fd : -errno;
}

void os_eventfd_signal(int fd)
{
    uint64_t one = 1;
    ssize_t written;
    do
        written = write(fd, &one, sizeof(one));
    while (written < 0 && errno == EINTR);
    CHECK(written == sizeof(one)); // the counter has room for 2^64 - 2 signals
}

int os_accept(int fd, struct sockaddr_storage *ret_peer, socklen_t *ret_peer_bytes)
{
    int accepted;
    do {
        *ret_peer_bytes = sizeof(*ret_peer);
        accepted = accept4(fd, (struct sockaddr *)ret_peer, ret_peer_bytes, SOCK_NONBLOCK | SOCK_CLOEXEC);
    } while (accepted < 0 && errno == EINTR);
    if (accepted < 0)
        return -errno;
    int on = 1;
    (void)setsockopt(accepted, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)); // fails on unix sockets, which have no delay
    return accepted;
}

ssize_t os_readv(int fd, const struct iovec *iov, int count)
{
    ssize_t bytes;
    CHECK(count > 0);
    do
        bytes = readv(fd, iov, count);
    while (bytes < 0 && errno == EINTR);
    return bytes >= 0 ? bytes : -errno;
}

ssize_t os_writev(int fd, const struct iovec *iov, int count)
{
    ssize_t bytes;
    CHECK(count > 0);
    struct msghdr message = {.msg_iov = (struct iovec *)iov, .msg_iovlen = (size_t)count};
    do
        bytes = sendmsg(fd, &message, MSG_NOSIGNAL);
    while (bytes < 0 && errno == EINTR);
    return bytes >= 0 ? bytes : -errno;
}

int os_unacknowledged(int fd)
{
    int bytes = 0;
    return ioctl(fd, SIOCOUTQ, &bytes) == 0 ? bytes : -errno;
}

void os_shutdown_write(int fd)
{
    (void)shutdown(fd, SHUT_WR); // fails only when the peer is gone already, which reading tells
}

void os_close(int fd)
{
    CHECK(fd >= 0);
    int result = close(fd); // EINTR is not retried: Linux has closed the descriptor then
    CHECK(result == 0 || errno != EBADF);
}
