// Identities come back as they were added, also through a second handle; strange files are refused; the file is private.
#include "store/identities.h"

#include <sys/stat.h>

#include "store/testdir.h"

static const uint8_t id_a[IDENTITY_ID_BYTES] = {1, 2, 3}, id_b[IDENTITY_ID_BYTES] = {0, 9};
static uint32_t seen;

static void on_identity(void *owner, const struct identity *identity)
{
    CHECK(owner == &seen);
    CHECK(memcmp(identity->id, seen == 0 ? id_b : id_a, IDENTITY_ID_BYTES) == 0 && strlen(identity->created) == 19);
    seen++;
}

static struct identities *opened(const char *path)
{
    char error[STORE_ERROR_MAX] = "";
    struct identities *identities = identities_open(path, error, sizeof(error));
    if (identities == NULL)
        fprintf(stderr, "%s\n", error);
    CHECK(identities != NULL);
    return identities;
}

static void test_clients(const char *path)
{
    struct identity found;
    uint32_t before, after;
    struct identities *writer = opened(path), *reader = opened(path);
    CHECK(identities_version(reader, &before) == STORE_OK);
    CHECK(identities_find(reader, id_a, &found) == STORE_NOT_FOUND);
    CHECK(identities_add(writer, id_a, bytes_text("key a")) == STORE_OK);
    CHECK(identities_add(writer, id_b, bytes_text("key b")) == STORE_OK);
    CHECK(identities_add(writer, id_a, bytes_text("key c")) == STORE_EXISTS);
    CHECK(identities_find(reader, id_a, &found) == STORE_OK && found.key_len == 5 && memcmp(found.key, "key a", 5) == 0);
    CHECK(identities_version(reader, &after) == STORE_OK && after != before);
    CHECK(identities_each(reader, on_identity, &seen) == STORE_OK && seen == 2);
    CHECK(identities_delete(writer, id_a) == STORE_OK && identities_delete(writer, id_a) == STORE_NOT_FOUND);
    CHECK(identities_find(reader, id_a, &found) == STORE_NOT_FOUND);
    identities_close(reader);
    identities_close(writer);
}

static void test_server_key(const char *path)
{
    char pem[IDENTITY_PRIVATE_MAX] = "";
    struct stat status;
    struct identities *identities = opened(path);
    CHECK(identities_server_key(identities, pem) == STORE_NOT_FOUND);
    CHECK(identities_put_server_key(identities, "the key") == STORE_OK);
    CHECK(identities_put_server_key(identities, "another") == STORE_EXISTS);
    CHECK(identities_server_key(identities, pem) == STORE_OK && strcmp(pem, "the key") == 0);
    identities_close(identities);
    CHECK(stat(path, &status) == 0 && (status.st_mode & 0777) == 0600);
}

static void test_strange_files(struct testdir *dir)
{
    char error[STORE_ERROR_MAX], path[320];
    snprintf(path, sizeof(path), "%s/other", dir->path);
    testdir_sql(path, "CREATE TABLE user (id INTEGER)");
    CHECK(identities_open(path, error, sizeof(error)) == NULL && strstr(error, "not a database of Backbone") != NULL);
    snprintf(path, sizeof(path), "%s/text", dir->path);
    FILE *file = fopen(path, "w");
    CHECK(file != NULL && fputs("hello, this is no database at all, as anyone can see\n", file) >= 0 && fclose(file) == 0);
    CHECK(identities_open(path, error, sizeof(error)) == NULL && strstr(error, "not a database") != NULL);
    snprintf(path, sizeof(path), "%s/no/such", dir->path);
    CHECK(identities_open(path, error, sizeof(error)) == NULL && strstr(error, "such") != NULL);
}

int main(void)
{
    struct testdir dir;
    testdir_init(&dir);
    test_clients(dir.file);
    test_server_key(dir.file);
    test_strange_files(&dir);
    testdir_fini(&dir);
    puts("identities: ok");
    return 0;
}
