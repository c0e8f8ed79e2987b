// The relay's HTTP resources apart from the relay itself. Constant; any thread.
#pragma once
#include "net/http.h"

#define PAGE_EXTRA_MAX 768

struct page {
    unsigned status;
    char extra[PAGE_EXTRA_MAX]; // header lines, each ended by CR LF
    const char *type;           // NULL: none
    struct bytes body;
};

// What the request asks for: compressed if it takes gzip, 304 if it has this version already. false: there is no such resource.
bool page_find(const struct http_request *request, bool multi_user, bool licences, struct page *ret_page);
