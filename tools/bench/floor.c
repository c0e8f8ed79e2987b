// floor: what a relay costs at the very least on this kernel and CPU, to set a relay's own figures against.
//   floor                                       the table of tools/bench/README.md, a few seconds a row
//   floor hop --payload 100 --pairs 20 --window 8 [--tls] [--each] [--cpu 0] [--seconds 3] [--json]
//   floor ring [--cpus 0,1] [--json]            hand-off between two pinned threads through shards/post
//   floor certificate KEY CERT                  writes a self-signed pair for a relay under test
// Messages have the byte counts of the relay's frames: WebSocket head and mask, netstrings, key and payload.
#include "tools/bench/handoff.h"
#include "tools/bench/hop.h"
#include "tools/bench/selfsigned.h"

#include "shards/base/check.h"
#include <argp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct floor_options {
    const char *command;
    size_t payload, message; // message 0: a Buckets frame with that payload
    struct hop_options hop;
    int cpus[2];
    const char *files[2]; // certificate: key and certificate to write
    bool json;
};

enum { KEY_JSON = 1000, KEY_MESSAGE, KEY_ANSWER, KEY_EACH, KEY_TLS, KEY_CPUS };

static const struct argp_option table[] = {
    {"payload", 'p', "BYTES", 0, "bytes that one client sends another in a message (100)", 0},
    {"message", KEY_MESSAGE, "BYTES", 0, "bytes of a message on the wire, in place of a Buckets frame's", 0},
    {"answer", KEY_ANSWER, "BYTES", 0, "bytes written back to the sender for each message (0)", 0},
    {"pairs", 'n', "N", 0, "pairs of connections (20)", 0},
    {"window", 'w', "N", 0, "messages under way in each pair (8)", 0},
    {"each", KEY_EACH, NULL, 0, "one write for each message, in place of one for each wake", 0},
    {"tls", KEY_TLS, NULL, 0, "TLS 1.3 on both legs", 0},
    {"cpu", 'c', "N", 0, "CPU for both relay and load (0; -1: any)", 0},
    {"cpus", KEY_CPUS, "A,B", 0, "ring: the two threads' CPUs (0,1)", 0},
    {"seconds", 's', "S", 0, "measured time of each row (3)", 0},
    {"json", KEY_JSON, NULL, 0, "one JSON object a line", 0},
    {0},
};

static unsigned long number(struct argp_state *state, const char *text, unsigned long min, unsigned long max)
{
    char *end;
    unsigned long value = strtoul(text, &end, 10);
    if (end == text || *end != '\0' || value < min || value > max)
        argp_error(state, "\"%s\" is not a number from %lu to %lu", text, min, max);
    return value;
}

