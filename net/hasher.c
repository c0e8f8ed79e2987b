// A hashing node: argon2id checks, new hashes and licences, one after the other, for the accounts node. One rule: every request is
// answered. Thread: its own.
#include <stdlib.h>

#include "auth/auth.h"
#include "net/accounts.h"
#include "net/hashing.h"
#include "shards/base/check.h"
#include "shards/node.h"
#include "shards/os.h"

struct hasher {
    struct node *node;
    uint16_t accounts_node;
    const struct licence_key *key; // NULL: licences are off
    const char *salt;
};

static void on_hash(struct hasher *hasher, const struct post_record *record)
{
    CHECK(record->from == hasher->accounts_node && record->body.len >= sizeof(struct hash_request));
    const struct hash_request *request = (const struct hash_request *)(const void *)record->body.ptr;
    struct bytes password = bytes_of(record->body.ptr + sizeof(*request), record->body.len - sizeof(*request));
    struct hash_answer answer = {.credentials = request->credentials, .matches = password_verify(request->hash, password)};
    struct post *post = node_post(hasher->node);
    uint16_t self = node_index(hasher->node);
    post_write(post, self, hasher->accounts_node, RECORD_HASH_ANSWER, bytes_of(&answer, sizeof(answer)), bytes_of(NULL, 0));
    post_flush(post, self); // now: the next check of this turn takes 12 ms
}

static void on_licence(struct hasher *hasher, const struct post_record *record)
{
    CHECK(record->from == hasher->accounts_node && record->body.len >= sizeof(struct licence_request) && hasher->key != NULL);
    const struct licence_request *request = (const struct licence_request *)(const void *)record->body.ptr;
    struct bytes text = bytes_of(record->body.ptr + sizeof(*request), record->body.len - sizeof(*request));
    struct licence_answer answer = {.credentials = request->credentials};
    answer.matches = licences_read(hasher->key, hasher->salt, text, &answer.holder);
    post_write(node_post(hasher->node), node_index(hasher->node), hasher->accounts_node, RECORD_LICENCE_ANSWER,
               bytes_of(&answer, sizeof(answer)), bytes_of(NULL, 0));
}

static void on_hash_new(struct hasher *hasher, const struct post_record *record)
{
    CHECK(record->from == hasher->accounts_node && record->body.len >= sizeof(struct hash_new_request));
    const struct hash_new_request *request = (const struct hash_new_request *)(const void *)record->body.ptr;
    struct hash_new_answer answer = {.id = request->id};
    if (!password_hash(bytes_of(record->body.ptr + sizeof(*request), record->body.len - sizeof(*request)), answer.hash))
        answer.hash[0] = '\0';
    struct post *post = node_post(hasher->node);
    uint16_t self = node_index(hasher->node);
    post_write(post, self, hasher->accounts_node, RECORD_HASH_NEW_ANSWER, bytes_of(&answer, sizeof(answer)), bytes_of(NULL, 0));
    post_flush(post, self);
}

static void on_record(void *owner, const struct post_record *record)
{
    struct hasher *hasher = owner;
    if (record->kind == RECORD_HASH)
        on_hash(hasher, record);
    else if (record->kind == RECORD_LICENCE)
        on_licence(hasher, record);
    else if (record->kind == RECORD_HASH_NEW)
        on_hash_new(hasher, record);
    else if (record->kind == RECORD_STOP)
        node_stop(hasher->node);
    else
        UNREACHABLE();
}

struct hasher *hasher_create(struct post *post, uint16_t node, uint16_t accounts_node, const struct licence_key *key, const char *salt)
{
    CHECK(node != accounts_node && (key == NULL || salt != NULL));
    auth_init();
    struct hasher *hasher = calloc(1, sizeof(*hasher));
    if (hasher == NULL)
        return NULL;
    hasher->accounts_node = accounts_node;
    hasher->key = key;
    hasher->salt = salt;
    struct node_owner owner = {.owner = hasher, .on_record = on_record};
    hasher->node = node_create(post, node, &owner, os_now_ns());
    if (hasher->node == NULL) {
        hasher_destroy(hasher);
        return NULL;
    }
    return hasher;
}

void hasher_run(struct hasher *hasher)
{
    node_run(hasher->node);
}

void hasher_destroy(struct hasher *hasher)
{
    if (hasher == NULL)
        return;
    node_destroy(hasher->node);
    free(hasher);
}
