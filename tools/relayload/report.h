// What came of a run: a table for people, one JSON object for programs. Main thread.
#pragma once
#include "tools/relayload/run.h"
#include <stdio.h>

// The figures that both forms show, made from a result in one place.
struct report_figures {
    double seconds;                                    // of the measured part
    uint64_t messages, bytes, logins, presence_events; // in it
    double messages_per_s, bytes_per_s, logins_per_s;
    double cpu_us_per_message, cpu_us_per_login, cpu_cores, sleeps_per_message; // of the relay; 0 when unknown
    double bytes_per_session;                                                   // idle: RSS difference by sessions opened meanwhile
    double idle_cpu_percent;                                                    // idle: while nothing happened
    double sign_us, verify_us; // ed25519 here: mean of the logins' signatures; a verification, measured now
};

void report_figures(const struct run_result *result, struct report_figures *ret_figures);
void report_table(const struct run_result *result, FILE *out);
void report_json(const struct run_result *result, FILE *out);
void report_sizes(const struct sizes *sizes, char *ret_text, size_t max); // as --size takes them
