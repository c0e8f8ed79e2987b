// Every row of the error table can be sent to a peer: RFC 6455 7.4 codes, texts that fit a close frame (125 bytes with the code).
#include "shards/base/error.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "shards/base/check.h"

#define CLOSE_TEXT_BYTES_MAX 123

// 1005, 1006 and 1015 never travel (RFC 6455 7.4.1): they name what happened without a close frame.
static bool is_known_code(uint16_t code)
{
    return (code >= 1000 && code <= 1015 && code != 1004) || (code >= 4000 && code <= 4999);
}

static void check_row(enum error error)
{
    const char *name = error_name(error);
    const char *text = error_text(error);
    printf("%s: %u %s\n", name, error_close_code(error), text); // the last line names the culprit
    CHECK(strlen(name) > 0);
    CHECK(name[strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZ_0123456789")] == '\0');
    CHECK(strlen(text) > 0);
    CHECK(strlen(text) <= CLOSE_TEXT_BYTES_MAX);
    for (const char *c = text; *c != '\0'; c++)
        CHECK(*c >= ' ' && *c <= '~');
    CHECK(is_known_code(error_close_code(error)));
    CHECK(error_log_level(error) <= LOG_DEBUG);
}

int main(void)
{
    for (unsigned i = 0; i < ERROR_COUNT; i++)
        check_row((enum error)i);
    for (unsigned i = 0; i < ERROR_COUNT; i++) {
        for (unsigned j = i + 1; j < ERROR_COUNT; j++)
            CHECK(strcmp(error_name((enum error)i), error_name((enum error)j)) != 0);
    }

    CHECK(ERROR_NONE == 0);
    CHECK(strcmp(error_name(ERROR_SUPERSEDED), "SUPERSEDED") == 0);
    CHECK(strcmp(error_text(ERROR_SUPERSEDED), "superseded") == 0);
    CHECK(error_close_code(ERROR_SUPERSEDED) == 4000);
    CHECK(error_close_code(ERROR_SLOW_CONSUMER) == 4001);
    CHECK(error_close_code(ERROR_WS_TOO_BIG) == 1009);
    return 0;
}
