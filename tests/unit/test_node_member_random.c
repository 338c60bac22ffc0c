/* Members come and go at random, are killed and cut off, and lose nothing. */
#include <stdio.h>

#include "node_scene.h"
#include "unit.h"

enum { WALKS = 40, WALK_STEPS = 60, WALK_KEYS_MAX = 400 };

struct walk {
    struct sim s;
    uint64_t chance;
    char keys[WALK_KEYS_MAX][16]; /* acknowledged */
    size_t n_keys, tried;
    size_t changes; /* that succeeded */
};

static size_t pick(struct walk *w, size_t n)
{
    w->chance = w->chance * 6364136223846793005u + 1442695040888963407u;
    return (size_t)(w->chance >> 33) % n;
}

/* Some member that is up, cut off or not; s.n when none is. */
static size_t any_up(struct walk *w)
{
    size_t from = pick(w, w->s.n);

    for (size_t k = 0; k < w->s.n; k++) {
        size_t i = (from + k) % w->s.n;

        if (w->s.members[i].core != NULL) {
            return i;
        }
    }
    return w->s.n;
}

static bool may_start(const struct sim_member *m)
{
    return m->core == NULL && !m->removed && (!m->joins || m->id != 0);
}

static void start_quietly(struct walk *w, size_t i)
{
    _cleanup_err_ struct err err = {0};
    _cleanup_free_ char *name = xasprintf("m%zu", i);

    if (may_start(&w->s.members[i])) {
        (void)sim_try_start(&w->s, i, name, NULL, &err); /* nobody to ask, or removed: later */
    }
}

/* Asks and does not insist: what fails may have happened or not. */
static void walk_change(struct walk *w, enum store_kind kind, size_t at, size_t whom)
{
    struct sim_call c = {.call = {.kind = kind, .member = {.id = w->s.members[whom].id}}};

    if (at < w->s.n && c.call.member.id != 0) {
        w->changes += sim_call(&w->s, at, &c) == 0;
    }
}

static void walk_add(struct walk *w, size_t at)
{
    if (at < w->s.n && w->s.n < SIM_MEMBERS_MAX) {
        w->changes += sim_add(&w->s, at, sim_grow(&w->s), pick(w, 3) > 0) == 0;
    }
}

static void walk_put(struct walk *w, size_t at)
{
    char *key = w->keys[w->n_keys];

    if (at == w->s.n || w->n_keys + 1 == WALK_KEYS_MAX) {
        return;
    }
    (void)snprintf(key, sizeof(w->keys[0]), "/%zu", w->tried++);
    w->n_keys += sim_put(&w->s, at, key, "v") == 0;
}

static void walk_step(struct walk *w)
{
    size_t i = pick(w, w->s.n);
    struct sim_member *m = &w->s.members[i];

    switch (pick(w, 12)) {
    case 0:
        walk_add(w, any_up(w));
        break;
    case 1:
        walk_change(w, STORE_MEMBER_REMOVE, any_up(w), i);
        break;
    case 2:
    case 3:
        walk_change(w, STORE_MEMBER_PROMOTE, any_up(w), i);
        break;
    case 4:
        walk_change(w, STORE_MOVE_LEADER, any_up(w), i);
        break;
    case 5:
        m->cut = !m->cut && pick(w, 2) == 0;
        break;
    case 6:
        if (m->core != NULL) {
            sim_kill(&w->s, i);
        }
        break;
    case 7:
    case 8:
    case 9:
        for (size_t k = 0; k < w->s.n; k++) {
            start_quietly(w, (i + k) % w->s.n);
            w->s.members[k].cut = w->s.members[k].cut && pick(w, 3) == 0;
        }
        break;
    default:
        sim_run(&w->s, 10 + pick(w, 2000));
        break;
    }
    walk_put(w, any_up(w));
}

/* All that can be is up and connected: they agree, and have whatever was acknowledged. */
static void walk_end(struct walk *w)
{
    struct sim *s = &w->s;
    struct sim_call c;
    size_t l = s->n;

    for (int round = 0; round < 3; round++) {
        for (size_t i = 0; i < s->n; i++) {
            s->members[i].cut = false;
            start_quietly(w, i);
        }
        sim_run(s, 6000);
    }
    for (size_t i = 0; i < s->n; i++) {
        if (s->members[i].core != NULL && store_has_leader(s->members[i].core) &&
            !store_is_learner(s->members[i].core)) {
            l = i;
        }
    }
    assert_true(l < s->n);
    for (size_t k = 0; k < w->n_keys; k++) {
        assert_int_equal(sim_get(s, l, w->keys[k], &c), 0);
        assert_string_equal(c.value, "v");
    }
    for (size_t i = 0; i < s->n; i++) {
        const struct members *table = core_members(s->members[l].core);

        if (s->members[i].core != NULL && members_find(table, s->members[i].id) != NULL) {
            assert_int_equal(core_applied(s->members[i].core), core_applied(s->members[l].core));
            assert_int_equal(core_hash(s->members[i].core), core_hash(s->members[l].core));
            assert_int_equal(scene_count_members(s, i), table->n);
        }
        assert_true(!s->members[i].removed || members_is_removed(table, s->members[i].id));
    }
}

/* Changes, kills and cuts in any order, asked of any member: nothing acknowledged is lost, and when
 * all is well again the cluster goes on with the members that it has. */
TEST(member, changes_at_random_lose_nothing)
{
    size_t changes = 0, keys = 0;

    for (uint64_t seed = 1; seed <= WALKS; seed++) {
        struct walk *w = xcalloc(1, sizeof(*w));

        w->chance = seed;
        sim_init(&w->s, 1 + seed % 3);
        w->s.snapshot_count = seed % 2 == 0 ? 10 : 100000;
        w->s.snapshot_keep = 3;
        print_message("seed %llu\n", (unsigned long long)seed);
        scene_start_all(&w->s);
        (void)sim_elect(&w->s);
        for (int step = 0; step < WALK_STEPS; step++) {
            walk_step(w);
        }
        walk_end(w);
        changes += w->changes;
        keys += w->n_keys;
        sim_deinit(&w->s);
        free(w);
    }
    print_message("%zu changes, %zu keys in %d walks\n", changes, keys, (int)WALKS);
    assert_true(changes > 3 * WALKS && keys > 10 * WALKS); /* it does something */
}

TEST_MAIN(UNIT(member, changes_at_random_lose_nothing))
