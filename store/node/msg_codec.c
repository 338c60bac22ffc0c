#include "msg_codec.h"

#include "codec.h"
#include "entry_codec.h"
#include "err.h"

enum { ENTRY_HEAD_MIN = 4 /* term, index, type, length: a byte each at least */ };

void frame_parts_deinit(struct frame_parts *p)
{
    for (size_t i = 0; i < p->n; i++) {
        buf_unref(p->list[i]);
    }
    free(p->list);
    *p = (struct frame_parts){0};
}

static void add_part(struct frame_parts *p, struct buf *b_consume)
{
    if (p->n == p->cap) {
        p->cap = MAX(p->cap * 2, (size_t)4);
        p->list = xreallocarray(p->list, p->cap, sizeof(struct buf *));
    }
    p->list[p->n++] = b_consume;
}

uint8_t frame_kind(struct bytes body)
{
    return body.len != 0 ? body.data[0] : 0;
}

static struct buf *to_buf(const struct strbuf *s)
{
    return buf_copy(strbuf_bytes(s));
}

static void open_body(struct dec *d, struct bytes body, enum frame_kind kind)
{
    *d = dec_make(body);
    if (dec_u8(d) != (uint8_t)kind) {
        d->bad = true;
    }
}

/* ---- raft's messages ---- */

enum msg_flag { MSG_REJECT = 1, MSG_TRANSFER = 2, MSG_REPAIRING = 4, MSG_FLAGS_END = 8 };

static void encode_head(const struct raft_msg *m, struct strbuf *s)
{
    enc_u8(s, FRAME_RAFT);
    enc_u8(s, (uint8_t)m->type);
    enc_u8(s,
        (uint8_t)((m->reject ? MSG_REJECT : 0) | (m->transfer ? MSG_TRANSFER : 0) |
            (m->repairing ? MSG_REPAIRING : 0)));
    enc_u64(s, m->from);
    enc_u64(s, m->to);
    enc_varint(s, m->term);
    enc_varint(s, m->prev.term);
    enc_varint(s, m->prev.index);
    enc_varint(s, m->commit);
    enc_varint(s, m->index);
    enc_u64(s, m->context);
    enc_varint(s, m->hint.term);
    enc_varint(s, m->hint.index);
    enc_varint(s, m->n_entries);
    for (size_t i = 0; i < m->n_entries; i++) {
        const struct raft_entry *e = &m->entries[i];

        enc_varint(s, e->id.term);
        enc_varint(s, e->id.index);
        enc_u8(s, (uint8_t)e->type);
        enc_varint(s, e->payload->len);
    }
}

void msg_encode(const struct raft_msg *m, struct frame_parts *out)
{
    _cleanup_strbuf_ struct strbuf s = {0};

    encode_head(m, &s);
    for (size_t i = 0; i < m->n_entries; i++) {
        struct buf *payload = m->entries[i].payload;

        if (payload->len < FRAME_INLINE_MAX) {
            strbuf_append_bytes(&s, buf_bytes(payload));
            continue;
        }
        if (s.len != 0) {
            add_part(out, to_buf(&s));
            strbuf_clear(&s);
        }
        add_part(out, buf_ref(payload));
    }
    if (s.len != 0) {
        add_part(out, to_buf(&s));
    }
}

static void decode_head(struct dec *d, struct raft_msg *m)
{
    uint8_t type = dec_u8(d);
    uint8_t flags = dec_u8(d);

    if (type == 0 || type >= RAFT_MSG_TYPE_END || flags >= MSG_FLAGS_END) {
        d->bad = true;
        return;
    }
    m->type = (enum raft_msg_type)type;
    m->reject = (flags & MSG_REJECT) != 0;
    m->transfer = (flags & MSG_TRANSFER) != 0;
    m->repairing = (flags & MSG_REPAIRING) != 0;
    m->from = dec_u64(d);
    m->to = dec_u64(d);
    m->term = dec_varint(d);
    m->prev.term = dec_varint(d);
    m->prev.index = dec_varint(d);
    m->commit = dec_varint(d);
    m->index = dec_varint(d);
    m->context = dec_u64(d);
    m->hint.term = dec_varint(d);
    m->hint.index = dec_varint(d);
}

/* The heads of the entries come first, so walk a second reader over them while d, moved behind all
 * heads, yields the payloads. */
