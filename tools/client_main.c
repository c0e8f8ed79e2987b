// relayclient: drop-in for the original's client. This file: the commands, and attempts with backoff while nothing was transferred.
#include "shards/base/check.h"
#include "tools/client.h"
#include "tools/values.h"
#include <signal.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define BACKOFF_FIRST_MS 500u
#define BACKOFF_MAX_MS 30000u
#define RETRY_AFTER_MAX_S 300u

static const char usage[] = "Usage: relayclient COMMAND [OPTION...] [URL PUBKEY]\n"
                            "\n"
                            "Commands (relayclient COMMAND --help tells more):\n"
                            "  genkeys   make relay.key.public and relay.key.secret in this folder\n"
                            "  send      send standard input to another device\n"
                            "  receive   write what another device sends to standard output\n"
                            "  chat      both ways, line by line\n"
                            "  backbone  the same with a Backbone server\n"
                            "\n"
                            "Exit codes: 0 done, 1 failed, 2 wrong usage, 3 user or password refused, 4 the peer is gone\n";

// Exponential, with jitter so that the clients of a relay that restarts do not come all at once; the relay's own wish counts more.
static void back_off(const struct client_options *options, uint32_t attempt, uint32_t retry_after_s, const char *error_text)
{
    uint32_t wait_ms = attempt < 6 ? BACKOFF_FIRST_MS << attempt : BACKOFF_MAX_MS;
    if (wait_ms > BACKOFF_MAX_MS)
        wait_ms = BACKOFF_MAX_MS;
    wait_ms = wait_ms / 2 + randombytes_uniform(wait_ms / 2 + 1);
    if (retry_after_s > 0)
        wait_ms += (retry_after_s < RETRY_AFTER_MAX_S ? retry_after_s : RETRY_AFTER_MAX_S) * 1000u;
    if (options->verbose)
        fprintf(stderr, "relayclient: %s; again in %u.%u s\n", error_text, wait_ms / 1000u, wait_ms % 1000u / 100u);
    struct timespec wait = {.tv_sec = (time_t)(wait_ms / 1000u), .tv_nsec = (long)(wait_ms % 1000u) * 1000000};
    nanosleep(&wait, NULL);
}

static int transfer(const struct client_options *options)
{
    char error[CLIENT_ERROR_MAX] = "";
    struct client_keys keys;
    struct client_url url;
    struct key peer;
    const char *bad = client_url_parse(options->url, &url);
    if (bad == NULL && !client_key_parse(options->peer, &peer))
        bad = "PUBKEY is not the base64 of 32 bytes";
    if (bad != NULL) {
        fprintf(stderr, "relayclient: %s\n", bad);
        return CLIENT_USAGE;
    }
    if (!client_keys_load(options->public_file, options->secret_file, &keys, error)) {
        fprintf(stderr, "relayclient: %s\n", error);
        return CLIENT_FAILED;
    }
    enum client_exit result = CLIENT_AGAIN;
    for (uint32_t attempt = 0; result == CLIENT_AGAIN; attempt++) {
        uint32_t retry_after_s = 0;
        bool long_lived = false;
        result = client_session(options, &url, &keys, &peer, &retry_after_s, &long_lived, error);
        if (long_lived)
            attempt = 0;
        if (result == CLIENT_AGAIN && attempt >= options->retries)
            result = CLIENT_FAILED;
        if (result == CLIENT_AGAIN)
            back_off(options, attempt, retry_after_s, error);
    }
    sodium_memzero(&keys, sizeof keys);
    if (result != CLIENT_OK)
        fprintf(stderr, "relayclient: %s\n", error);
    return (int)result;
}

int main(int argc, char **argv)
{
    static const char *const names[] = {"send", "receive", "chat", "genkeys", "backbone"};
    static char program[32];
    signal(SIGPIPE, SIG_IGN);
    if (sodium_init() < 0) {
        fputs("relayclient: libsodium does not start\n", stderr);
        return CLIENT_FAILED;
    }
    const char *name = argc > 1 ? argv[1] : "";
    if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0 || strcmp(name, "--version") == 0) {
        fputs(name[2] == 'v' ? "relayclient " SHARDRELAY_VERSION "\n" : usage, stdout);
        return CLIENT_OK;
    }
    for (unsigned i = 0; i < sizeof names / sizeof *names; i++) {
        if (strcmp(name, names[i]) != 0)
            continue;
        snprintf(program, sizeof program, "relayclient %s", name);
        argv[1] = program;
        if (i == CLIENT_CHAT + 2)
            return client_backbone(argc - 1, argv + 1);
        if (i > CLIENT_CHAT)
            return client_genkeys(argc - 1, argv + 1);
        struct client_options options;
        client_options_parse(&options, (enum client_mode)i, argc - 1, argv + 1);
        return transfer(&options);
    }
    const char *nearest = value_nearest(name, names, sizeof names / sizeof *names);
    if (nearest != NULL)
        fprintf(stderr, "relayclient: unknown command %.80s: did you mean %s?\n", name, nearest);
    else
        fputs(usage, stderr);
    return CLIENT_USAGE;
}
