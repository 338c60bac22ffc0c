/* Runs the scripts in raft/: each line that begins in the first column is a command, the indented
 * lines under it are what it must print. Every command is one turn: its events are stepped, then
 * each member's update is taken; messages then wait in the pool and batches at the disk for later
 * commands.
 *
 *     test_raft_script [FILE…]               RAFT_REWRITE=1 writes the files anew
 *
 *     cluster N [key=value…]  N members; keys: learners=3,4 outside=5 (begin empty) and the options
 *                             election heartbeat window window-bytes append-bytes uncommitted
 *     tick N [COUNT]          campaign N           transfer N M      read N [COUNT]
 *     propose N VALUE…        conf N 1,2,3l        unreachable N M   link-lost N M   compact N
 * [KEEP] deliver [A>B [COUNT]]   what waits now, each message a turn of its receiver drop [A>B
 * [COUNT]]      repeat A>B (what waits there comes once more, behind) persist N [COUNT] batches
 * under way become durable, all or so many cut A B / heal          deliver drops what crosses, both
 * ways crash N [WHOLE [PART]]  loses what is under way but for so many batches and entries start N
 *     damage N INDEX [TERM]   the disk of N, which is down, loses the log from INDEX on and all
 * terms above TERM; 0 loses everything; N knows lose N INDEX            the same without N knowing
 *     settle                  delivers and persists silently until nothing is left
 *     status / log N          what they say
 *     inject A>B TYPE [term= prev=T/I commit= index= context= hint=T/I reject transfer T/I:VALUE…]
 */
#include <ctype.h>
#include <glob.h>
#include <stdio.h>

#include "file.h"
#include "raft_sim.h"

struct script {
    struct sim s;
    bool is_open;
    bool is_cut[SIM_NODES_MAX + 1][SIM_NODES_MAX + 1];
    struct strbuf out;
    const char *path;
    int line;
    char *words[40]; /* of the command being run */
    size_t n_words;
};

__attribute__((noreturn)) static void bad(struct script *x, const char *what)
{
    (void)fprintf(stderr, "%s:%d: %s\n", x->path, x->line, what);
    exit(1);
}

/* ---- words ---- */

static uint64_t number(struct script *x, const char *word)
{
    char *end;
    uint64_t v = strtoull(word, &end, 0);

    if (*word == '\0' || (*end != '\0' && strchr("/:>,l", *end) == NULL)) {
        bad(x, "a number is wanted");
    }
    return v;
}

static uint64_t arg(struct script *x, size_t i, uint64_t otherwise)
{
    return i < x->n_words ? number(x, x->words[i]) : otherwise;
}

static struct sim_node *node_arg(struct script *x, size_t i, bool is_up)
{
    uint64_t id = arg(x, i, 0);

    if (id == 0 || id > x->s.n_nodes || (x->s.nodes[id].r != NULL) != is_up) {
        bad(x, is_up ? "no such member, or it is down" : "no such member, or it is up");
    }
    return &x->s.nodes[id];
}

struct link {
    uint64_t from, to; /* 0 = any */
};

static struct link link_arg(struct script *x, size_t i)
{
    struct link l = {0};

    if (i < x->n_words) {
        const char *to = strchr(x->words[i], '>');

        if (to == NULL) {
            bad(x, "a link is written 1>2");
        }
        l.from = number(x, x->words[i]);
        l.to = number(x, to + 1);
    }
    return l;
}

static struct raft_entry_id id_of(struct script *x, const char *word)
{
    const char *slash = strchr(word, '/');

    if (slash == NULL) {
        bad(x, "an entry is written TERM/INDEX");
    }
    return (struct raft_entry_id){.term = number(x, word), .index = number(x, slash + 1)};
}

static struct raft_conf conf_of(struct script *x, const char *word)
{
    struct raft_conf conf = {0};

    for (; word != NULL; word = strchr(word, ',') != NULL ? strchr(word, ',') + 1 : NULL) {
        const char *end = word + strspn(word, "0123456789");

        conf.members[conf.n].id = number(x, word);
        conf.members[conf.n++].learner = *end == 'l';
    }
    return conf;
}

static const char *value_of(const char *word, const char *key)
{
    size_t n = strlen(key);

    return strncmp(word, key, n) == 0 && word[n] == '=' ? word + n + 1 : NULL;
}

/* ---- turns ---- */

static void take_all(struct script *x)
{
    for (size_t i = 1; i <= x->s.n_nodes; i++) {
        if (x->s.nodes[i].r != NULL) {
            sim_take(&x->s, &x->s.nodes[i]);
        }
    }
}

