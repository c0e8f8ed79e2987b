// The relay's HTTP resources apart from the relay itself. Constant; any thread.
#pragma once
#include "shards/base/bytes.h"

struct page {
    unsigned status;
    const char *extra; // header lines, each ended by CR LF
    const char *type;  // NULL: none
    struct bytes body;
};

// false: there is no such resource.
bool page_find(struct bytes path, bool multi_user, bool licences, struct page *ret_page);
