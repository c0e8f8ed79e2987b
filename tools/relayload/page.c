// See page.h.
#include "tools/relayload/page.h"

#include "shards/base/check.h"
#include "tools/relayload/chart.h"
#include "tools/relayload/report.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#define CURVE_POINTS 101 // of a latency curve
#define CURVE_NINES 5.0  // it ends at 99.999 %

static const char style[] =
    ":root{color-scheme:light dark;--paper:#fcfcfb;--ink:#1b1b1a;--dim:#6b6a66;--grid:#e4e3df;--s0:#2a78d6;--s1:#eb6834;--s2:#1baf7a;"
    "--s3:#8a5cd1}\n"
    "@media(prefers-color-scheme:dark){:root{--paper:#1a1a19;--ink:#f1f0ec;--dim:#a09f99;--grid:#353431;--s0:#3987e5;--s1:#d95926;"
    "--s2:#199e70;--s3:#9a72dd}}\n"
    "body{background:var(--paper);color:var(--ink);font:15px/1.5 system-ui,sans-serif;max-width:900px;margin:2rem auto;padding:0 1rem}\n"
    "h1{font-size:1.4rem}figure{margin:2rem 0}figcaption{font-weight:600}figcaption span,.legend,dt{color:var(--dim);font-weight:400}\n"
    ".legend{margin:.2rem 0}.legend span{margin-right:1.2rem}.legend i{display:inline-block;width:14px;height:3px;margin-right:6px;"
    "vertical-align:middle}\n"
    "svg{width:100%;height:auto}svg text{font-size:12px;fill:var(--dim);font-variant-numeric:tabular-nums}.y{text-anchor:end}"
    ".x{text-anchor:middle}.grid{stroke:var(--grid)}polyline{fill:none;stroke-width:2;stroke-linejoin:round}\n"
    "polyline.s0{stroke:var(--s0)}polyline.s1{stroke:var(--s1)}polyline.s2{stroke:var(--s2)}polyline.s3{stroke:var(--s3)}\n"
    "i.s0{background:var(--s0)}i.s1{background:var(--s1)}i.s2{background:var(--s2)}i.s3{background:var(--s3)}\n"
    "pre{overflow-x:auto;font-size:12px}.failed{color:var(--s1);font-weight:600}\n";

// Text of ours and of the relay's (close reasons): escaped either way.
static void print_escaped(const char *text, FILE *out)
{
    for (; *text; text++) {
        switch (*text) {
        case '<':
            fputs("&lt;", out);
            break;
        case '&':
            fputs("&amp;", out);
            break;
        case '"':
            fputs("&quot;", out);
            break;
        default:
            fputc(*text, out);
        }
    }
}

static size_t latency_curve(const struct histogram *histogram, double *ret_x, double *ret_y)
{
    if (histogram->count < 2)
        return 0;
    for (size_t i = 0; i < CURVE_POINTS; i++) {
        double nines = CURVE_NINES * (double)i / (CURVE_POINTS - 1), tail = 1;
        for (double left = nines; left > 0; left -= 1.0 / 20) // 10^-nines, in steps of its 20th root
            tail *= 0.8912509381337456;
        ret_x[i] = nines;
        ret_y[i] = (double)histogram_quantile(histogram, 1 - tail) / 1e3;
    }
    return CURVE_POINTS;
}

