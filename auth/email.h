// E-mail addresses of people who register: the form of RFC 5321 4.1.2 without quoted local parts, so that an address can stand in a mail
// head, an SMTP command and HTTP Basic credentials as it is. Pure; any thread.
#pragma once
#include "shards/base/bytes.h"

#define EMAIL_MAX 254      // bytes: RFC 5321 4.5.3.1.3, without the angle brackets
#define EMAIL_LOCAL_MAX 64 // bytes before the '@': RFC 5321 4.5.3.1.1

// A domain without a dot is sound: relays live in private networks too. Bytes beyond ASCII are taken (RFC 6531), not looked into.
bool email_is_sound(struct bytes email);
