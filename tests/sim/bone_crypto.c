// Backbone's crypto nodes, faked: the same records as net/backbone/worker.c, answered in order by each node, but as late as the seed says.
// RSA is a stand-in that is as picky: a block opens only with its key and undamaged, a signature fits one challenge and one key.
#include <openssl/rand.h>
#include <stdio.h>

#include "net/backbone/internal.h"
#include "shards/base/check.h"
#include "tests/sim/bone.h"

#define MS_NS 1000000ull
#define WATCH_INTERVAL_NS 500000000ull
#define LAG_NS 1000000000ull

_Static_assert(24 + RSA_CHUNK_BYTES <= RSA_BLOCK_BYTES, "a chunk fits its block");

static struct {
    uint16_t first;
    uint64_t free_at_ns[BONE_NODES_MAX]; // busy until then
    uint64_t all_idle_ns, lagged_ns;     // when all were last seen idle; when they were last seen busy for long
    uint64_t tell_at_ns;                 // identities have changed; UINT64_MAX: they have not
    struct backbone_shared shared;
} nodes;

// ---- instead of RSA and of OpenSSL's randomness ----

int RAND_bytes(unsigned char *buf, int num)
{
    for (int i = 0; i < num; i += 8) {
        uint64_t word = sim_random();
        memcpy(buf + i, &word, num - i < 8 ? (size_t)(num - i) : 8);
    }
    return 1;
}

uint64_t bone_key(uint32_t device, uint32_t version)
{
    return sim_hash(device, version, 0xb0);
}

uint64_t bone_server_key(void)
{
    return bone_key(BONE_NOBODY, 0);
}

static uint64_t sum_of(uint64_t key, const uint8_t *ptr, size_t len)
{
    uint64_t sum = key ^ len;
    for (size_t at = 0; at < len; at += 8) {
        uint64_t word = 0;
        memcpy(&word, ptr + at, len - at < 8 ? len - at : 8);
        sum = (sum ^ word) * 0x9e3779b97f4a7c15ull;
        sum ^= sum >> 29;
    }
    return sum;
}

size_t bone_encrypt(uint64_t key, const uint8_t *plain, size_t len, uint8_t *ret_cipher)
{
    size_t blocks = 0;
    for (size_t at = 0; at < len; at += RSA_CHUNK_BYTES, blocks++) {
        uint8_t *block = ret_cipher + blocks * RSA_BLOCK_BYTES;
        uint64_t chunk = len - at < RSA_CHUNK_BYTES ? len - at : RSA_CHUNK_BYTES;
        uint64_t sum = sum_of(key, plain + at, chunk);
        memset(block, 0, RSA_BLOCK_BYTES);
        memcpy(block, &key, 8);
        memcpy(block + 8, &sum, 8);
        memcpy(block + 16, &chunk, 8);
        memcpy(block + 24, plain + at, chunk);
    }
    return blocks * RSA_BLOCK_BYTES;
}

bool bone_decrypt(uint64_t key, struct bytes cipher, uint8_t *ret_plain, size_t *ret_len)
{
    size_t len = 0;
    if (cipher.len % RSA_BLOCK_BYTES != 0)
        return false;
    for (size_t at = 0; at < cipher.len; at += RSA_BLOCK_BYTES) {
        uint64_t head[3];
        memcpy(head, cipher.ptr + at, sizeof(head));
        if (head[0] != key || head[2] > RSA_CHUNK_BYTES || head[1] != sum_of(key, cipher.ptr + at + 24, head[2]))
            return false;
        memcpy(ret_plain + len, cipher.ptr + at + 24, head[2]);
        len += head[2];
    }
    *ret_len = len;
    return true;
}

void bone_sign(uint64_t key, struct bytes challenge, uint8_t ret_signature[256])
{
    for (uint64_t i = 0; i < 256 / 8; i++) {
        uint64_t word = sum_of(key + i, challenge.ptr, challenge.len);
        memcpy(ret_signature + i * 8, &word, 8);
    }
}

