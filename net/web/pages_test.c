// The page's resources: addresses, types, compression, versions, and that nothing comes from elsewhere.
#include "net/web/pages.h"

#include <stdio.h>

#include "net/web/assets.h"
#include "shards/base/check.h"

static struct page get(const char *path, const char *fields, bool multi_user)
{
    char text[1024];
    static struct http_request request; // its texts are read before the next call
    size_t head_len;
    struct page page = {0};
    int len = snprintf(text, sizeof(text), "GET %s HTTP/1.1\r\nHost: x\r\n%s\r\n", path, fields);
    CHECK(http_parse(bytes_of(text, (size_t)len), &request, &head_len) == HTTP_OK);
    if (!page_find(&request, multi_user, false, &page))
        page.status = 404;
    return page;
}

static bool has(struct bytes body, const char *text)
{
    return memmem(body.ptr, body.len, text, strlen(text)) != NULL;
}

static void test_addresses(void)
{
    static const struct {
        const char *path, *type;
    } found[] = {{"/v1/", "text/html; charset=utf-8"},
                 {"/v1/relay.css", "text/css; charset=utf-8"},
                 {"/v1/relay.js", "text/javascript; charset=utf-8"},
                 {"/v1/icon.svg", "image/svg+xml; charset=utf-8"},
                 {"/v1/status", "application/json"},
                 {"/versions", "application/json"},
                 {"/health", "text/plain; charset=utf-8"}};
    for (size_t i = 0; i < sizeof(found) / sizeof(found[0]); i++) {
        struct page page = get(found[i].path, "", true);
        if (page.status != 200 || page.type == NULL || strcmp(page.type, found[i].type) != 0)
            fprintf(stderr, "%s: %u %s\n", found[i].path, page.status, page.type == NULL ? "" : page.type);
        CHECK(page.status == 200 && page.body.len > 0 && strcmp(page.type, found[i].type) == 0);
    }
    static const char *const missing[] = {"/v1",        "/v1/index.html", "/v1/single.html", "/v1/nothing",
                                          "/relay.css", "/v1//relay.css", "/v1/../health"};
    for (size_t i = 0; i < sizeof(missing) / sizeof(missing[0]); i++)
        CHECK(get(missing[i], "", true).status == 404);
    CHECK(get("/", "", true).status == 307 && strcmp(get("/", "", true).extra, "Location: /v1/\r\n") == 0);
    CHECK(has(get("/v1/", "", true).body, "Create your account") && !has(get("/v1/", "", false).body, "Create your account"));
    CHECK(has(get("/v1/", "", false).body, "RELAY_USERNAME"));
}

static void test_encoding(void)
{
    struct page plain = get("/v1/", "", true);
    struct page gzip = get("/v1/", "Accept-Encoding: br, gzip\r\n", true);
    CHECK(strstr(plain.extra, "Content-Encoding") == NULL && has(plain.body, "</html>"));
    CHECK(strstr(gzip.extra, "Content-Encoding: gzip\r\n") != NULL && gzip.body.len < plain.body.len);
    CHECK(gzip.body.ptr[0] == 0x1f && gzip.body.ptr[1] == 0x8b);
    CHECK(strstr(plain.extra, "Vary: Accept-Encoding\r\n") != NULL);
    CHECK(strstr(plain.extra, "Content-Security-Policy: default-src 'none'; script-src 'self';") != NULL);
}

static void test_versions(void)
{
    struct page page = get("/v1/relay.css", "", true);
    char etag[64], fields[128];
    CHECK(sscanf(page.extra, "ETag: %60[^\r]", etag) == 1 && strncmp(etag, "W/\"", 3) == 0);
    snprintf(fields, sizeof(fields), "Accept-Encoding: gzip\r\nIf-None-Match: W/\"other\", %s\r\n", etag);
    page = get("/v1/relay.css", fields, true);
    CHECK(page.status == 304 && page.body.len == 0 && page.type == NULL && strstr(page.extra, etag) != NULL);
    CHECK(strstr(page.extra, "Content-Encoding") == NULL);
    CHECK(get("/v1/relay.css", "If-None-Match: W/\"other\"\r\n", true).status == 200);
    CHECK(get("/v1/relay.js", fields, true).status == 200);
}

// The policy forbids what stands inline or comes from elsewhere; so nothing may rely on it. An answer must fit the connection's buffer.
static void test_contents(void)
{
    static const char *const forbidden[] = {"https://", "http://", " style=", "<style", " onclick", "innerHTML", "eval("};
    for (size_t a = 0; a < asset_count; a++) {
        CHECK(assets[a].plain.len > 0 && assets[a].plain.len < 60000);
        for (size_t i = strcmp(assets[a].name, "icon.svg") == 0 ? 2 : 0; i < sizeof(forbidden) / sizeof(forbidden[0]); i++) {
            if (has(assets[a].plain, forbidden[i]))
                fprintf(stderr, "%s has %s\n", assets[a].name, forbidden[i]);
            CHECK(!has(assets[a].plain, forbidden[i]));
        }
    }
}

int main(void)
{
    test_addresses();
    test_encoding();
    test_versions();
    test_contents();
    return 0;
}
