// The hot message at a glance: a Send as clients write it, without yajl. It is no second parser: what it does not know at once, odd or
// wrong, is yajl's to judge, so it never refuses. One rule: what it takes, yajl takes, with the same values (scan_test, fuzz). Any thread.
#pragma once
#include "net/openrelay/codec.h"

// Takes {"type":"Send","payload":{...}}, and Receive, which clients read: spaces only behind colons, commas and the payload's brace, no
// escapes, none but the ten keys, each at most once, in any order; numbers of at most 19 plain digits. Whether all are there and of the
// right kind is the caller's to check. False: not recognised, and *ret_message is partly filled.
bool openrelay_scan(struct bytes input, struct openrelay_message *ret_message);

// .NET's serializer writes '+', which base64 is full of, as \u002B: it is put back where it stood, so that such a Send is plain, too. With
// any other escape nothing is changed. Returns the length of what is left. It means the same, but that a number cut by such an escape is
// whole then.
size_t openrelay_put_plus(uint8_t *text, size_t len);
