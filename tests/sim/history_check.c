/* history_check [--all-known] [--ttl-slack-permille N] [FILE]: the verdict of history.h on a
 * history that clients of real processes recorded; FILE or standard input, one JSON object a line.
 * The last line of output is the verdict, "fine: …" or "violation: …". Exit status: 0 fine, 1
 * violation, 2 input that is no history (the line is named).
 *
 *   {"op": "truth", "revision": 2, "key": "a", "value": "v1", "lease": 7}
 *   {"op": "truth", "revision": 3, "key": "a", "delete": true}
 *       every change, ascending by revision from 2 on
 *   {"op": "begin", "call": 1, "time": 10, "kind": "put", "key": "a", "value": "v1", "lease": 7}
 *       kinds: put (key, value, lease), delete (key), cas (key, expected, value, lease),
 *       get (key), get_stale (key), grant (ttl, lease = the id wished for), revoke (lease),
 *       keepalive (lease), compact (expected = the revision)
 *   {"op": "end", "call": 1, "time": 20, "outcome": "ok", "revision": 2}
 *       outcomes: ok, failed, unknown. With ok: revision, and by kind
 *       delete: found; cas: succeeded (when it is false perhaps found, value, mod_revision);
 *       get, get_stale: found, value, mod_revision; grant: lease, ttl; keepalive: succeeded, ttl
 *   {"op": "watch_begin", "watch": "w1", "time": 5, "key": "a", "range_end": "b",
 *       "start_revision": 2}
 *   {"op": "watch_created", "watch": "w1", "time": 6, "revision": 1}
 *   {"op": "watch_events", "watch": "w1", "time": 21, "revision": 2, "events": [
 *       {"revision": 2, "key": "a", "value": "v1"}]}      one reply, fragments put together
 *   {"op": "progress", "watch": "w1", "revision": 2}
 *   {"op": "compacted", "watch": "w1", "revision": 9}      the compact_revision
 *   {"op": "settled", "watch": "w1", "revision": 2}
 *
 * Members left out are 0, "" or false; unknown ones are refused. Calls and watches are named by the
 * recorder, with numbers or strings. Times are whole numbers of one clock. A TTL has the unit of
 * time. Bytes: a JSON string stands for its UTF-8; what is none is base64 in a member with "64"
 * appended to its name ("key64"). A line is recorded before a request is sent and after a reply has
 * come. The verdict counts calls and watches from 0 in the order of their begin lines. */
#include "arena.h"
#include "base64.h"
#include "history.h"
#include "hmap.h"

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>

/* ---- names of calls and watches ---- */

struct name {
    struct hmap_node node;
    struct name *next; /* all, for the end */
    char *text;        /* owned: its JSON */
    size_t number;
    uint64_t begin;
    bool ended;
};

struct names {
    struct hmap by_text;
    struct name *all;
};

static struct name *name_find(const struct names *names, const char *text)
{
    uint64_t hash = bytes_hash(bytes_str(text));

    for (struct hmap_node *n = hmap_first(&names->by_text, hash); n != NULL;
         n = hmap_next_same(n)) {
        struct name *name = container_of(n, struct name, node);

        if (strcmp(name->text, text) == 0) {
            return name;
        }
    }
    return NULL;
}

static struct name *name_add(struct names *names, char *text_consume)
{
    struct name *name = xcalloc(1, sizeof(*name));

    name->text = text_consume;
    name->next = names->all;
    names->all = name;
    hmap_insert(&names->by_text, &name->node, bytes_hash(bytes_str(name->text)));
    return name;
}

static void names_deinit(struct names *names)
{
    while (names->all != NULL) {
        struct name *name = names->all;

        names->all = name->next;
        free(name->text);
        free(name);
    }
    hmap_deinit(&names->by_text);
}

/* ---- one line ---- */

struct reader {
    struct history *h;
    struct names calls, watches;
    size_t line;
    struct arena bytes; /* what base64 stood for, of one line */
    struct err err;     /* the first thing wrong */
};

/* An object whose members are taken one by one; what is left over at the end is unknown. */
struct object {
    struct reader *r;
    json_t *json; /* borrowed */
    size_t taken;
};

