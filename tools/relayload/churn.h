// Sessions that come and go; shared by churn and presence.
#pragma once
#include "tools/relayload/worker.h"

struct churn {
    uint64_t next_ns, interval_ns; // open loop; interval 0: as fast as logins under way allow
};

// Closes a session at random, politely or not, and opens it again, as often as is due. Returns when it wants to be called again.
uint64_t churn_turn(struct worker *worker, struct churn *churn, void (*on_leaving)(struct worker *worker, struct client *client));
void churn_start(struct worker *worker, struct churn *churn, uint32_t rate);
