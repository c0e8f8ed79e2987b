// Key files of the original's client: base64 of 32 (public) and 64 (secret) bytes and a newline.
#include "shards/base/check.h"
#include "tools/client.h"
#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#define TEXT_MAX 256
_Static_assert(CLIENT_SECRET_BYTES == crypto_sign_SECRETKEYBYTES && KEY_BYTES == crypto_sign_PUBLICKEYBYTES, "ed25519");

static bool decode(const char *text, uint8_t *ret_bytes, size_t len)
{
    size_t got = 0;
    const char *end = NULL;
    size_t text_len = strlen(text);
    if (sodium_base642bin(ret_bytes, len, text, text_len, " \r\n\t", &got, &end, sodium_base64_VARIANT_ORIGINAL) != 0)
        return false;
    return got == len && end == text + text_len;
}

bool client_key_parse(const char *text, struct key *ret_key)
{
    struct key key = {{0}};
    if (!decode(text, key.bytes, KEY_BYTES))
        return false;
    *ret_key = key;
    return true;
}

void client_key_text(const struct key *key, char ret_text[CLIENT_KEY_TEXT_MAX])
{
    sodium_bin2base64(ret_text, CLIENT_KEY_TEXT_MAX, key->bytes, KEY_BYTES, sodium_base64_VARIANT_ORIGINAL);
}

static bool write_all(int fd, const char *text, size_t len)
{
    while (len > 0) {
        ssize_t n = write(fd, text, len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return false;
        text += n;
        len -= (size_t)n;
    }
    return true;
}

// Written beside and renamed, so that a full disk costs no key.
static bool write_key(const char *path, const uint8_t *bytes, size_t len, mode_t mode, char *error_text)
{
    char beside[4096];
    char text[TEXT_MAX];
    int printed = snprintf(beside, sizeof beside, "%s.new", path);
    if (printed < 0 || (size_t)printed >= sizeof beside) {
        snprintf(error_text, CLIENT_ERROR_MAX, "%.200s: name too long", path);
        return false;
    }
    sodium_bin2base64(text, sizeof text - 1, bytes, len, sodium_base64_VARIANT_ORIGINAL);
    size_t text_len = strlen(text);
    text[text_len++] = '\n';
    int fd = open(beside, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode);
    bool written = fd >= 0 && fchmod(fd, mode) == 0 && write_all(fd, text, text_len) && fsync(fd) == 0;
    int why = errno;
    if (fd >= 0)
        close(fd);
    sodium_memzero(text, sizeof text);
    if (written && rename(beside, path) == 0)
        return true;
    snprintf(error_text, CLIENT_ERROR_MAX, "%.200s: %s", path, strerror(written ? errno : why));
    unlink(beside);
    return false;
}

bool client_keys_make(const char *public_file, const char *secret_file, struct client_keys *ret_keys, char *error_text)
{
    CHECK(public_file != NULL && secret_file != NULL);
    crypto_sign_keypair(ret_keys->key.bytes, ret_keys->secret);
    return write_key(public_file, ret_keys->key.bytes, KEY_BYTES, 0644, error_text) &&
           write_key(secret_file, ret_keys->secret, CLIENT_SECRET_BYTES, 0600, error_text);
}

static bool read_key(const char *path, uint8_t *ret_bytes, size_t len, char *error_text)
{
    char text[TEXT_MAX];
    FILE *file = fopen(path, "re");
    if (file == NULL) {
        snprintf(error_text, CLIENT_ERROR_MAX, "%.200s: %s (relayclient genkeys makes the key files)", path, strerror(errno));
        return false;
    }
    size_t got = fread(text, 1, sizeof text - 1, file);
    fclose(file);
    text[got] = '\0';
    bool sound = strlen(text) == got && decode(text, ret_bytes, len);
    sodium_memzero(text, sizeof text);
    if (!sound)
        snprintf(error_text, CLIENT_ERROR_MAX, "%.200s: not the base64 of %zu bytes", path, len);
    return sound;
}

bool client_keys_load(const char *public_file, const char *secret_file, struct client_keys *ret_keys, char *error_text)
{
    struct key of_secret;
    if (!read_key(public_file, ret_keys->key.bytes, KEY_BYTES, error_text) ||
        !read_key(secret_file, ret_keys->secret, CLIENT_SECRET_BYTES, error_text))
        return false;
    crypto_sign_ed25519_sk_to_pk(of_secret.bytes, ret_keys->secret);
    if (key_equal(&of_secret, &ret_keys->key))
        return true;
    snprintf(error_text, CLIENT_ERROR_MAX, "%.200s and %.200s are not a pair", public_file, secret_file);
    return false;
}
