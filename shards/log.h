// One event a line on stderr: time level shard EVENT key=value... Never payload, password, token or whole key.
// Lines are written whole with one write(2); any thread. Values with spaces or quotes are quoted and escaped.
#pragma once
#include "shards/base/error.h"
#include <stdbool.h>

void log_open(enum log_level level);       // lines above this level (less severe) are dropped
bool log_enabled(enum log_level level);
void log_node(int node_index);             // names the calling thread's node in its lines (-1: main)

// event: a stable upper-case name. format: printf form of "key=value key2=value2"; may be "".
__attribute__((format(printf, 3, 4))) void log_write(enum log_level level, const char *event, const char *format, ...);
#define LOG(level, event, ...) (log_enabled(LOG_##level) ? log_write(LOG_##level, event, __VA_ARGS__) : (void)0)
