// relayclient: genkeys, send, receive, chat. One thread, one connection, one poll loop; bounded memory whatever the size of the input.
// One rule: success is said only after the relay's close answer, which it gives after it has taken everything before it.
#pragma once
#include "shards/base/bytes.h"
#include "shards/base/key.h"

#define CLIENT_SECRET_BYTES 64 // libsodium ed25519: seed and public key
#define CLIENT_ERROR_MAX 512
#define CLIENT_PIECE_DEFAULT (256u << 10)
#define CLIENT_PIECE_MAX 999955u // protocols/buckets.md "Framing"

enum client_exit {
    CLIENT_OK = 0,
    CLIENT_FAILED = 1,
    CLIENT_USAGE = 2,
    CLIENT_REFUSED = 3,   // 403
    CLIENT_PEER_GONE = 4, // the peer left before all was sent, or did not come in time
    CLIENT_AGAIN,         // not an exit code: nothing was transferred yet, so another attempt is safe
};

enum client_mode { CLIENT_SEND, CLIENT_RECEIVE, CLIENT_CHAT };

struct client_options {
    enum client_mode mode;
    const char *user, *password; // never NULL
    const char *secret_file, *public_file;
    const char *url, *peer;
    const char *ca_file; // NULL: the system's certificates
    bool insecure;       // no certificate check
    bool verbose;
    bool raw;           // receive: no newline at the end
    uint32_t timeout_s; // to wait for the peer; 0: for ever
    uint32_t retries;   // further attempts while that is safe
    uint32_t piece_bytes;
};

struct client_keys {
    struct key key;
    uint8_t secret[CLIENT_SECRET_BYTES];
};

// client_options.c. Fills *ret_options for "send", "receive" or "chat" from the words after the program's name; wrong ones end the
// program with code 2, --help with 0. The password's argument is blanked, since others can read it.
void client_options_parse(struct client_options *ret_options, enum client_mode mode, int argc, char **argv);
int client_genkeys(int argc, char **argv); // the whole command; returns the exit code

// client_backbone.c: "backbone ..."; the same.
int client_backbone(int argc, char **argv);

// client_keys.c. Key files hold standard base64 and a newline. false: a sentence in error_text.
bool client_keys_make(const char *public_file, const char *secret_file, struct client_keys *ret_keys, char *error_text);
bool client_keys_load(const char *public_file, const char *secret_file, struct client_keys *ret_keys, char *error_text);
bool client_key_parse(const char *text, struct key *ret_key);
#define CLIENT_KEY_TEXT_MAX 45
void client_key_text(const struct key *key, char ret_text[CLIENT_KEY_TEXT_MAX]);

// client_url.c
#define CLIENT_HOST_MAX 256
struct client_url {
    char host[CLIENT_HOST_MAX]; // name or address, without brackets
    char port[6];
    const char *path; // into the text; "/v1/relay" when it names none
    bool tls;         // wss, https
    bool default_port;
};
// ws, wss, http or https. NULL when sound, else what is wrong (static text).
const char *client_url_parse(const char *text, struct client_url *ret_url);

// client_transport.c: one TCP or TLS connection, non-blocking once open.
struct transport {
    int fd;
    struct ssl_st *ssl; // NULL: plain
    struct ssl_ctx_st *ssl_ctx;
    bool wants_write; // TLS must write before it can go on reading
};
#define TRANSPORT_AGAIN (-1) // would block
#define TRANSPORT_LOST (-2)  // closed or broken
// Connects (and shakes hands) within 30 s, or CLIENT_AGAIN / CLIENT_FAILED with a sentence.
enum client_exit transport_open(struct transport *transport, const struct client_options *options, const struct client_url *url,
                                char *error_text);
int64_t transport_read(struct transport *transport, uint8_t *buf, size_t max);
int64_t transport_write(struct transport *transport, const uint8_t *ptr, size_t len);
void transport_close(struct transport *transport); // after any transport_open

// client_http.c: the upgrade. Bytes that came behind the answer's head are left in ret_rest (max CLIENT_REST_MAX).
#define CLIENT_REST_MAX 16384
// retry_after_s: of a 429 or 503, else 0. CLIENT_OK, _REFUSED (403), _AGAIN or _FAILED with a sentence.
enum client_exit client_upgrade(struct transport *transport, const struct client_options *options, const struct client_url *url,
                                uint8_t ret_rest[CLIENT_REST_MAX], size_t *ret_rest_len, uint32_t *ret_retry_after_s, char *error_text);

// client_session.c: one connection from Who to the end. retry_after_s as above. long_lived: it was of use for a minute, so attempts count
// anew.
enum client_exit client_session(const struct client_options *options, const struct client_url *url, const struct client_keys *keys,
                                const struct key *peer, uint32_t *ret_retry_after_s, bool *ret_long_lived, char *error_text);

// client_progress.c: one line on stderr for transfers that last, when it is a terminal. total_bytes 0: unknown.
struct progress {
    bool on;
    uint64_t start_ns, shown_ns, total_bytes;
};
void progress_init(struct progress *progress, bool wanted, uint64_t total_bytes, uint64_t now_ns);
void progress_show(struct progress *progress, uint64_t done_bytes, uint64_t now_ns);
void progress_fini(struct progress *progress, uint64_t done_bytes, uint64_t now_ns);

uint64_t client_now_ns(void);
