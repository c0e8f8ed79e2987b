// The words after "relayclient send|receive|chat|genkeys", by argp; the original's options and positions.
#include "shards/base/check.h"
#include "tools/client.h"
#include "tools/values.h"
#include <argp.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>

enum { KEY_SECRET = 0x100, KEY_PUBLIC, KEY_CA, KEY_RAW, KEY_TIMEOUT, KEY_RETRIES, KEY_PIECE };

static const struct argp_option rows[] = {
    {"username", 'u', "NAME", 0, "relay account [RELAYCLIENT_USER, RELAY_USERNAME]", 0},
    {"password", 'p', "TEXT", 0, "its password; better in RELAYCLIENT_PASSWORD or RELAY_PASSWORD", 0},
    {"no-ssl-verify", 'k', NULL, 0, "do not check the relay's certificate", 0},
    {"cafile", KEY_CA, "FILE", 0, "trust these certificates (PEM) instead of the system's", 0},
    {"local-secret", KEY_SECRET, "FILE", 0, "own secret key (default relay.key.secret)", 0},
    {"local-public", KEY_PUBLIC, "FILE", 0, "own public key (default relay.key.public)", 0},
    {"timeout", KEY_TIMEOUT, "TIME", 0, "wait so long for the peer, then exit with 4 (default: for ever)", 0},
    {"retries", KEY_RETRIES, "N", 0, "attempts after the first while nothing was transferred (default 3)", 0},
    {"piece", KEY_PIECE, "SIZE", 0, "send: bytes per message (default 256k, at most 999955)", 0},
    {"raw", KEY_RAW, NULL, 0, "receive: no newline after the data", 0},
    {"verbose", 'v', NULL, 0, "tell on stderr what happens", 0},
    {0},
};

static void set_timeout(struct client_options *options, const char *text, struct argp_state *state)
{
    uint64_t value_ns;
    if (!value_duration(text, &value_ns) || value_ns > 86400u * 1000000000ull)
        argp_error(state, "--timeout: \"%s\" is not a time up to 1d", text);
    options->timeout_s = (uint32_t)((value_ns + 999999999u) / 1000000000u);
}

static void set_count(const char *name, const char *text, uint64_t min, uint64_t max, uint32_t *ret_count, struct argp_state *state)
{
    uint64_t value;
    if (!value_size(text, &value) || value < min || value > max)
        argp_error(state, "--%s: \"%s\" is not a number from %llu to %llu", name, text, (unsigned long long)min, (unsigned long long)max);
    *ret_count = (uint32_t)value;
}

static void take_password(struct client_options *options, char *text)
{
    static char password[4097]; // outlives the argument
    size_t len = strlen(text);
    if (len >= sizeof password) {
        fputs("relayclient: the password is longer than 4096 bytes\n", stderr);
        exit(CLIENT_USAGE);
    }
    memcpy(password, text, len + 1);
    sodium_memzero(text, len);
    options->password = password;
}

static error_t on_key(int key, char *argument, struct argp_state *state)
{
    struct client_options *options = state->input;
    switch (key) {
    case 'u':
        options->user = argument;
        return 0;
    case 'p':
        take_password(options, argument);
        return 0;
    case 'k':
        options->insecure = true;
        return 0;
    case 'v':
        options->verbose = true;
        return 0;
    case KEY_CA:
        options->ca_file = argument;
        return 0;
    case KEY_SECRET:
        options->secret_file = argument;
        return 0;
    case KEY_PUBLIC:
        options->public_file = argument;
        return 0;
    case KEY_RAW:
        options->raw = true;
        return 0;
    case KEY_TIMEOUT:
        set_timeout(options, argument, state);
        return 0;
    case KEY_RETRIES:
        set_count("retries", argument, 0, 1000, &options->retries, state);
        return 0;
    case KEY_PIECE:
        set_count("piece", argument, 1, CLIENT_PIECE_MAX, &options->piece_bytes, state);
        return 0;
    case ARGP_KEY_ARG:
        if (state->arg_num == 0)
            options->url = argument;
        else if (state->arg_num == 1)
            options->peer = argument;
        else
            argp_error(state, "what is \"%s\"?", argument);
        return 0;
    case ARGP_KEY_END:
        if (options->peer == NULL)
            argp_error(state, "URL and PUBKEY are needed");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const char *variable(const char *first, const char *second)
{
    const char *text = getenv(first);
    if (text == NULL)
        text = getenv(second);
    return text != NULL ? text : "";
}

void client_options_parse(struct client_options *ret_options, enum client_mode mode, int argc, char **argv)
{
    static const char *const docs[] = {
        [CLIENT_SEND] = "Send standard input to another device; exits with 0 after the relay has taken all of it.",
        [CLIENT_RECEIVE] = "Write what another device sends to standard output, until it leaves.",
        [CLIENT_CHAT] = "Send lines to another device and show what it sends.",
    };
    CHECK(argc >= 1 && mode <= CLIENT_CHAT);
    *ret_options = (struct client_options){
        .mode = mode,
        .user = variable("RELAYCLIENT_USER", "RELAY_USERNAME"),
        .password = variable("RELAYCLIENT_PASSWORD", "RELAY_PASSWORD"),
        .secret_file = "relay.key.secret",
        .public_file = "relay.key.public",
        .retries = 3,
        .piece_bytes = CLIENT_PIECE_DEFAULT,
    };
    const struct argp argp = {.options = rows, .parser = on_key, .args_doc = "URL PUBKEY", .doc = docs[mode]};
    argp_err_exit_status = CLIENT_USAGE;
    argp_parse(&argp, argc, argv, 0, NULL, ret_options);
}

struct files {
    const char *public_file, *secret_file;
};

static error_t on_genkeys_key(int key, char *argument, struct argp_state *state)
{
    struct files *files = state->input;
    if (key == 'p')
        files->public_file = argument;
    else if (key == 's')
        files->secret_file = argument;
    else if (key == ARGP_KEY_ARG)
        argp_error(state, "what is \"%s\"?", argument);
    else
        return ARGP_ERR_UNKNOWN;
    return 0;
}

int client_genkeys(int argc, char **argv)
{
    static const struct argp_option genkeys_rows[] = {
        {"public", 'p', "FILE", 0, "for the public key (default relay.key.public)", 0},
        {"secret", 's', "FILE", 0, "for the secret key (default relay.key.secret)", 0},
        {0},
    };
    const struct argp argp = {
        .options = genkeys_rows, .parser = on_genkeys_key, .doc = "Make a pair of keys, replacing those of the files."};
    struct files files = {"relay.key.public", "relay.key.secret"};
    struct client_keys keys;
    char error[CLIENT_ERROR_MAX];
    char text[CLIENT_KEY_TEXT_MAX];
    argp_err_exit_status = CLIENT_USAGE;
    argp_parse(&argp, argc, argv, 0, NULL, &files);
    if (!client_keys_make(files.public_file, files.secret_file, &keys, error)) {
        fprintf(stderr, "relayclient: %s\n", error);
        return CLIENT_FAILED;
    }
    client_key_text(&keys.key, text);
    sodium_memzero(&keys, sizeof keys);
    printf("Wrote %s\nWrote %s\nPublic key:\n%s\n", files.public_file, files.secret_file, text);
    return fflush(stdout) == 0 ? CLIENT_OK : CLIENT_FAILED;
}
