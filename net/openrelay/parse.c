// OpenRelay messages in. What openrelay_scan does not know is yajl's, whose events are noted by key, whatever the order of type and
// payload; then the type says what must be there. serde's rules as measured: unknown keys are skipped, doubled known ones and other types
// of values are errors. Any thread.
#include <errno.h>
#include <stdlib.h>
#include <yajl/yajl_parse.h>

#include "net/openrelay/codec.h"
#include "net/openrelay/scan.h"
#include "shards/base/check.h"

#define DEPTH_MAX 128

static const struct bytes field_names[FIELD_COUNT] = {
#define X(name) {(const uint8_t *)#name, sizeof(#name) - 1},
    OPENRELAY_FIELDS(X)
#undef X
};
static const struct bytes type_names[OPENRELAY_TYPE_COUNT] = {
#define X(name) {(const uint8_t *)#name, sizeof(#name) - 1},
    OPENRELAY_TYPES(X)
#undef X
};

#define BIT(name) (1u << FIELD_##name)
#define SEND_BITS ((1u << OPENRELAY_SEND_FIELDS) - 1)
#define AUTH_BITS (BIT(recipient_id) | BIT(device_id) | BIT(hardware_id))

// Which keys a type knows, of which kind, and which may be missing. Auth* take either name of the target, checked apart.
static const struct shape {
    uint32_t texts, numbers, truths;
    uint32_t optional; // may be absent or null
} shapes[OPENRELAY_TYPE_COUNT] = {
    [OPENRELAY_Register] = {BIT(hardware_id), 0, 0, 0},
    [OPENRELAY_RegisterResponse] = {BIT(hardware_id), 0, 0, 0},
    [OPENRELAY_Send] = {SEND_BITS & ~(BIT(timestamp) | BIT(ttl) | BIT(size_bytes)), BIT(timestamp) | BIT(ttl) | BIT(size_bytes), 0,
                        BIT(signature)},
    [OPENRELAY_Receive] = {SEND_BITS & ~(BIT(timestamp) | BIT(ttl) | BIT(size_bytes)), BIT(timestamp) | BIT(ttl) | BIT(size_bytes), 0,
                           BIT(signature)},
    [OPENRELAY_Ack] = {BIT(message_id), 0, 0, 0},
    [OPENRELAY_Error] = {BIT(message), BIT(code), 0, BIT(code)},
    [OPENRELAY_AuthRequest] = {AUTH_BITS | BIT(public_key) | BIT(challenge), 0, 0, BIT(recipient_id) | BIT(device_id)},
    [OPENRELAY_AuthResponse] = {AUTH_BITS | BIT(challenge_response) | BIT(challenge), 0, 0, BIT(recipient_id) | BIT(device_id)},
    [OPENRELAY_AuthVerify] = {AUTH_BITS | BIT(challenge_response), 0, 0, BIT(recipient_id) | BIT(device_id)},
    [OPENRELAY_AuthSuccess] = {AUTH_BITS, 0, BIT(trusted), BIT(recipient_id) | BIT(device_id)},
    [OPENRELAY_KeyRotationUpdate] = {AUTH_BITS | BIT(encrypted_key_package), BIT(key_id), 0, BIT(recipient_id) | BIT(device_id)},
    [OPENRELAY_KeyRotationAck] = {AUTH_BITS, BIT(key_id), BIT(success), BIT(recipient_id) | BIT(device_id)},
    [OPENRELAY_Status] = {BIT(hardware_id) | BIT(status), 0, 0, 0},
};

enum payload_kind { PAYLOAD_ABSENT, PAYLOAD_NULL, PAYLOAD_OBJECT, PAYLOAD_ARRAY, PAYLOAD_OTHER };
enum place { PLACE_ENVELOPE, PLACE_TYPE, PLACE_PAYLOAD, PLACE_SKIP };

struct reader {
    struct openrelay_message *message;
    struct bytes input;
    unsigned depth;   // containers open
    unsigned element; // values seen in the envelope's array, or in the payload's
    bool envelope_array;
    bool has_type;
    enum place place; // what the next value at depth 1 is
    enum payload_kind payload;
    int field;        // of the next value at depth 2; -1: unknown
    uint32_t doubled; // fields that came twice
};

static bool read_type(struct reader *reader, struct bytes text)
{
    if (reader->has_type)
        return false;
    reader->has_type = true;
    for (unsigned i = 0; i < OPENRELAY_TYPE_COUNT; i++) {
        if (bytes_equal(text, type_names[i])) {
            reader->message->type = (enum openrelay_type)i;
            return true;
        }
    }
    return false;
}

