// Every message of protocols/backbone.md, and everything that is to be ignored; frames at every length of their prefix.
#include "net/backbone/frame.h"

#include <stdio.h>

#include "shards/base/check.h"

static struct backbone_message parsed(const void *ptr, size_t len)
{
    struct backbone_message message;
    backbone_parse(bytes_of(ptr, len), &message);
    return message;
}

static void test_c2c(void)
{
    static const uint8_t plain[] = "\0"
                                   "0123456789abcdef"
                                   "payload";
    for (size_t len = 0; len < sizeof(plain); len++) {
        struct backbone_message message = parsed(plain, len);
        CHECK(message.type == (len < 17 ? BACKBONE_IGNORED : BACKBONE_C2C));
        CHECK(len < 17 || (memcmp(message.id, "0123456789abcdef", 16) == 0 && message.payload.len == len - 17));
    }
    CHECK(memcmp(parsed(plain, 24).payload.ptr, "payload", 7) == 0);
}

static void test_c2s(void)
{
    static const uint8_t known[] = {0x10, 0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x1f};
    uint8_t plain[BACKBONE_C2S_HEAD_BYTES + 3] = {0};
    for (unsigned first = 1; first < 256; first++) {
        bool is_known = memchr(known, (int)first, sizeof(known)) != NULL;
        memcpy(plain, (uint8_t[]){(uint8_t)first, 0x01, 0x02, 0x03, 0x04, 'a', 'b', 'c'}, sizeof(plain));
        for (size_t len = 1; len <= sizeof(plain); len++) {
            struct backbone_message message = parsed(plain, len);
            CHECK(message.type == (is_known ? (enum backbone_type)first : BACKBONE_IGNORED));
            CHECK(message.time_s == (is_known && len >= 5 ? 0x01020304u : 0));
            CHECK(message.payload.len == (is_known && len > 5 ? len - 5 : 0));
        }
    }
    uint8_t head[BACKBONE_C2S_HEAD_BYTES];
    backbone_c2s_head(head, BACKBONE_STOP, 0xfedcba98u);
    CHECK(memcmp(head, "\x1f\xfe\xdc\xba\x98", 5) == 0 && backbone_get_u32(head + 1) == 0xfedcba98u);
}

static void test_frames(void)
{
    CHECK(backbone_frame_bytes(bytes_of("\x02\x00", 0)) == 0 && backbone_frame_bytes(bytes_of("\x02\x00", 1)) == 0);
    CHECK(backbone_frame_bytes(bytes_of("\x02\x00", 2)) == 514 && backbone_frame_bytes(bytes_of("\0\0", 2)) == 2);
    CHECK(backbone_frame_bytes(bytes_of("\xff\xff", 2)) == 65537);
}

static void test_challenge(void)
{
    static const char body[] = "\0\4PEM!random";
    struct bytes pem, data;
    for (size_t len = 0; len < 6; len++)
        CHECK(!backbone_challenge_parse(bytes_of(body, len), &pem, &data));
    for (size_t len = 6; len < sizeof(body); len++) {
        CHECK(backbone_challenge_parse(bytes_of(body, len), &pem, &data));
        CHECK(bytes_equal(pem, bytes_text("PEM!")) && bytes_equal(data, bytes_of("random", len - 6)));
    }
}

int main(void)
{
    test_c2c();
    test_c2s();
    test_frames();
    test_challenge();
    puts("frame: ok");
    return 0;
}
