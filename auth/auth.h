// What all of auth/ needs once per process.
#pragma once

// Lets libsodium pick its code for this CPU. Call before any other function of auth/ and before threads start; again is harmless.
void auth_init(void);
