// The upgrade as the original (warp) does it: its refusals, and no extension or subprotocol (protocols/openrelay.md 2). Any thread.
#include <stdio.h>

#include "net/http.h"
#include "net/openrelay/state.h"
#include "shards/base/check.h"

size_t openrelay_upgrade(const struct http_request *request, int64_t wall_s, uint8_t *out, size_t max, const char **ret_refusal)
{
    char connection[256], accept[29], date[30];
    int connection_len = http_header_joined(request, "Connection", connection, sizeof(connection));
    struct bytes key = http_header(request, "Sec-WebSocket-Key");
    *ret_refusal = NULL;
    if (connection_len <= 0 || !http_has_token(bytes_of(connection, (size_t)connection_len), "upgrade"))
        *ret_refusal = "Connection header did not include 'upgrade'";
    else if (!http_has_token(http_header(request, "Upgrade"), "websocket"))
        *ret_refusal = "Invalid request header \"upgrade\"";
    else if (!bytes_equal(http_header(request, "Sec-WebSocket-Version"), bytes_text("13")))
        *ret_refusal = "Invalid request header \"sec-websocket-version\"";
    else if (key.ptr == NULL)
        *ret_refusal = "Invalid request header \"sec-websocket-key\"";
    if (*ret_refusal != NULL)
        return 0;
    ws_accept(key, accept);
    http_date(wall_s, date);
    int len = snprintf((char *)out, max,
                       "HTTP/1.%u 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-accept: %s\r\n"
                       "date: %s\r\n\r\n",
                       request->minor_version, accept, date);
    CHECK(len > 0 && (size_t)len < max);
    return (size_t)len;
}
