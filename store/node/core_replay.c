/* What followers have forwarded in this leadership. Forwarded proposals count for one leadership
 * only (R33), so what the leader has taken in this term is all that a frame which the network
 * repeats could bring again (F26). The newest few thousand are remembered, each of them exactly: a
 * table in which ids push each other out by their hash forgets some while they are still young. */
#include "core.h"

struct seen {
    struct hmap_node node; /* in replays.by_id */
    struct entry_id id;
};

static uint64_t hash_id(struct entry_id id)
{
    return hmap_hash_u64(id.origin ^ id.sequence);
}

static bool has_seen(const struct replays *r, struct entry_id id)
{
    for (struct hmap_node *n = hmap_first(&r->by_id, hash_id(id)); n != NULL;
         n = hmap_next_same(n)) {
        const struct seen *s = container_of(n, struct seen, node);

        if (s->id.origin == id.origin && s->id.sequence == id.sequence) {
            return true;
        }
    }
    return false;
}

static void forget_all(struct replays *r)
{
    while (hmap_pop(&r->by_id) != NULL) {}
    r->n = 0;
}

bool core_is_replayed(struct store *s, struct entry_id id, uint64_t term)
{
    struct replays *r = &s->replays;
    struct seen *slot;

    if (r->ring == NULL) {
        r->ring = xcalloc(FORWARDED_SEEN_MAX, sizeof(*r->ring));
    }
    if (r->term != term) {
        forget_all(r);
        r->term = term;
    }
    if (has_seen(r, id)) {
        MARK("forwarded_again");
        return true;
    }
    slot = &r->ring[r->n++ % FORWARDED_SEEN_MAX];
    if (r->n > FORWARDED_SEEN_MAX) {
        hmap_remove(&r->by_id, &slot->node);
    }
    slot->id = id;
    hmap_insert(&r->by_id, &slot->node, hash_id(id));
    return false;
}

void core_replays_deinit(struct store *s)
{
    forget_all(&s->replays);
    hmap_deinit(&s->replays.by_id);
    free(s->replays.ring);
}
