// Rows of the HTTP auth table (protocols/buckets.md "HTTP layer") and limits.
#include "auth/basic.h"

#include <stdio.h>
#include <stdlib.h>

#include "auth/auth.h"
#include "shards/base/check.h"

static const struct row {
    const char *name, *header;
    const char *user, *password; // NULL: refused
} rows[] = {
    {"good", "Basic bWVAbWUuY29tOmZvb2Jhcg==", "me@me.com", "foobar"},
    {"without padding", "Basic bWVAbWUuY29tOmZvb2Jhcg", "me@me.com", "foobar"},
    {"half of the padding", "Basic bWVAbWUuY29tOmZvb2Jhcg=", "me@me.com", "foobar"},
    {"three padding characters", "Basic bWVAbWUuY29tOmZvb2Jhcg===", NULL, NULL},
    {"e-mail case", "Basic TWVAIE1FLmNvTTpGb29CYXI=", "me@ me.com", "FooBar"},
    {"password with colons", "Basic dTphOmI6", "u", "a:b:"},
    {"password with newline", "Basic dTphCmI=", "u", "a\nb"},
    {"empty password", "Basic dTo=", "u", ""},
    {"empty user", "Basic OnB3", "", "pw"},
    {"absent", "", NULL, NULL},
    {"scheme only", "Basic", NULL, NULL},
    {"scheme and space", "Basic ", NULL, NULL},
    {"lower case scheme", "basic bWVAbWUuY29tOmZvb2Jhcg==", NULL, NULL},
    {"Bearer", "Bearer bWVAbWUuY29tOmZvb2Jhcg==", NULL, NULL},
    {"no space", "BasicbWVAbWUuY29tOmZvb2Jhcg==", NULL, NULL},
    {"two spaces", "Basic  bWVAbWUuY29tOmZvb2Jhcg==", NULL, NULL},
    {"undecodable", "Basic !!!!", NULL, NULL},
    {"undecodable at the end", "Basic dTo=x", NULL, NULL},
    {"space inside", "Basic dTph CmI=", NULL, NULL},
    {"no colon", "Basic bWVAbWUuY29t", NULL, NULL},
    {"NUL in the password", "Basic dTphAGI=", NULL, NULL},
    {"NUL in the user", "Basic dQB1OmI=", NULL, NULL},
    {"padding only", "Basic ==", NULL, NULL},
};

static void test_rows(void)
{
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct basic basic;
        bool parsed = basic_parse(bytes_text(rows[i].header), &basic);
        bool right = parsed == (rows[i].user != NULL);
        if (right && parsed) {
            right = strcmp(basic.user, rows[i].user) == 0 && strcmp(basic.password, rows[i].password) == 0 &&
                    basic.user_len == strlen(rows[i].user) && basic.password_len == strlen(rows[i].password);
        }
        if (!right)
            fprintf(stderr, "row \"%s\": parsed %d\n", rows[i].name, parsed);
        CHECK(right);
    }
}

// Formats user_len + password_len bytes and reads them back; false when either side refuses.
static bool round_trip(size_t user_len, size_t password_len)
{
    static char user[5000], password[5000], out[8192];
    memset(user, 'U', user_len);
    user[user_len] = '\0';
    memset(password, ':', password_len);
    password[password_len] = '\0';
    size_t len = basic_format(user, password, out, sizeof(out));
    if (len == 0)
        return false;
    CHECK(len == strlen(out));
    CHECK(basic_format(user, password, out, len) == 0); // no room for the NUL
    CHECK(basic_format(user, password, out, len + 1) == len);
    struct basic basic;
    CHECK(basic_parse(bytes_of(out, len), &basic));
    CHECK(basic.user_len == user_len && basic.password_len == password_len);
    CHECK(user_len == 0 || basic.user[user_len - 1] == 'u');
    CHECK(memcmp(basic.password, password, password_len + 1) == 0);
    basic_wipe(&basic);
    CHECK(basic.user_len == 0 && basic.password[0] == '\0');
    return true;
}

static void test_limits(void)
{
    for (size_t user_len = 0; user_len < 5; user_len++)
        CHECK(round_trip(user_len, 3));
    CHECK(round_trip(BASIC_USER_MAX, BASIC_PASSWORD_MAX));
    CHECK(!round_trip(BASIC_USER_MAX + 1, 1));
    CHECK(!round_trip(1, BASIC_PASSWORD_MAX + 1));

    // The same too-long parts from a peer: total within the decoder's room, one part beyond its own.
    static const size_t too_long[][2] = {{BASIC_USER_MAX + 1, 1}, {1, BASIC_PASSWORD_MAX + 1}, {3000, 3000}};
    for (size_t i = 0; i < 3; i++) {
        static char text[16384];
        size_t at = (size_t)snprintf(text, sizeof(text), "Basic ");
        size_t user_len = too_long[i][0] / 3 * 3; // "YWFh" is "aaa"; "YTph" is "a:a"
        for (size_t n = 0; n < user_len; n += 3)
            at += (size_t)snprintf(text + at, sizeof(text) - at, "YWFh");
        at += (size_t)snprintf(text + at, sizeof(text) - at, "YTph");
        for (size_t n = 0; n < too_long[i][1]; n += 3)
            at += (size_t)snprintf(text + at, sizeof(text) - at, "YWFh");
        struct basic basic;
        CHECK(!basic_parse(bytes_of(text, at), &basic));
    }
}

// Any prefix of a header is either refused or read without reading on (the copy is exactly as long).
static void test_prefixes(void)
{
    const char *header = "Basic bWVAbWUuY29tOmZvb2Jhcg==";
    for (size_t len = 0; len <= strlen(header); len++) {
        char *copy = malloc(len + 1);
        CHECK(copy != NULL);
        memcpy(copy, header, len);
        struct basic basic;
        bool parsed = basic_parse(bytes_of(copy, len), &basic);
        CHECK(!parsed || strncmp(basic.user, "me@me.com", basic.user_len) == 0);
        free(copy);
    }
}

int main(void)
{
    auth_init();
    test_rows();
    test_limits();
    test_prefixes();
    return 0;
}
