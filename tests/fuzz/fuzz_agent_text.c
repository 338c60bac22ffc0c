/* The small languages of a resource file: durations and command lines. Any text is refused with a
 * reason or means one thing: what was read, written out again, reads as the same. */
#include "fuzz.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "alloc.h"
#include "argv.h"
#include "buf.h"
#include "duration.h"
#include "hook.h"

enum { DAY_MS = 24 * 60 * 60 * 1000 };

static void try_duration(const char *text)
{
    _cleanup_free_ char *plain = NULL;
    uint64_t ms, again;

    if (duration_parse(text, &ms) < 0) {
        return;
    }
    decree_assert(ms <= DAY_MS && text[0] >= '0' && text[0] <= '9');
    plain = xasprintf("%" PRIu64 "ms", ms);
    decree_assert(duration_parse(plain, &again) == 0 && again == ms);
}

/* In quotes, where nothing but \" and \\ means anything; a word with braces stays as it is. */
static void quote(struct strbuf *out, const char *word)
{
    strbuf_append_char(out, '"');
    for (; *word != '\0'; word++) {
        if (*word == '"' || *word == '\\') {
            strbuf_append_char(out, '\\');
        }
        strbuf_append_char(out, *word);
    }
    strbuf_append_str(out, "\" ");
}

static void try_command(const char *text)
{
    _cleanup_strbuf_ struct strbuf line = {0};
    _cleanup_err_ struct err e = {0};
    char **argv = NULL, **again = NULL;
    int rc = argv_split(text, &argv, &e);
    size_t n = 0;

    if (rc < 0) {
        decree_assert(rc == -EINVAL && argv == NULL && strstr(e.text, "column") != NULL);
        return;
    }
    for (; argv[n] != NULL; n++) {
        quote(&line, argv[n]);
    }
    decree_assert(n > 0 && n <= HOOK_ARGV_MAX);
    rc = argv_split(strbuf_cstr(&line), &again, NULL);
    decree_assert(rc == 0);
    for (size_t i = 0; i <= n; i++) {
        decree_assert(i == n ? again[i] == NULL : strcmp(argv[i], again[i]) == 0);
    }
    (void)argv_free(argv);
    (void)argv_free(again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    _cleanup_free_ char *text = xstrndup((const char *)data, size);

    try_duration(text);
    try_command(text);
    return 0;
}
