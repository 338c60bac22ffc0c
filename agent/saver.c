#include "saver.h"

#include <fcntl.h>

#include "file.h"
#include "log.h"

static const char file_name[] = "mirror";

struct saver {
    uv_loop_t *loop;
    int state_fd; /* borrowed */
    const struct mirror *(*mirror)(void *data);
    void (*on_idle)(void *data);
    void *data;
    uv_timer_t timer;
    uv_work_t work;
    bool busy;           /* the worker has `bytes` and `err` */
    struct strbuf bytes; /* what is written */
    struct err err;
};

struct saver *saver_new(uv_loop_t *loop, int state_fd, const struct mirror *(*mirror)(void *data),
    void (*on_idle)(void *data), void *data)
{
    struct saver *s = xcalloc(1, sizeof(*s));

    s->loop = loop;
    s->state_fd = state_fd;
    s->mirror = mirror;
    s->on_idle = on_idle;
    s->data = data;
    (void)uv_timer_init(loop, &s->timer);
    s->timer.data = s;
    return s;
}

static void write_bytes(uv_work_t *work)
{
    static const struct file_attrs attrs = {.mode = 0600, .uid = (uid_t)-1, .gid = (gid_t)-1};
    struct saver *s = container_of(work, struct saver, work);

    (void)file_replace_at(s->state_fd, file_name, strbuf_bytes(&s->bytes), &attrs, &s->err);
}

static void tell_error(struct saver *s)
{
    if (s->err.text != NULL) {
        log_warn("cannot save what is known of the store: %s", s->err.text);
        err_clear(&s->err);
    }
}

static void on_written(uv_work_t *work, int status)
{
    struct saver *s = container_of(work, struct saver, work);

    decree_assert(status == 0); /* never canceled */
    s->busy = false;
    tell_error(s);
    s->on_idle(s->data);
}

static void encode(struct saver *s)
{
    strbuf_clear(&s->bytes);
    mirror_save(s->mirror(s->data), &s->bytes);
}

static void on_timer(uv_timer_t *timer)
{
    struct saver *s = timer->data;
    int rc;

    if (s->busy) {
        saver_wake(s);
        return;
    }
    encode(s);
    s->busy = true;
    rc = uv_queue_work(s->loop, &s->work, write_bytes, on_written);
    decree_assert(rc == 0);
}

void saver_wake(struct saver *s)
{
    if (!uv_is_active((uv_handle_t *)&s->timer)) {
        (void)uv_timer_start(&s->timer, on_timer, SAVER_COLLECT_MS, 0);
    }
}

void saver_stop(struct saver *s)
{
    (void)uv_timer_stop(&s->timer);
}

bool saver_busy(const struct saver *s)
{
    return s->busy;
}

void saver_save(struct saver *s)
{
    decree_assert(!s->busy);
    encode(s);
    write_bytes(&s->work);
    tell_error(s);
}

static void on_closed(uv_handle_t *handle)
{
    struct saver *s = handle->data;

    strbuf_deinit(&s->bytes);
    free(s);
}

struct saver *saver_free(struct saver *s)
{
    if (s != NULL) {
        decree_assert(!s->busy);
        uv_close((uv_handle_t *)&s->timer, on_closed);
    }
    return NULL;
}

void saver_restore(int state_fd, struct mirror *m)
{
    _cleanup_strbuf_ struct strbuf saved = {0};
    _cleanup_err_ struct err e = {0};
    int rc;

    if (faccessat(state_fd, file_name, F_OK, 0) < 0) {
        return; /* the first start */
    }
    rc = file_read_at(state_fd, file_name, SAVER_BYTES_MAX, &saved, &e);
    if (rc == 0) {
        rc = mirror_restore(m, strbuf_bytes(&saved));
    }
    if (rc < 0) {
        log_warn("what was saved of the store cannot be used, waiting for the store itself: %s",
            e.text != NULL ? e.text : "it is damaged");
    }
}
