// Buckets v1 messages (protocols/buckets.md "Framing"): netstrings within a netstring, after one kind byte.
// One rule: what is parsed is borrowed from the message, what is written is whole. Any thread.
#include "net/buckets/codec.h"

#include "shards/base/check.h"

// "<digits>:" at the start of buf. Length of the head, 0: needs more, or -(enum error) as soon as it is certain.
static int netstring_head_slow(struct bytes buf, uint32_t *ret_body_len)
{
    uint32_t value = 0;
    size_t at = 0;
    for (; at < buf.len; at++) {
        uint32_t digit = (uint32_t)buf.ptr[at] - '0';
        if (digit > 9)
            break;
        if (at > 0 && value == 0) // a leading zero
            return -ERROR_NETSTRING;
        value = value * 10 + digit;
        if (value > BUCKETS_BODY_MAX)
            return -ERROR_NETSTRING_TOO_BIG;
    }
    CHECK(at <= 7);
    if (at == buf.len)
        return 0;
    if (at == 0 || buf.ptr[at] != ':')
        return -ERROR_NETSTRING;
    *ret_body_len = value;
    return (int)at + 1;
}

// A sound head with enough behind it needs no look at the end of the buffer; all else is told apart slowly.
static inline int netstring_head(struct bytes buf, uint32_t *ret_body_len)
{
    if (buf.len <= 7)
        return netstring_head_slow(buf, ret_body_len);
    uint32_t value = (uint32_t)buf.ptr[0] - '0', digit;
    int at = 1;
    for (; at < 7 && (digit = (uint32_t)buf.ptr[at] - '0') <= 9; at++)
        value = value * 10 + digit;
    if (buf.ptr[0] < '1' || buf.ptr[0] > '9' || buf.ptr[at] != ':' || value > BUCKETS_BODY_MAX)
        return netstring_head_slow(buf, ret_body_len);
    *ret_body_len = value;
    return at + 1;
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

// A 32-byte key takes this way on every command: nothing to count.
static bool take_argument(struct bytes *rest, struct bytes *ret_body)
{
    if (rest->len < 3 + KEY_BYTES + 1 || memcmp(rest->ptr, "32:", 3) != 0 || rest->ptr[3 + KEY_BYTES] != ',')
        return take_netstring(rest, ret_body);
    *ret_body = bytes_of(rest->ptr + 3, KEY_BYTES);
    rest->ptr += 3 + KEY_BYTES + 1;
    rest->len -= 3 + KEY_BYTES + 1;
    return true;
}

// How many arguments follow a kind byte; -1: there is no such kind.
static int command_arguments(uint8_t kind)
{
    switch (kind) {
    case BUCKETS_IAM:
    case BUCKETS_SEND:
        return 2;
    case BUCKETS_CONNECT:
    case BUCKETS_DISCONNECT:
        return 1;
    default:
        return -1;
    }
}

static int event_arguments(uint8_t kind)
{
    switch (kind) {
    case 'd':
    case 'E':
        return 2;
    case '?':
    case 'c':
    case 'x':
    case '>':
    case '^':
        return 1;
    case '+':
        return 0;
    default:
        return -1;
    }
}

// Opens a whole message: its kind byte and the two or fewer arguments. Extra arguments are ignored if well-formed, as the original does.
static inline enum error parse(struct bytes message, int (*arguments_of)(uint8_t kind), uint8_t *ret_kind, struct bytes ret_arguments[2])
{
    struct bytes body;
    if (!take_netstring(&message, &body) || message.len != 0)
        return ERROR_NETSTRING;
    if (body.len == 0)
        return ERROR_COMMAND_UNKNOWN;
    *ret_kind = body.ptr[0];
    int wanted = arguments_of(*ret_kind);
    if (wanted < 0)
        return ERROR_COMMAND_UNKNOWN;
    struct bytes rest = bytes_of(body.ptr + 1, body.len - 1);
    for (int i = 0; i < wanted; i++) {
        if (!take_argument(&rest, &ret_arguments[i]))
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
    enum error error = parse(message, command_arguments, &kind, arguments);
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
    enum error error = parse(message, event_arguments, &kind, arguments);
    if (error == ERROR_NONE)
        *ret_event = (struct buckets_event){.kind = kind, .key = arguments[0], .data = arguments[1]};
    return error;
}

static size_t digits_of(size_t value)
{
    CHECK(value < 10000000);
    return 1u + (value >= 10) + (value >= 100) + (value >= 1000) + (value >= 10000) + (value >= 100000) + (value >= 1000000);
}

static size_t put_number(uint8_t *out, size_t value)
{
    size_t digits = digits_of(value);
    uint32_t left = (uint32_t)value;
    for (size_t i = digits; i > 0; i--, left /= 10)
        out[i - 1] = (uint8_t)('0' + left % 10);
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

// Writes number and ':' so that they end before `end`; returns where they begin.
static uint8_t *put_head_before(uint8_t *end, size_t number)
{
    uint32_t left = (uint32_t)number;
    *--end = ':';
    do
        *--end = (uint8_t)('0' + left % 10);
    while ((left /= 10) > 0);
    return end;
}

// From its end to its start: no length has to be known before its digits are written.
struct bytes buckets_data_head(uint8_t scratch[BUCKETS_DATA_HEAD_MAX], const struct key *sender, size_t payload_len)
{
    CHECK(payload_len <= BUCKETS_PAYLOAD_MAX);
    uint8_t *end = scratch + BUCKETS_DATA_HEAD_MAX, *at = put_head_before(end, payload_len);
    *--at = ',';
    memcpy(at - KEY_BYTES, sender->bytes, KEY_BYTES);
    at -= KEY_BYTES + 4;
    memcpy(at, "d32:", 4);
    at = put_head_before(at, (size_t)(end - at) + payload_len + 1);
    CHECK(at > scratch);
    return bytes_of(at, (size_t)(end - at));
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
    uint8_t scratch[BUCKETS_DATA_HEAD_MAX];
    struct bytes head = buckets_data_head(scratch, peer, payload_len);
    memcpy(out, head.ptr, head.len);
    return head.len;
}
