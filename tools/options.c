// Command line and environment of shardrelay, from the table in options_table.c. argp walks the command line; what it finds is only noted
// then, and applied after config file and environment, so that the command line wins.
#include "tools/options.h"
#include "shards/base/check.h"
#include "tools/values.h"
#include <argp.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

enum { KEY_HELP = 0x1000, KEY_VERSION, KEY_ROW }; // KEY_ROW + row

#define REPEATED_MAX (CONFIG_LISTENERS_MAX + CONFIG_TRUSTED_MAX)

// What argp found.
struct line {
    struct options *options;
    const struct command *commands;
    size_t command_count;
    bool before; // still looking for the command
    const char *texts[OPTIONS_MAX];
    struct {
        size_t row;
        const char *text;
    } repeated[REPEATED_MAX]; // of options that may be
    size_t repeated_count;
    int next; // index of the first argument after the command
    int exit_code;
};

bool options_fail(struct options *options, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    if (options->error[0] == '\0') // the first thing wrong is the one to tell
        vsnprintf(options->error, sizeof options->error, format, arguments);
    va_end(arguments);
    return false;
}

static bool takes(const struct option_row *row, unsigned commands)
{
    return row->place != PLACE_SECRET && (commands == COMMAND_ANY ? row->commands == COMMAND_ANY : (row->commands & commands) != 0);
}

static unsigned bits_of(const struct line *line)
{
    return line->before ? COMMAND_ANY : line->options->command->bit;
}

// The word "--name" or "--name=value" that getopt may have refused. false: nothing is wrong with it.
static bool tell_bad_name(struct line *line, const char *word)
{
    const char *names[OPTIONS_MAX + 2] = {"help", "version"};
    size_t count = 2;
    char name[64];
    size_t len = strcspn(word + 2, "=");
    snprintf(name, sizeof name, "%.*s", (int)(len < sizeof name ? len : sizeof name - 1), word + 2);
    for (size_t i = 0; i < option_count; i++) {
        const struct option_row *row = &option_rows[i];
        if (!takes(row, bits_of(line)))
            continue;
        names[count++] = row->name;
        if (strcmp(row->name, name) != 0)
            continue;
        bool value = word[2 + len] == '=';
        if (value == (row->argument != NULL))
            return false;
        return value ? !options_fail(line->options, "option --%s takes no argument", name)
                     : !options_fail(line->options, "option --%s needs an argument (%s)", name, row->argument);
    }
    const char *nearest = value_nearest(name, names, count);
    if (nearest != NULL)
        return !options_fail(line->options, "unknown option --%s: did you mean --%s?", name, nearest);
    return !options_fail(line->options, "unknown option --%s", name);
}

// The same for "-xyz".
static bool tell_bad_letter(struct line *line, const char *word)
{
    for (const char *letter = word + 1; *letter != '\0'; letter++) {
        const struct option_row *row = NULL;
        for (size_t i = 0; i < option_count && row == NULL; i++)
            row = option_rows[i].letter == *letter && takes(&option_rows[i], bits_of(line)) ? &option_rows[i] : NULL;
        if (row == NULL)
            return !options_fail(line->options, "unknown option -%c", *letter);
        if (row->argument != NULL)
            return letter[1] == '\0' && !options_fail(line->options, "option -%c needs an argument (%s)", *letter, row->argument);
    }
    return false;
}

static bool tell_bad_word(struct line *line, const char *word)
{
    if (word[0] != '-' || word[1] == '\0')
        return false;
    return word[1] == '-' ? tell_bad_name(line, word) : tell_bad_letter(line, word);
}

static int take_command(struct line *line, const char *name, struct argp_state *state)
{
    const char *names[OPTIONS_MAX];
    CHECK(line->command_count <= OPTIONS_MAX);
    line->next = state->next;
    state->next = state->argc;
    for (size_t i = 0; i < line->command_count; i++) {
        names[i] = line->commands[i].name;
        if (strcmp(names[i], name) == 0) {
            line->options->command = &line->commands[i];
            return 0;
        }
    }
    const char *nearest = value_nearest(name, names, line->command_count);
    if (nearest != NULL)
        options_fail(line->options, "unknown command %.80s: did you mean %s?", name, nearest);
    else
        options_fail(line->options, "unknown command %.80s", name);
    line->exit_code = 1;
    return EINVAL;
}

