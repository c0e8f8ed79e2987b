// The language of /v1/auth: see rpc.h.
#include "net/web/rpc.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

#include "shards/base/check.h"

static const char *const command_words[SIGNUP_COMMAND_COUNT] = {
#define X(name, word) word,
    SIGNUP_COMMAND_TABLE(X)
#undef X
};

static const char *const outcome_texts[SIGNUP_OUTCOME_COUNT] = {
#define X(name, text) text,
    SIGNUP_OUTCOME_TABLE(X)
#undef X
};

// Which arguments a command takes; a missing one is the original's "Unexpected error".
static const struct {
    const char *email, *token, *password;
} arguments[SIGNUP_COMMAND_COUNT] = {
    [SIGNUP_REGISTER] = {.email = "email", .password = "password"},
    [SIGNUP_SEND_VERIFY] = {.email = "email"},
    [SIGNUP_VERIFY] = {.email = "email", .token = "code"},
    [SIGNUP_RESET_PASSWORD] = {.email = "email"},
    [SIGNUP_UPDATE_PASSWORD] = {.token = "token", .password = "new_password"},
};

// false: the argument is missing. *ret_cut: it was too long.
static bool take_argument(const json_t *args, const char *name, char *out, size_t max, bool *ret_cut)
{
    if (name == NULL)
        return true;
    const json_t *value = json_object_get(args, name);
    if (value == NULL)
        return false;
    const char *text = json_is_string(value) ? json_string_value(value) : "";
    size_t len = strlen(text);
    *ret_cut = len >= max;
    if (*ret_cut)
        len = max - 1;
    memcpy(out, text, len);
    out[len] = '\0';
    return true;
}

static enum rpc_verdict read_command(const json_t *object, struct signup_request *request, enum signup_outcome *ret_outcome)
{
    const json_t *word = json_object_get(object, "command");
    const json_t *args = json_object_get(object, "args");
    if (word == NULL || args == NULL) {
        *ret_outcome = SIGNUP_UNEXPECTED;
        return RPC_ANSWER;
    }
    size_t command = 0;
    while (command < SIGNUP_COMMAND_COUNT && (!json_is_string(word) || strcmp(json_string_value(word), command_words[command]) != 0))
        command++;
    if (command == SIGNUP_COMMAND_COUNT) {
        *ret_outcome = SIGNUP_UNKNOWN_COMMAND;
        return RPC_ANSWER;
    }
    bool token_cut = false; // one byte too many is no token already
    request->command = (uint8_t)command;
    if (take_argument(args, arguments[command].email, request->email, sizeof(request->email), &request->email_cut) &&
        take_argument(args, arguments[command].token, request->token, sizeof(request->token), &token_cut) &&
        take_argument(args, arguments[command].password, request->password, sizeof(request->password), &request->password_cut))
        return RPC_ASK;
    *ret_outcome = SIGNUP_UNEXPECTED;
    return RPC_ANSWER;
}

// The id as text, if it is one that we echo: any JSON value that is short enough.
static bool take_id(const json_t *object, char ret_id[RPC_ID_MAX])
{
    const json_t *id = json_object_get(object, "id");
    if (id == NULL)
        return false;
    size_t len = json_dumpb(id, ret_id, RPC_ID_MAX - 1, JSON_ENCODE_ANY | JSON_COMPACT | JSON_PRESERVE_ORDER);
    if (len == 0 || len >= RPC_ID_MAX)
        return false;
    ret_id[len] = '\0';
    return true;
}

enum rpc_verdict rpc_parse(struct bytes message, char ret_id[RPC_ID_MAX], struct signup_request *ret_request,
                           enum signup_outcome *ret_outcome)
{
    *ret_request = (struct signup_request){0};
    if (message.len > RPC_MESSAGE_MAX)
        return RPC_REFUSE;
    json_error_t error;
    json_t *object = json_loadb(message.len > 0 ? (const char *)message.ptr : "", message.len, JSON_REJECT_DUPLICATES, &error);
    if (object == NULL)
        return RPC_REFUSE;
    enum rpc_verdict verdict = RPC_REFUSE;
    if (json_is_object(object) && take_id(object, ret_id))
        verdict = read_command(object, ret_request, ret_outcome);
    json_decref(object);
    return verdict;
}

size_t rpc_answer(const char *id, enum signup_outcome outcome, uint32_t retry_after_s, char ret_answer[RPC_ANSWER_MAX])
{
    CHECK(outcome < SIGNUP_OUTCOME_COUNT && strlen(id) < RPC_ID_MAX);
    char retry[32] = "";
    if (retry_after_s > 0)
        snprintf(retry, sizeof(retry), ",\"retryAfter\":%u", retry_after_s);
    const char *text = outcome_texts[outcome];
    int len = snprintf(ret_answer, RPC_ANSWER_MAX, "{\"id\":%s%s%s%s}", id, text[0] != '\0' ? "," : "", text, retry);
    CHECK(len > 0 && len < RPC_ANSWER_MAX);
    return (size_t)len;
}
