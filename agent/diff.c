/* The greedy algorithm of Myers, "An O(ND) difference algorithm and its variations" (1986), on
 * lines, after the common head and tail were cut off. */
#include "diff.h"

#include <stdint.h>

struct lines {
    struct bytes *at; /* owned; each with its newline, which the last one may lack */
    size_t n;
};

enum { KEEP = ' ', REMOVE = '-', ADD = '+' };

struct script {
    char *edits; /* owned; KEEP, REMOVE or ADD, in order */
    size_t n;
};

static struct lines split(struct bytes text)
{
    struct lines l = {0};
    size_t cap = 0;

    while (text.len > 0) {
        const uint8_t *newline = memchr(text.data, '\n', text.len);
        size_t len = newline != NULL ? (size_t)(newline - text.data) + 1 : text.len;

        if (l.n == cap) {
            cap = MAX(cap * 2, (size_t)64);
            l.at = xreallocarray(l.at, cap, sizeof(*l.at));
        }
        l.at[l.n++] = bytes_make(text.data, len);
        text.data += len;
        text.len -= len;
    }
    return l;
}

static void emit(struct script *s, char e, size_t n)
{
    memset(s->edits + s->n, e, n);
    s->n += n;
}

/* Furthest x on each diagonal after d edits; row d of the trace has diagonals -d … d. */
struct trace {
    int *rows[DIFF_EDITS_MAX + 1]; /* owned */
    int d;
};

static int get(const int *row, int d, int k)
{
    return k < -d || k > d ? -1 : row[k + d];
}

/* Fills the trace until both ends are reached; false beyond DIFF_EDITS_MAX edits. */
static bool search(struct trace *t, const struct bytes *a, int n, const struct bytes *b, int m)
{
    for (t->d = 0; t->d <= DIFF_EDITS_MAX; t->d++) {
        int d = t->d;
        int *row = xcalloc((size_t)(2 * d + 1), sizeof(*row));

        t->rows[d] = row;
        for (int k = -d; k <= d; k += 2) {
            int down = d == 0 ? 0 : get(t->rows[d - 1], d - 1, k + 1);
            int right = d == 0 ? -1 : get(t->rows[d - 1], d - 1, k - 1);
            int x = right >= down ? right + 1 : down;

            while (x < n && x - k < m && x - k >= 0 && bytes_eq(a[x], b[x - k])) {
                x++;
            }
            row[k + d] = x;
            if (x >= n && x - k >= m) {
                return true;
            }
        }
    }
    t->d = DIFF_EDITS_MAX;
    return false;
}

/* Walks the trace from the end to the start; edits come out in reverse. */
static void back_track(const struct trace *t, int n, int m, struct script *s)
{
    int x = n, y = m;
    size_t start = s->n;

    for (int d = t->d; d > 0; d--) {
        int k = x - y;
        int down = get(t->rows[d - 1], d - 1, k + 1);
        int right = get(t->rows[d - 1], d - 1, k - 1);
        bool went_right = right >= down;
        int from = went_right ? right + 1 : down;

        emit(s, KEEP, (size_t)(x - from));
        emit(s, went_right ? REMOVE : ADD, 1);
        x = went_right ? right : down;
        y = went_right ? from - k : from - k - 1;
    }
    emit(s, KEEP, (size_t)x);
    for (size_t i = start, j = s->n; i + 1 < j; i++, j--) {
        char c = s->edits[i];

        s->edits[i] = s->edits[j - 1];
        s->edits[j - 1] = c;
    }
}

static void compare_middle(
    struct script *s, const struct bytes *a, size_t n, const struct bytes *b, size_t m)
{
    struct trace *t = xcalloc(1, sizeof(*t));

    if (n < INT32_MAX / 4 && m < INT32_MAX / 4 && search(t, a, (int)n, b, (int)m)) {
        back_track(t, (int)n, (int)m, s);
    } else {
        emit(s, REMOVE, n);
        emit(s, ADD, m);
    }
    for (int i = 0; i <= t->d; i++) {
        free(t->rows[i]);
    }
    free(t);
}

