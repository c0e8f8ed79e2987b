// The commands that work on the database alone: they run while the server runs or without it (SQLite locks). Main thread; blocking.
#pragma once
#include "tools/options.h"

int admin_adduser(const struct options *options); // adds a verified user; 1: exists already, or the database failed
int admin_stats(const struct options *options);   // prints the usage of the last days as JSON, as the original does, or as a table

// On the user that the first argument names. 1: there is none, or no licence, or the database failed. A server that runs ends the user's
// sessions within a second.
int admin_blockuser(const struct options *options);
int admin_unblockuser(const struct options *options);
int admin_disablelicense(const struct options *options); // the licence used last
int admin_deluser(const struct options *options);        // with tokens and usage
int admin_passwd(const struct options *options);

int admin_listusers(const struct options *options); // a table, or JSON
int admin_backup(const struct options *options);    // a consistent copy into a new file; 1: exists already

// Of the server that runs on this database, by its control socket (net/control.h). 1: none answers.
int admin_sessions(const struct options *options); // a table, or JSON
int admin_metrics(const struct options *options);  // in Prometheus' text format

// Whether anybody could log in: false with a sentence in error_text when not, or when the database cannot be opened.
bool admin_has_users(const struct options *options, char *error_text, size_t error_max);