static void say_outcome(struct script *x, int rc)
{
    static const char *const names[] = {"ok", "not leader", "busy", "stale", "refused"};

    if (rc != RAFT_OK) {
        strbuf_printf(&x->out, "  => %s\n", names[rc]);
    }
}

static void step(struct script *x, struct sim_node *n, struct raft_event ev)
{
    say_outcome(x, sim_event(&x->s, n, &ev));
}

/* ---- commands ---- */

static void set_option(struct script *x, struct raft_options *o, const char *word)
{
    const struct {
        const char *key;
        size_t *size;
        unsigned *count;
    } keys[] = {
        {"election", NULL, &o->election_ticks},
        {"heartbeat", NULL, &o->heartbeat_ticks},
        {"window", NULL, &o->inflight_msgs_max},
        {"window-bytes", &o->inflight_bytes_max, NULL},
        {"append-bytes", &o->append_bytes_max, NULL},
        {"uncommitted", &o->uncommitted_bytes_max, NULL},
    };

    for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
        const char *value = value_of(word, keys[i].key);

        if (value != NULL && keys[i].count != NULL) {
            *keys[i].count = (unsigned)number(x, value);
            return;
        }
        if (value != NULL) {
            *keys[i].size = number(x, value);
            return;
        }
    }
    bad(x, "no such option");
}

static void cmd_cluster(struct script *x)
{
    struct raft_options o = {.election_ticks = 10,
        .heartbeat_ticks = 1,
        .inflight_msgs_max = 512,
        .inflight_bytes_max = 1 << 20,
        .append_bytes_max = 1 << 20,
        .uncommitted_bytes_max = 64 << 20};
    struct raft_conf conf = {0}, learners = {0}, outside = {0};

    for (size_t i = 2; i < x->n_words; i++) {
        if (value_of(x->words[i], "learners") != NULL) {
            learners = conf_of(x, value_of(x->words[i], "learners"));
        } else if (value_of(x->words[i], "outside") != NULL) {
            outside = conf_of(x, value_of(x->words[i], "outside"));
        } else {
            set_option(x, &o, x->words[i]);
        }
    }
    for (uint64_t id = 1; id <= arg(x, 1, 0); id++) {
        struct raft_member m = {.id = id};
        bool is_in = true;

        for (size_t i = 0; i < learners.n; i++) {
            m.learner |= learners.members[i].id == id;
        }
        for (size_t i = 0; i < outside.n; i++) {
            is_in &= outside.members[i].id != id;
        }
        if (is_in) {
            conf.members[conf.n++] = m;
        }
    }
    sim_init(&x->s, arg(x, 1, 0), &conf, &o, 1);
    (void)snprintf(x->s.where, sizeof(x->s.where), "%s", x->path);
    x->is_open = true;
    take_all(x); /* everybody is a follower: no news */
    x->s.trace = &x->out;
}

static void cmd_tick(struct script *x)
{
    struct sim_node *n = node_arg(x, 1, true);

    for (uint64_t i = arg(x, 2, 1); i > 0; i--) {
        step(x, n, (struct raft_event){.type = RAFT_EV_TICK});
        take_all(x);
    }
}

static void cmd_campaign(struct script *x)
{
    step(x, node_arg(x, 1, true), (struct raft_event){.type = RAFT_EV_CAMPAIGN});
}

static void cmd_transfer(struct script *x)
{
    step(x, node_arg(x, 1, true),
        (struct raft_event){.type = RAFT_EV_TRANSFER, .peer = arg(x, 2, 0)});
}

static void cmd_unreachable(struct script *x)
{
    step(x, node_arg(x, 1, true),
        (struct raft_event){.type = RAFT_EV_UNREACHABLE, .peer = arg(x, 2, 0)});
}

static void cmd_link_lost(struct script *x)
{
    step(x, node_arg(x, 1, true),
        (struct raft_event){.type = RAFT_EV_LINK_LOST, .peer = arg(x, 2, 0)});
}

static void cmd_read(struct script *x)
{
    struct sim_node *n = node_arg(x, 1, true);
    uint64_t context;

    for (uint64_t i = arg(x, 2, 1); i > 0; i--) {
        say_outcome(x, sim_read(&x->s, n, &context));
    }
}

static void cmd_propose(struct script *x)
{
    struct sim_node *n = node_arg(x, 1, true);

    for (size_t i = 2; i < x->n_words; i++) {
        say_outcome(x, sim_propose(&x->s, n, RAFT_ENTRY_NORMAL, bytes_str(x->words[i])));
    }
}

