// What reverse proxies say about the client, without I/O: the PROXY protocol's heads and the fields of a request.
// Sources: "The PROXY protocol", versions 1 and 2 (haproxy.org, doc/proxy-protocol.txt, 2.1 and 2.2); RFC 7239; X-Forwarded-For as nginx
// writes it.
#pragma once
#include "net/address.h"
#include "net/http.h"

#define PROXY_HEAD_MAX 4096 // with its extensions; a longer one is bad

enum proxy_status { PROXY_INCOMPLETE, PROXY_OK, PROXY_BAD };

// A head at the start of `input`. PROXY_OK: *ret_len is its length, and *ret_address what it says; untouched when it names no address
// (UNKNOWN, LOCAL, UNIX sockets). PROXY_BAD: neither version, or malformed; told as early as the bytes allow.
enum proxy_status proxy_parse(struct bytes input, struct net_address *ret_address, size_t *ret_len);

// The client of a request that came from a trusted proxy. The first of these that is there and sound: True-Client-IP, X-Real-IP,
// X-Forwarded-For, Forwarded; of the last two the right-most address that is not trusted (all are: the left-most). The proxy must set or
// remove the ones in front of those it uses, since clients may send them. false: none, *ret_address untouched.
bool proxy_client(const struct http_request *request, const struct address_range *trusted, size_t trusted_count,
                  struct net_address *ret_address);
