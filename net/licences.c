// Header and claims of licences, by jansson: see licences.h.
#include "net/licences.h"

#include <jansson.h>

#include "auth/basic.h"
#include "shards/base/check.h"

// jansson refuses invalid UTF-8 and NUL by itself; a name that stands there twice means something else to every reader.
static json_t *read_object(const char *text, size_t len)
{
    json_t *value = json_loadb(text, len, JSON_REJECT_DUPLICATES, NULL);
    if (json_is_object(value))
        return value;
    json_decref(value);
    return NULL;
}

// RFC 7515 4.1.1 alg, and 4.1.11: what is critical and unknown makes the token invalid.
static bool is_rs256(const struct licence *licence)
{
    json_t *header = read_object(licence->header, licence->header_len);
    const char *algorithm = json_string_value(json_object_get(header, "alg"));
    bool is = algorithm != NULL && strcmp(algorithm, "RS256") == 0 && json_object_get(header, "crit") == NULL;
    json_decref(header);
    return is;
}

// An address as adduser takes it.
static bool copy_email(const char *email, char ret_email[STORE_EMAIL_MAX + 1])
{
    size_t len = strlen(email);
    if (len == 0 || len > STORE_EMAIL_MAX || len > BASIC_USER_MAX)
        return false;
    for (size_t i = 0; i < len; i++) {
        char c = email[i];
        if (c == ':' || (unsigned char)c <= ' ' || c == 0x7f)
            return false;
        ret_email[i] = c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
    }
    ret_email[len] = '\0';
    return true;
}

bool licences_read_email(const struct licence *licence, char ret_email[STORE_EMAIL_MAX + 1])
{
    CHECK(licence->header_len <= LICENCE_JSON_MAX && licence->claims_len <= LICENCE_JSON_MAX);
    if (!is_rs256(licence))
        return false;
    json_t *claims = read_object(licence->claims, licence->claims_len);
    const char *email = json_string_value(json_object_get(claims, "email"));
    bool read = email != NULL && copy_email(email, ret_email);
    json_decref(claims);
    return read;
}

bool licences_read(const struct licence_key *key, const char *salt, struct bytes text, struct licence_holder *ret_holder)
{
    CHECK(key != NULL && salt != NULL);
    struct licence licence;
    if (!licence_verify(key, text, &licence) || !licences_read_email(&licence, ret_holder->email))
        return false;
    licence_hash(salt, ret_holder->email, &licence, ret_holder->hash);
    return true;
}
