#include "file_hook.h"

#include "argv.h"
#include "template.h"

/* "did not end within 500 ms and was killed: first lines of its output" */
static char *hook_text(const struct hook_result *result)
{
    struct strbuf text = {0};
    size_t len = MIN(result->output.len, (size_t)FILE_HOOK_ERROR_MAX);

    hook_describe(result, &text);
    while (len > 0 && strchr(" \t\r\n", result->output.data[len - 1]) != NULL) {
        len--;
    }
    if (len > 0) {
        strbuf_append_str(&text, ": ");
        strbuf_append(&text, result->output.data, len);
    }
    return strbuf_take_cstr(&text);
}

static void on_hook(void *data, const struct hook_result *result)
{
    struct file_hook *h = data;

    h->running = NULL;
    h->ok = hook_ok(result);
    h->canceled = result->outcome == HOOK_CANCELED;
    h->took_ms = result->took_ms;
    free(h->error);
    h->error = h->ok ? NULL : hook_text(result);
    h->done(h);
}

/* Words without braces are as they are. What is in braces was tried when the resource was read. */
static char *expand_word(const struct resource *r, const char *src, const char *word)
{
    static const char *const names[] = {"src", "dest"};
    const char *const values[] = {src, r->dest};
    struct strbuf out = {0};

    if (strstr(word, "{{") == NULL) {
        return xstrdup(word);
    }
    if (template_expand(r->name, bytes_str(word), ARRAY_SIZE(names), names, values, &out, NULL) <
        0) {
        strbuf_clear(&out);
        strbuf_append_str(&out, word);
    }
    return strbuf_take_cstr(&out);
}

static char **expand_words(const struct resource *r, const char *src, char *const *words)
{
    size_t n = 0;
    char **argv;

    while (words[n] != NULL) {
        n++;
    }
    argv = xcalloc(n + 1, sizeof(*argv));
    for (size_t i = 0; i < n; i++) {
        argv[i] = expand_word(r, src, words[i]);
    }
    return argv;
}

void file_hook_start(struct file_hook *h, uv_loop_t *loop, const struct resource *r,
    const struct command *command, const char *src, void (*done)(struct file_hook *h))
{
    _cleanup_free_ char *name_var = xasprintf("DECREE_RESOURCE=%s", r->name);
    _cleanup_free_ char *src_var = xasprintf("DECREE_SRC=%s", src);
    _cleanup_free_ char *dest_var = xasprintf("DECREE_DEST=%s", r->dest);
    const char *const env[] = {name_var, src_var, dest_var, NULL};
    char **argv = expand_words(r, src, command->argv);
    const struct hook_spec spec = {
        .argv = (const char *const *)argv, .env = env, .timeout_ms = command->timeout_ms};

    decree_assert(h->running == NULL);
    h->done = done;
    h->running = hook_start(loop, &spec, on_hook, h);
    argv_free(argv);
}

void file_hook_cancel(struct file_hook *h)
{
    if (h->running != NULL) {
        hook_cancel(h->running);
    }
}

void file_hook_deinit(struct file_hook *h)
{
    decree_assert(h->running == NULL);
    free(h->error);
    h->error = NULL;
}
