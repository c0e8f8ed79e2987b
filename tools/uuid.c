// See uuid.h.
#include "tools/uuid.h"
#include "shards/base/check.h"
#include <sodium.h>
#include <stdio.h>
#include <string.h>

void uuid_create(uint8_t ret_uuid[UUID_BYTES])
{
    randombytes_buf(ret_uuid, UUID_BYTES);
    ret_uuid[6] = (uint8_t)((ret_uuid[6] & 0x0f) | 0x40);
    ret_uuid[8] = (uint8_t)((ret_uuid[8] & 0x3f) | 0x80);
}

bool uuid_parse(const char *text, uint8_t ret_uuid[UUID_BYTES])
{
    uint8_t uuid[UUID_BYTES];
    size_t len = 0;
    const char *end = NULL;
    CHECK(text != NULL);
    if (sodium_hex2bin(uuid, sizeof uuid, text, strlen(text), "-", &len, &end) != 0 || len != UUID_BYTES || *end != '\0')
        return false;
    memcpy(ret_uuid, uuid, UUID_BYTES);
    return true;
}

void uuid_text(const uint8_t uuid[UUID_BYTES], char ret_text[UUID_TEXT_MAX])
{
    size_t at = 0;
    for (size_t i = 0; i < UUID_BYTES; i++) {
        bool dash = i == 4 || i == 6 || i == 8 || i == 10;
        at += (size_t)snprintf(ret_text + at, UUID_TEXT_MAX - at, dash ? "-%02x" : "%02x", uuid[i]);
    }
    CHECK(at == UUID_TEXT_MAX - 1);
}
