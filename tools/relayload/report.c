// See report.h. JSON keys are stable: tools/bench/run and others read them.
#include "tools/relayload/report.h"

#include "shards/base/check.h"
#include <jansson.h>
#include <sodium.h>
#include <string.h>

static const struct {
    const char *name;
    double quantile;
} quantiles[] = {{"p50", 0.5}, {"p90", 0.9}, {"p99", 0.99}, {"p99.9", 0.999}, {"p99.99", 0.9999}, {"max", 1}};

#define QUANTILES (sizeof quantiles / sizeof quantiles[0])

static double verify_us(void)
{
    uint8_t public_key[32], secret[64], challenge[32] = {1}, signature[64];
    enum { ROUNDS = 100 };
    crypto_sign_keypair(public_key, secret);
    crypto_sign_detached(signature, NULL, challenge, sizeof challenge, secret);
    uint64_t began_ns = worker_clock_ns();
    for (unsigned i = 0; i < ROUNDS; i++)
        CHECK(crypto_sign_verify_detached(signature, challenge, sizeof challenge, public_key) == 0);
    return (double)(worker_clock_ns() - began_ns) / 1e3 / ROUNDS;
}

static double ratio(double a, double b)
{
    return b > 0 ? a / b : 0;
}

void report_figures(const struct run_result *result, struct report_figures *ret_figures)
{
    const struct run_sample *begin = &result->begin, *end = &result->end, *settled = &result->settled;
    struct report_figures figures = {.seconds = (double)(end->at_ns - begin->at_ns) / 1e9};
    figures.messages = end->totals.messages - begin->totals.messages;
    figures.bytes = end->totals.bytes - begin->totals.bytes;
    figures.logins = end->totals.logins - begin->totals.logins;
    figures.presence_events = end->totals.presence_events - begin->totals.presence_events;
    figures.messages_per_s = ratio((double)figures.messages, figures.seconds);
    figures.bytes_per_s = ratio((double)figures.bytes, figures.seconds);
    figures.logins_per_s = ratio((double)figures.logins, figures.seconds);
    figures.sign_us = ratio((double)settled->totals.sign_ns / 1e3, (double)settled->totals.logins);
    figures.verify_us = verify_us();
    if (result->has_server) {
        double cpu_ns = (double)(end->server.cpu_ns - begin->server.cpu_ns);
        double hold_ns = (double)(settled->at_ns - end->at_ns);
        figures.cpu_us_per_message = ratio(cpu_ns / 1e3, (double)figures.messages);
        figures.cpu_us_per_login = ratio(cpu_ns / 1e3, (double)figures.logins);
        figures.cpu_cores = ratio(cpu_ns / 1e9, figures.seconds);
        figures.sleeps_per_message = ratio((double)(end->server.switches - begin->server.switches), (double)figures.messages);
        if (result->scenario->holds) {
            figures.bytes_per_session = ratio((double)settled->server.rss_bytes - (double)begin->server.rss_bytes, (double)figures.logins);
            figures.idle_cpu_percent = 100 * ratio((double)(settled->server.cpu_ns - end->server.cpu_ns), hold_ns);
        }
    }
    *ret_figures = figures;
}

void report_sizes(const struct sizes *sizes, char *ret_text, size_t max)
{
    size_t at = 0;
    CHECK(max > 0);
    ret_text[0] = '\0';
    for (unsigned i = 0; i < sizes->count && at < max; i++) {
        uint32_t low = sizes->items[i].min, high = sizes->items[i].max;
        int len = low == high ? snprintf(ret_text + at, max - at, "%s%u", i ? "," : "", low)
                              : snprintf(ret_text + at, max - at, "%s%u-%u", i ? "," : "", low, high);
        at += (size_t)len;
        if (sizes->count > 1 && at < max)
            at += (size_t)snprintf(ret_text + at, max - at, ":%u", sizes->items[i].weight);
    }
}

// ---- for people

