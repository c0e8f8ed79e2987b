// UUIDs as text and bytes (RFC 4122 byte order). Pure, but for uuid_create.
#pragma once
#include <stdbool.h>
#include <stdint.h>

#define UUID_BYTES 16
#define UUID_TEXT_MAX 37 // with its NUL

void uuid_create(uint8_t ret_uuid[UUID_BYTES]); // version 4, random
// With or without dashes, any letter case. false: it is none.
bool uuid_parse(const char *text, uint8_t ret_uuid[UUID_BYTES]);
void uuid_text(const uint8_t uuid[UUID_BYTES], char ret_text[UUID_TEXT_MAX]); // lower case, with dashes