// What a value at depth 1 is: by the key before it, or by its number in an array.
static enum place place_at_1(struct reader *reader)
{
    if (!reader->envelope_array)
        return reader->place;
    unsigned element = reader->element++;
    return element == 0 ? PLACE_TYPE : element == 1 ? PLACE_PAYLOAD : PLACE_ENVELOPE;
}

static bool note(struct reader *reader, struct openrelay_value value)
{
    int field = reader->field;
    if (reader->payload == PAYLOAD_ARRAY)
        field = reader->element < OPENRELAY_SEND_FIELDS ? (int)reader->element : -1;
    if (reader->payload == PAYLOAD_ARRAY)
        reader->element++;
    if (field < 0)
        return true;
    struct openrelay_value *slot = &reader->message->values[field];
    if (slot->kind != VALUE_ABSENT)
        reader->doubled |= 1u << field;
    *slot = value;
    return true;
}

// A value that is no container.
static bool take(struct reader *reader, struct openrelay_value value)
{
    if (reader->depth == 2 && reader->payload != PAYLOAD_ABSENT && reader->place == PLACE_PAYLOAD)
        return note(reader, value);
    if (reader->depth != 1)
        return reader->depth > 1; // a bare value is no envelope
    switch (place_at_1(reader)) {
    case PLACE_TYPE:
        return value.kind == VALUE_TEXT && read_type(reader, value.text);
    case PLACE_PAYLOAD:
        if (reader->payload != PAYLOAD_ABSENT)
            return false;
        reader->payload = value.kind == VALUE_NULL ? PAYLOAD_NULL : PAYLOAD_OTHER;
        return true;
    case PLACE_SKIP:
        return true;
    case PLACE_ENVELOPE:
        break;
    }
    return false; // a third element
}

static int open_container(struct reader *reader, bool array)
{
    if (reader->depth >= DEPTH_MAX)
        return 0;
    bool sound = true;
    if (reader->depth == 0) {
        reader->envelope_array = array;
    } else if (reader->depth == 1) {
        enum place place = place_at_1(reader);
        sound = place == PLACE_SKIP || (place == PLACE_PAYLOAD && reader->payload == PAYLOAD_ABSENT);
        reader->place = place;
        if (place == PLACE_PAYLOAD) {
            reader->payload = array ? PAYLOAD_ARRAY : PAYLOAD_OBJECT;
            reader->element = 0;
            reader->field = -1;
        }
    } else if (reader->depth == 2 && reader->place == PLACE_PAYLOAD) {
        sound = note(reader, (struct openrelay_value){.kind = VALUE_OTHER});
    }
    reader->depth++;
    return sound;
}

static int close_container(void *context)
{
    struct reader *reader = context;
    CHECK(reader->depth > 0);
    reader->depth--;
    if (reader->depth == 1 && reader->place == PLACE_PAYLOAD && reader->payload == PAYLOAD_ARRAY &&
        reader->element != OPENRELAY_SEND_FIELDS)
        return 0;
    if (reader->depth == 1 && reader->envelope_array)
        reader->element = 2; // only the payload may be a container: the second
    return 1;
}

static int on_map(void *context)
{
    return open_container(context, /* array= */ false);
}

static int on_array(void *context)
{
    return open_container(context, /* array= */ true);
}

static int on_key(void *context, const unsigned char *text, size_t len)
{
    struct reader *reader = context;
    struct bytes key = bytes_of(text, len);
    if (reader->depth == 1) {
        reader->place = bytes_equal(key, bytes_text("type"))      ? PLACE_TYPE
                        : bytes_equal(key, bytes_text("payload")) ? PLACE_PAYLOAD
                                                                  : PLACE_SKIP;
    } else if (reader->depth == 2 && reader->place == PLACE_PAYLOAD) {
        reader->field = -1;
        for (int i = 0; i < FIELD_COUNT && reader->field < 0; i++)
            if (bytes_equal(key, field_names[i]))
                reader->field = i;
    }
    return 1;
}

// Text without escapes is borrowed where it lies; yajl decodes the other into a buffer that it uses again.
static int on_text(void *context, const unsigned char *text, size_t len)
{
    struct reader *reader = context;
    struct openrelay_message *message = reader->message;
    struct openrelay_value value = {.kind = VALUE_TEXT, .clean = true, .text = bytes_of(text, len)};
    bool borrowed = len == 0 || (text >= reader->input.ptr && text < reader->input.ptr + reader->input.len);
    if (!borrowed) {
        if (message->arena == NULL)
            message->arena = malloc(reader->input.len);
        if (message->arena == NULL)
            return 0;
        CHECK(message->arena_used + len <= reader->input.len); // decoding never lengthens
        memcpy(message->arena + message->arena_used, text, len);
        value.text.ptr = message->arena + message->arena_used;
        value.clean = false;
        message->arena_used += len;
    }
    return take(reader, value);
}

