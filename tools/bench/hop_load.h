// The load process of hop.c and what the two processes share.
#pragma once
#include "tools/bench/hop.h"
#include "tools/relayload/histogram.h"
#include <netinet/in.h>
#include <openssl/ssl.h>

#define HOP_BUFFER_BYTES (256u * 1024)
#define HOP_PAIRS_MAX 4096u
#define HOP_WINDOW_MAX 4096u

enum hop_phase { HOP_WARMUP, HOP_MEASURE, HOP_END };

struct hop_shared { // one anonymous shared mapping, zero at start
    _Atomic int phase;
    uint64_t wall_ns; // of the measured part; written before HOP_END
    struct histogram latency;
};

uint64_t hop_now_ns(void);
// Connects all pairs (sender, receiver, sender, ...) one after another, runs the load, sets the phases. 0 or an exit code.
int hop_load_run(const struct hop_options *options, const struct sockaddr_in *address, SSL_CTX *context, struct hop_shared *shared);
