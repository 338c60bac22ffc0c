/* One unit on a real loop with real files and commands in a folder of its own; the store is a
 * mirror filled by hand. */
#include "unit.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "clock.h"
#include "file.h"
#include "file_unit.h"
#include "record.h"
#include "target.h"

struct fixture {
    char dir[64];
    uv_loop_t loop;
    struct mirror *mirror;
    int units_fd;
    struct unit *unit;
    int64_t revision;
    bool stale;
    bool stopped;
};

static void on_changed(void *data, size_t group, struct bytes key)
{
    (void)data;
    (void)group;
    (void)key;
}

static bool source(void *data, const struct unit *u, const struct mirror **ret_mirror,
    int64_t *ret_revision, bool *ret_stale)
{
    struct fixture *f = data;

    (void)u;
    *ret_mirror = f->mirror;
    *ret_revision = f->revision;
    *ret_stale = f->stale;
    return true;
}

static void on_status(void *data, struct unit *u)
{
    (void)data;
    (void)u;
}

static void on_stopped(void *data, struct unit *u)
{
    struct fixture *f = data;

    (void)u;
    f->stopped = true;
    f->unit = NULL;
}

static char *in_dir(const struct fixture *f, const char *name)
{
    return xasprintf("%s/%s", f->dir, name);
}

static void write_file(const struct fixture *f, const char *name, const char *text)
{
    static const struct file_attrs attrs = {.mode = 0644, .uid = (uid_t)-1, .gid = (gid_t)-1};
    int fd = open(f->dir, O_RDONLY | O_DIRECTORY);

    assert_int_equal(file_replace_at(fd, name, bytes_str(text), &attrs, NULL), 0);
    (void)close(fd);
}

/* The text of a file, "" when there is none; the caller's. */
static char *text_of(const struct fixture *f, const char *name)
{
    _cleanup_free_ char *path = in_dir(f, name);
    struct strbuf s = {0};

    (void)file_read(path, 1 << 20, &s, NULL);
    return strbuf_take_cstr(&s);
}

static void assert_text(const struct fixture *f, const char *name, const char *expect)
{
    _cleanup_free_ char *text = text_of(f, name);

    assert_string_equal(text, expect);
}

static void set_value(struct fixture *f, const char *value)
{
    f->revision++;
    mirror_push(f->mirror, 0, false, BYTES_LITERAL("/app/v"), bytes_str(value), f->revision);
    assert_true(mirror_settle(f->mirror, 0));
}

/* A resource whose commands are the given shell lines ("" = none); $D is the folder. */
static struct resource *make_resource(
    struct fixture *f, const char *check, const char *reload, const char *more)
{
    _cleanup_strbuf_ struct strbuf ini = {0};
    _cleanup_err_ struct err e = {0};
    struct resource *r = NULL;

    strbuf_printf(&ini, "[template]\nsrc=t\ndest=%s/out\nkeys=/app\nshell=yes\n%s", f->dir, more);
    if (check[0] != '\0') {
        strbuf_printf(&ini, "check=D=%s; %s\n", f->dir, check);
    }
    if (reload[0] != '\0') {
        strbuf_printf(&ini, "reload=D=%s; %s\n", f->dir, reload);
    }
    if (resource_parse("res", "res.conf", strbuf_bytes(&ini), f->dir, &r, &e) < 0 ||
        resource_load_template(r, &e) < 0) {
        fail_msg("%s", e.text);
    }
    return r;
}

static void open_unit(struct fixture *f, const char *check, const char *reload, const char *more)
{
    const struct unit_env env = {.loop = &f->loop,
        .units_fd = f->units_fd,
        .source = source,
        .on_status = on_status,
        .on_stopped = on_stopped,
        .data = f};

    f->unit = unit_new(&env, make_resource(f, check, reload, more));
}

static void close_unit(struct fixture *f)
{
    f->stopped = false;
    unit_stop(f->unit);
    (void)uv_run(&f->loop, UV_RUN_DEFAULT);
    assert_true(f->stopped);
}

/* Until the unit is at rest; hooks of the tests end within milliseconds. */
static void settle(struct fixture *f)
{
    uint64_t deadline = clock_boot_ms() + 10000;

    while (!unit_at_rest(f->unit)) {
        assert_true(clock_boot_ms() < deadline);
        (void)uv_run(&f->loop, UV_RUN_ONCE);
    }
}

static void change(struct fixture *f, const char *value)
{
    set_value(f, value);
    unit_wake(f->unit);
    settle(f);
}

