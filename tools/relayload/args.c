// See args.h. argp makes --help and --usage from the table.
#include "tools/relayload/args.h"

#include "shards/base/check.h"
#include <argp.h>
#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define USERS_FILE_BYTES_MAX (64u << 20)

enum {
    KEY_URL = 1000,
    KEY_USER,
    KEY_PASSWORD,
    KEY_USERS,
    KEY_SECONDS,
    KEY_WARMUP,
    KEY_SESSIONS,
    KEY_SIZE,
    KEY_WINDOW,
    KEY_RATE,
    KEY_THREADS,
    KEY_CPUS,
    KEY_SERVER_PID,
    KEY_JSON,
    KEY_HTML,
    KEY_LOCAL,
    KEY_SEED,
    KEY_OBSERVERS,
    KEY_HERE,
    KEY_PROTOCOL,
    KEY_SERVER
};

static const struct argp_option table[] = {
    {0, 0, 0, 0, "Target:", 1},
    {"url", KEY_URL, "URL", 0, "ws:// or wss://HOST:PORT/v1/relay", 1},
    {"user", KEY_USER, "USER", 0, "account of all sessions", 1},
    {"password", KEY_PASSWORD, "PASSWORD", 0, "its password", 1},
    {"users", KEY_USERS, "FILE", 0, "accounts for the sessions in turn: lines of user:password", 1},
    {"protocol", KEY_PROTOCOL, "NAME", 0, "buckets, or openrelay for the scenarios pairs and idle (then --user may be left out)", 1},
    {"insecure", 'k', 0, 0, "wss: do not check the certificate", 1},
    {"local-addresses", KEY_LOCAL, "LIST", 0, "IPv4 source addresses, used in turn (more ports): 127.0.0.2,127.0.0.3", 1},
    {0, 0, 0, 0, "Load:", 2},
    {"sessions", KEY_SESSIONS, "N", 0, "sessions in all", 2},
    {"seconds", KEY_SECONDS, "N", 0, "measured time, or its limit (10)", 2},
    {"warmup", KEY_WARMUP, "N", 0, "seconds before it (2)", 2},
    {"size", KEY_SIZE, "SIZES", 0, "payload bytes: 100, 64-4096 (uniform) or 100:9,16384:1 (weights)", 2},
    {"window", KEY_WINDOW, "N", 0, "messages under way in a pair (8), logins under way in storm (1000)", 2},
    {"rate", KEY_RATE, "N", 0, "open loop: messages (churn, presence: logins) a second in all, each timed from its due moment", 2},
    {"threads", KEY_THREADS, "N", 0, "threads, one event loop each (1)", 2},
    {"cpus", KEY_CPUS, "LIST", 0, "CPUs to pin the threads to, as 0,2-3", 2},
    {"observers", KEY_OBSERVERS, "N", 0, "quiet pairs that feel how a disturbing scenario disturbs others (4)", 2},
    {"seed", KEY_SEED, "N", 0, "of everything random (1)", 2},
    {0, 0, 0, 0, "Report:", 3},
    {"server-pid", KEY_SERVER_PID, "PID", 0, "also measure CPU and memory of this process", 3},
    {"json", KEY_JSON, 0, 0, "one JSON object on standard output", 3},
    {"html", KEY_HTML, "FILE", 0, "also write one self-contained page with plots", 3},
    {0, 0, 0, 0, "This machine:", 4},
    {"here", KEY_HERE, 0, 0, "start a relay of its own and print what this machine can carry", 4},
    {"server", KEY_SERVER, "FILE", 0, "--here: the shardrelay program (default: beside this one)", 4},
    {0},
};

struct parse {
    struct args *args;
    const struct args_scenario *scenarios;
    const char *user, *password, *users_file;
    bool has_url;
};

