// What only a running server knows, asked by its control socket (net/control.h). An answer without its last line is not whole.
#include "net/control.h"
#include "shards/base/check.h"
#include "tools/admin.h"
#include "tools/admin_internal.h"
#include <errno.h>
#include <jansson.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define LINE_MAX_BYTES 1024

// Sends the question; the answer can be read from the stream. NULL: told on stderr.
static FILE *ask(const struct options *options, const char *question)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    char path[CONFIG_ADDRESS_MAX];
    if (!control_path(&options->config, path)) {
        admin_fail("the path of the control socket is too long: give a shorter one to this and the server with --control");
        return NULL;
    }
    snprintf(address.sun_path, sizeof address.sun_path, "%s", path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    size_t len = strlen(question);
    FILE *stream = NULL;
    if (fd >= 0 && connect(fd, (const struct sockaddr *)&address, sizeof address) == 0 && write(fd, question, len) == (ssize_t)len)
        stream = fdopen(fd, "r");
    if (stream == NULL) {
        fprintf(stderr, "shardrelay: no server answers at %s: %s\n", path, strerror(errno));
        if (fd >= 0)
            close(fd);
    }
    return stream;
}

static int broken(void)
{
    return admin_fail("the server broke off its answer: it is stopping, busy with others who ask, or short of memory");
}

int admin_metrics(const struct options *options)
{
    char line[LINE_MAX_BYTES];
    FILE *answer = ask(options, "metrics\n");
    if (answer == NULL)
        return 1;
    bool whole = false;
    while (fgets(line, sizeof line, answer) != NULL) {
        fputs(line, stdout);
        whole = strcmp(line, CONTROL_METRICS_END) == 0;
    }
    fclose(answer);
    return whole ? 0 : broken();
}

// Account ids mean nothing to people. Without a database, in single-user mode, there are no names.
static void name_account(struct store *store, json_t *session)
{
    struct store_user user;
    json_int_t id = json_integer_value(json_object_get(session, "account"));
    bool found = store != NULL && id > 0 && store_user_get(store, id, &user) == STORE_OK;
    json_object_set_new(session, "user", found ? admin_json_text(user.email) : json_null());
}

static void print_session(json_t *session)
{
    const char *user = json_string_value(json_object_get(session, "user"));
    const char *key = json_string_value(json_object_get(session, "key"));
    const char *state = json_string_value(json_object_get(session, "state"));
    const char *address = json_string_value(json_object_get(session, "address"));
    CHECK(key != NULL && state != NULL && address != NULL);
    admin_print_text(user != NULL ? user : "-", 32);
    printf(" %-16s %-10s %-24s %11lld %12lld %8lld %6lld\n", key[0] != '\0' ? key : "-", state, address,
           (long long)json_integer_value(json_object_get(session, "connections")),
           (long long)json_integer_value(json_object_get(session, "queued_bytes")),
           (long long)json_integer_value(json_object_get(session, "silent_s")),
           (long long)json_integer_value(json_object_get(session, "shard")));
}

// Prints what arrives, one session a line. Returns whether the answer was whole.
static bool print_sessions(FILE *answer, struct store *store, bool json)
{
    char line[LINE_MAX_BYTES];
    size_t count = 0;
    if (!json)
        printf("%-32s %-16s %-10s %-24s %11s %12s %8s %6s\n", "USER", "DEVICE", "STATE", "ADDRESS", "CONNECTIONS", "QUEUED BYTES",
               "SILENT S", "SHARD");
    while (fgets(line, sizeof line, answer) != NULL) {
        if (strcmp(line, CONTROL_SESSIONS_END) == 0) {
            if (json)
                puts(count > 0 ? "\n]" : "[]");
            return true;
        }
        json_t *session = json_loads(line, 0, NULL);
        if (session == NULL)
            return false;
        name_account(store, session);
        if (json) {
            fputs(count > 0 ? ",\n" : "[\n", stdout);
            json_dumpf(session, stdout, JSON_PRESERVE_ORDER);
        } else {
            print_session(session);
        }
        count++;
        json_decref(session);
    }
    return false;
}

int admin_sessions(const struct options *options)
{
    char error[STORE_ERROR_MAX];
    FILE *answer = ask(options, "sessions\n");
    if (answer == NULL)
        return 1;
    struct store *store = NULL;
    if (access(options->config.database, F_OK) == 0)
        store = store_open(options->config.database, error, sizeof error);
    bool whole = print_sessions(answer, store, options->json);
    store_close(store);
    fclose(answer);
    return whole ? 0 : broken();
}