static void decode_entries(struct dec *d, struct msg_decoded *ret)
{
    uint64_t n = dec_varint(d);
    struct dec heads;

    if (d->bad || n > dec_left(d) / ENTRY_HEAD_MIN) {
        d->bad = true;
        return;
    }
    heads = *d;
    for (uint64_t i = 0; i < n; i++) {
        (void)dec_varint(d);
        (void)dec_varint(d);
        (void)dec_u8(d);
        (void)dec_varint(d);
    }
    if (d->bad || n == 0) {
        return;
    }
    ret->entries = xcalloc((size_t)n, sizeof(*ret->entries));
    ret->msg.entries = ret->entries;
    for (uint64_t i = 0; i < n; i++) {
        struct raft_entry *e = &ret->entries[i];
        uint8_t type;
        uint64_t len;

        e->id.term = dec_varint(&heads);
        e->id.index = dec_varint(&heads);
        type = dec_u8(&heads);
        len = dec_varint(&heads);
        if (type > RAFT_ENTRY_CONF || len > dec_left(d)) {
            d->bad = true;
            return;
        }
        e->type = (enum raft_entry_type)type;
        e->payload = buf_copy(dec_raw(d, (size_t)len));
        ret->msg.n_entries++;
    }
}

int msg_decode(struct bytes body, struct msg_decoded *ret)
{
    struct dec d;

    *ret = (struct msg_decoded){0};
    open_body(&d, body, FRAME_RAFT);
    decode_head(&d, &ret->msg);
    decode_entries(&d, ret);
    return dec_done(&d) ? 0 : DECREE_EBAD_REQUEST;
}

void msg_decoded_deinit(struct msg_decoded *m)
{
    for (size_t i = 0; i < m->msg.n_entries; i++) {
        buf_unref(m->entries[i].payload);
    }
    free(m->entries);
    *m = (struct msg_decoded){0};
}

/* ---- leases over the leader ---- */

enum ask_flag { ASK_KEEPALIVE = 1, ASK_KEYS = 2, ASK_FLAGS_END = 4 };

struct buf *lease_ask_encode(const struct lease_ask *a)
{
    _cleanup_strbuf_ struct strbuf s = {0};

    enc_u8(&s, FRAME_LEASE_ASK);
    enc_u8(&s, (uint8_t)((a->keepalive ? ASK_KEEPALIVE : 0) | (a->keys ? ASK_KEYS : 0)));
    enc_u64(&s, a->sequence);
    enc_u64(&s, (uint64_t)a->id);
    return to_buf(&s);
}

int lease_ask_decode(struct bytes body, struct lease_ask *ret)
{
    struct dec d;
    uint8_t flags;

    open_body(&d, body, FRAME_LEASE_ASK);
    flags = dec_u8(&d);
    ret->keepalive = (flags & ASK_KEEPALIVE) != 0;
    ret->keys = (flags & ASK_KEYS) != 0;
    ret->sequence = dec_u64(&d);
    ret->id = (int64_t)dec_u64(&d);
    return dec_done(&d) && flags < ASK_FLAGS_END ? 0 : DECREE_EBAD_REQUEST;
}

struct buf *lease_answer_encode(const struct lease_answer *a)
{
    _cleanup_strbuf_ struct strbuf s = {0};

    enc_u8(&s, FRAME_LEASE_ANSWER);
    enc_u64(&s, a->sequence);
    enc_u32(&s, (uint32_t)-a->status);
    enc_u64(&s, (uint64_t)a->revision);
    enc_u64(&s, (uint64_t)a->reply.id);
    enc_u64(&s, (uint64_t)a->reply.ttl);
    enc_u64(&s, (uint64_t)a->reply.granted);
    enc_varint(&s, a->reply.n_keys);
    for (size_t i = 0; i < a->reply.n_keys; i++) {
        enc_bytes(&s, a->reply.keys[i]);
    }
    return to_buf(&s);
}

int lease_answer_decode(struct bytes body, struct arena *arena, struct lease_answer *ret)
{
    uint32_t code;
    uint64_t n;
    struct dec d;

    *ret = (struct lease_answer){0};
    open_body(&d, body, FRAME_LEASE_ANSWER);
    ret->sequence = dec_u64(&d);
    code = dec_u32(&d);
    ret->revision = (int64_t)dec_u64(&d);
    ret->reply.id = (int64_t)dec_u64(&d);
    ret->reply.ttl = (int64_t)dec_u64(&d);
    ret->reply.granted = (int64_t)dec_u64(&d);
    n = dec_varint(&d);
    if (d.bad || n > dec_left(&d) || code >= DECREE_E_END_) {
        return DECREE_EBAD_REQUEST;
    }
    ret->status = -(int32_t)code;
    if (n != 0) {
        ret->reply.keys = arena_calloc(arena, (size_t)n, sizeof(*ret->reply.keys));
        if (ret->reply.keys == NULL) {
            return DECREE_ETOO_LARGE;
        }
    }
    for (; ret->reply.n_keys < n; ret->reply.n_keys++) {
        ret->reply.keys[ret->reply.n_keys] = dec_bytes(&d);
    }
    return dec_done(&d) ? 0 : DECREE_EBAD_REQUEST;
}

