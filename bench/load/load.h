/* What the generator is asked to do and what it found. */
#ifndef DECREE_BENCH_LOAD_H
#define DECREE_BENCH_LOAD_H

#include "histogram.h"
#include "server_usage.h"

/* name, default, value or NULL for a switch, help */
#define SETTINGS(X)                                                                                \
    X(ENDPOINTS, "endpoints", "http://127.0.0.1:2379", "URLS",                                     \
        "http://HOST:PORT or unix:///PATH, …")                                                     \
    X(CONNS, "conns", "1", "N",                                                                    \
        "connections; more are opened if the server's stream limit asks it")                       \
    X(STREAMS, "streams", "1", "N", "requests in flight in all; for watch, streams")               \
    X(SECONDS, "seconds", "5", "S", "how long to measure")                                         \
    X(OPS, "ops", "0", "N", "stop after so many operations [no limit]")                            \
    X(WARMUP, "warmup", "0.5", "S", "load before the measurement begins")                          \
    X(RATE, "rate", "0", "N",                                                                      \
        "operations a second; latency counts from when each was due [as fast as it goes]")         \
    X(KEYS, "keys", "10000", "N", "how many keys are used, 8 digits each")                         \
    X(VALUE_SIZE, "value-size", "256", "BYTES", "size of each value")                              \
    X(SPAN, "span", "1", "N", "keys in one range")                                                 \
    X(SERIALIZABLE, "serializable", NULL, NULL, "reads answered by the member asked alone")        \
    X(READS, "reads", "80", "PERCENT", "share of reads in mixed")                                  \
    X(BATCH, "batch", "100", "N", "puts in one txn of fill; 1 = single puts")                      \
    X(WATCHERS, "watchers", "100", "N", "watchers of one key")                                     \
    X(SERVER_PID, "server-pid", "", "PIDS", "servers whose CPU, memory and written bytes to tell") \
    X(DIR, "dir", ".", "DIR", "where floor writes")                                                \
    X(JSON, "json", NULL, NULL, "one JSON object instead of text (also: -o json)")

enum setting_id {
#define X(id, ...) SETTING_##id,
    SETTINGS(X)
#undef X
        SETTING_END_,
};

struct settings {
    const char *values[SETTING_END_]; /* borrowed from argv or static; NULL = a switch not given */
    pid_t pids[SERVER_PIDS_MAX];
    size_t n_pids;
};

/* Ends the program with a message when a word is unknown or no number. */
void settings_read(struct settings *s, int argc, char **argv);
void settings_help(void);
uint64_t setting_number(const struct settings *s, enum setting_id id);
double setting_seconds(const struct settings *s, enum setting_id id);

/* One figure's distribution with its name: "put", "last event". */
enum { FIGURES_MAX = 3, ERRORS_KEPT_MAX = 8 };

struct load_result {
    uint64_t ops;
    uint64_t errors;
    double seconds;
    unsigned conns;
    uint64_t events;      /* watch: delivered in all */
    uint64_t reply_bytes; /* protobuf received: what was asked for did come */
    uint64_t own_cpu_us;
    struct server_usage before, after;
    struct {
        const char *name;
        struct histogram *latency; /* owned; nanoseconds */
    } figures[FIGURES_MAX];
    char *error_texts[ERRORS_KEPT_MAX]; /* owned; the first of each kind */
    uint64_t error_counts[ERRORS_KEPT_MAX];
};

struct histogram *load_result_figure(struct load_result *r, const char *name);
void load_result_error(struct load_result *r, int status, const char *text);
void load_result_measure_begin(struct load_result *r, const struct settings *s);
void load_result_measure_end(struct load_result *r, const struct settings *s);
void load_result_print(const struct load_result *r, const char *mode, const struct settings *s);
void load_result_deinit(struct load_result *r);

enum kv_mode { KV_PUT, KV_RANGE, KV_MIXED, KV_TXN, KV_FILL };

void load_kv(enum kv_mode mode, const struct settings *s, struct load_result *ret);
void load_watch(const struct settings *s, struct load_result *ret);
void load_floor(const struct settings *s, struct load_result *ret);

/* The key with this number: 8 digits at text, no NUL counted. */
enum { KEY_BYTES = 8 };
void load_key(uint64_t number, char text[KEY_BYTES + 1]);

#endif
