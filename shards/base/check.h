// Assertions: on in every build. A failed CHECK is a bug of ours, never a peer's doing.
#pragma once

// Prints "file:line: check failed: expr" to stderr and aborts. Any thread.
_Noreturn void check_failed(const char *file, int line, const char *expression);

#define CHECK(condition) ((condition) ? (void)0 : check_failed(__FILE__, __LINE__, #condition))
#define UNREACHABLE() check_failed(__FILE__, __LINE__, "unreachable")
