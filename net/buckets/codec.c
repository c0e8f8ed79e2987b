// Buckets v1 messages (protocols/buckets.md "Framing"): netstrings within a netstring, after one kind byte.
// One rule: what is parsed is borrowed from the message, what is written is whole. Any thread.
#include "net/buckets/codec.h"

#include "shards/base/check.h"

// "<digits>:" at the start of buf. Length of the head, 0: needs more, or -(enum error) as soon as it is certain.
static int netstring_head(struct bytes buf, uint32_t *ret_body_len)
{
    uint32_t value = 0;
    for (size_t at = 0; at < buf.len; at++) {
        uint8_t byte = buf.ptr[at];
        if (byte == ':' && at > 0) {
            *ret_body_len = value;
            return (int)at + 1;
        }
        if (byte < '0' || byte > '9' || (at > 0 && value == 0)) // value 0 after a digit: a leading zero
            return -ERROR_NETSTRING;
        value = value * 10 + (uint32_t)(byte - '0');
        if (value > BUCKETS_BODY_MAX)
            return -ERROR_NETSTRING_TOO_BIG;
    }
    CHECK(buf.len <= 7);
    return 0;
}

int64_t buckets_message_length(struct bytes buf)
{
    uint32_t body_len;
    int head_len = netstring_head(buf, &body_len);
    if (head_len <= 0)
        return head_len;
    size_t len = (size_t)head_len + body_len + 1;
    if (buf.len >= len && buf.ptr[len - 1] != ',')
        return -ERROR_NETSTRING;
    CHECK(len <= BUCKETS_MESSAGE_MAX);
    return (int64_t)len;
}

// Takes one netstring off the front of *rest. false: missing or malformed.
static bool take_netstring(struct bytes *rest, struct bytes *ret_body)
{
    uint32_t body_len;
    int head_len = netstring_head(*rest, &body_len);
    if (head_len <= 0 || rest->len - (size_t)head_len <= body_len || rest->ptr[(size_t)head_len + body_len] != ',')
        return false;
    size_t len = (size_t)head_len + body_len + 1;
    CHECK(len <= rest->len);
    *ret_body = bytes_of(rest->ptr + head_len, body_len);
    rest->ptr += len;
    rest->len -= len;
    return true;
}

// Opens a whole message: its kind byte and the two or fewer arguments. Extra arguments are ignored if well-formed, as the original does.
static enum error parse(struct bytes message, const char *kinds_with_0, const char *kinds_with_1, const char *kinds_with_2,
                        uint8_t *ret_kind, struct bytes ret_arguments[2])
{
    struct bytes body;
    if (!take_netstring(&message, &body) || message.len != 0)
        return ERROR_NETSTRING;
    if (body.len == 0 || body.ptr[0] == 0)
        return ERROR_COMMAND_UNKNOWN;
    *ret_kind = body.ptr[0];
    int wanted = strchr(kinds_with_2, *ret_kind) ? 2 : strchr(kinds_with_1, *ret_kind) ? 1 : strchr(kinds_with_0, *ret_kind) ? 0 : -1;
    if (wanted < 0)
        return ERROR_COMMAND_UNKNOWN;
    struct bytes rest = bytes_of(body.ptr + 1, body.len - 1);
    for (int i = 0; i < wanted; i++) {
        if (!take_netstring(&rest, &ret_arguments[i]))
            return ERROR_COMMAND_ARGUMENT;
    }
    while (rest.len > 0) {
        struct bytes ignored;
        if (!take_netstring(&rest, &ignored))
            return ERROR_COMMAND_ARGUMENT;
    }
    return ERROR_NONE;
}

enum error buckets_command_parse(struct bytes message, struct buckets_command *ret_command)
{
    uint8_t kind;
    struct bytes arguments[2] = {{NULL, 0}, {NULL, 0}};
    enum error error = parse(message, "", "cx", "id", &kind, arguments);
    if (error != ERROR_NONE)
        return error;
    *ret_command = (struct buckets_command){.kind = (enum buckets_kind)kind, .key = arguments[0]};
    if (kind == BUCKETS_IAM) {
        ret_command->signature = arguments[0];
        ret_command->key = arguments[1];
    } else if (kind == BUCKETS_SEND) {
        ret_command->data = arguments[1];
    }
    return ERROR_NONE;
}

enum error buckets_event_parse(struct bytes message, struct buckets_event *ret_event)
{
    uint8_t kind;
    struct bytes arguments[2] = {{NULL, 0}, {NULL, 0}};
    enum error error = parse(message, "+", "?cx>^", "dE", &kind, arguments);
    if (error == ERROR_NONE)
        *ret_event = (struct buckets_event){.kind = kind, .key = arguments[0], .data = arguments[1]};
    return error;
}

static size_t digits_of(size_t value)
{
    size_t digits = 1;
    for (; value >= 10; value /= 10)
        digits++;
    return digits;
}

