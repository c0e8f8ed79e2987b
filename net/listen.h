// Listening sockets, made before the threads start. Each shard gets its own of every address (SO_REUSEPORT); UNIX sockets are shared.
#pragma once
#include "net/config.h"
#include <stddef.h>

// Opens one listening socket for each of `count` shards. 0: ret_fds holds `count` descriptors, the caller's to close.
// On failure -1 and a sentence for the operator ("cannot listen on ...: ...").
int listen_open(const struct listen_config *config, size_t count, int *ret_fds, char *error_text, size_t error_max);

#define LISTEN_NAME_MAX (CONFIG_ADDRESS_MAX + 32)
// "127.0.0.1:9001", "tls:[::1]:9001", "proxy+tls+backbone:unix:/path". name_max: LISTEN_NAME_MAX.
void listen_name(const struct listen_config *config, char *ret_name, size_t name_max);
