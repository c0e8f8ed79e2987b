// Sums by (day, account) and (day, address), so that rows which wait over midnight count for their own day. Thread: the accounts node.
#include "net/usage.h"

#include <arpa/inet.h>
#include <stdlib.h>

#include "auth/recent.h"
#include "shards/base/check.h"

#define SECONDS_PER_DAY 86400

struct usage {
    struct fingerprint_secret secret;
    struct recent *rows;       // of struct store_usage; never displaces one
    struct store_usage *batch; // room to hand all rows to the store at once
    uint32_t rows_max;
    uint64_t shed;
};

// What makes a row: no padding, since its bytes are hashed.
struct row_name {
    int64_t day;
    uint64_t account; // 0: an address
    struct net_address address;
};
_Static_assert(sizeof(struct row_name) == 32, "row names have no padding");

struct usage *usage_create(uint32_t rows_max)
{
    struct usage *usage = calloc(1, sizeof(*usage));
    if (usage == NULL)
        return NULL;
    usage->rows_max = rows_max;
    fingerprint_secret_create(&usage->secret);
    usage->rows = recent_create(rows_max, sizeof(struct store_usage));
    usage->batch = calloc(rows_max, sizeof(*usage->batch));
    if (usage->rows == NULL || usage->batch == NULL) {
        usage_destroy(usage);
        return NULL;
    }
    return usage;
}

void usage_destroy(struct usage *usage)
{
    if (usage == NULL)
        return;
    recent_destroy(usage->rows);
    free(usage->batch);
    free(usage);
}

void usage_address_text(const struct net_address *address, char ret_text[STORE_ADDRESS_MAX + 1])
{
    static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
    bool is_v4 = memcmp(address->bytes, mapped, sizeof(mapped)) == 0;
    const char *text =
        inet_ntop(is_v4 ? AF_INET : AF_INET6, is_v4 ? address->bytes + sizeof(mapped) : address->bytes, ret_text, STORE_ADDRESS_MAX + 1);
    CHECK(text != NULL);
}

static uint64_t add_capped(uint64_t sum, uint64_t bytes)
{
    return bytes > INT64_MAX - sum ? INT64_MAX : sum + bytes; // SQLite's integers are signed
}

static void add_to_row(struct usage *usage, const struct row_name *name, const struct usage_record *record)
{
    struct fingerprint key;
    fingerprint_make(&usage->secret, FINGERPRINT_USAGE, bytes_of(name, sizeof(*name)), bytes_of(NULL, 0), &key);
    struct store_usage *row = recent_find(usage->rows, &key);
    if (row == NULL) {
        if (recent_is_full(usage->rows)) {
            usage->shed++;
            return;
        }
        row = recent_add(usage->rows, &key);
        store_day(name->day * SECONDS_PER_DAY, row->day);
        row->user = (int64_t)name->account;
        if (name->account == 0)
            usage_address_text(&name->address, row->address);
    }
    row->sent_bytes = add_capped(row->sent_bytes, record->sent_bytes);
    row->recv_bytes = add_capped(row->recv_bytes, record->recv_bytes);
}

void usage_add(struct usage *usage, const struct usage_record *record, int64_t wall_s)
{
    CHECK(record->account <= INT64_MAX && wall_s >= 0);
    struct row_name name = {.day = wall_s / SECONDS_PER_DAY, .address = record->address};
    add_to_row(usage, &name, record);
    name = (struct row_name){.day = name.day, .account = record->account};
    if (record->account > 0)
        add_to_row(usage, &name, record);
}

enum store_result usage_store(struct usage *usage, struct store *store)
{
    size_t count = 0;
    for (uint32_t place = 0; place < recent_places(usage->rows); place++) {
        const struct store_usage *row = recent_at(usage->rows, place);
        if (row != NULL)
            usage->batch[count++] = *row;
    }
    CHECK(count == recent_count(usage->rows));
    enum store_result result = store_usage_add(store, usage->batch, count);
    if (result != STORE_OK)
        return result;
    while (recent_count(usage->rows) > 0)
        recent_remove(usage->rows, recent_oldest(usage->rows));
    return STORE_OK;
}

uint32_t usage_rows(const struct usage *usage)
{
    return recent_count(usage->rows);
}

bool usage_is_crowded(const struct usage *usage)
{
    return recent_count(usage->rows) >= usage->rows_max - usage->rows_max / 4;
}

uint64_t usage_shed(const struct usage *usage)
{
    return usage->shed;
}
