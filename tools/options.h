// The command line of shardrelay: one table of options (options_table.c) that makes parsing, --help, the environment, the config file and
// the documentation. One rule: command line > environment > config file > default, and nothing wrong is passed over. Main thread only.
#pragma once
#include "net/config.h"
#include <stddef.h>
#include <stdio.h>

struct json_t;

// Which commands take an option; COMMAND_ANY ones may also stand before the command.
enum command_bit {
    COMMAND_SERVER = 1 << 0,
    COMMAND_ADDUSER = 1 << 1,
    COMMAND_STATS = 1 << 2,
    COMMAND_HELP = 1 << 3,
    COMMAND_USER = 1 << 4, // blockuser and others that take nothing but an e-mail address
    COMMAND_PASSWD = 1 << 5,
    COMMAND_LISTUSERS = 1 << 6,
    COMMAND_BACKUP = 1 << 7,
    COMMAND_SESSIONS = 1 << 8,
    COMMAND_METRICS = 1 << 9,
    COMMAND_BACKBONE = 1 << 10,
    COMMAND_OPENRELAY = 1 << 15, // with COMMAND_SERVER: takes its options too
    COMMAND_ANY = 0xffff,
};

enum option_type {
    OPTION_TEXT,     // const char *
    OPTION_TRUE,     // bool, given: true
    OPTION_FALSE,    // bool, given: false ("--no-pin" clears pin)
    OPTION_NUMBER16, // uint16_t
    OPTION_NUMBER,   // uint32_t
    OPTION_SIZE,     // uint64_t, bytes
    OPTION_DURATION, // uint64_t, ns
    OPTION_LEVEL,    // enum log_level
    OPTION_LISTEN,   // repeatable; adds to listeners
    OPTION_RANGE,    // repeatable; adds to trusted
};

enum option_place {
    PLACE_ALL = 0,
    PLACE_COMMAND_LINE = 1, // not in the environment or the config file: it says what to do now, or where the config file is
    PLACE_SECRET = 2,       // not on the command line, where everyone can read it
    PLACE_MASKED = 3,       // everywhere, but never shown: it may hold a password
};

struct option_row {
    const char *name;        // --name; SHARDRELAY_NAME; "name" in the config file ('-' becomes '_')
    char letter;             // -l, or 0
    const char *argument;    // its name in the help; NULL: a flag
    const char *text;        // default as text; NULL: none
    const char *environment; // another variable that sets it, or NULL
    enum option_type type;
    enum option_place place;
    unsigned commands; // of enum command_bit
    uint64_t min, max; // of numbers (sizes in bytes, durations in ns), inclusive
    size_t offset;     // of the value in struct options
    const char *help;
};

extern const struct option_row option_rows[];
extern const size_t option_count;

#define OPTIONS_MAX 96
#define OPTIONS_ERROR_MAX 512
#define OPTIONS_ARGUMENTS_MAX 4

struct options {
    struct server_config config;
    uint16_t port;
    const char *address;
    const char *config_file;
    const char *openrelay_auth;
    bool check_config;
    bool password_stdin;
    bool json, table;
    uint32_t days;
    const char *uuid, *key_file, *out_directory; // of the command backbone
    const struct command *command;               // NULL: none was named
    const char *arguments[OPTIONS_ARGUMENTS_MAX];
    size_t argument_count;
    bool help, version;      // asked for; nothing else is filled in then but the command
    bool given[OPTIONS_MAX]; // by row: not the default
    struct json_t *file;     // keeps the texts of the config file
    char error[OPTIONS_ERROR_MAX];
};

// A command of the program: a row and a function are all it takes.
struct command {
    const char *name;
    unsigned bit;                        // enum command_bit
    const char *arguments;               // "EMAIL", or ""
    size_t arguments_min, arguments_max; // at most OPTIONS_ARGUMENTS_MAX
    const char *help;
    int (*run)(const struct options *options); // returns the exit code
};

// Fills *ret_options from argv, environment and config file. 0, or the exit code (1 unknown or missing command, 2 anything else that is
// wrong) with a sentence in ret_options->error. Texts are borrowed from argv, environment and ret_options->file. environment: as environ.
int options_parse(struct options *ret_options, const struct command *commands, size_t command_count, int argc, char **argv,
                  char *const *environment);
void options_fini(struct options *options); // after any options_parse

// --help of the program (command NULL) or of a command.
void options_help(FILE *out, const struct command *commands, size_t command_count, const struct command *command);
void options_markdown(FILE *out);                             // the README's table
bool options_print(FILE *out, const struct options *options); // the effective server configuration as a config file; secrets masked

// Shared by the parts of this module.
void options_variable(const struct option_row *row, char *ret_name, size_t name_max); // SHARDRELAY_...
void options_key(const struct option_row *row, char *ret_key, size_t key_max);        // of the config file
// Sets one value from text; where ("--port", "SHARDRELAY_PORT") begins the error sentence. Listeners are added.
bool options_set(struct options *options, const struct option_row *row, const char *text, const char *where);
bool options_repeatable(const struct option_row *row); // OPTION_LISTEN, OPTION_RANGE
bool options_set_flag(struct options *options, const struct option_row *row, bool given);
bool options_given(const struct options *options, size_t offset);                      // of a row's value: not the default
const char *options_environment(char *const *environment, const char *name);           // NULL: unset or empty
bool options_openrelay_environment(struct options *options, char *const *environment); // PORT, BIND_ADDR, LOG_LEVEL
bool options_finish_openrelay(struct options *options);
bool options_read_file(struct options *options, const char *path);
__attribute__((format(printf, 2, 3))) bool options_fail(struct options *options, const char *format, ...); // returns false
