// tools/options: sources and their precedence, what is refused and in which words.
#include "shards/base/check.h"
#include "tools/options.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const struct command commands[] = {
    {"server", COMMAND_SERVER, "", 0, 0, "run", NULL},
    {"adduser", COMMAND_ADDUSER, "EMAIL", 1, 1, "add", NULL},
    {"stats", COMMAND_STATS, "[ONE]", 0, 1, "sum", NULL},
};

static struct options options;

// Parses "shardrelay <words>" (split at spaces) with these variables (NULL: none).
static int parse(const char *words, char *const *environment)
{
    static char text[4096];
    char *argv[160] = {(char *)"shardrelay"};
    int argc = 1;
    snprintf(text, sizeof text, "%s", words);
    char *rest = text;
    for (char *word = strsep(&rest, " "); word != NULL; word = strsep(&rest, " ")) {
        CHECK(argc < (int)(sizeof argv / sizeof *argv));
        if (word[0] != '\0')
            argv[argc++] = word;
    }
    options_fini(&options);
    int code = options_parse(&options, commands, sizeof commands / sizeof *commands, argc, argv, environment);
    fprintf(stderr, "%s: %d %s\n", words, code, options.error);
    CHECK((code == 0) == (options.error[0] == '\0'));
    return code;
}

static void refused(const char *words, int code, const char *sentence)
{
    CHECK(parse(words, NULL) == code);
    CHECK(strstr(options.error, sentence) != NULL);
}

// Writes a config file and parses "server --config FILE <words>".
static int parse_file(const char *json, const char *words, char *const *environment)
{
    char path[] = "/tmp/options_test.XXXXXX";
    char line[512];
    int fd = mkstemp(path);
    CHECK(fd >= 0 && write(fd, json, strlen(json)) == (ssize_t)strlen(json));
    close(fd);
    snprintf(line, sizeof line, "server --config %s %s", path, words);
    int code = parse(line, environment);
    unlink(path);
    return code;
}

static void test_defaults(void)
{
    const struct server_config *config = &options.config;
    CHECK(parse("server", NULL) == 0);
    CHECK(options.command == &commands[0]);
    CHECK(config->listener_count == 1 && config->listeners[0].port == 9001 && strcmp(config->listeners[0].address, "127.0.0.1") == 0);
    CHECK(strcmp(config->database, "bucketsrelay.sqlite") == 0 && config->single_user == NULL);
    CHECK(config->pin && config->deflate && !config->allow_empty && config->shard_count == 0 && config->cpus == NULL);
    CHECK(config->queue_bytes_max == 1 << 20 && config->slow_timeout_ns == 30000000000u && config->stop_timeout_ns == 5000000000u);
    CHECK(config->remember_ns == 600000000000u && config->store_interval_ns == 5000000000u && config->log_level == LOG_INFO);
}

static void test_command_line(void)
{
    const struct server_config *config = &options.config;
    CHECK(parse("-d one.db server -p 80 -a ::1 --shards 4 --no-pin --no-deflate --queue-bytes 64k --slow-timeout=2m --log-level debug",
                NULL) == 0);
    CHECK(strcmp(config->database, "one.db") == 0 && config->listeners[0].family == LISTEN_IPV6 && config->listeners[0].port == 80);
    CHECK(config->shard_count == 4 && !config->pin && !config->deflate && config->queue_bytes_max == 65536);
    CHECK(config->slow_timeout_ns == 120000000000u && config->log_level == LOG_DEBUG);
    CHECK(parse("server -d two.db", NULL) == 0 && strcmp(config->database, "two.db") == 0);
    CHECK(parse("-d one.db server --database two.db", NULL) == 0 && strcmp(config->database, "two.db") == 0);
    CHECK(parse("server --listen 127.0.0.1:1 --listen [::1]:2", NULL) == 0 && config->listener_count == 2);
    CHECK(config->listeners[0].port == 1 && config->listeners[1].port == 2);
    CHECK(parse("server --listen 127.0.0.1:1 -p 3", NULL) == 0 && config->listener_count == 2 && config->listeners[0].port == 3);
    CHECK(parse("adduser me@me.com --password-stdin", NULL) == 0 && options.password_stdin && options.argument_count == 1);
    CHECK(strcmp(options.arguments[0], "me@me.com") == 0);
    CHECK(parse("-d x stats --days 7", NULL) == 0 && options.days == 7);
    CHECK(parse("stats one --days 7", NULL) == 0 && options.argument_count == 1);
    CHECK(parse("--help", NULL) == 0 && options.help && options.command == NULL);
    CHECK(parse("server --help", NULL) == 0 && options.help && options.command == &commands[0]);
    CHECK(parse("adduser --help", NULL) == 0 && options.help);
    CHECK(parse("--version", NULL) == 0 && options.version);
}

