// One event a line on stderr: time level shard EVENT key=value... Never payload, password, token or whole key.
// Lines are written whole with one write(2); any thread. Bytes that are not printable ASCII appear as \xNN; a line is at most
// LOG_LINE_BYTES_MAX long with its end, and ends with "..." when it was cut.
#pragma once
#include "shards/base/error.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LOG_LINE_BYTES_MAX 1024

void log_open(enum log_level level); // lines above this level (less severe) are dropped
bool log_enabled(enum log_level level);
void log_node(int node_index); // names the calling thread's node in its lines (-1: main)

uint64_t log_lines_lost(void); // lines that stderr did not take whole, since the start

// For values from outside: `text` itself when it is one plain word, else quoted and escaped in `buffer` (cut with "..." when too long).
struct log_value {
    char text[128];
};
const char *log_value(const char *text, struct log_value *buffer);

// event: a stable upper-case name. format: printf form of "key=value key2=value2"; may be "".
__attribute__((format(printf, 3, 4))) void log_write(enum log_level level, const char *event, const char *format, ...);
#define LOG(level, event, ...) (log_enabled(LOG_##level) ? log_write(LOG_##level, event, __VA_ARGS__) : (void)0)
