// What letters say, and their form for Postmark and SMTP.
#include <stdio.h>
#include <stdlib.h>

#include "net/mail.h"
#include "shards/base/check.h"

static const struct mail_letter letter = {
    .id = 258, .subject = MAIL_VERIFY, .to = "a+b@c.org", .token = "0123456789ABCDEF0123456789ABCDEF"};

static void expect_text(const char *got, const char *wanted)
{
    if (strcmp(got, wanted) != 0)
        fprintf(stderr, "got:\n%s\nwanted:\n%s\n", got, wanted);
    CHECK(strcmp(got, wanted) == 0);
}

static void test_compose(void)
{
    char text[MAIL_TEXT_MAX];
    CHECK(mail_compose(&letter, NULL, text) == strlen(text));
    expect_text(text, "Use this code to verify your email address:\n\n0123456789ABCDEF0123456789ABCDEF\n\n"
                      "It is good for one hour and can be used once. If you did not ask for it, ignore this letter.\n");
    struct mail_letter reset = letter;
    reset.subject = MAIL_RESET;
    const char *wanted =
        "Use this code to change your password:\n\n0123456789ABCDEF0123456789ABCDEF\n\n"
        "Or open this page, where it is filled in:\n\n"
        "https://r.example/v1/#reset?email=a%2Bb%40c.org&code=0123456789ABCDEF0123456789ABCDEF\n\n"
        "It is good for one hour and can be used once. If you did not ask for it, ignore this letter: your password stays as it is.\n";
    mail_compose(&reset, "https://r.example", text);
    expect_text(text, wanted);
    mail_compose(&reset, "https://r.example/", text);
    expect_text(text, wanted);
    char url[MAIL_PUBLIC_URL_MAX + 1];
    memset(url, 'u', sizeof(url) - 1);
    url[MAIL_PUBLIC_URL_MAX] = '\0';
    memset(reset.to, 0xc3, STORE_EMAIL_MAX); // the longest there can be fits
    reset.to[STORE_EMAIL_MAX] = '\0';
    CHECK(mail_compose(&reset, url, text) < MAIL_TEXT_MAX);
}

static void test_addresses(void)
{
    static const struct {
        const char *from, *address;
    } cases[] = {{"a@b", "a@b"},
                 {"Relay <r@x.org>", "r@x.org"},
                 {"<r@x.org>", "r@x.org"},
                 {"Relay r@x.org", NULL},
                 {"a@b\r\nBcc: c@d", NULL},
                 {"<r@x.org> x", NULL},
                 {"", NULL},
                 {"R\xc3\xa9 <a@b>", NULL},
                 {"nobody", NULL}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char address[MAIL_FROM_MAX] = "";
        bool sound = mail_address_of(cases[i].from, address, sizeof(address));
        if (sound != (cases[i].address != NULL))
            fprintf(stderr, "%s: %s\n", cases[i].from, address);
        CHECK(sound == (cases[i].address != NULL) && (!sound || strcmp(address, cases[i].address) == 0));
    }
    char small[3];
    CHECK(!mail_address_of("a@b", small, sizeof(small)));
}

static void test_postmark(void)
{
    char *body = mail_postmark_body(&letter, "Relay <r@x.org>", "one\n\"two\"");
    CHECK(body != NULL);
    expect_text(body, "{\"From\":\"Relay <r@x.org>\",\"To\":\"a+b@c.org\",\"Subject\":\"Buckets Relay - Email Verification\","
                      "\"MessageStream\":\"outbound\",\"TextBody\":\"one\\n\\\"two\\\"\"}");
    free(body);
}

static void test_message(void)
{
    char out[1024];
    size_t len = mail_message(&letter, "Relay <r@x.org>", "one\n\n.two\n", 784111777, out, sizeof(out) - 1);
    out[len] = '\0';
    expect_text(out, "Date: Sun, 06 Nov 1994 08:49:37 +0000\r\nFrom: Relay <r@x.org>\r\nTo: a+b@c.org\r\n"
                     "Subject: Buckets Relay - Email Verification\r\nMessage-ID: <102.784111777@x.org>\r\nMIME-Version: 1.0\r\n"
                     "Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\nAuto-Submitted: auto-generated\r\n\r\n"
                     "one\r\n\r\n.two\r\n");
    for (size_t max = 1; max < len; max++)
        CHECK(mail_message(&letter, "Relay <r@x.org>", "one\n\n.two\n", 784111777, out, max) == 0);
}

int main(void)
{
    test_compose();
    test_addresses();
    test_postmark();
    test_message();
    return 0;
}
