// What the control socket answers, as text. Any thread.
#pragma once
#include "net/report.h"

// Counters of all nodes that have answered.
struct control_sums {
    struct report_shard shards; // summed
    struct accounts_counts accounts;
};

void control_add(struct control_sums *sums, const struct report_shard *report);
// Prometheus' text exposition format 0.0.4, with its "# EOF". malloc'd, *ret_len bytes; NULL: memory is short.
char *control_metrics(const struct control_sums *sums, size_t *ret_len);
// A line of JSON for each session. malloc'd; NULL: memory is short.
char *control_sessions(uint16_t shard, const struct report_session *sessions, size_t count, size_t *ret_len);
