// The scenarios beside pairs.h. Each is a table of callbacks (worker.h), run by its worker's thread.
#pragma once
#include "tools/relayload/worker.h"

extern const struct scenario scenario_presence; // presence.c
extern const struct scenario scenario_churn;    // churn.c
extern const struct scenario scenario_idle;     // idle.c
extern const struct scenario scenario_storm;    // storm.c
extern const struct scenario scenario_die;      // storm.c
extern const struct scenario scenario_mixed;    // only a name: run.c makes it of others
extern const struct scenario scenario_verify;   // verify.c
