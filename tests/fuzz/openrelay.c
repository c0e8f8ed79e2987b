// Fuzz main: a text that parses as a message that is forwarded, forwarded, parses again to the same values; surrogates never get through;
// and the short way for the usual Send gives what yajl gives.
#include <stdlib.h>

#include "net/openrelay/codec.h"
#include "net/ws.h"
#include "shards/base/check.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool is_forwarded(enum openrelay_type type)
{
    return type == OPENRELAY_Send || (type >= OPENRELAY_AuthRequest && type <= OPENRELAY_KeyRotationAck);
}

// What the sender said and the receiver reads: all but the ids that the relay sets.
static void compare(const struct openrelay_message *sent, const struct openrelay_message *received)
{
    const uint32_t set_by_relay = 1u << FIELD_recipient_id | 1u << FIELD_sender_id | 1u << FIELD_device_id | 1u << FIELD_message_id;
    for (int i = 0; i < FIELD_COUNT; i++) {
        const struct openrelay_value *one = &sent->values[i], *two = &received->values[i];
        if (two->kind == VALUE_ABSENT || (set_by_relay & 1u << i) != 0)
            continue;
        CHECK(two->kind == one->kind || (two->kind == VALUE_NULL && one->kind == VALUE_ABSENT));
        CHECK(bytes_equal(one->text, two->text) && one->number == two->number && one->truth == two->truth);
    }
}

static void forward(const struct openrelay_message *message)
{
    struct bytes sender = message->values[FIELD_hardware_id].text;
    uint8_t *out = malloc(openrelay_forward_max(message, sender));
    struct openrelay_message again;
    CHECK(out != NULL);
    size_t len = openrelay_format_forward(out, message, sender);
    CHECK(ws_utf8(0, bytes_of(out, len)) == 0);
    bool parsed = openrelay_parse(bytes_of(out, len), &again);
    CHECK(parsed && again.type == (message->type == OPENRELAY_Send ? OPENRELAY_Receive : message->type));
    CHECK(strcmp(again.message_id, message->message_id) == 0);
    compare(message, &again);
    openrelay_message_fini(&again);
    free(out);
}

static void judge(struct bytes input, const struct openrelay_message *message, bool sound)
{
    struct openrelay_message judged;
    CHECK(openrelay_parse_by_yajl(input, &judged) == sound);
    CHECK(!sound || (judged.type == message->type && strcmp(judged.message_id, message->message_id) == 0));
    for (int i = 0; i < FIELD_COUNT && sound; i++) {
        const struct openrelay_value *one = &message->values[i], *two = &judged.values[i];
        CHECK(one->kind == two->kind && one->clean == two->clean && one->truth == two->truth && one->number == two->number);
        CHECK(bytes_equal(one->text, two->text));
    }
    openrelay_message_fini(&judged);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct openrelay_message message;
    if (ws_utf8(0, bytes_of(data, size)) != 0)
        return 0; // the WebSocket layer lets only text through
    bool sound = openrelay_parse(bytes_of(data, size), &message);
    judge(bytes_of(data, size), &message, sound);
    if (sound && is_forwarded(message.type))
        forward(&message);
    openrelay_message_fini(&message);
    return 0;
}
