// The rows of ERROR_TABLE. Any thread.
#include "shards/base/error.h"

#include "shards/base/check.h"

struct error_row {
    const char *name;
    const char *text;
    uint16_t close_code;
    enum log_level level;
};

static const struct error_row rows[ERROR_COUNT] = {
#define X(name, text, code, level) {#name, text, code, level},
    ERROR_TABLE(X)
#undef X
};

const char *error_name(enum error error)
{
    CHECK(error < ERROR_COUNT);
    return rows[error].name;
}

const char *error_text(enum error error)
{
    CHECK(error < ERROR_COUNT);
    return rows[error].text;
}

uint16_t error_close_code(enum error error)
{
    CHECK(error < ERROR_COUNT);
    return rows[error].close_code;
}

enum log_level error_log_level(enum error error)
{
    CHECK(error < ERROR_COUNT);
    return rows[error].level;
}
