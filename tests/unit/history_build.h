/* Histories in few words: one call of this header is one line of a history. */
#ifndef DECREE_TESTS_UNIT_HISTORY_BUILD_H
#define DECREE_TESTS_UNIT_HISTORY_BUILD_H

#include "history.h"
#include "unit.h"

#define _cleanup_history_ __attribute__((cleanup(history_freep)))
static inline void history_freep(struct history **h)
{
    *h = history_free(*h);
}

/* ---- the truth ---- */

static inline struct history_change h_put(int64_t revision, const char *key, const char *value)
{
    return (struct history_change){
        .revision = revision, .key = bytes_str(key), .value = bytes_str(value)};
}

static inline struct history_change h_put_leased(
    int64_t revision, const char *key, const char *value, int64_t lease)
{
    return (struct history_change){
        .revision = revision, .key = bytes_str(key), .value = bytes_str(value), .lease = lease};
}

static inline struct history_change h_del(int64_t revision, const char *key)
{
    return (struct history_change){.revision = revision, .is_delete = true, .key = bytes_str(key)};
}

static inline void h_truth(struct history *h, struct history_change c)
{
    history_truth(h, &c);
}

/* ---- calls: begun, then answered ---- */

static inline size_t h_call(struct history *h, uint64_t begin, struct history_call c)
{
    return history_begin(h, begin, &c);
}

static inline struct history_call h_c_put(const char *key, const char *value)
{
    return (struct history_call){HISTORY_PUT, .key = bytes_str(key), .value = bytes_str(value)};
}

static inline struct history_call h_c_put_leased(const char *key, const char *value, int64_t lease)
{
    struct history_call c = h_c_put(key, value);

    c.lease = lease;
    return c;
}

static inline struct history_call h_c_cas(const char *key, int64_t expected, const char *value)
{
    return (struct history_call){
        HISTORY_CAS, .key = bytes_str(key), .value = bytes_str(value), .expected = expected};
}

static inline struct history_call h_c_key(enum history_kind kind, const char *key)
{
    return (struct history_call){kind, .key = bytes_str(key)};
}

static inline struct history_call h_c_lease(enum history_kind kind, int64_t lease)
{
    return (struct history_call){kind, .lease = lease};
}

static inline void h_end(struct history *h, size_t call, uint64_t end, struct history_reply r)
{
    history_end(h, call, end, &r);
}

static inline struct history_reply h_ok(int64_t revision)
{
    return (struct history_reply){HISTORY_OK, .revision = revision};
}

static inline struct history_reply h_failed(void)
{
    return (struct history_reply){.outcome = HISTORY_FAILED};
}

static inline struct history_reply h_unknown(void)
{
    return (struct history_reply){.outcome = HISTORY_UNKNOWN};
}

/* ---- whole calls ---- */

static inline void h_did_put(struct history *h, uint64_t begin, uint64_t end, const char *key,
    const char *value, int64_t revision)
{
    h_end(h, h_call(h, begin, h_c_put(key, value)), end, h_ok(revision));
}

static inline void h_did_put_leased(struct history *h, uint64_t begin, uint64_t end,
    const char *key, const char *value, int64_t lease, int64_t revision)
{
    h_end(h, h_call(h, begin, h_c_put_leased(key, value, lease)), end, h_ok(revision));
}

static inline void h_did_delete(
    struct history *h, uint64_t begin, uint64_t end, const char *key, bool found, int64_t revision)
{
    h_end(h, h_call(h, begin, h_c_key(HISTORY_DELETE, key)), end,
        (struct history_reply){HISTORY_OK, .revision = revision, .found = found});
}

static inline void h_did_cas(struct history *h, uint64_t begin, uint64_t end,
    struct history_call cas, bool succeeded, int64_t revision)
{
    h_end(h, h_call(h, begin, cas), end,
        (struct history_reply){HISTORY_OK, .revision = revision, .succeeded = succeeded});
}

/* value NULL: it found nothing. */
static inline void h_did_get(struct history *h, uint64_t begin, uint64_t end,
    enum history_kind kind, const char *key, int64_t revision, const char *value, int64_t mod)
{
    h_end(h, h_call(h, begin, h_c_key(kind, key)), end,
        (struct history_reply){HISTORY_OK, .revision = revision, .found = value != NULL,
            .value = bytes_str(value != NULL ? value : ""), .mod_revision = mod});
}

static inline void h_did_grant(
    struct history *h, uint64_t begin, uint64_t end, int64_t lease, uint64_t ttl)
{
    h_end(h, h_call(h, begin, (struct history_call){HISTORY_GRANT, .ttl = ttl}), end,
        (struct history_reply){HISTORY_OK, .lease = lease, .ttl = ttl});
}

static inline void h_did_revoke(
    struct history *h, uint64_t begin, uint64_t end, int64_t lease, int64_t revision)
{
    h_end(h, h_call(h, begin, h_c_lease(HISTORY_REVOKE, lease)), end, h_ok(revision));
}

static inline void h_did_keepalive(
    struct history *h, uint64_t begin, uint64_t end, int64_t lease, bool succeeded, uint64_t ttl)
{
    h_end(h, h_call(h, begin, h_c_lease(HISTORY_KEEPALIVE, lease)), end,
        (struct history_reply){HISTORY_OK, .succeeded = succeeded, .ttl = ttl});
}

static inline void h_did_compact(
    struct history *h, uint64_t begin, uint64_t end, int64_t at, int64_t revision)
{
    h_end(h, h_call(h, begin, (struct history_call){HISTORY_COMPACT, .expected = at}), end,
        h_ok(revision));
}

/* ---- watches ---- */

/* The range of all keys from "a" on. */
static inline size_t h_watch_all(struct history *h, uint64_t time, int64_t start)
{
    struct history_watch w = {BYTES_LITERAL("a"), BYTES_LITERAL("\0"), start};

    return history_watch_begin(h, time, &w);
}

static inline size_t h_watch_key(struct history *h, uint64_t time, const char *key, int64_t start)
{
    struct history_watch w = {.key = bytes_str(key), .start_revision = start};

    return history_watch_begin(h, time, &w);
}

#define H_TOLD(h, watch, time, header, ...)                                                        \
    do {                                                                                           \
        const struct history_change told_[] = {__VA_ARGS__};                                       \
        history_watch_events(h, watch, time, header, told_, ARRAY_SIZE(told_));                    \
    } while (0)

/* ---- verdicts ---- */

static inline void h_expect_rules(
    struct history *h, const struct history_rules *rules, const char *violation)
{
    _cleanup_err_ struct err err = {0};
    int result = history_check(h, rules, NULL, &err);

    if (violation == NULL) {
        if (result != 0) {
            fail_msg("no violation was to be found: %s", err.text);
        }
        return;
    }
    if (result != DECREE_ECORRUPT) {
        fail_msg("expected, and not found: %s", violation);
    }
    if (strstr(err.text, violation) == NULL) {
        fail_msg("expected \"%s\", but found: %s", violation, err.text);
    }
}

static inline void h_fine(struct history *h)
{
    h_expect_rules(h, &(struct history_rules){.all_known = true}, NULL);
    h_expect_rules(h, &(struct history_rules){0}, NULL);
}

static inline void h_violates(struct history *h, const char *violation)
{
    h_expect_rules(h, &(struct history_rules){.all_known = true}, violation);
}

#endif
