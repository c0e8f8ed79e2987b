// --protocol openrelay: the same scenarios over OpenRelay texts. A device's id is its key in hex; payloads travel as base64; a connection
// is said to stand at once. Thread: the client's worker's.
#pragma once
#include "tools/relayload/client.h"

#define OPENRELAY_ID_LEN 64

bool openrelay_register(struct client *client); // after the upgrade. false: out of memory
// What arrived, as the Buckets event that the scenarios know. kind 0: nothing for them (an Ack). Texts are valid until the next call of
// this thread. false: the text is no message, or an Error.
bool openrelay_event(struct client *client, struct bytes text, struct buckets_event *ret_event);
// SendData in two steps, as client_send_begin and _end. NULL: out of memory.
uint8_t *openrelay_send_begin(const struct key *peer, size_t payload_len);
struct bytes openrelay_send_end(const struct client *client); // the whole text
struct bytes openrelay_ping(void);
