// The table of all options of shardrelay. A new option is one row here and one field in net/config.h.
#include "tools/options.h"

#define SECOND 1000000000u
#define DAY (86400u * (uint64_t)SECOND)
#define AT(field) offsetof(struct options, field)
#define CONFIG(field) offsetof(struct options, config.field)

// name, letter, argument, default, other variable, type, place, commands, min, max, offset, help
const struct option_row option_rows[] = {
    {"database", 'd', "FILE", "bucketsrelay.sqlite", NULL, OPTION_TEXT, PLACE_ALL, COMMAND_ANY, 0, 0, CONFIG(database),
     "SQLite file with users and usage"},
    {"config", 0, "FILE", NULL, NULL, OPTION_TEXT, PLACE_COMMAND_LINE, COMMAND_ANY, 0, 0, AT(config_file),
     "JSON file with any of these options; SHARDRELAY_CONFIG names it too"},
    {"log-level", 0, "LEVEL", "info", NULL, OPTION_LEVEL, PLACE_ALL, COMMAND_ANY, 0, 0, CONFIG(log_level),
     "what to log on stderr: error, warn, info or debug"},

    {"port", 'p', "N", "9001", NULL, OPTION_NUMBER16, PLACE_ALL, COMMAND_SERVER, 1, 65535, AT(port), "port of the first listener"},
    {"address", 'a', "ADDR", "127.0.0.1", NULL, OPTION_TEXT, PLACE_ALL, COMMAND_SERVER, 0, 0, AT(address),
     "IPv4 or IPv6 address of the first listener"},
    {"listen", 0, "ADDR:PORT", NULL, NULL, OPTION_LISTEN, PLACE_ALL, COMMAND_SERVER, 0, 0, CONFIG(listeners),
     "listen here; may be repeated. ADDR is IPv4 or [IPv6]; unix:PATH is a UNIX socket. In front backbone: is a Backbone listener (default "
     "port 4000), tls: speaks TLS, proxy: awaits a PROXY "
     "head, proxy+tls: both. Without -a and -p these are the only listeners"},
    {"tls-cert", 0, "FILE", NULL, NULL, OPTION_TEXT, PLACE_ALL, COMMAND_SERVER, 0, 0, CONFIG(tls_certificate),
     "certificate chain in PEM, own certificate first, for tls: listeners; read again on SIGHUP and when it changes"},
    {"tls-key", 0, "FILE", NULL, NULL, OPTION_TEXT, PLACE_ALL, COMMAND_SERVER, 0, 0, CONFIG(tls_key), "its private key in PEM"},
    {"tls-ocsp", 0, "FILE", NULL, NULL, OPTION_TEXT, PLACE_ALL, COMMAND_SERVER, 0, 0, CONFIG(tls_ocsp),
     "the authority's OCSP answer in DER, stapled to the certificate"},
    {"trusted-proxy", 0, "CIDR", NULL, NULL, OPTION_RANGE, PLACE_ALL, COMMAND_SERVER, 0, 0, CONFIG(trusted),
     "believe these proxies about their clients' addresses; \"unix\": peers of UNIX sockets; may be repeated"},
    {"username", 0, "NAME", NULL, "RELAY_USERNAME", OPTION_TEXT, PLACE_SECRET, COMMAND_SERVER, 0, 0, CONFIG(single_user),
     "the one user of single-user mode, which needs no database"},
    {"password", 0, "TEXT", NULL, "RELAY_PASSWORD", OPTION_TEXT, PLACE_SECRET, COMMAND_SERVER, 0, 0, CONFIG(single_password),
     "the password of that user"},
    {"control", 0, "FILE", NULL, NULL, OPTION_TEXT, PLACE_ALL, COMMAND_SERVER | COMMAND_SESSIONS | COMMAND_METRICS, 0, 0, CONFIG(control),
     "UNIX socket that answers `sessions` and `metrics`; without it DATABASE.control"},
    {"allow-empty", 0, NULL, NULL, NULL, OPTION_TRUE, PLACE_ALL, COMMAND_SERVER, 0, 0, CONFIG(allow_empty),
     "start even if there are no users yet"},

    {"shards", 0, "N", "0", NULL, OPTION_NUMBER, PLACE_ALL, COMMAND_SERVER, 0, 256, CONFIG(shard_count),
     "event loops; 0: one per CPU that affinity mask and cgroup quota allow"},
    {"no-pin", 0, NULL, NULL, NULL, OPTION_FALSE, PLACE_ALL, COMMAND_SERVER, 0, 0, CONFIG(pin), "do not pin each shard to one CPU"},
    {"cpus", 0, "LIST", NULL, NULL, OPTION_TEXT, PLACE_ALL, COMMAND_SERVER, 0, 0, CONFIG(cpus), "the CPUs to use, as 2-5,8"},
    {"hash-threads", 0, "N", "0", NULL, OPTION_NUMBER, PLACE_ALL, COMMAND_SERVER, 0, 64, CONFIG(hash_threads),
     "threads that check passwords; 0: a quarter of the CPUs, at least one"},

    {"no-deflate", 0, NULL, NULL, NULL, OPTION_FALSE, PLACE_ALL, COMMAND_SERVER, 0, 0, CONFIG(deflate), "decline permessage-deflate"},
    {"queue-bytes", 0, "SIZE", "1m", NULL, OPTION_SIZE, PLACE_ALL, COMMAND_SERVER, 64u << 10, 1u << 30, CONFIG(queue_bytes_max),
     "data that may wait for one receiver; then its senders wait"},
    {"max-sessions", 0, "N", "100000", NULL, OPTION_NUMBER, PLACE_ALL, COMMAND_SERVER, 1, 10000000, CONFIG(sessions_max),
     "sessions of all shards; more are answered 503"},
    {"memory-bytes", 0, "SIZE", "1g", NULL, OPTION_SIZE, PLACE_ALL, COMMAND_SERVER, 16u << 20, 1ull << 40, CONFIG(memory_bytes_max),
     "queues and half-read messages of all sessions; beyond it new ones are answered 503"},

    {"http-timeout", 0, "TIME", "10s", NULL, OPTION_DURATION, PLACE_ALL, COMMAND_SERVER, SECOND / 10, DAY, CONFIG(http_timeout_ns),
     "for a whole HTTP request head"},
    {"iam-timeout", 0, "TIME", "10s", NULL, OPTION_DURATION, PLACE_ALL, COMMAND_SERVER, SECOND / 10, DAY, CONFIG(iam_timeout_ns),
     "for a client to answer the challenge"},
    {"ping-interval", 0, "TIME", "50s", NULL, OPTION_DURATION, PLACE_ALL, COMMAND_SERVER, SECOND / 10, DAY, CONFIG(ping_interval_ns),
     "silence after which a client is pinged; after two it is gone"},
    {"slow-timeout", 0, "TIME", "30s", NULL, OPTION_DURATION, PLACE_ALL, COMMAND_SERVER, SECOND / 10, DAY, CONFIG(slow_timeout_ns),
     "a receiver that takes nothing for so long is closed"},
    {"stop-timeout", 0, "TIME", "5s", NULL, OPTION_DURATION, PLACE_ALL, COMMAND_SERVER, 0, DAY, CONFIG(stop_timeout_ns),
     "to flush on SIGTERM"},
    {"remember", 0, "TIME", "600s", NULL, OPTION_DURATION, PLACE_ALL, COMMAND_SERVER, 0, DAY, CONFIG(remember_ns),
     "how long a password that was right is remembered"},
    {"store-interval", 0, "TIME", "5s", NULL, OPTION_DURATION, PLACE_ALL, COMMAND_SERVER, SECOND, DAY, CONFIG(store_interval_ns),
     "how often usage is written to the database"},
    {"keep-stats-days", 0, "N", "90", NULL, OPTION_NUMBER, PLACE_ALL, COMMAND_SERVER, 1, 36500, CONFIG(keep_stats_days),
     "usage of earlier days is deleted, daily"},

    {"license-pubkey", 0, "PEM", NULL, "AUTH_LICENSE_PUBKEY", OPTION_TEXT, PLACE_ALL, COMMAND_SERVER, 0, 0, CONFIG(licence_key),
     "RSA public key of licences; turns licence logins on (multi-user mode)"},
    {"license-salt", 0, "TEXT", "yououghttochangethis", "LICENSE_HASH_SALT", OPTION_TEXT, PLACE_SECRET, COMMAND_SERVER, 0, 0,
     CONFIG(licence_salt), "salt of the licences' hashes in the database"},

    {"public-url", 0, "URL", NULL, NULL, OPTION_TEXT, PLACE_ALL, COMMAND_SERVER, 0, 0, CONFIG(public_url),
     "the address that people open, as https://relay.example.com; letters link to it"},
    {"mail-from", 0, "ADDR", NULL, NULL, OPTION_TEXT, PLACE_ALL, COMMAND_SERVER, 0, 0, CONFIG(mail_from),
     "who letters come from, as relay@example.com or \"Relay <relay@example.com>\"; by Postmark without it as the original's"},
    {"smtp-url", 0, "URL", NULL, NULL, OPTION_TEXT, PLACE_MASKED, COMMAND_SERVER, 0, 0, CONFIG(smtp_url),
     "mail by this server: smtps://[USER:PASSWORD@]HOST[:PORT], or smtp:// with STARTTLS if it has a password"},
    {"postmark-key", 0, "KEY", NULL, "POSTMARK_API_KEY", OPTION_TEXT, PLACE_SECRET, COMMAND_SERVER, 0, 0, CONFIG(postmark_key),
     "mail by Postmark with this server token"},
    {"postmark-url", 0, "URL", "https://api.postmarkapp.com/email", "POSTMARK_API_URL", OPTION_TEXT, PLACE_ALL, COMMAND_SERVER, 0, 0,
     CONFIG(postmark_url), "where Postmark is"},

    {"backbone-database", 0, "FILE", "backbone.sqlite", NULL, OPTION_TEXT, PLACE_ALL, COMMAND_SERVER | COMMAND_BACKBONE, 0, 0,
     CONFIG(backbone_database), "SQLite file with the keys of Backbone's clients and of the server, made at first start"},
    {"backbone-threads", 0, "N", "0", NULL, OPTION_NUMBER, PLACE_ALL, COMMAND_SERVER, 0, 64, CONFIG(backbone_threads),
     "threads for Backbone's RSA; 0: one per CPU that may be used"},
    {"backbone-challenge-bytes", 0, "N", "1000", NULL, OPTION_NUMBER, PLACE_ALL, COMMAND_SERVER, 32, 60000,
     CONFIG(backbone_challenge_bytes), "random bytes of Backbone's challenge; with up to 1000 it fits one segment"},
    {"backbone-heartbeat-interval", 0, "TIME", "10s", NULL, OPTION_DURATION, PLACE_ALL, COMMAND_SERVER, SECOND, DAY,
     CONFIG(backbone_interval_ns), "how often a silent Backbone client is told to send a heartbeat"},
    {"backbone-heartbeat-timeout", 0, "TIME", "30s", NULL, OPTION_DURATION, PLACE_ALL, COMMAND_SERVER, SECOND, DAY,
     CONFIG(backbone_timeout_ns), "a Backbone client that is silent for so long is closed"},

    {"check-config", 0, NULL, NULL, NULL, OPTION_TRUE, PLACE_COMMAND_LINE, COMMAND_SERVER, 0, 0, AT(check_config),
     "print the effective configuration and exit"},
    {"password-stdin", 0, NULL, NULL, NULL, OPTION_TRUE, PLACE_COMMAND_LINE, COMMAND_ADDUSER | COMMAND_PASSWD, 0, 0, AT(password_stdin),
     "read the password from stdin, not from the terminal"},
    {"uuid", 0, "UUID", NULL, NULL, OPTION_TEXT, PLACE_COMMAND_LINE, COMMAND_BACKBONE, 0, 0, AT(uuid), "adduser: this id, not a new one"},
    {"key", 0, "FILE", NULL, NULL, OPTION_TEXT, PLACE_COMMAND_LINE, COMMAND_BACKBONE, 0, 0, AT(key_file),
     "adduser: this public key in PEM, instead of making a pair"},
    {"out", 0, "DIR", ".", NULL, OPTION_TEXT, PLACE_COMMAND_LINE, COMMAND_BACKBONE, 0, 0, AT(out_directory),
     "adduser: where the new pair is put, as UUID.pem and UUID.pub.pem"},
    {"days", 0, "N", "30", NULL, OPTION_NUMBER, PLACE_COMMAND_LINE, COMMAND_STATS, 1, 36500, AT(days), "sum up so many days"},
    {"json", 0, NULL, NULL, NULL, OPTION_TRUE, PLACE_COMMAND_LINE, COMMAND_STATS | COMMAND_LISTUSERS | COMMAND_SESSIONS, 0, 0, AT(json),
     "print JSON, for programs"},
    {"table", 0, NULL, NULL, NULL, OPTION_TRUE, PLACE_COMMAND_LINE, COMMAND_STATS, 0, 0, AT(table),
     "print a table, for people, instead of the original's JSON"},
};

const size_t option_count = sizeof option_rows / sizeof *option_rows;
_Static_assert(sizeof option_rows / sizeof *option_rows <= OPTIONS_MAX, "struct options.given");
