// What the sessions of a verify run may see. Fed with everything they do and are told; says what must not have happened:
// data outside a connection, twice, out of order, with a gap inside a connection, with a wrong byte or for somebody else; Connected or
// Disconnected twice; in the end a connection that only one side knows, a request that was not met, or a message that never came.
// What may be lost: messages under way when a connection ends. Pure; one thread.
#pragma once
#include "tools/relayload/payload.h"

struct model;

// Ends are numbered 0 .. count-1. sizes is borrowed. NULL when memory is short.
struct model *model_create(uint32_t count, uint64_t run_seed, const struct sizes *sizes);
void model_destroy(struct model *model); // takes NULL

// What an end does.
void model_ask(struct model *model, uint32_t end, uint32_t peer);                      // sends Connect
void model_unask(struct model *model, uint32_t end, uint32_t peer);                    // sends Disconnect
void model_leave(struct model *model, uint32_t end);                                   // its session is over; a new one starts from nothing
struct payload_id model_send(struct model *model, uint32_t sender, uint32_t receiver); // what to send now

// What an end is told. NULL, or what is wrong with it (static text).
const char *model_connected(struct model *model, uint32_t end, uint32_t peer);
const char *model_disconnected(struct model *model, uint32_t end, uint32_t peer);
const char *model_data(struct model *model, uint32_t receiver, uint32_t sender, struct bytes payload);

bool model_is_connected(const struct model *model, uint32_t end, uint32_t peer); // as the end was told last
bool model_has_asked(const struct model *model, uint32_t end, uint32_t peer);

// When nothing is under way: NULL, or what is missing and between whom.
const char *model_problem(const struct model *model, uint32_t *ret_end, uint32_t *ret_peer);

struct model_counts {
    uint64_t sent, delivered, lost; // sent = delivered + lost, once quiet
};
struct model_counts model_counts(const struct model *model);
