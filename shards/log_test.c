// Lines as they leave on stderr, which is a pipe here.
#include "shards/log.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "shards/base/check.h"

static int stderr_saved;
static int pipe_fds[2];
static char captured[8192];

static void capture_start(void)
{
    stderr_saved = dup(STDERR_FILENO);
    CHECK(stderr_saved >= 0);
    CHECK(pipe2(pipe_fds, O_NONBLOCK) == 0);
    CHECK(dup2(pipe_fds[1], STDERR_FILENO) >= 0);
}

static const char *capture_end(void)
{
    CHECK(dup2(stderr_saved, STDERR_FILENO) >= 0);
    ssize_t got = read(pipe_fds[0], captured, sizeof(captured) - 1);
    captured[got > 0 ? got : 0] = '\0';
    close(pipe_fds[0]);
    close(pipe_fds[1]);
    close(stderr_saved);
    printf("%s", captured);
    return captured;
}

// "2026-01-31T23:59:59.123Z " in front; returns what follows.
static const char *after_time(const char *line)
{
    static const char form[] = "dddd-dd-ddTdd:dd:dd.dddZ ";
    for (size_t i = 0; form[i] != '\0'; i++)
        CHECK(form[i] == 'd' ? line[i] >= '0' && line[i] <= '9' : line[i] == form[i]);
    return line + strlen(form);
}

static void test_lines(void)
{
    log_open(LOG_INFO);
    capture_start();
    LOG(INFO, "STARTED", "shards=%d", 4);
    CHECK(strcmp(after_time(capture_end()), "INFO - STARTED shards=4\n") == 0);

    log_node(3);
    capture_start();
    LOG(ERROR, "EMPTY", "%s", "");
    CHECK(strcmp(after_time(capture_end()), "ERROR 3 EMPTY\n") == 0);

    capture_start();
    LOG(WARN, "CONTROL", "text=%s", "a\nb\t\x1b[2Jc\x7f\xc3\xa9 end");
    CHECK(strcmp(after_time(capture_end()), "WARN 3 CONTROL text=a\\x0ab\\x09\\x1b[2Jc\\x7f\\xc3\\xa9 end\n") == 0);
    log_node(-1);
}

static void test_levels(void)
{
    static const enum log_level levels[] = {LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG};
    for (size_t i = 0; i < 4; i++) {
        log_open(levels[i]);
        capture_start();
        LOG(ERROR, "E", "%s", "");
        LOG(WARN, "W", "%s", "");
        LOG(INFO, "I", "%s", "");
        LOG(DEBUG, "D", "%s", "");
        log_write(LOG_DEBUG, "D2", "%s", ""); // filtered without the macro too
        size_t lines = 0;
        for (const char *c = capture_end(); *c != '\0'; c++)
            lines += *c == '\n';
        CHECK(lines == (levels[i] == LOG_DEBUG ? 5 : i + 1));
        CHECK(log_enabled(levels[i]));
        CHECK(i == 3 || !log_enabled(levels[i + 1]));
    }
    log_open(LOG_INFO);
}

static void test_long_lines(void)
{
    char longest[3000];
    for (size_t len = 900; len < 1100; len++) { // around the limit: whole or marked, never more
        memset(longest, 'x', len);
        longest[len] = '\0';
        capture_start();
        LOG(INFO, "LONG", "v=%s.", longest);
        const char *line = capture_end();
        size_t got = strlen(line);
        CHECK(got <= LOG_LINE_BYTES_MAX);
        CHECK(line[got - 1] == '\n');
        bool is_whole = strcmp(line + got - 3, "x.\n") == 0;
        CHECK(is_whole || strcmp(line + got - 5, "x...\n") == 0);
        CHECK(is_whole == (strlen("2026-01-31T23:59:59.123Z INFO - LONG v=.") + len <= LOG_LINE_BYTES_MAX - 4));
    }
    memset(longest, '\n', sizeof(longest) - 1); // four bytes each
    longest[sizeof(longest) - 1] = '\0';
    capture_start();
    LOG(INFO, "LONG", "v=%s", longest);
    const char *line = capture_end();
    CHECK(strlen(line) <= LOG_LINE_BYTES_MAX);
    CHECK(strcmp(line + strlen(line) - 8, "\\x0a...\n") == 0);
}

static void test_values(void)
{
    struct log_value value;
    const char *plain = "user@example.org";
    CHECK(log_value(plain, &value) == plain);
    CHECK(strcmp(log_value("", &value), "\"\"") == 0);
    CHECK(strcmp(log_value("two words", &value), "\"two words\"") == 0);
    CHECK(strcmp(log_value("a=b", &value), "\"a=b\"") == 0);
    CHECK(strcmp(log_value("a\"b\\c\n", &value), "\"a\\\"b\\\\c\\x0a\"") == 0);
    char longest[300];
    memset(longest, 'x', sizeof(longest) - 1);
    longest[sizeof(longest) - 1] = '\0';
    const char *cut = log_value(longest, &value);
    CHECK(strlen(cut) < sizeof(value.text));
    CHECK(strncmp(cut, "\"x", 2) == 0);
    CHECK(strcmp(cut + strlen(cut) - 5, "x...\"") == 0);
}

static void test_lost_lines_are_counted(void)
{
    CHECK(log_lines_lost() == 0);
    signal(SIGPIPE, SIG_IGN);
    capture_start();
    close(pipe_fds[0]);
    LOG(INFO, "LOST", "%s", "");
    capture_end();
    CHECK(log_lines_lost() == 1);
}

static void *write_some(void *unused)
{
    for (int i = 0; i < 20; i++)
        LOG(INFO, "LINE", "a=%d bbbbbbbbbbbbbbbbbbbbbbbb", 1);
    return unused;
}

static void test_two_threads(void)
{
    pthread_t thread;
    capture_start();
    CHECK(pthread_create(&thread, NULL, write_some, NULL) == 0);
    write_some(NULL);
    CHECK(pthread_join(thread, NULL) == 0);
    int lines = 0;
    for (const char *line = capture_end(); *line != '\0'; line = strchr(line, '\n') + 1, lines++)
        CHECK(strncmp(after_time(line), "INFO - LINE a=1 bbbbbbbbbbbbbbbbbbbbbbbb\n", 41) == 0);
    CHECK(lines == 40);
}

int main(void)
{
    test_lines();
    test_levels();
    test_long_lines();
    test_values();
    test_lost_lines_are_counted();
    test_two_threads();
    return 0;
}
