// SPDX-License-Identifier: MIT
//
// One line on a terminal that shows how far a job is.
#include "tools/progress_bar.h"

#include "base/clock.h"
#include "tools/human.h"

#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define REDRAW_INTERVAL (CLOCK_SECOND / 10)
#define WIDTH_DEFAULT 80
#define BAR_MIN 5 // narrower than this it says nothing
#define BAR_MAX 40
#define LINE_SIZE 512
#define FIGURES_WIDTH 54 // of most figures: the bar keeps its width while they change

// Bytes done can pass a total that was an estimate: the bar stops at 100.
static unsigned progress_percent(const struct progress_view *view)
{
    if (view->done_bytes >= view->total_bytes)
        return 100;
    return (unsigned)((double)view->done_bytes * 100 / (double)view->total_bytes);
}

static void progress_bar_fill(char *bar, size_t width, unsigned percent)
{
    size_t full = width * percent / 100;
    memset(bar, '#', full);
    memset(bar + full, '-', width - full);
    bar[width] = '\0';
}

char *progress_bar_format(const struct progress_view *view, size_t width, char *line, size_t size)
{
    char done[HUMAN_SIZE], total[HUMAN_SIZE], rate[HUMAN_SIZE], eta[HUMAN_SIZE];
    char figures[LINE_SIZE], bar[BAR_MAX + 1];
    size_t limit = width + 1 < size ? width + 1 : size;
    if (view->total_bytes == 0) {
        snprintf(line, limit, "%s  %s", view->label, view->state);
        return line;
    }
    unsigned percent = progress_percent(view);
    snprintf(figures, sizeof(figures), "%3u%%  %s / %s  %s/s  ETA %s", percent,
             human_size(view->done_bytes, done), human_size(view->total_bytes, total),
             human_size(view->bytes_per_second, rate), human_duration(view->eta_seconds, eta));
    size_t len = strlen(figures);
    size_t taken = strlen(view->label) + (len > FIGURES_WIDTH ? len : FIGURES_WIDTH) + 6;
    size_t room = width > taken ? width - taken : 0;
    if (room < BAR_MIN) {
        snprintf(line, limit, "%s  %s", view->label, figures);
        return line;
    }
    progress_bar_fill(bar, room < BAR_MAX ? room : BAR_MAX, percent);
    snprintf(line, limit, "%s  [%s]  %s", view->label, bar, figures);
    return line;
}

void progress_bar_init(struct progress_bar *bar, FILE *out)
{
    *bar = (struct progress_bar){.out = out, .active = isatty(fileno(out))};
}

static size_t progress_bar_width(const struct progress_bar *bar)
{
    struct winsize size;
    if (ioctl(fileno(bar->out), TIOCGWINSZ, &size) < 0 || size.ws_col == 0)
        return WIDTH_DEFAULT;
    return size.ws_col;
}

void progress_bar_update(struct progress_bar *bar, const struct progress_view *view)
{
    int64_t now = clock_monotonic();
    if (!bar->active || (bar->drawn && now - bar->drawn_at < REDRAW_INTERVAL))
        return;
    char line[LINE_SIZE];
    // The last column stays free: filling it would wrap the line.
    progress_bar_format(view, progress_bar_width(bar) - 1, line, sizeof(line));
    fprintf(bar->out, "\r%s\033[K", line);
    fflush(bar->out);
    bar->drawn = true;
    bar->drawn_at = now;
}

void progress_bar_step(struct progress_bar *bar, const char *name, uint64_t done, uint64_t total)
{
    if (!bar->active)
        return;
    int64_t now = clock_monotonic();
    if (!bar->step || strcmp(bar->step, name) != 0) {
        bar->step = name;
        bar->step_begun_at = now;
    }
    uint64_t ms = (uint64_t)(now - bar->step_begun_at) / 1000000;
    uint64_t rate = ms ? done * 1000 / ms : 0;
    struct progress_view view = {
        .label = name,
        .state = "",
        .done_bytes = done,
        .total_bytes = total,
        .bytes_per_second = rate,
        .eta_seconds = rate && total >= done ? (int64_t)((total - done) / rate) : -1,
    };
    progress_bar_update(bar, &view);
}

void progress_bar_clear(struct progress_bar *bar)
{
    if (!bar->drawn)
        return;
    fputs("\r\033[K", bar->out);
    fflush(bar->out);
    bar->drawn = false;
}
