// Every byte string of protocols/buckets.md, the limits of netstrings, and every malformed form with its error.
#include "net/buckets/codec.h"

#include <stdio.h>
#include <stdlib.h>

#include "net/split_test.h"
#include "shards/base/check.h"

#define KEY_A_HEX "8a88e3dd7409f195fd52db2d3cba5d72ca6709bf1d94121bf3748801b40f6f5c"
#define KEY_B_HEX "8139770ea87d175f56a35466c34c7ecccb8d8a91b4ee37a25df60f5b8fc9b394"
#define SIGNATURE_HEX                                                                                                                      \
    "4e9d08743cf24c401a72f7d8ee8b49a40a4b9a5ac3a7bb8026ecb95edb056f0153b90fb2a1588a7ab25ffd515795c94e19a5f314b7bd7dfea0e6a4e0c69bb10e"
#define KEY_TEXT "kkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkk" // 32 bytes

static uint8_t large[BUCKETS_MESSAGE_MAX + 1];

static size_t from_hex(const char *hex, uint8_t *out)
{
    size_t len = 0;
    for (; hex[0] != 0; hex += 2)
        out[len++] = (uint8_t)strtoul((char[]){hex[0], hex[1], 0}, NULL, 16);
    return len;
}

static struct key key_of(const char *hex)
{
    struct key key;
    CHECK(from_hex(hex, key.bytes) == KEY_BYTES);
    return key;
}

static void expect_hex(const char *name, const uint8_t *got, size_t len, const char *hex)
{
    uint8_t expected[256];
    if (len == from_hex(hex, expected) && memcmp(got, expected, len) == 0)
        return;
    fprintf(stderr, "%s: got ", name);
    for (size_t i = 0; i < len; i++)
        fprintf(stderr, "%02x", got[i]);
    fprintf(stderr, "\n%s: expected %s\n", name, hex);
    exit(1);
}

static void test_commands_written(void)
{
    struct key a = key_of(KEY_A_HEX), b = key_of(KEY_B_HEX);
    uint8_t out[128], signature[BUCKETS_SIGNATURE_BYTES];
    from_hex(SIGNATURE_HEX, signature);
    expect_hex("Iam", out, buckets_iam(out, &a, signature), "3130353a6936343a" SIGNATURE_HEX "2c33323a" KEY_A_HEX "2c2c");
    expect_hex("Connect", out, buckets_connect(out, &b), "33373a6333323a" KEY_B_HEX "2c2c");
    expect_hex("Disconnect", out, buckets_disconnect(out, &b), "33373a7833323a" KEY_B_HEX "2c2c");
    size_t len = buckets_send_head(out, &b, 5);
    memcpy(out + len, "hello,,", 7);
    expect_hex("SendData", out, len + 7, "34353a6433323a" KEY_B_HEX "2c353a68656c6c6f2c2c");
}

static void test_events_written(void)
{
    struct key a = key_of(KEY_A_HEX);
    uint8_t out[128];
    expect_hex("Who", out, buckets_who(out, a.bytes), "33373a3f33323a" KEY_A_HEX "2c2c");
    expect_hex("Authenticated", out, buckets_event(out, ROUTER_AUTHENTICATED, NULL), "313a2b2c");
    expect_hex("Connected", out, buckets_event(out, ROUTER_CONNECTED, &a), "33373a6333323a" KEY_A_HEX "2c2c");
    expect_hex("Disconnected", out, buckets_event(out, ROUTER_DISCONNECTED, &a), "33373a7833323a" KEY_A_HEX "2c2c");
    expect_hex("Entered", out, buckets_event(out, ROUTER_ENTERED, &a), "33373a3e33323a" KEY_A_HEX "2c2c");
    expect_hex("Exited", out, buckets_event(out, ROUTER_EXITED, &a), "33373a5e33323a" KEY_A_HEX "2c2c");
    uint8_t scratch[BUCKETS_DATA_HEAD_MAX];
    struct bytes head = buckets_data_head(scratch, &a, 5);
    expect_hex("Data", head.ptr, head.len, "34353a6433323a" KEY_A_HEX "2c353a");
    head = buckets_data_head(scratch, &a, 0);
    expect_hex("Data, empty", head.ptr, head.len, "34303a6433323a" KEY_A_HEX "2c303a");
}

