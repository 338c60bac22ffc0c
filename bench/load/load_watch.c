/* watch: many watchers of one key, and one put after the other. A put is sent when the events of
 * the one before have all arrived; measured are its reply, the first event and the last. */
#include <inttypes.h>
#include <string.h>

#include "alloc.h"
#include "clock.h"
#include "die.h"
#include "load.h"
#include "message.h"
#include "rpc.h"

static const struct bytes watched_key = {(const uint8_t *)"watched!", 8};
/* An event that takes longer is lost. */
static const uint64_t patience_ns = UINT64_C(30) * 1000000000u;

struct watch_load;

struct watch_stream {
    struct rpc rpc;
    struct watch_load *load; /* borrowed */
};

struct watch_load {
    struct watch_stream *streams; /* owned */
    uint64_t n_streams, watchers, created;
    struct rpc put;
    uint64_t put_ns, reply_ns, first_ns, last_ns; /* of this round; 0 = not yet */
    uint64_t events;                              /* of this round */
};

static void on_watch_message(struct rpc *rpc, struct bytes message)
{
    struct watch_load *l = container_of(rpc, struct watch_stream, rpc)->load;
    struct watch_reply reply;

    if (!message_read_watch(message, &reply) || reply.canceled) {
        die("a watch was ended by the server");
    }
    l->created += reply.created;
    if (reply.events != 0) {
        l->last_ns = clock_boot_ns();
        l->first_ns = l->first_ns != 0 ? l->first_ns : l->last_ns;
        l->events += reply.events;
    }
}

static void on_watch_done(struct rpc *rpc)
{
    die("a watch stream ended: grpc %d %s", rpc->status, strbuf_cstr(&rpc->status_text));
}

static void on_put_done(struct rpc *rpc)
{
    struct watch_load *l = container_of(rpc, struct watch_load, put);

    if (rpc->status != 0) {
        die("the put failed: grpc %d %s", rpc->status, strbuf_cstr(&rpc->status_text));
    }
    l->reply_ns = clock_boot_ns();
}

static void add_watcher(struct watch_stream *w)
{
    size_t begin = rpc_message_begin(&w->rpc);

    message_watch_create(&w->rpc.out, watched_key);
    rpc_message_end(&w->rpc, begin);
}

static void watch_setup(struct watch_load *l, struct rpc_net *net)
{
    uint64_t end = clock_boot_ns() + patience_ns;

    for (uint64_t i = 0; i < l->n_streams; i++) {
        struct watch_stream *w = &l->streams[i];

        w->load = l;
        w->rpc.conn = rpc_net_assign(net);
        w->rpc.on_message = on_watch_message;
        w->rpc.on_done = on_watch_done;
        for (uint64_t j = i; j < l->watchers; j += l->n_streams) {
            add_watcher(w);
        }
        rpc_start(&w->rpc, "/etcdserverpb.Watch/Watch");
    }
    while (l->created < l->watchers) {
        if (clock_boot_ns() > end) {
            die("%" PRIu64 " of %" PRIu64 " watchers were created within 30 s", l->created,
                l->watchers);
        }
        rpc_net_turn(net, 1000000000);
    }
}

static void watch_round(struct watch_load *l, struct rpc_net *net, struct bytes value)
{
    size_t begin;

    l->events = l->first_ns = l->last_ns = l->reply_ns = 0;
    strbuf_clear(&l->put.out);
    begin = rpc_message_begin(&l->put);
    message_put(&l->put.out, watched_key, value);
    rpc_message_end(&l->put, begin);
    l->put_ns = clock_boot_ns();
    rpc_start(&l->put, "/etcdserverpb.KV/Put");
    while (l->events < l->watchers || l->reply_ns == 0) {
        if (clock_boot_ns() > l->put_ns + patience_ns) {
            die("%" PRIu64 " of %" PRIu64 " events came within 30 s", l->events, l->watchers);
        }
        rpc_net_turn(net, 1000000000);
    }
    if (l->events > l->watchers) {
        die("%" PRIu64 " events came where %" PRIu64 " were due", l->events, l->watchers);
    }
}

void load_watch(const struct settings *s, struct load_result *ret)
{
    struct watch_load l = {.watchers = setting_number(s, SETTING_WATCHERS)};
    struct histogram *reply = load_result_figure(ret, "put");
    struct histogram *first = load_result_figure(ret, "first event");
    struct histogram *last = load_result_figure(ret, "last event");
    uint64_t ops_max = setting_number(s, SETTING_OPS), end;
    size_t value_size = setting_number(s, SETTING_VALUE_SIZE);
    _cleanup_free_ uint8_t *value = xcalloc(1, value_size + 1);
    struct rpc_net *net;

    l.n_streams = MIN(setting_number(s, SETTING_STREAMS), l.watchers);
    if (l.n_streams == 0 || l.n_streams > 1000000) {
        die("watch needs at least one watcher and one stream");
    }
    net = rpc_net_new(s->values[SETTING_ENDPOINTS], (unsigned)setting_number(s, SETTING_CONNS),
        (unsigned)l.n_streams + 1);
    l.put.conn = rpc_net_assign(net);
    l.put.half_close = true;
    l.put.on_done = on_put_done;
    l.streams = xcalloc(l.n_streams, sizeof(*l.streams));
    watch_setup(&l, net);
    watch_round(&l, net, bytes_make(value, value_size)); /* the first one warms up */
    load_result_measure_begin(ret, s);
    end = clock_boot_ns() + (uint64_t)(setting_seconds(s, SETTING_SECONDS) * 1e9);
    while (clock_boot_ns() < end && (ops_max == 0 || ret->ops < ops_max)) {
        watch_round(&l, net, bytes_make(value, value_size));
        ret->ops++;
        ret->events += l.events;
        histogram_add(reply, l.reply_ns - l.put_ns);
        histogram_add(first, l.first_ns - l.put_ns);
        histogram_add(last, l.last_ns - l.put_ns);
    }
    load_result_measure_end(ret, s);
    ret->conns = rpc_net_conns(net);
    rpc_net_free(net);
    for (uint64_t i = 0; i < l.n_streams; i++) {
        strbuf_deinit(&l.streams[i].rpc.out);
        strbuf_deinit(&l.streams[i].rpc.in);
        strbuf_deinit(&l.streams[i].rpc.status_text);
    }
    strbuf_deinit(&l.put.out);
    strbuf_deinit(&l.put.in);
    strbuf_deinit(&l.put.status_text);
    free(l.streams);
}
