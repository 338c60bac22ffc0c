#include "preview.h"

#include <errno.h>
#include <stdio.h>

#include "config.h"
#include "diff.h"
#include "sync.h"
#include "target.h"
#include "view.h"

struct preview {
    uv_loop_t loop;
    struct config config;
    struct client *client;
    struct mirror *mirror;
    struct sync *sync;
    uv_timer_t timer;
    size_t groups_left;
    char *error; /* owned: why the store did not answer so far */
};

static void on_changed(void *data, size_t group, struct bytes key)
{
    (void)data;
    (void)group;
    (void)key;
}

static void on_settled(void *data, size_t group)
{
    struct preview *p = data;

    (void)group;
    p->groups_left = 0;
    for (size_t i = 0; i < mirror_n_groups(p->mirror); i++) {
        p->groups_left += !sync_current(p->sync, i);
    }
    if (p->groups_left == 0) {
        uv_stop(&p->loop);
    }
}

static void on_loaded(void *data, size_t group)
{
    (void)data;
    (void)group;
}

static void on_online(void *data, bool online, const char *error)
{
    struct preview *p = data;

    free(p->error);
    p->error = online ? NULL : xstrdup(error);
}

static void on_timeout(uv_timer_t *timer)
{
    uv_stop(timer->loop);
}

/* Reads the store once; every group at one revision. */
static int read_store(struct preview *p, struct err *reterr)
{
    static const struct sync_handler handler = {
        .on_settled = on_settled, .on_loaded = on_loaded, .on_online = on_online};

    for (size_t i = 0; i < p->config.n_resources; i++) {
        (void)mirror_add_resource(
            p->mirror, p->config.resources[i]->n_scopes, p->config.resources[i]->scopes);
    }
    mirror_build(p->mirror);
    p->groups_left = mirror_n_groups(p->mirror);
    if (p->groups_left == 0) {
        return 0;
    }
    p->sync = sync_new(&p->loop, p->client, p->mirror, &handler, p);
    (void)uv_timer_init(&p->loop, &p->timer);
    (void)uv_timer_start(&p->timer, on_timeout, PREVIEW_WAIT_MS, 0);
    sync_start(p->sync);
    (void)uv_run(&p->loop, UV_RUN_DEFAULT);
    uv_close((uv_handle_t *)&p->timer, NULL);
    sync_free(p->sync);
    if (p->groups_left > 0) {
        return err_set(reterr, -ETIMEDOUT, "the store did not answer within %d ms: %s",
            PREVIEW_WAIT_MS, p->error != NULL ? p->error : "no answer");
    }
    return 0;
}

static void print(const struct strbuf *out)
{
    if (out->len > 0) {
        (void)fwrite(out->data, 1, out->len, stdout);
    }
}

/* "mode 0644 would be 0640, owner 0:0 would be 0:33" */
static void print_attrs(const struct target *t)
{
    struct file_attrs want = target_wanted_attrs(t);

    (void)printf("# %s: mode %04o, owner %u:%u would be mode %04o, owner %u:%u\n", t->spec->dest,
        t->attrs.mode, t->attrs.uid, t->attrs.gid, want.mode, want.uid, want.gid);
}

static int show(const struct preview_options *o, const struct resource *r, const struct mirror *m)
{
    const struct target_spec spec = {
        .dest = r->dest, .uid = r->uid, .gid = r->gid, .has_mode = r->has_mode, .mode = r->mode};
    _cleanup_target_ struct target t = TARGET_INIT;
    _cleanup_strbuf_ struct strbuf rendered = {0};
    _cleanup_strbuf_ struct strbuf out = {0};
    _cleanup_err_ struct err e = {0};
    bool attrs_differ, bytes_differ;

    if (view_render(r, m, NULL, &rendered, &e) < 0 || target_open(&t, &spec, &e) < 0) {
        (void)fprintf(stderr, "decreed-agent: %s: %s\n", r->name, e.text);
        return PREVIEW_FAILED;
    }
    bytes_differ = !t.exists || !bytes_eq(strbuf_bytes(&t.bytes), strbuf_bytes(&rendered));
    attrs_differ = t.exists && !target_attrs_match(&t);
    if (!o->diff) {
        strbuf_printf(&out, "# %s%s\n", r->dest, bytes_differ ? " (would change)" : "");
        strbuf_append_bytes(&out, strbuf_bytes(&rendered));
    } else if (bytes_differ) {
        diff_unified(&out, t.exists ? r->dest : "/dev/null", strbuf_bytes(&t.bytes), r->dest,
            strbuf_bytes(&rendered));
    }
    print(&out);
    if (attrs_differ) {
        print_attrs(&t);
    }
    return bytes_differ || attrs_differ ? PREVIEW_CHANGES : PREVIEW_SAME;
}

static int run(struct preview *p, const struct preview_options *o)
{
    _cleanup_err_ struct err e = {0};
    int worst = PREVIEW_SAME;

    if (config_load(o->conf_dir, &p->config, &e) < 0 ||
        client_new(&p->loop, o->endpoints, &p->client, &e) < 0 || read_store(p, &e) < 0) {
        (void)fprintf(stderr, "decreed-agent: %s\n", e.text);
        return PREVIEW_FAILED;
    }
    for (size_t i = 0; i < p->config.n_faults; i++) {
        (void)fprintf(stderr, "decreed-agent: %s\n", p->config.faults[i].text);
        worst = PREVIEW_FAILED;
    }
    for (size_t i = 0; i < p->config.n_resources; i++) {
        int outcome = show(o, p->config.resources[i], p->mirror);

        worst = MAX(worst, outcome);
    }
    return fflush(stdout) == 0 ? worst : PREVIEW_FAILED;
}

int preview_run(const struct preview_options *o)
{
    struct preview p = {0};
    int code;

    if (uv_loop_init(&p.loop) < 0) {
        decree_fatal("no event loop can be made");
    }
    p.mirror = mirror_new(on_changed, &p);
    code = run(&p, o);
    client_free(p.client);
    (void)uv_run(&p.loop, UV_RUN_DEFAULT); /* handles close */
    mirror_free(p.mirror);
    config_deinit(&p.config);
    free(p.error);
    (void)uv_loop_close(&p.loop);
    return code;
}