// Anything but plain digits within 64 bits is a number that no field takes.
static int on_number(void *context, const char *text, size_t len)
{
    struct openrelay_value value = {.kind = VALUE_NUMBER, .text = bytes_of(text, len)};
    for (size_t i = 0; i < len && value.kind == VALUE_NUMBER; i++) {
        unsigned digit = (unsigned)(text[i] - '0');
        if (digit > 9 || value.number > (UINT64_MAX - digit) / 10)
            value.kind = VALUE_OTHER;
        else
            value.number = value.number * 10 + digit;
    }
    return take(context, value);
}

static int on_truth(void *context, int truth)
{
    return take(context, (struct openrelay_value){.kind = VALUE_TRUTH, .truth = truth != 0});
}

static int on_null(void *context)
{
    return take(context, (struct openrelay_value){.kind = VALUE_NULL});
}

static int hex4(struct bytes input, size_t at)
{
    int value = 0;
    if (input.len - at < 4)
        return -1;
    for (size_t i = at; i < at + 4; i++) {
        uint8_t byte = input.ptr[i], lower = byte | 0x20;
        int digit = byte >= '0' && byte <= '9' ? byte - '0' : lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
        if (digit < 0)
            return -1;
        value = value * 16 + digit;
    }
    return value;
}

// yajl's white space has two characters that JSON's has not; in texts they are errors anyway.
static bool spaces_sound(struct bytes input)
{
    return memchr(input.ptr, '\v', input.len) == NULL && memchr(input.ptr, '\f', input.len) == NULL;
}

// yajl replaces a lone surrogate by '?'; here it is an error. Backslashes stand only in texts, or the whole is broken anyway.
static bool surrogates_sound(struct bytes input)
{
    const uint8_t *found = memchr(input.ptr, '\\', input.len);
    for (size_t i = found != NULL ? (size_t)(found - input.ptr) : input.len; i + 1 < input.len; i++) {
        if (input.ptr[i] != '\\')
            continue;
        i++;
        int unit = input.ptr[i] == 'u' ? hex4(input, i + 1) : 0;
        if (unit < 0xd800 || unit > 0xdfff)
            continue;
        bool followed = unit < 0xdc00 && input.len - i > 6 && input.ptr[i + 5] == '\\' && input.ptr[i + 6] == 'u';
        int low = followed ? hex4(input, i + 7) : 0;
        if (low < 0xdc00 || low > 0xdfff)
            return false;
        i += 10;
    }
    return true;
}

static bool is_one_of(struct bytes text, const char *const *words)
{
    for (; *words != NULL; words++)
        if (bytes_equal(text, bytes_text(*words)))
            return true;
    return false;
}

static bool field_sound(const struct shape *shape, const struct openrelay_value *value, uint32_t bit)
{
    if (value->kind == VALUE_ABSENT || value->kind == VALUE_NULL)
        return (shape->optional & bit) != 0;
    if ((shape->texts & bit) != 0)
        return value->kind == VALUE_TEXT;
    return value->kind == ((shape->numbers & bit) != 0 ? VALUE_NUMBER : VALUE_TRUTH);
}

static bool words_sound(struct openrelay_message *message)
{
    static const char *const contents[] = {"Text", "Image", "KeyPackage", "Other", NULL};
    static const char *const statuses[] = {"Online", "Away", "Offline", NULL};
    const struct openrelay_value *values = message->values;
    switch (message->type) {
    case OPENRELAY_Send:
    case OPENRELAY_Receive:
        return is_one_of(values[FIELD_content_type].text, contents) && openrelay_uuid(values[FIELD_message_id].text, message->message_id);
    case OPENRELAY_Status:
        return is_one_of(values[FIELD_status].text, statuses);
    case OPENRELAY_Error:
        return values[FIELD_code].kind != VALUE_NUMBER || values[FIELD_code].number <= UINT16_MAX;
    default:
        break;
    }
    // Either dialect's name of the target; the newer wins when both stand there.
    bool has_target = (shapes[message->type].texts & BIT(device_id)) != 0;
    if (has_target && values[FIELD_recipient_id].kind != VALUE_TEXT)
        message->values[FIELD_recipient_id] = values[FIELD_device_id];
    return !has_target || message->values[FIELD_recipient_id].kind == VALUE_TEXT;
}

// The fields of its type; where the target has its newer name, the older is any unknown key.
static uint32_t known_fields(const struct openrelay_message *message)
{
    const struct shape *shape = &shapes[message->type];
    uint32_t known = shape->texts | shape->numbers | shape->truths;
    return message->values[FIELD_recipient_id].kind == VALUE_TEXT ? known & ~BIT(device_id) : known;
}