// ---- one node ----

static void der_of(uint64_t key, uint8_t ret_der[16])
{
    memcpy(ret_der, &key, 8);
    memset(ret_der + 8, 0x5a, 8);
}

static uint64_t key_of_der(struct bytes der)
{
    uint64_t key;
    SIM_CHECK(der.len == 16 && der.ptr[8] == 0x5a, "a public key came through damaged");
    memcpy(&key, der.ptr, 8);
    return key;
}

static bool check_login(struct bytes challenge, struct bytes response, uint8_t ret_id[BACKBONE_ID_BYTES], uint8_t ret_der[16])
{
    uint8_t plain[BACKBONE_LOGIN_BLOCKS_MAX * RSA_CHUNK_BYTES], signature[256];
    size_t len = 0;
    SIM_CHECK(response.len > 0 && response.len <= BACKBONE_LOGIN_BLOCKS_MAX * RSA_BLOCK_BYTES, "a response of %zu bytes", response.len);
    if (!bone_decrypt(bone_server_key(), response, plain, &len) || len != BACKBONE_RESPONSE_BYTES)
        return false;
    uint32_t device = bone_device_of(plain);
    if (device == BONE_NOBODY || !bone_is_enrolled(device))
        return false;
    uint64_t key = bone_key(device, bone_version(device));
    bone_sign(key, challenge, signature);
    memcpy(ret_id, plain, BACKBONE_ID_BYTES);
    der_of(key, ret_der);
    return memcmp(signature, plain + BACKBONE_ID_BYTES, sizeof(signature)) == 0;
}

static bool check_same(const uint8_t id[BACKBONE_ID_BYTES], struct bytes der)
{
    uint32_t device = bone_device_of(id);
    return device != BONE_NOBODY && bone_is_enrolled(device) && key_of_der(der) == bone_key(device, bone_version(device));
}

static void on_record(void *owner, const struct post_record *record)
{
    static uint8_t result[BACKBONE_BODY_MAX];
    uint16_t self = *(const uint16_t *)owner;
    struct crypto_task task;
    size_t len = 0;
    SIM_CHECK(record->kind == RECORD_CRYPTO && record->body.len >= sizeof(task), "record %u for a crypto node", (unsigned)record->kind);
    memcpy(&task, record->body.ptr, sizeof(task));
    struct bytes body = bytes_of(record->body.ptr + sizeof(task), record->body.len - sizeof(task));
    switch ((enum crypto_kind)task.kind) {
    case CRYPTO_LOGIN:
        SIM_CHECK(task.challenge_len == nodes.shared.challenge_bytes && body.len > task.challenge_len, "a login task is cut");
        task.is_sound = check_login(bytes_of(body.ptr, task.challenge_len),
                                    bytes_of(body.ptr + task.challenge_len, body.len - task.challenge_len), task.id, result);
        len = task.is_sound ? 16 : 0;
        break;
    case CRYPTO_CHECK:
        task.is_sound = check_same(task.id, body);
        break;
    case CRYPTO_KNOWN:
        sim_fail(__FILE__, __LINE__, "asked about a recipient, though nothing is kept");
    case CRYPTO_DECRYPT:
        task.is_sound = bone_decrypt(bone_server_key(), body, result, &len);
        len = task.is_sound ? len : 0;
        break;
    case CRYPTO_ENCRYPT:
        len = bone_encrypt(key_of_der(bytes_of(task.peer->der, task.peer->der_len)), body.ptr, body.len, result);
        task.is_sound = true;
        break;
    }
    post_write(sim_shared.post, self, record->from, RECORD_CRYPTO_ANSWER, bytes_of(&task, sizeof(task)), bytes_of(result, len));
    post_flush(sim_shared.post, self);
    uint64_t busy_ns = sim_below(100000u + 300u * body.len);
    if (bone_config.slow_crypto && sim_chance(20))
        busy_ns = sim_below(300 * MS_NS);
    nodes.free_at_ns[self - nodes.first] = kernel_now_ns() + busy_ns;
}

