// What letters say, and their form for Postmark and SMTP: see mail.h. Pure; any thread.
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "auth/email.h"
#include "net/mail.h"
#include "shards/base/check.h"

const char *mail_subject_text(enum mail_subject subject)
{
    return subject == MAIL_RESET ? "Buckets Relay - Password Reset" : "Buckets Relay - Email Verification";
}

// Percent-encodes all but unreserved bytes (RFC 3986 2.3).
static void encode(const char *text, char *out, size_t max)
{
    size_t at = 0;
    for (; *text != '\0'; text++) {
        unsigned char c = (unsigned char)*text;
        bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || (c != '\0' && strchr("-._~", c) != NULL);
        CHECK(at + 4 <= max);
        at += (size_t)snprintf(out + at, max - at, plain ? "%c" : "%%%02X", c);
    }
    out[at] = '\0';
}

size_t mail_compose(const struct mail_letter *letter, const char *public_url, char ret_text[MAIL_TEXT_MAX])
{
    bool resets = letter->subject == MAIL_RESET;
    char email[STORE_EMAIL_MAX * 3 + 4];
    encode(letter->to, email, sizeof(email));
    int len = snprintf(ret_text, MAIL_TEXT_MAX, "Use this code to %s:\n\n%s\n",
                       resets ? "change your password" : "verify your email address", letter->token);
    // Behind '#', so that the code reaches no server and no log.
    if (public_url != NULL)
        len += snprintf(ret_text + len, MAIL_TEXT_MAX - (size_t)len,
                        "\nOr open this page, where it is filled in:\n\n%s%sv1/#%s?email=%s&code=%s\n", public_url,
                        public_url[strlen(public_url) - 1] == '/' ? "" : "/", resets ? "reset" : "verify", email, letter->token);
    len += snprintf(ret_text + len, MAIL_TEXT_MAX - (size_t)len,
                    "\nIt is good for one hour and can be used once. If you did not ask for it, ignore this letter%s.\n",
                    resets ? ": your password stays as it is" : "");
    CHECK(len > 0 && len < MAIL_TEXT_MAX);
    return (size_t)len;
}

bool mail_address_of(const char *from, char *ret_address, size_t max)
{
    const char *open = strchr(from, '<');
    size_t len = strlen(from);
    struct bytes address = bytes_of(from, len);
    for (size_t i = 0; i < len; i++) {
        if (from[i] < ' ' || from[i] == 0x7f) // control characters and bytes beyond ASCII, which a head would have to encode
            return false;
    }
    if (open != NULL) {
        if (from[len - 1] != '>')
            return false;
        address = bytes_of(open + 1, len - (size_t)(open - from) - 2);
    }
    if (!email_is_sound(address) || address.len >= max)
        return false;
    memcpy(ret_address, address.ptr, address.len);
    ret_address[address.len] = '\0';
    return true;
}

char *mail_postmark_body(const struct mail_letter *letter, const char *from, const char *text)
{
    json_t *object = json_pack("{s:s, s:s, s:s, s:s, s:s}", "From", from, "To", letter->to, "Subject",
                               mail_subject_text((enum mail_subject)letter->subject), "MessageStream", "outbound", "TextBody", text);
    if (object == NULL)
        return NULL;
    char *body = json_dumps(object, JSON_COMPACT | JSON_PRESERVE_ORDER);
    json_decref(object);
    return body;
}

size_t mail_message(const struct mail_letter *letter, const char *from, const char *text, int64_t wall_s, char *out, size_t max)
{
    static const char *const days[] = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
    static const char *const months[] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
    char sender[MAIL_FROM_MAX];
    struct tm date;
    bool sound = mail_address_of(from, sender, sizeof(sender));
    CHECK(sound && gmtime_r(&(time_t){wall_s}, &date) != NULL);
    int len = snprintf(out, max,
                       "Date: %s, %02d %s %d %02d:%02d:%02d +0000\r\nFrom: %s\r\nTo: %s\r\nSubject: %s\r\nMessage-ID: <%llx.%lld%s>\r\n"
                       "MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n"
                       "Auto-Submitted: auto-generated\r\n\r\n",
                       days[date.tm_wday], date.tm_mday, months[date.tm_mon], date.tm_year + 1900, date.tm_hour, date.tm_min, date.tm_sec,
                       from, letter->to, mail_subject_text((enum mail_subject)letter->subject), (unsigned long long)letter->id,
                       (long long)wall_s, strchr(sender, '@'));
    if (len < 0 || (size_t)len >= max)
        return 0;
    size_t at = (size_t)len;
    for (; *text != '\0'; text++) {
        if (at + 2 > max)
            return 0;
        if (*text == '\n')
            out[at++] = '\r';
        out[at++] = *text;
    }
    return at;
}
