/* put, range, mixed, txn and fill: a fixed number of calls in flight, each started again when it
 * has ended; or, with --rate, started when due, the latency counted from then, so that a server
 * that stalls cannot hide the requests it kept from being sent. */
#include <stdio.h>
#include <string.h>

#include "alloc.h"
#include "clock.h"
#include "die.h"
#include "load.h"
#include "message.h"
#include "rpc.h"

/* The server's default limit of operations in one txn. */
enum { BATCH_MAX = 128 };

struct kv_load;

struct slot {
    struct rpc rpc;
    struct kv_load *load; /* borrowed */
    uint64_t start_ns;
    bool answered;    /* a reply has come, not only a status */
    struct list idle; /* in load->idle while not running */
};

struct kv_load {
    enum kv_mode mode;
    struct load_result *result;
    struct histogram *latency;
    struct slot *slots; /* owned */
    struct list idle;
    uint64_t keys, span, reads, batch;
    uint64_t next_key; /* fill */
    uint64_t random;
    uint64_t period_ns, due_ns;    /* with a rate, else 0 */
    uint64_t started, started_max; /* 0 = no limit */
    uint8_t *value;                /* owned; value_size bytes and as many to vary its start */
    size_t value_size;
    bool serializable;
    bool measuring, stopping;
};

void load_key(uint64_t number, char text[KEY_BYTES + 1])
{
    for (int i = KEY_BYTES - 1; i >= 0; i--) {
        text[i] = (char)('0' + number % 10);
        number /= 10;
    }
    text[KEY_BYTES] = 0;
}

/* xorshift64: good enough to scatter keys, and a few instructions. */
static uint64_t next_random(struct kv_load *l)
{
    l->random ^= l->random << 13;
    l->random ^= l->random >> 7;
    l->random ^= l->random << 17;
    return l->random;
}

static struct bytes next_value(struct kv_load *l)
{
    return bytes_make(l->value + next_random(l) % (l->value_size + 1), l->value_size);
}

static const char *build_fill(struct kv_load *l, struct strbuf *out)
{
    char key[KEY_BYTES + 1];

    if (l->batch == 1) {
        load_key(l->next_key++, key);
        message_put(out, bytes_make(key, KEY_BYTES), next_value(l));
        return "/etcdserverpb.KV/Put";
    }
    for (uint64_t i = 0; i < l->batch && l->next_key < l->keys; i++) {
        load_key(l->next_key++, key);
        message_txn_add_put(out, bytes_make(key, KEY_BYTES), next_value(l));
    }
    return "/etcdserverpb.KV/Txn";
}

/* Writes the next request; the path it goes to. */
static const char *build(struct kv_load *l, struct strbuf *out)
{
    enum kv_mode mode = l->mode;
    char key[KEY_BYTES + 1], end[KEY_BYTES + 1];
    uint64_t number;

    if (mode == KV_FILL) {
        return build_fill(l, out);
    }
    if (mode == KV_MIXED) {
        mode = next_random(l) % 100 < l->reads ? KV_RANGE : KV_PUT;
    }
    number = next_random(l) % (mode == KV_RANGE ? l->keys - l->span + 1 : l->keys);
    load_key(number, key);
    switch (mode) {
    case KV_RANGE:
        load_key(number + l->span, end);
        message_range(out, bytes_make(key, KEY_BYTES), bytes_make(end, l->span > 1 ? KEY_BYTES : 0),
            l->serializable);
        return "/etcdserverpb.KV/Range";
    case KV_TXN:
        message_txn(out, bytes_make(key, KEY_BYTES), next_value(l));
        return "/etcdserverpb.KV/Txn";
    default:
        message_put(out, bytes_make(key, KEY_BYTES), next_value(l));
        return "/etcdserverpb.KV/Put";
    }
}

static bool nothing_left(const struct kv_load *l)
{
    return l->stopping || (l->started_max != 0 && l->started >= l->started_max) ||
        (l->mode == KV_FILL && l->next_key >= l->keys);
}

static void slot_start(struct slot *slot, uint64_t start_ns)
{
    struct kv_load *l = slot->load;
    const char *path;
    size_t begin;

    list_del(&slot->idle);
    strbuf_clear(&slot->rpc.out);
    begin = rpc_message_begin(&slot->rpc);
    path = build(l, &slot->rpc.out);
    rpc_message_end(&slot->rpc, begin);
    slot->start_ns = start_ns;
    slot->answered = false;
    l->started += l->measuring;
    rpc_start(&slot->rpc, path);
}

static void slot_on_message(struct rpc *rpc, struct bytes message)
{
    struct slot *slot = container_of(rpc, struct slot, rpc);

    slot->answered = true;
    if (slot->load->measuring) {
        slot->load->result->reply_bytes += message.len;
    }
}

static void slot_on_done(struct rpc *rpc)
{
    struct slot *slot = container_of(rpc, struct slot, rpc);
    struct kv_load *l = slot->load;
    uint64_t now = clock_boot_ns();

    if (rpc->status != 0) {
        load_result_error(l->result, rpc->status, strbuf_cstr(&rpc->status_text));
    } else if (!slot->answered) {
        load_result_error(l->result, rpc->status, "no message in the reply");
    } else if (l->measuring) {
        l->result->ops++;
        histogram_add(l->latency, now - slot->start_ns);
    }
    list_add_tail(&l->idle, &slot->idle);
    if (l->period_ns == 0 && !nothing_left(l)) {
        slot_start(slot, now);
    }
}