static void print_latencies(FILE *out, const char *name, const struct histogram *histogram)
{
    if (histogram->count == 0)
        return;
    fprintf(out, "  %-22s", name);
    for (size_t i = 0; i < QUANTILES; i++)
        fprintf(out, " %s %-9.1f", quantiles[i].name, (double)histogram_quantile(histogram, quantiles[i].quantile) / 1e3);
    fputs(" us\n", out);
}

static void print_server(const struct run_result *result, const struct report_figures *figures, FILE *out)
{
    if (!result->has_server)
        return;
    const struct process_sample *begin = &result->begin.server, *end = &result->end.server;
    double parts = (double)(end->user_ns - begin->user_ns + end->system_ns - begin->system_ns);
    fprintf(out, "  %-22s %.2f cores, %.0f %% of it in user space", "relay's CPU", figures->cpu_cores,
            100 * ratio((double)(end->user_ns - begin->user_ns), parts));
    if (figures->messages > 0 && figures->logins == 0)
        fprintf(out, "; %.3f us a message, %.4f sleeps a message", figures->cpu_us_per_message, figures->sleeps_per_message);
    if (figures->logins > 0 && figures->messages == 0)
        fprintf(out, "; %.1f us a login", figures->cpu_us_per_login);
    fprintf(out, "\n  %-22s %.1f MiB, then %.1f, settled %.1f\n", "relay's memory (RSS)", (double)begin->rss_bytes / 1048576,
            (double)end->rss_bytes / 1048576, (double)result->settled.server.rss_bytes / 1048576);
    if (result->scenario->holds)
        fprintf(out, "  %-22s %.0f bytes RSS a session (%llu opened), %.2f %% CPU while idle for %.0f s\n", "idle",
                figures->bytes_per_session, (unsigned long long)figures->logins, figures->idle_cpu_percent,
                (double)(result->settled.at_ns - result->end.at_ns) / 1e9);
}

