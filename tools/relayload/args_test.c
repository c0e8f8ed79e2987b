// args: URLs and users files, good and bad.
#include "tools/relayload/args.h"

#include "shards/base/check.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void test_urls(void)
{
    static const struct {
        const char *text, *host, *path;
        unsigned port; // 0: not a URL
        bool tls;
    } cases[] = {
        {"ws://127.0.0.1:9001/v1/relay", "127.0.0.1", "/v1/relay", 9001, false},
        {"wss://relay.example.org/v1/relay", "relay.example.org", "/v1/relay", 443, true},
        {"ws://host", "host", "/", 80, false},
        {"ws://[::1]:9001/v1/relay", "::1", "/v1/relay", 9001, false},
        {"wss://[fe80::1]/", "fe80::1", "/", 443, true},
        {"http://host/", NULL, NULL, 0, false},
        {"ws://", NULL, NULL, 0, false},
        {"ws://:9001/", NULL, NULL, 0, false},
        {"ws://[::1:9001/", NULL, NULL, 0, false},
        {"ws://host:0/", NULL, NULL, 0, false},
        {"ws://host:65536/", NULL, NULL, 0, false},
        {"ws://host:-1/", NULL, NULL, 0, false},
        {"ws://host:90x/", NULL, NULL, 0, false},
        {"ws://host:/", NULL, NULL, 0, false},
        {"ws://host/a b", NULL, NULL, 0, false},
        {"ws://host/a\r\nX: y", NULL, NULL, 0, false},
        {"ws://host?x", NULL, NULL, 0, false},
        {"ws://user@host/", NULL, NULL, 0, false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct args_url url;
        bool good = args_url_parse(cases[i].text, &url);
        bool as_expected =
            good == (cases[i].port != 0) && (!good || (url.port == cases[i].port && url.tls == cases[i].tls &&
                                                       strcmp(url.host, cases[i].host) == 0 && strcmp(url.path, cases[i].path) == 0));
        if (!as_expected) {
            printf("%s: %s\n", cases[i].text, good ? "taken, or in wrong parts" : "refused");
            exit(1);
        }
    }
}

static void test_users(void)
{
    struct args args = {0};
    char error_text[128] = "";
    int count = args_users_parse("# comment\na@b.c:pw\r\n\nd@e.f:p:w:\ng@h.i:", &args.users, error_text, sizeof error_text);
    CHECK(count == 3);
    args.user_count = (uint32_t)count;
    CHECK(strcmp(args.users[0].name, "a@b.c") == 0 && strcmp(args.users[0].password, "pw") == 0);
    CHECK(strcmp(args.users[1].name, "d@e.f") == 0 && strcmp(args.users[1].password, "p:w:") == 0);
    CHECK(strcmp(args.users[2].name, "g@h.i") == 0 && args.users[2].password[0] == '\0');
    args_free(&args);
    CHECK(args_users_parse("a:b\nnonsense\n", &args.users, error_text, sizeof error_text) == -1);
    CHECK(strstr(error_text, "line 2"));
    CHECK(args_users_parse(":pw\n", &args.users, error_text, sizeof error_text) == -1);
    CHECK(args_users_parse("\n#\n", &args.users, error_text, sizeof error_text) == -1);
}

static void test_command_line(void)
{
    static const struct args_scenario scenarios[] = {{"pairs", ""}, {NULL, NULL}};
    char *line[] = {"relayload",
                    "pairs",
                    "--url",
                    "ws://h:1/x",
                    "--user",
                    "u",
                    "--password",
                    "p",
                    "--seconds",
                    "3",
                    "--sessions",
                    "20",
                    "--size",
                    "8-9",
                    "--window",
                    "4",
                    "--rate",
                    "7",
                    "--threads",
                    "2",
                    "--server-pid",
                    "1",
                    "--json",
                    "--html",
                    "f.html",
                    "--local-addresses",
                    "127.0.0.2,127.0.0.3"};
    struct args args;
    args_parse((int)(sizeof line / sizeof line[0]), line, scenarios, &args);
    CHECK(strcmp(args.scenario, "pairs") == 0 && strcmp(args.url.host, "h") == 0 && args.url.port == 1);
    CHECK(args.user_count == 1 && strcmp(args.users[0].password, "p") == 0);
    CHECK(args.seconds == 3 && args.sessions == 20 && args.window == 4 && args.rate == 7 && args.threads == 2 && args.server_pid == 1);
    CHECK(args.json && !args.insecure && strcmp(args.html, "f.html") == 0 && args.local_count == 2 && sizes_max(&args.sizes) == 9);
    args_free(&args);
}

int main(void)
{
    test_urls();
    test_users();
    test_command_line();
    return 0;
}