// What a message of its type must hold is there, and of the right kind.
static bool fields_sound(struct openrelay_message *message)
{
    const struct shape *shape = &shapes[message->type];
    for (uint32_t left = known_fields(message); left != 0; left &= left - 1)
        if (!field_sound(shape, &message->values[__builtin_ctz(left)], left & -left))
            return false;
    return words_sound(message);
}

static bool message_sound(const struct reader *reader)
{
    struct openrelay_message *message = reader->message;
    uint32_t known = known_fields(message);
    if (known == 0) // Ping, Pong
        return reader->payload == PAYLOAD_NULL || (reader->payload == PAYLOAD_ABSENT && !reader->envelope_array);
    bool may_be_array = message->type == OPENRELAY_Send || message->type == OPENRELAY_Receive;
    if (reader->payload != PAYLOAD_OBJECT && !(reader->payload == PAYLOAD_ARRAY && may_be_array))
        return false;
    return (reader->doubled & known) == 0 && fields_sound(message);
}

bool openrelay_parse_by_yajl(struct bytes input, struct openrelay_message *ret_message)
{
    static const yajl_callbacks callbacks = {.yajl_null = on_null,
                                             .yajl_boolean = on_truth,
                                             .yajl_number = on_number,
                                             .yajl_string = on_text,
                                             .yajl_start_map = on_map,
                                             .yajl_map_key = on_key,
                                             .yajl_end_map = close_container,
                                             .yajl_start_array = on_array,
                                             .yajl_end_array = close_container};
    *ret_message = (struct openrelay_message){.input_len = input.len};
    struct reader reader = {.message = ret_message, .input = input, .field = -1};
    if (input.len == 0 || !spaces_sound(input) || !surrogates_sound(input))
        return false;
    yajl_handle handle = yajl_alloc(&callbacks, NULL, &reader);
    if (handle == NULL)
        return false;
    yajl_config(handle, yajl_dont_validate_strings, 1); // the WebSocket layer has: text is UTF-8 there
    bool parsed = yajl_parse(handle, input.ptr, input.len) == yajl_status_ok && yajl_complete_parse(handle) == yajl_status_ok;
    yajl_free(handle);
    return parsed && reader.has_type && message_sound(&reader);
}

bool openrelay_parse(struct bytes input, struct openrelay_message *ret_message)
{
    *ret_message = (struct openrelay_message){.input_len = input.len};
    if (openrelay_scan(input, ret_message))
        return fields_sound(ret_message);
    return openrelay_parse_by_yajl(input, ret_message);
}

void openrelay_message_fini(struct openrelay_message *message)
{
    free(message->arena);
    message->arena = NULL;
}

typedef uint8_t uuid_block __attribute__((vector_size(16), aligned(1), may_alias));
typedef uint64_t uuid_words __attribute__((vector_size(16)));

// Sixteen characters at once, three times (the last two overlap).
bool openrelay_uuid(struct bytes text, char ret_uuid[37])
{
    static const char prefix[] = "urn:uuid:", form[] = "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx";
    static const uint8_t starts[] = {0, 16, 20};
    uint8_t hyphenated[36];
    if (text.len == 38 && text.ptr[0] == '{' && text.ptr[37] == '}')
        text = bytes_of(text.ptr + 1, 36);
    else if (text.len == 45 && memcmp(text.ptr, prefix, sizeof(prefix) - 1) == 0)
        text = bytes_of(text.ptr + sizeof(prefix) - 1, 36);
    if (text.len == 32) {
        for (size_t out = 0, in = 0; out < sizeof(hyphenated); out++)
            hyphenated[out] = form[out] == '-' ? '-' : text.ptr[in++];
        text = bytes_of(hyphenated, sizeof(hyphenated));
    }
    if (text.len != 36)
        return false;
    uuid_block odd = {0};
    for (size_t i = 0; i < sizeof(starts); i++) {
        const uuid_block in = *(const uuid_block *)(const void *)(text.ptr + starts[i]);
        const uuid_block lower = in | 0x20; // digits and the hyphen have that bit
        const uuid_block hex = (uuid_block)(in - '0' <= 9) | (uuid_block)(lower - 'a' <= 5);
        const uuid_block wanted = (uuid_block)(*(const uuid_block *)(const void *)(form + starts[i]) == '-');
        odd |= wanted ^ ((uuid_block)(in == '-') & ~hex); // a hyphen that is not wanted, or the other way
        odd |= ~(wanted | hex);
        *(uuid_block *)(void *)(ret_uuid + starts[i]) = lower;
    }
    ret_uuid[36] = '\0';
    const uuid_words words = (uuid_words)odd;
    return (words[0] | words[1]) == 0;
}
