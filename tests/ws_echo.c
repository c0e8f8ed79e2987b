// ws_echo: an echo server over the relay's own net/ code, for WebSocket conformance suites, which need an echoing peer.
//   ws_echo [--port N] [--max-message BYTES] [--no-deflate] [--user NAME --password TEXT]
// Any path echoes; with --user HTTP Basic is asked for. One rule: nothing here but the room; frames, limits and closes are the relay's.
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "net/server.h"
#include "net/shard.h"

#define SECOND_NS 1000000000ull

static void on_open(struct conn *conn)
{
    (void)conn;
}

static size_t on_input(struct conn *conn, uint8_t *ptr, size_t len, bool first, bool last, uint8_t opcode)
{
    (void)first;
    (void)last;
    (void)conn_send(conn, opcode, bytes_of(NULL, 0), bytes_of(ptr, len), bytes_of(NULL, 0), /* is_data= */ true);
    if (conn->out.bytes > 65536)
        conn_wait_flushed(conn);
    return len;
}

static bool on_resume(struct conn *conn)
{
    (void)conn;
    return true;
}

static void on_event(struct conn *conn, enum router_event event, const struct key *key)
{
    (void)conn, (void)event, (void)key;
}

static void on_data(struct conn *conn, const struct key *sender, struct bytes payload)
{
    (void)conn, (void)sender, (void)payload;
}

static struct room echo_room = {
    .name = "echo",
    .whole_messages = true,
    .text_taken = true,
    .message_bytes_max = 16u << 20,
    .inflated_bytes_max = 16u << 20,
    .on_open = on_open,
    .on_input = on_input,
    .on_resume = on_resume,
    .on_event = on_event,
    .on_data = on_data,
    .on_close = on_open,
};

static uint64_t number_of(const char *text, uint64_t max)
{
    char *end;
    unsigned long long value = strtoull(text, &end, 10);
    if (*end != '\0' || value == 0 || value > max) {
        fprintf(stderr, "ws_echo: not a number from 1 to %llu: %s\n", (unsigned long long)max, text);
        exit(2);
    }
    return value;
}

int main(int argc, char **argv)
{
    static const struct option options[] = {{"port", required_argument, NULL, 'p'},     {"max-message", required_argument, NULL, 'm'},
                                            {"no-deflate", no_argument, NULL, 'd'},     {"user", required_argument, NULL, 'u'},
                                            {"password", required_argument, NULL, 'w'}, {NULL, 0, NULL, 0}};
    struct server_config config = {
        .listener_count = 1,
        .listeners = {{.scheme = LISTEN_BUCKETS, .family = LISTEN_IPV4, .address = "127.0.0.1", .port = 9001}},
        .single_user = "echo",
        .single_password = "echo",
        .shard_count = 1,
        .deflate = true,
        .queue_bytes_max = 1u << 20,
        .sessions_max = 4096,
        .memory_bytes_max = 1u << 30,
        .http_timeout_ns = 10 * SECOND_NS,
        .iam_timeout_ns = 10 * SECOND_NS,
        .ping_interval_ns = 50 * SECOND_NS,
        .slow_timeout_ns = 30 * SECOND_NS,
        .stop_timeout_ns = 5 * SECOND_NS,
        .remember_ns = 600 * SECOND_NS,
        .store_interval_ns = 5 * SECOND_NS,
        .log_level = LOG_WARN,
    };
    struct route route = {.path = "", .below = true, .room = &echo_room};
    for (int option; (option = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        if (option == 'p')
            config.listeners[0].port = (uint16_t)number_of(optarg, UINT16_MAX);
        else if (option == 'm')
            echo_room.message_bytes_max = echo_room.inflated_bytes_max = number_of(optarg, 64u << 20);
        else if (option == 'd')
            config.deflate = false;
        else if (option == 'u')
            config.single_user = optarg;
        else if (option == 'w')
            config.single_password = optarg;
        else
            return 2;
        route.login = route.login || option == 'u';
    }
    return server_run_routes(&config, &route, 1);
}
