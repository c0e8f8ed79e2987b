// The Backbone identities' commands. See backbone_admin.h.
#include "tools/backbone_admin.h"
#include "auth/rsa.h"
#include "shards/base/check.h"
#include "store/identities.h"
#include "tools/uuid.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <string.h>
#include <unistd.h>

#define PATH_BYTES_MAX 4096
#define PEM_FILE_MAX 16384

static int fail(const char *what)
{
    fprintf(stderr, "shardrelay: %s\n", what);
    return 1;
}

static int fail_file(const char *path, const char *why)
{
    fprintf(stderr, "shardrelay: %.1000s: %s\n", path, why);
    return 1;
}

// A small text file. false: said why.
static bool read_text(const char *path, char *ret_text, size_t text_max, size_t *ret_len)
{
    FILE *file = fopen(path, "re");
    if (file == NULL)
        return fail_file(path, strerror(errno)) == 0;
    size_t len = fread(ret_text, 1, text_max, file);
    bool read = ferror(file) == 0;
    fclose(file);
    if (!read || len == text_max)
        return fail_file(path, read ? "is too long for a key" : "cannot be read") == 0;
    *ret_len = len;
    return true;
}

static struct rsa_key *read_key(const char *path, bool is_private)
{
    char text[PEM_FILE_MAX];
    size_t len = 0;
    const char *why = "";
    if (!read_text(path, text, sizeof text, &len))
        return NULL;
    struct rsa_key *rsa_key = rsa_key_read(bytes_of(text, len), is_private, &why);
    sodium_memzero(text, sizeof text);
    if (rsa_key == NULL)
        fail_file(path, why);
    return rsa_key;
}

static bool write_text(const char *path, const char *text, mode_t mode)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);
    size_t len = strlen(text);
    bool written = fd >= 0 && write(fd, text, len) == (ssize_t)len;
    if (!written)
        fail_file(path, strerror(errno));
    if (fd >= 0 && close(fd) != 0)
        written = false;
    return written;
}

static int add(struct identities *identities, const uint8_t id[UUID_BYTES], const struct rsa_key *rsa_key)
{
    uint8_t der[RSA_PUBLIC_DER_MAX];
    char text[UUID_TEXT_MAX];
    size_t len = rsa_public_der(rsa_key, der);
    CHECK(len > 0 && len <= IDENTITY_KEY_MAX);
    uuid_text(id, text);
    switch (identities_add(identities, id, bytes_of(der, len))) {
    case STORE_OK:
        printf("added %s\n", text);
        return 0;
    case STORE_EXISTS:
        fprintf(stderr, "shardrelay: %s exists already\n", text);
        return 1;
    default:
        return fail(identities_error(identities));
    }
}

// Puts a new pair into the folder, the private half for its owner's eyes only.
static bool keep_pair(const struct options *options, const char *uuid, const struct rsa_key *rsa_key)
{
    char path[PATH_BYTES_MAX];
    char pem[RSA_PEM_MAX];
    snprintf(path, sizeof path, "%s/%s.pem", options->out_directory, uuid);
    bool kept = rsa_private_pem(rsa_key, pem) > 0 && write_text(path, pem, 0600);
    sodium_memzero(pem, sizeof pem);
    if (!kept)
        return false;
    printf("wrote %s (private: give it to the client and to nobody else)\n", path);
    snprintf(path, sizeof path, "%s/%s.pub.pem", options->out_directory, uuid);
    if (rsa_public_pem(rsa_key, pem) == 0 || !write_text(path, pem, 0644))
        return false;
    printf("wrote %s\n", path);
    return true;
}

static int adduser(const struct options *options, struct identities *identities)
{
    uint8_t id[UUID_BYTES];
    char text[UUID_TEXT_MAX];
    struct identity known;
    uuid_create(id);
    if (options->uuid != NULL && !uuid_parse(options->uuid, id))
        return fail("--uuid: not a UUID");
    uuid_text(id, text);
    if (identities_find(identities, id, &known) == STORE_OK) {
        fprintf(stderr, "shardrelay: %s exists already\n", text);
        return 1;
    }
    struct rsa_key *rsa_key = options->key_file != NULL ? read_key(options->key_file, false) : rsa_key_create();
    if (rsa_key == NULL)
        return 1;
    bool kept = options->key_file != NULL || keep_pair(options, text, rsa_key);
    int code = kept ? add(identities, id, rsa_key) : 1;
    rsa_key_destroy(rsa_key);
    return code;
}

