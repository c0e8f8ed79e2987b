// The room behind /v1/auth. Thread: its shard's.
#pragma once
#include "net/room.h"
#include "net/signup.h"

extern const struct room auth_room;

// The accounts node has answered the request of this connection.
void auth_room_answer(struct conn *conn, const struct signup_answer *answer);