static void cmd_conf(struct script *x)
{
    struct raft_conf conf = conf_of(x, x->n_words > 2 ? x->words[2] : NULL);
    _cleanup_buf_ struct buf *payload = sim_conf_payload(&conf);

    say_outcome(x, sim_propose(&x->s, node_arg(x, 1, true), RAFT_ENTRY_CONF, buf_bytes(payload)));
}

static void cmd_compact(struct script *x)
{
    sim_compact(&x->s, node_arg(x, 1, true), arg(x, 2, 0));
}

static size_t find_msg(struct script *x, struct link l)
{
    size_t i = 0;

    while (i < x->s.n_pool &&
        ((l.from != 0 && x->s.pool[i].m.from != l.from) ||
            (l.to != 0 && x->s.pool[i].m.to != l.to))) {
        i++;
    }
    return i;
}

static size_t count_msgs(const struct script *x, struct link l)
{
    size_t n = 0;

    for (size_t i = 0; i < x->s.n_pool; i++) {
        n += (l.from == 0 || x->s.pool[i].m.from == l.from) &&
            (l.to == 0 || x->s.pool[i].m.to == l.to);
    }
    return n;
}

static void drop_msg(struct script *x, size_t i)
{
    struct sim_msg *m = &x->s.pool[i];
    struct raft_event ev = {
        .type = RAFT_EV_SNAPSHOT_STATUS, .snapshot_status = {.peer = m->m.to, .ok = false}};
    struct sim_node *from = m->is_snapshot ? &x->s.nodes[m->m.from] : NULL;

    sim_pool_remove(&x->s, i);
    if (from != NULL && from->r != NULL) {
        step(x, from, ev);
    }
}

static void deliver_msg(struct script *x, size_t i)
{
    const struct sim_msg *m = &x->s.pool[i];

    if (x->is_cut[m->m.from][m->m.to] || x->s.nodes[m->m.to].r == NULL) {
        drop_msg(x, i);
    } else {
        sim_deliver(&x->s, i);
    }
    take_all(x);
}

static void cmd_deliver(struct script *x)
{
    struct link l = link_arg(x, 1);

    for (uint64_t n = MIN(arg(x, 2, UINT64_MAX), count_msgs(x, l)); n > 0; n--) {
        deliver_msg(x, find_msg(x, l));
    }
}

static void cmd_drop(struct script *x)
{
    struct link l = link_arg(x, 1);

    for (uint64_t n = MIN(arg(x, 2, UINT64_MAX), count_msgs(x, l)); n > 0; n--) {
        drop_msg(x, find_msg(x, l));
    }
}

static void cmd_repeat(struct script *x)
{
    struct link l = link_arg(x, 1);

    for (size_t i = 0, n = x->s.n_pool; i < n; i++) {
        struct sim_msg again = x->s.pool[i];

        if (again.m.from == l.from && again.m.to == l.to) {
            sim_pool_add(&x->s, &again);
        }
    }
}

static void cmd_persist(struct script *x)
{
    struct sim_node *n = node_arg(x, 1, true);

    for (uint64_t i = MIN(arg(x, 2, UINT64_MAX), n->n_writes); i > 0; i--) {
        sim_persist(&x->s, n);
        take_all(x);
    }
}

static void cmd_cut(struct script *x)
{
    uint64_t a = arg(x, 1, 0), b = arg(x, 2, 0);

    if (a == 0 || b == 0 || MAX(a, b) > x->s.n_nodes) {
        bad(x, "two members are wanted");
    }
    x->is_cut[a][b] = x->is_cut[b][a] = true;
}

static void cmd_heal(struct script *x)
{
    memset(x->is_cut, 0, sizeof(x->is_cut));
}

static void cmd_crash(struct script *x)
{
    sim_crash(&x->s, node_arg(x, 1, true), arg(x, 2, 0), arg(x, 3, 0));
}

static void cmd_damage(struct script *x)
{
    sim_damage(&x->s, node_arg(x, 1, false), arg(x, 2, 0), arg(x, 3, UINT64_MAX));
}

/* An old image of the disk: nothing says that something is missing. */
static void cmd_lose(struct script *x)
{
    struct sim_node *n = node_arg(x, 1, false);

    sim_damage(&x->s, n, arg(x, 2, 0), arg(x, 3, UINT64_MAX));
    n->repairing = false;
}

static void cmd_start(struct script *x)
{
    sim_start(&x->s, node_arg(x, 1, false));
}