static error_t take_argument(struct line *line, const char *text, struct argp_state *state)
{
    struct options *options = line->options;
    if (line->before)
        return take_command(line, text, state);
    if (options->argument_count >= options->command->arguments_max) {
        options_fail(options, "%s takes %s: what is \"%.80s\"?", options->command->name,
                     options->command->arguments_max == 0 ? "no argument" : options->command->arguments, text);
        return EINVAL;
    }
    options->arguments[options->argument_count++] = text;
    return 0;
}

static error_t take_option(struct line *line, size_t row, const char *text)
{
    CHECK(row < option_count);
    if (!options_repeatable(&option_rows[row])) {
        line->texts[row] = text != NULL ? text : "true";
        return 0;
    }
    if (line->repeated_count == REPEATED_MAX) {
        options_fail(line->options, "--%s: given too often", option_rows[row].name);
        return EINVAL;
    }
    line->repeated[line->repeated_count].row = row;
    line->repeated[line->repeated_count++].text = text;
    return 0;
}

static error_t on_key(int key, char *argument, struct argp_state *state)
{
    struct line *line = state->input;
    if (key >= KEY_ROW && key < KEY_ROW + (int)option_count)
        return take_option(line, (size_t)(key - KEY_ROW), argument);
    switch (key) {
    case KEY_HELP:
        line->options->help = true;
        return 0;
    case KEY_VERSION:
        line->options->version = true;
        return 0;
    case ARGP_KEY_ARG:
        return take_argument(line, argument, state);
    case ARGP_KEY_ERROR:
        // getopt stands behind the bad word, or on it when more letters follow the bad one
        if (state->next <= 1 || !tell_bad_word(line, state->argv[state->next - 1]))
            (void)(state->next < state->argc && tell_bad_word(line, state->argv[state->next]));
        return 0;
    default:
        for (size_t i = 0; i < option_count; i++) {
            if (option_rows[i].letter != 0 && option_rows[i].letter == key && takes(&option_rows[i], bits_of(line)))
                return take_option(line, i, argument);
        }
        return ARGP_ERR_UNKNOWN;
    }
}

static bool walk(struct line *line, int argc, char **argv)
{
    struct argp_option argp_options[OPTIONS_MAX + 3] = {{.name = "help", .key = KEY_HELP}, {.name = "version", .key = KEY_VERSION}};
    size_t count = 2;
    for (size_t i = 0; i < option_count; i++) {
        const struct option_row *row = &option_rows[i];
        if (takes(row, bits_of(line)))
            argp_options[count++] =
                (struct argp_option){.name = row->name, .key = row->letter != 0 ? row->letter : KEY_ROW + (int)i, .arg = row->argument};
    }
    const struct argp argp = {.options = argp_options, .parser = on_key};
    if (argp_parse(&argp, argc, argv, ARGP_SILENT | ARGP_IN_ORDER, NULL, line) == 0)
        return true;
    return options_fail(line->options, "the command line makes no sense");
}

static bool walk_all(struct line *line, int argc, char **argv)
{
    struct options *options = line->options;
    line->before = true;
    line->exit_code = 2;
    if (!walk(line, argc, argv))
        return false;
    if (options->help || options->version)
        return true;
    if (options->command == NULL) {
        line->exit_code = 1;
        return options_fail(options, "no command given");
    }
    line->before = false;
    CHECK(line->next >= 2 && line->next <= argc && options->command->arguments_max <= OPTIONS_ARGUMENTS_MAX);
    if (!walk(line, argc - line->next + 1, argv + line->next - 1)) // the command's name stands where argp expects the program's
        return false;
    if (!options->help && options->argument_count < options->command->arguments_min)
        return options_fail(options, "%s needs %s", options->command->name, options->command->arguments);
    return true;
}

void options_variable(const struct option_row *row, char *ret_name, size_t name_max)
{
    int len = snprintf(ret_name, name_max, "SHARDRELAY_%s", row->name);
    CHECK(len > 0 && (size_t)len < name_max);
    for (char *at = ret_name; *at != '\0'; at++) {
        if (*at == '-')
            *at = '_';
        else if (*at >= 'a' && *at <= 'z')
            *at = (char)(*at - 'a' + 'A');
    }
}

