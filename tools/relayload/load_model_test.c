// model and payload: a good history passes, and every kind of wrong one is told by name.
#include "tools/relayload/model.h"

#include "shards/base/check.h"
#include <stdio.h>
#include <stdlib.h>

static struct sizes sizes;
static struct model *model;

static void expect(const char *part, const char *got)
{
    bool same = part == NULL ? got == NULL : got != NULL && strstr(got, part) != NULL;
    if (!same) {
        printf("expected \"%s\", got \"%s\"\n", part ? part : "nothing", got ? got : "nothing");
        exit(1);
    }
}

static void expect_problem(const char *part)
{
    uint32_t end, peer;
    expect(part, model_problem(model, &end, &peer));
}

struct message {
    uint32_t len;
    uint8_t bytes[512];
};

static struct message sent(uint32_t sender, uint32_t receiver)
{
    struct message message;
    struct payload_id id = model_send(model, sender, receiver);
    message.len = payload_len(&id, &sizes);
    CHECK(message.len <= sizeof message.bytes);
    payload_fill(&id, message.bytes, message.len);
    return message;
}

static const char *came(uint32_t receiver, uint32_t sender, const struct message *message)
{
    return model_data(model, receiver, sender, bytes_of(message->bytes, message->len));
}

// Ends 0 and 1 connected, nothing sent.
static void begin(void)
{
    model_destroy(model);
    CHECK(sizes_parse("0-300", &sizes));
    model = model_create(3, 42, &sizes);
    CHECK(model);
    model_ask(model, 0, 1);
    model_ask(model, 1, 0);
    expect_problem("both asked");
    expect(NULL, model_connected(model, 0, 1));
    expect_problem("only one side");
    expect(NULL, model_connected(model, 1, 0));
    expect_problem(NULL);
}

static void test_delivery(void)
{
    begin();
    struct message a = sent(0, 1), b = sent(0, 1), c = sent(0, 1), back = sent(1, 0);
    expect_problem("never came");
    expect(NULL, came(1, 0, &a));
    expect("twice", came(1, 0, &a));
    expect("missing inside", came(1, 0, &c));
    expect(NULL, came(1, 0, &b));
    expect("out of order", came(1, 0, &a));
    expect(NULL, came(1, 0, &c));
    expect(NULL, came(0, 1, &back));
    expect_problem(NULL);
    struct model_counts counts = model_counts(model);
    CHECK(counts.sent == 4 && counts.delivered == 4 && counts.lost == 0);
}

static void test_corruption(void)
{
    begin();
    struct message good = sent(0, 1);
    for (uint32_t at = 0; at < good.len; at++) {
        struct message bad = good;
        bad.bytes[at] ^= 16;
        expect(at < PAYLOAD_MIN ? "never sent" : "wrong byte", came(1, 0, &bad));
    }
    struct message bad = good;
    bad.len++;
    expect("wrong byte or length", came(1, 0, &bad));
    bad.len = 7;
    expect("too short", came(1, 0, &bad));
    struct message other_way = sent(1, 0);
    expect("somebody else", came(1, 0, &other_way));
    expect("outside", came(2, 0, &good));
    expect(NULL, came(1, 0, &good));
}

static void test_losing(void)
{
    begin();
    struct message a = sent(0, 1), b = sent(0, 1), c = sent(0, 1);
    expect(NULL, came(1, 0, &a));
    model_unask(model, 1, 0);
    expect(NULL, model_disconnected(model, 1, 0));
    expect("outside", came(1, 0, &b));
    expect("without a connection", model_disconnected(model, 1, 0));
    expect(NULL, model_disconnected(model, 0, 1));
    model_ask(model, 1, 0);
    expect(NULL, model_connected(model, 1, 0));
    expect("twice", model_connected(model, 1, 0));
    expect(NULL, model_connected(model, 0, 1));
    expect_problem(NULL); // b and c may be lost
    expect(NULL, came(1, 0, &c));
    CHECK(model_counts(model).lost == 1);
    struct message d = sent(0, 1);
    expect_problem("never came"); // d may not
    expect(NULL, came(1, 0, &d));
    expect_problem(NULL);
}

static void test_leaving(void)
{
    begin();
    model_leave(model, 1);
    expect_problem("only one side");
    expect(NULL, model_disconnected(model, 0, 1));
    expect_problem(NULL);
    expect("without having asked", model_connected(model, 1, 0));
    model_ask(model, 1, 0);
    expect_problem("both asked"); // 0's request still stands
    CHECK(model_has_asked(model, 0, 1) && !model_is_connected(model, 0, 1));
}

int main(void)
{
    test_delivery();
    test_corruption();
    test_losing();
    test_leaving();
    model_destroy(model);
    return 0;
}