static void test_errors_written(void)
{
    uint8_t out[128];
    expect_hex("Invalid signature", out, buckets_error(out, "Invalid signature"),
               "33323a45373a47656e657269632c31373a496e76616c6964207369676e61747572652c2c");
    static const char again[] = "70:E7:Generic,55:Authentication cannot proceed. Reconnect and try again.,,";
    CHECK(buckets_error(out, "Authentication cannot proceed. Reconnect and try again.") == 0x4a);
    CHECK(memcmp(out, again, sizeof(again) - 1) == 0);
    expect_hex("Connection forbidden", out, buckets_event(out, ROUTER_CONNECT_FORBIDDEN, NULL),
               "33353a45373a47656e657269632c32303a436f6e6e656374696f6e20666f7262696464656e2c2c");
    expect_hex("Sending forbidden", out, buckets_event(out, ROUTER_SEND_FORBIDDEN, NULL),
               "33323a45373a47656e657269632c31373a53656e64696e6720666f7262696464656e2c2c");
    expect_hex("Can't connect to self", out, buckets_event(out, ROUTER_CONNECT_SELF, NULL),
               "33363a45373a47656e657269632c32313a43616e277420636f6e6e65637420746f2073656c662c2c");
    expect_hex("No such connection", out, buckets_event(out, ROUTER_NO_SUCH_CONNECTION, NULL),
               "33333a45373a47656e657269632c31383a4e6f207375636820636f6e6e656374696f6e2c2c");
    expect_hex("Other side disconnected", out, buckets_error(out, "Other side disconnected"),
               "33383a45373a47656e657269632c32333a4f74686572207369646520646973636f6e6e65637465642c2c");
    char text[BUCKETS_ERROR_TEXT_MAX + 1];
    memset(text, 'x', sizeof(text) - 1);
    text[sizeof(text) - 1] = 0;
    size_t len = buckets_error(out, text);
    CHECK(buckets_message_length(bytes_of(out, len)) == (int64_t)len);
}

// Netstring heads: what each prefix says is the same however many bytes follow, and is said as early as it is certain.
static const struct {
    const char *bytes;
    int64_t length;
} lengths[] = {
    {"", 0},
    {"1", 0},
    {"37", 0},
    {"1:+", 4},
    {"1:+,", 4},
    {"1:+,4", 4},
    {"0:,", 3},
    {"0", 0},
    {"10:", 14},
    {"999999", 0},
    {"1000000", 0},
    {"1000000:", 1000009},
    {"1000001", -ERROR_NETSTRING_TOO_BIG},
    {"9999999", -ERROR_NETSTRING_TOO_BIG},
    {"10000000", -ERROR_NETSTRING_TOO_BIG},
    {":", -ERROR_NETSTRING},
    {":,", -ERROR_NETSTRING},
    {"01:+,", -ERROR_NETSTRING},
    {"00:,", -ERROR_NETSTRING},
    {"x", -ERROR_NETSTRING},
    {"1x", -ERROR_NETSTRING},
    {"-1:", -ERROR_NETSTRING},
    {" 1:+,", -ERROR_NETSTRING},
    {"1:+;", -ERROR_NETSTRING},
    {"0:;", -ERROR_NETSTRING},
    {"1 :+,", -ERROR_NETSTRING},
    {"/:", -ERROR_NETSTRING},
};

