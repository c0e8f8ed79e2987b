// Fuzz main: a command that parses lies within its message, and written anew it parses to the same.
#include "net/buckets/codec.h"

#include "shards/base/check.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_inside(struct bytes part, struct bytes message)
{
    CHECK(part.len == 0 || (part.ptr > message.ptr && part.ptr + part.len < message.ptr + message.len));
}

static size_t write_again(const struct buckets_command *command, uint8_t *out)
{
    struct key key;
    memcpy(key.bytes, command->key.ptr, KEY_BYTES);
    if (command->kind == BUCKETS_CONNECT)
        return buckets_connect(out, &key);
    if (command->kind == BUCKETS_DISCONNECT)
        return buckets_disconnect(out, &key);
    if (command->kind == BUCKETS_IAM)
        return command->signature.len == BUCKETS_SIGNATURE_BYTES ? buckets_iam(out, &key, command->signature.ptr) : 0;
    size_t len = buckets_send_head(out, &key, command->data.len);
    memcpy(out + len, command->data.ptr, command->data.len);
    memcpy(out + len + command->data.len, ",,", 2);
    return len + command->data.len + 2;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static uint8_t out[BUCKETS_MESSAGE_MAX];
    struct bytes message = bytes_of(data, size);
    struct buckets_command command, again;
    if (buckets_command_parse(message, &command) != ERROR_NONE)
        return 0;
    CHECK(buckets_message_length(message) == (int64_t)size);
    check_inside(command.key, message);
    check_inside(command.signature, message);
    check_inside(command.data, message);
    size_t len = command.key.len == KEY_BYTES ? write_again(&command, out) : 0;
    if (len == 0)
        return 0;
    CHECK(len <= size && buckets_command_parse(bytes_of(out, len), &again) == ERROR_NONE);
    CHECK(again.kind == command.kind && bytes_equal(again.key, command.key));
    CHECK(bytes_equal(again.signature, command.signature) && bytes_equal(again.data, command.data));
    return 0;
}
