/* Members compare what they keep, in the background (reliability R19): apply is meant to be a pure
 * function of the log, and here it is seen whether it was, and whether memory has kept it.
 *
 *     leader: once a minute --ask(index)--> all         hash its own state at that index
 *     member: applies up to index -> hashes in slices --answer(index, hash)--> leader
 *     leader: all answers, or half a minute -> judged
 *
 * The index is the leader's commit at the asking. No member can have applied more, since commits
 * are learned from the leader over the same link and later; so each can hash exactly that state,
 * and the hashes must be equal whatever way each came there. A member that cannot (it was given a
 * snapshot beyond, or the frame was lost) is compared the next time.
 *
 * The majority of the members is right. Where no majority agrees nobody can be told apart: the
 * alarm then names member 0. */
#include "core.h"

/* ---- every member: the hash at an index ---- */

static void close_hasher(struct store *s)
{
    if (s->check.hasher != NULL) {
        s->check.hasher = mvcc_hasher_close(s->check.hasher);
        core_reader_closed(s);
    }
    s->check.index = 0;
}

void core_check_abort(struct store *s)
{
    close_hasher(s);
    s->check.wanted = 0;
    s->check.round = 0;
}

/* The state is that of the wanted index. */
static void begin(struct store *s)
{
    struct check *k = &s->check;
    int err;

    close_hasher(s);
    err = mvcc_hasher_open(s->mvcc, MVCC_HASH_ALL, 0, &k->hasher);
    decree_assert(err == 0); /* the current revision is neither compacted nor to come */
    k->index = k->wanted;
    k->wanted = 0;
    core_mark(s);
}

void core_check_applied(struct store *s)
{
    if (s->applied == s->check.wanted) {
        begin(s);
    }
}

static void want(struct store *s, uint64_t asker, uint64_t term, uint64_t index)
{
    struct check *k = &s->check;

    k->asker = asker;
    k->term = term;
    k->wanted = index;
    core_check_applied(s);
}

/* A question that comes while another one is being answered is left: it bounds what may be asked,
 * and the leader asks again. */
void core_on_hash_ask(struct store *s, uint64_t from, struct bytes body)
{
    struct hash_ask ask;

    if (hash_ask_decode(body, &ask) < 0 || from != s->status.leader || ask.term != s->status.term) {
        return;
    }
    if (ask.index >= s->applied && s->check.hasher == NULL) {
        want(s, from, ask.term, ask.index);
    }
}

/* ---- the leader: judging ---- */

static size_t votes_for(const struct check *k, uint64_t hash)
{
    size_t n = 0;

    for (size_t i = 0; i < k->n_answers; i++) {
        n += k->answers[i].hash == hash;
    }
    return n;
}

static const struct check_answer *most_common(const struct check *k)
{
    const struct check_answer *best = &k->answers[0];

    for (size_t i = 1; i < k->n_answers; i++) {
        if (votes_for(k, k->answers[i].hash) > votes_for(k, best->hash)) {
            best = &k->answers[i];
        }
    }
    return best;
}

static void raise_corrupt(struct store *s, uint64_t member)
{
    if (!core_is_suspect(s, member)) {
        core_alarm_propose(s, STORE_ALARM_ACTIVATE,
            (struct store_alarm){.member = member, .type = STORE_ALARM_CORRUPT});
    }
}

/* Some differ from best. */
static void accuse(struct store *s, const struct check_answer *best, size_t members)
{
    struct check *k = &s->check;
    size_t agreeing = votes_for(k, best->hash);
    bool majority = agreeing * 2 > members;

    k->differences++;
    for (size_t i = 0; i < k->n_answers; i++) {
        const struct check_answer *a = &k->answers[i];

        if (!majority) {
            log_error("members differ and no majority agrees: it cannot be told who is right "
                      "member=%016" PRIx64 " index=%" PRIu64 " hash=%016" PRIx64,
                a->member, k->round, a->hash);
        } else if (a->hash != best->hash) {
            log_error("a member's state differs from that of the others: its data must not be "
                      "trusted member=%016" PRIx64 " index=%" PRIu64 " hash=%016" PRIx64
                      " others=%016" PRIx64 " agreeing=%zu",
                a->member, k->round, a->hash, best->hash, agreeing);
            raise_corrupt(s, a->member);
        }
    }
    if (!majority) {
        raise_corrupt(s, 0);
    }
}

