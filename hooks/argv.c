#include "argv.h"

#include <errno.h>

#include "buf.h"
#include "hook.h"

struct splitter {
    const char *line;
    const char *p;
    struct err *reterr;
    struct strbuf word;
};

static int fail_at(const struct splitter *s, const char *at, const char *what)
{
    return err_set(s->reterr, -EINVAL, "column %zu: %s", (size_t)(at - s->line) + 1, what);
}

static bool blank(char c)
{
    return c == ' ' || c == '\t';
}

/* p is behind the opening quote; leaves it behind the closing one. */
static int take_quoted(struct splitter *s, char quote)
{
    const char *start = s->p - 1;

    for (; *s->p != '\0'; s->p++) {
        if (*s->p == quote) {
            s->p++;
            return 0;
        }
        if (quote == '"' && s->p[0] == '\\' && (s->p[1] == '"' || s->p[1] == '\\')) {
            s->p++;
        }
        strbuf_append_char(&s->word, *s->p);
    }
    return fail_at(s, start, quote == '"' ? "this \" is never closed" : "this ' is never closed");
}

static int take_braces(struct splitter *s)
{
    const char *end = strstr(s->p, "}}");

    if (end == NULL) {
        return fail_at(s, s->p, "this {{ is never closed");
    }
    strbuf_append(&s->word, s->p, (size_t)(end + 2 - s->p));
    s->p = end + 2;
    return 0;
}

static int take_word(struct splitter *s)
{
    int rc = 0;

    while (rc == 0 && *s->p != '\0' && !blank(*s->p)) {
        char c = *s->p;

        if (c == '{' && s->p[1] == '{') {
            rc = take_braces(s);
        } else if (c == '\'' || c == '"') {
            s->p++;
            rc = take_quoted(s, c);
        } else if (c == '\\' && s->p[1] == '\0') {
            rc = fail_at(s, s->p, "nothing follows this \\");
        } else {
            s->p += c == '\\';
            strbuf_append_char(&s->word, *s->p++);
        }
    }
    return rc;
}

static int split(struct splitter *s, char **argv, size_t *n)
{
    for (;;) {
        while (blank(*s->p)) {
            s->p++;
        }
        if (*s->p == '\0') {
            return *n > 0 ? 0 : fail_at(s, s->p, "the command is empty");
        }
        if (*n == HOOK_ARGV_MAX) {
            return fail_at(s, s->p, "the command has too many words");
        }
        int rc = take_word(s);

        if (rc < 0) {
            return rc;
        }
        argv[(*n)++] = strbuf_take_cstr(&s->word);
    }
}

int argv_split(const char *line, char ***ret, struct err *reterr)
{
    struct splitter s = {.line = line, .p = line, .reterr = reterr};
    char **argv = xcalloc(HOOK_ARGV_MAX + 1, sizeof(*argv));
    size_t n = 0;
    int rc = split(&s, argv, &n);

    strbuf_deinit(&s.word);
    if (rc < 0) {
        argv_free(argv);
        return rc;
    }
    *ret = xreallocarray(argv, n + 1, sizeof(*argv));
    return 0;
}

char **argv_free(char **argv)
{
    for (size_t i = 0; argv != NULL && argv[i] != NULL; i++) {
        free(argv[i]);
    }
    free(argv);
    return NULL;
}
