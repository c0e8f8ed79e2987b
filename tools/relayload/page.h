// The result as one HTML page: figures and plots in inline SVG, light and dark, nothing loaded from anywhere. Main thread.
#pragma once
#include "tools/relayload/run.h"

// 0 or -errno.
int page_write(const struct run_result *result, const char *path);
