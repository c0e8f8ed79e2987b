// Shared by the admin*.c files: what every command on the database begins and ends with. Main thread.
#pragma once
#include "auth/basic.h"
#include "store/store.h"
#include "tools/options.h"
#include <jansson.h>

#define PASSWORD_LINE_MAX (BASIC_PASSWORD_MAX + 3) // with CR, LF, NUL

int admin_fail(const char *what); // says it on stderr; 1
// The database, which must exist: a slip of the pen must not make one. NULL: told on stderr.
struct store *admin_open(const struct options *options);
// A password that is not empty, from the terminal or, with --password-stdin, from standard input. false: told on stderr.
bool admin_get_password(const struct options *options, char ret_line[PASSWORD_LINE_MAX]);

json_t *admin_json_text(const char *text); // a string; bytes that are no UTF-8, as old databases may hold, as \xNN
int admin_print_json(const json_t *value); // on stdout; the exit code
// On stdout, filled with blanks up to so many columns; control characters as '?'.
void admin_print_text(const char *text, int columns);
