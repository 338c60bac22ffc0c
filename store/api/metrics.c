#include "metrics.h"

#include <dirent.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/resource.h>

#include "api_impl.h"

enum { FSYNC_BUCKETS = 16 };

static const char *const code_names[GRPC_CODES] = {"OK", "Canceled", "Unknown", "InvalidArgument",
    "DeadlineExceeded", "NotFound", "AlreadyExists", "PermissionDenied", "ResourceExhausted",
    "FailedPrecondition", "Aborted", "OutOfRange", "Unimplemented", "Internal", "Unavailable",
    "DataLoss", "Unauthenticated"};

static void head(struct strbuf *out, const char *name, const char *type, const char *help)
{
    strbuf_printf(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static void gauge(struct strbuf *out, const char *name, uint64_t value, const char *help)
{
    head(out, name, "gauge", help);
    strbuf_printf(out, "%s %" PRIu64 "\n", name, value);
}

static void counter(struct strbuf *out, const char *name, uint64_t value, const char *help)
{
    head(out, name, "counter", help);
    strbuf_printf(out, "%s %" PRIu64 "\n", name, value);
}

static void server(const struct store_metrics *m, struct strbuf *out)
{
    gauge(out, "etcd_server_has_leader", m->has_leader, "Whether or not a leader exists.");
    gauge(out, "etcd_server_is_leader", m->is_leader, "Whether or not this member leads.");
    gauge(out, "etcd_server_is_learner", m->is_learner, "Whether or not this member is a learner.");
    counter(out, "etcd_server_leader_changes_seen_total", m->leader_changes,
        "Leader changes that this member has seen.");
    gauge(out, "etcd_server_proposals_committed_total", m->proposals_committed,
        "Consensus proposals committed.");
    gauge(out, "etcd_server_proposals_applied_total", m->proposals_applied,
        "Consensus proposals applied.");
    gauge(out, "etcd_server_proposals_pending", m->proposals_pending,
        "Proposals that wait to be committed.");
    counter(out, "etcd_server_proposals_failed_total", m->proposals_failed, "Failed proposals.");
    gauge(out, "decree_alarm_nospace", m->alarms[STORE_ALARM_NOSPACE],
        "Members whose alarm of space is active.");
    gauge(out, "decree_alarm_corrupt", m->alarms[STORE_ALARM_CORRUPT],
        "Members of which an alarm says that their state differs from the others.");
    counter(out, "decree_hash_checks_total", m->hash_checks,
        "Comparisons between members that this member made as leader.");
    counter(out, "decree_hash_differences_total", m->hash_differences,
        "Those that found members to differ.");
    gauge(out, "etcd_server_quota_backend_bytes", m->quota_bytes, "The quota in bytes.");
}

static void keyspace(const struct store_metrics *m, struct strbuf *out)
{
    gauge(out, "etcd_mvcc_db_total_size_in_bytes", m->db_bytes,
        "Bytes of the keyspace, history included.");
    gauge(out, "etcd_mvcc_db_total_size_in_use_in_bytes", m->db_live_bytes,
        "Bytes of the live keys.");
    gauge(out, "etcd_debugging_mvcc_keys_total", m->keys, "Number of keys.");
    gauge(out, "etcd_debugging_mvcc_current_revision", (uint64_t)m->revision,
        "The current revision.");
    gauge(out, "etcd_debugging_mvcc_compact_revision", (uint64_t)m->compacted_revision,
        "The revision of the last compaction.");
    gauge(out, "etcd_debugging_mvcc_watcher_total", m->watchers, "Number of watchers.");
    gauge(out, "etcd_debugging_mvcc_slow_watcher_total", m->slow_watchers,
        "Watchers that replay from history.");
    gauge(out, "decree_repairing", m->repairing,
        "Whether this member is fetching from the others what its disk lost.");
    gauge(out, "decree_leases", m->leases, "Number of leases.");
}

static void fsyncs(const struct store_metrics *m, struct strbuf *out)
{
    static const char name[] = "etcd_disk_wal_fsync_duration_seconds";
    double le = 0.001;

    head(out, name, "histogram", "How long the log took to become durable.");
    for (int i = 0; i < FSYNC_BUCKETS; i++, le *= 2) {
        strbuf_printf(out, "%s_bucket{le=\"%g\"} %" PRIu64 "\n", name, le, m->wal_fsync_bucket[i]);
    }
    strbuf_printf(out, "%s_bucket{le=\"+Inf\"} %" PRIu64 "\n", name, m->wal_fsyncs);
    strbuf_printf(out, "%s_sum %.9f\n", name, (double)m->wal_fsync_ns / 1e9);
    strbuf_printf(out, "%s_count %" PRIu64 "\n", name, m->wal_fsyncs);
    counter(out, "etcd_disk_wal_write_bytes_total", m->wal_bytes, "Bytes written to the log.");
}

/* Times in microseconds, which Prometheus wants as seconds and each bucket with those below it. */
static void histogram(
    struct strbuf *out, const char *name, const struct store_times *t, const char *help)
{
    uint64_t below = 0;

    if (t->bounds_us == NULL) {
        return;
    }
    head(out, name, "histogram", help);
    for (int i = 0; i < STORE_TIMES_BUCKETS; i++) {
        below += t->bucket[i];
        strbuf_printf(
            out, "%s_bucket{le=\"%g\"} %" PRIu64 "\n", name, (double)t->bounds_us[i] / 1e6, below);
    }
    strbuf_printf(out, "%s_bucket{le=\"+Inf\"} %" PRIu64 "\n", name, t->n);
    strbuf_printf(out, "%s_sum %.6f\n", name, (double)t->sum_us / 1e6);
    strbuf_printf(out, "%s_count %" PRIu64 "\n", name, t->n);
}

static void beats(const struct store_metrics *m, struct strbuf *out)
{
    counter(out, "etcd_server_heartbeat_send_failures_total", m->heartbeats_late,
        "Heartbeats that this leader sent later than two intervals after the last: it is "
        "overloaded.");
    histogram(out, "decree_heartbeat_gap_seconds", &m->heartbeat_gaps,
        "Time between two words of the leader, as this follower heard them, or until it gave up.");
    histogram(out, "decree_loop_turn_seconds", &m->loop_turns,
        "What a turn of the loop takes, during which nothing else is heard.");
}

static void peers(const struct store_metrics *m, struct strbuf *out)
{
    static const char sent[] = "etcd_network_peer_sent_bytes_total",
                      received[] = "etcd_network_peer_received_bytes_total",
                      failures[] = "etcd_network_peer_sent_failures_total",
                      active[] = "etcd_network_active_peers";

    head(out, sent, "counter", "Bytes sent to each member.");
    for (size_t i = 0; i < m->n_peers; i++) {
        strbuf_printf(out, "%s{To=\"%" PRIx64 "\"} %" PRIu64 "\n", sent, m->peers[i].id,
            m->peers[i].sent_bytes);
    }
    head(out, received, "counter", "Bytes received from each member.");
    for (size_t i = 0; i < m->n_peers; i++) {
        strbuf_printf(out, "%s{From=\"%" PRIx64 "\"} %" PRIu64 "\n", received, m->peers[i].id,
            m->peers[i].received_bytes);
    }
    head(out, failures, "counter", "Messages that could not be sent.");
    for (size_t i = 0; i < m->n_peers; i++) {
        strbuf_printf(out, "%s{To=\"%" PRIx64 "\"} %" PRIu64 "\n", failures, m->peers[i].id,
            m->peers[i].sent_failures);
    }
    head(out, active, "gauge", "Members to which there is a connection.");
    for (size_t i = 0; i < m->n_peers; i++) {
        strbuf_printf(
            out, "%s{Remote=\"%" PRIx64 "\"} %d\n", active, m->peers[i].id, m->peers[i].active);
    }
}

static void labels(struct strbuf *out, const char *name, const struct method *m)
{
    strbuf_printf(out, "%s{grpc_method=\"%s\",grpc_service=\"%s\",grpc_type=\"%s\"", name, m->name,
        m->service,
        method_is_stream(m)              ? "bidi_stream"
            : m->kind == METHOD_SNAPSHOT ? "server_stream"
                                         : "unary");
}

/* One counter of every method; offset is that of the figure in its counters. */
static void per_method(
    struct api *api, struct strbuf *out, const char *name, const char *help, size_t offset)
{
    head(out, name, "counter", help);
    for (size_t i = 0; i < METHOD_COUNT; i++) {
        uint64_t value;

        memcpy(&value, (const char *)&api->counters.methods[i] + offset, sizeof(value));
        labels(out, name, &methods[i]);
        strbuf_printf(out, "} %" PRIu64 "\n", value);
    }
}

static void calls(struct api *api, struct strbuf *out)
{
    static const char handled[] = "grpc_server_handled_total";
    typedef __typeof__(api->counters.methods[0]) figures;

    per_method(api, out, "grpc_server_started_total", "Calls started.", offsetof(figures, started));
    per_method(api, out, "grpc_server_msg_received_total", "Messages received.",
        offsetof(figures, received));
    per_method(api, out, "grpc_server_msg_sent_total", "Messages sent.", offsetof(figures, sent));
    head(out, handled, "counter", "Calls that have ended, by their status.");
    for (size_t i = 0; i < METHOD_COUNT; i++) {
        for (size_t code = 0; code < GRPC_CODES; code++) {
            uint64_t n = api->counters.methods[i].handled[code];

            if (n != 0 || code == 0) {
                labels(out, handled, &methods[i]);
                strbuf_printf(out, ",grpc_code=\"%s\"} %" PRIu64 "\n", code_names[code], n);
            }
        }
    }
    counter(out, "etcd_network_client_grpc_received_bytes_total", api->counters.received_bytes,
        "Bytes received from clients.");
    counter(out, "etcd_network_client_grpc_sent_bytes_total", api->counters.sent_bytes,
        "Bytes sent to clients.");
}

static void doors(struct api *api, struct strbuf *out)
{
    gauge(out, "decree_api_connections", api->n_conns, "Connections of clients.");
    gauge(out, "decree_api_requests", api->n_exchanges, "Requests under way, streams included.");
    gauge(out, "decree_api_calls", api->n_calls, "Requests that are with the store.");
    gauge(out, "decree_api_calls_limit", api->calls_total,
        "How many may be there at a time before connections wait for their part.");
    gauge(out, "decree_api_waiting_bytes", api->out_bytes + api->watch_bytes + api->in_bytes,
        "Bytes of requests and answers that wait.");
    counter(out, "decree_api_refused_connections_total", api->counters.refused_connections,
        "Connections closed at once for there are too many.");
    counter(out, "decree_api_refused_requests_total", api->counters.refused_requests,
        "Requests refused for there are too many, or too many bytes of them.");
    counter(out, "decree_api_glitches_total", api->counters.glitches,
        "Resets, empty and broken HTTP/2 frames.");
}

/* ---- the process ---- */

static uint64_t resident_bytes(void)
{
    unsigned long size, resident = 0;
    FILE *f = fopen("/proc/self/statm", "re");

    if (f != NULL) {
        if (fscanf(f, "%lu %lu", &size, &resident) != 2) {
            resident = 0;
        }
        (void)fclose(f);
    }
    return resident * (uint64_t)sysconf(_SC_PAGESIZE);
}

static uint64_t open_fds(void)
{
    DIR *dir = opendir("/proc/self/fd");
    uint64_t n = 0;

    if (dir != NULL) {
        while (readdir(dir) != NULL) {
            n++;
        }
        (void)closedir(dir);
    }
    return n > 3 ? n - 3 : 0; /* ".", ".." and the folder itself */
}

static double cpu_seconds(void)
{
    struct rusage u;

    if (getrusage(RUSAGE_SELF, &u) < 0) {
        return 0;
    }
    return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
        (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

/* Seconds since 1970: the wall clock now less what has passed since the process began. */
static double start_time(void)
{
    struct timespec wall, boot;
    unsigned long long ticks = 0;
    FILE *f = fopen("/proc/self/stat", "re");

    if (f != NULL) {
        /* Field 22; the name, field 2, ends with the last parenthesis. */
        if (fscanf(f,
                "%*d (%*[^)]) %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d "
                "%*d %*d %*d %*d %llu",
                &ticks) != 1) {
            ticks = 0;
        }
        (void)fclose(f);
    }
    (void)clock_gettime(CLOCK_REALTIME, &wall);
    (void)clock_gettime(CLOCK_BOOTTIME, &boot);
    return (double)(wall.tv_sec - boot.tv_sec) + (double)(wall.tv_nsec - boot.tv_nsec) / 1e9 +
        (double)ticks / (double)sysconf(_SC_CLK_TCK);
}

static void process(struct strbuf *out)
{
    struct rlimit limit = {0};

    gauge(out, "process_resident_memory_bytes", resident_bytes(), "Resident memory.");
    gauge(out, "process_open_fds", open_fds(), "Open file descriptors.");
    (void)getrlimit(RLIMIT_NOFILE, &limit);
    gauge(out, "process_max_fds", limit.rlim_cur, "The limit of open file descriptors.");
    head(out, "process_cpu_seconds_total", "counter", "User and system time.");
    strbuf_printf(out, "process_cpu_seconds_total %.3f\n", cpu_seconds());
    head(out, "process_start_time_seconds", "gauge", "Start of the process since 1970.");
    strbuf_printf(out, "process_start_time_seconds %.2f\n", start_time());
}

static void versions(struct api *api, struct strbuf *out)
{
    head(out, "etcd_server_version", "gauge", "The version that clients parse.");
    strbuf_printf(out, "etcd_server_version{server_version=\"%s\"} 1\n", STORE_ETCD_VERSION);
    head(out, "decree_version", "gauge", "Our own version.");
    strbuf_printf(out, "decree_version{version=\"%s\"} 1\n", DECREE_VERSION);
    head(out, "etcd_server_id", "gauge", "This member's id.");
    strbuf_printf(
        out, "etcd_server_id{server_id=\"%" PRIx64 "\"} 1\n", store_header(api->store).member_id);
}

void metrics_write(struct api *api, struct strbuf *out)
{
    struct store_metrics m;

    memset(&m, 0, sizeof(m));
    store_metrics(api->store, &m);
    versions(api, out);
    server(&m, out);
    keyspace(&m, out);
    fsyncs(&m, out);
    beats(&m, out);
    peers(&m, out);
    calls(api, out);
    doors(api, out);
    process(out);
}
