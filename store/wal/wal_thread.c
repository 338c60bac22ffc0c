/* The threads of the log and how batches pass between them and the loop:
 *
 *     wal_append -> queue -> (writer: write, fdatasync) -> done -> wake -> wal_poll -> callback
 *
 * The writer takes all that is queued, up to WAL_BATCH_BYTES_MAX, as one write; what arrives while
 * the disk is busy is the next. Full disk: what was written before it showed is done, the rest of
 * the batch waits and is tried again; nothing is lost. */
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <time.h>

#include "buggify.h"
#include "slice.h"
#include "wal_internal.h"

/* Signals are the loop's. SIGXFSZ is blocked with them: writes then fail with EFBIG. */
void wal_thread_run(pthread_t *ret, void *(*run)(void *), void *data)
{
    pthread_attr_t attr;
    sigset_t all, before;
    int rc;

    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &before);
    (void)pthread_attr_init(&attr);
    (void)pthread_attr_setstacksize(&attr, WAL_THREAD_STACK_BYTES);
    rc = pthread_create(ret, &attr, run, data);
    (void)pthread_attr_destroy(&attr);
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (rc != 0) {
        decree_fatal("cannot start a thread of the log: %s", strerror(rc));
    }
}

static void wait_ms(struct wal *w, unsigned ms)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    t.tv_nsec += (long)(ms % 1000) * 1000000;
    t.tv_sec += (time_t)(ms / 1000) + t.tv_nsec / 1000000000;
    t.tv_nsec %= 1000000000;
    (void)pthread_cond_timedwait(&w->writer_cond, &w->lock, &t);
}

/* Moves the head of the queue to batch: at least one request, more while they are small. Lock
 * held. */
static void take_batch(struct wal *w, struct list *batch)
{
    size_t bytes = 0;

    while (!list_empty(&w->queue)) {
        struct wal_append_req *req = list_entry(w->queue.next, struct wal_append_req, queue_);
        size_t n = wal_req_bytes(req);

        if (bytes > 0 && (bytes + n > WAL_BATCH_BYTES_MAX || BUGGIFY("batch_short"))) {
            break;
        }
        bytes += n;
        list_del(&req->queue_);
        list_add_tail(batch, &req->queue_);
    }
}

static size_t bytes_of(const struct list *reqs)
{
    size_t bytes = 0;

    list_for_each (l, reqs) {
        bytes += wal_req_bytes(list_entry(l, struct wal_append_req, queue_));
    }
    return bytes;
}

/* Back to where it was, in front of what came since. Lock held. */
static void put_back(struct wal *w, struct list *batch)
{
    list_splice_tail(batch, &w->queue);
    list_splice_tail(&w->queue, batch);
}

/* One batch of the queue, which is not empty; the lock is held but for the writing. */
static int write_one(struct wal *w)
{
    struct list batch, durable;
    size_t bytes;
    int rc;

    list_init(&batch);
    list_init(&durable);
    take_batch(w, &batch);
    (void)pthread_mutex_unlock(&w->lock);
    rc = wal_write_batch(w, &batch, &durable);
    bytes = bytes_of(&durable);
    (void)pthread_mutex_lock(&w->lock);
    w->queued_bytes -= bytes;
    list_splice_tail(&w->done, &durable);
    put_back(w, &batch);
    return rc;
}

/* Lets the loop know of completions, if there are some. Lock held, but for the call. */
static void wake_loop(struct wal *w)
{
    if (!list_empty(&w->done)) {
        (void)pthread_mutex_unlock(&w->lock);
        w->wake(w->wake_data);
        (void)pthread_mutex_lock(&w->lock);
    }
}

static void *writer_main(void *data)
{
    struct wal *w = data;
    bool vouched = true; /* the last batch has a mark behind it */
    int rc;

    (void)pthread_setname_np(pthread_self(), "wal-writer");
    thread_ask_short_slices(WAL_SLICE_NS);
    (void)pthread_mutex_lock(&w->lock);
    while (!w->stopping) {
        if (list_empty(&w->queue)) {
            if (vouched) {
                (void)pthread_cond_wait(&w->writer_cond, &w->lock);
                continue;
            }
            wait_ms(w, WAL_IDLE_MARK_MS);
            if (list_empty(&w->queue) && !w->stopping) {
                (void)pthread_mutex_unlock(&w->lock);
                wal_write_mark(w, false);
                (void)pthread_mutex_lock(&w->lock);
                vouched = true;
            }
            continue;
        }
        vouched = false;
        rc = write_one(w);
        wake_loop(w);
        if (rc < 0) {
            wal_keep_ask(w);
            if (!w->stopping) {
                wait_ms(w, WAL_RETRY_MS);
            }
        }
    }
    (void)pthread_mutex_unlock(&w->lock);
    return NULL;
}

static void *keeper_main(void *data)
{
    struct wal *w = data;

    (void)pthread_setname_np(pthread_self(), "wal-keeper");
    (void)pthread_mutex_lock(&w->lock);
    while (!w->stopping) {
        if (!w->keeper_asked) {
            (void)pthread_cond_wait(&w->keeper_cond, &w->lock);
            continue;
        }
        (void)pthread_mutex_unlock(&w->lock);
        wal_keep_step(w);
        (void)pthread_mutex_lock(&w->lock);
    }
    (void)pthread_mutex_unlock(&w->lock);
    return NULL;
}

void wal_threads_start(struct wal *w)
{
    w->created = true;
    (void)pthread_mutex_lock(&w->lock);
    wal_keep_ask(w);
    (void)pthread_mutex_unlock(&w->lock);
    if (w->wake != NULL) {
        wal_thread_run(&w->writer, writer_main, w);
        wal_thread_run(&w->keeper, keeper_main, w);
    }
}

void wal_threads_stop(struct wal *w)
{
    if (!w->created || w->wake == NULL) {
        return;
    }
    (void)pthread_mutex_lock(&w->lock);
    w->stopping = true;
    atomic_store(&w->stop_keeper, true);
    (void)pthread_cond_signal(&w->writer_cond);
    (void)pthread_cond_signal(&w->keeper_cond);
    (void)pthread_mutex_unlock(&w->lock);
    (void)pthread_join(w->writer, NULL);
    (void)pthread_join(w->keeper, NULL);
}

int wal_await_next(struct wal *w)
{
    int rc = 0;

    if (w->wake == NULL) {
        wal_keep_step(w);
    }
    (void)pthread_mutex_lock(&w->lock);
    while (w->next_state != WAL_NEXT_READY && rc == 0) {
        if (w->stopping) {
            rc = -ECANCELED;
        } else if (w->full && w->next_state == WAL_NEXT_NONE) {
            rc = -ENOSPC;
        } else {
            (void)pthread_cond_wait(&w->writer_cond, &w->lock);
        }
    }
    (void)pthread_mutex_unlock(&w->lock);
    return rc;
}

void wal_write_queued(struct wal *w)
{
    bool asked;
    int rc = 0;

    (void)pthread_mutex_lock(&w->lock);
    while (!list_empty(&w->queue) && rc == 0) {
        rc = write_one(w);
    }
    asked = w->keeper_asked || rc < 0;
    (void)pthread_mutex_unlock(&w->lock);
    if (asked) {
        wal_keep_step(w);
    }
}
