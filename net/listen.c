// Listening sockets: see listen.h. Options set here are inherited by accepted sockets, which saves calls per connection.
#include "net/listen.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "shards/base/check.h"

#define BACKLOG 4096
#define UNSENT_BYTES_MAX 131072 // what the kernel may hold unsent per connection: more would only hide a slow receiver

void listen_name(const struct listen_config *config, char *ret_name, size_t name_max)
{
    char ways[sizeof("proxy+tls+backbone:")];
    int len = snprintf(ways, sizeof(ways), "%s%s%s", config->proxy ? "proxy+" : "", config->tls ? "tls+" : "",
                       config->scheme == LISTEN_BACKBONE ? "backbone+" : "");
    CHECK(len >= 0 && (size_t)len < sizeof(ways) && name_max >= LISTEN_NAME_MAX);
    if (len > 0)
        ways[len - 1] = ':';
    if (config->family == LISTEN_UNIX)
        snprintf(ret_name, name_max, "%sunix:%s", ways, config->address);
    else
        snprintf(ret_name, name_max, config->family == LISTEN_IPV6 ? "%s[%s]:%u" : "%s%s:%u", ways, config->address,
                 (unsigned)config->port);
}

static socklen_t fill_address(const struct listen_config *config, struct sockaddr_storage *ret_address)
{
    memset(ret_address, 0, sizeof(*ret_address));
    if (config->family == LISTEN_IPV4) {
        struct sockaddr_in *in = (struct sockaddr_in *)(void *)ret_address;
        in->sin_family = AF_INET;
        in->sin_port = htons(config->port);
        return inet_pton(AF_INET, config->address, &in->sin_addr) == 1 ? sizeof(*in) : 0;
    }
    if (config->family == LISTEN_IPV6) {
        struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)(void *)ret_address;
        in6->sin6_family = AF_INET6;
        in6->sin6_port = htons(config->port);
        return inet_pton(AF_INET6, config->address, &in6->sin6_addr) == 1 ? sizeof(*in6) : 0;
    }
    struct sockaddr_un *un = (struct sockaddr_un *)(void *)ret_address;
    un->sun_family = AF_UNIX;
    CHECK(strlen(config->address) < sizeof(un->sun_path));
    memcpy(un->sun_path, config->address, strlen(config->address) + 1);
    return sizeof(*un);
}

static int set_options(int fd, enum listen_family family)
{
    const int on = 1;
    const unsigned unsent = UNSENT_BYTES_MAX;
    if (family == LISTEN_UNIX)
        return 0;
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) != 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on)) != 0 ||
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)) != 0 ||
        setsockopt(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &unsent, sizeof(unsent)) != 0)
        return -1;
    return family == LISTEN_IPV6 ? setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on)) : 0;
}

// Somebody answers on that socket file? Then it is not ours to replace.
static bool unix_in_use(const struct sockaddr_storage *address, socklen_t bytes)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool used = fd >= 0 && connect(fd, (const struct sockaddr *)address, bytes) == 0;
    if (fd >= 0)
        close(fd);
    return used;
}

static int open_one(const struct listen_config *config, const struct sockaddr_storage *address, socklen_t bytes)
{
    struct stat status;
    if (config->family == LISTEN_UNIX && stat(config->address, &status) == 0 && S_ISSOCK(status.st_mode) && !unix_in_use(address, bytes))
        unlink(config->address);
    int fd = socket(address->ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -1;
    if (set_options(fd, config->family) == 0 && bind(fd, (const struct sockaddr *)address, bytes) == 0 && listen(fd, BACKLOG) == 0)
        return fd;
    int saved = errno;
    close(fd);
    errno = saved;
    return -1;
}

int listen_open(const struct listen_config *config, size_t count, int *ret_fds, char *error_text, size_t error_max)
{
    char name[LISTEN_NAME_MAX];
    struct sockaddr_storage address;
    listen_name(config, name, sizeof(name));
    socklen_t bytes = fill_address(config, &address);
    if (bytes == 0) {
        snprintf(error_text, error_max, "cannot listen on %s: not an address", name);
        return -1;
    }
    for (size_t i = 0; i < count; i++) {
        bool shared = config->family == LISTEN_UNIX && i > 0;
        int fd = shared ? fcntl(ret_fds[0], F_DUPFD_CLOEXEC, 0) : open_one(config, &address, bytes);
        if (fd < 0) {
            snprintf(error_text, error_max, "cannot listen on %s: %s", name, strerror(errno));
            while (i-- > 0)
                close(ret_fds[i]);
            return -1;
        }
        ret_fds[i] = fd;
    }
    return 0;
}
