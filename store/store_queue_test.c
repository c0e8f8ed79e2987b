// The queue's file: order, expiry, reopening, rollback, files that are not ours.
#include <stdio.h>

#include "shards/base/check.h"
#include "store/store_queue.h"
#include "store/testdir.h"

static uint8_t one[STORE_QUEUE_KEY_BYTES] = {1}, two[STORE_QUEUE_KEY_BYTES] = {2};

struct seen {
    char text[512];
    uint64_t last;
    int stop_after;
};

static bool on_row(void *owner, const struct store_queue_row *row)
{
    struct seen *seen = owner;
    char part[64];
    snprintf(part, sizeof(part), "%llu:%.*s(%llu) ", (unsigned long long)row->number, (int)row->text.len, (const char *)row->text.ptr,
             (unsigned long long)row->text_bytes);
    strncat(seen->text, part, sizeof(seen->text) - strlen(seen->text) - 1);
    seen->last = row->number;
    return --seen->stop_after != 0;
}

static struct store_queue *open_queue(const char *path)
{
    char error[STORE_ERROR_MAX] = "";
    struct store_queue *queue = store_queue_open(path, error, sizeof(error));
    if (queue == NULL)
        fprintf(stderr, "%s\n", error);
    CHECK(queue != NULL);
    return queue;
}

static void add(struct store_queue *queue, uint64_t number, const uint8_t *recipient, int64_t expires_s, const char *text)
{
    const struct store_queue_row row = {.number = number,
                                        .recipient = recipient,
                                        .sender = two,
                                        .expires_s = expires_s,
                                        .text_bytes = strlen(text),
                                        .text = bytes_text(text)};
    CHECK(store_queue_add(queue, &row) == STORE_OK);
}

static void expect(struct store_queue *queue, const uint8_t *recipient, uint64_t after, int64_t wall_s, const char *expected)
{
    struct seen seen = {.text = ""};
    CHECK(store_queue_read(queue, recipient, after, wall_s, on_row, &seen) == STORE_OK);
    if (strcmp(seen.text, expected) != 0)
        fprintf(stderr, "got \"%s\", expected \"%s\"\n", seen.text, expected);
    CHECK(strcmp(seen.text, expected) == 0);
}

static void test_rows(const char *path)
{
    struct store_queue *queue = open_queue(path);
    add(queue, 1, one, 100, "a");
    add(queue, 2, two, 100, "b");
    add(queue, 3, one, 50, "c");
    add(queue, 4, one, 200, "d");
    CHECK(store_queue_commit(queue) == STORE_OK && store_queue_commit(queue) == STORE_OK);
    if (path != NULL) { // only what was committed is there
        add(queue, 5, one, 200, "lost");
        store_queue_close(queue);
        queue = open_queue(path);
    }
    expect(queue, one, 0, 50, "1:a(1) 3:c(1) 4:d(1) ");
    expect(queue, one, 0, 51, "1:a(1) 4:d(1) ");
    expect(queue, one, 1, 51, "4:d(1) ");
    struct seen seen = {.stop_after = 1};
    CHECK(store_queue_read(queue, one, 0, 0, on_row, &seen) == STORE_OK && strcmp(seen.text, "1:a(1) ") == 0);
    seen = (struct seen){.text = ""};
    CHECK(store_queue_expired(queue, 101, 2, on_row, &seen) == STORE_OK && strcmp(seen.text, "3:(1) 1:(1) ") == 0);
    CHECK(store_queue_delete(queue, 3) == STORE_OK);
    seen = (struct seen){.text = ""};
    CHECK(store_queue_upto(queue, one, 3, on_row, &seen) == STORE_OK && strcmp(seen.text, "1:(1) ") == 0);
    CHECK(store_queue_delete_upto(queue, one, 1) == STORE_OK);
    expect(queue, one, 0, 0, "4:d(1) ");
    store_queue_rollback(queue);
    expect(queue, one, 0, 0, "1:a(1) 3:c(1) 4:d(1) ");
    expect(queue, two, 0, 0, "2:b(1) ");
    store_queue_close(queue);
}

static void test_month(void)
{
    struct store_queue *queue = open_queue(NULL);
    uint32_t month = 0;
    uint64_t bytes = 0;
    CHECK(store_queue_month_get(queue, &month, &bytes) == STORE_NOT_FOUND);
    CHECK(store_queue_month_set(queue, 24300, 5) == STORE_OK && store_queue_month_set(queue, 24301, INT64_MAX) == STORE_OK);
    CHECK(store_queue_month_get(queue, &month, &bytes) == STORE_OK && month == 24301 && bytes == INT64_MAX);
    store_queue_close(queue);
}

static void refuse(const char *path, const char *reason)
{
    char error[STORE_ERROR_MAX] = "";
    CHECK(store_queue_open(path, error, sizeof(error)) == NULL);
    if (strstr(error, reason) == NULL)
        fprintf(stderr, "\"%s\" does not say \"%s\"\n", error, reason);
    CHECK(strstr(error, reason) != NULL && strstr(error, path) != NULL);
}

int main(void)
{
    struct testdir dir;
    testdir_init(&dir);
    test_rows(dir.file);
    test_rows(NULL);
    test_month();
    testdir_empty(&dir);
    testdir_sql(dir.file, "CREATE TABLE user (id INTEGER)");
    refuse(dir.file, "not a queue of messages");
    FILE *file = fopen(dir.file, "w");
    CHECK(file != NULL && fputs("this is no database, and it is long enough to be seen as none: 0123456789 0123456789", file) >= 0);
    fclose(file);
    refuse(dir.file, "not a database");
    refuse(dir.path, "directory");
    refuse("/nowhere/at/all", "No such file");
    testdir_fini(&dir);
    return 0;
}