static void write_latency(const struct run_result *result, FILE *out)
{
    static double x[CHART_SERIES_MAX][CURVE_POINTS], y[CHART_SERIES_MAX][CURVE_POINTS];
    static const struct chart_tick ticks[] = {{0, "0 %"},    {0.30103, "50 %"}, {1, "90 %"},    {2, "99 %"},
                                              {3, "99.9 %"}, {4, "99.99 %"},    {5, "99.999 %"}};
    const struct {
        const char *name;
        const struct histogram *histogram;
    } curves[] = {{"messages", &result->latency}, {"observers before", &result->calm}, {"observers during", &result->disturbed}};
    struct chart chart = {.title = "Latency of messages by percentile", .y_unit = "µs", .x_ticks = ticks, .x_tick_count = 7, .x_unit = ""};
    for (size_t i = 0; i < sizeof curves / sizeof curves[0]; i++)
        chart.series[chart.series_count++] =
            (struct chart_series){.name = curves[i].name, .x = x[i], .y = y[i], .count = latency_curve(curves[i].histogram, x[i], y[i])};
    chart_write(&chart, out);
    struct chart logins = {.title = "Time of a login by percentile", .y_unit = "µs", .x_ticks = ticks, .x_tick_count = 7, .x_unit = ""};
    logins.series[logins.series_count++] =
        (struct chart_series){.name = "logins", .x = x[3], .y = y[3], .count = latency_curve(&result->logins, x[3], y[3])};
    chart_write(&logins, out);
}

enum line { LINE_MESSAGES, LINE_LOGINS, LINE_CPU, LINE_MEMORY, LINES };

static double line_value(const struct run_sample *from, const struct run_sample *to, enum line line)
{
    double seconds = (double)(to->at_ns - from->at_ns) / 1e9;
    switch (line) {
    case LINE_MESSAGES:
        return (double)(to->totals.messages - from->totals.messages) / seconds;
    case LINE_LOGINS:
        return (double)(to->totals.logins - from->totals.logins) / seconds;
    case LINE_CPU:
        return (double)(to->server.cpu_ns - from->server.cpu_ns) / 1e7 / seconds;
    case LINE_MEMORY:
        return (double)to->server.rss_bytes / 1048576;
    case LINES:
        break;
    }
    UNREACHABLE();
}

static void write_timeline(const struct run_result *result, FILE *out)
{
    static const struct {
        const char *title, *unit;
        bool of_server;
    } lines[LINES] = {{"Messages relayed", "a second", false},
                      {"Logins", "a second", false},
                      {"CPU of the relay", "% of one core", true},
                      {"Memory of the relay (RSS)", "MiB", true}};
    static double x[RUN_POINTS_MAX], y[RUN_POINTS_MAX];
    for (unsigned line = 0; line < LINES; line++) {
        double sum = 0;
        for (uint32_t i = 0; i < result->point_count; i++) {
            const struct run_sample *from = i == 0 ? &result->begin : &result->points[i - 1];
            x[i] = (double)(result->points[i].at_ns - result->begin.at_ns) / 1e9;
            y[i] = line_value(from, &result->points[i], (enum line)line);
            sum += y[i];
        }
        if (sum <= 0 || (lines[line].of_server && !result->has_server))
            continue;
        struct chart chart = {.title = lines[line].title, .y_unit = lines[line].unit, .x_unit = " s", .series_count = 1};
        chart.series[0] = (struct chart_series){.name = lines[line].title, .x = x, .y = y, .count = result->point_count};
        chart_write(&chart, out);
    }
}

static void write_table(const struct run_result *result, FILE *out)
{
    char *text = NULL;
    size_t len = 0;
    FILE *stream = open_memstream(&text, &len);
    if (!stream)
        return;
    report_table(result, stream);
    fclose(stream);
    fputs("<pre>", out);
    print_escaped(text, out);
    fputs("</pre>\n", out);
    free(text);
}

int page_write(const struct run_result *result, const char *path)
{
    FILE *out = fopen(path, "we");
    if (!out)
        return -errno;
    fprintf(out,
            "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">"
            "<title>relayload %s</title><style>%s</style><h1>relayload %s</h1>\n",
            result->scenario->name, style, result->scenario->name);
    if (result->is_failed) {
        fputs("<p class=\"failed\">Failed: ", out);
        print_escaped(result->failure, out);
        fputs("</p>\n", out);
    }
    write_table(result, out);
    write_latency(result, out);
    write_timeline(result, out);
    fputs("</html>\n", out);
    int status = ferror(out) ? -EIO : 0;
    return fclose(out) == 0 ? status : -errno;
}
