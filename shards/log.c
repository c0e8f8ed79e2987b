// Lines on stderr. Its rule: a line is built on the caller's stack and leaves with one write(2), so that threads need no lock. Any thread.
#include "shards/log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "shards/base/check.h"

static const char *const level_names[] = {[LOG_ERROR] = "ERROR", [LOG_WARN] = "WARN", [LOG_INFO] = "INFO", [LOG_DEBUG] = "DEBUG"};

static atomic_int level_max = LOG_INFO;
static atomic_uint_fast64_t lines_lost;
static _Thread_local int node_of_thread = -1;

// Text that grows up to its limit and then is marked as cut.
struct text {
    char *bytes;
    size_t used;
    size_t bytes_max; // with room for "..." and what closes the text
    bool is_cut;
};

void log_open(enum log_level level)
{
    CHECK(level <= LOG_DEBUG);
    atomic_store_explicit(&level_max, (int)level, memory_order_relaxed);
}

bool log_enabled(enum log_level level)
{
    return (int)level <= atomic_load_explicit(&level_max, memory_order_relaxed);
}

void log_node(int node_index)
{
    CHECK(node_index >= -1);
    node_of_thread = node_index;
}

uint64_t log_lines_lost(void)
{
    return atomic_load_explicit(&lines_lost, memory_order_relaxed);
}

static void put(struct text *text, const char *bytes, size_t len)
{
    if (text->is_cut || len > text->bytes_max - text->used) {
        text->is_cut = true;
        return;
    }
    memcpy(text->bytes + text->used, bytes, len);
    text->used += len;
}

static void put_escaped(struct text *text, const char *from, bool is_quoted)
{
    for (; *from != '\0' && !text->is_cut; from++) {
        char escaped[5];
        if (is_quoted && (*from == '"' || *from == '\\')) {
            escaped[0] = '\\';
            escaped[1] = *from;
            put(text, escaped, 2);
        } else if (*from < ' ' || *from > '~') {
            snprintf(escaped, sizeof(escaped), "\\x%02x", (unsigned char)*from);
            put(text, escaped, 4);
        } else {
            put(text, from, 1);
        }
    }
}

// Bytes kept free by bytes_max are used here.
static void close_text(struct text *text, const char *end)
{
    if (text->is_cut) {
        memcpy(text->bytes + text->used, "...", 3);
        text->used += 3;
    }
    memcpy(text->bytes + text->used, end, strlen(end));
    text->used += strlen(end);
}

const char *log_value(const char *text, struct log_value *buffer)
{
    bool is_plain = *text != '\0';
    for (const char *c = text; *c != '\0' && is_plain; c++)
        is_plain = *c > ' ' && *c <= '~' && *c != '"' && *c != '\\' && *c != '=';
    if (is_plain && strlen(text) < sizeof(buffer->text))
        return text;
    struct text quoted = {.bytes = buffer->text, .bytes_max = sizeof(buffer->text) - sizeof("...\"")};
    put(&quoted, "\"", 1);
    put_escaped(&quoted, text, /* is_quoted= */ true);
    close_text(&quoted, "\"");
    CHECK(quoted.used < sizeof(buffer->text));
    buffer->text[quoted.used] = '\0';
    return buffer->text;
}

// "2026-01-31T23:59:59.123Z INFO 3 EVENT ": time in UTC, level, node ("-": none), event.
static void put_head(struct text *line, enum log_level level, const char *event)
{
    struct timespec now;
    struct tm utc;
    char head[128], node[16] = "-";
    CHECK(clock_gettime(CLOCK_REALTIME, &now) == 0);
    CHECK(gmtime_r(&now.tv_sec, &utc) != NULL);
    if (node_of_thread >= 0)
        snprintf(node, sizeof(node), "%d", node_of_thread);
    size_t used = strftime(head, sizeof(head), "%Y-%m-%dT%H:%M:%S", &utc);
    CHECK(used > 0);
    int len = snprintf(head + used, sizeof(head) - used, ".%03ldZ %s %s ", now.tv_nsec / 1000000, level_names[level], node);
    CHECK(len > 0 && (size_t)len < sizeof(head) - used);
    put(line, head, used + (size_t)len);
    put_escaped(line, event, /* is_quoted= */ false);
}

static void write_line(const char *line, size_t len)
{
    ssize_t written;
    do
        written = write(STDERR_FILENO, line, len);
    while (written < 0 && errno == EINTR);
    if (written != (ssize_t)len) // there is nowhere to say so, but in the counter
        atomic_fetch_add_explicit(&lines_lost, 1, memory_order_relaxed);
}

void log_write(enum log_level level, const char *event, const char *format, ...)
{
    CHECK(level <= LOG_DEBUG);
    if (!log_enabled(level))
        return;
    char values[LOG_LINE_BYTES_MAX]; // what does not fit here does not fit into the line either, and is marked as cut there
    va_list arguments;
    va_start(arguments, format);
    int len = vsnprintf(values, sizeof(values), format, arguments);
    va_end(arguments);
    CHECK(len >= 0);

    char bytes[LOG_LINE_BYTES_MAX];
    struct text line = {.bytes = bytes, .bytes_max = sizeof(bytes) - strlen("...\n")};
    put_head(&line, level, event);
    if (len > 0)
        put(&line, " ", 1);
    put_escaped(&line, values, /* is_quoted= */ false);
    close_text(&line, "\n");
    CHECK(line.used <= sizeof(bytes));
    write_line(bytes, line.used);
}
