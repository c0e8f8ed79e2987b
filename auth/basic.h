// HTTP Basic credentials (RFC 7617), as the original reads them: "Basic" in this case only, padding optional, the user lower-cased.
#pragma once
#include "shards/base/bytes.h"

#define BASIC_USER_MAX 320      // bytes
#define BASIC_PASSWORD_MAX 4096 // a wrapped licence is about 700

struct basic {
    size_t user_len, password_len;
    char user[BASIC_USER_MAX + 1];         // lower-cased (ASCII), NUL-terminated
    char password[BASIC_PASSWORD_MAX + 1]; // NUL-terminated; may hold ':' and newlines, never NUL
};

// header: the Authorization value. false: absent, another scheme, undecodable, no colon, too long, NUL inside.
bool basic_parse(struct bytes header, struct basic *ret_basic);
// "Basic ..." for a client. Returns length, 0: does not fit.
size_t basic_format(const char *user, const char *password, char *out, size_t max);
void basic_wipe(struct basic *basic);
