// Process-wide set-up of libsodium. Any thread.
#include "auth/auth.h"

#include <sodium.h>

#include "shards/base/check.h"

void auth_init(void)
{
    CHECK(sodium_init() >= 0);
}