/* ---- proposals over the leader ---- */

struct buf *proposals_refused_encode(const struct proposals_refused *r)
{
    _cleanup_strbuf_ struct strbuf s = {0};

    enc_u8(&s, FRAME_PROPOSALS_REFUSED);
    enc_u64(&s, r->term);
    enc_u32(&s, (uint32_t)-r->status);
    enc_varint(&s, r->n);
    for (size_t i = 0; i < r->n; i++) {
        enc_u64(&s, r->sequences[i]);
    }
    return to_buf(&s);
}

int proposals_refused_decode(struct bytes body, struct arena *arena, struct proposals_refused *ret)
{
    uint32_t code;
    uint64_t n;
    struct dec d;

    *ret = (struct proposals_refused){0};
    open_body(&d, body, FRAME_PROPOSALS_REFUSED);
    ret->term = dec_u64(&d);
    code = dec_u32(&d);
    n = dec_varint(&d);
    if (d.bad || code == 0 || code >= DECREE_E_END_ || n > dec_left(&d) / sizeof(uint64_t)) {
        return DECREE_EBAD_REQUEST;
    }
    ret->status = -(int32_t)code;
    ret->sequences = arena_calloc(arena, (size_t)n, sizeof(*ret->sequences));
    if (ret->sequences == NULL) {
        return DECREE_ETOO_LARGE;
    }
    for (; ret->n < n; ret->n++) {
        ret->sequences[ret->n] = dec_u64(&d);
    }
    return dec_done(&d) ? 0 : DECREE_EBAD_REQUEST;
}

/* ---- changes of the members, over the leader ---- */

struct buf *member_ask_encode(const struct member_ask *a)
{
    _cleanup_strbuf_ struct strbuf s = {0};

    enc_u8(&s, FRAME_MEMBER_ASK);
    enc_u8(&s, (uint8_t)(a->kind - STORE_MEMBER_ADD));
    enc_u64(&s, a->sequence);
    enc_u64(&s, a->request.id);
    enc_u8(&s, a->request.learner);
    enc_varint(&s, a->request.n_peer_urls);
    for (size_t i = 0; i < a->request.n_peer_urls; i++) {
        enc_bytes(&s, bytes_str(a->request.peer_urls[i]));
    }
    return to_buf(&s);
}

static const char *const *decode_texts(struct dec *d, struct arena *arena, size_t *ret_n)
{
    uint64_t n = dec_varint(d);
    const char **list;

    if (d->bad || n > ENTRY_URLS_MAX) {
        d->bad = true;
        return NULL;
    }
    list = arena_calloc(arena, (size_t)n + 1, sizeof(*list));
    for (*ret_n = 0; list != NULL && *ret_n < n; ++*ret_n) {
        struct bytes b = dec_bytes(d);
        struct bytes copy = arena_copy(arena, b);

        if (b.len > ENTRY_URL_BYTES_MAX || copy.data == NULL ||
            (b.len != 0 && memchr(b.data, 0, b.len) != NULL)) {
            d->bad = true;
            return NULL;
        }
        list[*ret_n] = (const char *)copy.data;
    }
    d->bad = d->bad || list == NULL;
    return list;
}

int member_ask_decode(struct bytes body, struct arena *arena, struct member_ask *ret)
{
    uint8_t kind, learner;
    struct dec d;

    *ret = (struct member_ask){0};
    open_body(&d, body, FRAME_MEMBER_ASK);
    kind = dec_u8(&d);
    ret->sequence = dec_u64(&d);
    ret->request.id = dec_u64(&d);
    learner = dec_u8(&d);
    ret->request.learner = learner != 0;
    ret->request.peer_urls = decode_texts(&d, arena, &ret->request.n_peer_urls);
    ret->kind = (enum store_kind)(STORE_MEMBER_ADD + kind);
    return dec_done(&d) && ret->kind <= STORE_MEMBER_PROMOTE && learner <= 1 ? 0
                                                                             : DECREE_EBAD_REQUEST;
}

struct buf *member_answer_encode(const struct member_answer *a)
{
    _cleanup_strbuf_ struct strbuf s = {0};

    enc_u8(&s, FRAME_MEMBER_ANSWER);
    enc_u64(&s, a->sequence);
    enc_u32(&s, (uint32_t)-a->status);
    enc_u64(&s, a->id);
    enc_bytes(&s, a->members);
    return to_buf(&s);
}