void options_key(const struct option_row *row, char *ret_key, size_t key_max)
{
    int len = snprintf(ret_key, key_max, "%s", row->name);
    CHECK(len > 0 && (size_t)len < key_max);
    for (char *at = strchr(ret_key, '-'); at != NULL; at = strchr(at, '-'))
        *at = '_';
}

// An empty variable counts as unset, as compose files make them.
const char *options_environment(char *const *environment, const char *name)
{
    size_t len = strlen(name);
    for (; environment != NULL && *environment != NULL; environment++) {
        if (strncmp(*environment, name, len) == 0 && (*environment)[len] == '=')
            return (*environment)[len + 1] != '\0' ? *environment + len + 1 : NULL;
    }
    return NULL;
}

bool options_repeatable(const struct option_row *row)
{
    return row->type == OPTION_LISTEN || row->type == OPTION_RANGE;
}

bool options_set_flag(struct options *options, const struct option_row *row, bool given)
{
    CHECK(row->type == OPTION_TRUE || row->type == OPTION_FALSE);
    bool value = given == (row->type == OPTION_TRUE);
    memcpy((char *)options + row->offset, &value, sizeof value);
    options->given[row - option_rows] = true;
    return true;
}

static bool out_of_range(struct options *options, const struct option_row *row, const char *text, const char *where)
{
    char min[VALUE_TEXT_MAX];
    char max[VALUE_TEXT_MAX];
    if (row->type == OPTION_SIZE)
        return options_fail(options, "%s: \"%.80s\" is not a size from %s to %s", where, text, value_size_text(row->min, min),
                            value_size_text(row->max, max));
    if (row->type == OPTION_DURATION)
        return options_fail(options, "%s: \"%.80s\" is not a time from %s to %s", where, text, value_duration_text(row->min, min),
                            value_duration_text(row->max, max));
    return options_fail(options, "%s: \"%.80s\" is not a number from %" PRIu64 " to %" PRIu64, where, text, row->min, row->max);
}

static bool set_number(struct options *options, const struct option_row *row, const char *text, const char *where)
{
    uint64_t number;
    bool sound = row->type == OPTION_SIZE       ? value_size(text, &number)
                 : row->type == OPTION_DURATION ? value_duration(text, &number)
                                                : value_number(text, &number);
    if (!sound || number < row->min || number > row->max)
        return out_of_range(options, row, text, where);
    char *at = (char *)options + row->offset;
    uint16_t number16 = (uint16_t)number;
    uint32_t number32 = (uint32_t)number;
    if (row->type == OPTION_NUMBER16)
        memcpy(at, &number16, sizeof number16);
    else if (row->type == OPTION_NUMBER)
        memcpy(at, &number32, sizeof number32);
    else
        memcpy(at, &number, sizeof number);
    return true;
}

static bool set_level(struct options *options, const char *text, const char *where)
{
    static const char *const names[] = {[LOG_ERROR] = "error", [LOG_WARN] = "warn", [LOG_INFO] = "info", [LOG_DEBUG] = "debug"};
    for (unsigned i = 0; i < sizeof names / sizeof *names; i++) {
        if (strcmp(text, names[i]) == 0) {
            options->config.log_level = (enum log_level)i;
            return true;
        }
    }
    return options_fail(options, "%s: \"%.80s\" is none of error, warn, info, debug", where, text);
}

static bool add_listener(struct options *options, const char *text, const char *where)
{
    struct server_config *config = &options->config;
    if (config->listener_count == CONFIG_LISTENERS_MAX)
        return options_fail(options, "%s: at most %d listeners", where, CONFIG_LISTENERS_MAX);
    const char *bad = value_listen(text, &config->listeners[config->listener_count]);
    if (bad != NULL)
        return options_fail(options, "%s: \"%.120s\" %s", where, text, bad);
    config->listener_count++;
    return true;
}

