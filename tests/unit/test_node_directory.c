/* Whose data directory it is: what the options say against what the directory says. */
#include <stdio.h>
#include <string.h>

#include "node_scene.h"
#include "unit.h"

/* Opens member 0's disk as m0 of that cluster; the text of a refusal, NULL when it opened. */
static char *open_with(struct sim *s, const char *cluster, struct core_options o)
{
    struct sim_member *m = &s->members[0];
    _cleanup_err_ struct err e = {0};
    struct members founders;
    char *text = NULL;

    assert_int_equal(members_parse(cluster, "t", &founders, NULL), 0);
    o.name = o.name != NULL ? o.name : "m0";
    o.data_dir = "mem";
    o.founders = o.founders == NULL ? &founders : NULL;
    o.heartbeat_ms = SIM_HEARTBEAT_MS;
    o.election_ticks = SIM_ELECTION_TICKS;
    o.snapshot_count = 1000;
    o.snapshot_keep = 100;
    o.quota_bytes = 1 << 20;
    o.segment_bytes = 1 << 20;
    o.disk = wal_mem_disk(m->mem);
    m->id = members_find_name(&founders, "m0") != NULL ? members_find_name(&founders, "m0")->id : 1;
    if (core_open(&o, &m->env, &m->core, &e) < 0) {
        assert_non_null(e.text);
        text = xstrdup(e.text);
        m->core = NULL;
    } else {
        core_set_incarnation(m->core, 1000);
        sim_settle(s);
        sim_stop(s, 0);
    }
    members_deinit(&founders);
    return text;
}

static void assert_refuses(
    struct sim *s, const char *cluster, struct core_options o, const char *words)
{
    _cleanup_free_ char *text = open_with(s, cluster, o);

    if (text == NULL || strstr(text, words) == NULL) {
        fail_msg("said: %s", text != NULL ? text : "nothing");
    }
}

#define ALONE "m0=http://h0:2380"
#define THREE "m0=http://h0:2380,m1=http://h1:2380,m2=http://h2:2380"

TEST(boot, a_founding_that_contradicts_itself_is_refused_and_leaves_nothing)
{
    static const char *const other[] = {"http://h9:2380"};
    static const char *const two[] = {"http://h0:2380", "http://h0:2380"};
    static const struct members none;
    struct sim s;

    sim_init(&s, 1);
    assert_refuses(&s, ALONE, (struct core_options){.peer_urls = other, .n_peer_urls = 1},
        "m0 advertises http://h9:2380 to members, but the initial cluster lists http://h0:2380");
    assert_refuses(&s, ALONE, (struct core_options){.peer_urls = two, .n_peer_urls = 2},
        "m0 advertises 2 URLs to members, but the initial cluster lists 1");
    assert_refuses(&s, "m1=http://h1:2380", (struct core_options){0}, "has no member named m0");
    assert_refuses(&s, ALONE, (struct core_options){.founders = &none}, "has no member named m0");
    /* After all that the directory is as new. */
    assert_null(open_with(&s, ALONE, (struct core_options){.peer_urls = two, .n_peer_urls = 1}));
    sim_deinit(&s);
}

TEST(boot, a_directory_of_a_lone_member_founds_no_cluster_of_three)
{
    struct sim s;

    sim_init(&s, 1);
    assert_null(open_with(&s, ALONE, (struct core_options){0}));
    assert_refuses(&s, THREE, (struct core_options){0},
        "holds a cluster of this member alone, but the initial cluster lists 3 members");
    assert_refuses(&s, ALONE, (struct core_options){.name = "other"},
        "but this process was started as \"other\"");
    assert_refuses(&s, ALONE, (struct core_options){.token = "u"}, "with token \"t\"");
    /* Without the list, and with the flag that is for the founding only, it starts. */
    assert_null(open_with(&s, ALONE, (struct core_options){.existing = true}));
    sim_deinit(&s);
}

TEST(boot, a_list_that_differs_from_the_members_known_starts_all_the_same)
{
    struct sim s;

    sim_init(&s, 1);
    assert_null(open_with(&s, THREE, (struct core_options){0}));
    assert_null(open_with(
        &s, "m0=http://h0:2380,m1=http://h1:2380,m7=http://h7:2380", (struct core_options){0}));
    assert_null(open_with(&s, "m0=http://h0:2380,m1=http://h1:2380", (struct core_options){0}));
    sim_deinit(&s);
}

