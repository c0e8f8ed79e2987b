// The real calls do what os.h promises beyond their man pages.
#include "shards/os.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <string.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include "shards/base/check.h"

#define MS 1000000ll

static int listen_local(struct sockaddr_in *ret_address)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    socklen_t bytes = sizeof(*ret_address);
    memset(ret_address, 0, sizeof(*ret_address));
    ret_address->sin_family = AF_INET;
    ret_address->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    CHECK(fd >= 0);
    CHECK(bind(fd, (struct sockaddr *)ret_address, sizeof(*ret_address)) == 0);
    CHECK(listen(fd, 4) == 0);
    CHECK(getsockname(fd, (struct sockaddr *)ret_address, &bytes) == 0);
    return fd;
}

static void check_accepted(int fd)
{
    int on = 0;
    socklen_t bytes = sizeof(on);
    CHECK(fcntl(fd, F_GETFL) & O_NONBLOCK);
    CHECK(fcntl(fd, F_GETFD) & FD_CLOEXEC);
    CHECK(getsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, &bytes) == 0);
    CHECK(on != 0);
}

static void test_connection(void)
{
    struct sockaddr_in address;
    struct sockaddr_storage peer;
    socklen_t peer_bytes = 0;
    int listener = listen_local(&address);
    CHECK(os_accept(listener, &peer, &peer_bytes) == -EAGAIN);
    int client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK(client >= 0);
    CHECK(connect(client, (struct sockaddr *)&address, sizeof(address)) == 0);
    int server = os_accept(listener, &peer, &peer_bytes);
    CHECK(server >= 0);
    CHECK(peer.ss_family == AF_INET && peer_bytes == sizeof(address));
    check_accepted(server);

    char in[8] = "";
    struct iovec out_iov[2] = {{"ab", 2}, {"cde", 3}}, in_iov[2] = {{in, 1}, {in + 1, 7}};
    CHECK(os_readv(server, in_iov, 2) == -EAGAIN);
    CHECK(os_writev(client, out_iov, 2) == 5);
    CHECK(os_readv(server, in_iov, 2) == 5);
    CHECK(memcmp(in, "abcde", 5) == 0);
    os_shutdown_write(client);
    CHECK(os_readv(server, in_iov, 2) == 0);
    os_close(client);
    CHECK(os_writev(server, out_iov, 2) == 5); // answered by a reset
    CHECK(os_writev(server, out_iov, 2) == -EPIPE);
    os_close(server);
    os_close(listener);
}

static void test_unix_socket(void)
{
    struct sockaddr_storage peer;
    socklen_t peer_bytes;
    CHECK(os_accept(STDIN_FILENO, &peer, &peer_bytes) < 0); // not a listener: an error, no crash
    int pair[2];
    CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair) == 0);
    struct iovec iov = {"x", 1};
    CHECK(os_writev(pair[0], &iov, 1) == 1);
    os_close(pair[1]);
    CHECK(os_writev(pair[0], &iov, 1) == -EPIPE);
    os_close(pair[0]);
}

static void test_epoll_and_eventfd(void)
{
    struct epoll_event events[4];
    int epoll_fd = os_epoll_create();
    int wake_fd = os_eventfd_create();
    int mark;
    CHECK(epoll_fd >= 0 && wake_fd >= 0);
    CHECK(os_epoll_add(epoll_fd, wake_fd, EPOLLIN | EPOLLET, &mark) == 0);
    CHECK(os_epoll_add(epoll_fd, wake_fd, EPOLLIN | EPOLLET, &mark) == -EEXIST);
    CHECK(os_epoll_wait(epoll_fd, events, 4, 0) == 0);
    for (int i = 0; i < 3; i++) { // never read, yet each signal is an edge
        os_eventfd_signal(wake_fd);
        CHECK(os_epoll_wait(epoll_fd, events, 4, -1) == 1);
        CHECK(events[0].data.ptr == &mark && events[0].events == EPOLLIN);
        CHECK(os_epoll_wait(epoll_fd, events, 4, 0) == 0);
    }
    uint64_t before_ns = os_now_ns();
    CHECK(os_epoll_wait(epoll_fd, events, 4, 2 * MS + 1) == 0); // rounded up
    CHECK(os_now_ns() - before_ns >= 2 * MS + 1);
    CHECK(os_epoll_wait(-1, events, 4, 0) == -EBADF);
    os_close(wake_fd);
    os_close(epoll_fd);
}

static void on_alarm(int signal)
{
    (void)signal;
}

static void test_interrupted_wait(void)
{
    struct sigaction action = {.sa_handler = on_alarm};
    struct itimerval again_and_again = {.it_interval.tv_usec = 2000, .it_value.tv_usec = 2000}, never = {0};
    struct epoll_event event;
    int epoll_fd = os_epoll_create();
    CHECK(sigaction(SIGALRM, &action, NULL) == 0);
    CHECK(setitimer(ITIMER_REAL, &again_and_again, NULL) == 0);
    CHECK(os_epoll_wait(epoll_fd, &event, 1, -1) == 0);
    CHECK(setitimer(ITIMER_REAL, &never, NULL) == 0);
    os_close(epoll_fd);
}

static void test_clocks(void)
{
    uint64_t first_ns = os_now_ns();
    CHECK(first_ns > 0);
    CHECK(os_now_ns() >= first_ns);
    CHECK(os_wall_s() > 1700000000);
}

int main(void)
{
    test_connection();
    test_unix_socket();
    test_epoll_and_eventfd();
    test_interrupted_wait();
    test_clocks();
    return 0;
}
