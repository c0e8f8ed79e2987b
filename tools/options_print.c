// What people read of the options: --help, the README's table, and the effective configuration.
#include "shards/base/check.h"
#include "tools/options.h"
#include "tools/values.h"
#include <argp.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

// The sentence of one option with its default and variables.
static void describe(const struct option_row *row, char *ret_text, size_t text_max)
{
    char name[64];
    options_variable(row, name, sizeof name);
    int len = snprintf(ret_text, text_max, "%s", row->help);
    if (row->text != NULL)
        len += snprintf(ret_text + len, text_max - (size_t)len, " (default %s)", row->text);
    if (row->place != PLACE_COMMAND_LINE)
        len += snprintf(ret_text + len, text_max - (size_t)len, " [%s%s%s]", name, row->environment != NULL ? ", " : "",
                        row->environment != NULL ? row->environment : "");
    CHECK(len > 0 && (size_t)len < text_max);
}

static void help_secrets(FILE *out, unsigned commands)
{
    bool any = false;
    for (size_t i = 0; i < option_count; i++) {
        const struct option_row *row = &option_rows[i];
        if (row->place != PLACE_SECRET || (row->commands & commands) == 0 || row->commands == COMMAND_ANY)
            continue;
        char text[320];
        describe(row, text, sizeof text);
        fprintf(out, "%s  %s\n", any ? "" : "\nIn the environment or the config file only:\n", text);
        any = true;
    }
}

// argp's note about "corresponding short options" says what every reader knows.
static char *without_note(int key, const char *text, void *input)
{
    (void)input;
    return key == ARGP_KEY_HELP_DUP_ARGS_NOTE ? NULL : (char *)(uintptr_t)text;
}

void options_help(FILE *out, const struct command *commands, size_t command_count, const struct command *command)
{
    static char texts[OPTIONS_MAX][320];
    struct argp_option rows[OPTIONS_MAX + 3] = {{.name = "help", .key = 1, .doc = "print this", .group = -1},
                                                {.name = "version", .key = 2, .doc = "print the version", .group = -1}};
    size_t count = 2;
    unsigned bits = command != NULL ? command->bit : COMMAND_ANY;
    for (size_t i = 0; i < option_count; i++) {
        const struct option_row *row = &option_rows[i];
        bool shown = command != NULL ? (row->commands & bits) != 0 : row->commands == COMMAND_ANY;
        if (!shown || row->place == PLACE_SECRET)
            continue;
        describe(row, texts[i], sizeof texts[i]);
        rows[count++] = (struct argp_option){
            .name = row->name, .key = row->letter != 0 ? row->letter : 0x100 + (int)i, .arg = row->argument, .doc = texts[i]};
    }
    char name[64];
    snprintf(name, sizeof name, "shardrelay%s%s", command != NULL ? " " : "", command != NULL ? command->name : "");
    const struct argp argp = {.options = rows,
                              .help_filter = without_note,
                              .args_doc = command != NULL ? command->arguments : "COMMAND",
                              .doc = command != NULL ? command->help : "A relay for devices that find each other by key."};
    argp_help(&argp, out, ARGP_HELP_SHORT_USAGE | ARGP_HELP_LONG | ARGP_HELP_DOC, name);
    if (command != NULL) {
        help_secrets(out, bits);
        return;
    }
    fputs("\nCommands (shardrelay COMMAND --help tells more):\n", out);
    for (size_t i = 0; i < command_count; i++)
        fprintf(out, "  %-14s %-8s %s\n", commands[i].name, commands[i].arguments, commands[i].help);
}

void options_markdown(FILE *out)
{
    fputs("| option | default | environment | meaning |\n|---|---|---|---|\n", out);
    for (size_t i = 0; i < option_count; i++) {
        const struct option_row *row = &option_rows[i];
        char name[64];
        options_variable(row, name, sizeof name);
        fputs("| ", out);
        if (row->place == PLACE_SECRET)
            fputs("(not on the command line)", out);
        else if (row->letter != 0)
            fprintf(out, "`-%c`, ", row->letter);
        if (row->place != PLACE_SECRET)
            fprintf(out, "`--%s%s%s`", row->name, row->argument != NULL ? " " : "", row->argument != NULL ? row->argument : "");
        fprintf(out, " | %s | ", row->text != NULL ? row->text : "");
        if (row->place != PLACE_COMMAND_LINE)
            fprintf(out, "`%s`", name);
        if (row->environment != NULL)
            fprintf(out, ", `%s`", row->environment);
        fprintf(out, " | %s |\n", row->help);
    }
}

static json_t *listeners_json(const struct server_config *config)
{
    json_t *list = json_array();
    for (uint32_t i = 0; i < config->listener_count; i++) {
        char text[CONFIG_ADDRESS_MAX + 32];
        value_listen_text(&config->listeners[i], text, sizeof text);
        json_array_append_new(list, json_string(text));
    }
    return list;
}

static json_t *ranges_json(const struct server_config *config)
{
    json_t *list = config->trusted_count > 0 ? json_array() : NULL;
    for (uint32_t i = 0; i < config->trusted_count; i++) {
        char text[ADDRESS_RANGE_TEXT_MAX];
        json_array_append_new(list, json_string(address_range_text(&config->trusted[i], text)));
    }
    return list;
}

static json_t *value_json(const struct options *options, const struct option_row *row)
{
    static const char *const levels[] = {[LOG_ERROR] = "error", [LOG_WARN] = "warn", [LOG_INFO] = "info", [LOG_DEBUG] = "debug"};
    const void *at = (const char *)options + row->offset;
    char text[VALUE_TEXT_MAX];
    switch (row->type) {
    case OPTION_TEXT:
        if (*(const char *const *)at == NULL)
            return NULL;
        return json_string(row->place == PLACE_SECRET || row->place == PLACE_MASKED ? "********" : *(const char *const *)at);
    case OPTION_TRUE:
    case OPTION_FALSE:
        return json_boolean(*(const bool *)at == (row->type == OPTION_TRUE));
    case OPTION_NUMBER16:
        return json_integer(*(const uint16_t *)at);
    case OPTION_NUMBER:
        return json_integer(*(const uint32_t *)at);
    case OPTION_SIZE:
        return json_string(value_size_text(*(const uint64_t *)at, text));
    case OPTION_DURATION:
        return json_string(value_duration_text(*(const uint64_t *)at, text));
    case OPTION_LEVEL:
        return json_string(levels[*(const enum log_level *)at]);
    case OPTION_LISTEN:
        return listeners_json(&options->config);
    case OPTION_RANGE:
        return ranges_json(&options->config);
    }
    UNREACHABLE();
}

bool options_print(FILE *out, const struct options *options)
{
    json_t *object = json_object();
    for (size_t i = 0; i < option_count; i++) {
        const struct option_row *row = &option_rows[i];
        bool in_listen = row->offset == offsetof(struct options, port) || row->offset == offsetof(struct options, address);
        if (row->place == PLACE_COMMAND_LINE || in_listen)
            continue;
        char key[64];
        options_key(row, key, sizeof key);
        json_t *value = value_json(options, row);
        if (value != NULL)
            json_object_set_new(object, key, value);
    }
    bool printed = json_dumpf(object, out, JSON_INDENT(2)) == 0 && fputc('\n', out) != EOF;
    json_decref(object);
    return printed;
}
