// The files of assets/, as embed.cmake writes them into assets.c. Constant; any thread.
#pragma once
#include "shards/base/bytes.h"

struct asset {
    const char *name; // of the file
    const char *type; // Content-Type
    const char *etag; // weak: one for both encodings
    struct bytes plain, gzip;
};

extern const struct asset assets[];
extern const size_t asset_count;