static void print_identity(void *owner, const struct identity *identity)
{
    char text[UUID_TEXT_MAX];
    (void)owner;
    uuid_text(identity->id, text);
    printf("%s  %s\n", text, identity->created);
}

static int deluser(const struct options *options, struct identities *identities)
{
    uint8_t id[UUID_BYTES];
    if (options->argument_count != 2 || !uuid_parse(options->arguments[1], id))
        return fail("backbone deluser needs a UUID");
    switch (identities_delete(identities, id)) {
    case STORE_OK:
        printf("deleted %s\n", options->arguments[1]);
        return 0;
    case STORE_NOT_FOUND:
        fprintf(stderr, "shardrelay: there is no client %.80s\n", options->arguments[1]);
        return 1;
    default:
        return fail(identities_error(identities));
    }
}

// The original's folder: key.pem and .clients/<uuid>.
static int import_clients(struct identities *identities, const char *folder)
{
    char path[PATH_BYTES_MAX];
    int code = 0;
    snprintf(path, sizeof path, "%.3000s/.clients", folder);
    DIR *entries = opendir(path);
    if (entries == NULL)
        return fail_file(path, strerror(errno));
    for (struct dirent *entry = readdir(entries); entry != NULL; entry = readdir(entries)) {
        uint8_t id[UUID_BYTES];
        if (entry->d_name[0] == '.')
            continue;
        snprintf(path, sizeof path, "%.3000s/.clients/%s", folder, entry->d_name);
        struct rsa_key *rsa_key = uuid_parse(entry->d_name, id) ? read_key(path, false) : NULL;
        if (rsa_key == NULL) {
            fprintf(stderr, "shardrelay: %s: left out\n", path);
            code = 1;
            continue;
        }
        code = add(identities, id, rsa_key) != 0 ? 1 : code;
        rsa_key_destroy(rsa_key);
    }
    closedir(entries);
    return code;
}

static int import_key(struct identities *identities, const char *folder)
{
    char path[PATH_BYTES_MAX];
    char pem[RSA_PEM_MAX];
    snprintf(path, sizeof path, "%.3000s/key.pem", folder);
    struct rsa_key *rsa_key = read_key(path, true);
    if (rsa_key == NULL)
        return 1;
    CHECK(rsa_private_pem(rsa_key, pem) > 0);
    enum store_result put = identities_put_server_key(identities, pem);
    sodium_memzero(pem, sizeof pem);
    rsa_key_destroy(rsa_key);
    if (put == STORE_EXISTS)
        return fail("the server has a key already, which stays: import into a new file to take the original's");
    if (put == STORE_FAILED)
        return fail(identities_error(identities));
    printf("took the server's key\n");
    return 0;
}

static int import(const struct options *options, struct identities *identities)
{
    if (options->argument_count != 2)
        return fail("backbone import needs the original's .server folder");
    int code = import_key(identities, options->arguments[1]);
    return import_clients(identities, options->arguments[1]) != 0 ? 1 : code;
}

int backbone_admin(const struct options *options)
{
    static const char *const actions[] = {"adduser", "listusers", "deluser", "import"};
    const char *action = options->arguments[0];
    char error[STORE_ERROR_MAX];
    size_t which = 0;
    CHECK(options->argument_count >= 1 && options->config.backbone_database != NULL);
    while (which < 4 && strcmp(actions[which], action) != 0)
        which++;
    if (which == 4) {
        fprintf(stderr, "shardrelay: backbone %.80s: not one of adduser, listusers, deluser UUID, import DIR\n", action);
        return 2;
    }
    struct identities *identities = identities_open(options->config.backbone_database, error, sizeof error);
    if (identities == NULL)
        return fail(error);
    int code = 0;
    if (which == 0)
        code = adduser(options, identities);
    else if (which == 1)
        code = identities_each(identities, print_identity, NULL) == STORE_OK ? 0 : fail(identities_error(identities));
    else if (which == 2)
        code = deluser(options, identities);
    else
        code = import(options, identities);
    identities_close(identities);
    return code;
}
