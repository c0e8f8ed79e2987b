// Which e-mail addresses are sound.
#include "auth/email.h"

#include <stdio.h>

#include "shards/base/check.h"

static void expect(const char *email, bool sound)
{
    if (email_is_sound(bytes_text(email)) != sound)
        fprintf(stderr, "%s: should %sbe sound\n", email, sound ? "" : "not ");
    CHECK(email_is_sound(bytes_text(email)) == sound);
}

static void test_length(void)
{
    char email[EMAIL_MAX + 2];
    memset(email, 'a', sizeof(email));
    email[EMAIL_LOCAL_MAX] = '@';
    CHECK(email_is_sound(bytes_of(email, EMAIL_MAX)));
    CHECK(!email_is_sound(bytes_of(email, EMAIL_MAX + 1)));
    email[EMAIL_LOCAL_MAX] = 'a';
    email[EMAIL_LOCAL_MAX + 1] = '@';
    CHECK(!email_is_sound(bytes_of(email, 100)));
}

int main(void)
{
    static const char *const sound[] = {"me@me.com",          "a.b+c@sub.example.org",      "x@localhost",
                                        "o'neil_1@a-b.co.uk", "j\xc3\xbcrgen@b\xc3\xbc.ch", "!#$%&'*+-/=?^_`{|}~@e.x"};
    static const char *const unsound[] = {"",
                                          "me",
                                          "@",
                                          "me@",
                                          "@me.com",
                                          "me@me@com",
                                          "me@me..com",
                                          "me@.me.com",
                                          "me@me.com.",
                                          ".me@me.com",
                                          "me.@me.com",
                                          "m..e@me.com",
                                          "me @me.com",
                                          "me@me com",
                                          "me@-me.com",
                                          "me@me.com-",
                                          "<me@me.com>",
                                          "me@me.com\n",
                                          "me\r\n@me.com",
                                          "me:x@me.com",
                                          "me,you@me.com",
                                          "me;@me.com",
                                          "\"me\"@m.cm",
                                          "me@[1.2.3.4]",
                                          "me\\@me.com",
                                          "me(x)@me.com",
                                          "me\x7f@me.com"};
    for (size_t i = 0; i < sizeof(sound) / sizeof(sound[0]); i++)
        expect(sound[i], true);
    for (size_t i = 0; i < sizeof(unsound) / sizeof(unsound[0]); i++)
        expect(unsound[i], false);
    CHECK(!email_is_sound(bytes_of("me\0@me.com", 10)));
    test_length();
    return 0;
}
