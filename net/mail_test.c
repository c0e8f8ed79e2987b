// The mail node on its own thread against servers of this test on 127.0.0.1: Postmark's form, attempts, a full queue, stopping.
// Waiting is for records and connections, with a deadline.
#include "net/mail.h"

#include <arpa/inet.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "net/accounts.h"
#include "shards/base/check.h"
#include "shards/log.h"

enum { NODE_ACCOUNTS, NODE_MAIL, NODE_COUNT };
#define DEADLINE_MS 20000
#define TOKEN "0123456789ABCDEF0123456789ABCDEF"

struct rig {
    struct post *post;
    struct mail *mail;
    pthread_t thread;
    int listener;
    char url[64];
    uint32_t answer_count, sent_count;
    uint64_t last_id;
    struct mail_counts counts; // after rig_stop
};

static void *run(void *mail)
{
    mail_run(mail);
    return NULL;
}

static void rig_listen(struct rig *rig)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t len = sizeof(address);
    rig->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK(rig->listener >= 0 && bind(rig->listener, (struct sockaddr *)(void *)&address, sizeof(address)) == 0);
    CHECK(listen(rig->listener, 300) == 0 && getsockname(rig->listener, (struct sockaddr *)(void *)&address, &len) == 0);
    snprintf(rig->url, sizeof(rig->url), "http://127.0.0.1:%u/email", (unsigned)ntohs(address.sin_port));
}

static void rig_start(struct rig *rig, const char *key)
{
    char error[512] = "";
    *rig = (struct rig){0};
    rig_listen(rig);
    rig->post = post_create(NODE_COUNT, &post_limits_default);
    const struct mail_config config = {
        .postmark_key = key, .postmark_url = rig->url, .from = "r@x.org", .node = NODE_MAIL, .accounts_node = NODE_ACCOUNTS};
    rig->mail = mail_create(rig->post, &config, error, sizeof(error));
    if (rig->mail == NULL)
        fprintf(stderr, "%s\n", error);
    CHECK(rig->mail != NULL && pthread_create(&rig->thread, NULL, run, rig->mail) == 0);
}

static void rig_stop(struct rig *rig)
{
    post_write(rig->post, NODE_ACCOUNTS, NODE_MAIL, RECORD_STOP, bytes_of(NULL, 0), bytes_of(NULL, 0));
    post_flush(rig->post, NODE_ACCOUNTS);
    CHECK(pthread_join(rig->thread, NULL) == 0);
    mail_counts(rig->mail, &rig->counts);
    mail_destroy(rig->mail);
    post_destroy(rig->post);
    close(rig->listener);
}

static void send_letter(struct rig *rig, uint64_t id)
{
    const struct mail_letter letter = {.id = id, .subject = MAIL_RESET, .to = "me@me.com", .token = TOKEN};
    post_write(rig->post, NODE_ACCOUNTS, NODE_MAIL, RECORD_LETTER, bytes_of(&letter, sizeof(letter)), bytes_of(NULL, 0));
    post_flush(rig->post, NODE_ACCOUNTS);
}

static void on_record(void *owner, const struct post_record *record)
{
    struct rig *rig = owner;
    CHECK(record->kind == RECORD_LETTER_ANSWER && record->body.len == sizeof(struct mail_answer));
    const struct mail_answer *answer = (const struct mail_answer *)(const void *)record->body.ptr;
    rig->answer_count++;
    rig->sent_count += answer->sent;
    rig->last_id = answer->id;
}

static void wait_for_answers(struct rig *rig, uint32_t wanted)
{
    struct pollfd wake = {.fd = post_wake_fd(rig->post, NODE_ACCOUNTS), .events = POLLIN};
    while (rig->answer_count < wanted) {
        if (post_drain(rig->post, NODE_ACCOUNTS, 1000, on_record, rig) > 0)
            continue;
        post_flush(rig->post, NODE_ACCOUNTS);
        if (post_sleep(rig->post, NODE_ACCOUNTS)) {
            CHECK(poll(&wake, 1, DEADLINE_MS) == 1);
            uint64_t signals;
            CHECK(read(wake.fd, &signals, sizeof(signals)) == sizeof(signals));
        }
        post_awake(rig->post, NODE_ACCOUNTS);
    }
    CHECK(rig->answer_count == wanted);
}

static int must_accept(struct rig *rig)
{
    struct pollfd ready = {.fd = rig->listener, .events = POLLIN};
    CHECK(poll(&ready, 1, DEADLINE_MS) == 1);
    int fd = accept(rig->listener, NULL, NULL);
    CHECK(fd >= 0);
    return fd;
}