static void cmd_settle(struct script *x)
{
    bool busy = true;

    x->s.trace = NULL;
    while (busy) {
        busy = false;
        for (size_t i = 1; i <= x->s.n_nodes; i++) {
            while (x->s.nodes[i].r != NULL && x->s.nodes[i].n_writes > 0) {
                sim_persist(&x->s, &x->s.nodes[i]);
                take_all(x);
                busy = true;
            }
        }
        for (; x->s.n_pool > 0; busy = true) {
            deliver_msg(x, 0);
        }
    }
    x->s.trace = &x->out;
}

static void say_progress(struct script *x, const struct raft *r)
{
    static const char *const states[] = {"probe", "replicate", "snapshot"};
    struct raft_progress p[RAFT_MEMBERS_MAX];
    size_t n = raft_progress(r, p);

    for (size_t i = 0; i < n; i++) {
        strbuf_printf(&x->out, "    %llu%s %s match=%llu next=%llu window=%zu%s\n",
            (unsigned long long)p[i].id, p[i].learner ? "l" : "", states[p[i].state],
            (unsigned long long)p[i].match, (unsigned long long)p[i].next, p[i].inflight_msgs,
            p[i].repairing           ? " repairing"
                : p[i].recent_active ? ""
                                     : " silent");
    }
}

static void cmd_status(struct script *x)
{
    for (size_t i = 1; i <= x->s.n_nodes; i++) {
        const struct sim_node *n = &x->s.nodes[i];
        struct raft_status st;

        strbuf_printf(&x->out, "  %zu ", i);
        if (n->r == NULL) {
            strbuf_append_str(&x->out, "down\n");
            continue;
        }
        raft_status(n->r, &st);
        sim_trace_status(&x->out, n->r);
        strbuf_printf(&x->out, " commit=%llu applied=%llu stable=%llu log=%llu..%llu conf=",
            (unsigned long long)st.commit, (unsigned long long)st.applied,
            (unsigned long long)st.stable, (unsigned long long)st.first_index,
            (unsigned long long)st.last_index);
        sim_trace_conf(&x->out, raft_conf(n->r));
        strbuf_append_str(&x->out, st.lease_proven ? " proven\n" : "\n");
        say_progress(x, n->r);
    }
}

static void cmd_log(struct script *x)
{
    const struct sim_node *n = node_arg(x, 1, true);
    struct raft_status st;
    size_t count;

    raft_status(n->r, &st);
    count = (size_t)(st.last_index + 1 - st.first_index);
    strbuf_printf(&x->out, "  %d", (int)n->id);
    sim_trace_entries(
        &x->out, count != 0 ? raft_entries(n->r, st.first_index, st.last_index) : NULL, count);
    strbuf_append_char(&x->out, '\n');
}

static enum raft_msg_type type_of(struct script *x, const char *word)
{
    for (int type = RAFT_MSG_VOTE; type < RAFT_MSG_TYPE_END; type++) {
        if (strcmp(sim_msg_names[type], word) == 0) {
            return (enum raft_msg_type)type;
        }
    }
    return (enum raft_msg_type)number(x, word);
}

static void inject_field(struct script *x, struct raft_msg *m, const char *word)
{
    const struct {
        const char *key;
        uint64_t *value;
    } keys[] = {
        {"term", &m->term}, {"commit", &m->commit}, {"index", &m->index}, {"context", &m->context}};

    for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
        if (value_of(word, keys[i].key) != NULL) {
            *keys[i].value = number(x, value_of(word, keys[i].key));
            return;
        }
    }
    if (value_of(word, "prev") != NULL) {
        m->prev = id_of(x, value_of(word, "prev"));
    } else if (value_of(word, "hint") != NULL) {
        m->hint = id_of(x, value_of(word, "hint"));
    } else if (strcmp(word, "reject") == 0) {
        m->reject = true;
    } else if (strcmp(word, "transfer") == 0) {
        m->transfer = true;
    } else {
        bad(x, "no such field");
    }
}

static void cmd_inject(struct script *x)
{
    struct link l = link_arg(x, 1);
    struct raft_entry entries[ARRAY_SIZE(x->words)];
    struct raft_msg m = {.from = l.from, .to = l.to, .entries = entries};

    if (x->n_words < 3) {
        bad(x, "inject A>B TYPE …");
    }
    m.type = type_of(x, x->words[2]);
    for (size_t i = 3; i < x->n_words; i++) {
        const char *word = x->words[i], *value = strchr(word, ':');

        if (isdigit((unsigned char)*word)) {
            entries[m.n_entries++] = (struct raft_entry){.id = id_of(x, word),
                .payload = buf_copy(bytes_str(value != NULL ? value + 1 : ""))};
        } else {
            inject_field(x, &m, word);
        }
    }
    step(x, &x->s.nodes[l.to], (struct raft_event){.type = RAFT_EV_MSG, .msg = &m});
    for (size_t i = 0; i < m.n_entries; i++) {
        buf_unref(entries[i].payload);
    }
}

