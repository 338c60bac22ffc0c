/* Plans as text: `set NAME VALUE` for each setting, then `at MS NAME ARGUMENTS` for each item; `#`
 * begins a comment. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "plan.h"

static const struct {
    const char *name, *args;
} kinds[] = {
#define X(name, args) {#name, args},
    SIM_ITEMS(X)
#undef X
};
_Static_assert(sizeof(kinds) / sizeof(kinds[0]) == ITEM_END, "every kind has a name");

static const struct {
    const char *name;
    size_t at;
} fields[] = {
#define X(name) {#name, offsetof(struct settings, name)},
    SIM_SETTINGS(X)
#undef X
};

const char *item_name(enum item_kind kind)
{
    return kinds[kind].name;
}

size_t item_args(enum item_kind kind)
{
    size_t n = 1;

    for (const char *p = kinds[kind].args; *p != '\0'; p++) {
        n += *p == ' ';
    }
    return n;
}

static uint64_t *field(struct settings *s, size_t i)
{
    return (uint64_t *)(void *)((char *)s + fields[i].at);
}

void plan_write(const struct plan *p, const char *why, struct strbuf *out)
{
    struct settings set = p->set;

    strbuf_printf(out, "# %s\n", why);
    for (size_t i = 0; i < ARRAY_SIZE(fields); i++) {
        strbuf_printf(out, "set %s %" PRIu64 "\n", fields[i].name, *field(&set, i));
    }
    for (size_t i = 0; i < p->n; i++) {
        const struct item *x = &p->items[i];

        strbuf_printf(out, "at %" PRIu64 " %s", x->at_ms, item_name(x->kind));
        for (size_t k = 0; k < item_args(x->kind); k++) {
            strbuf_printf(out, " %" PRIu64, x->args[k]);
        }
        strbuf_append_char(out, '\n');
    }
}

static bool read_number(char **save, uint64_t *ret)
{
    char *word = strtok_r(NULL, " ", save), *end;

    if (word == NULL) {
        return false;
    }
    *ret = strtoull(word, &end, 10);
    return *end == '\0';
}

static bool read_setting(struct plan *p, char **save)
{
    const char *name = strtok_r(NULL, " ", save);

    for (size_t i = 0; name != NULL && i < ARRAY_SIZE(fields); i++) {
        if (strcmp(fields[i].name, name) == 0) {
            return read_number(save, field(&p->set, i));
        }
    }
    return false;
}

static bool read_item(struct plan *p, char **save)
{
    struct item x = {0};
    const char *name;

    if (!read_number(save, &x.at_ms) || (name = strtok_r(NULL, " ", save)) == NULL) {
        return false;
    }
    while (x.kind < ITEM_END && strcmp(kinds[x.kind].name, name) != 0) {
        x.kind++;
    }
    if (x.kind == ITEM_END) {
        return false;
    }
    for (size_t k = 0; k < item_args(x.kind); k++) {
        if (!read_number(save, &x.args[k])) {
            return false;
        }
    }
    plan_add(p, x);
    return true;
}

int plan_read(const char *text, struct plan *ret, struct err *reterr)
{
    _cleanup_free_ char *copy = xstrdup(text);
    char *lines = NULL;
    size_t number = 0;

    *ret = (struct plan){0};
    for (char *line = copy, *next; line != NULL; line = next) {
        char *words = NULL, *first;
        bool ok = true;

        number++;
        next = strchr(line, '\n');
        if (next != NULL) {
            *next++ = '\0';
        }
        lines = line + strcspn(line, "#");
        *lines = '\0';
        first = strtok_r(line, " ", &words);
        if (first != NULL && strcmp(first, "set") == 0) {
            ok = read_setting(ret, &words);
        } else if (first != NULL) {
            ok = strcmp(first, "at") == 0 && read_item(ret, &words);
        }
        if (!ok) {
            plan_deinit(ret);
            return err_set(reterr, DECREE_EBAD_REQUEST, "line %zu cannot be read", number);
        }
    }
    if (ret->set.members == 0 || ret->set.members + ret->set.spares > SIM_MEMBERS_MAX ||
        ret->set.spares > SIM_MEMBERS_MAX || ret->set.clients > SIM_CLIENTS_MAX ||
        ret->set.keys > SIM_KEYS_MAX) {
        plan_deinit(ret);
        return err_set(reterr, DECREE_EBAD_REQUEST, "too many or no members, clients or keys");
    }
    plan_sort(ret);
    return 0;
}

/* ---- plans ---- */

void plan_deinit(struct plan *p)
{
    free(p->items);
    *p = (struct plan){0};
}

void plan_copy(const struct plan *p, struct plan *ret)
{
    *ret = *p;
    ret->cap = p->n;
    ret->items = xmemdup(p->items, p->n * sizeof(*p->items));
}

void plan_add(struct plan *p, struct item item)
{
    if (p->n == p->cap) {
        p->cap = p->cap * 2 + 64;
        p->items = xreallocarray(p->items, p->cap, sizeof(*p->items));
    }
    p->items[p->n++] = item;
}

/* Insertion: it is nearly sorted or short. */
void plan_sort(struct plan *p)
{
    for (size_t i = 1; i < p->n; i++) {
        struct item x = p->items[i];
        size_t k = i;

        for (; k > 0 && p->items[k - 1].at_ms > x.at_ms; k--) {
            p->items[k] = p->items[k - 1];
        }
        p->items[k] = x;
    }
}
