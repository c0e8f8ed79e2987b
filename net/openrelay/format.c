// OpenRelay messages out: compact, keys in the order of protocols/openrelay.md 4. Any thread.
#include <stdio.h>

#include "net/openrelay/codec.h"
#include "shards/base/check.h"

#define KEYS_BYTES_MAX 512 // of the names, numbers and punctuation of any one message

struct writer {
    uint8_t *at;
};

static void put(struct writer *writer, struct bytes bytes)
{
    if (bytes.len > 0)
        memcpy(writer->at, bytes.ptr, bytes.len);
    writer->at += bytes.len;
}

#define PUT(writer, literal) put(writer, bytes_of(literal, sizeof(literal) - 1))

// Only quote, backslash and control characters are escaped; everything else goes out raw.
static void put_escaped(struct writer *writer, struct bytes text)
{
    static const char hex[] = "0123456789abcdef";
    static const char *const shorts[] = {
        ['\b'] = "\\b", ['\t'] = "\\t", ['\n'] = "\\n", ['\f'] = "\\f", ['\r'] = "\\r", ['"'] = "\\\"", ['\\'] = "\\\\"};
    for (size_t i = 0; i < text.len; i++) {
        uint8_t byte = text.ptr[i];
        if (byte < sizeof(shorts) / sizeof(shorts[0]) && shorts[byte] != NULL) {
            put(writer, bytes_text(shorts[byte]));
        } else if (byte < 0x20) {
            PUT(writer, "\\u00");
            *writer->at++ = (uint8_t)hex[byte >> 4];
            *writer->at++ = (uint8_t)hex[byte & 15];
        } else {
            *writer->at++ = byte;
        }
    }
}

static void put_value(struct writer *writer, const struct openrelay_value *value)
{
    switch (value->kind) {
    case VALUE_TEXT:
        *writer->at++ = '"';
        if (value->clean)
            put(writer, value->text);
        else
            put_escaped(writer, value->text);
        *writer->at++ = '"';
        return;
    case VALUE_NUMBER:
        put(writer, value->text);
        return;
    case VALUE_TRUTH:
        put(writer, bytes_text(value->truth ? "true" : "false"));
        return;
    case VALUE_ABSENT:
    case VALUE_NULL:
        PUT(writer, "null");
        return;
    case VALUE_OTHER:
        break;
    }
    UNREACHABLE();
}

// The name comes with its punctuation: `,"ttl":`.
#define PUT_VALUE(writer, literal, value) (PUT(writer, literal), put_value(writer, value))

size_t openrelay_forward_max(const struct openrelay_message *message, struct bytes sender)
{
    return KEYS_BYTES_MAX + 3 * 6 * sender.len + message->input_len +
           6 * message->arena_used; // clean texts lie in the input, others in the arena
}

static void put_receive(struct writer *writer, const struct openrelay_message *message, const struct openrelay_value *sender)
{
    const struct openrelay_value *values = message->values;
    struct bytes body = message->body, id = values[FIELD_message_id].text;
    PUT(writer, "{\"type\":\"Receive\",\"payload\":");
    if (body.len > 0 && bytes_equal(id, bytes_of(message->message_id, sizeof(message->message_id) - 1))) {
        struct bytes claimed = values[FIELD_sender_id].text;
        size_t before = (size_t)(claimed.ptr - body.ptr) - 1; // its quote
        PUT(writer, "{");
        put(writer, bytes_of(body.ptr, before));
        put_value(writer, sender);
        put(writer, bytes_of(claimed.ptr + claimed.len + 1, body.len - before - claimed.len - 2));
        return;
    }
    PUT_VALUE(writer, "{\"recipient_id\":", &values[FIELD_recipient_id]);
    PUT_VALUE(writer, ",\"sender_id\":", sender);
    PUT_VALUE(writer, ",\"encrypted_data\":", &values[FIELD_encrypted_data]);
    PUT(writer, ",\"message_id\":\"");
    put(writer, bytes_of(message->message_id, sizeof(message->message_id) - 1));
    PUT_VALUE(writer, "\",\"timestamp\":", &values[FIELD_timestamp]);
    PUT_VALUE(writer, ",\"ttl\":", &values[FIELD_ttl]);
    PUT_VALUE(writer, ",\"signature\":", &values[FIELD_signature]);
    PUT_VALUE(writer, ",\"hardware_id\":", &values[FIELD_hardware_id]);
    PUT_VALUE(writer, ",\"content_type\":", &values[FIELD_content_type]);
    PUT_VALUE(writer, ",\"size_bytes\":", &values[FIELD_size_bytes]);
}

