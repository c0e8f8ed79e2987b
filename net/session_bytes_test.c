// What an idle session takes of user-space memory, record by record: at most 1 KiB, before OpenSSL and malloc add theirs.
#include <stdio.h>

#include "net/conn.h"
#include "router/internal.h"
#include "shards/base/check.h"

#define SESSION_BYTES_MAX 1024
#define TABLE_ENTRY_BYTES_MAX (sizeof(struct table_entry) * 8 / 3) // a table doubles when three quarters are in use

int main(void)
{
    // One link to a neighbour, as relayload's idle sessions have; a pair and its request are shared by two.
    static const struct {
        const char *what;
        size_t bytes;
    } parts[] = {
        {"connection", sizeof(struct conn)},       {"router: session", sizeof(struct session)},
        {"router: link", sizeof(struct link)},     {"router: key's owner", sizeof(struct owner)},
        {"router: member", sizeof(struct member)}, {"router: account, its only device", sizeof(struct account)},
        {"router: pair", sizeof(struct pair) / 2}, {"router: tables", TABLE_ENTRY_BYTES_MAX * 7 / 2},
    };
    size_t sum = 0;
    for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
        fprintf(stderr, "%4zu %s\n", parts[i].bytes, parts[i].what);
        sum += parts[i].bytes;
    }
    fprintf(stderr, "%4zu in all, of at most %d\n", sum, SESSION_BYTES_MAX);
    CHECK(sum <= SESSION_BYTES_MAX);
    return 0;
}