/* Starts what is due on idle slots. How long until the next is due, or -1 without a rate. */
static int64_t start_due(struct kv_load *l)
{
    uint64_t now = clock_boot_ns();

    while (!list_empty(&l->idle) && !nothing_left(l) && (l->period_ns == 0 || l->due_ns <= now)) {
        slot_start(
            list_entry(l->idle.next, struct slot, idle), l->period_ns != 0 ? l->due_ns : now);
        l->due_ns += l->period_ns;
    }
    return l->period_ns == 0 ? -1 : l->due_ns > now ? (int64_t)(l->due_ns - now) : 0;
}

static void run_for(struct kv_load *l, struct rpc_net *net, double seconds)
{
    uint64_t end = clock_boot_ns() + (uint64_t)(seconds * 1e9);

    for (uint64_t now = clock_boot_ns(); now < end; now = clock_boot_ns()) {
        int64_t wait = start_due(l);

        if (nothing_left(l)) {
            break;
        }
        rpc_net_turn(net, wait >= 0 ? MIN(wait, (int64_t)(end - now)) : (int64_t)(end - now));
    }
}

static size_t count_running(const struct kv_load *l, size_t n)
{
    size_t running = 0;

    for (size_t i = 0; i < n; i++) {
        running += l->slots[i].rpc.stream_id != 0;
    }
    return running;
}

/* Waits for what is in flight; it counts while measuring, since its requests did. */
static void drain(struct kv_load *l, struct rpc_net *net, size_t n)
{
    const uint64_t patience_ns = UINT64_C(30) * 1000000000u;
    uint64_t end = clock_boot_ns() + patience_ns;

    while (count_running(l, n) != 0) {
        if (clock_boot_ns() > end) {
            die("%zu requests got no answer within 30 s", count_running(l, n));
        }
        rpc_net_turn(net, 100000000);
    }
}

static void kv_init(
    struct kv_load *l, enum kv_mode mode, const struct settings *s, struct load_result *ret)
{
    uint64_t rate = setting_number(s, SETTING_RATE);

    *l = (struct kv_load){.mode = mode, .result = ret, .random = clock_boot_ns() | 1};
    l->latency = load_result_figure(ret, "latency");
    l->keys = setting_number(s, SETTING_KEYS);
    l->span = setting_number(s, SETTING_SPAN);
    l->reads = setting_number(s, SETTING_READS);
    l->batch = setting_number(s, SETTING_BATCH);
    l->started_max = setting_number(s, SETTING_OPS);
    l->value_size = setting_number(s, SETTING_VALUE_SIZE);
    l->serializable = s->values[SETTING_SERIALIZABLE] != NULL;
    if (l->keys == 0 || l->keys > 100000000 || l->span == 0 || l->span > l->keys || l->batch == 0 ||
        l->batch > BATCH_MAX || l->value_size > (64u << 20)) {
        die("--keys is 1 to 100000000, --span 1 to --keys, --batch 1 to %d", BATCH_MAX);
    }
    if (rate != 0) {
        l->period_ns = 1000000000 / rate;
        l->due_ns = clock_boot_ns();
    }
    l->value = xmalloc(2 * l->value_size + 1);
    for (size_t i = 0; i < 2 * l->value_size + 1; i++) {
        l->value[i] = (uint8_t)next_random(l);
    }
    list_init(&l->idle);
}

void load_kv(enum kv_mode mode, const struct settings *s, struct load_result *ret)
{
    struct kv_load l;
    unsigned n = (unsigned)setting_number(s, SETTING_STREAMS);
    struct rpc_net *net =
        rpc_net_new(s->values[SETTING_ENDPOINTS], (unsigned)setting_number(s, SETTING_CONNS), n);

    kv_init(&l, mode, s, ret);
    l.slots = xcalloc(n, sizeof(*l.slots));
    for (size_t i = 0; i < n; i++) {
        struct slot *slot = &l.slots[i];

        slot->load = &l;
        slot->rpc.conn = rpc_net_assign(net);
        slot->rpc.half_close = true;
        slot->rpc.on_message = slot_on_message;
        slot->rpc.on_done = slot_on_done;
        list_add_tail(&l.idle, &slot->idle);
    }
    if (mode != KV_FILL) {
        run_for(&l, net, setting_seconds(s, SETTING_WARMUP));
    }
    l.measuring = true;
    load_result_measure_begin(ret, s);
    run_for(&l, net, mode == KV_FILL ? 1e6 : setting_seconds(s, SETTING_SECONDS));
    l.stopping = true;
    drain(&l, net, n);
    load_result_measure_end(ret, s);
    ret->conns = rpc_net_conns(net);
    for (size_t i = 0; i < n; i++) {
        strbuf_deinit(&l.slots[i].rpc.out);
        strbuf_deinit(&l.slots[i].rpc.in);
        strbuf_deinit(&l.slots[i].rpc.status_text);
    }
    free(l.slots);
    free(l.value);
    rpc_net_free(net);
}
