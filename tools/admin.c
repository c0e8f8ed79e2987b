// adduser and stats, as the original prints them, and the look before the server starts.
#include "tools/admin.h"
#include "auth/basic.h"
#include "auth/password.h"
#include "shards/base/check.h"
#include "store/store.h"
#include "tools/admin_internal.h"
#include <jansson.h>
#include <sodium.h>
#include <string.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

int admin_fail(const char *what)
{
    fprintf(stderr, "shardrelay: %s\n", what);
    return 1;
}

// One line without its end. false: none, or longer than a password may be.
static bool read_line(FILE *in, char line[PASSWORD_LINE_MAX])
{
    if (fgets(line, PASSWORD_LINE_MAX, in) == NULL)
        return false;
    size_t len = strcspn(line, "\n");
    bool whole = line[len] == '\n' || feof(in);
    if (len > 0 && line[len - 1] == '\r')
        len--;
    line[len] = '\0';
    return whole && len <= BASIC_PASSWORD_MAX;
}

// From the terminal, without echo; standard input and output stay free.
static bool ask_terminal(char line[PASSWORD_LINE_MAX])
{
    FILE *terminal = fopen("/dev/tty", "r+e");
    struct termios before;
    if (terminal == NULL)
        return false;
    bool got = false;
    if (tcgetattr(fileno(terminal), &before) == 0) {
        struct termios silent = before;
        silent.c_lflag &= ~(tcflag_t)ECHO;
        fputs("Password? ", terminal);
        fflush(terminal);
        tcsetattr(fileno(terminal), TCSAFLUSH, &silent);
        got = read_line(terminal, line);
        tcsetattr(fileno(terminal), TCSAFLUSH, &before);
        fputc('\n', terminal);
    }
    fclose(terminal);
    return got;
}

static bool read_password(const struct options *options, char line[PASSWORD_LINE_MAX])
{
    if (!options->password_stdin) {
        if (ask_terminal(line))
            return true;
        fputs("shardrelay: no password from the terminal; --password-stdin reads it from standard input\n", stderr);
        return false;
    }
    fputs("Password? ", stdout); // drop-in: the original prompts here too
    fflush(stdout);
    if (read_line(stdin, line))
        return true;
    fprintf(stderr, "shardrelay: no password on standard input, or one of more than %d bytes\n", BASIC_PASSWORD_MAX);
    return false;
}

// What Basic credentials can carry (RFC 7617: no colon in the user).
static const char *bad_email(const char *email)
{
    size_t len = strlen(email);
    if (len == 0)
        return "the e-mail address is empty";
    if (len > BASIC_USER_MAX || len > STORE_EMAIL_MAX)
        return "the e-mail address is too long";
    for (size_t i = 0; i < len; i++) {
        if (email[i] == ':' || (unsigned char)email[i] <= ' ' || email[i] == 0x7f)
            return "an e-mail address has no spaces, colons or control characters";
    }
    return NULL;
}

static int add(const char *database, const char *email, const char *password)
{
    char error[STORE_ERROR_MAX];
    char hash[PASSWORD_HASH_MAX];
    int64_t id;
    if (!password_hash(bytes_text(password), hash))
        return admin_fail("too little memory to hash the password");
    struct store *store = store_open(database, error, sizeof error);
    if (store == NULL)
        return admin_fail(error);
    int code = 0;
    switch (store_user_add(store, email, hash, true, &id)) {
    case STORE_OK:
        CHECK(id > 0);
        printf("added user %s\n", email);
        break;
    case STORE_EXISTS:
        fprintf(stderr, "shardrelay: the user %s exists already\n", email);
        code = 1;
        break;
    default:
        code = admin_fail(store_error(store));
        break;
    }
    store_close(store);
    return code;
}

bool admin_get_password(const struct options *options, char ret_line[PASSWORD_LINE_MAX])
{
    bool got = read_password(options, ret_line);
    if (got && ret_line[0] == '\0')
        fputs("shardrelay: the password is empty\n", stderr);
    return got && ret_line[0] != '\0';
}

int admin_adduser(const struct options *options)
{
    CHECK(options->argument_count == 1 && options->config.database != NULL);
    char password[PASSWORD_LINE_MAX];
    const char *bad = bad_email(options->arguments[0]);
    if (bad != NULL)
        return admin_fail(bad);
    if (!admin_get_password(options, password))
        return 1;
    int code = add(options->config.database, options->arguments[0], password);
    sodium_memzero(password, sizeof password);
    return code;
}

