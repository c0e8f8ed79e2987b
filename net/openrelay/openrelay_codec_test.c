// OpenRelay's envelope: what the original was measured to take and refuse, and what goes out, byte for byte.
#include <stdio.h>
#include <stdlib.h>

#include "net/openrelay/codec.h"
#include "shards/base/check.h"

#define UUID "9b2c7e0e-3f6b-4d5a-9a7e-0c1d2e3f4a5b"
#define SEND_BODY                                                                                                                          \
    "\"recipient_id\":\"r\",\"sender_id\":\"s\",\"encrypted_data\":\"QUJD\",\"message_id\":\"" UUID                                        \
    "\",\"timestamp\":1,\"ttl\":18446744073709551615,\"signature\":null,\"hardware_id\":\"h\",\"content_type\":\"Text\",\"size_bytes\":4"
#define SEND "{\"type\":\"Send\",\"payload\":{" SEND_BODY "}}"

static int failures;

// Parses a copy of its exact size, so that a read beyond it is seen.
static bool parse(const char *text, size_t len, struct openrelay_message *ret_message, uint8_t **ret_copy)
{
    *ret_copy = malloc(len > 0 ? len : 1);
    CHECK(*ret_copy != NULL);
    memcpy(*ret_copy, text, len);
    return openrelay_parse(bytes_of(*ret_copy, len), ret_message);
}

static void expect(const char *text, bool sound)
{
    struct openrelay_message message;
    uint8_t *copy;
    if (parse(text, strlen(text), &message, &copy) != sound) {
        printf("%s: %.300s\n", sound ? "refused" : "taken", text);
        failures++;
    }
    openrelay_message_fini(&message);
    free(copy);
}

static void forward(const char *text, const char *sender, const char *expected)
{
    struct openrelay_message message;
    uint8_t *copy;
    bool sound = parse(text, strlen(text), &message, &copy);
    uint8_t *out = malloc(openrelay_forward_max(&message, bytes_text(sender)));
    CHECK(out != NULL);
    size_t len = sound ? openrelay_format_forward(out, &message, bytes_text(sender)) : 0;
    if (!bytes_equal(bytes_of(out, len), bytes_text(expected))) {
        printf("%s\n  became   %.*s\n  expected %s\n", text, (int)len, (const char *)out, expected);
        failures++;
    }
    openrelay_message_fini(&message);
    free(copy);
    free(out);
}

static void test_taken(void)
{
    static const char *const taken[] = {
        SEND,
        " \t\r\n" SEND " \n",
        "{\"payload\":{" SEND_BODY "},\"type\":\"Send\"}",
        "{\"other\":[{\"type\":1}],\"type\":\"Send\",\"payload\":{\"more\":{\"ttl\":true}," SEND_BODY "}}",
        "{\"type\":\"Receive\",\"payload\":[\"r\",\"s\",\"d\",\"" UUID "\",1,2,null,\"h\",\"Image\",3]}",
        "[\"Send\",[\"r\",\"s\",\"d\",\"" UUID "\",1,2,\"sig\",\"h\",\"Other\",3]]",
        "[\"Register\",{\"hardware_id\":\"x\"}]",
        "[\"Ping\",null]",
        "{\"type\":\"Ping\"}",
        "{\"type\":\"Ping\",\"payload\":null}",
        "{\"type\":\"Pong\"}",
        "{\"type\":\"Register\",\"payload\":{\"hardware_id\":\"\"}}",
        "{\"type\":\"Register\",\"payload\":{\"hardware_id\":\"\\u0000\\ud83d\\ude00\"}}",
        "{\"type\":\"Register\",\"payload\":{\"hardware_id\":\"x\",\"other\":1,\"other\":2,\"ttl\":1,\"ttl\":2}}",
        "{\"\\u0074ype\":\"P\\u0069ng\"}",
        "{\"type\":\"Error\",\"payload\":{\"message\":\"m\"}}",
        "{\"type\":\"Error\",\"payload\":{\"message\":\"m\",\"code\":65535}}",
        "{\"type\":\"Ack\",\"payload\":{\"message_id\":\"anything\"}}",
        "{\"type\":\"Status\",\"payload\":{\"hardware_id\":\"h\",\"status\":\"Away\"}}",
        "{\"type\":\"AuthVerify\",\"payload\":{\"device_id\":\"t\",\"challenge_response\":\"c\",\"hardware_id\":\"h\"}}",
        "{\"type\":\"AuthSuccess\",\"payload\":{\"recipient_id\":\"t\",\"trusted\":true,\"hardware_id\":\"h\"}}",
        "{\"type\":\"AuthSuccess\",\"payload\":{\"recipient_id\":\"t\",\"trusted\":true,\"hardware_id\":\"h\",\"device_id\":1,\"device_"
        "id\":2}}",
    };
    for (size_t i = 0; i < sizeof(taken) / sizeof(taken[0]); i++)
        expect(taken[i], true);
}

