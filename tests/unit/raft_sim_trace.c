/* What happened, in words. */
#include "err.h"
#include "raft_sim_impl.h"

void sim_trace_conf(struct strbuf *t, const struct raft_conf *conf)
{
    for (size_t i = 0; i < conf->n; i++) {
        strbuf_printf(t, "%s%llu%s", i != 0 ? "," : "", (unsigned long long)conf->members[i].id,
            conf->members[i].learner ? "l" : "");
    }
}

void sim_trace_entry(struct strbuf *t, const struct raft_entry *e)
{
    struct raft_conf conf;

    strbuf_printf(t, " %llu/%llu", (unsigned long long)e->id.term, (unsigned long long)e->id.index);
    if (e->type == RAFT_ENTRY_CONF && raft_conf_decode(buf_bytes(e->payload), &conf, NULL) == 0) {
        strbuf_append_str(t, ":conf=");
        sim_trace_conf(t, &conf);
    } else if (e->payload->len != 0) {
        strbuf_append_char(t, ':');
        strbuf_append_bytes(t, buf_bytes(e->payload));
    }
}

void sim_trace_entries(struct strbuf *t, const struct raft_entry *entries, size_t n)
{
    strbuf_append_str(t, " [");
    for (size_t i = 0; i < n; i++) {
        sim_trace_entry(t, &entries[i]);
    }
    strbuf_append_str(t, " ]");
}

const char *const sim_msg_names[RAFT_MSG_TYPE_END] = {"?", "vote", "vote-reply", "prevote",
    "prevote-reply", "append", "append-reply", "heartbeat", "heartbeat-reply", "propose", "read",
    "read-reply", "timeout-now", "repair-ask", "repair-reply", "repair-goal", "repair-done"};

void sim_trace_msg(struct strbuf *t, const struct raft_msg *m)
{
    strbuf_printf(t, "%llu>%llu %s term=%llu", (unsigned long long)m->from,
        (unsigned long long)m->to, sim_msg_names[m->type], (unsigned long long)m->term);
    if (m->type == RAFT_MSG_VOTE || m->type == RAFT_MSG_PREVOTE || m->type == RAFT_MSG_APPEND) {
        strbuf_printf(t, " prev=%llu/%llu", (unsigned long long)m->prev.term,
            (unsigned long long)m->prev.index);
    }
    if (m->type == RAFT_MSG_APPEND || m->type == RAFT_MSG_HEARTBEAT) {
        strbuf_printf(t, " commit=%llu", (unsigned long long)m->commit);
    }
    if (m->type == RAFT_MSG_APPEND_REPLY || m->type == RAFT_MSG_HEARTBEAT_REPLY ||
        m->type == RAFT_MSG_READ_REPLY || m->type == RAFT_MSG_REPAIR_GOAL) {
        strbuf_printf(t, " index=%llu", (unsigned long long)m->index);
    }
    if (m->context != 0) {
        strbuf_printf(t, " context=%llu", (unsigned long long)m->context);
    }
    if (m->repairing) {
        strbuf_append_str(t, " repairing");
    }
    if (m->transfer) {
        strbuf_append_str(t, " transfer");
    }
    if (m->reject) {
        strbuf_append_str(t, " reject");
    }
    if (m->hint.index != 0) {
        strbuf_printf(t, " hint=%llu/%llu", (unsigned long long)m->hint.term,
            (unsigned long long)m->hint.index);
    }
    if (m->type == RAFT_MSG_APPEND || m->type == RAFT_MSG_PROPOSE) {
        sim_trace_entries(t, m->entries, m->n_entries);
    }
}

void sim_trace_status(struct strbuf *t, const struct raft *r)
{
    static const char *const roles[] = {"follower", "precandidate", "candidate", "leader"};
    struct raft_status st;

    raft_status(r, &st);
    strbuf_printf(t, "%s term=%llu leader=%llu%s", roles[st.role], (unsigned long long)st.term,
        (unsigned long long)st.leader, st.repairing ? " repairing" : "");
}
