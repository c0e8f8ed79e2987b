// OpenRelay messages out: compact, keys in the order of protocols/openrelay.md 4. Any thread.
#include <inttypes.h>
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

static void put_text(struct writer *writer, const char *text)
{
    put(writer, bytes_text(text));
}

// Only quote, backslash and control characters are escaped; everything else goes out raw.
static void put_escaped(struct writer *writer, struct bytes text)
{
    static const char hex[] = "0123456789abcdef";
    static const char *const shorts[] = {
        ['\b'] = "\\b", ['\t'] = "\\t", ['\n'] = "\\n", ['\f'] = "\\f", ['\r'] = "\\r", ['"'] = "\\\"", ['\\'] = "\\\\"};
    for (size_t i = 0; i < text.len; i++) {
        uint8_t byte = text.ptr[i];
        if (byte < sizeof(shorts) / sizeof(shorts[0]) && shorts[byte] != NULL) {
            put_text(writer, shorts[byte]);
        } else if (byte < 0x20) {
            put_text(writer, "\\u00");
            *writer->at++ = (uint8_t)hex[byte >> 4];
            *writer->at++ = (uint8_t)hex[byte & 15];
        } else {
            *writer->at++ = byte;
        }
    }
}

// The name comes with its punctuation: `,"ttl":`.
static void put_value(struct writer *writer, const char *name, const struct openrelay_value *value)
{
    char number[24];
    put_text(writer, name);
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
        put(writer, bytes_of(number, (size_t)snprintf(number, sizeof(number), "%" PRIu64, value->number)));
        return;
    case VALUE_TRUTH:
        put_text(writer, value->truth ? "true" : "false");
        return;
    case VALUE_ABSENT:
    case VALUE_NULL:
        put_text(writer, "null");
        return;
    case VALUE_OTHER:
        break;
    }
    UNREACHABLE();
}

size_t openrelay_forward_max(const struct openrelay_message *message, struct bytes sender)
{
    size_t max = KEYS_BYTES_MAX + 3 * 6 * sender.len;
    for (int i = 0; i < FIELD_COUNT; i++)
        if (message->values[i].kind == VALUE_TEXT)
            max += message->values[i].clean ? message->values[i].text.len : 6 * message->values[i].text.len;
    return max;
}

static void put_receive(struct writer *writer, const struct openrelay_message *message, const struct openrelay_value *sender)
{
    const struct openrelay_value *values = message->values;
    put_text(writer, "{\"type\":\"Receive\",\"payload\":");
    put_value(writer, "{\"recipient_id\":", &values[FIELD_recipient_id]);
    put_value(writer, ",\"sender_id\":", sender);
    put_value(writer, ",\"encrypted_data\":", &values[FIELD_encrypted_data]);
    put_text(writer, ",\"message_id\":\"");
    put_text(writer, message->message_id);
    put_value(writer, "\",\"timestamp\":", &values[FIELD_timestamp]);
    put_value(writer, ",\"ttl\":", &values[FIELD_ttl]);
    put_value(writer, ",\"signature\":", &values[FIELD_signature]);
    put_value(writer, ",\"hardware_id\":", &values[FIELD_hardware_id]);
    put_value(writer, ",\"content_type\":", &values[FIELD_content_type]);
    put_value(writer, ",\"size_bytes\":", &values[FIELD_size_bytes]);
}

// Auth*: the receiver reads the sender from recipient_id (newer dialect) or device_id (older).
static void put_auth(struct writer *writer, const struct openrelay_message *message, const struct openrelay_value *sender)
{
    static const char *const heads[] = {[OPENRELAY_AuthRequest] = "{\"type\":\"AuthRequest\",\"payload\":{\"recipient_id\":",
                                        [OPENRELAY_AuthResponse] = "{\"type\":\"AuthResponse\",\"payload\":{\"recipient_id\":",
                                        [OPENRELAY_AuthVerify] = "{\"type\":\"AuthVerify\",\"payload\":{\"recipient_id\":",
                                        [OPENRELAY_AuthSuccess] = "{\"type\":\"AuthSuccess\",\"payload\":{\"recipient_id\":"};
    const struct openrelay_value *values = message->values;
    put_value(writer, heads[message->type], sender);
    if (message->type == OPENRELAY_AuthRequest)
        put_value(writer, ",\"public_key\":", &values[FIELD_public_key]);
    if (message->type == OPENRELAY_AuthResponse || message->type == OPENRELAY_AuthVerify)
        put_value(writer, ",\"challenge_response\":", &values[FIELD_challenge_response]);
    if (message->type == OPENRELAY_AuthRequest || message->type == OPENRELAY_AuthResponse)
        put_value(writer, ",\"challenge\":", &values[FIELD_challenge]);
    if (message->type == OPENRELAY_AuthSuccess)
        put_value(writer, ",\"trusted\":", &values[FIELD_trusted]);
    put_value(writer, ",\"hardware_id\":", &values[FIELD_hardware_id]);
    put_value(writer, ",\"device_id\":", sender);
}

// KeyRotation*: the older dialect reads the sender from sender_id.
static void put_rotation(struct writer *writer, const struct openrelay_message *message, const struct openrelay_value *sender)
{
    const struct openrelay_value *values = message->values;
    bool update = message->type == OPENRELAY_KeyRotationUpdate;
    put_text(writer, update ? "{\"type\":\"KeyRotationUpdate\",\"payload\":" : "{\"type\":\"KeyRotationAck\",\"payload\":");
    put_value(writer, "{\"hardware_id\":", &values[FIELD_hardware_id]);
    put_value(writer, ",\"recipient_id\":", &values[FIELD_recipient_id]);
    if (update)
        put_value(writer, ",\"encrypted_key_package\":", &values[FIELD_encrypted_key_package]);
    put_value(writer, ",\"key_id\":", &values[FIELD_key_id]);
    if (!update)
        put_value(writer, ",\"success\":", &values[FIELD_success]);
    put_value(writer, ",\"sender_id\":", sender);
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
    put_text(&writer, "}}");
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
    put_value(&writer, "{\"type\":\"RegisterResponse\",\"payload\":{\"hardware_id\":", &value);
    put_value(&writer, ",\"device_id\":", &value);
    put_text(&writer, "}}");
    CHECK((size_t)(writer.at - out) <= openrelay_registered_max(id));
    return (size_t)(writer.at - out);
}

size_t openrelay_format_ack(uint8_t *out, const char *message_id)
{
    int len = snprintf((char *)out, OPENRELAY_SMALL_MAX, "{\"type\":\"Ack\",\"payload\":{\"message_id\":\"%s\"}}", message_id);
    CHECK(len > 0 && len < OPENRELAY_SMALL_MAX);
    return (size_t)len;
}

size_t openrelay_format_error(uint8_t *out, const char *text, unsigned code)
{
    int len = snprintf((char *)out, OPENRELAY_SMALL_MAX, "{\"type\":\"Error\",\"payload\":{\"message\":\"%s\",\"code\":%u}}", text, code);
    CHECK(len > 0 && len < OPENRELAY_SMALL_MAX);
    return (size_t)len;
}