_printf_(2, 3) static void wrong(struct reader *r, const char *fmt, ...)
{
    _cleanup_free_ char *text = NULL;
    va_list ap;

    if (r->err.code != 0) {
        return;
    }
    va_start(ap, fmt);
    text = xvasprintf(fmt, ap);
    va_end(ap);
    (void)err_set(&r->err, -EINVAL, "line %zu: %s", r->line, text);
}

static json_t *take(struct object *o, const char *name)
{
    json_t *v = json_object_get(o->json, name);

    o->taken += v != NULL;
    return v;
}

static void take_end(struct object *o)
{
    if (json_object_size(o->json) != o->taken) {
        _cleanup_free_ char *text = json_dumps(o->json, JSON_COMPACT);

        wrong(o->r, "a member that does not belong here: %s", text);
    }
}

static int64_t take_int(struct object *o, const char *name)
{
    json_t *v = take(o, name);

    if (v != NULL && !json_is_integer(v)) {
        wrong(o->r, "%s is no whole number", name);
    }
    return json_integer_value(v);
}

static uint64_t take_time(struct object *o, const char *name)
{
    int64_t t = take_int(o, name);

    if (t < 0) {
        wrong(o->r, "%s is negative", name);
    }
    return (uint64_t)t;
}

static bool take_bool(struct object *o, const char *name)
{
    json_t *v = take(o, name);

    if (v != NULL && !json_is_boolean(v)) {
        wrong(o->r, "%s is neither true nor false", name);
    }
    return json_is_true(v);
}

/* name, or name64 in base64. */
static struct bytes take_bytes(struct object *o, const char *name)
{
    _cleanup_free_ char *name64 = xasprintf("%s64", name);
    _cleanup_strbuf_ struct strbuf decoded = {0};
    json_t *plain = take(o, name), *coded = take(o, name64);
    json_t *v = plain != NULL ? plain : coded;
    struct bytes text;

    if (v == NULL) {
        return (struct bytes){0};
    }
    if (!json_is_string(v) || (plain != NULL && coded != NULL)) {
        wrong(o->r, "%s is no string, or given twice", name);
        return (struct bytes){0};
    }
    text = bytes_make(json_string_value(v), json_string_length(v));
    if (plain != NULL) {
        return text;
    }
    if (base64_decode(&decoded, text) < 0) {
        wrong(o->r, "%s is not base64", name64);
    }
    return arena_copy(&o->r->bytes, strbuf_bytes(&decoded));
}

/* One of n words; its number. */
static size_t take_word(struct object *o, const char *name, const char *const *words, size_t n)
{
    const char *text = json_string_value(take(o, name));

    for (size_t i = 0; i < n && text != NULL; i++) {
        if (strcmp(words[i], text) == 0) {
            return i;
        }
    }
    wrong(o->r, "%s is %s, which is none of those known", name, text != NULL ? text : "missing");
    return 0;
}

/* The text by which a call or watch is known; NULL when it has none. */
static char *take_name(struct object *o, const char *what)
{
    json_t *v = take(o, what);

    if (!json_is_string(v) && !json_is_integer(v)) {
        wrong(o->r, "%s is neither a number nor a string", what);
        return NULL;
    }
    return json_dumps(v, JSON_ENCODE_ANY | JSON_COMPACT);
}

static struct name *take_new(struct object *o, struct names *names, const char *what)
{
    char *text = take_name(o, what);

    if (text != NULL && name_find(names, text) != NULL) {
        wrong(o->r, "%s %s has begun already", what, text);
    }
    return text != NULL ? name_add(names, text) : NULL;
}

static struct name *take_known(struct object *o, struct names *names, const char *what)
{
    _cleanup_free_ char *text = take_name(o, what);
    struct name *name = text != NULL ? name_find(names, text) : NULL;

    if (text != NULL && name == NULL) {
        wrong(o->r, "%s %s has not begun", what, text);
    }
    return name;
}

/* ---- what lines say ---- */

static struct history_change take_change(struct object *o)
{
    struct history_change c = {.revision = take_int(o, "revision"),
        .is_delete = take_bool(o, "delete"),
        .key = take_bytes(o, "key"),
        .value = take_bytes(o, "value"),
        .lease = take_int(o, "lease")};

    if (c.revision < 1 || c.key.len == 0) {
        wrong(o->r, "a change has a key and a revision");
    }
    return c;
}

static void on_truth(struct object *o)
{
    struct history_change c = take_change(o);

    history_truth(o->r->h, &c);
}

