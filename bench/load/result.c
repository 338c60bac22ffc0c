#include <inttypes.h>
#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "alloc.h"
#include "clock.h"
#include "load.h"

struct histogram *load_result_figure(struct load_result *r, const char *name)
{
    for (size_t i = 0; i < FIGURES_MAX; i++) {
        if (r->figures[i].name == NULL) {
            r->figures[i].name = name;
            r->figures[i].latency = xcalloc(1, sizeof(struct histogram));
        }
        if (r->figures[i].name == name) {
            return r->figures[i].latency;
        }
    }
    decree_assert(false);
    return NULL;
}

void load_result_error(struct load_result *r, int status, const char *text)
{
    _cleanup_free_ char *line = xasprintf("grpc %d: %s", status, text);

    r->errors++;
    for (size_t i = 0; i < ERRORS_KEPT_MAX; i++) {
        if (r->error_texts[i] == NULL) {
            r->error_texts[i] = TAKE_PTR(line);
            r->error_counts[i] = 1;
            return;
        }
        if (strcmp(r->error_texts[i], line) == 0) {
            r->error_counts[i]++;
            return;
        }
    }
}

void load_result_measure_begin(struct load_result *r, const struct settings *s)
{
    r->before = server_usage_read(s->pids, s->n_pids);
    r->own_cpu_us = own_cpu_us();
    r->seconds = (double)clock_boot_ns() / 1e9;
}

void load_result_measure_end(struct load_result *r, const struct settings *s)
{
    r->seconds = (double)clock_boot_ns() / 1e9 - r->seconds;
    r->own_cpu_us = own_cpu_us() - r->own_cpu_us;
    r->after = server_usage_read(s->pids, s->n_pids);
}

void load_result_deinit(struct load_result *r)
{
    for (size_t i = 0; i < FIGURES_MAX; i++) {
        free(r->figures[i].latency);
    }
    for (size_t i = 0; i < ERRORS_KEPT_MAX; i++) {
        free(r->error_texts[i]);
    }
}

static double per(double amount, uint64_t n)
{
    return n != 0 ? amount / (double)n : 0;
}

static json_t *figure_json(const struct histogram *h)
{
    return json_pack("{s:I, s:f, s:f, s:f, s:f, s:f, s:f}", "count", (json_int_t)h->count,
        "mean_us", histogram_mean(h) / 1e3, "p50_us", (double)histogram_percentile(h, 0.5) / 1e3,
        "p90_us", (double)histogram_percentile(h, 0.9) / 1e3, "p99_us",
        (double)histogram_percentile(h, 0.99) / 1e3, "p999_us",
        (double)histogram_percentile(h, 0.999) / 1e3, "max_us", (double)h->max / 1e3);
}

static json_t *server_json(const struct load_result *r)
{
    uint64_t cpu = r->after.cpu_us - r->before.cpu_us;

    return json_pack("{s:f, s:f, s:f, s:I, s:I, s:I}", "cpu_s", (double)cpu / 1e6, "cpu_us_per_op",
        per((double)cpu, r->ops), "written_bytes_per_op",
        per((double)(r->after.written_bytes - r->before.written_bytes), r->ops), "rss_bytes",
        (json_int_t)r->after.rss_bytes, "rss_peak_bytes", (json_int_t)r->after.peak_bytes,
        "cpu_us_total", (json_int_t)cpu);
}

static void print_json(const struct load_result *r, const char *mode, const struct settings *s)
{
    json_t *out = json_pack("{s:s, s:I, s:I, s:f, s:f, s:i, s:f, s:f}", "mode", mode, "ops",
        (json_int_t)r->ops, "errors", (json_int_t)r->errors, "seconds", r->seconds, "ops_per_s",
        (double)r->ops / r->seconds, "conns", (int)r->conns, "own_cpu_us_per_op",
        per((double)r->own_cpu_us, r->ops), "reply_bytes_per_op",
        per((double)r->reply_bytes, r->ops));
    json_t *errors = json_object();

    for (size_t i = 0; i < FIGURES_MAX && r->figures[i].name != NULL; i++) {
        json_object_set_new(out, r->figures[i].name, figure_json(r->figures[i].latency));
    }
    for (size_t i = 0; i < ERRORS_KEPT_MAX && r->error_texts[i] != NULL; i++) {
        json_object_set_new(
            errors, r->error_texts[i], json_integer((json_int_t)r->error_counts[i]));
    }
    json_object_set_new(out, "error_texts", errors);
    if (s->n_pids != 0) {
        json_object_set_new(out, "server", server_json(r));
    }
    if (r->events != 0) {
        json_object_set_new(out, "events", json_integer((json_int_t)r->events));
    }
    (void)json_dumpf(out, stdout, JSON_COMPACT);
    (void)fputc('\n', stdout);
    json_decref(out);
}

static void print_text(const struct load_result *r, const char *mode, const struct settings *s)
{
    uint64_t cpu = r->after.cpu_us - r->before.cpu_us;

    (void)printf("%s: %" PRIu64 " operations in %.2f s, %.0f/s, %u connections, %" PRIu64
                 " errors\n",
        mode, r->ops, r->seconds, (double)r->ops / r->seconds, r->conns, r->errors);
    for (size_t i = 0; i < FIGURES_MAX && r->figures[i].name != NULL; i++) {
        const struct histogram *h = r->figures[i].latency;

        (void)printf("  %-12s p50 %.3f  p90 %.3f  p99 %.3f  p99.9 %.3f  max %.3f ms\n",
            r->figures[i].name, (double)histogram_percentile(h, 0.5) / 1e6,
            (double)histogram_percentile(h, 0.9) / 1e6, (double)histogram_percentile(h, 0.99) / 1e6,
            (double)histogram_percentile(h, 0.999) / 1e6, (double)h->max / 1e6);
    }
    if (s->n_pids != 0) {
        (void)printf("  server       %.1f us CPU and %.0f bytes written an operation, RSS %.1f MB "
                     "(peak %.1f)\n",
            per((double)cpu, r->ops),
            per((double)(r->after.written_bytes - r->before.written_bytes), r->ops),
            (double)r->after.rss_bytes / 1e6, (double)r->after.peak_bytes / 1e6);
    }
    if (r->events != 0) {
        (void)printf("  events       %" PRIu64 ", %.2f us server CPU each\n", r->events,
            per((double)cpu, r->events));
    }
    (void)printf("  generator    %.1f us CPU and %.0f reply bytes an operation\n",
        per((double)r->own_cpu_us, r->ops), per((double)r->reply_bytes, r->ops));
    for (size_t i = 0; i < ERRORS_KEPT_MAX && r->error_texts[i] != NULL; i++) {
        (void)printf("  error        %" PRIu64 " x %s\n", r->error_counts[i], r->error_texts[i]);
    }
}

void load_result_print(const struct load_result *r, const char *mode, const struct settings *s)
{
    if (s->values[SETTING_JSON] != NULL) {
        print_json(r, mode, s);
    } else {
        print_text(r, mode, s);
    }
}