static void test_lengths(void)
{
    for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
        struct bytes all = bytes_text(lengths[i].bytes);
        int64_t got = buckets_message_length(all);
        if (got != lengths[i].length) {
            fprintf(stderr, "\"%s\": got %lld, expected %lld\n", lengths[i].bytes, (long long)got, (long long)lengths[i].length);
            exit(1);
        }
        for (size_t len = 0; len < all.len; len++) {
            int64_t prefix = buckets_message_length(bytes_of(all.ptr, len));
            CHECK(prefix == 0 || prefix == got || (prefix > 0 && (size_t)prefix > len && got == -ERROR_NETSTRING));
        }
    }
}

static void test_largest(void)
{
    struct key key = key_of(KEY_B_HEX);
    size_t head = buckets_send_head(large, &key, BUCKETS_PAYLOAD_MAX), len = head + BUCKETS_PAYLOAD_MAX + 2;
    memset(large + head, 'z', BUCKETS_PAYLOAD_MAX);
    memcpy(large + len - 2, ",,", 2);
    CHECK(len == BUCKETS_MESSAGE_MAX && buckets_message_length(bytes_of(large, len)) == (int64_t)len);
    struct buckets_command command;
    CHECK(buckets_command_parse(bytes_of(large, len), &command) == ERROR_NONE);
    CHECK(command.data.len == BUCKETS_PAYLOAD_MAX && command.data.ptr == large + head);
    large[len - 1] = ';';
    CHECK(buckets_message_length(bytes_of(large, len)) == -ERROR_NETSTRING);
    CHECK(buckets_message_length(bytes_of(large, len - 1)) == (int64_t)len);
}

// Commands that are refused, or taken in spite of something odd; %K stands for "32:<key>,".
static const struct {
    const char *body;
    enum error error;
} odd[] = {
    {"", ERROR_COMMAND_UNKNOWN},
    {"q", ERROR_COMMAND_UNKNOWN},
    {"+", ERROR_COMMAND_UNKNOWN},
    {"?%K", ERROR_COMMAND_UNKNOWN},
    {">%K", ERROR_COMMAND_UNKNOWN},
    {"C%K", ERROR_COMMAND_UNKNOWN},
    {"c", ERROR_COMMAND_ARGUMENT},
    {"c%K", ERROR_NONE},
    {"c0:,", ERROR_NONE},
    {"c5:short,", ERROR_NONE},
    {"c%Kzzz", ERROR_COMMAND_ARGUMENT},
    {"c%K3:abc,", ERROR_NONE},
    {"c%K3:abc,0:,", ERROR_NONE},
    {"c%K3:abc", ERROR_COMMAND_ARGUMENT},
    {"c05:short,", ERROR_COMMAND_ARGUMENT},
    {"c6:short,", ERROR_COMMAND_ARGUMENT},
    {"c4:short,", ERROR_COMMAND_ARGUMENT},
    {"c5:short", ERROR_COMMAND_ARGUMENT},
    {"c5", ERROR_COMMAND_ARGUMENT},
    {"c1000001:short,", ERROR_COMMAND_ARGUMENT},
    {"c99999999999999999999:short,", ERROR_COMMAND_ARGUMENT},
    {"x%K", ERROR_NONE},
    {"d%K", ERROR_COMMAND_ARGUMENT},
    {"d%K0:,", ERROR_NONE},
    {"d%K5:hello,", ERROR_NONE},
    {"d%K5:hello,!", ERROR_COMMAND_ARGUMENT},
    {"i%K", ERROR_COMMAND_ARGUMENT},
    {"i3:sig,%K", ERROR_NONE},
};

static void test_odd_commands(void)
{
    for (size_t i = 0; i < sizeof(odd) / sizeof(odd[0]); i++) {
        char body[200], message[240];
        const char *mark = strstr(odd[i].body, "%K");
        if (mark != NULL)
            snprintf(body, sizeof(body), "%.*s32:" KEY_TEXT ",%s", (int)(mark - odd[i].body), odd[i].body, mark + 2);
        else
            snprintf(body, sizeof(body), "%s", odd[i].body);
        snprintf(message, sizeof(message), "%zu:%s,", strlen(body), body);
        struct buckets_command command;
        enum error error = buckets_command_parse(bytes_text(message), &command);
        if (error != odd[i].error) {
            fprintf(stderr, "%s: got %s, expected %s\n", message, error_name(error), error_name(odd[i].error));
            exit(1);
        }
    }
    struct buckets_command command;
    CHECK(buckets_command_parse(bytes_text("4:c0:,"), &command) == ERROR_NETSTRING);
    CHECK(buckets_command_parse(bytes_text("4:c0:,;"), &command) == ERROR_NETSTRING);
    CHECK(buckets_command_parse(bytes_text("4:c0:,,4"), &command) == ERROR_NETSTRING);
}

