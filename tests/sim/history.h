/* What clients saw of a cluster, and whether that can have been: one record and one verdict for the
 * simulator and for runs with real processes (contracts/reliability.md, "End checks").
 *
 * Every reply of the keyspace carries a revision, so no search is needed: writes are ordered by the
 * revision they got, reads stand behind the write of the revision they saw, and what is left to
 * check is that this order agrees with real time, that every read and every watch saw exactly what
 * the order says, and that nothing is in the keyspace that nobody asked for. O(n log n).
 *
 * The truth is the list of all changes by revision, as a member applied them or as a watcher saw
 * them that began at revision 1 before anything was compacted.
 *
 * Times are of one clock that never goes back; any unit, the same for all. What has the same time
 * was concurrent, so the unit is better fine. All bytes are copied. */
#ifndef DECREE_TESTS_SIM_HISTORY_H
#define DECREE_TESTS_SIM_HISTORY_H

#include "bytes.h"
#include "err.h"

struct history;

struct history *history_new(void);
struct history *history_free(struct history *h); /* NULL accepted and returned */

/* ---- the truth ---- */

struct history_change {
    int64_t revision; /* of the write; several changes of one write share it */
    bool is_delete;
    struct bytes key, value;
    int64_t lease; /* puts: attached to it, 0 = none */
};
/* In ascending order of revision, without a gap from 2 on. */
void history_truth(struct history *h, const struct history_change *c);

/* ---- calls ---- */

enum history_kind {
    HISTORY_PUT,    /* key, value, lease; values are unique in a history: they name the write */
    HISTORY_DELETE, /* key */
    HISTORY_CAS,    /* if the key's mod_revision is `expected` (0: if it is not there) put value */
    HISTORY_GET,    /* linearizable read of one key */
    HISTORY_GET_STALE, /* serializable read of one key: of an old revision perhaps, never wrong */
    HISTORY_GRANT,     /* a lease of ttl */
    HISTORY_REVOKE,
    HISTORY_KEEPALIVE,
    HISTORY_COMPACT, /* expected = the revision */
    HISTORY_KIND_END,
};

struct history_call {
    enum history_kind kind;
    struct bytes key, value;
    int64_t expected;
    int64_t lease;
    uint64_t ttl; /* grant: as asked for, in the unit of time */
};

enum history_outcome {
    HISTORY_OK,      /* the reply says it was done, or what was read */
    HISTORY_FAILED,  /* a definite refusal: it has not happened and never will */
    HISTORY_UNKNOWN, /* timed out, connection lost, leader changed: it may or may not happen */
};

struct history_reply {
    enum history_outcome outcome;
    int64_t revision; /* OK: the header's */
    bool succeeded;   /* CAS: the compare held. KEEPALIVE: the lease was there */
    bool found;       /* DELETE: there was something to delete. GET: the key was there, and then: */
    struct bytes value;
    int64_t mod_revision;
    int64_t lease; /* GRANT: the id given */
    uint64_t ttl;  /* GRANT, KEEPALIVE: as granted, in the unit of time */
};

/* Returns the call's number. A call that never ends counts as unknown. */
size_t history_begin(struct history *h, uint64_t time, const struct history_call *call);
void history_end(struct history *h, size_t call, uint64_t time, const struct history_reply *reply);

/* ---- watches ---- */

struct history_watch {
    struct bytes key, range_end; /* as in a request: "" = one key, "\0" = all from key on */
    /* 0 = after the present revision of the member that serves it, which the reply that says it is
     * there tells. As in etcd that member may lag: for what was acknowledged elsewhere before, a
     * client names the revision that it has seen. */
    int64_t start_revision;
};

size_t history_watch_begin(struct history *h, uint64_t time, const struct history_watch *w);
/* The reply that says it is there. One without a start revision sees all that is later than the
 * reply's revision; without this call it starts, for all we know, at the first thing it tells. */
void history_watch_created(struct history *h, size_t watch, uint64_t time, int64_t header_revision);
/* One batch as it came, fragments put together: whole revisions in order. header_revision is the
 * reply's. */
void history_watch_events(struct history *h, size_t watch, uint64_t time, int64_t header_revision,
    const struct history_change *changes, size_t n);
/* The server says that everything up to revision has been told. */
void history_watch_progress(struct history *h, size_t watch, int64_t revision);
/* The server ended it because history is gone; compact_revision > 0. */
void history_watch_compacted(struct history *h, size_t watch, int64_t compact_revision);
/* The watch must by now have told everything up to revision (0 = no claim): for the end of a run,
 * when everything has settled. */
void history_watch_settled(struct history *h, size_t watch, int64_t revision);

/* ---- the verdict ---- */

struct history_rules {
    /* Leases: a lease may go this much earlier than its TTL after the begin of the last keepalive
     * that was answered, in per mille of the TTL: clocks run at different rates. */
    unsigned ttl_slack_permille;
    bool all_known; /* every change of the truth was asked for in this history */
};

struct history_summary {
    size_t calls, unknown, reads, writes, watches, events;
};

/* 0; DECREE_ECORRUPT with the first violation in words: what was promised, which calls (number,
 * times, key) and revisions contradict it; or -EINVAL when the history itself is no use (one value
 * written by two calls). ret_summary may be NULL. Checks:
 *   calls    every OK write stands in the truth at its revision with exactly its effects, and no
 *            other; no FAILED one does; an UNKNOWN one at most once; with all_known every change is
 *            somebody's. Revisions agree with real time: a call that began after another had ended
 *            sees its revision or a later one, a write a later one.
 *   reads    value, mod_revision and absence are those of the truth at the reply's revision; a
 *            compare that failed and a delete that found nothing are such reads. A stale read may
 *            have an old revision, but shows what was there at that one, and is seen: whoever
 * begins after its end sees no older one. watches  the nine properties: ordered, unique, complete
 * without a gap from the start on, atomic by revision, nothing older than the start, no event that
 * is not in the truth, header and progress never ahead of what was told, resumable, ended when
 * compacted. leases   granted ids are unique; keys of a lease go with its revoke in one write; none
 * is found by a keepalive that began after its revoke was answered or after its expiry was seen;
 *            none goes before its time.
 *   compact  a revision is compacted once, and never one that is in the future. */
int history_check(const struct history *h, const struct history_rules *rules,
    struct history_summary *ret_summary, struct err *reterr);

#endif
