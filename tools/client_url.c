// ws, wss, http and https URLs (RFC 3986, 6455 section 3), as far as a relay needs them.
#include "shards/base/check.h"
#include "tools/client.h"
#include "tools/values.h"
#include <stdio.h>
#include <strings.h>

struct scheme {
    const char *name;
    const char *port;
    bool tls;
};

static const struct scheme schemes[] = {
    {"ws://", "80", false}, {"wss://", "443", true}, {"http://", "80", false}, {"https://", "443", true}};

// host[:port] or [v6][:port] up to `end`.
static const char *authority(const char *at, const char *end, struct client_url *url)
{
    const char *host_end = NULL;
    if (memchr(at, '@', (size_t)(end - at)) != NULL)
        return "credentials do not belong into the URL: use -u and -p, or RELAYCLIENT_USER and RELAYCLIENT_PASSWORD";
    if (*at == '[') {
        at++;
        host_end = memchr(at, ']', (size_t)(end - at));
        if (host_end == NULL)
            return "the URL's IPv6 address has no ]";
    } else {
        host_end = memchr(at, ':', (size_t)(end - at));
        if (host_end == NULL)
            host_end = end;
    }
    size_t len = (size_t)(host_end - at);
    if (len == 0 || len >= sizeof url->host)
        return "the URL names no host";
    memcpy(url->host, at, len);
    url->host[len] = '\0';
    const char *rest = host_end + (*host_end == ']');
    if (rest == end)
        return NULL;
    size_t port_len = (size_t)(end - rest) - 1;
    uint64_t port = 0;
    char text[6] = "";
    if (*rest == ':' && port_len < sizeof text)
        memcpy(text, rest + 1, port_len);
    if (!value_number(text, &port) || port < 1 || port > 65535)
        return "the URL's port is not a number from 1 to 65535";
    url->default_port = strcmp(url->port, text) == 0;
    memcpy(url->port, text, sizeof text);
    return NULL;
}

const char *client_url_parse(const char *text, struct client_url *ret_url)
{
    CHECK(text != NULL && ret_url != NULL);
    struct client_url url = {.default_port = true};
    const char *at = NULL;
    for (size_t i = 0; i < sizeof schemes / sizeof *schemes; i++) {
        size_t len = strlen(schemes[i].name);
        if (strncasecmp(text, schemes[i].name, len) != 0)
            continue;
        at = text + len;
        url.tls = schemes[i].tls;
        snprintf(url.port, sizeof url.port, "%s", schemes[i].port);
    }
    if (at == NULL)
        return "the URL must begin with ws://, wss://, http:// or https://";
    for (const char *c = at; *c != '\0'; c++) {
        if ((unsigned char)*c <= ' ' || *c == 0x7f || *c == '#')
            return "the URL has a space, a control character or a fragment";
    }
    const char *end = at + strcspn(at, "/?");
    const char *bad = authority(at, end, &url);
    if (bad != NULL)
        return bad;
    if (*end == '?')
        return "the URL has a query but no path";
    url.path = *end == '\0' || strcmp(end, "/") == 0 ? "/v1/relay" : end;
    *ret_url = url;
    return NULL;
}
