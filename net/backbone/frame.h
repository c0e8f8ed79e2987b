// Backbone frames and messages, bytes to meaning and back, without I/O or crypto (protocols/backbone.md 2, 4, 5). Any thread.
//
//     frame      u16 length | body                      length: of the body as it travels, i.e. of the ciphertext; 0: no message
//     challenge  u16 n | n bytes PEM | random bytes     in clear
//     response   16 bytes id | 256 bytes signature
//     C2C        00 | 16 bytes recipient | payload
//     C2S        1t | u32 unix time | payload           both directions
//
// Numbers are big-endian. Payloads of C2S, by t. 2 to 6 are ours, and only clients that have sent one of them are sent any: the original's
// client ends its session at a type it does not know. Who wants to hear of UNDELIVERED sends a SERVER QUERY first.
//     0 HEARTBEAT     none
//     1 CONFIG        JSON {"heartbeat_timeout": s, "heartbeat_interval": s}
//     2 UNDELIVERED   u8 why (enum backbone_why) | 16 bytes recipient | u32 which C2C of this session, counted from 1.
//                     3: not yet; it is kept and comes when the recipient logs in
//     3 CLIENT QUERY  1 to 64 ids: are they connected?
//     4 SERVER QUERY  none
//     5 CLIENT STATUS answer to 3: for each id, in order: 16 bytes id | u8 1 connected, 0 not
//     6 SERVER STATE  JSON {"state": "running"|"stopping", "clients": n, "version": text, "uptime": s}:
//                     answer to 4, and unasked when the relay stops
//     f STOP          UTF-8 reason, may be absent
#pragma once
#include "shards/base/bytes.h"

#define BACKBONE_HEAD_BYTES 2
#define BACKBONE_BODY_MAX 65535u
#define BACKBONE_ID_BYTES 16
#define BACKBONE_PLAIN_MAX 48450u // 255 blocks of 190 bytes
#define BACKBONE_C2C_HEAD_BYTES (1 + BACKBONE_ID_BYTES)
#define BACKBONE_PAYLOAD_MAX (BACKBONE_PLAIN_MAX - BACKBONE_C2C_HEAD_BYTES)
#define BACKBONE_C2S_HEAD_BYTES 5
#define BACKBONE_RESPONSE_BYTES 272 // id and signature
#define BACKBONE_QUERY_MAX 64       // ids in one CLIENT QUERY

enum backbone_type {
    BACKBONE_HEARTBEAT = 0x10,
    BACKBONE_CONFIG = 0x11,
    BACKBONE_UNDELIVERED = 0x12,
    BACKBONE_CLIENT_QUERY = 0x13,
    BACKBONE_SERVER_QUERY = 0x14,
    BACKBONE_CLIENT_STATUS = 0x15,
    BACKBONE_SERVER_STATE = 0x16,
    BACKBONE_STOP = 0x1f,
    BACKBONE_C2C = 0x00,
    BACKBONE_IGNORED = 0xff, // to be dropped silently: unknown formats and types, a C2C shorter than 17 bytes
};

enum backbone_why {
    BACKBONE_ABSENT = 1,    // the recipient is not connected, or unknown
    BACKBONE_CONGESTED = 2, // too much waits for it already
    BACKBONE_KEPT = 3,      // it is away; the message is kept for it (and forgotten when the server's time for that is over)
    BACKBONE_FULL = 4,      // it is away, and too much is kept already: for it, of this sender, or altogether
    BACKBONE_NOT_KEPT = 5,  // it is away, and the message could not be kept: the server's disk, or its haste
};

struct backbone_message {
    enum backbone_type type;
    uint32_t time_s;               // of C2S; 0 when missing
    uint8_t id[BACKBONE_ID_BYTES]; // of C2C
    struct bytes payload;          // borrowed from the input
};

// Reads a decrypted message; never fails.
void backbone_parse(struct bytes plain, struct backbone_message *ret_message);

// A frame at the start of the input: its whole length with the head, or 0 when more bytes are needed to know it.
static inline size_t backbone_frame_bytes(struct bytes input)
{
    return input.len < BACKBONE_HEAD_BYTES ? 0 : BACKBONE_HEAD_BYTES + ((size_t)input.ptr[0] << 8 | input.ptr[1]);
}

void backbone_put_u16(uint8_t *out, size_t number);
void backbone_put_u32(uint8_t *out, uint32_t number);
uint32_t backbone_get_u32(const uint8_t *ptr);

// The head of a C2S message; the payload follows it.
void backbone_c2s_head(uint8_t ret_head[BACKBONE_C2S_HEAD_BYTES], enum backbone_type type, uint32_t time_s);

// Client's side. The parts of a challenge's body. false: it is none.
bool backbone_challenge_parse(struct bytes body, struct bytes *ret_pem, struct bytes *ret_data);
