#include "unit.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "alloc.h"
#include "node_notes.h"

enum { FRESH = 0x1234, KNOWN = 0x5678 };

static void make(char path[32])
{
    (void)snprintf(path, 32, "/tmp/decree-notes-XXXXXX");
    assert_non_null(mkdtemp(path));
}

static void drop(const char *path)
{
    _cleanup_free_ char *command = xasprintf("rm -rf '%s'", path);

    assert_int_equal(system(command), 0);
}

static void put(const char *dir, const char *name, const char *text)
{
    _cleanup_free_ char *path = xasprintf("%s/%s", dir, name);
    FILE *f = fopen(path, "we");

    assert_non_null(f);
    assert_true(fputs(text, f) >= 0);
    assert_int_equal(fclose(f), 0);
}

static bool has(const char *dir, const char *name)
{
    _cleanup_free_ char *path = xasprintf("%s/%s", dir, name);

    return access(path, F_OK) == 0;
}

TEST(incarnation, is_made_once_and_then_read)
{
    char dir[32];
    uint64_t found = 0;

    make(dir);
    assert_int_equal(node_incarnation_load(dir, true, 0, FRESH, &found, NULL), 0);
    assert_int_equal(found, FRESH);
    assert_int_equal(node_incarnation_load(dir, false, 0, FRESH + 1, &found, NULL), 0);
    assert_int_equal(found, FRESH);
    /* A new directory gets a new one, whatever lies in it. */
    assert_int_equal(node_incarnation_load(dir, true, 0, FRESH + 2, &found, NULL), 0);
    assert_int_equal(found, FRESH + 2);
    drop(dir);
}

TEST(incarnation, that_is_missing_after_a_crash_is_made_again)
{
    char dir[32];
    uint64_t found = 0;
    _cleanup_err_ struct err err = {0};

    make(dir);
    assert_int_equal(node_incarnation_load(dir, false, 0, FRESH, &found, &err), 0);
    assert_int_equal(found, FRESH);
    assert_null(err.text);
    drop(dir);
}

TEST(incarnation, that_contradicts_the_log_is_written_again)
{
    static const char *const damaged[] = {"00000000000012\n", "no number at all", ""};
    uint64_t found = 0;
    char dir[32];

    make(dir);
    for (size_t i = 0; i < ARRAY_SIZE(damaged); i++) {
        put(dir, "incarnation", damaged[i]);
        assert_int_equal(node_incarnation_load(dir, false, KNOWN, FRESH, &found, NULL), 0);
        assert_int_equal(found, KNOWN);
        assert_int_equal(node_incarnation_load(dir, false, 0, FRESH, &found, NULL), 0);
        assert_int_equal(found, KNOWN);
    }
    drop(dir);
}

/* The log is there: this is no directory made later. */
TEST(incarnation, that_is_lost_is_written_again)
{
    uint64_t found = 0;
    char dir[32];

    make(dir);
    assert_int_equal(node_incarnation_load(dir, false, KNOWN, FRESH, &found, NULL), 0);
    assert_int_equal(found, KNOWN);
    assert_int_equal(node_incarnation_load(dir, false, 0, FRESH, &found, NULL), 0);
    assert_int_equal(found, KNOWN);
    drop(dir);
    make(dir);
    assert_int_equal(node_incarnation_load(dir, true, KNOWN, FRESH, &found, NULL), 0);
    assert_int_equal(found, FRESH);
    drop(dir);
}

TEST(incarnation, that_nobody_knows_is_an_error_with_its_place)
{
    char dir[32];
    uint64_t found = 0;
    _cleanup_err_ struct err err = {0}, gone = {0}, large = {0};

    make(dir);
    put(dir, "incarnation", "no number\n");
    assert_int_equal(node_incarnation_load(dir, false, 0, FRESH, &found, &err), DECREE_ECORRUPT);
    assert_non_null(strstr(err.text, dir));
    assert_non_null(strstr(err.text, "incarnation"));
    put(dir, "incarnation", "00000000000000000000000000000000000012345\n");
    assert_true(node_incarnation_load(dir, false, 0, FRESH, &found, &large) < 0);
    assert_non_null(strstr(large.text, dir));
    drop(dir);
    assert_int_equal(node_incarnation_load(dir, false, 0, FRESH, &found, &gone), -ENOENT);
    assert_non_null(strstr(gone.text, dir));
}

TEST(removed, member_is_told_at_each_start)
{
    char dir[32];
    _cleanup_err_ struct err err = {0};

    make(dir);
    assert_int_equal(node_check_removed(dir, "n1", NULL), 0);
    node_mark_removed(dir, 0xabc, 0xdef);
    assert_int_equal(node_check_removed(dir, "n1", &err), DECREE_EINVALID_CONFIG);
    assert_non_null(strstr(err.text, "0000000000000abc"));
    assert_non_null(strstr(err.text, "0000000000000def"));
    assert_non_null(strstr(err.text, "decree member add n1"));
    drop(dir);
    assert_int_equal(node_check_removed(dir, "n1", NULL), 0); /* no directory, no mark */
    node_mark_removed(dir, 0xabc, 0xdef);                     /* only logged */
    assert_false(has(dir, "removed"));
}

TEST(forced, cluster_is_forced_once_until_the_option_is_taken_away)
{
    char dir[32];

    make(dir);
    assert_false(node_force_is_due(dir, false));
    assert_true(node_force_is_due(dir, true));
    assert_true(node_force_is_due(dir, true)); /* not noted: it crashed before */
    node_force_note(dir);
    assert_false(node_force_is_due(dir, true));
    assert_false(node_force_is_due(dir, true));
    assert_false(node_force_is_due(dir, false)); /* forgets */
    assert_false(has(dir, "forced-new-cluster"));
    assert_true(node_force_is_due(dir, true));
    drop(dir);
    node_force_note(dir); /* only logged */
    assert_false(has(dir, "forced-new-cluster"));
}

TEST_MAIN(UNIT(incarnation, is_made_once_and_then_read),
    UNIT(incarnation, that_is_missing_after_a_crash_is_made_again),
    UNIT(incarnation, that_contradicts_the_log_is_written_again),
    UNIT(incarnation, that_is_lost_is_written_again),
    UNIT(incarnation, that_nobody_knows_is_an_error_with_its_place),
    UNIT(removed, member_is_told_at_each_start),
    UNIT(forced, cluster_is_forced_once_until_the_option_is_taken_away))