static const struct {
    const char *name;
    void (*run)(struct script *x);
} commands[] = {
    {"cluster", cmd_cluster},
    {"tick", cmd_tick},
    {"campaign", cmd_campaign},
    {"transfer", cmd_transfer},
    {"unreachable", cmd_unreachable},
    {"link-lost", cmd_link_lost},
    {"read", cmd_read},
    {"propose", cmd_propose},
    {"conf", cmd_conf},
    {"compact", cmd_compact},
    {"deliver", cmd_deliver},
    {"drop", cmd_drop},
    {"repeat", cmd_repeat},
    {"persist", cmd_persist},
    {"cut", cmd_cut},
    {"heal", cmd_heal},
    {"crash", cmd_crash},
    {"damage", cmd_damage},
    {"lose", cmd_lose},
    {"start", cmd_start},
    {"settle", cmd_settle},
    {"status", cmd_status},
    {"log", cmd_log},
    {"inject", cmd_inject},
};

static void run_command(struct script *x, char *line)
{
    char *save = NULL;

    x->n_words = 0;
    for (char *w = strtok_r(line, " ", &save); w != NULL; w = strtok_r(NULL, " ", &save)) {
        if (x->n_words == ARRAY_SIZE(x->words)) {
            bad(x, "too many words");
        }
        x->words[x->n_words++] = w;
    }
    for (size_t i = 0; i < ARRAY_SIZE(commands); i++) {
        if (strcmp(commands[i].name, x->words[0]) == 0) {
            if (x->is_open == (commands[i].run == cmd_cluster)) {
                bad(x, "each script begins with one cluster");
            }
            commands[i].run(x);
            take_all(x);
            return;
        }
    }
    bad(x, "no such command");
}

/* ---- files ---- */

/* Where the two differ first, with the lines before it. */
static void say_difference(const char *path, const char *want, const char *got)
{
    size_t line = 1, start = 0, i = 0;

    for (; want[i] != '\0' && want[i] == got[i]; i++) {
        if (want[i] == '\n') {
            line++;
            start = i + 1;
        }
    }
    (void)fprintf(stderr, "%s:%zu:\n  want: %.*s\n  got:  %.*s\n", path, line,
        (int)strcspn(want + start, "\n"), want + start, (int)strcspn(got + start, "\n"),
        got + start);
}

static bool run_script(const char *path)
{
    _cleanup_free_ struct script *x = xcalloc(1, sizeof(*x));
    _cleanup_strbuf_ struct strbuf want = {0};
    _cleanup_err_ struct err e = {0};
    bool is_same;

    x->path = path;
    if (file_read(path, 1 << 20, &want, &e) != 0) {
        (void)fprintf(stderr, "%s\n", e.text);
        return false;
    }
    for (const char *p = strbuf_cstr(&want), *end; *p != '\0'; p = end + 1) {
        _cleanup_free_ char *line = NULL;

        end = strchrnul(p, '\n');
        line = xstrndup(p, (size_t)(end - p));
        x->line++;
        if (*line != ' ') {
            strbuf_printf(&x->out, "%s\n", line);
            if (*line != '#' && *line != '\0') {
                run_command(x, line);
            }
        }
        if (*end == '\0') {
            break;
        }
    }
    is_same = strcmp(strbuf_cstr(&want), strbuf_cstr(&x->out)) == 0;
    if (!is_same && getenv("RAFT_REWRITE") != NULL) {
        FILE *f = fopen(path, "we");

        is_same =
            f != NULL && fwrite(x->out.data, 1, x->out.len, f) == x->out.len && fclose(f) == 0;
    }
    if (!is_same) {
        say_difference(path, strbuf_cstr(&want), strbuf_cstr(&x->out));
    }
    if (x->is_open) {
        sim_deinit(&x->s);
    }
    strbuf_deinit(&x->out);
    return is_same;
}

int main(int argc, char **argv)
{
    glob_t found = {0};
    size_t n = (size_t)argc - 1, bad_ones = 0;
    char **paths = argv + 1;

    if (argc == 1 && glob("raft/*.txt", 0, NULL, &found) == 0) {
        n = found.gl_pathc;
        paths = found.gl_pathv;
    }
    for (size_t i = 0; i < n; i++) {
        bad_ones += !run_script(paths[i]);
    }
    printf("%zu scripts, %zu differ\n", n, bad_ones);
    globfree(&found);
    return n == 0 || bad_ones != 0;
}
