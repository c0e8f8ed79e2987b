// The mail node: see mail.h. It is a post and libcurl's own loop instead of a node with an epoll: libcurl wants its descriptors
// level-triggered, and there is nothing else to wait for. Thread: its own.
#include "net/mail.h"

#include <curl/curl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "auth/email.h"
#include "net/accounts.h"
#include "shards/base/check.h"
#include "shards/log.h"
#include "shards/os.h"

#define SENDING_MAX 4u // letters on their way at once
#define ATTEMPTS_MAX 3u
#define ATTEMPT_TIMEOUT_MS 10000L
#define CONNECT_TIMEOUT_MS 5000L
#define NS_PER_S 1000000000ull
#define RECORDS_PER_TURN 64
#define IDLE_MS 60000
#define FROM_DEFAULT "relay@budgetwithbuckets.com" // the original's, whose Postmark key it goes with
#define MESSAGE_MAX (MAIL_TEXT_MAX * 2 + 2048)
#define REPLY_MAX 200 // bytes of a refusal that go to the log

static const uint64_t pause_ns[ATTEMPTS_MAX] = {0, 1 * NS_PER_S, 4 * NS_PER_S}; // before each attempt

enum slot_state { SLOT_FREE, SLOT_WAITING, SLOT_SENDING };

// One letter, from its record to its answer.
struct slot {
    struct mail *mail;
    enum slot_state state;
    uint32_t attempts;
    uint64_t due_ns;
    struct mail_letter letter;
    CURL *easy;
    struct curl_slist *lines; // HTTP headers or SMTP recipients
    char *body;               // malloced
    size_t body_len, body_at;
    char reply[REPLY_MAX + 1];
    size_t reply_len;
};

struct mail {
    struct post *post;
    struct mail_config config;
    char way[160];
    char sender[MAIL_FROM_MAX];
    CURLM *multi;
    struct curl_slist *headers;
    struct slot slots[MAIL_LETTERS_MAX];
    uint32_t waiting, sending;
    bool is_stopping;
    struct mail_counts counts;
};

static bool has_scheme(const char *url, const char *one, const char *other)
{
    return strncmp(url, one, strlen(one)) == 0 || strncmp(url, other, strlen(other)) == 0;
}

// ---- set-up ----

static bool fail(char *error_text, size_t error_max, const char *what)
{
    snprintf(error_text, error_max, "%s", what);
    return false;
}

static bool is_sound(const struct mail_config *config, char *error_text, size_t error_max)
{
    char sender[MAIL_FROM_MAX];
    if (config->postmark_key != NULL && config->smtp_url != NULL)
        return fail(error_text, error_max, "choose one way for mail: POSTMARK_API_KEY or --smtp-url");
    if (config->postmark_key != NULL && (config->postmark_url == NULL || !has_scheme(config->postmark_url, "https://", "http://")))
        return fail(error_text, error_max, "POSTMARK_API_URL: expected https://... or http://...");
    if (config->smtp_url != NULL && !has_scheme(config->smtp_url, "smtps://", "smtp://"))
        return fail(error_text, error_max, "--smtp-url: expected smtps://[USER:PASSWORD@]HOST[:PORT] or smtp://...");
    if (config->smtp_url != NULL && config->from == NULL)
        return fail(error_text, error_max, "--smtp-url needs --mail-from: who do the letters come from?");
    if (config->from != NULL && (strlen(config->from) >= MAIL_FROM_MAX || !mail_address_of(config->from, sender, sizeof(sender))))
        return fail(error_text, error_max,
                    "--mail-from: expected an address, as relay@example.com or \"Relay <relay@example.com>\", in ASCII");
    const char *url = config->public_url;
    if (url != NULL &&
        (!has_scheme(url, "https://", "http://") || strlen(url) > MAIL_PUBLIC_URL_MAX || strpbrk(url, " \t\r\n#?\"<>") != NULL))
        return fail(error_text, error_max, "--public-url: expected the address that people open, as https://relay.example.com");
    return true;
}

// The host of the URL, without user and password.
static void host_of(const char *url, char *ret_host, size_t max)
{
    CURLU *parsed = curl_url();
    char *host = NULL;
    bool found = parsed != NULL && curl_url_set(parsed, CURLUPART_URL, url, CURLU_NON_SUPPORT_SCHEME) == CURLUE_OK &&
                 curl_url_get(parsed, CURLUPART_HOST, &host, 0) == CURLUE_OK;
    snprintf(ret_host, max, "%.96s", found ? host : "?");
    curl_free(host);
    curl_url_cleanup(parsed);
}

