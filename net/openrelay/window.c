// Rate limits of OpenRelay: see window.h.
#include "net/openrelay/window.h"

#include <stdio.h>

#include "shards/base/bug.h"
#include "shards/base/check.h"

#define WINDOW_NS 60000000000ull

bool openrelay_window_take(struct openrelay_window *window, uint32_t requests_max, uint32_t points_max, uint64_t now_ns, uint64_t bytes,
                           char refusal[OPENRELAY_REFUSAL_MAX])
{
    // The turn of the node where it began may have been ahead of this one.
    if (now_ns > window->start_ns && now_ns - window->start_ns >= WINDOW_NS && !BUG(37))
        *window = (struct openrelay_window){.start_ns = now_ns};
    if (window->requests >= requests_max) {
        snprintf(refusal, OPENRELAY_REFUSAL_MAX, "Request limit exceeded (%u/%u). Try again in a minute.", window->requests, requests_max);
        return false;
    }
    uint64_t kib = bytes / 1024 + (bytes % 1024 != 0);
    uint32_t shown = kib < UINT32_MAX ? (uint32_t)kib : UINT32_MAX;
    uint32_t cost = shown > 0 ? shown : 1;
    uint32_t left = points_max - window->points;
    if (cost > left) {
        snprintf(refusal, OPENRELAY_REFUSAL_MAX, "Quota exceeded for message size %uKB. %u/%u points remaining. Try again in a minute.",
                 shown, left, points_max);
        return false;
    }
    window->requests++;
    window->points += cost;
    CHECK(window->points <= points_max && window->requests <= requests_max);
    return true;
}