static void test_refused(void)
{
    static const char *const refused[] = {
        "",
        " ",
        "{}",
        "null",
        "[]",
        "5",
        "\"Ping\"",
        "\xef\xbb\xbf{\"type\":\"Ping\"}",
        "\v{\"type\":\"Ping\"}", // which yajl takes for white space
        "{\"type\":\f\"Ping\"}",
        SEND "x",
        SEND SEND,
        "{\"type\":\"Ping\"",
        "{\"type\":\"ping\"}",
        "{\"type\":\"Nothing\"}",
        "{\"type\":\"Ping\",\"type\":\"Ping\"}",
        "{\"type\":1}",
        "{\"type\":null}",
        "{\"type\":\"Ping\",\"payload\":{}}",
        "{\"type\":\"Ping\",\"payload\":[]}",
        "{\"type\":\"Ping\",\"payload\":\"\"}",
        "[\"Ping\"]",
        "[\"Ping\",null,null]",
        "[\"Ping\",null,{}]",
        "[[\"Ping\"],null]",
        "[null,\"Ping\"]",
        "{\"type\":\"Ping\",\"payload\":null,\"payload\":null}",
        "{\"type\":\"Register\"}",
        "{\"type\":\"Register\",\"payload\":null}",
        "{\"type\":\"Register\",\"payload\":[\"x\"]}",
        "{\"type\":\"Register\",\"payload\":{}}",
        "{\"type\":\"Register\",\"payload\":{\"hardware_id\":1}}",
        "{\"type\":\"Register\",\"payload\":{\"hardware_id\":null}}",
        "{\"type\":\"Register\",\"payload\":{\"hardware_id\":{}}}",
        "{\"type\":\"Register\",\"payload\":{\"hardware_id\":[\"x\"]}}",
        "{\"type\":\"Register\",\"payload\":{\"hardware_id\":\"x\",\"hardware_id\":\"x\"}}",
        "{\"type\":\"Register\",\"payload\":{\"more\":{\"hardware_id\":\"x\"}}}",
        "{\"type\":\"Register\",\"hardware_id\":\"x\",\"payload\":{}}",
        "{\"type\":\"Register\",\"payload\":{\"hardware_id\":\"\\ud83d\"}}",
        "{\"type\":\"Register\",\"payload\":{\"hardware_id\":\"\\ude00x\"}}",
        "{\"type\":\"Register\",\"payload\":{\"hardware_id\":\"\\ud83d\\u0041\"}}",
        "{\"type\":\"Register\",\"payload\":{\"hardware_id\":\"\\ud83d",
        "{\"type\":\"Register\",\"payload\":{\"hardware_id\":\"a\nb\"}}",
        "{\"type\":\"Register\",\"payload\":{\"hardware_id\":\"\\x\"}}",
        "{\"type\":\"Register\",\"payload\":{\"hardware_id\":\"x\",}}",
        "{'type':'Ping'}",
        "{\"type\":\"Ping\"}/**/",
        "{\"type\":\"Ping\",\"n\":01}",
        "{\"type\":\"Ping\",\"n\":NaN}",
        "{\"type\":\"Ping\",\"n\":.5}",
        "{\"type\":\"Error\",\"payload\":{\"message\":\"m\",\"code\":65536}}",
        "{\"type\":\"Error\",\"payload\":{\"code\":1}}",
        "{\"type\":\"Status\",\"payload\":{\"hardware_id\":\"h\",\"status\":\"away\"}}",
        "{\"type\":\"AuthVerify\",\"payload\":{\"challenge_response\":\"c\",\"hardware_id\":\"h\"}}",
        "{\"type\":\"AuthVerify\",\"payload\":[\"t\",\"c\",\"h\"]}",
        "{\"type\":\"AuthSuccess\",\"payload\":{\"recipient_id\":\"t\",\"trusted\":1,\"hardware_id\":\"h\"}}",
        "{\"type\":\"Send\",\"payload\":[\"r\",\"s\",\"d\",\"" UUID "\",1,2,null,\"h\",\"Image\"]}",
        "{\"type\":\"Send\",\"payload\":[\"r\",\"s\",\"d\",\"" UUID "\",1,2,null,\"h\",\"Image\",3,4]}",
    };
    for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++)
        expect(refused[i], false);
}

