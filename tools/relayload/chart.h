// A line chart as inline SVG. Colours and sizes come from the page's style sheet (page.c). Main thread.
#pragma once
#include <stddef.h>
#include <stdio.h>

#define CHART_SERIES_MAX 4

struct chart_series { // borrowed
    const char *name;
    const double *x, *y;
    size_t count;
};

struct chart_tick {
    double at;
    const char *text;
};

struct chart {
    const char *title, *y_unit;
    const struct chart_tick *x_ticks; // NULL: round numbers
    size_t x_tick_count;
    const char *x_unit;
    struct chart_series series[CHART_SERIES_MAX];
    size_t series_count;
};

// Writes a <figure>; nothing when no series has two points.
void chart_write(const struct chart *chart, FILE *out);
// 1, 2 or 5 times a power of ten, so that `span` has about `steps` of them.
double chart_step(double span, unsigned steps);
