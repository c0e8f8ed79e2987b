// A crypto node: see backbone.h. It has its own copy of the server's key and its own handle on the identities; node 0 also notices when
// another process has changed them. Thread: its own; create and destroy before and after it.
#include <stdio.h>
#include <stdlib.h>

#include "net/accounts.h"
#include "net/backbone/internal.h"
#include "shards/base/check.h"
#include "shards/log.h"
#include "shards/node.h"
#include "shards/os.h"

#define WATCH_INTERVAL_NS 500000000ull // so that a deleted client is gone within a second

struct worker {
    struct node *node;
    struct identities *identities;
    struct rsa_key *server_key;
    struct timer watch_timer;
    uint32_t version;
    uint16_t number, shard_count;
    uint8_t result[RSA_PEM_MAX + BACKBONE_BODY_MAX];
};

// ---- what is asked ----

static bool find(struct worker *worker, const uint8_t id[BACKBONE_ID_BYTES], struct identity *ret_identity)
{
    enum store_result found = identities_find(worker->identities, id, ret_identity);
    struct log_value buffer;
    if (found == STORE_FAILED)
        LOG(ERROR, "BACKBONE_DATABASE", "reason=%s", log_value(identities_error(worker->identities), &buffer));
    return found == STORE_OK;
}

static bool check_login(struct worker *worker, struct bytes challenge, struct bytes response, struct identity *ret_identity)
{
    uint8_t plain[BACKBONE_LOGIN_BLOCKS_MAX * RSA_CHUNK_BYTES];
    size_t len = 0;
    CHECK(response.len <= BACKBONE_LOGIN_BLOCKS_MAX * RSA_BLOCK_BYTES);
    if (!rsa_decrypt(worker->server_key, response, plain, &len) || len != BACKBONE_RESPONSE_BYTES)
        return false;
    if (!find(worker, plain, ret_identity))
        return false;
    struct rsa_key *client = rsa_key_read_der(bytes_of(ret_identity->key, ret_identity->key_len));
    bool proved = client != NULL && rsa_verify(client, challenge, bytes_of(plain + BACKBONE_ID_BYTES, RSA_SIGNATURE_BYTES));
    rsa_key_destroy(client);
    return proved;
}

static bool check_same(struct worker *worker, const uint8_t id[BACKBONE_ID_BYTES], struct bytes key)
{
    struct identity identity;
    enum store_result found = identities_find(worker->identities, id, &identity);
    return found == STORE_FAILED || (found == STORE_OK && bytes_equal(bytes_of(identity.key, identity.key_len), key));
}

static bool encrypt(struct worker *worker, struct backbone_peer *peer, struct bytes plain, size_t *ret_len)
{
    struct rsa_key **key = &peer->keys[worker->number];
    if (*key == NULL)
        *key = rsa_key_read_der(bytes_of(peer->der, peer->der_len));
    *ret_len = rsa_cipher_bytes(plain.len);
    return *key != NULL && rsa_encrypt(*key, plain, worker->result);
}

static void on_task(struct worker *worker, const struct post_record *record)
{
    struct crypto_task task;
    struct identity identity;
    size_t len = 0;
    CHECK(record->body.len >= sizeof(task));
    memcpy(&task, record->body.ptr, sizeof(task));
    struct bytes body = bytes_of(record->body.ptr + sizeof(task), record->body.len - sizeof(task));
    struct bytes result = bytes_of(worker->result, 0);
    switch ((enum crypto_kind)task.kind) {
    case CRYPTO_LOGIN:
        task.is_sound = check_login(worker, bytes_of(body.ptr, task.challenge_len),
                                    bytes_of(body.ptr + task.challenge_len, body.len - task.challenge_len), &identity);
        if (task.is_sound) {
            memcpy(task.id, identity.id, sizeof(task.id));
            result = bytes_of(identity.key, identity.key_len);
        }
        break;
    case CRYPTO_CHECK:
        task.is_sound = check_same(worker, task.id, body);
        break;
    case CRYPTO_KNOWN:
        task.is_sound = find(worker, task.id, &identity);
        if (task.is_sound)
            result = bytes_of(identity.key, identity.key_len);
        break;
    case CRYPTO_DECRYPT:
        task.is_sound = rsa_decrypt(worker->server_key, body, worker->result, &len);
        result.len = task.is_sound ? len : 0;
        break;
    case CRYPTO_ENCRYPT:
        task.is_sound = encrypt(worker, task.peer, body, &len);
        result.len = task.is_sound ? len : 0;
        break;
    }
    struct post *post = node_post(worker->node);
    uint16_t self = node_index(worker->node);
    post_write(post, self, record->from, RECORD_CRYPTO_ANSWER, bytes_of(&task, sizeof(task)), result);
    post_flush(post, self); // now: the next task of this turn may take a millisecond
}