// Takes one request, checks its form and answers it.
static void serve(struct rig *rig, const char *status)
{
    char text[8192];
    size_t len = 0;
    int fd = must_accept(rig);
    do {
        struct pollfd ready = {.fd = fd, .events = POLLIN};
        CHECK(poll(&ready, 1, DEADLINE_MS) == 1);
        ssize_t got = read(fd, text + len, sizeof(text) - 1 - len);
        CHECK(got > 0);
        len += (size_t)got;
        text[len] = '\0';
    } while (strstr(text, "ignore this letter: your password stays as it is") == NULL);
    CHECK(strncmp(text, "POST /email HTTP/1.1\r\n", 22) == 0);
    CHECK(strstr(text, "\r\nAccept: application/json\r\n") != NULL && strstr(text, "\r\nContent-Type: application/json\r\n") != NULL);
    CHECK(strstr(text, "\r\nX-Postmark-Server-Token: key\r\n") != NULL);
    CHECK(strstr(text, "{\"From\":\"r@x.org\",\"To\":\"me@me.com\",\"Subject\":\"Buckets Relay - Password Reset\"") != NULL);
    CHECK(strstr(text, TOKEN) != NULL);
    len = (size_t)snprintf(text, sizeof(text), "HTTP/1.1 %s\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}", status);
    CHECK(write(fd, text, len) == (ssize_t)len);
    close(fd);
}

static void test_sent(void)
{
    struct rig rig;
    rig_start(&rig, "key");
    send_letter(&rig, 5);
    serve(&rig, "200 OK");
    wait_for_answers(&rig, 1);
    CHECK(rig.sent_count == 1 && rig.last_id == 5);
    rig_stop(&rig);
    CHECK(rig.counts.sent == 1 && rig.counts.failed == 0 && rig.counts.retried == 0);
}

// "Later" is tried again; "no" is not.
static void test_attempts(void)
{
    struct rig rig;
    rig_start(&rig, "key");
    send_letter(&rig, 1);
    serve(&rig, "503 Service Unavailable");
    serve(&rig, "200 OK");
    wait_for_answers(&rig, 1);
    CHECK(rig.sent_count == 1);
    send_letter(&rig, 2);
    serve(&rig, "422 Unprocessable Entity");
    wait_for_answers(&rig, 2);
    CHECK(rig.sent_count == 1 && rig.last_id == 2);
    rig_stop(&rig);
    CHECK(rig.counts.sent == 1 && rig.counts.failed == 1 && rig.counts.retried == 1);
}

// A server that accepts and says nothing: the queue fills, more is refused at once, and stopping waits for nothing.
static void test_stuck(void)
{
    struct rig rig;
    rig_start(&rig, "key");
    for (uint64_t id = 1; id <= MAIL_LETTERS_MAX + 2; id++)
        send_letter(&rig, id);
    wait_for_answers(&rig, 2);
    CHECK(rig.sent_count == 0 && rig.last_id == MAIL_LETTERS_MAX + 2);
    int fd = must_accept(&rig);
    rig_stop(&rig);
    CHECK(rig.counts.shed == 2 && rig.counts.lost == MAIL_LETTERS_MAX);
    close(fd);
}

static void test_printed(void)
{
    struct rig rig;
    rig_start(&rig, NULL);
    send_letter(&rig, 9);
    wait_for_answers(&rig, 1);
    CHECK(rig.sent_count == 1 && rig.last_id == 9 && strstr(mail_way(rig.mail), "printed") != NULL);
    rig_stop(&rig);
}

static void expect_refused(struct mail_config config, const char *reason)
{
    char error[512] = "";
    struct post *post = post_create(NODE_COUNT, &post_limits_default);
    config.node = NODE_MAIL;
    CHECK(mail_create(post, &config, error, sizeof(error)) == NULL);
    if (strstr(error, reason) == NULL)
        fprintf(stderr, "%s\n", error);
    CHECK(strstr(error, reason) != NULL);
    post_destroy(post);
}

static void test_refused(void)
{
    expect_refused((struct mail_config){.postmark_key = "k", .postmark_url = "https://x", .smtp_url = "smtp://x", .from = "a@b"},
                   "choose one");
    expect_refused((struct mail_config){.postmark_key = "k", .postmark_url = "ftp://x", .from = "a@b"}, "POSTMARK_API_URL");
    expect_refused((struct mail_config){.smtp_url = "http://x", .from = "a@b"}, "--smtp-url");
    expect_refused((struct mail_config){.smtp_url = "smtp://x"}, "--mail-from");
    expect_refused((struct mail_config){.from = "a@b\nc"}, "--mail-from");
    expect_refused((struct mail_config){.from = "a@b", .public_url = "relay.example.com"}, "--public-url");
    expect_refused((struct mail_config){.from = "a@b", .public_url = "https://relay.example.com/#x"}, "--public-url");
}

int main(void)
{
    log_open(LOG_ERROR);
    test_sent();
    test_attempts();
    test_stuck();
    test_printed();
    test_refused();
    return 0;
}
