// relayclient's parts that need no relay: URLs, key files, key texts.
#include "shards/base/check.h"
#include "tools/client.h"
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

struct url_case {
    const char *text, *host, *port, *path;
    bool tls, default_port;
};

static void test_urls(void)
{
    static const struct url_case sound[] = {
        {"http://127.0.0.1:9001/v1/relay", "127.0.0.1", "9001", "/v1/relay", false, false},
        {"ws://relay.example/v1/relay?x=y", "relay.example", "80", "/v1/relay?x=y", false, true},
        {"WSS://relay.example", "relay.example", "443", "/v1/relay", true, true},
        {"https://relay.example:443/", "relay.example", "443", "/v1/relay", true, true},
        {"https://relay.example:8443/x", "relay.example", "8443", "/x", true, false},
        {"ws://[::1]:9001/", "::1", "9001", "/v1/relay", false, false},
        {"ws://[fe80::1]", "fe80::1", "80", "/v1/relay", false, true},
    };
    static const char *const bad[] = {
        "",
        "relay.example",
        "ftp://relay.example",
        "ws://",
        "ws://:80",
        "ws:///v1",
        "ws://h:0",
        "ws://h:65536",
        "ws://h:",
        "ws://h:8x",
        "ws://h:123456",
        "ws://[::1",
        "ws://[::1]x",
        "ws://[]:1",
        "ws://u:p@h/",
        "ws://h/a b",
        "ws://h/\r\nX: y",
        "ws://h/#f",
        "ws://h?x",
    };
    for (size_t i = 0; i < sizeof sound / sizeof *sound; i++) {
        struct client_url url;
        const char *why = client_url_parse(sound[i].text, &url);
        fprintf(stderr, "%s: %s\n", sound[i].text, why != NULL ? why : "sound");
        CHECK(why == NULL);
        CHECK(strcmp(url.host, sound[i].host) == 0 && strcmp(url.port, sound[i].port) == 0 && strcmp(url.path, sound[i].path) == 0);
        CHECK(url.tls == sound[i].tls && url.default_port == sound[i].default_port);
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct client_url url = {.port = "7"};
        fprintf(stderr, "refused? \"%s\"\n", bad[i]);
        CHECK(client_url_parse(bad[i], &url) != NULL && strcmp(url.port, "7") == 0);
    }
}

static void test_key_texts(void)
{
    // protocols/buckets.md "Commands": the public key of seed 01*32
    static const char text[] = "iojj3XQJ8ZX9UtstPLpdcspnCb8dlBIb83SIAbQPb1w=";
    struct key key;
    char again[CLIENT_KEY_TEXT_MAX];
    CHECK(client_key_parse(text, &key) && key.bytes[0] == 0x8a && key.bytes[31] == 0x5c);
    client_key_text(&key, again);
    CHECK(strcmp(again, text) == 0);
    CHECK(client_key_parse("iojj3XQJ8ZX9UtstPLpdcspnCb8dlBIb83SIAbQPb1w=\r\n", &key));
    CHECK(!client_key_parse("", &key) && !client_key_parse("iojj3XQJ8ZX9", &key) && !client_key_parse("not base64!", &key));
    CHECK(!client_key_parse("iojj3XQJ8ZX9UtstPLpdcspnCb8dlBIb83SIAbQPb1wAAAA=", &key));
    CHECK(!client_key_parse("iojj3XQJ8ZX9UtstPLpdcspnCb8dlBIb83SIAbQPb1w=x", &key));
}

static void write_text(const char *path, const char *text)
{
    FILE *file = fopen(path, "w");
    CHECK(file != NULL && fputs(text, file) >= 0 && fclose(file) == 0);
}

static void test_key_files(void)
{
    char folder[] = "/tmp/client_test.XXXXXX";
    char error[CLIENT_ERROR_MAX] = "";
    struct client_keys made;
    struct client_keys loaded;
    struct stat stat_of;
    CHECK(mkdtemp(folder) != NULL && chdir(folder) == 0);
    CHECK(client_keys_make("p", "s", &made, error));
    CHECK(stat("p", &stat_of) == 0 && stat_of.st_size == 45);
    CHECK(stat("s", &stat_of) == 0 && stat_of.st_size == 89 && (stat_of.st_mode & 077) == 0);
    CHECK(client_keys_load("p", "s", &loaded, error) && memcmp(&made, &loaded, sizeof made) == 0);

    CHECK(!client_keys_load("p", "missing", &loaded, error) && strstr(error, "missing") != NULL);
    CHECK(!client_keys_load("s", "s", &loaded, error) && strstr(error, "32 bytes") != NULL);
    CHECK(!client_keys_make("no/p", "s", &made, error) && strstr(error, "no/p") != NULL);
    write_text("other", "iojj3XQJ8ZX9UtstPLpdcspnCb8dlBIb83SIAbQPb1w=\n");
    CHECK(!client_keys_load("other", "s", &loaded, error) && strstr(error, "not a pair") != NULL);
    CHECK(unlink("p") == 0 && unlink("s") == 0 && unlink("other") == 0 && chdir("/") == 0 && rmdir(folder) == 0);
}

int main(void)
{
    CHECK(sodium_init() >= 0);
    test_urls();
    test_key_texts();
    test_key_files();
    return 0;
}