static void assert_condition(const struct fixture *f, enum unit_condition c)
{
    struct unit_status s = unit_status(f->unit);

    if (s.condition != c) {
        fail_msg("condition is %s: %s", unit_condition_text(s.condition), s.error);
    }
}

static int setup(void **state)
{
    char scope[] = "/app";
    char *scopes[] = {scope};
    struct fixture *f = xcalloc(1, sizeof(*f));
    _cleanup_free_ char *units = NULL;

    (void)snprintf(f->dir, sizeof(f->dir), "/tmp/decree-unit-XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    units = in_dir(f, "units");
    assert_int_equal(mkdir(units, 0700), 0);
    f->units_fd = open(units, O_RDONLY | O_DIRECTORY);
    assert_int_equal(uv_loop_init(&f->loop), 0);
    f->mirror = mirror_new(on_changed, NULL);
    (void)mirror_add_resource(f->mirror, 1, scopes);
    mirror_build(f->mirror);
    mirror_load_begin(f->mirror, 0);
    mirror_load_commit(f->mirror, 0, 1);
    f->revision = 1;
    write_file(f, "t", "{{getv \"/app/v\"}}");
    *state = f;
    return 0;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st;
    (void)type;
    (void)ftw;
    return remove(path);
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    if (f->unit != NULL) {
        close_unit(f);
    }
    assert_int_equal(uv_loop_close(&f->loop), 0);
    mirror_free(f->mirror);
    (void)close(f->units_fd);
    (void)nftw(f->dir, remove_one, 8, FTW_DEPTH | FTW_PHYS);
    free(f);
    return 0;
}

#define LOG_FILE "echo $(cat $DECREE_DEST) >>$D/log"

TEST(unit, first_render_swaps_reloads_and_is_remembered)
{
    struct fixture *f = *state;
    _cleanup_record_ struct record rec = {0};
    _cleanup_free_ char *dest = in_dir(f, "out");

    open_unit(f, "grep -q one {{.src}}", LOG_FILE, "mode=0600\n");
    change(f, "one");
    assert_condition(f, UNIT_OK);
    assert_text(f, "out", "one");
    assert_text(f, "log", "one\n");
    assert_int_equal(unit_status(f->unit).rendered_revision, 2);
    assert_int_equal(record_load(f->units_fd, "res", dest, &rec, NULL), 0);
    assert_true(rec.taken_ms > 0 && !rec.debt);
    assert_int_equal(rec.revision, 2);
    assert_int_equal(rec.attrs.mode, 0600);
}

TEST(unit, same_bytes_are_neither_written_nor_reloaded)
{
    struct fixture *f = *state;
    struct stat before, after;
    _cleanup_free_ char *dest = in_dir(f, "out");

    open_unit(f, "", LOG_FILE, "");
    change(f, "one");
    assert_int_equal(stat(dest, &before), 0);
    change(f, "one");
    assert_int_equal(stat(dest, &after), 0);
    assert_true(before.st_ino == after.st_ino);
    assert_text(f, "log", "one\n");
    assert_int_equal(unit_status(f->unit).rendered_revision, 3);
}

TEST(unit, refused_check_leaves_the_file_and_no_stage)
{
    struct fixture *f = *state;
    _cleanup_free_ char *stage = in_dir(f, ".out.decree-stage");

    open_unit(f, "! grep bad {{.src}}", LOG_FILE, "");
    change(f, "one");
    change(f, "bad");
    assert_condition(f, UNIT_CHECK_FAILED);
    assert_string_equal(unit_status(f->unit).error, "exited with status 1: bad");
    assert_text(f, "out", "one");
    assert_text(f, "log", "one\n");
    assert_int_equal(access(stage, F_OK), -1);
    change(f, "two");
    assert_condition(f, UNIT_OK);
    assert_text(f, "log", "one\ntwo\n");
}

/* What goes live is what was checked: not what the check made of it. */
static void assert_meddling_is_refused(struct fixture *f, const char *check)
{
    _cleanup_free_ char *dest = in_dir(f, "out");
    _cleanup_free_ char *stage = in_dir(f, ".out.decree-stage");
    struct stat st;

    open_unit(f, check, LOG_FILE, "");
    change(f, "one");
    assert_condition(f, UNIT_OK);
    write_file(f, "meddle", "");
    change(f, "two");
    assert_condition(f, UNIT_WRITE_FAILED);
    assert_non_null(strstr(unit_status(f->unit).error, "was changed or replaced before it went"));
    assert_int_equal(lstat(dest, &st), 0);
    assert_true(S_ISREG(st.st_mode));
    assert_text(f, "out", "one");
    assert_text(f, "log", "one\n");
    assert_int_equal(lstat(stage, &st), -1);
}

TEST(unit, stage_that_its_check_edits_does_not_go_live)
{
    assert_meddling_is_refused(*state, "[ ! -e $D/meddle ] || echo extra >>{{.src}}");
}

TEST(unit, stage_that_its_check_replaces_by_a_link_does_not_go_live)
{
    assert_meddling_is_refused(*state, "[ ! -e $D/meddle ] || ln -sf /etc/passwd {{.src}}");
}

TEST(unit, stage_that_its_check_replaces_by_a_file_does_not_go_live)
{
    assert_meddling_is_refused(
        *state, "[ ! -e $D/meddle ] || { echo -n two >$D/new; mv $D/new {{.src}}; }");
}

TEST(unit, stage_that_its_check_removes_is_told)
{
    assert_meddling_is_refused(*state, "[ ! -e $D/meddle ] || rm {{.src}}");
}

TEST(unit, failed_reload_restores_and_clears_the_debt_of_that)
{
    struct fixture *f = *state;
    _cleanup_record_ struct record rec = {0};
    _cleanup_free_ char *dest = in_dir(f, "out");

    open_unit(f, "", LOG_FILE "; ! grep -q bad $DECREE_DEST", "");
    change(f, "one");
    change(f, "bad");
    assert_condition(f, UNIT_RELOAD_FAILED);
    assert_text(f, "out", "one");
    assert_text(f, "log", "one\nbad\none\n");
    assert_int_equal(record_load(f->units_fd, "res", dest, &rec, NULL), 0);
    assert_false(rec.debt);
    assert_string_equal(strbuf_cstr(&rec.bytes), "one");
}

TEST(unit, debt_of_a_failed_rollback_is_on_disk)
{
    struct fixture *f = *state;
    _cleanup_record_ struct record rec = {0};
    _cleanup_free_ char *dest = in_dir(f, "out");

    open_unit(f, "", LOG_FILE "; [ ! -e $D/down ]", "");
    change(f, "one");
    write_file(f, "down", "");
    change(f, "two");
    assert_condition(f, UNIT_RELOAD_FAILED);
    assert_non_null(strstr(unit_status(f->unit).error, "with the old bytes failed as well"));
    assert_text(f, "out", "one");
    assert_int_equal(record_load(f->units_fd, "res", dest, &rec, NULL), 0);
    assert_true(rec.debt);
    close_unit(f);
    /* The next start finds the wanted bytes in place, and still owes the reload. */
    set_value(f, "one");
    open_unit(f, "", LOG_FILE, "");
    change(f, "one");
    assert_condition(f, UNIT_OK);
    assert_text(f, "log", "one\ntwo\none\none\n");
}

TEST(unit, file_without_a_record_was_never_taken)
{
    struct fixture *f = *state;

    write_file(f, "out", "one");
    open_unit(f, "", LOG_FILE, "");
    change(f, "one");
    assert_text(f, "log", "one\n");
    close_unit(f);
    open_unit(f, "", LOG_FILE, "");
    change(f, "one");
    assert_text(f, "log", "one\n");                    /* now it was */
    assert_true(unit_status(f->unit).reloaded_ms > 0); /* and it is known when */
    assert_true(unit_status(f->unit).file_changed_ms > 0);
}

TEST(unit, file_from_before_the_agent_is_put_back)
{
    struct fixture *f = *state;

    write_file(f, "out", "from the package");
    open_unit(f, "", LOG_FILE "; ! grep -q bad $DECREE_DEST", "");
    change(f, "bad");
    assert_condition(f, UNIT_RELOAD_FAILED);
    assert_text(f, "out", "from the package");
}

TEST(unit, first_file_stays_when_its_reload_fails)
{
    struct fixture *f = *state;

    open_unit(f, "", "exit 5", "");
    change(f, "one");
    assert_condition(f, UNIT_RELOAD_FAILED);
    assert_string_equal(unit_status(f->unit).error, "exited with status 5");
    assert_text(f, "out", "one");
}

TEST(unit, change_during_a_cycle_makes_one_more)
{
    struct fixture *f = *state;

    open_unit(f, "", LOG_FILE, "");
    set_value(f, "one");
    unit_wake(f->unit);
    for (int i = 0; i < 50; i++) {
        set_value(f, i < 49 ? "between" : "last");
        unit_wake(f->unit);
    }
    settle(f);
    assert_text(f, "out", "last");
    assert_text(f, "log", "one\nlast\n");
}

TEST(unit, quiet_time_ends_at_its_maximum)
{
    struct fixture *f = *state;
    uint64_t start = clock_boot_ms();

    open_unit(f, "", LOG_FILE, "quiet_min=100ms\nquiet_max=250ms\n");
    while (unit_status(f->unit).condition == UNIT_WAITING) {
        assert_true(clock_boot_ms() - start < 5000);
        set_value(f, "busy");
        unit_wake(f->unit);
        (void)uv_run(&f->loop, UV_RUN_NOWAIT);
    }
    assert_true(clock_boot_ms() - start >= 240);
}

TEST(unit, missing_key_is_what_the_next_render_waits_for)
{
    struct fixture *f = *state;

    open_unit(f, "", "", "");
    unit_wake(f->unit);
    settle(f);
    assert_condition(f, UNIT_RENDER_ERROR);
    assert_non_null(strstr(unit_status(f->unit).error, "key does not exist: /app/v"));
    assert_true(unit_reads(f->unit, BYTES_LITERAL("/app/v")));
    assert_false(unit_reads(f->unit, BYTES_LITERAL("/app/w")));
}

TEST(unit, remembered_state_never_replaces_a_newer_file)
{
    struct fixture *f = *state;

    open_unit(f, "", "", "");
    change(f, "one");
    change(f, "two");
    close_unit(f);
    f->stale = true;
    f->revision = 1;
    open_unit(f, "", "", "");
    mirror_load_begin(f->mirror, 0);
    mirror_load_add(f->mirror, 0, BYTES_LITERAL("/app/v"), BYTES_LITERAL("one"), 2);
    mirror_load_commit(f->mirror, 0, 2);
    f->revision = 2;
    unit_wake(f->unit);
    settle(f);
    assert_condition(f, UNIT_WAITING);
    assert_text(f, "out", "two");
    f->revision = 3; /* what is remembered is as new as the file */
    unit_wake(f->unit);
    settle(f);
    assert_text(f, "out", "one");
}

TEST(unit, stopped_check_leaves_nothing_behind)
{
    struct fixture *f = *state;
    _cleanup_free_ char *stage = in_dir(f, ".out.decree-stage");
    uint64_t start = clock_boot_ms();

    open_unit(f, "touch $D/began; exec sleep 60", "", "");
    set_value(f, "one");
    unit_wake(f->unit);
    for (_cleanup_free_ char *began = in_dir(f, "began"); access(began, F_OK) < 0;) {
        (void)uv_run(&f->loop, UV_RUN_NOWAIT);
    }
    close_unit(f);
    assert_true(clock_boot_ms() - start < 10000);
    assert_int_equal(access(stage, F_OK), -1);
    assert_text(f, "out", "");
}

TEST(unit, killed_reload_stays_owed)
{
    struct fixture *f = *state;

    open_unit(f, "", "touch $D/began; exec sleep 60", "");
    set_value(f, "one");
    unit_wake(f->unit);
    for (_cleanup_free_ char *began = in_dir(f, "began"); access(began, F_OK) < 0;) {
        (void)uv_run(&f->loop, UV_RUN_NOWAIT);
    }
    unit_stop(f->unit);
    unit_kill(f->unit);
    (void)uv_run(&f->loop, UV_RUN_DEFAULT);
    assert_true(f->stopped);
    open_unit(f, "", LOG_FILE, "");
    change(f, "one");
    assert_text(f, "log", "one\n");
}

TEST(record, every_damaged_byte_is_noticed)
{
    struct fixture *f = *state;
    _cleanup_record_ struct record rec = {.dest = xstrdup("/x"), .revision = 7};
    _cleanup_strbuf_ struct strbuf bytes = {0};
    struct record back;
    int fd;

    strbuf_append_str(&rec.bytes, "contents");
    assert_int_equal(record_save(f->units_fd, "r", &rec, NULL), 0);
    assert_int_equal(record_load(f->units_fd, "r", "/other", &back, NULL), RECORD_NONE);
    assert_int_equal(record_load(f->units_fd, "none", "/x", &back, NULL), RECORD_NONE);
    assert_int_equal(file_read_at(f->units_fd, "r.record", 1 << 20, &bytes, NULL), 0);
    fd = openat(f->units_fd, "r.record", O_WRONLY);
    for (size_t i = 0; i < bytes.len; i++) {
        uint8_t wrong = bytes.data[i] ^ 1;

        assert_int_equal(pwrite(fd, &wrong, 1, (off_t)i), 1);
        assert_int_equal(record_load(f->units_fd, "r", "/x", &back, NULL), -EBADMSG);
        assert_int_equal(pwrite(fd, &bytes.data[i], 1, (off_t)i), 1);
    }
    (void)close(fd);
    assert_int_equal(record_load(f->units_fd, "r", "/x", &back, NULL), 0);
    record_deinit(&back);
}

/* Two targets of one file share the stage's name: each makes only its own bytes live. */
TEST(target, stage_of_another_target_does_not_go_live)
{
    static const struct file_attrs attrs = {.mode = 0600, .uid = (uid_t)-1, .gid = (gid_t)-1};
    struct fixture *f = *state;
    _cleanup_free_ char *dest = in_dir(f, "out");
    const struct target_spec spec = {.dest = dest, .uid = (uid_t)-1, .gid = (gid_t)-1};
    _cleanup_target_ struct target a = TARGET_INIT, b = TARGET_INIT;
    _cleanup_err_ struct err e = {0};

    assert_int_equal(target_open(&a, &spec, NULL), 0);
    assert_int_equal(target_open(&b, &spec, NULL), 0);
    assert_int_equal(target_stage(&a, BYTES_LITERAL("checked"), &attrs, NULL), 0);
    assert_int_equal(target_stage(&b, BYTES_LITERAL("not yet checked"), &attrs, NULL), 0);
    assert_int_equal(target_commit(&a, &e), -ESTALE);
    assert_text(f, "out", "");
    assert_int_equal(target_commit(&b, NULL), 0);
    assert_text(f, "out", "not yet checked");
}

TEST(target, wrong_kinds_of_dest_are_refused_by_name)
{
    struct fixture *f = *state;
    _cleanup_free_ char *link = in_dir(f, "link");
    _cleanup_free_ char *folder = in_dir(f, "units");
    struct target_spec spec = {.uid = (uid_t)-1, .gid = (gid_t)-1};
    const char *dests[] = {link, folder, f->dir};

    assert_int_equal(symlink("/etc/passwd", link), 0);
    for (size_t i = 0; i < ARRAY_SIZE(dests); i++) {
        _cleanup_target_ struct target t = TARGET_INIT;
        _cleanup_err_ struct err e = {0};

        spec.dest = dests[i];
        assert_true(target_open(&t, &spec, &e) < 0);
        assert_non_null(strstr(e.text, dests[i]));
    }
}

#define UNIT_IN(module, claim)                                                                     \
    {                                                                                              \
#module ": " #claim, module##__##claim, setup, teardown, NULL                              \
    }

TEST_MAIN(UNIT_IN(unit, first_render_swaps_reloads_and_is_remembered),
    UNIT_IN(unit, same_bytes_are_neither_written_nor_reloaded),
    UNIT_IN(unit, refused_check_leaves_the_file_and_no_stage),
    UNIT_IN(unit, stage_that_its_check_edits_does_not_go_live),
    UNIT_IN(unit, stage_that_its_check_replaces_by_a_link_does_not_go_live),
    UNIT_IN(unit, stage_that_its_check_replaces_by_a_file_does_not_go_live),
    UNIT_IN(unit, stage_that_its_check_removes_is_told),
    UNIT_IN(unit, failed_reload_restores_and_clears_the_debt_of_that),
    UNIT_IN(unit, debt_of_a_failed_rollback_is_on_disk),
    UNIT_IN(unit, file_without_a_record_was_never_taken),
    UNIT_IN(unit, file_from_before_the_agent_is_put_back),
    UNIT_IN(unit, first_file_stays_when_its_reload_fails),
    UNIT_IN(unit, change_during_a_cycle_makes_one_more),
    UNIT_IN(unit, quiet_time_ends_at_its_maximum),
    UNIT_IN(unit, missing_key_is_what_the_next_render_waits_for),
    UNIT_IN(unit, remembered_state_never_replaces_a_newer_file),
    UNIT_IN(unit, stopped_check_leaves_nothing_behind), UNIT_IN(unit, killed_reload_stays_owed),
    UNIT_IN(record, every_damaged_byte_is_noticed),
    UNIT_IN(target, stage_of_another_target_does_not_go_live),
    UNIT_IN(target, wrong_kinds_of_dest_are_refused_by_name))
