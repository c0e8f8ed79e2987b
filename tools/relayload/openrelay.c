// OpenRelay for the load's clients: see openrelay.h.
#include "tools/relayload/openrelay.h"

#include "net/openrelay/codec.h"
#include "shards/base/check.h"
#include <openssl/evp.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>

#define TEXT_BYTES_MAX 640 // of a Send, apart from its data

// The message that this thread writes, and the last that it read. What stands before and behind the data is kept for the next message
// between the same two: a load must be cheap beside what it measures.
static _Thread_local struct {
    struct key peer, sender, text_own, text_peer;
    size_t head_len;
    char tail[TEXT_BYTES_MAX], sender_id[OPENRELAY_ID_LEN];
    uint8_t *payload;
    size_t payload_len, payload_max;
    char *text;
    size_t text_max;
    uint8_t *data;
    size_t data_max;
} draft;

static bool grow(void *pointer, size_t *max, size_t need)
{
    void **ptr = pointer;
    if (need <= *max)
        return true;
    void *bigger = realloc(*ptr, need);
    if (bigger == NULL)
        return false;
    *ptr = bigger;
    *max = need;
    return true;
}

static const char *id_of(const struct key *key, char ret_id[OPENRELAY_ID_LEN + 1])
{
    return sodium_bin2hex(ret_id, OPENRELAY_ID_LEN + 1, key->bytes, sizeof key->bytes);
}

bool openrelay_register(struct client *client)
{
    char id[OPENRELAY_ID_LEN + 1], text[160];
    int len = snprintf(text, sizeof text, "{\"type\":\"Register\",\"payload\":{\"hardware_id\":\"%s\"}}", id_of(&client->key, id));
    return client_say(client, bytes_of(text, (size_t)len));
}

struct bytes openrelay_ping(void)
{
    return bytes_text("{\"type\":\"Ping\"}");
}

uint8_t *openrelay_send_begin(const struct key *peer, size_t payload_len)
{
    if (!grow(&draft.payload, &draft.payload_max, payload_len + 1) ||
        !grow(&draft.text, &draft.text_max, TEXT_BYTES_MAX + sodium_base64_ENCODED_LEN(payload_len, sodium_base64_VARIANT_ORIGINAL)))
        return NULL;
    draft.peer = *peer;
    draft.payload_len = payload_len;
    return draft.payload;
}

static void write_ids(const struct key *own_key)
{
    char own[OPENRELAY_ID_LEN + 1], peer[OPENRELAY_ID_LEN + 1];
    id_of(own_key, own);
    int len = snprintf(draft.text, draft.text_max,
                       "{\"type\":\"Send\",\"payload\":{\"recipient_id\":\"%s\",\"sender_id\":\"%s\",\"encrypted_data\":\"",
                       id_of(&draft.peer, peer), own);
    draft.head_len = (size_t)len;
    len = snprintf(draft.tail, sizeof draft.tail,
                   "\",\"message_id\":\"9b2c7e0e-3f6b-4d5a-9a7e-0c1d2e3f4a5b\",\"timestamp\":1700000000,\"ttl\":0,\"signature\":null,"
                   "\"hardware_id\":\"%s\",\"content_type\":\"Text\",\"size_bytes\":",
                   own);
    CHECK(len > 0 && (size_t)len < sizeof draft.tail);
    draft.text_own = *own_key;
    draft.text_peer = draft.peer;
}

struct bytes openrelay_send_end(const struct client *client)
{
    if (draft.head_len == 0 || !key_equal(&draft.text_own, &client->key) || !key_equal(&draft.text_peer, &draft.peer))
        write_ids(&client->key);
    char *data = draft.text + draft.head_len;
    int data_len = EVP_EncodeBlock((unsigned char *)data, draft.payload, (int)draft.payload_len);
    size_t len = draft.head_len + (size_t)data_len;
    len += (size_t)snprintf(draft.text + len, draft.text_max - len, "%s%d}}", draft.tail, data_len);
    CHECK(len < draft.text_max);
    return bytes_of(draft.text, len);
}

// The sender is most often the last one again.
static bool decode_sender(struct bytes sender)
{
    size_t len;
    if (sender.len != OPENRELAY_ID_LEN)
        return false;
    if (memcmp(draft.sender_id, sender.ptr, sender.len) == 0)
        return true;
    memset(draft.sender_id, 0, sizeof draft.sender_id);
    if (sodium_hex2bin(draft.sender.bytes, sizeof draft.sender.bytes, (const char *)sender.ptr, sender.len, NULL, &len, NULL) != 0 ||
        len != sizeof draft.sender.bytes)
        return false;
    memcpy(draft.sender_id, sender.ptr, sender.len);
    return true;
}

static bool decode(const struct openrelay_message *message, struct buckets_event *ret_event)
{
    struct bytes sender = message->values[FIELD_sender_id].text, data = message->values[FIELD_encrypted_data].text;
    if (!grow(&draft.data, &draft.data_max, data.len + 1) || !decode_sender(sender) || data.len % 4 != 0)
        return false;
    int len = EVP_DecodeBlock(draft.data, data.ptr, (int)data.len);
    for (size_t i = 1; i <= 2 && i <= data.len && len > 0 && data.ptr[data.len - i] == '='; i++)
        len--; // it counts the padding
    if (len < 0)
        return false;
    *ret_event = (struct buckets_event){
        .kind = 'd', .key = bytes_of(draft.sender.bytes, sizeof draft.sender.bytes), .data = bytes_of(draft.data, (size_t)len)};
    return true;
}

bool openrelay_event(struct client *client, struct bytes text, struct buckets_event *ret_event)
{
    static const char ack[] = "{\"type\":\"Ack\",";
    struct openrelay_message message;
    *ret_event = (struct buckets_event){.kind = 0};
    if (text.len > sizeof ack && memcmp(text.ptr, ack, sizeof ack - 1) == 0)
        return true;
    bool sound = openrelay_parse(text, &message);
    if (sound && message.type == OPENRELAY_Receive)
        sound = decode(&message, ret_event);
    else if (sound && message.type == OPENRELAY_RegisterResponse)
        ret_event->kind = '+';
    else if (sound && message.type == OPENRELAY_Pong)
        *ret_event = (struct buckets_event){.kind = 'c', .key = bytes_of(client->asked.bytes, sizeof client->asked.bytes)};
    else
        sound = false;
    openrelay_message_fini(&message);
    return sound;
}
