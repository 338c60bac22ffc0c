#include "unit.h"

#include <stdio.h>
#include <string.h>

#include "diff.h"

static void assert_diff(const char *a, const char *b, const char *expect)
{
    _cleanup_strbuf_ struct strbuf out = {0};

    diff_unified(&out, "a", bytes_str(a), "b", bytes_str(b));
    assert_string_equal(strbuf_cstr(&out), expect);
}

#define HEAD "--- a\n+++ b\n"

TEST(diff, equal_texts_give_nothing)
{
    assert_diff("", "", "");
    assert_diff("x\ny\n", "x\ny\n", "");
}

TEST(diff, looks_like_diff_u)
{
    assert_diff("", "x\n", HEAD "@@ -0,0 +1 @@\n+x\n");
    assert_diff("x\n", "", HEAD "@@ -1 +0,0 @@\n-x\n");
    assert_diff("1\n2\n3\n4\n5\n6\n7\n8\n9\n", "1\n2\n3\n4\nfive\n6\n7\n8\n9\n",
        HEAD "@@ -2,7 +2,7 @@\n 2\n 3\n 4\n-5\n+five\n 6\n 7\n 8\n");
    assert_diff("a\nb\nc\n", "a\nc\nd\n", HEAD "@@ -1,3 +1,3 @@\n a\n-b\n c\n+d\n");
}

TEST(diff, missing_newline_at_the_end_is_marked)
{
    assert_diff("x\n", "x", HEAD "@@ -1 +1 @@\n-x\n+x\n\\ No newline at end of file\n");
}

TEST(diff, far_changes_are_two_hunks_and_near_ones_are_one)
{
    assert_diff("x\n1\n2\n3\n4\n5\n6\n7\ny\n", "X\n1\n2\n3\n4\n5\n6\n7\nY\n",
        HEAD "@@ -1,4 +1,4 @@\n-x\n+X\n 1\n 2\n 3\n@@ -6,4 +6,4 @@\n 5\n 6\n 7\n-y\n+Y\n");
    assert_diff("x\n1\n2\n3\n4\n5\n6\ny\n", "X\n1\n2\n3\n4\n5\n6\nY\n",
        HEAD "@@ -1,8 +1,8 @@\n-x\n+X\n 1\n 2\n 3\n 4\n 5\n 6\n-y\n+Y\n");
}

static uint64_t rng = 88172645463325252ull;

static unsigned next_random(unsigned n)
{
    rng ^= rng << 13;
    rng ^= rng >> 7;
    rng ^= rng << 17;
    return (unsigned)(rng % n);
}

/* Applies a diff that was made with everything in it to a; what comes out must be b. */
static void apply(const char *diff, struct strbuf *old, struct strbuf *new)
{
    for (const char *p = diff; *p != '\0';) {
        size_t len = strcspn(p, "\n") + 1;

        if (strncmp(p, "--- ", 4) != 0 && strncmp(p, "+++ ", 4) != 0 && *p != '@') {
            if (*p != '+') {
                strbuf_append(old, p + 1, len - 1);
            }
            if (*p != '-') {
                strbuf_append(new, p + 1, len - 1);
            }
        }
        p += len;
    }
}

TEST(diff, random_texts_can_be_rebuilt_from_it)
{
    for (int round = 0; round < 2000; round++) {
        _cleanup_strbuf_ struct strbuf a = {0}, b = {0}, out = {0}, old = {0}, new = {0};

        /* Few enough lines that one hunk holds all of both texts. */
        for (unsigned i = next_random(8); i > 0; i--) {
            strbuf_printf(&a, "%u\n", next_random(3));
        }
        for (unsigned i = next_random(8); i > 0; i--) {
            strbuf_printf(&b, "%u\n", next_random(3));
        }
        strbuf_append_str(&a, "a\n");
        strbuf_append_str(&b, "b\n");
        diff_unified(&out, "a", strbuf_bytes(&a), "b", strbuf_bytes(&b));
        apply(strbuf_cstr(&out), &old, &new);
        /* Kept lines beyond the context may be left out at the start. */
        assert_true(old.len <= a.len && new.len <= b.len);
        assert_int_equal(a.len - old.len, b.len - new.len);
        assert_memory_equal(old.data, a.data + (a.len - old.len), old.len);
        assert_memory_equal(new.data, b.data + (b.len - new.len), new.len);
    }
}

TEST(diff, very_different_texts_are_shown_whole)
{
    _cleanup_strbuf_ struct strbuf a = {0}, b = {0}, out = {0};

    for (int i = 0; i < DIFF_EDITS_MAX; i++) {
        strbuf_printf(&a, "a%d\n", i);
        strbuf_printf(&b, "b%d\n", i);
    }
    diff_unified(&out, "a", strbuf_bytes(&a), "b", strbuf_bytes(&b));
    assert_int_equal(out.len,
        strlen(HEAD "@@ -1,2000 +1,2000 @@\n") + a.len + b.len + 2 * (size_t)DIFF_EDITS_MAX);
}

TEST_MAIN(UNIT(diff, equal_texts_give_nothing), UNIT(diff, looks_like_diff_u),
    UNIT(diff, missing_newline_at_the_end_is_marked),
    UNIT(diff, far_changes_are_two_hunks_and_near_ones_are_one),
    UNIT(diff, random_texts_can_be_rebuilt_from_it),
    UNIT(diff, very_different_texts_are_shown_whole))
