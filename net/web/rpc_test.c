// Requests and answers of /v1/auth, byte for byte.
#include "net/web/rpc.h"

#include <stdio.h>

#include "shards/base/check.h"

static enum rpc_verdict parse(const char *text, char id[RPC_ID_MAX], struct signup_request *request, enum signup_outcome *outcome)
{
    return rpc_parse(bytes_text(text), id, request, outcome);
}

static void expect_refused(const char *text)
{
    char id[RPC_ID_MAX];
    struct signup_request request;
    enum signup_outcome outcome;
    enum rpc_verdict verdict = parse(text, id, &request, &outcome);
    if (verdict != RPC_REFUSE)
        fprintf(stderr, "%s: %d\n", text, (int)verdict);
    CHECK(verdict == RPC_REFUSE);
}

static void expect_answer(const char *text, const char *answer)
{
    char id[RPC_ID_MAX], got[RPC_ANSWER_MAX] = "";
    struct signup_request request;
    enum signup_outcome outcome;
    enum rpc_verdict verdict = parse(text, id, &request, &outcome);
    if (verdict == RPC_ANSWER)
        rpc_answer(id, outcome, 0, got);
    if (strcmp(got, answer) != 0)
        fprintf(stderr, "%s: %d %s\n", text, (int)verdict, got);
    CHECK(strcmp(got, answer) == 0);
}

static void expect_request(const char *text, enum signup_command command, const char *email, const char *token, const char *password)
{
    char id[RPC_ID_MAX];
    struct signup_request request;
    enum signup_outcome outcome;
    enum rpc_verdict verdict = parse(text, id, &request, &outcome);
    if (verdict != RPC_ASK || request.command != command || strcmp(request.email, email) != 0)
        fprintf(stderr, "%s: %d %d %s\n", text, (int)verdict, request.command, request.email);
    CHECK(verdict == RPC_ASK && request.command == command && strcmp(id, "7") == 0);
    CHECK(strcmp(request.email, email) == 0 && strcmp(request.token, token) == 0 && strcmp(request.password, password) == 0);
    CHECK(!request.email_cut && !request.password_cut);
}

static void test_requests(void)
{
    expect_request("{\"id\":7,\"command\":\"register\",\"args\":{\"email\":\"Me@me.com\",\"password\":\"p\\u00e4ss\\\"w\"}}",
                   SIGNUP_REGISTER, "Me@me.com", "", "p\xc3\xa4ss\"w");
    expect_request(" { \"args\" : {\"email\":\"a@b\", \"more\":[1]}, \"command\":\"sendVerify\", \"id\":7 } ", SIGNUP_SEND_VERIFY, "a@b",
                   "", "");
    expect_request("{\"id\":7,\"command\":\"verify\",\"args\":{\"email\":\"a@b\",\"code\":\"0123456789ABCDEF0123456789ABCDEF\"}}",
                   SIGNUP_VERIFY, "a@b", "0123456789ABCDEF0123456789ABCDEF", "");
    expect_request("{\"id\":7,\"command\":\"resetPassword\",\"args\":{\"email\":\"a@b\"}}", SIGNUP_RESET_PASSWORD, "a@b", "", "");
    expect_request("{\"id\":7,\"command\":\"updatePassword\",\"args\":{\"token\":\"T\",\"new_password\":\"p\"}}", SIGNUP_UPDATE_PASSWORD,
                   "", "T", "p");
    expect_request("{\"id\":7,\"command\":\"sendVerify\",\"args\":{\"email\":5}}", SIGNUP_SEND_VERIFY, "", "",
                   ""); // as the original reads it
}

static void test_immediate_answers(void)
{
    expect_answer("{\"id\":1,\"command\":\"fly\",\"args\":{}}", "{\"id\":1,\"error\":\"Unknown command\"}");
    expect_answer("{\"id\":1,\"command\":5,\"args\":{}}", "{\"id\":1,\"error\":\"Unknown command\"}");
    expect_answer("{\"id\":1,\"args\":{}}", "{\"id\":1,\"error\":\"Unexpected error\"}");
    expect_answer("{\"id\":\"a\",\"command\":\"register\"}", "{\"id\":\"a\",\"error\":\"Unexpected error\"}");
    expect_answer("{\"id\":null,\"command\":\"register\",\"args\":{\"email\":\"a@b\"}}", "{\"id\":null,\"error\":\"Unexpected error\"}");
    expect_answer("{\"id\":-1.5,\"command\":\"register\",\"args\":[]}", "{\"id\":-1.5,\"error\":\"Unexpected error\"}");
    expect_answer("{\"id\":[1,{\"b\":2}],\"command\":\"x\",\"args\":1}", "{\"id\":[1,{\"b\":2}],\"error\":\"Unknown command\"}");
}

