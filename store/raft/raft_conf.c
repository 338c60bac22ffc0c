/* Configurations. One takes effect when its entry enters the log, not when that commits (thesis
 * 4.1), so a cut of the log must bring the one before back: they are kept in a list by index, from
 * the snapshot's on. Quorums of a configuration are counted here too.
 *
 * Bytes of a configuration entry: varint version 1, varint number of members, per member u64 id and
 * u8 (1 = learner), then the context up to the end. */
#include "raft_internal.h"

#include "codec.h"
#include "err.h"

enum { CONF_VERSION = 1 };

void raft_conf_encode(const struct raft_conf *conf, struct bytes context, struct strbuf *out)
{
    decree_assert(conf->n <= RAFT_MEMBERS_MAX);
    enc_varint(out, CONF_VERSION);
    enc_varint(out, conf->n);
    for (size_t i = 0; i < conf->n; i++) {
        enc_u64(out, conf->members[i].id);
        enc_u8(out, conf->members[i].learner);
    }
    strbuf_append_bytes(out, context);
}

int raft_conf_decode(struct bytes b, struct raft_conf *ret, struct bytes *ret_context)
{
    struct dec d = dec_make(b);
    struct raft_conf conf = {0};
    uint64_t version = dec_varint(&d);
    uint64_t n = dec_varint(&d);
    size_t voters = 0;

    if (d.bad || version != CONF_VERSION || n > RAFT_MEMBERS_MAX) {
        return DECREE_EBAD_REQUEST;
    }
    for (conf.n = 0; conf.n < n; conf.n++) {
        struct raft_member *m = &conf.members[conf.n];
        uint8_t learner;

        m->id = dec_u64(&d);
        learner = dec_u8(&d);
        m->learner = learner != 0;
        voters += !m->learner;
        if (learner > 1 || m->id <= (conf.n != 0 ? m[-1].id : RAFT_NONE)) {
            return DECREE_EBAD_REQUEST;
        }
    }
    if (d.bad || voters == 0) {
        return DECREE_EBAD_REQUEST;
    }
    *ret = conf;
    if (ret_context != NULL) {
        *ret_context = dec_raw(&d, dec_left(&d));
    }
    return 0;
}

void raft_confs_init(struct raft_confs *c, uint64_t index, const struct raft_conf *conf)
{
    *c = (struct raft_confs){0};
    raft_confs_push(c, index, conf);
}

void raft_confs_deinit(struct raft_confs *c)
{
    free(c->list);
    *c = (struct raft_confs){0};
}

void raft_confs_push(struct raft_confs *c, uint64_t index, const struct raft_conf *conf)
{
    decree_assert(c->n == 0 || c->list[c->n - 1].index < index);
    c->list = raft_grow(c->list, c->n, &c->cap, sizeof(*c->list));
    c->list[c->n++] = (struct raft_conf_at){.index = index, .conf = *conf};
}

void raft_confs_truncate(struct raft_confs *c, uint64_t index)
{
    while (c->n > 1 && c->list[c->n - 1].index >= index) {
        c->n--;
    }
}

void raft_confs_compact(struct raft_confs *c, uint64_t index)
{
    size_t gone = 0;

    while (gone + 1 < c->n && c->list[gone + 1].index <= index) {
        gone++;
    }
    c->n -= gone;
    memmove(c->list, c->list + gone, c->n * sizeof(*c->list));
}

const struct raft_conf_at *raft_confs_last(const struct raft_confs *c)
{
    return &c->list[c->n - 1];
}

const struct raft_conf *raft_confs_at(const struct raft_confs *c, uint64_t index)
{
    size_t i = c->n - 1;

    while (i > 0 && c->list[i].index > index) {
        i--;
    }
    return &c->list[i].conf;
}

const struct raft_member *raft_conf_find(const struct raft_conf *conf, uint64_t id)
{
    for (size_t i = 0; i < conf->n; i++) {
        if (conf->members[i].id == id) {
            return &conf->members[i];
        }
    }
    return NULL;
}

static size_t voters_missing(const struct raft_conf *from, const struct raft_conf *in)
{
    size_t n = 0;

    for (size_t i = 0; i < from->n; i++) {
        const struct raft_member *m = raft_conf_find(in, from->members[i].id);

        n += !from->members[i].learner && (m == NULL || m->learner);
    }
    return n;
}

size_t raft_conf_voters_changed(const struct raft_conf *a, const struct raft_conf *b)
{
    return voters_missing(a, b) + voters_missing(b, a);
}

bool raft_conf_grew(const struct raft_conf *a, const struct raft_conf *b)
{
    return voters_missing(a, b) == 0 && voters_missing(b, a) == 1;
}

uint64_t raft_quorum_value(uint64_t *values, size_t n)
{
    if (n == 0) {
        return 0;
    }
    /* Falling order; n is a handful, so inserting beats anything clever. */
    for (size_t i = 1; i < n; i++) {
        uint64_t v = values[i];
        size_t j = i;

        for (; j > 0 && values[j - 1] < v; j--) {
            values[j] = values[j - 1];
        }
        values[j] = v;
    }
    return values[n / 2];
}

enum raft_vote raft_quorum_vote(size_t voters, size_t granted, size_t rejected)
{
    size_t quorum = voters / 2 + 1;

    if (granted >= quorum) {
        return RAFT_VOTE_WON;
    }
    return rejected > voters - quorum ? RAFT_VOTE_LOST : RAFT_VOTE_OPEN;
}
