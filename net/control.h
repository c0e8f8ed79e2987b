// The control socket: a UNIX socket beside the database (mode 0600) by which `shardrelay sessions` and `shardrelay metrics` ask a running
// server. A client sends one line, "sessions" or "metrics", and reads to the end: JSON lines ending with {"end":true}, or Prometheus' text
// format ending with "# EOF"; without that last line the answer is not whole. It cannot change anything.
// One rule: shards are asked for a bounded piece, the next one only when the client has taken the last. Thread: the main node.
#pragma once
#include <stdio.h>
#include <string.h>

#include "net/config.h"
#include "shards/node.h"

#define CONTROL_SESSIONS_END "{\"end\":true}\n"
#define CONTROL_METRICS_END "# EOF\n"

// Where it lies: as configured, else beside the database. false: nowhere, or the path is too long for a socket.
static inline bool control_path(const struct server_config *config, char ret_path[CONFIG_ADDRESS_MAX])
{
    int len = 0;
    if (config->control != NULL && config->control[0] != '\0')
        len = snprintf(ret_path, CONFIG_ADDRESS_MAX, "%s", config->control);
    else if (config->database != NULL)
        len = snprintf(ret_path, CONFIG_ADDRESS_MAX, "%s.control", config->database);
    return len > 0 && len < CONFIG_ADDRESS_MAX;
}

struct control;
// Listens at path, replacing a socket that nobody answers on. NULL: it cannot; error_text says why.
struct control *control_create(const char *path, struct node *node, uint16_t shard_count, uint16_t accounts_node, char *error_text,
                               size_t error_max);
// Hangs up on everybody and removes the socket. Before the node's end. Takes NULL.
void control_destroy(struct control *control);
void control_on_report(struct control *control, const struct post_record *record); // RECORD_REPORT; takes NULL
