// HTTP resources: see pages.h.
#include "net/pages.h"

#define SAFE_HEADERS                                                                                                                       \
    "Content-Security-Policy: default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors "        \
    "'none'\r\n"                                                                                                                           \
    "X-Content-Type-Options: nosniff\r\nReferrer-Policy: no-referrer\r\n"

static const char home_page[] =
    "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" content=\"width=device-width\">\n"
    "<title>Relay</title>\n<style>body{font:1rem/1.5 system-ui,sans-serif;max-width:40rem;margin:3rem auto;padding:0 1rem;"
    "color-scheme:light dark}</style>\n<h1>This relay is up</h1>\n"
    "<p>It passes end-to-end encrypted data between the devices of its users. Point your application at the address of this page with "
    "<code>/v1/relay</code> in place of <code>/v1/</code>, and log in with your relay account.</p>\n</html>\n";

bool page_find(struct bytes path, bool multi_user, bool licences, struct page *ret_page)
{
    struct page page = {.status = 200, .extra = ""};
    if (bytes_equal(path, bytes_text("/"))) {
        page.status = 307;
        page.extra = "Location: /v1/\r\n";
    } else if (bytes_equal(path, bytes_text("/v1/"))) {
        page.extra = SAFE_HEADERS;
        page.type = "text/html; charset=utf-8";
        page.body = bytes_text(home_page);
    } else if (bytes_equal(path, bytes_text("/health"))) {
        page.type = "text/plain; charset=utf-8";
        page.body = bytes_text("OK");
    } else if (bytes_equal(path, bytes_text("/versions"))) {
        page.type = "application/json";
        page.body =
            bytes_text(multi_user && licences ? "{\"versions\":[{\"version\":\"1\",\"authMethods\":[\"usernamepassword\",\"v1license\"]}]}"
                                              : "{\"versions\":[{\"version\":\"1\",\"authMethods\":[\"usernamepassword\"]}]}");
    } else {
        return false;
    }
    *ret_page = page;
    return true;
}
