/* Whose data directory is which, before anything is applied. A member that was started again knows
 * the others from its snapshot, or from the founding, where nobody had said yet which directory is
 * its own; so one that has lost its data and comes back under its old name would be let in, and
 * with its vote what it had acknowledged could be lost. What members said of themselves is in the
 * log: the first word of each counts, as when it is applied (members_publish). It need not be
 * committed: the worst is that one is refused which lost its data before anybody had agreed on its
 * word. */
#include "core.h"

static bool is_publication(const struct raft_entry *e)
{
    return e->type == RAFT_ENTRY_NORMAL && e->payload->len != 0 &&
        e->payload->data[0] == ENTRY_PUBLISH;
}

static void learn(struct directories *k, const struct raft_entry *e)
{
    _cleanup_arena_ struct arena arena = {0};
    struct entry entry;

    if (entry_decode(buf_bytes(e->payload), &arena, &entry) != 0) {
        return; /* it is refused when it is applied */
    }
    for (size_t i = 0; i < k->n; i++) {
        if (k->list[i].member == entry.publish.member) {
            return;
        }
    }
    k->list = xreallocarray(k->list, k->n + 1, sizeof(*k->list));
    k->list[k->n].member = entry.publish.member;
    k->list[k->n++].incarnation = entry.publish.incarnation;
}

void core_directories_learn(struct store *s, const struct raft_entry *entries, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (is_publication(&entries[i])) {
            learn(&s->directories, &entries[i]);
            s->directories.until = entries[i].id.index;
        }
    }
}

void core_directories_fill(struct store *s, struct members *links)
{
    struct directories *k = &s->directories;

    if (s->applied >= k->until) {
        core_directories_deinit(s); /* the table has it all */
    }
    for (size_t i = 0; i < k->n; i++) {
        struct store_member *m = members_find(links, k->list[i].member);

        if (m != NULL && m->incarnation == 0) {
            m->incarnation = k->list[i].incarnation;
        }
    }
}

void core_directories_deinit(struct store *s)
{
    free(s->directories.list);
    s->directories = (struct directories){0};
}