static uint32_t number(struct argp_state *state, const char *text, uint32_t min, uint32_t max)
{
    char *end;
    errno = 0;
    unsigned long long value = strtoull(text, &end, 10);
    if (end == text || *end != '\0' || errno != 0 || *text == '-' || value < min || value > max)
        argp_error(state, "\"%s\" is not a number from %u to %u", text, min, max);
    return (uint32_t)value;
}

static bool copy_part(char *to, size_t max, const char *from, size_t len)
{
    if (len >= max)
        return false;
    memcpy(to, from, len);
    to[len] = '\0';
    return true;
}

bool args_url_parse(const char *text, struct args_url *ret_url)
{
    struct args_url url = {.tls = strncmp(text, "wss://", 6) == 0};
    if (!url.tls && strncmp(text, "ws://", 5) != 0)
        return false;
    const char *host = text + (url.tls ? 6 : 5);
    bool brackets = *host == '[';
    const char *host_end = brackets ? strchr(host, ']') : host + strcspn(host, ":/?#@");
    if (!host_end || host_end == host || !copy_part(url.host, sizeof url.host, host + brackets, (size_t)(host_end - host) - brackets))
        return false;
    const char *at = host_end + brackets;
    url.port = url.tls ? 443 : 80;
    if (*at == ':') {
        char *end;
        unsigned long port = strtoul(at + 1, &end, 10);
        if (end == at + 1 || at[1] == '-' || at[1] == '+' || port == 0 || port > 65535)
            return false;
        url.port = (uint16_t)port;
        at = end;
    }
    if (*at != '\0' && *at != '/')
        return false;
    if (strpbrk(at, " \r\n#") || !copy_part(url.path, sizeof url.path, *at ? at : "/", *at ? strlen(at) : 1))
        return false;
    *ret_url = url;
    return true;
}

static bool add_user(struct args_user **users, uint32_t *count, const char *name, size_t name_len, const char *password,
                     size_t password_len)
{
    if ((*count & (*count - 1)) == 0) { // full at every power of two
        struct args_user *grown = realloc(*users, (*count == 0 ? 1 : 2 * (size_t)*count) * sizeof **users);
        if (!grown)
            return false;
        *users = grown;
    }
    struct args_user *user = &(*users)[*count];
    user->name = strndup(name, name_len);
    user->password = strndup(password, password_len);
    (*count)++;
    return user->name && user->password;
}

static void free_users(struct args_user *users, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        free(users[i].name);
        free(users[i].password);
    }
    free(users);
}

int args_users_parse(const char *text, struct args_user **ret_users, char *error_text, size_t error_max)
{
    struct args_user *users = NULL;
    uint32_t count = 0;
    unsigned line_number = 0;
    while (*text) {
        size_t len = strcspn(text, "\n"), used = len;
        line_number++;
        if (used > 0 && text[used - 1] == '\r')
            used--;
        const char *colon = memchr(text, ':', used);
        if (used > 0 && *text != '#') {
            if (!colon || colon == text ||
                !add_user(&users, &count, text, (size_t)(colon - text), colon + 1, used - (size_t)(colon - text) - 1)) {
                snprintf(error_text, error_max, "line %u is not user:password", line_number);
                free_users(users, count);
                return -1;
            }
        }
        text += len + (text[len] == '\n');
    }
    if (count == 0) {
        snprintf(error_text, error_max, "no users in it");
        return -1;
    }
    *ret_users = users;
    return (int)count;
}

static void read_users(struct argp_state *state, struct parse *parse)
{
    FILE *file = fopen(parse->users_file, "r");
    char *text = NULL, error_text[128];
    size_t text_max = 0;
    if (!file)
        argp_failure(state, 2, errno, "%s", parse->users_file);
    if (getdelim(&text, &text_max, '\0', file) < 0 || text_max > USERS_FILE_BYTES_MAX)
        argp_failure(state, 2, 0, "%s: cannot be read", parse->users_file);
    int count = args_users_parse(text, &parse->args->users, error_text, sizeof error_text);
    if (count < 0)
        argp_failure(state, 2, 0, "%s: %s", parse->users_file, error_text);
    parse->args->user_count = (uint32_t)count;
    free(text);
    fclose(file);
}