struct store *admin_open(const struct options *options)
{
    CHECK(options->config.database != NULL);
    char error[STORE_ERROR_MAX];
    if (access(options->config.database, F_OK) != 0) {
        fprintf(stderr, "shardrelay: there is no database %s\n", options->config.database);
        return NULL;
    }
    struct store *store = store_open(options->config.database, error, sizeof error);
    if (store == NULL)
        admin_fail(error);
    return store;
}

json_t *admin_json_text(const char *text)
{
    json_t *value = json_string(text);
    if (value != NULL)
        return value;
    char readable[4 * STORE_EMAIL_MAX + 1];
    size_t at = 0;
    for (size_t i = 0; text[i] != '\0' && at + 4 < sizeof readable; i++) {
        if ((unsigned char)text[i] < 0x80)
            readable[at++] = text[i];
        else
            at += (size_t)snprintf(readable + at, sizeof readable - at, "\\x%02x", (unsigned)(unsigned char)text[i]);
    }
    readable[at] = '\0';
    return json_string(readable);
}

int admin_print_json(const json_t *value)
{
    return json_dumpf(value, stdout, JSON_INDENT(2) | JSON_PRESERVE_ORDER) == 0 && putchar('\n') != EOF ? 0 : 1;
}

void admin_print_text(const char *text, int columns)
{
    json_t *readable = admin_json_text(text);
    for (const char *at = json_string_value(readable); at != NULL && *at != '\0'; at++) {
        putchar((unsigned char)*at < ' ' || *at == 0x7f ? '?' : *at); // nothing that a terminal would obey
        columns -= ((unsigned char)*at & 0xc0) != 0x80;
    }
    for (; columns > 0; columns--)
        putchar(' ');
    json_decref(readable);
}

static json_t *top_json(const struct store_top *top, size_t count, const char *name)
{
    json_t *list = json_array();
    for (size_t i = 0; i < count; i++) {
        json_t *row = json_object();
        json_object_set_new(row, "sent", json_integer(top[i].sent_bytes));
        json_object_set_new(row, "recv", json_integer(top[i].recv_bytes));
        json_object_set_new(row, name, admin_json_text(top[i].name));
        json_array_append_new(list, row);
    }
    return list;
}

static int print_json(const struct store_stats *stats)
{
    json_t *object = json_object();
    json_object_set_new(object, "days", json_integer(stats->days));
    json_object_set_new(object, "users", top_json(stats->users, stats->user_count, "user"));
    json_object_set_new(object, "ips", top_json(stats->addresses, stats->address_count, "ip"));
    int code = admin_print_json(object);
    json_decref(object);
    return code;
}

static void print_top(const struct store_top *top, size_t count, const char *name)
{
    printf("%-40s %16s %16s\n", name, "SENT BYTES", "RECEIVED BYTES");
    for (size_t i = 0; i < count; i++) {
        admin_print_text(top[i].name[0] != '\0' ? top[i].name : "(deleted)", 40);
        printf(" %16lld %16lld\n", (long long)top[i].sent_bytes, (long long)top[i].recv_bytes);
    }
}

int admin_stats(const struct options *options)
{
    char today[STORE_DAY_BYTES];
    struct store_stats stats;
    struct store *store = admin_open(options);
    if (store == NULL)
        return 1;
    store_day(time(NULL), today);
    int code = 0;
    if (store_stats(store, today, options->days, &stats) != STORE_OK) {
        code = admin_fail(store_error(store));
    } else if (options->table) {
        print_top(stats.users, stats.user_count, "USER");
        putchar('\n');
        print_top(stats.addresses, stats.address_count, "ADDRESS");
    } else { // as the original prints it
        code = print_json(&stats);
    }
    store_close(store);
    return code;
}

static bool nobody(const struct options *options, char *error_text, size_t error_max)
{
    const char *key = options->config.licence_key;
    if (options->config.allow_empty || (key != NULL && key[0] != '\0')) // licences make their users
        return true;
    snprintf(error_text, error_max,
             "nobody could log in: %s has no users. Add one with\n    shardrelay -d %s adduser EMAIL\n"
             "or set RELAY_USERNAME and RELAY_PASSWORD for a single user, or start anyway with --allow-empty",
             options->config.database, options->config.database);
    return false;
}

bool admin_has_users(const struct options *options, char *error_text, size_t error_max)
{
    const char *database = options->config.database;
    uint64_t count;
    CHECK(database != NULL && error_max > 0);
    if (access(database, F_OK) != 0)
        return nobody(options, error_text, error_max);
    struct store *store = store_open(database, error_text, error_max);
    if (store == NULL)
        return false;
    bool read = store_user_count(store, &count) == STORE_OK;
    if (!read)
        snprintf(error_text, error_max, "%s: %s", database, store_error(store));
    store_close(store);
    return read && (count > 0 || nobody(options, error_text, error_max));
}