// A stream of all commands, taken apart as a session does at every split, says what was written.
static void test_stream(void)
{
    struct key a = key_of(KEY_A_HEX), b = key_of(KEY_B_HEX);
    uint8_t stream[512], signature[BUCKETS_SIGNATURE_BYTES];
    from_hex(SIGNATURE_HEX, signature);
    size_t len = buckets_iam(stream, &a, signature);
    len += buckets_connect(stream + len, &b);
    len += buckets_send_head(stream + len, &b, 5);
    memcpy(stream + len, "hello,,", 7);
    len += 7;
    len += buckets_disconnect(stream + len, &b);
    for (unsigned way = 0; way < SPLIT_WAYS; way++) {
        struct split split = split_create(way);
        size_t begin = 0, end = 0;
        char kinds[8] = "";
        while (end < len) {
            end += split_next(&split, len - end);
            int64_t message_len;
            while ((message_len = buckets_message_length(bytes_of(stream + begin, end - begin))) > 0 &&
                   (size_t)message_len <= end - begin) {
                struct buckets_command command;
                CHECK(buckets_command_parse(bytes_of(stream + begin, (size_t)message_len), &command) == ERROR_NONE);
                CHECK(bytes_equal(command.key, bytes_of(command.kind == BUCKETS_IAM ? a.bytes : b.bytes, KEY_BYTES)));
                CHECK(bytes_equal(command.signature, bytes_of(signature, command.kind == BUCKETS_IAM ? sizeof(signature) : 0)));
                CHECK(bytes_equal(command.data, bytes_text(command.kind == BUCKETS_SEND ? "hello" : "")));
                kinds[strlen(kinds)] = (char)command.kind;
                begin += (size_t)message_len;
            }
            CHECK(message_len >= 0);
        }
        CHECK(begin == len && strcmp(kinds, "icdx") == 0);
    }
}

static void test_events_parsed(void)
{
    struct buckets_event event;
    CHECK(buckets_event_parse(bytes_text("1:+,"), &event) == ERROR_NONE && event.kind == '+' && event.key.len == 0);
    CHECK(buckets_event_parse(bytes_text("4:^0:,,"), &event) == ERROR_NONE && event.kind == '^' && event.key.len == 0);
    CHECK(buckets_event_parse(bytes_text("12:d2:ab,3:xyz,,"), &event) == ERROR_NONE && event.kind == 'd');
    CHECK(bytes_equal(event.key, bytes_text("ab")) && bytes_equal(event.data, bytes_text("xyz")));
    CHECK(buckets_event_parse(bytes_text("32:E7:Generic,17:Invalid signature,,"), &event) == ERROR_NONE && event.kind == 'E');
    CHECK(bytes_equal(event.key, bytes_text("Generic")) && bytes_equal(event.data, bytes_text("Invalid signature")));
    CHECK(buckets_event_parse(bytes_text("1:?,"), &event) == ERROR_COMMAND_ARGUMENT);
    CHECK(buckets_event_parse(bytes_text("4:i0:,,"), &event) == ERROR_COMMAND_UNKNOWN);
    CHECK(buckets_event_parse(bytes_text("2:+x,"), &event) == ERROR_COMMAND_ARGUMENT);
}

int main(void)
{
    test_commands_written();
    test_events_written();
    test_errors_written();
    test_lengths();
    test_largest();
    test_odd_commands();
    test_stream();
    test_events_parsed();
    return 0;
}
