#include "node_scene.h"

#include <stdio.h>
#include <string.h>

#include "unit.h"

void scene_start_all(struct sim *s)
{
    for (size_t i = 0; i < s->n; i++) {
        if (s->members[i].core == NULL) {
            sim_start(s, i);
        }
    }
}

size_t scene_cluster(struct sim *s, size_t n)
{
    sim_init(s, n);
    scene_start_all(s);
    return sim_elect(s);
}

size_t scene_three_at_rest(struct sim *s)
{
    size_t leader = scene_cluster(s, 3);

    sim_run(s, 2000);
    return leader;
}

void scene_fill(struct sim *s, size_t i, int n)
{
    enum { BATCH = 100 };

    for (int done = 0; done < n; done += BATCH) {
        char keys[BATCH][16];
        struct txn_op ops[BATCH];
        struct sim_call c = {.call = {.kind = STORE_TXN}};

        for (int k = 0; k < BATCH; k++) {
            (void)snprintf(keys[k], sizeof(keys[k]), "/%06d", done + k);
            ops[k] = (struct txn_op){
                .kind = OP_PUT, .put = {.key = bytes_str(keys[k]), .value = BYTES_LITERAL("old")}};
        }
        c.call.txn.success = ops;
        c.call.txn.n_success = BATCH;
        assert_int_equal(sim_call(s, i, &c), 0);
    }
}

void scene_put_many(struct sim *s, size_t i, int n, size_t value_bytes)
{
    _cleanup_free_ char *value = xcalloc(1, value_bytes + 1);

    memset(value, 'v', value_bytes);
    for (int k = 0; k < n; k++) {
        char key[16];

        (void)snprintf(key, sizeof(key), "/k%d", k % 50);
        assert_int_equal(sim_put(s, i, key, value), 0);
    }
}

size_t scene_leave_behind(struct sim *s, int n, size_t value_bytes, size_t *ret_behind)
{
    _cleanup_free_ char *value = xcalloc(1, value_bytes + 1);
    char key[16];
    size_t leader;

    memset(value, 'v', value_bytes);
    sim_init(s, 3);
    s->snapshot_count = 100;
    s->snapshot_keep = 10;
    scene_start_all(s);
    leader = sim_elect(s);
    *ret_behind = (leader + 1) % 3;
    sim_kill(s, *ret_behind);
    for (int i = 0; i < n; i++) {
        (void)snprintf(key, sizeof(key), "/k%d", i);
        assert_int_equal(sim_put(s, leader, key, value), 0);
    }
    assert_true(core_snapshot_index(s->members[leader].core) > 0);
    return leader;
}

void scene_wait_promoted(struct sim *s, size_t at, size_t m)
{
    for (int tries = 0; tries < 100; tries++) {
        if (sim_change(s, at, STORE_MEMBER_PROMOTE, s->members[m].id) == 0) {
            return;
        }
        sim_run(s, 100);
    }
    fail_msg("member %zu is never in sync", m);
}

size_t scene_grow(struct sim *s, size_t at)
{
    size_t m = sim_grow(s);

    assert_int_equal(sim_add(s, at, m, true), 0);
    sim_start(s, m);
    scene_wait_promoted(s, at, m);
    return m;
}

size_t scene_count_members(struct sim *s, size_t i)
{
    return core_members(s->members[i].core)->n;
}
