// Fuzz main: licences. The first byte says what follows: a licence as text, which no signature here can make right, or header and claims
// (parted by a newline) as they stand behind a right one.
#include <stddef.h>
#include <stdint.h>

#include "net/licences.h"
#include "shards/base/check.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

// 2048 bits, made for this; its private half was thrown away.
static const char pem[] = "-----BEGIN PUBLIC KEY-----\n"
                          "MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEA67v5Tb48AEwMTNeCn/dp\n"
                          "bIpiS+gLfrF3axSg0qf09zY/kKoHCVecFugfpUcpxPI8wZJOCKNK/+2ojboAN1rb\n"
                          "wgVBXHvaNyTBGhoAU1/v74NVkqnjce5PfJ8PYANNKT2w3AL83zTsIWSMp9dcpcUC\n"
                          "UZ6bb2QvMNjoUE41CBNBfzV4bmGNbmOpqWfjnfZ5cpbmZVXbbAf46ILhl5fRDWwL\n"
                          "7K36JJLbadfOVX+ctB9GcwlFryPR5fRRX3bND9tCPA5QcTy/i3I8TunrqyL4seOD\n"
                          "JFA/fIh02NTZUTyYT77NNgOjaMGFkxy0Dc38fQ7IlLMn5hH0/GRxQYh+zZ6kOXwo\n"
                          "vQIDAQAB\n"
                          "-----END PUBLIC KEY-----\n";

static void fuzz_text(struct bytes text)
{
    static struct licence_key *key;
    struct licence_holder holder;
    if (key == NULL)
        key = licence_key_create(pem);
    CHECK(key != NULL);
    CHECK(!licences_read(key, LICENCE_SALT_DEFAULT, text, &holder));
}

static void fuzz_contents(struct bytes contents)
{
    static struct licence licence;
    char email[STORE_EMAIL_MAX + 1];
    const uint8_t *end = contents.len > 0 ? memchr(contents.ptr, '\n', contents.len) : NULL;
    if (end == NULL)
        return;
    licence.header_len = (size_t)(end - contents.ptr);
    licence.claims_len = contents.len - licence.header_len - 1;
    if (licence.header_len > LICENCE_JSON_MAX || licence.claims_len > LICENCE_JSON_MAX)
        return;
    memcpy(licence.header, contents.ptr, licence.header_len);
    memcpy(licence.claims, end + 1, licence.claims_len);
    licence.header[licence.header_len] = licence.claims[licence.claims_len] = '\0';
    if (!licences_read_email(&licence, email))
        return;
    CHECK(email[0] != '\0' && strlen(email) <= STORE_EMAIL_MAX && strpbrk(email, ": \r\n") == NULL);
    CHECK(strstr(licence.header, "RS256") != NULL || strchr(licence.header, '\\') != NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    struct bytes rest = bytes_of(data + 1, size - 1);
    if (data[0] == 't')
        fuzz_text(rest);
    else
        fuzz_contents(rest);
    return 0;
}