static void test_refused(void)
{
    expect_refused("");
    expect_refused("hello");
    expect_refused("[]");
    expect_refused("1");
    expect_refused("{}");
    expect_refused("{\"command\":\"register\",\"args\":{}}");
    expect_refused("{\"id\":1,\"id\":2,\"command\":\"x\",\"args\":{}}");
    expect_refused("{\"id\":1,\"command\":\"x\",\"args\":{}} {}");
    expect_refused("{\"id\":\"0123456789012345678901234567890123456789\",\"command\":\"x\",\"args\":{}}"); // too long to echo
    expect_refused("{\"id\":1,\"command\":\"register\",\"args\":{\"email\":\"a\\u0000b\",\"password\":\"\"}}");
    expect_refused("{\"id\":1,\"command\":\"\xff\",\"args\":{}}");
    char deep[RPC_MESSAGE_MAX + 2];
    memset(deep, '[', sizeof(deep) - 1);
    deep[sizeof(deep) - 1] = '\0';
    expect_refused(deep);
    deep[4000] = '\0'; // deeper than the parser goes
    expect_refused(deep);
}

static void test_long_arguments(void)
{
    char text[4096], email[400], password[1200], id[RPC_ID_MAX];
    struct signup_request request;
    enum signup_outcome outcome;
    memset(email, 'e', sizeof(email));
    memset(password, 'p', sizeof(password));
    for (int over = 0; over < 2; over++) {
        snprintf(text, sizeof(text), "{\"id\":1,\"command\":\"register\",\"args\":{\"email\":\"%.*s\",\"password\":\"%.*s\"}}",
                 STORE_EMAIL_MAX + over, email, SIGNUP_PASSWORD_MAX + over, password);
        CHECK(parse(text, id, &request, &outcome) == RPC_ASK);
        CHECK(request.email_cut == (over > 0) && request.password_cut == (over > 0));
        CHECK(strlen(request.email) == STORE_EMAIL_MAX && strlen(request.password) == SIGNUP_PASSWORD_MAX);
    }
    snprintf(text, sizeof(text), "{\"id\":1,\"command\":\"updatePassword\",\"args\":{\"token\":\"%.*s\",\"new_password\":\"\"}}", 100,
             email);
    CHECK(parse(text, id, &request, &outcome) == RPC_ASK && strlen(request.token) == STORE_TOKEN_BYTES); // one too many: no code
}

static void test_answers(void)
{
    char answer[RPC_ANSWER_MAX];
    static const struct {
        enum signup_outcome outcome;
        uint32_t retry_after_s;
        const char *text;
    } cases[] = {{SIGNUP_TRUE, 0, "{\"id\":1,\"response\":true}"},
                 {SIGNUP_FALSE, 0, "{\"id\":1,\"response\":false}"},
                 {SIGNUP_DONE, 0, "{\"id\":1}"},
                 {SIGNUP_EXISTS, 0, "{\"id\":1,\"error\":\"Account already exists\"}"},
                 {SIGNUP_NOT_FOUND, 0, "{\"id\":1,\"error\":\"Not found\"}"},
                 {SIGNUP_MAIL_FAILED, 0, "{\"id\":1,\"error\":\"Failed to send email\"}"},
                 {SIGNUP_THROTTLED, 30, "{\"id\":1,\"error\":\"Too many requests\",\"retryAfter\":30}"}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        CHECK(rpc_answer("1", cases[i].outcome, cases[i].retry_after_s, answer) == strlen(cases[i].text));
        CHECK(strcmp(answer, cases[i].text) == 0);
    }
    char id[RPC_ID_MAX];
    memset(id, '9', sizeof(id));
    id[RPC_ID_MAX - 1] = '\0';
    for (int i = 0; i < SIGNUP_OUTCOME_COUNT; i++)
        CHECK(rpc_answer(id, (enum signup_outcome)i, UINT32_MAX, answer) < RPC_ANSWER_MAX);
}

int main(void)
{
    test_requests();
    test_immediate_answers();
    test_refused();
    test_long_arguments();
    test_answers();
    return 0;
}
