/* Hostile values: a template as an operator would write it, over keys and values that the input
 * chooses. A render fails with a text or ends within its limits, the same twice, and a value never
 * becomes a part of the template. Input: number of the template, then keys and values, each with
 * its length in front. */
#include "fuzz.h"

#include <stdlib.h>
#include <string.h>

#include "codec.h"
#include "template.h"

enum { OUTPUT_BYTES = 1 << 16, STEPS = 20000, MEMORY_BYTES = 1 << 20, KEYS_MAX = 16 };

/* Each function of the dialect takes a value of the store in one of them. */
static const char *const sources[] = {
    "{{range gets \"/*\"}}{{.Key}}={{.Value}};{{end}}{{range getvs \"/*/*\"}}{{.}}{{end}}",
    "{{range ls \"/\"}}{{.}} {{end}}{{range lsdir \"/\"}}{{.}}/{{range ls .}}{{.}}{{end}}{{end}}",
    "{{$v := getv \"/v\" \"x\"}}{{range $i, $p := split $v \",\"}}{{$i}}:{{$p | toUpper}}"
    "{{toLower $p}}{{trimSuffix $p \"a\"}}{{replace $p \"a\" \"bb\" -1}}{{end}}{{join (split $v "
    "\",\") \"-\"}}",
    "{{$m := json (getv \"/v\")}}{{range $k, $x := $m}}{{$k}}={{$x}}|{{printf \"%v %+v %#v %T\" $x "
    "$x $x $x}}{{end}}{{$m.a}}{{index $m \"a\" \"b\"}}{{len $m}}",
    "{{range $i, $x := jsonArray (getv \"/v\")}}{{$i}}{{$x}}{{printf \"%s %d %q %x\" $x $x $x "
    "$x}}{{end}}",
    "{{$n := atoi (getv \"/v\")}}{{add $n 1}} {{sub $n -1}} {{mul $n $n}} {{div $n (atoi (getv "
    "\"/w\" \"3\"))}} {{mod $n (atoi (getv \"/w\" \"-1\"))}}{{range seq 1 $n}}{{.}}{{end}}",
    "{{$v := getv \"/v\"}}{{printf $v 1 \"two\" 3.5 true}}{{printf \"%s|%q|%x|%10.3s|%U\" $v $v $v "
    "$v $v}}{{print $v 1 2}}{{println $v}}",
    "{{$v := getv \"/v\"}}{{html $v}}{{js $v}}{{urlquery $v}}{{$v | len}}{{index $v 0}}{{slice $v "
    "1 "
    "2}}{{slice $v (atoi (getv \"/w\" \"0\"))}}",
    "{{if parseBool (getv \"/v\")}}yes{{else}}no{{end}}{{if contains (getv \"/v\") (getv \"/w\" "
    "\"\")}}in{{end}}{{if eq (getv \"/v\") (getv \"/w\" \"\")}}same{{end}}{{lt (getv \"/v\") "
    "\"m\"}}",
    "{{base (getv \"/v\")}} {{dir (getv \"/v\")}} {{fileExists (getv \"/v\")}} {{getenv (getv "
    "\"/v\") \"unset\"}}{{exists (getv \"/v\")}}{{range ls (getv \"/v\")}}{{.}}{{end}}",
    "{{range reverse (gets \"/*\")}}{{.Key}}{{end}}{{range sortByLength (getvs \"/*\")}}{{.}}"
    "{{end}}{{range sortKVByLength (gets \"/*\")}}{{.Key}}{{end}}{{range reverse (ls \"/\")}}"
    "{{.}}{{end}}",
    "{{$m := map \"a\" (getv \"/v\") (getv \"/w\" \"k\") 2}}{{range $k, $v := $m}}{{$k}}{{$v}}"
    "{{end}}{{with get (getv \"/w\" \"/v\")}}{{.Key}}{{.Value}}{{end}}{{datetime.Year}}",
    "{{define \"t\"}}{{.}}{{if contains . \"(\"}}{{template \"t\" trimSuffix . "
    "\"(\"}}{{end}}{{end}}"
    "{{template \"t\" getv \"/v\"}}{{datetime.Format (getv \"/v\")}}",
};

struct keys {
    struct {
        struct bytes key, value;
    } list[KEYS_MAX]; /* ascending */
    size_t n;
};

static bool env_get(void *data, struct bytes key, struct bytes *ret_value)
{
    const struct keys *k = data;

    for (size_t i = 0; i < k->n; i++) {
        if (bytes_eq(k->list[i].key, key)) {
            *ret_value = k->list[i].value;
            return true;
        }
    }
    return false;
}

static void env_walk(void *data, struct bytes from,
    bool (*visit)(void *arg, struct bytes key, struct bytes value), void *arg)
{
    const struct keys *k = data;

    for (size_t i = 0; i < k->n; i++) {
        if (bytes_cmp(k->list[i].key, from) >= 0 && !visit(arg, k->list[i].key, k->list[i].value)) {
            return;
        }
    }
}

static const char *env_getenv(void *data _unused_, const char *name)
{
    return name[0] == 'H' ? "/home" : NULL;
}

static int64_t env_now_ns(void *data _unused_)
{
    return 1234567890123456789;
}

static bool env_file_exists(void *data _unused_, const char *path)
{
    return path[0] == '/';
}

/* Replaces a key that is there. */
static void add(struct keys *k, struct bytes key, struct bytes value)
{
    size_t at = 0;

    while (at < k->n && bytes_cmp(k->list[at].key, key) < 0) {
        at++;
    }
    if (at == k->n || !bytes_eq(k->list[at].key, key)) {
        memmove(&k->list[at + 1], &k->list[at], (k->n - at) * sizeof(k->list[0]));
        k->n++;
    }
    k->list[at].key = key;
    k->list[at].value = value;
}

static void read_keys(struct keys *k, struct dec *d)
{
    add(k, BYTES_LITERAL("/v"), dec_bytes(d));
    while (k->n < KEYS_MAX && dec_left(d) > 0) {
        struct bytes key = dec_bytes(d);

        if (key.len > 0 && key.data[0] == '/') {
            add(k, key, dec_bytes(d));
        }
    }
}

static int render(struct template *t, struct keys *k, struct strbuf *out, struct err *e)
{
    const struct template_env env = {.data = k,
        .get = env_get,
        .walk = env_walk,
        .getenv = env_getenv,
        .now_ns = env_now_ns,
        .file_exists = env_file_exists};
    const struct template_limits limits = {OUTPUT_BYTES, STEPS, MEMORY_BYTES};
    int rc = template_render(t, &env, &limits, out, e);

    decree_assert((rc < 0) == (e->text != NULL) && out->len <= OUTPUT_BYTES);
    return rc;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct template *parsed[ARRAY_SIZE(sources)];
    _cleanup_strbuf_ struct strbuf one = {0}, two = {0};
    _cleanup_err_ struct err e = {0}, again = {0};
    struct dec d = dec_make(bytes_make(data, size));
    size_t n = dec_u8(&d) % ARRAY_SIZE(sources);
    struct keys keys = {.n = 0};
    int rc;

    if (parsed[n] == NULL) {
        rc = template_parse("values", bytes_str(sources[n]), NULL, &parsed[n], &e);
        decree_assert(rc == 0);
    }
    read_keys(&keys, &d);
    rc = render(parsed[n], &keys, &one, &e);
    decree_assert(render(parsed[n], &keys, &two, &again) == rc);
    decree_assert(bytes_eq(strbuf_bytes(&one), strbuf_bytes(&two)));
    decree_assert(rc == 0 || strcmp(e.text, again.text) == 0);
    return 0;
}