static void print_counters(const struct run_totals *totals, FILE *out)
{
#define X(name, text)                                                                                                                      \
    if (totals->name > 0 && strcmp(#name, "sign_ns") != 0)                                                                                 \
        fprintf(out, "  %-22s %llu  (%s)\n", #name, (unsigned long long)totals->name, text);
    COUNTER_TABLE(X)
#undef X
}

void report_table(const struct run_result *result, FILE *out)
{
    struct report_figures figures;
    char sizes[256];
    const struct args *args = result->args;
    report_figures(result, &figures);
    report_sizes(&args->sizes, sizes, sizeof sizes);
    fprintf(out, "relayload %s  %s://%s:%u%s  %s\n", result->scenario->name, args->url.tls ? "wss" : "ws", args->url.host, args->url.port,
            args->url.path, result->cipher);
    fprintf(out, "  %-22s %u sessions up in %.2f s; size %s, window %u, rate %u/s, threads %u\n", "load", result->sessions, result->setup_s,
            sizes, result->window, result->rate, args->threads);
    if (figures.messages > 0)
        fprintf(out, "  %-22s %llu messages in %.2f s: %.0f/s, %.1f MB/s of payload\n", "measured", (unsigned long long)figures.messages,
                figures.seconds, figures.messages_per_s, figures.bytes_per_s / 1e6);
    if (figures.logins > 0)
        fprintf(out, "  %-22s %llu in %.2f s: %.0f/s (ed25519 here: %.0f us to sign, %.0f us to verify)\n", "logins",
                (unsigned long long)figures.logins, figures.seconds, figures.logins_per_s, figures.sign_us, figures.verify_us);
    print_latencies(out, "message latency", &result->latency);
    print_latencies(out, "login latency", &result->logins);
    print_latencies(out, "observers before", &result->calm);
    print_latencies(out, "observers during", &result->disturbed);
    print_latencies(out, result->observers_urgent ? "sent late by" : "sent late (not urgent)", &result->late);
    print_server(result, &figures, out);
    print_counters(&result->settled.totals, out);
    fprintf(out, "  %-22s %s%s\n", "outcome", result->is_failed ? "FAILED: " : "ok", result->is_failed ? result->failure : "");
}

// ---- for programs

static json_t *latencies_json(const struct histogram *histogram)
{
    if (histogram->count == 0)
        return json_null();
    json_t *object = json_pack("{s:I,s:f}", "count", (json_int_t)histogram->count, "mean", histogram_mean(histogram) / 1e3);
    for (size_t i = 0; i < QUANTILES; i++)
        json_object_set_new(object, quantiles[i].name, json_real((double)histogram_quantile(histogram, quantiles[i].quantile) / 1e3));
    return object;
}

static json_t *server_json(const struct run_result *result, const struct report_figures *figures)
{
    if (!result->has_server)
        return json_null();
    const struct process_sample *begin = &result->begin.server, *end = &result->end.server;
    return json_pack("{s:f,s:f,s:f,s:f,s:f,s:f,s:f,s:f,s:I,s:I,s:I}", "cpu_us_per_message", figures->cpu_us_per_message, "cpu_us_per_login",
                     figures->cpu_us_per_login, "cpu_seconds", (double)(end->cpu_ns - begin->cpu_ns) / 1e9, "cpu_cores", figures->cpu_cores,
                     "user_seconds", (double)(end->user_ns - begin->user_ns) / 1e9, "sleeps_per_message", figures->sleeps_per_message,
                     "bytes_per_session", figures->bytes_per_session, "idle_cpu_percent", figures->idle_cpu_percent, "rss_begin_bytes",
                     (json_int_t)begin->rss_bytes, "rss_end_bytes", (json_int_t)end->rss_bytes, "rss_settled_bytes",
                     (json_int_t)result->settled.server.rss_bytes);
}

static json_t *counters_json(const struct run_totals *totals)
{
    json_t *object = json_object();
#define X(name, text) json_object_set_new(object, #name, json_integer((json_int_t)totals->name));
    COUNTER_TABLE(X)
#undef X
    return object;
}

void report_json(const struct run_result *result, FILE *out)
{
    struct report_figures figures;
    char sizes[256];
    report_figures(result, &figures);
    report_sizes(&result->args->sizes, sizes, sizeof sizes);
    json_t *object =
        json_pack("{s:s,s:s,s:s,s:b,s:s,s:i,s:i,s:i,s:i,s:b,s:f,s:f}", "tool", "relayload", "version", SHARDRELAY_VERSION, "scenario",
                  result->scenario->name, "tls", (int)result->args->url.tls, "size", sizes, "sessions", (int)result->sessions, "window",
                  (int)result->window, "rate", (int)result->rate, "threads", (int)result->args->threads, "ok", (int)!result->is_failed,
                  "setup_seconds", result->setup_s, "seconds", figures.seconds);
    CHECK(object);
    json_object_set_new(object, "failure", result->is_failed ? json_string(result->failure) : json_null());
    json_object_set_new(object, "cipher", json_string(result->cipher));
    json_object_set_new(object, "messages", json_integer((json_int_t)figures.messages));
    json_object_set_new(object, "messages_per_second", json_real(figures.messages_per_s));
    json_object_set_new(object, "bytes_per_second", json_real(figures.bytes_per_s));
    json_object_set_new(object, "logins", json_integer((json_int_t)figures.logins));
    json_object_set_new(object, "logins_per_second", json_real(figures.logins_per_s));
    json_object_set_new(object, "presence_events", json_integer((json_int_t)figures.presence_events));
    json_object_set_new(object, "sign_us", json_real(figures.sign_us));
    json_object_set_new(object, "verify_us", json_real(figures.verify_us));
    json_object_set_new(object, "latency_us", latencies_json(&result->latency));
    json_object_set_new(object, "login_us", latencies_json(&result->logins));
    json_object_set_new(object, "observers_before_us", latencies_json(&result->calm));
    json_object_set_new(object, "observers_during_us", latencies_json(&result->disturbed));
    json_object_set_new(object, "observers_late_us", latencies_json(&result->late));
    json_object_set_new(object, "observers_urgent", json_boolean(result->observers_urgent));
    json_object_set_new(object, "server", server_json(result, &figures));
    json_object_set_new(object, "counters", counters_json(&result->settled.totals));
    json_dumpf(object, out, JSON_INDENT(2));
    fputc('\n', out);
    json_decref(object);
}
