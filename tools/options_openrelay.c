// What is particular to OpenRelay among the options: the environment that OpenRelay-Server reads, and defaults of the command openrelay.
#include <string.h>

#include "shards/base/check.h"
#include "tools/options.h"

static const struct option_row *row_of(size_t offset)
{
    for (size_t i = 0; i < option_count; i++)
        if (option_rows[i].offset == offset)
            return &option_rows[i];
    UNREACHABLE();
}

bool options_openrelay_environment(struct options *options, char *const *environment)
{
    static const struct {
        const char *name;
        size_t offset;
    } variables[] = {{"PORT", offsetof(struct options, port)},
                     {"BIND_ADDR", offsetof(struct options, address)},
                     {"LOG_LEVEL", offsetof(struct options, config.log_level)}};
    if ((options->command->bit & COMMAND_OPENRELAY) == 0)
        return true;
    for (size_t i = 0; i < sizeof(variables) / sizeof(variables[0]); i++) {
        const char *text = options_environment(environment, variables[i].name);
        if (text != NULL && strcmp(text, "trace") == 0)
            text = "debug"; // there is nothing below it here
        if (text != NULL && !options_set(options, row_of(variables[i].offset), text, variables[i].name))
            return false;
    }
    return true;
}

bool options_finish_openrelay(struct options *options)
{
    struct server_config *config = &options->config;
    bool basic = strcmp(options->openrelay_auth, "basic") == 0;
    if (!basic && strcmp(options->openrelay_auth, "none") != 0)
        return options_fail(options, "--openrelay-auth: \"%.80s\" is neither none nor basic", options->openrelay_auth);
    config->openrelay.basic = basic;
    if ((options->command->bit & COMMAND_OPENRELAY) == 0)
        return true;
    config->openrelay.enabled = config->openrelay.only = true;
    if (!options_given(options, offsetof(struct options, port)))
        options->port = 3000;
    if (!basic)
        config->database = NULL; // nobody logs in
    return true;
}
