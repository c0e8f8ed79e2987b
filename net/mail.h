// The mail node: sends letters by Postmark or SMTP (libcurl), or writes them to stderr when neither is set up. Bounded queue, several
// attempts with growing pauses, time limits. One rule: every letter is answered, and a stuck mail server stalls nothing but mail.
// Thread: its own, in mail_run; mail_create and mail_destroy before and after it.
#pragma once
#include "shards/post.h"
#include "store/store.h"

#define MAIL_LETTERS_MAX 256    // queued or being sent; more are answered as failed at once
#define MAIL_TEXT_MAX 2048      // bytes of a composed text
#define MAIL_PUBLIC_URL_MAX 512 // bytes
#define MAIL_FROM_MAX 320       // bytes

enum mail_subject { MAIL_VERIFY, MAIL_RESET };

// RECORD_LETTER, byte for byte.
struct mail_letter {
    uint64_t id;      // the sender's; echoed
    uint32_t subject; // enum mail_subject
    char to[STORE_EMAIL_MAX + 1];
    char token[STORE_TOKEN_BYTES];
};

// RECORD_LETTER_ANSWER, byte for byte.
struct mail_answer {
    uint64_t id;
    uint32_t sent; // 0 or 1
};

// Texts are borrowed for the mail node's life; all may be NULL.
struct mail_config {
    const char *postmark_key; // Postmark's server token
    const char *postmark_url; // where its API is
    const char *smtp_url;     // smtp://, smtps://; may hold user:password@
    const char *from;         // "a@b" or "Name <a@b>"; needed with smtp_url
    const char *public_url;   // of the relay, for links; NULL: letters have no link
    uint16_t node, accounts_node;
};

struct mail;
// Checks the configuration. NULL: error_text says for the operator what is wrong with it.
struct mail *mail_create(struct post *post, const struct mail_config *config, char *error_text, size_t error_max);
void mail_run(struct mail *mail);     // returns after RECORD_STOP
void mail_destroy(struct mail *mail); // takes NULL
// How mail leaves, for the operator: "Postmark (https://...)", "SMTP (host)", "this log". Never a password.
const char *mail_way(const struct mail *mail);

struct mail_counts {
    uint64_t sent, failed, retried; // letters, letters, attempts
    uint64_t shed;                  // letters that found the queue full
    uint64_t lost;                  // letters under way when the relay stopped
};
void mail_counts(const struct mail *mail, struct mail_counts *ret_counts); // the mail thread, or after mail_run

// ---- mail_text.c: pure ----

const char *mail_subject_text(enum mail_subject subject);
// The letter's text: what the code is for, the code, and a link that fills it in. Lines end with \n. Returns its length.
size_t mail_compose(const struct mail_letter *letter, const char *public_url, char ret_text[MAIL_TEXT_MAX]);
// "a@b" of "a@b" or "Name <a@b>". false: neither, or bytes that no mail head may hold.
bool mail_address_of(const char *from, char *ret_address, size_t max);
// The body of Postmark's request (protocols/buckets.md "Mail in the original"); malloced, NULL when memory is short.
char *mail_postmark_body(const struct mail_letter *letter, const char *from, const char *text);
// The message for SMTP (RFC 5322), lines ending with CR LF. Returns its length, 0: does not fit.
size_t mail_message(const struct mail_letter *letter, const char *from, const char *text, int64_t wall_s, char *out, size_t max);