static bool add_range(struct options *options, const char *text, const char *where)
{
    struct server_config *config = &options->config;
    if (config->trusted_count == CONFIG_TRUSTED_MAX)
        return options_fail(options, "%s: at most %d ranges", where, CONFIG_TRUSTED_MAX);
    if (!address_range_parse(text, &config->trusted[config->trusted_count]))
        return options_fail(options, "%s: \"%.80s\" is not a range of addresses (10.0.0.0/8, 2001:db8::/32, 127.0.0.1, unix)", where, text);
    config->trusted_count++;
    return true;
}

// What a better source says replaces the whole list.
static void clear_list(struct options *options, const struct option_row *row)
{
    CHECK(options_repeatable(row));
    if (row->type == OPTION_LISTEN)
        options->config.listener_count = 0;
    else
        options->config.trusted_count = 0;
}

bool options_set(struct options *options, const struct option_row *row, const char *text, const char *where)
{
    CHECK(text != NULL && row >= option_rows && row < option_rows + option_count);
    bool truth;
    bool set = false;
    switch (row->type) {
    case OPTION_TEXT:
        if (text[0] == '\0')
            return options_fail(options, "%s: must not be empty", where);
        memcpy((char *)options + row->offset, &text, sizeof text);
        set = true;
        break;
    case OPTION_TRUE:
    case OPTION_FALSE:
        if (!value_truth(text, &truth))
            return options_fail(options, "%s: \"%.80s\" is neither true nor false", where, text);
        return options_set_flag(options, row, truth);
    case OPTION_LEVEL:
        set = set_level(options, text, where);
        break;
    case OPTION_LISTEN:
        set = add_listener(options, text, where);
        break;
    case OPTION_RANGE:
        set = add_range(options, text, where);
        break;
    case OPTION_NUMBER16:
    case OPTION_NUMBER:
    case OPTION_SIZE:
    case OPTION_DURATION:
        set = set_number(options, row, text, where);
        break;
    }
    options->given[row - option_rows] = set;
    return set;
}

static bool set_defaults(struct options *options)
{
    for (size_t i = 0; i < option_count; i++) {
        const struct option_row *row = &option_rows[i];
        if (row->type == OPTION_TRUE || row->type == OPTION_FALSE)
            options_set_flag(options, row, false);
        else if (row->text != NULL)
            CHECK(options_set(options, row, row->text, row->name));
    }
    memset(options->given, 0, sizeof options->given);
    return true;
}

// "A,B": an address holds no comma; a path with one needs --listen or the config file.
static bool set_list_variable(struct options *options, const struct option_row *row, const char *text, const char *where)
{
    char part[CONFIG_ADDRESS_MAX + 64];
    clear_list(options, row);
    for (const char *at = text; at != NULL; at = strchr(at, ',') != NULL ? strchr(at, ',') + 1 : NULL) {
        size_t len = strcspn(at, ",");
        if (len >= sizeof part)
            return options_fail(options, "%s: \"%.120s\" is too long", where, at);
        memcpy(part, at, len);
        part[len] = '\0';
        if (!options_set(options, row, part, where))
            return false;
    }
    return true;
}

static bool set_environment(struct options *options, char *const *environment)
{
    for (size_t i = 0; i < option_count; i++) {
        const struct option_row *row = &option_rows[i];
        char name[64];
        options_variable(row, name, sizeof name);
        const char *where = name;
        const char *text = row->place != PLACE_COMMAND_LINE ? options_environment(environment, name) : NULL;
        if (text == NULL && row->environment != NULL) {
            where = row->environment;
            text = options_environment(environment, where);
        }
        if (text == NULL || (row->commands & options->command->bit) == 0)
            continue;
        if (!(options_repeatable(row) ? set_list_variable(options, row, text, where) : options_set(options, row, text, where)))
            return false;
    }
    return true;
}

static bool set_command_line(struct options *options, const struct line *line)
{
    char where[64];
    bool cleared[OPTIONS_MAX] = {false};
    for (size_t i = 0; i < option_count; i++) {
        snprintf(where, sizeof where, "--%s", option_rows[i].name);
        if (line->texts[i] != NULL && !options_set(options, &option_rows[i], line->texts[i], where))
            return false;
    }
    for (size_t i = 0; i < line->repeated_count; i++) {
        size_t row = line->repeated[i].row;
        if (!cleared[row])
            clear_list(options, &option_rows[row]);
        cleared[row] = true;
        snprintf(where, sizeof where, "--%s", option_rows[row].name);
        if (!options_set(options, &option_rows[row], line->repeated[i].text, where))
            return false;
    }
    return true;
}