static bool prepare_headers(struct mail *mail)
{
    char token[256];
    int len = snprintf(token, sizeof(token), "X-Postmark-Server-Token: %s", mail->config.postmark_key);
    if (len < 0 || (size_t)len >= sizeof(token))
        return false;
    const char *const lines[] = {"Accept: application/json", "Content-Type: application/json", token};
    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
        struct curl_slist *longer = curl_slist_append(mail->headers, lines[i]);
        if (longer == NULL)
            return false;
        mail->headers = longer;
    }
    return true;
}

struct mail *mail_create(struct post *post, const struct mail_config *config, char *error_text, size_t error_max)
{
    CHECK(config->node < post_node_count(post) && error_max > 0);
    if (!is_sound(config, error_text, error_max))
        return NULL;
    snprintf(error_text, error_max, "not enough memory for the mail");
    if (curl_global_init(CURL_GLOBAL_DEFAULT) != 0)
        return NULL;
    struct mail *mail = calloc(1, sizeof(*mail));
    if (mail == NULL) {
        curl_global_cleanup();
        return NULL;
    }
    mail->post = post;
    mail->config = *config;
    if (mail->config.from == NULL)
        mail->config.from = FROM_DEFAULT;
    for (size_t i = 0; i < MAIL_LETTERS_MAX; i++)
        mail->slots[i].mail = mail;
    bool sound = mail_address_of(mail->config.from, mail->sender, sizeof(mail->sender));
    CHECK(sound);
    mail->multi = curl_multi_init();
    if (mail->multi == NULL || (config->postmark_key != NULL && !prepare_headers(mail))) {
        mail_destroy(mail);
        return NULL;
    }
    char host[100] = "";
    if (config->postmark_key != NULL || config->smtp_url != NULL)
        host_of(config->postmark_key != NULL ? config->postmark_url : config->smtp_url, host, sizeof(host));
    snprintf(mail->way, sizeof(mail->way), "%s%s",
             config->postmark_key != NULL ? "Postmark at "
             : config->smtp_url != NULL   ? "SMTP at "
                                          : "printed here, with their codes",
             host);
    return mail;
}

const char *mail_way(const struct mail *mail)
{
    return mail->way;
}

// ---- one letter ----

static void drop_transfer(struct slot *slot)
{
    if (slot->easy != NULL) {
        curl_multi_remove_handle(slot->mail->multi, slot->easy);
        curl_easy_cleanup(slot->easy);
    }
    curl_slist_free_all(slot->lines);
    free(slot->body);
    slot->easy = NULL;
    slot->lines = NULL;
    slot->body = NULL;
}

static void answer(struct mail *mail, uint64_t id, bool sent)
{
    const struct mail_answer record = {.id = id, .sent = sent};
    mail->counts.sent += sent;
    mail->counts.failed += !sent;
    post_write(mail->post, mail->config.node, mail->config.accounts_node, RECORD_LETTER_ANSWER, bytes_of(&record, sizeof(record)),
               bytes_of(NULL, 0));
}

static void end_letter(struct slot *slot, bool sent)
{
    struct mail *mail = slot->mail;
    answer(mail, slot->letter.id, sent);
    if (slot->state == SLOT_SENDING)
        mail->sending--;
    else
        mail->waiting--;
    drop_transfer(slot);
    slot->letter = (struct mail_letter){0};
    slot->state = SLOT_FREE;
}

static size_t on_upload(char *out, size_t size, size_t count, void *owner)
{
    struct slot *slot = owner;
    size_t left = slot->body_len - slot->body_at;
    size_t len = left < size * count ? left : size * count;
    memcpy(out, slot->body + slot->body_at, len);
    slot->body_at += len;
    return len;
}

// Keeps the beginning of what the server says, for the log.
static size_t on_reply(char *data, size_t size, size_t count, void *owner)
{
    struct slot *slot = owner;
    size_t room = REPLY_MAX - slot->reply_len;
    size_t len = size * count < room ? size * count : room;
    memcpy(slot->reply + slot->reply_len, data, len);
    slot->reply_len += len;
    slot->reply[slot->reply_len] = '\0';
    return size * count;
}

static bool prepare_postmark(struct slot *slot, const char *text)
{
    const struct mail *mail = slot->mail;
    slot->body = mail_postmark_body(&slot->letter, mail->config.from, text);
    if (slot->body == NULL)
        return false;
    curl_easy_setopt(slot->easy, CURLOPT_PROTOCOLS_STR, "https,http");
    curl_easy_setopt(slot->easy, CURLOPT_URL, mail->config.postmark_url);
    curl_easy_setopt(slot->easy, CURLOPT_HTTPHEADER, mail->headers);
    curl_easy_setopt(slot->easy, CURLOPT_POSTFIELDS, slot->body);
    return true;
}

