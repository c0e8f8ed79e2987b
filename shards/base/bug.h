// Bugs planted for mutation tests, which must notice each of them. Constant false in production, so that nothing is left of them.
// A test is built with -DRELAY_BUG=number, or with -DRELAY_BUG=sim_bug to choose when it runs.
#pragma once
#include <stdbool.h>

#ifdef RELAY_BUG
extern int sim_bug;
#define BUG(number) (RELAY_BUG == (number))
#else
#define BUG(number) false
#endif
