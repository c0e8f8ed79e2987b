// shardrelay: the server and the commands around it. A new command is a row in `commands`, a bit in options.h and a function. Main thread.
#include "net/server.h"
#include "shards/base/check.h"
#include "shards/cpus.h"
#include "shards/log.h"
#include "tools/admin.h"
#include "tools/backbone_admin.h"
#include "tools/options.h"
#include <errno.h>
#include <sodium.h>
#include <string.h>
#include <unistd.h>

// What only this machine can tell about the options.
static bool cpus_sound(const struct server_config *config)
{
    struct cpus allowed;
    struct cpus chosen;
    if (config->cpus == NULL || cpus_allowed(&allowed) != 0)
        return true;
    int bad = cpus_parse(config->cpus, &allowed, &chosen);
    if (bad != 0)
        fprintf(stderr, "shardrelay: --cpus: \"%.80s\" %s\n", config->cpus,
                bad == -ERANGE ? "names a CPU that this process may not use" : "is not a list such as 2-5,8");
    return bad == 0;
}

static int run_server(const struct options *options)
{
    char error[OPTIONS_ERROR_MAX];
    if (!cpus_sound(&options->config))
        return 2;
    if (options->check_config)
        return options_print(stdout, options) ? 0 : 1;
    if (options->config.database != NULL && !admin_has_users(options, error, sizeof error)) {
        fprintf(stderr, "shardrelay: %s\n", error);
        return 1;
    }
    return server_run(&options->config);
}

static int run_help(const struct options *options);

static const struct command commands[] = {
    {"server", COMMAND_SERVER, "", 0, 0, "run the relay", run_server},
    {"openrelay", COMMAND_SERVER | COMMAND_OPENRELAY, "", 0, 0, "run as an OpenRelay server alone, on port 3000 or PORT", run_server},
    {"adduser", COMMAND_ADDUSER, "EMAIL", 1, 1, "add a user who may log in at once", admin_adduser},
    {"passwd", COMMAND_PASSWD, "EMAIL", 1, 1, "give a user another password; ends the user's sessions", admin_passwd},
    {"blockuser", COMMAND_USER, "EMAIL", 1, 1, "keep a user out; ends the user's sessions", admin_blockuser},
    {"unblockuser", COMMAND_USER, "EMAIL", 1, 1, "let a user in again", admin_unblockuser},
    {"disablelicense", COMMAND_USER, "EMAIL", 1, 1, "keep out the license that a user used last; ends the user's sessions",
     admin_disablelicense},
    {"deluser", COMMAND_USER, "EMAIL", 1, 1, "delete a user with tokens and usage; ends the user's sessions", admin_deluser},
    {"listusers", COMMAND_LISTUSERS, "", 0, 0, "list the users", admin_listusers},
    {"sessions", COMMAND_SESSIONS, "", 0, 0, "list the connections of the server that runs on this database", admin_sessions},
    {"metrics", COMMAND_METRICS, "", 0, 0, "print that server's counters in Prometheus' text format", admin_metrics},
    {"backup", COMMAND_BACKUP, "FILE", 1, 1, "copy the database into a new file, also while the server runs", admin_backup},
    {"stats", COMMAND_STATS, "", 0, 0, "print the usage of users and addresses as JSON", admin_stats},
    {"backbone", COMMAND_BACKBONE, "adduser | listusers | deluser UUID | import DIR", 1, 2, "the clients of Backbone; effective at once",
     backbone_admin},
    {"help", COMMAND_HELP, "[COMMAND]", 0, 1, "tell about a command; \"options\": all options as a table in Markdown", run_help},
};
#define COMMAND_COUNT (sizeof commands / sizeof *commands)

static int run_help(const struct options *options)
{
    CHECK(options->argument_count <= 1);
    if (options->argument_count == 0) {
        options_help(stdout, commands, COMMAND_COUNT, NULL);
        return 0;
    }
    if (strcmp(options->arguments[0], "options") == 0) {
        options_markdown(stdout);
        return 0;
    }
    for (size_t i = 0; i < COMMAND_COUNT; i++) {
        if (strcmp(options->arguments[0], commands[i].name) == 0) {
            options_help(stdout, commands, COMMAND_COUNT, &commands[i]);
            return 0;
        }
    }
    fprintf(stderr, "shardrelay: unknown command %.80s\n", options->arguments[0]);
    return 1;
}

int main(int argc, char **argv)
{
    static struct options options;
    if (sodium_init() < 0) {
        fputs("shardrelay: libsodium does not start\n", stderr);
        return 1;
    }
    int code = options_parse(&options, commands, COMMAND_COUNT, argc, argv, environ);
    if (code != 0) {
        const char *command = options.command != NULL ? options.command->name : "";
        fprintf(stderr, "shardrelay: %s\nTry: shardrelay %s%s--help\n", options.error, command, command[0] != '\0' ? " " : "");
    } else if (options.version) {
        puts("shardrelay " SHARDRELAY_VERSION);
    } else if (options.help) {
        options_help(stdout, commands, COMMAND_COUNT, options.command);
    } else {
        log_open(options.config.log_level);
        code = options.command->run(&options);
    }
    options_fini(&options);
    if (fflush(stdout) != 0 && code == 0)
        code = 1;
    return code;
}