static size_t put_number(uint8_t *out, size_t value)
{
    size_t digits = digits_of(value);
    for (size_t i = digits; i > 0; i--, value /= 10)
        out[i - 1] = (uint8_t)('0' + value % 10);
    return digits;
}

static size_t put_head(uint8_t *out, size_t body_len)
{
    size_t len = put_number(out, body_len);
    out[len] = ':';
    return len + 1;
}

static size_t put_netstring(uint8_t *out, const void *body, size_t body_len)
{
    size_t len = put_head(out, body_len);
    memcpy(out + len, body, body_len);
    out[len + body_len] = ',';
    return len + body_len + 1;
}

// A message of one 32-byte argument: "37:<kind>32:<argument>,,".
static size_t put_with_key(uint8_t *out, char kind, const uint8_t argument[KEY_BYTES])
{
    size_t len = put_head(out, 1 + 3 + KEY_BYTES + 1);
    out[len++] = (uint8_t)kind;
    len += put_netstring(out + len, argument, KEY_BYTES);
    out[len++] = ',';
    CHECK(len == 41);
    return len;
}

size_t buckets_who(uint8_t out[64], const uint8_t challenge[BUCKETS_CHALLENGE_BYTES])
{
    _Static_assert(BUCKETS_CHALLENGE_BYTES == KEY_BYTES, "the same layout");
    return put_with_key(out, '?', challenge);
}

size_t buckets_event(uint8_t out[128], enum router_event event, const struct key *key)
{
    switch (event) {
    case ROUTER_AUTHENTICATED:
        memcpy(out, "1:+,", 4);
        return 4;
    case ROUTER_CONNECTED:
        return put_with_key(out, 'c', key->bytes);
    case ROUTER_DISCONNECTED:
        return put_with_key(out, 'x', key->bytes);
    case ROUTER_ENTERED:
        return put_with_key(out, '>', key->bytes);
    case ROUTER_EXITED:
        return put_with_key(out, '^', key->bytes);
    case ROUTER_CONNECT_FORBIDDEN:
        return buckets_error(out, "Connection forbidden");
    case ROUTER_SEND_FORBIDDEN:
        return buckets_error(out, "Sending forbidden");
    case ROUTER_CONNECT_SELF:
        return buckets_error(out, "Can't connect to self");
    case ROUTER_NO_SUCH_CONNECTION:
        return buckets_error(out, "No such connection");
    case ROUTER_TOO_MANY_CONNECTIONS:
        return buckets_error(out, "Too many connections");
    }
    UNREACHABLE();
}

size_t buckets_error(uint8_t out[128], const char *text)
{
    static const char code[] = "Generic"; // the original never sends another
    size_t text_len = strlen(text);
    CHECK(text_len > 0 && text_len <= BUCKETS_ERROR_TEXT_MAX);
    size_t body_len = 1 + (2 + sizeof(code) - 1 + 1) + (digits_of(text_len) + 1 + text_len + 1);
    size_t len = put_head(out, body_len);
    out[len++] = 'E';
    len += put_netstring(out + len, code, sizeof(code) - 1);
    len += put_netstring(out + len, text, text_len);
    out[len++] = ',';
    CHECK(len <= 128);
    return len;
}

size_t buckets_data_head(uint8_t out[BUCKETS_DATA_HEAD_MAX], const struct key *sender, size_t payload_len)
{
    CHECK(payload_len <= BUCKETS_PAYLOAD_MAX);
    size_t body_len = 1 + (3 + KEY_BYTES + 1) + (digits_of(payload_len) + 1 + payload_len + 1);
    size_t len = put_head(out, body_len);
    out[len++] = 'd';
    len += put_netstring(out + len, sender->bytes, KEY_BYTES);
    len += put_head(out + len, payload_len);
    CHECK(len <= BUCKETS_DATA_HEAD_MAX);
    return len;
}

size_t buckets_iam(uint8_t out[128], const struct key *key, const uint8_t signature[BUCKETS_SIGNATURE_BYTES])
{
    size_t len = put_head(out, 1 + (3 + BUCKETS_SIGNATURE_BYTES + 1) + (3 + KEY_BYTES + 1));
    out[len++] = BUCKETS_IAM;
    len += put_netstring(out + len, signature, BUCKETS_SIGNATURE_BYTES);
    len += put_netstring(out + len, key->bytes, KEY_BYTES);
    out[len++] = ',';
    CHECK(len == 110);
    return len;
}

size_t buckets_connect(uint8_t out[64], const struct key *peer)
{
    return put_with_key(out, BUCKETS_CONNECT, peer->bytes);
}

size_t buckets_disconnect(uint8_t out[64], const struct key *peer)
{
    return put_with_key(out, BUCKETS_DISCONNECT, peer->bytes);
}

size_t buckets_send_head(uint8_t out[BUCKETS_DATA_HEAD_MAX], const struct key *peer, size_t payload_len)
{
    _Static_assert(BUCKETS_SEND == 'd', "SendData and Data have one layout");
    return buckets_data_head(out, peer, payload_len);
}
