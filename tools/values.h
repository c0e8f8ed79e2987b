// Text to value, for options wherever they come from. Pure. On failure false (or a sentence in error_text), outputs untouched.
#pragma once
#include "net/config.h"
#include <stddef.h>

bool value_number(const char *text, uint64_t *ret_number);        // decimal digits only
bool value_size(const char *text, uint64_t *ret_bytes);           // "65536", "64k", "1m", "2g": powers of 1024
bool value_duration(const char *text, uint64_t *ret_duration_ns); // "10" seconds, "10s", "500ms", "2m", "1h", "1d"
bool value_truth(const char *text, bool *ret_truth);              // 1/true/yes/on, 0/false/no/off

// Shortest exact form that value_size / value_duration reads back. ret_text is filled and returned.
#define VALUE_TEXT_MAX 32
const char *value_size_text(uint64_t bytes, char ret_text[VALUE_TEXT_MAX]);
const char *value_duration_text(uint64_t duration_ns, char ret_text[VALUE_TEXT_MAX]);

// "[WORDS:]127.0.0.1:9001", "[WORDS:][::1]:9001", "[WORDS:]unix:/path"; WORDS: a scheme, "tls" and "proxy", joined by '+'.
// NULL when sound, else what is wrong (static text).
const char *value_listen(const char *text, struct listen_config *ret_listen);
// An address without port for the listener made of --address and --port; IPv6 with or without brackets. Sets family and address only.
const char *value_address(const char *text, struct listen_config *ret_listen);
// "buckets:127.0.0.1:9001", "proxy+tls+buckets:[::1]:9001". ret_text holds CONFIG_ADDRESS_MAX + 32 bytes.
void value_listen_text(const struct listen_config *listen, char *ret_text, size_t text_max);

// The name nearest to `text` by edits (a swap of neighbours is one), or NULL when none is near enough to be meant. Names longer than 63
// never are.
const char *value_nearest(const char *text, const char *const *names, size_t count);
