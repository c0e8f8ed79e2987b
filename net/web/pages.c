// HTTP resources: see pages.h. Files lie in assets/ and are embedded when building (embed.cmake).
#include "net/web/pages.h"

#include <stdio.h>

#include "net/web/assets.h"
#include "shards/base/check.h"

// Everything comes from here, nothing stands inline, nobody may frame it. Script cannot make HTML out of text.
#define POLICY                                                                                                                             \
    "Content-Security-Policy: default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "               \
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'\r\n"                                  \
    "Cross-Origin-Opener-Policy: same-origin\r\n"

static void set_extra(struct page *page, const char *text)
{
    size_t len = strlen(text);
    CHECK(len < sizeof(page->extra));
    memcpy(page->extra, text, len + 1);
}

static const struct asset *find_asset(struct bytes path, bool multi_user)
{
    static const char root[] = "/v1/";
    if (path.len < sizeof(root) - 1 || memcmp(path.ptr, root, sizeof(root) - 1) != 0)
        return NULL;
    struct bytes name = bytes_of(path.ptr + sizeof(root) - 1, path.len - (sizeof(root) - 1));
    bool is_home = name.len == 0;
    if (is_home)
        name = bytes_text(multi_user ? "index.html" : "single.html");
    for (size_t i = 0; i < asset_count; i++) {
        bool is_page = strcmp(assets[i].type, "text/html; charset=utf-8") == 0; // pages have one address only
        if (is_page == is_home && bytes_equal(name, bytes_text(assets[i].name)))
            return &assets[i];
    }
    return NULL;
}

static void answer_asset(const struct http_request *request, const struct asset *asset, struct page *page)
{
    bool gzip = asset->gzip.len < asset->plain.len && http_has_token(http_header(request, "Accept-Encoding"), "gzip");
    page->type = asset->type;
    page->body = gzip ? asset->gzip : asset->plain;
    if (http_has_token(http_header(request, "If-None-Match"), asset->etag)) {
        page->status = 304;
        page->type = NULL;
        page->body = bytes_of(NULL, 0);
    }
    int len = snprintf(page->extra, sizeof(page->extra), "ETag: %s\r\nCache-Control: no-cache\r\nVary: Accept-Encoding\r\n%s%s",
                       asset->etag, gzip && page->status == 200 ? "Content-Encoding: gzip\r\n" : "", POLICY);
    CHECK(len > 0 && (size_t)len < sizeof(page->extra));
}

bool page_find(const struct http_request *request, bool multi_user, bool licences, struct page *ret_page)
{
    struct bytes path = request->path;
    const struct asset *asset = find_asset(path, multi_user);
    *ret_page = (struct page){.status = 200};
    if (asset != NULL) {
        answer_asset(request, asset, ret_page);
    } else if (bytes_equal(path, bytes_text("/"))) {
        ret_page->status = 307;
        set_extra(ret_page, "Location: /v1/\r\n");
    } else if (bytes_equal(path, bytes_text("/health"))) {
        ret_page->type = "text/plain; charset=utf-8";
        ret_page->body = bytes_text("OK");
    } else if (bytes_equal(path, bytes_text("/v1/status"))) { // the page's status line
        ret_page->type = "application/json";
        set_extra(ret_page, "Cache-Control: no-store\r\n");
        ret_page->body = bytes_text("{\"status\":\"up\",\"version\":\"" SHARDRELAY_VERSION "\"}");
    } else if (bytes_equal(path, bytes_text("/versions"))) {
        ret_page->type = "application/json";
        ret_page->body =
            bytes_text(multi_user && licences ? "{\"versions\":[{\"version\":\"1\",\"authMethods\":[\"usernamepassword\",\"v1license\"]}]}"
                                              : "{\"versions\":[{\"version\":\"1\",\"authMethods\":[\"usernamepassword\"]}]}");
    } else {
        return false;
    }
    return true;
}
