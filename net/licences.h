// Licence logins: what a licence says about its holder, once its signature has been found right. auth/licence.h knows keys, text and hash;
// the JSON inside is read here. One rule: header and claims are believed only as the strictest reader would take them. Any thread.
#pragma once
#include "auth/licence.h"
#include "store/store.h"

#define LICENCE_USER "_license" // the user name of Basic credentials whose password is a licence (protocols/buckets.md "License login")
#define LICENCE_SALT_DEFAULT "yououghttochangethis"

struct licence_holder {
    char email[STORE_EMAIL_MAX + 1]; // in lower case
    char hash[LICENCE_HASH_BYTES];   // what the database keeps of the licence
};

// Verifies a licence and reads its holder. false: it is none of this key, says another algorithm than RS256, or names no usable address.
bool licences_read(const struct licence_key *key, const char *salt, struct bytes text, struct licence_holder *ret_holder);
// The part behind the signature: header and claims of a licence that was verified.
bool licences_read_email(const struct licence *licence, char ret_email[STORE_EMAIL_MAX + 1]);
