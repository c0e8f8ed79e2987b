// relayload --here: what this machine can carry. Starts a relay of its own on free ports of 127.0.0.1 (single-user mode), measures the
// floor, one shard, two shards and TLS (when the relay has it) for a few seconds each, prints a table, ends the relay. Main thread.
#pragma once
#include "tools/relayload/args.h"

// Exit code: 0; 1: the relay did not start, or a measurement failed.
int here_run(const struct args *args);