static void judge(struct store *s)
{
    struct check *k = &s->check;
    const struct check_answer *best = most_common(k);

    if (k->n_answers < 2) {
        log_debug("nobody answered in time, nothing was compared index=%" PRIu64, k->round);
    } else {
        MARK("members_compared");
        k->rounds++;
        if (votes_for(k, best->hash) != k->n_answers) {
            accuse(s, best, raft_conf(s->raft)->n);
        } else {
            log_debug("members have the same state index=%" PRIu64 " members=%zu hash=%016" PRIx64,
                k->round, k->n_answers, best->hash);
        }
    }
    k->round = 0;
}

static void take_answer(struct store *s, uint64_t member, uint64_t index, uint64_t hash)
{
    struct check *k = &s->check;

    if (k->round == 0 || index != k->round || members_find(&s->members, member) == NULL) {
        return;
    }
    for (size_t i = 0; i < k->n_answers; i++) {
        if (k->answers[i].member == member) {
            return;
        }
    }
    if (k->n_answers < ARRAY_SIZE(k->answers)) {
        k->answers[k->n_answers++] = (struct check_answer){member, hash};
    }
    if (k->n_answers >= raft_conf(s->raft)->n) {
        judge(s);
    }
}

void core_on_hash_answer(struct store *s, uint64_t from, struct bytes body)
{
    struct hash_answer answer;

    if (hash_answer_decode(body, &answer) == 0 && core_leads(s) && answer.term == s->status.term) {
        take_answer(s, from, answer.index, answer.hash);
    }
}

/* ---- slices and time ---- */

static void send(struct store *s, uint64_t to, struct buf *frame_consume)
{
    s->env->send(s->env->data, to, &frame_consume, 1);
    s->flush_due = true;
    buf_unref(frame_consume);
    core_mark(s);
}

void core_check_step(struct store *s)
{
    struct check *k = &s->check;
    struct hash_answer answer = {.term = k->term, .index = k->index};

    if (k->hasher == NULL) {
        return;
    }
    if (mvcc_hasher_step(k->hasher, HASH_SLICE_BYTES)) {
        core_mark(s);
        return;
    }
    answer.hash = mvcc_hasher_value(k->hasher);
    close_hasher(s);
    if (k->asker == s->id) {
        k->due_ms = MAX(k->due_ms, core_now(s) + HASH_CHECK_SHARE * (core_now(s) - k->begun_ms));
        take_answer(s, s->id, answer.index, answer.hash);
    } else {
        send(s, k->asker, hash_answer_encode(&answer));
    }
}

static void begin_round(struct store *s)
{
    struct check *k = &s->check;
    const struct raft_conf *conf = raft_conf(s->raft);

    k->begun_ms = core_now(s);
    k->due_ms = k->begun_ms + HASH_CHECK_MS;
    k->round = s->commit;
    k->n_answers = 0;
    for (size_t i = 0; i < conf->n; i++) {
        if (conf->members[i].id != s->id) {
            send(s, conf->members[i].id,
                hash_ask_encode(&(struct hash_ask){.term = s->status.term, .index = k->round}));
        }
    }
    want(s, s->id, s->status.term, k->round);
}

void core_check_tick(struct store *s)
{
    struct check *k = &s->check;
    uint64_t now = core_now(s);

    if (!core_leads(s)) {
        k->round = 0;
        k->due_ms = now + HASH_CHECK_MS;
        return;
    }
    if (k->round != 0 && (now - k->begun_ms > HASH_WAIT_MS || BUGGIFY("compare_without_some"))) {
        judge(s);
    }
    if (k->round == 0 && (now >= k->due_ms || BUGGIFY("compare_early")) && k->hasher == NULL &&
        raft_conf(s->raft)->n > 1) {
        begin_round(s);
    }
}
