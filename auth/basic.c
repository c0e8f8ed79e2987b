// HTTP Basic credentials. One rule: whatever cannot be read as the original reads it is "no credentials". Pure, any thread.
#include "auth/basic.h"

#include <sodium.h>

#include "shards/base/check.h"

#define SCHEME "Basic "
#define SCHEME_BYTES (sizeof(SCHEME) - 1)
#define PAIR_MAX (BASIC_USER_MAX + 1 + BASIC_PASSWORD_MAX)

static char ascii_lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

static bool split_pair(const char *pair, size_t len, struct basic *basic)
{
    CHECK(len <= PAIR_MAX);
    const char *colon = memchr(pair, ':', len);
    if (colon == NULL || memchr(pair, '\0', len) != NULL)
        return false;
    size_t user_len = (size_t)(colon - pair);
    size_t password_len = len - user_len - 1;
    if (user_len > BASIC_USER_MAX || password_len > BASIC_PASSWORD_MAX)
        return false;
    for (size_t i = 0; i < user_len; i++)
        basic->user[i] = ascii_lower(pair[i]);
    basic->user[user_len] = '\0';
    basic->user_len = user_len;
    memcpy(basic->password, colon + 1, password_len);
    basic->password[password_len] = '\0';
    basic->password_len = password_len;
    return true;
}

bool basic_parse(struct bytes header, struct basic *ret_basic)
{
    CHECK(ret_basic != NULL);
    if (header.len <= SCHEME_BYTES || memcmp(header.ptr, SCHEME, SCHEME_BYTES) != 0)
        return false;
    const char *text = (const char *)header.ptr + SCHEME_BYTES;
    size_t text_len = header.len - SCHEME_BYTES;
    for (int padding = 0; padding < 2 && text_len > 0 && text[text_len - 1] == '='; padding++)
        text_len--;

    char pair[PAIR_MAX];
    size_t pair_len = 0;
    bool decoded = sodium_base642bin((unsigned char *)pair, sizeof(pair), text, text_len, NULL, &pair_len, NULL,
                                     sodium_base64_VARIANT_ORIGINAL_NO_PADDING) == 0;
    bool parsed = decoded && split_pair(pair, pair_len, ret_basic);
    sodium_memzero(pair, sizeof(pair));
    return parsed;
}

size_t basic_format(const char *user, const char *password, char *out, size_t max)
{
    CHECK(user != NULL && password != NULL && out != NULL);
    char pair[PAIR_MAX];
    size_t user_len = strlen(user), password_len = strlen(password);
    if (user_len > BASIC_USER_MAX || password_len > BASIC_PASSWORD_MAX)
        return 0;
    size_t pair_len = user_len + 1 + password_len;
    size_t text_max = sodium_base64_encoded_len(pair_len, sodium_base64_VARIANT_ORIGINAL); // with the NUL
    if (SCHEME_BYTES + text_max > max)
        return 0;
    memcpy(pair, user, user_len);
    pair[user_len] = ':';
    memcpy(pair + user_len + 1, password, password_len);
    memcpy(out, SCHEME, SCHEME_BYTES);
    sodium_bin2base64(out + SCHEME_BYTES, text_max, (const unsigned char *)pair, pair_len, sodium_base64_VARIANT_ORIGINAL);
    sodium_memzero(pair, sizeof(pair));
    return SCHEME_BYTES + text_max - 1;
}

void basic_wipe(struct basic *basic)
{
    CHECK(basic != NULL);
    sodium_memzero(basic, sizeof(*basic));
}