static const char *const kinds[] = {
    [HISTORY_PUT] = "put",
    [HISTORY_DELETE] = "delete",
    [HISTORY_CAS] = "cas",
    [HISTORY_GET] = "get",
    [HISTORY_GET_STALE] = "get_stale",
    [HISTORY_GRANT] = "grant",
    [HISTORY_REVOKE] = "revoke",
    [HISTORY_KEEPALIVE] = "keepalive",
    [HISTORY_COMPACT] = "compact",
};
_Static_assert(ARRAY_SIZE(kinds) == HISTORY_KIND_END, "a word for each kind");

static void on_begin(struct object *o)
{
    struct name *name = take_new(o, &o->r->calls, "call");
    uint64_t time = take_time(o, "time");
    struct history_call c = {
        .kind = (enum history_kind)take_word(o, "kind", kinds, ARRAY_SIZE(kinds)),
        .key = take_bytes(o, "key"),
        .value = take_bytes(o, "value"),
        .expected = take_int(o, "expected"),
        .lease = take_int(o, "lease"),
        .ttl = take_time(o, "ttl")};

    if (c.kind <= HISTORY_GET_STALE && c.key.len == 0) {
        wrong(o->r, "a %s has a key", kinds[c.kind]);
    }
    if (o->r->err.code == 0) {
        name->number = history_begin(o->r->h, time, &c);
        name->begin = time;
    }
}

static void on_end(struct object *o)
{
    static const char *const outcomes[] = {
        [HISTORY_OK] = "ok", [HISTORY_FAILED] = "failed", [HISTORY_UNKNOWN] = "unknown"};
    struct name *name = take_known(o, &o->r->calls, "call");
    uint64_t time = take_time(o, "time");
    struct history_reply reply = {
        .outcome = (enum history_outcome)take_word(o, "outcome", outcomes, ARRAY_SIZE(outcomes)),
        .revision = take_int(o, "revision"),
        .succeeded = take_bool(o, "succeeded"),
        .found = take_bool(o, "found"),
        .value = take_bytes(o, "value"),
        .mod_revision = take_int(o, "mod_revision"),
        .lease = take_int(o, "lease"),
        .ttl = take_time(o, "ttl")};

    if (name != NULL && (name->ended || time < name->begin)) {
        wrong(o->r, name->ended ? "the call has ended already" : "the call ends before it begins");
    }
    if (o->r->err.code == 0) {
        name->ended = true;
        history_end(o->r->h, name->number, time, &reply);
    }
}

static void on_watch_begin(struct object *o)
{
    struct name *name = take_new(o, &o->r->watches, "watch");
    uint64_t time = take_time(o, "time");
    struct history_watch w = {.key = take_bytes(o, "key"),
        .range_end = take_bytes(o, "range_end"),
        .start_revision = take_int(o, "start_revision")};

    if (o->r->err.code == 0) {
        name->number = history_watch_begin(o->r->h, time, &w);
    }
}

static void on_watch_created(struct object *o)
{
    struct name *name = take_known(o, &o->r->watches, "watch");
    uint64_t time = take_time(o, "time");
    int64_t revision = take_int(o, "revision");

    if (o->r->err.code == 0) {
        history_watch_created(o->r->h, name->number, time, revision);
    }
}

static void on_watch_events(struct object *o)
{
    struct name *name = take_known(o, &o->r->watches, "watch");
    uint64_t time = take_time(o, "time");
    int64_t revision = take_int(o, "revision");
    json_t *events = take(o, "events");
    size_t n = json_array_size(events);
    _cleanup_free_ struct history_change *changes = xcalloc(n + 1, sizeof(*changes));

    if (events != NULL && !json_is_array(events)) {
        wrong(o->r, "events are no array");
    }
    for (size_t i = 0; i < n; i++) {
        struct object event = {o->r, json_array_get(events, i), 0};

        changes[i] = take_change(&event);
        take_end(&event);
    }
    if (o->r->err.code == 0) {
        history_watch_events(o->r->h, name->number, time, revision, changes, n);
    }
}

static void on_said(
    struct object *o, void (*say)(struct history *h, size_t watch, int64_t revision))
{
    struct name *name = take_known(o, &o->r->watches, "watch");
    int64_t revision = take_int(o, "revision");

    if (o->r->err.code == 0) {
        say(o->r->h, name->number, revision);
    }
}