int member_answer_decode(struct bytes body, struct member_answer *ret)
{
    uint32_t code;
    struct dec d;

    *ret = (struct member_answer){0};
    open_body(&d, body, FRAME_MEMBER_ANSWER);
    ret->sequence = dec_u64(&d);
    code = dec_u32(&d);
    ret->id = dec_u64(&d);
    ret->members = dec_bytes(&d);
    if (!dec_done(&d) || code >= DECREE_E_END_) {
        return DECREE_EBAD_REQUEST;
    }
    ret->status = -(int32_t)code;
    return 0;
}

/* ---- comparing members ---- */

struct buf *hash_ask_encode(const struct hash_ask *a)
{
    _cleanup_strbuf_ struct strbuf s = {0};

    enc_u8(&s, FRAME_HASH_ASK);
    enc_varint(&s, a->term);
    enc_varint(&s, a->index);
    return to_buf(&s);
}

int hash_ask_decode(struct bytes body, struct hash_ask *ret)
{
    struct dec d;

    open_body(&d, body, FRAME_HASH_ASK);
    ret->term = dec_varint(&d);
    ret->index = dec_varint(&d);
    return dec_done(&d) ? 0 : DECREE_EBAD_REQUEST;
}

struct buf *hash_answer_encode(const struct hash_answer *a)
{
    _cleanup_strbuf_ struct strbuf s = {0};

    enc_u8(&s, FRAME_HASH_ANSWER);
    enc_varint(&s, a->term);
    enc_varint(&s, a->index);
    enc_u64(&s, a->hash);
    return to_buf(&s);
}

int hash_answer_decode(struct bytes body, struct hash_answer *ret)
{
    struct dec d;

    open_body(&d, body, FRAME_HASH_ANSWER);
    ret->term = dec_varint(&d);
    ret->index = dec_varint(&d);
    ret->hash = dec_u64(&d);
    return dec_done(&d) ? 0 : DECREE_EBAD_REQUEST;
}

/* ---- a member's place in the cluster ---- */

struct buf *place_encode(enum frame_kind kind, struct raft_entry_id at)
{
    _cleanup_strbuf_ struct strbuf s = {0};

    enc_u8(&s, (uint8_t)kind);
    enc_varint(&s, at.term);
    enc_varint(&s, at.index);
    return to_buf(&s);
}

int place_decode(struct bytes body, enum frame_kind kind, struct raft_entry_id *ret)
{
    struct dec d;

    open_body(&d, body, kind);
    ret->term = dec_varint(&d);
    ret->index = dec_varint(&d);
    return dec_done(&d) && ret->term != 0 && ret->index != 0 ? 0 : DECREE_EBAD_REQUEST;
}

/* ---- snapshot streams ---- */

struct buf *snap_begin_encode(const struct snap_begin *b)
{
    _cleanup_strbuf_ struct strbuf s = {0};

    enc_u8(&s, FRAME_SNAP_BEGIN);
    enc_varint(&s, b->term);
    enc_varint(&s, b->id.term);
    enc_varint(&s, b->id.index);
    enc_bytes(&s, b->header);
    return to_buf(&s);
}

int snap_begin_decode(struct bytes body, struct snap_begin *ret)
{
    struct dec d;

    open_body(&d, body, FRAME_SNAP_BEGIN);
    ret->term = dec_varint(&d);
    ret->id.term = dec_varint(&d);
    ret->id.index = dec_varint(&d);
    ret->header = dec_bytes(&d);
    return dec_done(&d) ? 0 : DECREE_EBAD_REQUEST;
}

struct buf *snap_end_encode(uint64_t pieces)
{
    _cleanup_strbuf_ struct strbuf s = {0};

    enc_u8(&s, FRAME_SNAP_END);
    enc_varint(&s, pieces);
    return to_buf(&s);
}

int snap_end_decode(struct bytes body, uint64_t *ret_pieces)
{
    struct dec d;

    open_body(&d, body, FRAME_SNAP_END);
    *ret_pieces = dec_varint(&d);
    return dec_done(&d) ? 0 : DECREE_EBAD_REQUEST;
}

struct buf *snap_status_encode(const struct snap_status *st)
{
    _cleanup_strbuf_ struct strbuf s = {0};

    enc_u8(&s, FRAME_SNAP_STATUS);
    enc_u8(&s, st->ok);
    enc_bytes(&s, st->text);
    return to_buf(&s);
}

int snap_status_decode(struct bytes body, struct snap_status *ret)
{
    struct dec d;
    uint8_t ok;

    open_body(&d, body, FRAME_SNAP_STATUS);
    ok = dec_u8(&d);
    ret->ok = ok == 1;
    ret->text = dec_bytes(&d);
    return dec_done(&d) && ok <= 1 ? 0 : DECREE_EBAD_REQUEST;
}