// Auth*: the receiver reads the sender from recipient_id (newer dialect) or device_id (older).
static void put_auth(struct writer *writer, const struct openrelay_message *message, const struct openrelay_value *sender)
{
    static const char *const heads[] = {[OPENRELAY_AuthRequest] = "{\"type\":\"AuthRequest\",\"payload\":{\"recipient_id\":",
                                        [OPENRELAY_AuthResponse] = "{\"type\":\"AuthResponse\",\"payload\":{\"recipient_id\":",
                                        [OPENRELAY_AuthVerify] = "{\"type\":\"AuthVerify\",\"payload\":{\"recipient_id\":",
                                        [OPENRELAY_AuthSuccess] = "{\"type\":\"AuthSuccess\",\"payload\":{\"recipient_id\":"};
    const struct openrelay_value *values = message->values;
    put(writer, bytes_text(heads[message->type]));
    put_value(writer, sender);
    if (message->type == OPENRELAY_AuthRequest)
        PUT_VALUE(writer, ",\"public_key\":", &values[FIELD_public_key]);
    if (message->type == OPENRELAY_AuthResponse || message->type == OPENRELAY_AuthVerify)
        PUT_VALUE(writer, ",\"challenge_response\":", &values[FIELD_challenge_response]);
    if (message->type == OPENRELAY_AuthRequest || message->type == OPENRELAY_AuthResponse)
        PUT_VALUE(writer, ",\"challenge\":", &values[FIELD_challenge]);
    if (message->type == OPENRELAY_AuthSuccess)
        PUT_VALUE(writer, ",\"trusted\":", &values[FIELD_trusted]);
    PUT_VALUE(writer, ",\"hardware_id\":", &values[FIELD_hardware_id]);
    PUT_VALUE(writer, ",\"device_id\":", sender);
}

// KeyRotation*: the older dialect reads the sender from sender_id.
static void put_rotation(struct writer *writer, const struct openrelay_message *message, const struct openrelay_value *sender)
{
    const struct openrelay_value *values = message->values;
    bool update = message->type == OPENRELAY_KeyRotationUpdate;
    put(writer, bytes_text(update ? "{\"type\":\"KeyRotationUpdate\",\"payload\":" : "{\"type\":\"KeyRotationAck\",\"payload\":"));
    PUT_VALUE(writer, "{\"hardware_id\":", &values[FIELD_hardware_id]);
    PUT_VALUE(writer, ",\"recipient_id\":", &values[FIELD_recipient_id]);
    if (update)
        PUT_VALUE(writer, ",\"encrypted_key_package\":", &values[FIELD_encrypted_key_package]);
    PUT_VALUE(writer, ",\"key_id\":", &values[FIELD_key_id]);
    if (!update)
        PUT_VALUE(writer, ",\"success\":", &values[FIELD_success]);
    PUT_VALUE(writer, ",\"sender_id\":", sender);
}

size_t openrelay_format_forward(uint8_t *out, const struct openrelay_message *message, struct bytes sender_id)
{
    struct writer writer = {out};
    struct openrelay_value sender = {.kind = VALUE_TEXT, .text = sender_id};
    const struct openrelay_value *claimed = &message->values[FIELD_hardware_id];
    sender.clean = claimed->clean && bytes_equal(claimed->text, sender_id);
    switch (message->type) {
    case OPENRELAY_Send:
        put_receive(&writer, message, &sender);
        break;
    case OPENRELAY_AuthRequest:
    case OPENRELAY_AuthResponse:
    case OPENRELAY_AuthVerify:
    case OPENRELAY_AuthSuccess:
        put_auth(&writer, message, &sender);
        break;
    case OPENRELAY_KeyRotationUpdate:
    case OPENRELAY_KeyRotationAck:
        put_rotation(&writer, message, &sender);
        break;
    default:
        UNREACHABLE();
    }
    PUT(&writer, "}}");
    size_t len = (size_t)(writer.at - out);
    CHECK(len <= openrelay_forward_max(message, sender_id));
    return len;
}

size_t openrelay_registered_max(struct bytes id)
{
    return KEYS_BYTES_MAX + 2 * 6 * id.len;
}

size_t openrelay_format_registered(uint8_t *out, struct bytes id)
{
    struct writer writer = {out};
    struct openrelay_value value = {.kind = VALUE_TEXT, .text = id};
    PUT_VALUE(&writer, "{\"type\":\"RegisterResponse\",\"payload\":{\"hardware_id\":", &value);
    PUT_VALUE(&writer, ",\"device_id\":", &value);
    PUT(&writer, "}}");
    CHECK((size_t)(writer.at - out) <= openrelay_registered_max(id));
    return (size_t)(writer.at - out);
}

size_t openrelay_format_ack(uint8_t *out, const char *message_id)
{
    struct writer writer = {out};
    PUT(&writer, "{\"type\":\"Ack\",\"payload\":{\"message_id\":\"");
    put(&writer, bytes_text(message_id));
    PUT(&writer, "\"}}");
    CHECK(writer.at - out <= OPENRELAY_SMALL_MAX);
    return (size_t)(writer.at - out);
}

size_t openrelay_format_error(uint8_t *out, const char *text, unsigned code)
{
    int len = snprintf((char *)out, OPENRELAY_SMALL_MAX, "{\"type\":\"Error\",\"payload\":{\"message\":\"%s\",\"code\":%u}}", text, code);
    CHECK(len > 0 && len < OPENRELAY_SMALL_MAX);
    return (size_t)len;
}