static uint16_t node_of(uint32_t number)
{
    return (uint16_t)(nodes.first + number);
}

static bool has_work(uint32_t number)
{
    return !post_is_idle(sim_shared.post, node_of(number));
}

bool bone_crypto_is_busy(void)
{
    for (uint32_t i = 0; i < bone_config.nodes; i++)
        if (has_work(i))
            return true;
    return false;
}

static void note_lag(void)
{
    if (!bone_crypto_is_busy())
        nodes.all_idle_ns = kernel_now_ns();
    else if (kernel_now_ns() - nodes.all_idle_ns > LAG_NS)
        nodes.lagged_ns = kernel_now_ns();
}

bool bone_nodes_lagged(void)
{
    return nodes.lagged_ns != 0 && kernel_now_ns() - nodes.lagged_ns < 10 * LAG_NS;
}

void bone_identities_changed(void)
{
    uint64_t next_ns = (kernel_now_ns() / WATCH_INTERVAL_NS + 1) * WATCH_INTERVAL_NS;
    nodes.tell_at_ns = next_ns < nodes.tell_at_ns ? next_ns : nodes.tell_at_ns;
}

bool bone_node_is_runnable(uint32_t number)
{
    uint64_t now_ns = kernel_now_ns();
    return (has_work(number) && nodes.free_at_ns[number] <= now_ns) || (number == 0 && nodes.tell_at_ns <= now_ns);
}

uint64_t bone_nodes_due_ns(void)
{
    uint64_t due_ns = nodes.tell_at_ns;
    for (uint32_t i = 0; i < bone_config.nodes; i++)
        if (has_work(i) && nodes.free_at_ns[i] < due_ns)
            due_ns = nodes.free_at_ns[i];
    return due_ns;
}

void bone_node_step(uint32_t number)
{
    uint16_t self = node_of(number);
    CHECK(number < bone_config.nodes);
    if (number == 0 && nodes.tell_at_ns <= kernel_now_ns()) {
        nodes.tell_at_ns = UINT64_MAX;
        for (uint16_t shard = 0; shard < sim_config.shard_count; shard++)
            post_write(sim_shared.post, self, shard, RECORD_IDENTITIES, bytes_of(NULL, 0), bytes_of(NULL, 0));
    }
    note_lag();
    if (nodes.free_at_ns[number] <= kernel_now_ns())
        post_drain(sim_shared.post, self, 1, on_record, &self);
    post_flush(sim_shared.post, self);
    note_lag();
}

// ---- the run ----

void bone_nodes_open(uint16_t first_node)
{
    memset(&nodes, 0, sizeof(nodes));
    nodes.first = first_node;
    nodes.all_idle_ns = kernel_now_ns();
    nodes.tell_at_ns = UINT64_MAX;
    nodes.shared = (struct backbone_shared){.challenge_bytes = 64 + (uint32_t)sim_below(2000),
                                            .heartbeat_interval_s = bone_config.interval_s,
                                            .heartbeat_timeout_s = bone_config.timeout_s,
                                            .login_timeout_ns = sim_config.limits.iam_timeout_ns,
                                            .frame_timeout_ns = sim_config.limits.http_timeout_ns,
                                            .started_ns = kernel_now_ns(),
                                            .worker_first = first_node,
                                            .worker_count = (uint16_t)bone_config.nodes,
                                            .tasks_max = bone_config.tasks_max,
                                            .logins_max = bone_config.logins_max};
    snprintf(nodes.shared.public_pem, sizeof(nodes.shared.public_pem), BONE_PEM);
}

const struct backbone_shared *bone_shared(void)
{
    return &nodes.shared;
}