static void test_refused(void)
{
    refused("", 1, "no command");
    refused("sever", 1, "unknown command sever: did you mean server?");
    refused("frobnicate", 1, "unknown command frobnicate");
    refused("server --prot 80", 2, "unknown option --prot: did you mean --port?");
    refused("server --queue-byte=5 --zzz", 2, "unknown option --zzz");
    refused("server --frobnicate", 2, "unknown option --frobnicate");
    refused("--port 80 server", 2, "unknown option --port");
    refused("server -z", 2, "unknown option -z");
    refused("server --no-pin -zq", 2, "unknown option -z");
    refused("server --port", 2, "option --port needs an argument (N)");
    refused("server -p", 2, "option -p needs an argument (N)");
    refused("server --no-pin=1", 2, "option --no-pin takes no argument");
    refused("server --password x", 2, "unknown option --password");
    refused("server now", 2, "what is \"now\"?");
    refused("adduser", 2, "adduser needs EMAIL");
    refused("adduser a b", 2, "what is \"b\"?");
    refused("stats a b", 2, "what is \"b\"?");
    refused("server -p 0", 2, "--port: \"0\" is not a number from 1 to 65535");
    refused("server -p 65536", 2, "from 1 to 65535");
    refused("server -p 80x", 2, "--port: \"80x\"");
    refused("server --queue-bytes 1k", 2, "--queue-bytes: \"1k\" is not a size from 64k to 1g");
    refused("server --iam-timeout 2d", 2, "--iam-timeout: \"2d\" is not a time from 100ms to 1d");
    refused("server --log-level loud", 2, "none of error, warn, info, debug");
    refused("server -a localhost", 2, "--address: \"localhost\" is not an IPv4 or IPv6 address");
    refused("server --listen nowhere", 2, "--listen: \"nowhere\"");
    refused("server --config /nonexistent/file", 2, "/nonexistent/file");
    char many[4096] = "server";
    size_t len = strlen(many);
    for (int i = 0; i <= CONFIG_LISTENERS_MAX; i++)
        len += (size_t)snprintf(many + len, sizeof many - len, " --listen 127.0.0.1:9");
    refused(many, 2, "at most 64 listeners");
}

static void test_environment(void)
{
    const struct server_config *config = &options.config;
    char *const one[] = {(char *)"SHARDRELAY_PORT=81",
                         (char *)"SHARDRELAY_NO_PIN=1",
                         (char *)"SHARDRELAY_DATABASE=env.db",
                         (char *)"SHARDRELAY_QUEUE_BYTES=",
                         (char *)"SHARDRELAY_LISTEN=127.0.0.1:1,unix:/x",
                         NULL};
    CHECK(parse("server", one) == 0);
    CHECK(!config->pin && strcmp(config->database, "env.db") == 0 && config->queue_bytes_max == 1 << 20);
    CHECK(config->listener_count == 3 && config->listeners[0].port == 81 && config->listeners[2].family == LISTEN_UNIX);
    CHECK(parse("-d line.db server -p 82", one) == 0 && config->listeners[0].port == 82 && strcmp(config->database, "line.db") == 0);
    CHECK(parse("server --listen 127.0.0.1:5", one) == 0 && config->listener_count == 2 && config->listeners[1].port == 5);
    CHECK(parse("stats", one) == 0);

    char *const bad[] = {(char *)"SHARDRELAY_PORT=tcp://10.0.0.1:80", NULL};
    CHECK(parse("server", bad) == 2 && strstr(options.error, "SHARDRELAY_PORT: \"tcp://10.0.0.1:80\"") != NULL);
    char *const truth[] = {(char *)"SHARDRELAY_NO_PIN=maybe", NULL};
    CHECK(parse("server", truth) == 2 && strstr(options.error, "SHARDRELAY_NO_PIN") != NULL);

    char *const solo[] = {(char *)"RELAY_USERNAME=Solo", (char *)"RELAY_PASSWORD=pw", NULL};
    CHECK(parse("server", solo) == 0 && config->database == NULL);
    CHECK(strcmp(config->single_user, "Solo") == 0 && strcmp(config->single_password, "pw") == 0);
    CHECK(parse("-d x.db server", solo) == 2 && strstr(options.error, "choose one") != NULL);
    CHECK(parse("adduser me", solo) == 0 && config->database != NULL);
    CHECK(parse("server", solo + 1) == 2 && strstr(options.error, "together") != NULL);
}

static void file_refused(const char *json, const char *sentence)
{
    CHECK(parse_file(json, "", NULL) == 2);
    CHECK(strstr(options.error, sentence) != NULL);
}

