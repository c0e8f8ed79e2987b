// The command line of relayload: one table makes the parser and --help. Main thread, before any other.
#pragma once
#include "tools/relayload/sizes.h"
#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

#define ARGS_HOST_MAX 256
#define ARGS_LOCAL_MAX 64
#define ARGS_THREADS_MAX 256u
#define ARGS_SESSIONS_MAX 1000000u
#define ARGS_SECONDS_MAX 86400u

struct args_user {
    char *name, *password;
};

struct args_url {
    bool tls;
    char host[ARGS_HOST_MAX]; // without brackets
    uint16_t port;
    char path[ARGS_HOST_MAX];
};

struct args {
    const char *scenario;
    struct args_url url;
    struct sockaddr_storage address; // of url, once resolved
    socklen_t address_bytes;
    struct args_user *users; // at least one
    uint32_t user_count;
    uint32_t seconds, warmup_s, sessions, window, rate, threads, observers; // 0: the scenario's own default
    struct sizes sizes;
    uint64_t seed;
    int server_pid; // 0: none
    bool json, insecure, here, openrelay;
    const char *html;
    const char *server_binary; // --here
    const char *cpus;          // as cpus_parse takes them, or NULL
    struct in_addr locals[ARGS_LOCAL_MAX];
    unsigned local_count;
};

struct args_scenario { // for --help and to tell a mistyped name
    const char *name, *summary;
};

// Exits with 0 (--help, --version) or 2 (usage, said on stderr). scenarios end with a NULL name.
void args_parse(int argc, char **argv, const struct args_scenario *scenarios, struct args *ret_args);
void args_free(struct args *args);

// Looks up url.host. false, with a sentence on stderr: unknown.
bool args_resolve(struct args *args);

// ws://HOST[:PORT]/PATH or wss://...; false: not such a URL.
bool args_url_parse(const char *text, struct args_url *ret_url);
// "user:password" lines; empty lines and # comments are skipped. Number of users, or -1 with a sentence in error_text.
int args_users_parse(const char *text, struct args_user **ret_users, char *error_text, size_t error_max);
