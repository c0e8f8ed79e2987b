// Every system call that a shard makes on its way, and nothing else: the simulator links its own os.c (tests/sim) instead of this one.
// Semantics are the calls' own, except: failures return -errno, EINTR is retried (a wait that is interrupted returns 0 events).
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/uio.h>

uint64_t os_now_ns(void); // monotonic
int64_t os_wall_s(void);  // UTC seconds since 1970

int os_epoll_create(void);
int os_epoll_add(int epoll_fd, int fd, uint32_t events, void *data);
int os_epoll_wait(int epoll_fd, struct epoll_event *ret_events, int max, int64_t timeout_ns); // < 0: for ever

int os_eventfd_create(void);
void os_eventfd_signal(int fd); // edge-triggered readers need not read it

int os_accept(int fd, struct sockaddr_storage *ret_peer, socklen_t *ret_peer_bytes); // non-blocking, close-on-exec, TCP_NODELAY
ssize_t os_readv(int fd, const struct iovec *iov, int count);
ssize_t os_writev(int fd, const struct iovec *iov, int count); // never raises SIGPIPE
int os_unacknowledged(int fd);                                 // bytes of a TCP connection that the peer has not acknowledged; -errno
void os_shutdown_write(int fd);
void os_close(int fd);
