// See selfsigned.h.
#include "tools/bench/selfsigned.h"

#include "shards/base/check.h"
#include <fcntl.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <unistd.h>

static bool name_and_sign(X509 *certificate, EVP_PKEY *key)
{
    X509_NAME *name = X509_get_subject_name(certificate);
    if (X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, (const unsigned char *)"localhost", -1, -1, 0) != 1 ||
        X509_set_issuer_name(certificate, name) != 1)
        return false;
    X509_EXTENSION *names = X509V3_EXT_conf_nid(NULL, NULL, NID_subject_alt_name, "DNS:localhost,IP:127.0.0.1");
    if (!names)
        return false;
    bool added = X509_add_ext(certificate, names, -1) == 1;
    X509_EXTENSION_free(names);
    return added && X509_sign(certificate, key, EVP_sha256()) > 0;
}

bool selfsigned_create(EVP_PKEY **ret_key, X509 **ret_certificate)
{
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *certificate = X509_new();
    if (!key || !certificate)
        goto fail;
    if (X509_set_version(certificate, X509_VERSION_3) != 1 || ASN1_INTEGER_set(X509_get_serialNumber(certificate), 1) != 1 ||
        !X509_gmtime_adj(X509_getm_notBefore(certificate), -3600) || !X509_gmtime_adj(X509_getm_notAfter(certificate), 86400) ||
        X509_set_pubkey(certificate, key) != 1 || !name_and_sign(certificate, key))
        goto fail;
    *ret_key = key;
    *ret_certificate = certificate;
    return true;
fail:
    EVP_PKEY_free(key);
    X509_free(certificate);
    return false;
}

bool selfsigned_use(SSL_CTX *context)
{
    EVP_PKEY *key;
    X509 *certificate;
    CHECK(context);
    if (!selfsigned_create(&key, &certificate))
        return false;
    bool used = SSL_CTX_use_certificate(context, certificate) == 1 && SSL_CTX_use_PrivateKey(context, key) == 1;
    EVP_PKEY_free(key);
    X509_free(certificate);
    return used;
}

static FILE *create_file(const char *path, mode_t mode)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode);
    FILE *file = fd < 0 ? NULL : fdopen(fd, "w");
    if (!file && fd >= 0)
        close(fd);
    return file;
}

bool selfsigned_write(const char *key_path, const char *certificate_path)
{
    EVP_PKEY *key;
    X509 *certificate;
    CHECK(key_path && certificate_path);
    if (!selfsigned_create(&key, &certificate))
        return false;
    FILE *key_file = create_file(key_path, 0600), *certificate_file = create_file(certificate_path, 0644);
    bool written = key_file && certificate_file && PEM_write_PrivateKey(key_file, key, NULL, NULL, 0, NULL, NULL) == 1 &&
                   PEM_write_X509(certificate_file, certificate) == 1;
    if (key_file && fclose(key_file) != 0)
        written = false;
    if (certificate_file && fclose(certificate_file) != 0)
        written = false;
    EVP_PKEY_free(key);
    X509_free(certificate);
    return written;
}