static void on_record(void *owner, const struct post_record *record)
{
    struct worker *worker = owner;
    if (record->kind == RECORD_CRYPTO)
        on_task(worker, record);
    else if (record->kind == RECORD_STOP)
        node_stop(worker->node);
    else
        UNREACHABLE();
}

static void on_watch_time(struct timer *timer, uint64_t now_ns)
{
    struct worker *worker = (struct worker *)(void *)((char *)timer - offsetof(struct worker, watch_timer));
    uint32_t version = worker->version;
    if (identities_version(worker->identities, &version) == STORE_OK && version != worker->version) {
        worker->version = version;
        for (uint16_t shard = 0; shard < worker->shard_count; shard++)
            post_write(node_post(worker->node), node_index(worker->node), shard, RECORD_IDENTITIES, bytes_of(NULL, 0), bytes_of(NULL, 0));
    }
    timer_set(node_timers(worker->node), timer, now_ns + WATCH_INTERVAL_NS);
}

// ---- set-up ----

// The first start makes the server's key.
static const char *load_server_key(struct worker *worker)
{
    char pem[RSA_PEM_MAX];
    const char *why = NULL;
    enum store_result found = identities_server_key(worker->identities, pem);
    if (found == STORE_NOT_FOUND) {
        struct rsa_key *fresh = rsa_key_create();
        found = fresh != NULL && rsa_private_pem(fresh, pem) > 0 ? identities_put_server_key(worker->identities, pem) : STORE_FAILED;
        rsa_key_destroy(fresh);
        if (found == STORE_OK || found == STORE_EXISTS) // another process may have been faster
            found = identities_server_key(worker->identities, pem);
    }
    if (found == STORE_OK)
        worker->server_key = rsa_key_read(bytes_text(pem), /* is_private= */ true, &why);
    explicit_bzero(pem, sizeof(pem));
    if (found != STORE_OK)
        why = identities_error(worker->identities);
    return worker->server_key != NULL ? NULL : why;
}

struct worker *worker_create(struct post *post, struct backbone_shared *shared, uint16_t number, uint16_t shard_count, const char *path,
                             char *error_text, size_t error_max)
{
    CHECK(number < shared->worker_count && shared->worker_count <= BACKBONE_WORKERS_MAX);
    struct worker *worker = calloc(1, sizeof(*worker));
    if (worker == NULL) {
        snprintf(error_text, error_max, "out of memory");
        return NULL;
    }
    uint64_t now_ns = os_now_ns();
    struct node_owner owner = {.owner = worker, .on_record = on_record};
    worker->number = number;
    worker->shard_count = shard_count;
    worker->watch_timer.on_time = on_watch_time;
    worker->identities = identities_open(path, error_text, error_max);
    if (worker->identities == NULL)
        goto fail;
    const char *why = load_server_key(worker);
    if (why == NULL && rsa_public_pem(worker->server_key, shared->public_pem) == 0)
        why = "cannot write the public key";
    if (why == NULL && identities_version(worker->identities, &worker->version) != STORE_OK)
        why = identities_error(worker->identities);
    if (why != NULL) {
        snprintf(error_text, error_max, "Backbone database %s: the server's key %s", path, why);
        goto fail;
    }
    worker->node = node_create(post, (uint16_t)(shared->worker_first + number), &owner, now_ns);
    if (worker->node == NULL) {
        snprintf(error_text, error_max, "out of memory or descriptors");
        goto fail;
    }
    if (number == 0)
        timer_set(node_timers(worker->node), &worker->watch_timer, now_ns + WATCH_INTERVAL_NS);
    return worker;
fail:
    worker_destroy(worker);
    return NULL;
}

void worker_run(struct worker *worker)
{
    log_node(node_index(worker->node));
    node_run(worker->node);
}

void worker_destroy(struct worker *worker)
{
    if (worker == NULL)
        return;
    if (worker->node != NULL)
        timer_unset(node_timers(worker->node), &worker->watch_timer);
    node_destroy(worker->node);
    identities_close(worker->identities);
    rsa_key_destroy(worker->server_key);
    free(worker);
}