TEST(node, a_directory_of_somebody_else_is_refused)
{
    _cleanup_err_ struct err err = {0};
    struct sim s;

    sim_init(&s, 1);
    sim_start(&s, 0);
    sim_settle(&s);
    sim_stop(&s, 0);
    assert_int_equal(sim_try_start(&s, 0, "other", "t", &err), DECREE_EINVALID_CONFIG);
    assert_non_null(strstr(err.text, "\"m0\""));
    assert_non_null(strstr(err.text, "\"other\""));
    assert_int_equal(sim_try_start(&s, 0, "m0", "another", &err), DECREE_EINVALID_CONFIG);
    assert_non_null(strstr(err.text, "token \"t\""));
    sim_start(&s, 0);
    assert_int_equal(sim_put(&s, 0, "/a", "1"), 0);
    sim_deinit(&s);
}

TEST(node, a_crash_at_any_write_of_the_founding_can_be_started_again)
{
    for (uint64_t nth = 1; nth < 40; nth++) {
        struct sim s;
        struct wal_mem *mem;

        sim_init(&s, 1);
        mem = s.members[0].mem;
        wal_mem_die_at(mem, nth, 50);
        if (sim_try_start(&s, 0, "m0", "t", NULL) == 0) {
            for (int i = 0; i < 100 && !wal_mem_is_dead(mem); i++) {
                sim_run(&s, 10);
            }
            sim_stop(&s, 0);
        }
        if (wal_mem_is_dead(mem)) {
            s.members[0].mem = wal_mem_reborn(mem);
        }
        wal_mem_die_at(s.members[0].mem, 0, 0); /* there were fewer operations than that */
        sim_start(&s, 0);
        assert_int_equal(sim_put(&s, 0, "/a", "1"), 0);
        sim_deinit(&s);
    }
}

static void assert_client_url(struct sim *s, const char *url)
{
    const struct store_member *self = core_members(s->members[0].core)->list;

    assert_int_equal(self->n_client_urls, url != NULL);
    if (url != NULL) {
        assert_string_equal(self->client_urls[0], url);
    }
}

/* What a member says about itself follows its options. */
TEST(cluster, other_client_urls_at_a_new_start_are_published)
{
    static const char *const urls[][1] = {{"http://a:1"}, {"http://b:1"}, {NULL}};
    struct members founders;
    struct sim s;

    sim_init(&s, 1);
    for (size_t i = 0; i < ARRAY_SIZE(urls); i++) {
        struct core_options o = {.name = "m0",
            .data_dir = "mem",
            .founders = &founders,
            .client_urls = urls[i],
            .n_client_urls = urls[i][0] != NULL,
            .heartbeat_ms = SIM_HEARTBEAT_MS,
            .election_ticks = SIM_ELECTION_TICKS,
            .snapshot_count = 1000,
            .snapshot_keep = 100,
            .quota_bytes = 1 << 20,
            .segment_bytes = 1 << 20,
            .disk = wal_mem_disk(s.members[0].mem)};

        assert_int_equal(members_parse(ALONE, "t", &founders, NULL), 0);
        s.members[0].id = founders.list[0].id;
        assert_int_equal(core_open(&o, &s.members[0].env, &s.members[0].core, NULL), 0);
        members_deinit(&founders);
        core_set_incarnation(s.members[0].core, 5);
        sim_run(&s, 5000);
        assert_client_url(&s, urls[i][0]);
        sim_stop(&s, 0);
    }
    sim_deinit(&s);
}

TEST_MAIN(UNIT(boot, a_founding_that_contradicts_itself_is_refused_and_leaves_nothing),
    UNIT(boot, a_directory_of_a_lone_member_founds_no_cluster_of_three),
    UNIT(boot, a_list_that_differs_from_the_members_known_starts_all_the_same),
    UNIT(node, a_directory_of_somebody_else_is_refused),
    UNIT(node, a_crash_at_any_write_of_the_founding_can_be_started_again),
    UNIT(cluster, other_client_urls_at_a_new_start_are_published))