static void test_file(void)
{
    const struct server_config *config = &options.config;
    char *const environment[] = {(char *)"SHARDRELAY_PORT=81", (char *)"SHARDRELAY_SHARDS=2", NULL};
    const char *json = "{\"port\":80,\"shards\":1,\"queue_bytes\":\"128k\",\"remember\":60,\"no_deflate\":true,\"memory_bytes\":33554432,"
                       "\"listen\":[\"127.0.0.1:7\",\"unix:/x\"],\"database\":\"file.db\",\"log_level\":\"warn\"}";
    CHECK(parse_file(json, "--shards 3", environment) == 0);
    CHECK(config->listener_count == 3 && config->listeners[0].port == 81 && config->listeners[1].port == 7 && config->shard_count == 3);
    CHECK(config->queue_bytes_max == 131072 && config->remember_ns == 60000000000u && !config->deflate &&
          config->memory_bytes_max == 33554432);
    CHECK(strcmp(config->database, "file.db") == 0 && config->log_level == LOG_WARN);
    CHECK(parse_file("{\"listen\":\"127.0.0.1:7\",\"no_pin\":false}", "", NULL) == 0 && config->listener_count == 1 && config->pin);
    CHECK(parse_file("{\"username\":\"u\",\"password\":\"p\"}", "", NULL) == 0 && config->single_user != NULL && config->database == NULL);

    file_refused("{\"prot\":80}", "unknown key /prot: did you mean /port?");
    file_refused("{\"zzz\":80}", "unknown key /zzz");
    file_refused("{\"check_config\":true}", "unknown key /check_config");
    file_refused("{\"port\":\"80\"}", "/port: must be a whole number");
    file_refused("{\"port\":80.5}", "/port: must be a whole number");
    file_refused("{\"port\":-1}", "/port: \"-1\" is not a number from 1 to 65535");
    file_refused("{\"no_pin\":1}", "/no_pin: must be true or false");
    file_refused("{\"queue_bytes\":true}", "/queue_bytes: must be a number of bytes");
    file_refused("{\"remember\":[1]}", "/remember: must be a number of seconds");
    file_refused("{\"listen\":[\"127.0.0.1:7\",8]}", "/listen/1: must be a string");
    file_refused("{\"listen\":[\"x\"]}", "/listen/0: \"x\"");
    file_refused("{\"database\":\"\"}", "/database: must not be empty");
    file_refused("{\"port\":80,\"port\":81}", "duplicate");
    file_refused("{\"port\":80", "line 1");
    file_refused("[]", "one JSON object");
}

// What --check-config prints is a config file with the same effect.
static void test_print(void)
{
    char *text = NULL;
    char *again = NULL;
    size_t len;
    CHECK(parse("server --no-pin --queue-bytes 3m --listen [::1]:80 --shards 2 --slow-timeout 1500ms", NULL) == 0);
    FILE *out = open_memstream(&text, &len);
    CHECK(out != NULL && options_print(out, &options) && fclose(out) == 0);
    CHECK(parse_file(text, "", NULL) == 0);
    out = open_memstream(&again, &len);
    CHECK(out != NULL && options_print(out, &options) && fclose(out) == 0);
    CHECK(strcmp(text, again) == 0 && strstr(text, "buckets:[::1]:80") != NULL && strstr(text, "\"1500ms\"") != NULL);
    free(text);
    free(again);

    char *const solo[] = {(char *)"RELAY_USERNAME=Solo", (char *)"RELAY_PASSWORD=hunter2", NULL};
    CHECK(parse("server", solo) == 0);
    out = open_memstream(&text, &len);
    CHECK(out != NULL && options_print(out, &options) && fclose(out) == 0);
    CHECK(strstr(text, "hunter2") == NULL);
    free(text);
}

static void test_help(void)
{
    char *text = NULL;
    size_t len;
    FILE *out = open_memstream(&text, &len);
    CHECK(out != NULL);
    options_help(out, commands, 3, &commands[0]);
    options_help(out, commands, 3, NULL);
    options_markdown(out);
    CHECK(fclose(out) == 0);
    for (size_t i = 0; i < option_count; i++) {
        char row[64];
        snprintf(row, sizeof row, option_rows[i].place == PLACE_SECRET ? "%s" : "`--%s", option_rows[i].name);
        CHECK(option_rows[i].place == PLACE_SECRET || strstr(text, row) != NULL);
        for (size_t j = 0; j < i; j++)
            CHECK(strcmp(option_rows[i].name, option_rows[j].name) != 0);
    }
    CHECK(strstr(text, "--listen=ADDR:PORT") != NULL && strstr(text, "adduser") != NULL && strstr(text, "RELAY_PASSWORD") != NULL);
    free(text);
}

int main(void)
{
    test_defaults();
    test_command_line();
    test_refused();
    test_environment();
    test_file();
    test_print();
    test_help();
    options_fini(&options);
    return 0;
}
