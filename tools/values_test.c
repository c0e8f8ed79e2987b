// tools/values: every form of every type, and what must be refused.
#include "shards/base/check.h"
#include "tools/values.h"
#include <stdio.h>
#include <string.h>

struct pair {
    const char *text;
    uint64_t value;
};

static void test_numbers(void)
{
    static const struct pair sizes[] = {{"0", 0},      {"1", 1}, {"64k", 65536}, {"64K", 65536}, {"1m", 1048576}, {"2g", 2147483648u},
                                        {"1000", 1000}};
    static const struct pair times[] = {{"10", 10000000000u},
                                        {"10s", 10000000000u},
                                        {"500ms", 500000000u},
                                        {"2m", 120000000000u},
                                        {"1h", 3600000000000u},
                                        {"1d", 86400000000000u},
                                        {"0", 0}};
    static const char *const bad[] = {
        "", "-1", "+1", " 1", "1 ", "k", "1kb", "1.5m", "0x10", "18446744073709551616", "99999999999999999999d", "1t"};
    uint64_t value = 42;
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        CHECK(value_size(sizes[i].text, &value) && value == sizes[i].value);
    for (size_t i = 0; i < sizeof times / sizeof *times; i++)
        CHECK(value_duration(times[i].text, &value) && value == times[i].value);
    CHECK(value_number("18446744073709551615", &value) && value == UINT64_MAX);
    value = 42;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        if (value_size(bad[i], &value) || value_duration(bad[i], &value) || value_number(bad[i], &value) || value != 42) {
            fprintf(stderr, "accepted: \"%s\"\n", bad[i]);
            CHECK(false);
        }
    }
    CHECK(!value_size("17179869184g", &value));
    CHECK(!value_number("1k", &value));
}

static void test_round_trip(void)
{
    static const uint64_t sizes[] = {0, 1, 1023, 1024, 65536, 1048576, 1048577, 3221225472u};
    static const uint64_t times_ms[] = {0, 1, 500, 1000, 1500, 60000, 61000, 3600000, 86400000, 172800000};
    char text[VALUE_TEXT_MAX];
    uint64_t value;
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        CHECK(value_size(value_size_text(sizes[i], text), &value) && value == sizes[i]);
    for (size_t i = 0; i < sizeof times_ms / sizeof *times_ms; i++)
        CHECK(value_duration(value_duration_text(times_ms[i] * 1000000u, text), &value) && value == times_ms[i] * 1000000u);
    CHECK(strcmp(value_size_text(1048576, text), "1m") == 0);
    CHECK(strcmp(value_duration_text(30000000000u, text), "30s") == 0);
}

static void test_truth(void)
{
    bool truth = false;
    CHECK(value_truth("1", &truth) && truth);
    CHECK(value_truth("FALSE", &truth) && !truth);
    CHECK(value_truth("yes", &truth) && truth);
    CHECK(value_truth("off", &truth) && !truth);
    CHECK(!value_truth("", &truth) && !value_truth("2", &truth));
}

struct listen_case {
    const char *text, *address, *again; // address NULL: refused
    enum listen_family family;
    uint16_t port;
};