static error_t parse_word(struct argp_state *state, struct floor_options *options, char *word)
{
    if (state->arg_num == 0) {
        options->command = word;
        if (strcmp(word, "hop") != 0 && strcmp(word, "ring") != 0 && strcmp(word, "certificate") != 0)
            argp_error(state, "the commands are hop, ring and certificate");
    } else if (state->arg_num <= 2 && strcmp(options->command, "certificate") == 0) {
        options->files[state->arg_num - 1] = word;
    } else {
        argp_error(state, "\"%s\" is too much", word);
    }
    return 0;
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct floor_options *options = state->input;
    switch (key) {
    case 'p':
        options->payload = number(state, arg, 1, 999955);
        return 0;
    case KEY_MESSAGE:
        options->message = number(state, arg, 1, 999999);
        return 0;
    case KEY_ANSWER:
        options->hop.answer_bytes = number(state, arg, 0, 1000);
        return 0;
    case 'n':
        options->hop.pairs = (uint32_t)number(state, arg, 1, 4096);
        return 0;
    case 'w':
        options->hop.window = (uint32_t)number(state, arg, 1, 4096);
        return 0;
    case 'c':
        options->hop.cpu = strcmp(arg, "-1") == 0 ? -1 : (int)number(state, arg, 0, 1023);
        return 0;
    case 's':
        options->hop.measure_ms = (uint32_t)(number(state, arg, 1, 3600) * 1000);
        return 0;
    case KEY_EACH:
        options->hop.batch = false;
        return 0;
    case KEY_TLS:
        options->hop.tls = true;
        return 0;
    case KEY_CPUS:
        if (sscanf(arg, "%d,%d", &options->cpus[0], &options->cpus[1]) != 2)
            argp_error(state, "--cpus takes two numbers: A,B");
        return 0;
    case KEY_JSON:
        options->json = true;
        return 0;
    case ARGP_KEY_ARG:
        return parse_word(state, options, arg);
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static size_t netstring_bytes(size_t len)
{
    return (size_t)snprintf(NULL, 0, "%zu", len) + 1 + len + 1;
}

// The SendData frame of a Buckets client (protocols/buckets.md "Framing", RFC 6455 5.2).
static size_t frame_bytes(size_t payload)
{
    size_t message = netstring_bytes(1 + netstring_bytes(32) + netstring_bytes(payload));
    return message + 4 + (message < 126 ? 2 : message < 65536 ? 4 : 10);
}

static int run_hop(const struct floor_options *options)
{
    struct hop_options hop = options->hop;
    struct hop_result result;
    hop.message_bytes = options->message != 0 ? options->message : frame_bytes(options->payload);
    int status = hop_measure(&hop, &result);
    if (status != 0) {
        fprintf(stderr, "floor: %s\n", strerror(-status));
        return 1;
    }
    double messages = (double)(result.messages > 0 ? result.messages : 1), seconds = (double)result.wall_ns / 1e9;
    double cpu_us = (double)result.cpu_ns / 1e3 / messages;
    if (options->json)
        printf("{\"kind\":\"hop\",\"payload\":%zu,\"frame\":%zu,\"pairs\":%u,\"window\":%u,\"tls\":%s,\"batch\":%s,\"messages\":%llu,"
               "\"seconds\":%.3f,\"cpu_us_per_message\":%.4f,\"messages_per_second\":%.0f,\"p50_us\":%.2f,\"p99_us\":%.2f,"
               "\"cipher\":\"%s\"}\n",
               options->payload, hop.message_bytes, hop.pairs, hop.window, hop.tls ? "true" : "false", hop.batch ? "true" : "false",
               (unsigned long long)result.messages, seconds, cpu_us, messages / seconds, (double)result.p50_ns / 1e3,
               (double)result.p99_ns / 1e3, result.cipher);
    else
        printf("%-5s %-6s %8zu B  %4u x %-4u %9.3f us/message %11.0f messages/s   p50 %8.1f us   p99 %8.1f us\n", hop.tls ? "TLS" : "plain",
               hop.batch ? "batch" : "each", options->payload, hop.pairs, hop.window, cpu_us, messages / seconds,
               (double)result.p50_ns / 1e3, (double)result.p99_ns / 1e3);
    fflush(stdout);
    return 0;
}

static int run_ring(const struct floor_options *options)
{
    for (int mode = 0; mode < HANDOFF_MODES; mode++) {
        struct handoff_result result;
        int status = handoff_measure((enum handoff_mode)mode, options->cpus, options->hop.measure_ms, &result);
        if (status != 0) {
            fprintf(stderr, "floor: ring: %s\n", strerror(-status));
            return 1;
        }
        double records = (double)(result.records > 0 ? result.records : 1);
        const char *format = options->json
                                 ? "{\"kind\":\"ring\",\"mode\":\"%s\",\"records\":%llu,\"wall_ns\":%.1f,\"producer_cpu_ns\":%.1f,"
                                   "\"consumer_cpu_ns\":%.1f,\"wakes_per_record\":%.4f}\n"
                                 : "ring  %-22s %12llu records %9.1f ns each, CPU %.1f + %.1f ns, %.4f wakes a record\n";
        printf(format, handoff_mode_name((enum handoff_mode)mode), (unsigned long long)result.records, (double)result.wall_ns / records,
               (double)result.producer_cpu_ns / records, (double)result.consumer_cpu_ns / records, (double)result.wakes / records);
    }
    return 0;
}

// The rows that tools/bench/run sets relays against.
static int run_table(struct floor_options *options)
{
    static const struct {
        size_t payload;
        uint32_t pairs, window;
    } rows[] = {{100, 20, 8}, {1024, 20, 8}, {100, 1, 32}, {1024, 1, 32}, {100, 1, 1}, {1024, 1, 1}, {16384, 4, 8}, {524288, 1, 2}};
    int failures = 0;
    for (unsigned variant = 0; variant < 4; variant++) {
        options->hop.tls = variant >= 2;
        options->hop.batch = variant % 2 == 0;
        for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
            options->payload = rows[i].payload;
            options->hop.pairs = rows[i].pairs;
            options->hop.window = rows[i].window;
            failures += run_hop(options);
        }
    }
    return run_ring(options) + failures;
}

int main(int argc, char **argv)
{
    static const struct argp argp = {
        table, parse, "[hop|ring|certificate KEY-FILE CERTIFICATE-FILE]", "The least that a relay costs on this machine.", NULL,
        NULL,  NULL};
    struct floor_options options = {
        .payload = 100,
        .hop = {.pairs = 20, .window = 8, .batch = true, .cpu = 0, .warmup_ms = 300, .measure_ms = 3000},
        .cpus = {0, 1},
    };
    argp_err_exit_status = 2;
    argp_parse(&argp, argc, argv, 0, NULL, &options);
    if (options.command && strcmp(options.command, "certificate") == 0)
        return options.files[1] && selfsigned_write(options.files[0], options.files[1]) ? 0 : 1;
    if (!options.command)
        return run_table(&options) == 0 ? 0 : 1;
    return strcmp(options.command, "hop") == 0 ? run_hop(&options) : run_ring(&options);
}