static struct script compare(const struct lines *a, const struct lines *b)
{
    struct script s = {.edits = xmalloc(a->n + b->n + 1)};
    size_t head = 0, tail = 0;

    while (head < a->n && head < b->n && bytes_eq(a->at[head], b->at[head])) {
        head++;
    }
    while (tail < a->n - head && tail < b->n - head &&
        bytes_eq(a->at[a->n - 1 - tail], b->at[b->n - 1 - tail])) {
        tail++;
    }
    emit(&s, KEEP, head);
    compare_middle(&s, a->at + head, a->n - head - tail, b->at + head, b->n - head - tail);
    emit(&s, KEEP, tail);
    return s;
}

static void print_line(struct strbuf *out, char mark, struct bytes line)
{
    strbuf_append_char(out, mark);
    strbuf_append_bytes(out, line);
    if (line.len == 0 || line.data[line.len - 1] != '\n') {
        strbuf_append_str(out, "\n\\ No newline at end of file\n");
    }
}

/* "12,3", and "11,0" for an empty range behind line 11. */
static void print_range(struct strbuf *out, size_t first, size_t n)
{
    strbuf_printf(out, "%zu", n == 0 ? first : first + 1);
    if (n != 1) {
        strbuf_printf(out, ",%zu", n);
    }
}

/* End of the hunk that begins at i: a run of kept lines longer than twice the context ends it. */
static size_t hunk_end(const struct script *s, size_t i)
{
    size_t last = i;

    for (; i < s->n && i - last <= 2 * DIFF_CONTEXT + 1; i++) {
        if (s->edits[i] != KEEP) {
            last = i;
        }
    }
    return MIN(last + 1 + DIFF_CONTEXT, s->n);
}

static void print_hunk(struct strbuf *out, const struct script *s, size_t from, size_t to,
    const struct bytes *a, size_t at_a, const struct bytes *b, size_t at_b)
{
    size_t n_a = 0, n_b = 0;

    for (size_t i = from; i < to; i++) {
        n_a += s->edits[i] != ADD;
        n_b += s->edits[i] != REMOVE;
    }
    strbuf_append_str(out, "@@ -");
    print_range(out, at_a, n_a);
    strbuf_append_str(out, " +");
    print_range(out, at_b, n_b);
    strbuf_append_str(out, " @@\n");
    for (size_t i = from; i < to; i++) {
        char e = s->edits[i];

        print_line(out, e, e == ADD ? b[at_b] : a[at_a]);
        at_a += e != ADD;
        at_b += e != REMOVE;
    }
}

void diff_unified(
    struct strbuf *out, const char *name_a, struct bytes a, const char *name_b, struct bytes b)
{
    struct lines la = split(a), lb = split(b);
    struct script s = compare(&la, &lb);
    size_t at_a = 0, at_b = 0;
    bool begun = false;

    for (size_t i = 0; i < s.n;) {
        size_t from, end;

        if (s.edits[i] == KEEP) {
            i++;
            at_a++;
            at_b++;
            continue;
        }
        if (!begun) {
            strbuf_printf(out, "--- %s\n+++ %s\n", name_a, name_b);
            begun = true;
        }
        /* Kept lines before an edit are in both texts: step back over at most the context. Those
         * of the hunk before end at least one line earlier. */
        from = i - MIN(MIN(i, (size_t)DIFF_CONTEXT), MIN(at_a, at_b));
        end = hunk_end(&s, i);
        print_hunk(out, &s, from, end, la.at, at_a - (i - from), lb.at, at_b - (i - from));
        for (; i < end; i++) {
            at_a += s.edits[i] != ADD;
            at_b += s.edits[i] != REMOVE;
        }
    }
    free(s.edits);
    free(la.at);
    free(lb.at);
}