static bool prepare_smtp(struct slot *slot, const char *text)
{
    const struct mail *mail = slot->mail;
    slot->body = malloc(MESSAGE_MAX);
    slot->lines = curl_slist_append(NULL, slot->letter.to);
    if (slot->body == NULL || slot->lines == NULL)
        return false;
    slot->body_len = mail_message(&slot->letter, mail->config.from, text, os_wall_s(), slot->body, MESSAGE_MAX);
    slot->body_at = 0;
    bool has_password = strchr(mail->config.smtp_url, '@') != NULL; // which never leaves in the clear
    curl_easy_setopt(slot->easy, CURLOPT_PROTOCOLS_STR, "smtps,smtp");
    curl_easy_setopt(slot->easy, CURLOPT_URL, mail->config.smtp_url);
    curl_easy_setopt(slot->easy, CURLOPT_USE_SSL, (long)(has_password ? CURLUSESSL_ALL : CURLUSESSL_TRY));
    curl_easy_setopt(slot->easy, CURLOPT_MAIL_FROM, mail->sender);
    curl_easy_setopt(slot->easy, CURLOPT_MAIL_RCPT, slot->lines);
    curl_easy_setopt(slot->easy, CURLOPT_UPLOAD, 1L);
    curl_easy_setopt(slot->easy, CURLOPT_READFUNCTION, on_upload);
    curl_easy_setopt(slot->easy, CURLOPT_READDATA, slot);
    return slot->body_len > 0;
}

static bool prepare(struct slot *slot)
{
    struct mail *mail = slot->mail;
    char text[MAIL_TEXT_MAX];
    mail_compose(&slot->letter, mail->config.public_url, text);
    slot->easy = curl_easy_init();
    if (slot->easy == NULL)
        return false;
    curl_easy_setopt(slot->easy, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(slot->easy, CURLOPT_PRIVATE, slot);
    curl_easy_setopt(slot->easy, CURLOPT_TIMEOUT_MS, ATTEMPT_TIMEOUT_MS);
    curl_easy_setopt(slot->easy, CURLOPT_CONNECTTIMEOUT_MS, CONNECT_TIMEOUT_MS);
    curl_easy_setopt(slot->easy, CURLOPT_WRITEFUNCTION, on_reply);
    curl_easy_setopt(slot->easy, CURLOPT_WRITEDATA, slot);
    slot->reply_len = 0;
    slot->reply[0] = '\0';
    return mail->config.postmark_key != NULL ? prepare_postmark(slot, text) : prepare_smtp(slot, text);
}

static void start(struct slot *slot)
{
    struct mail *mail = slot->mail;
    CHECK(slot->state == SLOT_WAITING && mail->waiting > 0);
    slot->attempts++;
    if (!prepare(slot) || curl_multi_add_handle(mail->multi, slot->easy) != CURLM_OK) {
        LOG(ERROR, "MAIL_FAILED", "reason=%s", "memory");
        curl_easy_cleanup(slot->easy); // it is not in the multi handle
        slot->easy = NULL;
        end_letter(slot, false);
        return;
    }
    slot->state = SLOT_SENDING;
    mail->waiting--;
    mail->sending++;
}

// The server will say the same again: 4xx of HTTP but "later", 5xx of SMTP.
static bool is_final(const struct mail *mail, long status)
{
    if (mail->config.postmark_key != NULL)
        return status >= 400 && status < 500 && status != 408 && status != 429;
    return status >= 500 && status < 600;
}

static void on_done(struct slot *slot, CURLcode code)
{
    struct mail *mail = slot->mail;
    long status = 0;
    curl_easy_getinfo(slot->easy, CURLINFO_RESPONSE_CODE, &status);
    bool sent = code == CURLE_OK && (mail->config.postmark_key == NULL || status == 200);
    if (!sent) {
        struct log_value buffer;
        bool again = slot->attempts < ATTEMPTS_MAX && !is_final(mail, status);
        const char *why = code != CURLE_OK ? curl_easy_strerror(code) : slot->reply;
        LOG(WARN, "MAIL_FAILED", "attempt=%u again=%d status=%ld reason=%s", slot->attempts, again, status, log_value(why, &buffer));
        if (again) {
            drop_transfer(slot);
            slot->state = SLOT_WAITING;
            slot->due_ns = os_now_ns() + pause_ns[slot->attempts];
            mail->sending--;
            mail->waiting++;
            mail->counts.retried++;
            return;
        }
    }
    end_letter(slot, sent);
}

// Without a mail service: whoever runs the relay reads the letters where it logs.
static void print_letter(struct slot *slot)
{
    char text[MAIL_TEXT_MAX];
    mail_compose(&slot->letter, slot->mail->config.public_url, text);
    LOG(WARN, "MAIL_PRINTED", "%s", "no mail service is set up: POSTMARK_API_KEY or --smtp-url");
    fprintf(stderr, "To: %s\nSubject: %s\n\n%s\n", slot->letter.to, mail_subject_text((enum mail_subject)slot->letter.subject), text);
    end_letter(slot, true);
}

// ---- the thread ----

static void on_letter(struct mail *mail, const struct mail_letter *letter)
{
    for (size_t i = 0; i < MAIL_LETTERS_MAX; i++) {
        struct slot *slot = &mail->slots[i];
        if (slot->state != SLOT_FREE)
            continue;
        slot->state = SLOT_WAITING;
        slot->letter = *letter;
        slot->attempts = 0;
        slot->due_ns = 0;
        mail->waiting++;
        if (mail->config.postmark_key == NULL && mail->config.smtp_url == NULL)
            print_letter(slot);
        return;
    }
    mail->counts.shed++;
    LOG(WARN, "MAIL_SHED", "letters=%u", MAIL_LETTERS_MAX);
    answer(mail, letter->id, false);
}

static void on_record(void *owner, const struct post_record *record)
{
    struct mail *mail = owner;
    if (record->kind == RECORD_STOP) {
        mail->is_stopping = true;
        return;
    }
    CHECK(record->kind == RECORD_LETTER && record->body.len == sizeof(struct mail_letter));
    on_letter(mail, (const struct mail_letter *)(const void *)record->body.ptr);
}

// Starts what is due. Returns the milliseconds until the next letter is due, at most `most_ms`.
static int start_due(struct mail *mail, int most_ms)
{
    uint64_t now_ns = os_now_ns();
    for (size_t i = 0; i < MAIL_LETTERS_MAX && mail->waiting > 0 && mail->sending < SENDING_MAX; i++) {
        struct slot *slot = &mail->slots[i];
        if (slot->state != SLOT_WAITING)
            continue;
        if (slot->due_ns <= now_ns)
            start(slot);
        else if ((slot->due_ns - now_ns) / 1000000 < (uint64_t)most_ms)
            most_ms = (int)((slot->due_ns - now_ns) / 1000000) + 1;
    }
    return most_ms;
}

static void finish_done(struct mail *mail)
{
    int left = 0;
    int running = 0;
    curl_multi_perform(mail->multi, &running);
    for (CURLMsg *message = curl_multi_info_read(mail->multi, &left); message != NULL; message = curl_multi_info_read(mail->multi, &left)) {
        struct slot *slot = NULL;
        if (message->msg != CURLMSG_DONE)
            continue;
        CURLcode code = message->data.result; // the message dies with the handle
        curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, (char **)&slot);
        CHECK(slot != NULL && slot->state == SLOT_SENDING);
        on_done(slot, code);
    }
}

