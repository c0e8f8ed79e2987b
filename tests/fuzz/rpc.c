// Fuzz main: a request of /v1/auth that parses has sound texts, and its answer is the JSON object that echoes its id.
#include "net/web/rpc.h"

#include <jansson.h>

#include "shards/base/check.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_text(const char *text, size_t max)
{
    CHECK(memchr(text, '\0', max) != NULL);
}

static void check_answer(const char *id, enum signup_outcome outcome)
{
    char answer[RPC_ANSWER_MAX];
    size_t len = rpc_answer(id, outcome, 7, answer);
    json_t *object = json_loadb(answer, len, 0, NULL);
    json_t *wanted = json_loads(id, JSON_DECODE_ANY, NULL);
    CHECK(object != NULL && wanted != NULL && json_equal(json_object_get(object, "id"), wanted));
    json_decref(object);
    json_decref(wanted);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char id[RPC_ID_MAX];
    struct signup_request request;
    enum signup_outcome outcome = SIGNUP_OUTCOME_COUNT;
    enum rpc_verdict verdict = rpc_parse(bytes_of(data, size), id, &request, &outcome);
    if (verdict == RPC_REFUSE)
        return 0;
    check_text(id, sizeof(id));
    if (verdict == RPC_ANSWER) {
        CHECK(outcome == SIGNUP_UNEXPECTED || outcome == SIGNUP_UNKNOWN_COMMAND);
        check_answer(id, outcome);
        return 0;
    }
    CHECK(request.command < SIGNUP_COMMAND_COUNT);
    check_text(request.email, sizeof(request.email));
    check_text(request.token, sizeof(request.token));
    check_text(request.password, sizeof(request.password));
    CHECK(!request.email_cut || strlen(request.email) == sizeof(request.email) - 1);
    CHECK(!request.password_cut || strlen(request.password) == sizeof(request.password) - 1);
    check_answer(id, SIGNUP_THROTTLED);
    return 0;
}