bool options_given(const struct options *options, size_t offset)
{
    for (size_t i = 0; i < option_count; i++) {
        if (option_rows[i].offset == offset)
            return options->given[i];
    }
    UNREACHABLE();
}

static bool check_listeners(struct options *options)
{
    const struct server_config *config = &options->config;
    bool tls = false;
    for (uint32_t i = 0; i < config->listener_count; i++) {
        tls = tls || config->listeners[i].tls;
        if (config->listeners[i].proxy && config->trusted_count == 0)
            return options_fail(options, "--listen: proxy: needs --trusted-proxy, or anyone could claim any address");
    }
    if ((config->tls_certificate == NULL) != (config->tls_key == NULL))
        return options_fail(options, "--tls-cert and --tls-key must be given together");
    if (tls && config->tls_certificate == NULL)
        return options_fail(options, "--listen: tls: needs --tls-cert and --tls-key");
    if (!tls && (config->tls_certificate != NULL || config->tls_ocsp != NULL))
        return options_fail(options, "--tls-cert, --tls-key and --tls-ocsp need a listener with TLS: --listen tls:ADDR:PORT");
    return true;
}

// What no single option can tell.
static bool finish(struct options *options)
{
    struct server_config *config = &options->config;
    if ((options->command->bit & COMMAND_SERVER) == 0)
        return true;
    if (!options_finish_openrelay(options))
        return false;
    bool own = options_given(options, offsetof(struct options, port)) || options_given(options, offsetof(struct options, address));
    if (own || config->listener_count == 0) {
        if (config->listener_count == CONFIG_LISTENERS_MAX)
            return options_fail(options, "--listen: at most %d listeners", CONFIG_LISTENERS_MAX);
        struct listen_config first = {.scheme = LISTEN_BUCKETS, .port = options->port};
        const char *bad = value_address(options->address, &first);
        if (bad != NULL)
            return options_fail(options, "--address: \"%.80s\" %s", options->address, bad);
        memmove(config->listeners + 1, config->listeners, config->listener_count * sizeof *config->listeners);
        config->listeners[0] = first;
        config->listener_count++;
    }
    if (!check_listeners(options))
        return false;
    if (config->backbone_interval_ns * 2 > config->backbone_timeout_ns)
        return options_fail(options, "--backbone-heartbeat-timeout must be at least twice --backbone-heartbeat-interval");
    if ((config->single_user == NULL) != (config->single_password == NULL))
        return options_fail(options, "RELAY_USERNAME and RELAY_PASSWORD must be set together");
    if (config->single_user == NULL)
        return true;
    if (options_given(options, offsetof(struct options, config.database)))
        return options_fail(options, "choose one: --database for many users, or RELAY_USERNAME and RELAY_PASSWORD for a single one");
    config->database = NULL;
    return true;
}

static bool apply(struct line *line, char *const *environment)
{
    struct options *options = line->options;
    set_defaults(options);
    const char *file = options_environment(environment, "SHARDRELAY_CONFIG");
    for (size_t i = 0; i < option_count; i++) {
        if (option_rows[i].offset == offsetof(struct options, config_file) && line->texts[i] != NULL)
            file = line->texts[i];
    }
    if (file != NULL && !options_read_file(options, file))
        return false;
    bool set = options_openrelay_environment(options, environment) && set_environment(options, environment);
    return set && set_command_line(options, line) && finish(options);
}

int options_parse(struct options *ret_options, const struct command *commands, size_t command_count, int argc, char **argv,
                  char *const *environment)
{
    CHECK(argc >= 1 && commands != NULL);
    memset(ret_options, 0, sizeof *ret_options);
    struct line line = {.options = ret_options, .commands = commands, .command_count = command_count};
    if (!walk_all(&line, argc, argv))
        return line.exit_code;
    if (ret_options->help || ret_options->version)
        return 0;
    return apply(&line, environment) ? 0 : 2;
}

void options_fini(struct options *options)
{
    json_decref(options->file);
    options->file = NULL;
}