static void on_progress(struct object *o)
{
    on_said(o, history_watch_progress);
}

static void on_compacted(struct object *o)
{
    on_said(o, history_watch_compacted);
}

static void on_settled(struct object *o)
{
    on_said(o, history_watch_settled);
}

static const char *const op_names[] = {"truth", "begin", "end", "watch_begin", "watch_created",
    "watch_events", "progress", "compacted", "settled"};
static void (*const ops[])(struct object *o) = {on_truth, on_begin, on_end, on_watch_begin,
    on_watch_created, on_watch_events, on_progress, on_compacted, on_settled};
_Static_assert(ARRAY_SIZE(op_names) == ARRAY_SIZE(ops), "an arm for each name");

/* ---- the file ---- */

static void read_line(struct reader *r, const char *text, size_t len)
{
    json_error_t error;
    json_t *json = json_loadb(text, len, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &error);
    struct object o = {r, json, 0};

    if (!json_is_object(json)) {
        wrong(r, "no JSON object: %s", json == NULL ? error.text : "something else");
    } else {
        size_t op = take_word(&o, "op", op_names, ARRAY_SIZE(op_names));

        if (r->err.code == 0) {
            ops[op](&o);
            take_end(&o);
        }
    }
    json_decref(json);
    arena_reset(&r->bytes);
}

static void read_file(struct reader *r, FILE *f)
{
    _cleanup_free_ char *text = NULL;
    size_t cap = 0;
    ssize_t len;

    while (r->err.code == 0 && (len = getline(&text, &cap, f)) >= 0) {
        r->line++;
        read_line(r, text, (size_t)len);
    }
    if (r->err.code == 0 && ferror(f)) {
        (void)err_set(&r->err, -errno, "after line %zu: %s", r->line, strerror(errno));
    }
}

static int verdict(struct reader *r, const struct history_rules *rules)
{
    _cleanup_err_ struct err err = {0};
    struct history_summary s;
    int result = history_check(r->h, rules, &s, &err);

    if (result == -EINVAL) {
        fprintf(stderr, "history_check: %s\n", err.text);
        return 2;
    }
    printf("%zu calls (%zu reads, %zu writes; %zu of unknown outcome), %zu watches told %zu "
           "events\n",
        s.calls, s.reads, s.writes, s.unknown, s.watches, s.events);
    printf("%s%s\n", result == 0 ? "fine" : "violation: ", result == 0 ? "" : err.text);
    return result == 0 ? 0 : 1;
}

static int usage(void)
{
    fputs("usage: history_check [--all-known] [--ttl-slack-permille N] [FILE]\n", stderr);
    return 2;
}

static int options(int argc, char **argv, struct history_rules *ret)
{
    static const struct option known[] = {{"all-known", no_argument, NULL, 'a'},
        {"ttl-slack-permille", required_argument, NULL, 's'}, {0}};
    int c;

    while ((c = getopt_long(argc, argv, "", known, NULL)) != -1) {
        char *end = NULL;

        if (c == 'a') {
            ret->all_known = true;
            continue;
        }
        if (c != 's') {
            return usage();
        }
        ret->ttl_slack_permille = (unsigned)strtoul(optarg, &end, 10);
        if (end == optarg || *end != '\0' || ret->ttl_slack_permille > 1000) {
            return usage();
        }
    }
    return argc - optind > 1 ? usage() : 0;
}

int main(int argc, char **argv)
{
    struct history_rules rules = {0};
    struct reader r = {0};
    FILE *f = stdin;
    int status = options(argc, argv, &rules);

    if (status != 0) {
        return status;
    }
    if (optind < argc && (f = fopen(argv[optind], "re")) == NULL) {
        fprintf(stderr, "history_check: %s: %s\n", argv[optind], strerror(errno));
        return 2;
    }
    arena_init(&r.bytes, 0);
    r.h = history_new();
    read_file(&r, f);
    if (r.err.code != 0) {
        fprintf(stderr, "history_check: %s\n", r.err.text);
        status = 2;
    } else {
        status = verdict(&r, &rules);
    }
    if (f != stdin) {
        (void)fclose(f);
    }
    names_deinit(&r.calls);
    names_deinit(&r.watches);
    arena_deinit(&r.bytes);
    history_free(r.h);
    err_clear(&r.err);
    return status;
}
