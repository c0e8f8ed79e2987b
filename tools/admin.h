// The commands that work on the database alone: they run while the server runs or without it (SQLite locks). Main thread; blocking.
#pragma once
#include "tools/options.h"

int admin_adduser(const struct options *options); // adds a verified user; 1: exists already, or the database failed
int admin_stats(const struct options *options);   // prints the usage of the last days as JSON

// Whether anybody could log in: false with a sentence in error_text when not, or when the database cannot be opened.
bool admin_has_users(const struct options *options, char *error_text, size_t error_max);
