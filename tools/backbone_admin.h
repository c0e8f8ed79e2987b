// shardrelay backbone adduser|listusers|deluser|import: works on the identities' file, also while the server runs. Main thread; blocking.
#pragma once
#include "tools/options.h"

int backbone_admin(const struct options *options); // returns the exit code
