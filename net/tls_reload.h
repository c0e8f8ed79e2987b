// Keeps the relay's TLS context current: looks at the files every second, loads them when they have changed or on demand, changes ticket
// keys twice a day, and posts each new context to the shards. One rule: files that are not sound never replace a context that works.
// Thread: main.
#pragma once
#include "shards/node.h"
#include <openssl/ssl.h>

struct tls_files {
    const char *certificate, *key, *ocsp; // borrowed; ocsp may be NULL
};

struct tls_reload;
// Loads the files for the first time. NULL: a sentence for the operator in error_text.
struct tls_reload *tls_reload_create(const struct tls_files *files, char *error_text, size_t error_max);
void tls_reload_destroy(struct tls_reload *reload); // takes NULL; after tls_reload_stop
// A reference to the current context, the caller's.
SSL_CTX *tls_reload_context(struct tls_reload *reload);
// From now on shards 0..shard_count-1 get each new context: RECORD_TLS_CONTEXT, whose reference is theirs. The node is main's.
void tls_reload_start(struct tls_reload *reload, struct node *node, uint16_t shard_count);
void tls_reload_stop(struct tls_reload *reload); // takes NULL: nothing is posted any more
// SIGHUP: loads the files whether they have changed or not.
void tls_reload_now(struct tls_reload *reload); // takes NULL