static void test_listen(void)
{
    static const struct listen_case cases[] = {
        {"127.0.0.1:9001", "127.0.0.1", "buckets:127.0.0.1:9001", LISTEN_IPV4, 9001},
        {"buckets:0.0.0.0:80", "0.0.0.0", "buckets:0.0.0.0:80", LISTEN_IPV4, 80},
        {"[::1]:9001", "::1", "buckets:[::1]:9001", LISTEN_IPV6, 9001},
        {"buckets:[::]:65535", "::", "buckets:[::]:65535", LISTEN_IPV6, 65535},
        {"unix:/run/relay.sock", "/run/relay.sock", "buckets:unix:/run/relay.sock", LISTEN_UNIX, 0},
        {"buckets:unix:a:b", "a:b", "buckets:unix:a:b", LISTEN_UNIX, 0},
        {"tls:127.0.0.1:9001", "127.0.0.1", "tls+buckets:127.0.0.1:9001", LISTEN_IPV4, 9001},
        {"tls+proxy+buckets:[::1]:9001", "::1", "proxy+tls+buckets:[::1]:9001", LISTEN_IPV6, 9001},
        {"proxy:unix:tls:x", "tls:x", "proxy+buckets:unix:tls:x", LISTEN_UNIX, 0},
        {"tls+:127.0.0.1:9001", NULL, NULL, LISTEN_IPV4, 0},
        {"tls+ftp:127.0.0.1:9001", NULL, NULL, LISTEN_IPV4, 0},
        {"tls", NULL, NULL, LISTEN_IPV4, 0},
        {"tls+127.0.0.1:9001", NULL, NULL, LISTEN_IPV4, 0},
        {"", NULL, NULL, LISTEN_IPV4, 0},
        {":9001", NULL, NULL, LISTEN_IPV4, 0},
        {"127.0.0.1", NULL, NULL, LISTEN_IPV4, 0},
        {"127.0.0.1:", NULL, NULL, LISTEN_IPV4, 0},
        {"127.0.0.1:0", NULL, NULL, LISTEN_IPV4, 0},
        {"127.0.0.1:65536", NULL, NULL, LISTEN_IPV4, 0},
        {"::1:9001", NULL, NULL, LISTEN_IPV4, 0},
        {"[]:9001", NULL, NULL, LISTEN_IPV4, 0},
        {"[:9001", NULL, NULL, LISTEN_IPV4, 0},
        {"[127.0.0.1]:9001", NULL, NULL, LISTEN_IPV4, 0},
        {"ftp:127.0.0.1:21", NULL, NULL, LISTEN_IPV4, 0},
        {"unix:", NULL, NULL, LISTEN_IPV4, 0},
        {"localhost:9001", NULL, NULL, LISTEN_IPV4, 0},
        {"256.0.0.1:9001", NULL, NULL, LISTEN_IPV4, 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct listen_config listen;
        char text[CONFIG_ADDRESS_MAX + 32];
        const char *bad = value_listen(cases[i].text, &listen);
        fprintf(stderr, "listen \"%s\": %s\n", cases[i].text, bad != NULL ? bad : "sound");
        CHECK((bad == NULL) == (cases[i].address != NULL));
        if (bad != NULL)
            continue;
        CHECK(listen.scheme == LISTEN_BUCKETS && listen.family == cases[i].family && listen.port == cases[i].port);
        CHECK(strcmp(listen.address, cases[i].address) == 0);
        CHECK(listen.tls == (strstr(cases[i].again, "tls+") != NULL) && listen.proxy == (strstr(cases[i].again, "proxy+") != NULL));
        value_listen_text(&listen, text, sizeof text);
        CHECK(strcmp(text, cases[i].again) == 0);
    }
    char path[CONFIG_ADDRESS_MAX + 8];
    struct listen_config listen;
    memset(path, 'x', sizeof path);
    memcpy(path, "unix:", 5);
    path[5 + CONFIG_ADDRESS_MAX] = '\0';
    CHECK(value_listen(path, &listen) != NULL);
    path[5 + CONFIG_ADDRESS_MAX - 1] = '\0';
    CHECK(value_listen(path, &listen) == NULL);
}

static void test_nearest(void)
{
    static const char *const names[] = {"port", "address", "database", "no-pin"};
    char text[100];
    CHECK(value_nearest("prot", names, 4) == names[0]);
    CHECK(value_nearest("adress", names, 4) == names[1]);
    CHECK(value_nearest("databse", names, 4) == names[2]);
    CHECK(value_nearest("nopin", names, 4) == names[3]);
    CHECK(value_nearest("verbose", names, 4) == NULL);
    CHECK(value_nearest("", names, 4) == NULL);
    CHECK(value_nearest("port", names, 0) == NULL);
    memset(text, 'p', sizeof text);
    text[99] = '\0';
    CHECK(value_nearest(text, names, 4) == NULL);
}

int main(void)
{
    test_numbers();
    test_round_trip();
    test_truth();
    test_listen();
    test_nearest();
    return 0;
}
