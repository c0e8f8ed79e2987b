// The rate limit of one id (protocols/openrelay.md 6): a fixed window of a minute, refilled by the first Send after it. Pure; any thread.
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// On the monotonic clock, which all nodes share. Starts at Register.
struct openrelay_window {
    uint64_t start_ns;         // 0: none yet
    uint32_t requests, points; // spent
};

#define OPENRELAY_REFUSAL_MAX 192
// Takes a Send of `bytes` out of the window: a request, and a point per KiB begun, at least one. False: nothing is taken, and `refusal`
// says what the original says.
bool openrelay_window_take(struct openrelay_window *window, uint32_t requests_max, uint32_t points_max, uint64_t now_ns, uint64_t bytes,
                           char refusal[OPENRELAY_REFUSAL_MAX]);