// The Send with one value replaced.
static void test_values(void)
{
    static const struct {
        const char *ttl, *message_id, *content_type, *signature;
        bool sound;
    } cases[] = {
        {"0", "\"" UUID "\"", "\"Text\"", "\"x\"", true},
        {"18446744073709551616", "\"" UUID "\"", "\"Text\"", "null", false},
        {"1.0", "\"" UUID "\"", "\"Text\"", "null", false},
        {"-1", "\"" UUID "\"", "\"Text\"", "null", false},
        {"-0", "\"" UUID "\"", "\"Text\"", "null", false},
        {"1e2", "\"" UUID "\"", "\"Text\"", "null", false},
        {"\"1\"", "\"" UUID "\"", "\"Text\"", "null", false},
        {"null", "\"" UUID "\"", "\"Text\"", "null", false},
        {"1", "\"9B2C7E0E3F6B4D5A9A7E0C1D2E3F4A5B\"", "\"Text\"", "null", true},
        {"1", "\"{" UUID "}\"", "\"Text\"", "null", true},
        {"1", "\"urn:uuid:" UUID "\"", "\"Text\"", "null", true},
        {"1", "\"00000000-0000-0000-0000-000000000000\"", "\"KeyPackage\"", "null", true},
        {"1", "\"9b2c7e0e-3f6b-4d5a-9a7e0c1d2e3f4a5b0\"", "\"Text\"", "null", false},
        {"1", "\"9b2c7e0g-3f6b-4d5a-9a7e-0c1d2e3f4a5b\"", "\"Text\"", "null", false},
        {"1", "\"\"", "\"Text\"", "null", false},
        {"1", "\"" UUID "\"", "\"text\"", "null", false},
        {"1", "\"" UUID "\"", "\"Text\"", "1", false},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char text[1024];
        snprintf(text, sizeof(text),
                 "{\"type\":\"Send\",\"payload\":{\"recipient_id\":\"r\",\"sender_id\":\"s\",\"encrypted_data\":\"\",\"message_id\":%s,"
                 "\"timestamp\":1,\"ttl\":%s,\"signature\":%s,\"hardware_id\":\"h\",\"content_type\":%s,\"size_bytes\":4}}",
                 cases[i].message_id, cases[i].ttl, cases[i].signature, cases[i].content_type);
        expect(text, cases[i].sound);
    }
}

static void test_depth(void)
{
    for (size_t depth = 127; depth <= 129; depth++) {
        char text[512];
        size_t inner = depth - 1; // the envelope is the first
        size_t len = (size_t)snprintf(text, sizeof(text), "{\"type\":\"Ping\",\"x\":");
        memset(text + len, '[', inner);
        memset(text + len + inner, ']', inner);
        memcpy(text + len + 2 * inner, "}", 2);
        expect(text, depth <= 128);
    }
}

