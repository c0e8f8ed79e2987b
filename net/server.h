// The running relay: shards, accounts node, hashing nodes, and the main thread that waits for signals.
#pragma once
#include "net/config.h"
#include <stddef.h>

// Runs until SIGTERM or SIGINT, then stops gracefully. Returns the exit code; on failure to start 1, with a sentence on stderr.
// Main thread; once per process.
int server_run(const struct server_config *config);

// The same with other rooms than the relay's own (tests/ws_echo).
struct route;
int server_run_routes(const struct server_config *config, const struct route *routes, size_t route_count);
