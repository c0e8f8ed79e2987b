// Fuzz main: an event that parses lies within its message, and written anew it parses to the same.
#include "net/buckets/codec.h"

#include "shards/base/check.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static size_t write_again(const struct buckets_event *event, uint8_t *out)
{
    static const char kinds[] = "+cx>^"; // in the order of enum router_event
    struct key key = {{0}};
    char text[BUCKETS_ERROR_TEXT_MAX + 1] = "";
    if (event->key.len == KEY_BYTES)
        memcpy(key.bytes, event->key.ptr, KEY_BYTES);
    if (event->kind == 'E') {
        if (event->data.len == 0 || event->data.len > BUCKETS_ERROR_TEXT_MAX || memchr(event->data.ptr, 0, event->data.len) != NULL)
            return 0;
        memcpy(text, event->data.ptr, event->data.len);
        return bytes_equal(event->key, bytes_text("Generic")) ? buckets_error(out, text) : 0;
    }
    if (event->kind == '+')
        return buckets_event(out, ROUTER_AUTHENTICATED, NULL);
    if (event->key.len != KEY_BYTES)
        return 0;
    if (event->kind == '?')
        return buckets_who(out, key.bytes);
    if (event->kind != 'd')
        return buckets_event(out, (enum router_event)(strchr(kinds, event->kind) - kinds), &key);
    uint8_t scratch[BUCKETS_DATA_HEAD_MAX];
    struct bytes head = buckets_data_head(scratch, &key, event->data.len);
    memcpy(out, head.ptr, head.len);
    memcpy(out + head.len, event->data.ptr, event->data.len);
    memcpy(out + head.len + event->data.len, ",,", 2);
    return head.len + event->data.len + 2;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static uint8_t out[BUCKETS_MESSAGE_MAX];
    struct buckets_event event, again;
    if (buckets_event_parse(bytes_of(data, size), &event) != ERROR_NONE)
        return 0;
    CHECK(buckets_message_length(bytes_of(data, size)) == (int64_t)size && strchr("?+cx>^dE", event.kind) != NULL);
    size_t len = write_again(&event, out);
    if (len == 0)
        return 0;
    CHECK(len <= size && buckets_event_parse(bytes_of(out, len), &again) == ERROR_NONE);
    CHECK(again.kind == event.kind && bytes_equal(again.key, event.key) && bytes_equal(again.data, event.data));
    return 0;
}