static void read_locals(struct argp_state *state, struct args *args, const char *list)
{
    char *copy = strdup(list), *rest = copy;
    for (char *item; copy && (item = strsep(&rest, ",")) != NULL;) {
        if (args->local_count == ARGS_LOCAL_MAX || inet_pton(AF_INET, item, &args->locals[args->local_count]) != 1)
            argp_error(state, "--local-addresses: up to %d IPv4 addresses, not \"%s\"", ARGS_LOCAL_MAX, item);
        args->local_count++;
    }
    free(copy);
}

static void choose_scenario(struct argp_state *state, struct parse *parse, const char *name)
{
    for (const struct args_scenario *scenario = parse->scenarios; scenario->name; scenario++)
        if (strcmp(scenario->name, name) == 0)
            parse->args->scenario = scenario->name;
    if (!parse->args->scenario)
        argp_error(state, "no scenario is called \"%s\"", name);
}

static void finish(struct argp_state *state, struct parse *parse)
{
    struct args *args = parse->args;
    if (args->here)
        return;
    if (!args->scenario)
        argp_error(state, "name a scenario");
    if (!parse->has_url)
        argp_error(state, "--url is missing");
    if (args->openrelay && args->scenario && strcmp(args->scenario, "pairs") != 0 && strcmp(args->scenario, "idle") != 0)
        argp_error(state, "--protocol openrelay knows the scenarios pairs and idle");
    if (args->openrelay && !parse->users_file && !parse->user) // the relay asks nobody, unless it is told to
        parse->user = parse->password = "nobody";
    if (parse->users_file && (parse->user || parse->password))
        argp_error(state, "either --users or --user and --password");
    if (parse->users_file) {
        read_users(state, parse);
    } else {
        if (!parse->user || !parse->password) {
            argp_error(state, "--user and --password (or --users) are missing");
            return;
        }
        if (!add_user(&args->users, &args->user_count, parse->user, strlen(parse->user), parse->password, strlen(parse->password)))
            argp_failure(state, 2, 0, "out of memory");
    }
}