static void test_forward(void)
{
    forward(
        SEND, "h",
        "{\"type\":\"Receive\",\"payload\":{\"recipient_id\":\"r\",\"sender_id\":\"h\",\"encrypted_data\":\"QUJD\",\"message_id\":\"" UUID
        "\",\"timestamp\":1,\"ttl\":18446744073709551615,\"signature\":null,\"hardware_id\":\"h\",\"content_type\":\"Text\","
        "\"size_bytes\":4}}");
    forward(
        "[\"Send\",[\"\\/\\u00e9\\n\\u001F\\\"\\\\\\u007f\\b\\f\\r\\t\",\"s\",\"\",\"{9B2C7E0E-3F6B-4D5A-9A7E-0C1D2E3F4A5B}\",1,2,\"sig\","
        "\"h\",\"Other\",3]]",
        "h",
        "{\"type\":\"Receive\",\"payload\":{\"recipient_id\":\"/\xc3\xa9\\n\\u001f\\\"\\\\\x7f\\b\\f\\r\\t\",\"sender_id\":\"h\","
        "\"encrypted_data\":\"\",\"message_id\":\"" UUID "\",\"timestamp\":1,\"ttl\":2,\"signature\":\"sig\",\"hardware_id\":\"h\","
        "\"content_type\":\"Other\",\"size_bytes\":3}}");
    forward("{\"type\":\"AuthRequest\",\"payload\":{\"device_id\":\"t\",\"public_key\":\"p\",\"challenge\":\"c\",\"hardware_id\":\"h\"}}",
            "h",
            "{\"type\":\"AuthRequest\",\"payload\":{\"recipient_id\":\"h\",\"public_key\":\"p\",\"challenge\":\"c\",\"hardware_id\":\"h\","
            "\"device_id\":\"h\"}}");
    forward("{\"type\":\"AuthResponse\",\"payload\":{\"recipient_id\":\"t\",\"challenge_response\":\"r\",\"challenge\":\"c\","
            "\"hardware_id\":\"h\"}}",
            "h",
            "{\"type\":\"AuthResponse\",\"payload\":{\"recipient_id\":\"h\",\"challenge_response\":\"r\",\"challenge\":\"c\","
            "\"hardware_id\":\"h\",\"device_id\":\"h\"}}");
    forward("{\"type\":\"AuthVerify\",\"payload\":{\"recipient_id\":\"t\",\"challenge_response\":\"r\",\"hardware_id\":\"h\"}}", "h",
            "{\"type\":\"AuthVerify\",\"payload\":{\"recipient_id\":\"h\",\"challenge_response\":\"r\",\"hardware_id\":\"h\",\"device_id\":"
            "\"h\"}}");
    forward("{\"type\":\"AuthSuccess\",\"payload\":{\"recipient_id\":\"t\",\"trusted\":false,\"hardware_id\":\"h\"}}", "h",
            "{\"type\":\"AuthSuccess\",\"payload\":{\"recipient_id\":\"h\",\"trusted\":false,\"hardware_id\":\"h\",\"device_id\":\"h\"}}");
    forward("{\"type\":\"KeyRotationUpdate\",\"payload\":{\"sender_id\":\"s\",\"recipient_id\":\"t\",\"encrypted_key_package\":\"k\","
            "\"key_id\":7,\"hardware_id\":\"h\"}}",
            "h",
            "{\"type\":\"KeyRotationUpdate\",\"payload\":{\"hardware_id\":\"h\",\"recipient_id\":\"t\",\"encrypted_key_package\":\"k\","
            "\"key_id\":7,\"sender_id\":\"h\"}}");
    forward("{\"type\":\"KeyRotationAck\",\"payload\":{\"hardware_id\":\"h\",\"recipient_id\":\"t\",\"key_id\":7,\"success\":true}}", "h",
            "{\"type\":\"KeyRotationAck\",\"payload\":{\"hardware_id\":\"h\",\"recipient_id\":\"t\",\"key_id\":7,\"success\":true,"
            "\"sender_id\":\"h\"}}");
}

static void same(const uint8_t *out, size_t len, const char *expected)
{
    if (bytes_equal(bytes_of(out, len), bytes_text(expected)))
        return;
    printf("wrote    %.*s\nexpected %s\n", (int)len, (const char *)out, expected);
    failures++;
}

static void test_answers(void)
{
    uint8_t out[2048];
    same(out, openrelay_format_ack(out, UUID), "{\"type\":\"Ack\",\"payload\":{\"message_id\":\"" UUID "\"}}");
    same(out, openrelay_format_error(out, "Invalid message format", 400),
         "{\"type\":\"Error\",\"payload\":{\"message\":\"Invalid message format\",\"code\":400}}");
    same(out, openrelay_format_registered(out, bytes_text("a\"b")),
         "{\"type\":\"RegisterResponse\",\"payload\":{\"hardware_id\":\"a\\\"b\",\"device_id\":\"a\\\"b\"}}");
}

int main(void)
{
    test_taken();
    test_refused();
    test_values();
    test_depth();
    test_forward();
    test_answers();
    printf("%d failures\n", failures);
    return failures == 0 ? 0 : 1;
}
