// Pairs of sessions: clients 2i and 2i+1 of a worker; the first sends, the second receives. Closed loop: `window` messages under way in
// each pair. Open loop (rate): every message has a due moment, its latency counts from that moment even when it could be sent only later.
#pragma once
#include "tools/relayload/worker.h"

struct pairs;

extern const struct scenario scenario_pairs;
extern const struct scenario scenario_observers; // pairs that feel what others do: open loop, never measured for themselves
extern const struct scenario scenario_slow;      // every second receiver stops reading while measured, its sender goes on
