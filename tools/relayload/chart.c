// See chart.h.
#include "tools/relayload/chart.h"

#include "shards/base/check.h"
#include <stdbool.h>

#define WIDTH 760.0
#define HEIGHT 260.0
#define LEFT 70.0
#define RIGHT 30.0
#define TOP 10.0
#define BOTTOM 34.0

struct frame {
    double x_min, x_max, y_max;
};

double chart_step(double span, unsigned steps)
{
    CHECK(steps > 0);
    double wanted = span / steps, step = 1;
    if (!(wanted > 0))
        return 1;
    while (step > wanted)
        step /= 10;
    while (step * 10 <= wanted)
        step *= 10;
    return wanted > step * 5 ? step * 10 : wanted > step * 2 ? step * 5 : wanted > step ? step * 2 : step;
}

static bool measure(const struct chart *chart, struct frame *ret_frame)
{
    struct frame frame = {0};
    bool any = false;
    for (size_t i = 0; i < chart->series_count; i++) {
        const struct chart_series *series = &chart->series[i];
        for (size_t j = 0; series->count >= 2 && j < series->count; j++) {
            if (!any || series->x[j] < frame.x_min)
                frame.x_min = series->x[j];
            if (!any || series->x[j] > frame.x_max)
                frame.x_max = series->x[j];
            if (series->y[j] > frame.y_max)
                frame.y_max = series->y[j];
            any = true;
        }
    }
    if (frame.y_max <= 0)
        frame.y_max = 1;
    *ret_frame = frame;
    return any && frame.x_max > frame.x_min;
}

static double place_x(const struct frame *frame, double x)
{
    return LEFT + (x - frame->x_min) / (frame->x_max - frame->x_min) * (WIDTH - LEFT - RIGHT);
}

static double place_y(const struct frame *frame, double y)
{
    return HEIGHT - BOTTOM - y / frame->y_max * (HEIGHT - TOP - BOTTOM);
}

static void print_number(double value, FILE *out)
{
    if (value >= 1e6)
        fprintf(out, "%gM", value / 1e6);
    else if (value >= 1e3)
        fprintf(out, "%gk", value / 1e3);
    else
        fprintf(out, "%g", value);
}

static void write_axes(const struct chart *chart, struct frame *frame, FILE *out)
{
    double step = chart_step(frame->y_max, 5);
    unsigned lines = (unsigned)(frame->y_max / step) + 1;
    frame->y_max = lines * step;
    for (unsigned i = 0; i <= lines; i++) {
        double y = place_y(frame, i * step);
        fprintf(out, "<line class=\"grid\" x1=\"%.0f\" x2=\"%.0f\" y1=\"%.1f\" y2=\"%.1f\"/><text class=\"y\" x=\"%.0f\" y=\"%.1f\">", LEFT,
                WIDTH - RIGHT, y, y, LEFT - 8, y + 4);
        print_number(i * step, out);
        fputs("</text>\n", out);
    }
    CHECK(chart->x_ticks != NULL || chart->x_tick_count == 0);
    double x_step = chart_step(frame->x_max - frame->x_min, 8);
    for (double x = 0; !chart->x_ticks && x <= frame->x_max; x += x_step)
        if (x >= frame->x_min)
            fprintf(out, "<text class=\"x\" x=\"%.1f\" y=\"%.0f\">%g%s</text>\n", place_x(frame, x), HEIGHT - 12, x, chart->x_unit);
    for (size_t i = 0; i < chart->x_tick_count; i++)
        if (chart->x_ticks[i].at >= frame->x_min && chart->x_ticks[i].at <= frame->x_max)
            fprintf(out, "<text class=\"x\" x=\"%.1f\" y=\"%.0f\">%s</text>\n", place_x(frame, chart->x_ticks[i].at), HEIGHT - 12,
                    chart->x_ticks[i].text);
}

void chart_write(const struct chart *chart, FILE *out)
{
    struct frame frame;
    CHECK(chart->series_count <= CHART_SERIES_MAX);
    if (!measure(chart, &frame))
        return;
    fprintf(out, "<figure><figcaption>%s <span>%s</span></figcaption>\n<p class=\"legend\">", chart->title, chart->y_unit);
    for (size_t i = 0; i < chart->series_count && chart->series_count > 1; i++)
        if (chart->series[i].count >= 2)
            fprintf(out, "<span><i class=\"s%zu\"></i>%s</span>", i, chart->series[i].name);
    fprintf(out, "</p>\n<svg viewBox=\"0 0 %.0f %.0f\" role=\"img\" aria-label=\"%s\">\n", WIDTH, HEIGHT, chart->title);
    write_axes(chart, &frame, out);
    for (size_t i = 0; i < chart->series_count; i++) {
        const struct chart_series *series = &chart->series[i];
        if (series->count < 2)
            continue;
        fprintf(out, "<polyline class=\"s%zu\" points=\"", i);
        for (size_t j = 0; j < series->count; j++)
            fprintf(out, "%.1f,%.1f ", place_x(&frame, series->x[j]), place_y(&frame, series->y[j]));
        fputs("\"/>\n", out);
    }
    fputs("</svg></figure>\n", out);
}
