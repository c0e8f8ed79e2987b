// E-mail addresses: see email.h.
#include "auth/email.h"

#include "shards/base/check.h"

static bool is_letter_or_digit(uint8_t c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c >= 0x80;
}

// Dot-separated parts of at least one byte; other bytes that may stand in them are listed in `extra`.
static bool is_dotted(struct bytes text, const char *extra)
{
    bool after_dot = true;
    for (size_t i = 0; i < text.len; i++) {
        uint8_t c = text.ptr[i];
        bool is_dot = c == '.';
        if (is_dot ? after_dot : !is_letter_or_digit(c) && (c == '\0' || strchr(extra, c) == NULL))
            return false;
        after_dot = is_dot;
    }
    return !after_dot;
}

bool email_is_sound(struct bytes email)
{
    if (email.len == 0 || email.len > EMAIL_MAX)
        return false;
    const uint8_t *at = memchr(email.ptr, '@', email.len);
    if (at == NULL)
        return false;
    struct bytes local = bytes_of(email.ptr, (size_t)(at - email.ptr));
    struct bytes domain = bytes_of(at + 1, email.len - local.len - 1);
    CHECK(local.len + 1 + domain.len == email.len);
    if (local.len > EMAIL_LOCAL_MAX || !is_dotted(local, "!#$%&'*+-/=?^_`{|}~") || !is_dotted(domain, "-"))
        return false;
    return domain.ptr[0] != '-' && domain.ptr[domain.len - 1] != '-';
}
