// Rate limits: what is charged, what is refused with which text, and when a window refills.
#include <stdio.h>
#include <string.h>

#include "net/openrelay/window.h"
#include "shards/base/check.h"

#define SECOND 1000000000ull

static char refusal[OPENRELAY_REFUSAL_MAX];

static bool take(struct openrelay_window *window, uint64_t now_ns, uint64_t bytes)
{
    refusal[0] = '\0';
    return openrelay_window_take(window, 60, 512, now_ns, bytes, refusal);
}

static void expect(const char *text)
{
    if (strcmp(refusal, text) != 0)
        fprintf(stderr, "said     \"%s\"\nexpected \"%s\"\n", refusal, text);
    CHECK(strcmp(refusal, text) == 0);
}

static void test_requests(void)
{
    struct openrelay_window window = {.start_ns = 5 * SECOND};
    for (int i = 0; i < 60; i++)
        CHECK(take(&window, 6 * SECOND, 0));
    CHECK(!take(&window, 65 * SECOND - 1, 0));
    expect("Request limit exceeded (60/60). Try again in a minute.");
    CHECK(window.requests == 60 && window.points == 60);
    CHECK(take(&window, 65 * SECOND, 0) && window.requests == 1 && window.start_ns == 65 * SECOND);
    CHECK(take(&window, 64 * SECOND, 0) && window.requests == 2 && window.start_ns == 65 * SECOND); // a node whose turn is behind
}

static void test_points(void)
{
    struct openrelay_window window = {.start_ns = SECOND};
    CHECK(!take(&window, SECOND, 512 * 1024 + 1));
    expect("Quota exceeded for message size 513KB. 512/512 points remaining. Try again in a minute.");
    CHECK(window.requests == 0 && window.points == 0); // a refusal costs nothing
    CHECK(take(&window, SECOND, 1) && window.points == 1);
    CHECK(take(&window, SECOND, 1024) && window.points == 2);
    CHECK(take(&window, SECOND, 1025) && window.points == 4);
    CHECK(take(&window, SECOND, 508 * 1024) && window.points == 512);
    CHECK(!take(&window, SECOND, 0));
    expect("Quota exceeded for message size 0KB. 0/512 points remaining. Try again in a minute.");
    CHECK(!take(&window, SECOND, UINT64_MAX));
    expect("Quota exceeded for message size 4294967295KB. 0/512 points remaining. Try again in a minute.");
    CHECK(take(&window, 61 * SECOND, 512 * 1024) && window.points == 512);
}

int main(void)
{
    test_requests();
    test_points();
    return 0;
}
