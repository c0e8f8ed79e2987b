// The whole server: its nodes, from start to stop.
#pragma once
#include "net/config.h"

// Runs until SIGTERM or SIGINT; returns the exit code. Main thread.
int server_run(const struct server_config *config);