// Until mail comes for this node, libcurl has work, or the time is up.
static void wait(struct mail *mail, int most_ms)
{
    uint16_t self = mail->config.node;
    if (post_sleep(mail->post, self)) {
        struct curl_waitfd wake = {.fd = post_wake_fd(mail->post, self), .events = CURL_WAIT_POLLIN};
        curl_multi_poll(mail->multi, &wake, 1, most_ms, NULL);
        uint64_t signals;
        if ((wake.revents & CURL_WAIT_POLLIN) != 0 && read(wake.fd, &signals, sizeof(signals)) < 0)
            LOG(DEBUG, "WAKE_EMPTY", "%s", "");
    }
    post_awake(mail->post, self);
}

void mail_run(struct mail *mail)
{
    if (mail->config.postmark_key == NULL && mail->config.smtp_url == NULL)
        LOG(WARN, "MAIL_TO_LOG", "%s", "no POSTMARK_API_KEY and no --smtp-url: letters with their codes are printed here and reach nobody");
    else if (mail->config.public_url == NULL)
        LOG(WARN, "MAIL_WITHOUT_LINKS", "%s", "no --public-url: letters have a code but no link");
    for (;;) {
        post_drain(mail->post, mail->config.node, RECORDS_PER_TURN, on_record, mail);
        if (mail->is_stopping)
            break;
        finish_done(mail);
        int wait_ms = start_due(mail, IDLE_MS); // what it starts makes libcurl wait no time at all
        post_flush(mail->post, mail->config.node);
        wait(mail, wait_ms);
    }
    mail->counts.lost = mail->waiting + mail->sending;
    if (mail->counts.lost > 0)
        LOG(WARN, "MAIL_LOST", "letters=%llu", (unsigned long long)mail->counts.lost);
}

void mail_destroy(struct mail *mail)
{
    if (mail == NULL)
        return;
    for (size_t i = 0; i < MAIL_LETTERS_MAX; i++)
        drop_transfer(&mail->slots[i]);
    if (mail->multi != NULL)
        curl_multi_cleanup(mail->multi);
    curl_slist_free_all(mail->headers);
    curl_global_cleanup();
    free(mail);
}

void mail_counts(const struct mail *mail, struct mail_counts *ret_counts)
{
    *ret_counts = mail->counts;
}