static error_t parse_load(int key, char *arg, struct argp_state *state, struct args *args)
{
    switch (key) {
    case KEY_SECONDS:
        args->seconds = number(state, arg, 1, ARGS_SECONDS_MAX);
        return 0;
    case KEY_WARMUP:
        args->warmup_s = number(state, arg, 0, ARGS_SECONDS_MAX);
        return 0;
    case KEY_SESSIONS:
        args->sessions = number(state, arg, 1, ARGS_SESSIONS_MAX);
        return 0;
    case KEY_WINDOW:
        args->window = number(state, arg, 1, 65536);
        return 0;
    case KEY_RATE:
        args->rate = number(state, arg, 1, 100000000);
        return 0;
    case KEY_THREADS:
        args->threads = number(state, arg, 1, ARGS_THREADS_MAX);
        return 0;
    case KEY_OBSERVERS:
        args->observers = number(state, arg, 0, 1000);
        return 0;
    case KEY_SEED:
        args->seed = number(state, arg, 0, UINT32_MAX);
        return 0;
    case KEY_CPUS:
        args->cpus = arg;
        return 0;
    case KEY_SIZE:
        if (!sizes_parse(arg, &args->sizes))
            argp_error(state, "--size: \"%s\" is not SIZE, MIN-MAX or SIZE:WEIGHT,... up to %u bytes", arg, SIZES_BYTES_MAX);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static error_t parse_key(int key, char *arg, struct argp_state *state)
{
    struct parse *parse = state->input;
    struct args *args = parse->args;
    switch (key) {
    case KEY_URL:
        if (!args_url_parse(arg, &args->url))
            argp_error(state, "--url: \"%s\" is not ws://HOST:PORT/PATH or wss://HOST:PORT/PATH", arg);
        parse->has_url = true;
        return 0;
    case KEY_USER:
        parse->user = arg;
        return 0;
    case KEY_PASSWORD:
        parse->password = arg;
        return 0;
    case KEY_USERS:
        parse->users_file = arg;
        return 0;
    case 'k':
        args->insecure = true;
        return 0;
    case KEY_PROTOCOL:
        args->openrelay = strcmp(arg, "openrelay") == 0;
        if (!args->openrelay && strcmp(arg, "buckets") != 0)
            argp_error(state, "--protocol: \"%s\" is neither buckets nor openrelay", arg);
        return 0;
    case KEY_LOCAL:
        read_locals(state, args, arg);
        return 0;
    case KEY_SERVER_PID:
        args->server_pid = (int)number(state, arg, 1, INT32_MAX);
        return 0;
    case KEY_JSON:
        args->json = true;
        return 0;
    case KEY_HTML:
        args->html = arg;
        return 0;
    case KEY_HERE:
        args->here = true;
        return 0;
    case KEY_SERVER:
        args->server_binary = arg;
        return 0;
    case ARGP_KEY_ARG:
        if (state->arg_num > 0)
            argp_error(state, "one scenario at a time");
        choose_scenario(state, parse, arg);
        return 0;
    case ARGP_KEY_END:
        finish(state, parse);
        return 0;
    default:
        return parse_load(key, arg, state, args);
    }
}

static char *help_filter(int key, const char *text, void *input)
{
    const struct parse *parse = input;
    if (key != ARGP_KEY_HELP_POST_DOC || !parse)
        return (char *)text;
    char *out = NULL;
    size_t len = 0;
    FILE *stream = open_memstream(&out, &len);
    if (!stream)
        return (char *)text;
    fputs("Scenarios:\n", stream);
    for (const struct args_scenario *scenario = parse->scenarios; scenario->name; scenario++)
        fprintf(stream, "  %-10s %s\n", scenario->name, scenario->summary);
    fputs("\nExit status: 0 done; 1 connections or the verification failed; 2 usage.", stream);
    fclose(stream);
    return out;
}

void args_parse(int argc, char **argv, const struct args_scenario *scenarios, struct args *ret_args)
{
    // The text after \v is replaced by help_filter.
    static const struct argp argp = {table,
                                     parse_key,
                                     "SCENARIO --url URL --user USER --password PASSWORD\n--here",
                                     "Load on a relay that speaks Buckets v1, and what came of it.\v ",
                                     NULL,
                                     help_filter,
                                     NULL};
    static struct args args;
    struct parse parse = {.args = &args, .scenarios = scenarios};
    CHECK(scenarios && ret_args);
    args = (struct args){.seconds = 10, .warmup_s = 2, .threads = 1, .seed = 1, .observers = 4};
    CHECK(sizes_parse("100", &args.sizes));
    argp_err_exit_status = 2;
    argp_program_version = "relayload " SHARDRELAY_VERSION;
    argp_parse(&argp, argc, argv, 0, NULL, &parse);
    *ret_args = args;
}

bool args_resolve(struct args *args)
{
    char port[8];
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *found;
    snprintf(port, sizeof port, "%u", args->url.port);
    int status = getaddrinfo(args->url.host, port, &hints, &found);
    if (status != 0) {
        fprintf(stderr, "relayload: %s: %s\n", args->url.host, gai_strerror(status));
        return false;
    }
    CHECK(found->ai_addrlen <= sizeof args->address);
    memcpy(&args->address, found->ai_addr, found->ai_addrlen);
    args->address_bytes = found->ai_addrlen;
    freeaddrinfo(found);
    return true;
}

void args_free(struct args *args)
{
    free_users(args->users, args->user_count);
    args->users = NULL;
    args->user_count = 0;
}
