// Fuzz main: HTTP Basic credentials. What is read must be within limits, lower-cased, and survive a round trip.
#include <stddef.h>
#include <stdint.h>

#include "auth/basic.h"
#include "shards/base/check.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct basic basic, again;
    if (!basic_parse(bytes_of(data, size), &basic))
        return 0;
    CHECK(basic.user_len <= BASIC_USER_MAX && strlen(basic.user) == basic.user_len);
    CHECK(basic.password_len <= BASIC_PASSWORD_MAX && strlen(basic.password) == basic.password_len);
    char text[8192];
    size_t len = basic_format(basic.user, basic.password, text, sizeof(text));
    CHECK(len > 0 && basic_parse(bytes_of(text, len), &again));
    CHECK(strcmp(basic.user, again.user) == 0 && strcmp(basic.password, again.password) == 0);
    return 0;
}
