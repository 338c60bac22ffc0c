#include "txn_parse.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "alloc.h"
#include "buf.h"
#include "cmd.h"
#include "v3_client.h"

/* More words than any put, get or del has. */
enum { WORDS_MAX = 32 };

static int hex_digit(char c)
{
    return c >= '0' && c <= '9' ? c - '0'
        : c >= 'a' && c <= 'f'  ? c - 'a' + 10
        : c >= 'A' && c <= 'F'  ? c - 'A' + 10
                                : -1;
}

/* What stands behind a backslash in "…"; moves *p to its last character. A zero byte cannot be
 * written: words are C strings here. */
static int unescape(const char **p, char *ret)
{
    static const char letters[] = "ntr\"\\'", means[] = "\n\t\r\"\\'";
    const char *found = **p != 0 ? strchr(letters, **p) : NULL;

    if (found != NULL) {
        *ret = means[found - letters];
        return 0;
    }
    if (**p == 'x' && hex_digit((*p)[1]) >= 0 && hex_digit((*p)[2]) >= 0) {
        *ret = (char)(hex_digit((*p)[1]) * 16 + hex_digit((*p)[2]));
        *p += 2;
        return *ret != 0 ? 0 : -EINVAL;
    }
    return -EINVAL;
}

/* Reads one word at *p, up to a blank or one of the stop characters outside quotes. */
static int word_read(const char **p, const char *stop, char **ret, struct err *reterr)
{
    struct strbuf word = {0};
    char quote = 0;

    for (; **p != 0; ++*p) {
        char c = **p;

        if (quote == 0 && (c == ' ' || c == '\t' || strchr(stop, c) != NULL)) {
            break;
        }
        if (quote == 0 && (c == '"' || c == '\'')) {
            quote = c;
            continue;
        }
        if (quote != 0 && c == quote) {
            quote = 0;
            continue;
        }
        if (quote == '"' && c == '\\') {
            ++*p;
            if (unescape(p, &c) < 0) {
                strbuf_deinit(&word);
                return err_set(reterr, -EINVAL,
                    "a backslash in quotes is followed by n, t, r, \", "
                    "\\ or xNN (not x00)");
            }
        }
        strbuf_append_char(&word, c);
    }
    if (quote != 0) {
        strbuf_deinit(&word);
        return err_set(reterr, -EINVAL, "a %c is not closed", quote);
    }
    *ret = strbuf_take_cstr(&word);
    return 0;
}

static const char *skip_blanks(const char *p)
{
    return p + strspn(p, " \t");
}

void txn_words_free(char **words)
{
    for (size_t i = 0; words != NULL && words[i] != NULL; i++) {
        free(words[i]);
    }
    free(words);
}

int txn_split(const char *line, char ***ret, int *ret_n, struct err *reterr)
{
    char **words = xcalloc(WORDS_MAX + 1, sizeof(*words));
    const char *p = skip_blanks(line);
    int n = 0, r = 0;

    for (; *p != 0; p = skip_blanks(p)) {
        r = n < WORDS_MAX ? word_read(&p, "", &words[n], reterr)
                          : err_set(reterr, -EINVAL, "more than %d words in a line", WORDS_MAX);
        if (r < 0) {
            txn_words_free(words);
            return r;
        }
        n++;
    }
    *ret = words;
    *ret_n = n;
    return 0;
}

struct target {
    const char *name, *brief;
    const char *wire, *field;
};

static const struct target targets[] = {
    {"version", "ver", "VERSION", "version"},
    {"create", "c", "CREATE", "create_revision"},
    {"mod", "m", "MOD", "mod_revision"},
    {"value", "val", "VALUE", "value"},
    {"lease", "l", "LEASE", "lease"},
};

static const struct target *target_find(const char *line, size_t len)
{
    for (size_t i = 0; i < ARRAY_SIZE(targets); i++) {
        const struct target *t = &targets[i];

        if ((strlen(t->name) == len && memcmp(t->name, line, len) == 0) ||
            (strlen(t->brief) == len && memcmp(t->brief, line, len) == 0)) {
            return t;
        }
    }
    return NULL;
}

static const char *operator_read(const char **p)
{
    static const struct {
        const char *text, *wire;
    } operators[] = {{"!=", "NOT_EQUAL"}, {"=", "EQUAL"}, {"<", "LESS"}, {">", "GREATER"}};

    for (size_t i = 0; i < ARRAY_SIZE(operators); i++) {
        size_t len = strlen(operators[i].text);

        if (strncmp(*p, operators[i].text, len) == 0) {
            *p += len;
            return operators[i].wire;
        }
    }
    return NULL;
}

/* What the target is compared with: bytes for a value, else a number; a lease id is hexadecimal. */
static json_t *operand(const struct target *t, const char *text, struct err *reterr)
{
    char *end;
    long long v;
    int64_t id;

    if (strcmp(t->wire, "VALUE") == 0) {
        return v3_from_bytes(bytes_str(text));
    }
    if (strcmp(t->wire, "LEASE") == 0 && strcmp(text, "0") != 0) {
        return lease_id_parse(text, &id, reterr) == 0 ? v3_from_int(id) : NULL;
    }
    errno = 0;
    v = strtoll(text, &end, 10);
    if (end == text || *end != 0 || errno != 0) {
        (void)err_set(
            reterr, -EINVAL, "%s is compared with a number, not with \"%s\"", t->name, text);
        return NULL;
    }
    return v3_from_int(v);
}

int txn_parse_compare(const char *line, json_t **ret, struct err *reterr)
{
    const char *p = skip_blanks(line), *result;
    size_t len = strcspn(p, "(");
    const struct target *t = target_find(p, len);
    _cleanup_free_ char *key = NULL, *text = NULL;
    json_t *value;
    int r;

    if (p[len] != '(' || t == NULL) {
        return err_set(reterr, -EINVAL,
            "a compare looks like mod(\"key\") > \"0\", with create, mod, version, value or lease");
    }
    p = skip_blanks(p + len + 1);
    r = word_read(&p, ")", &key, reterr);
    if (r < 0) {
        return r;
    }
    p = skip_blanks(p);
    if (*p != ')' || key[0] == 0) {
        return err_set(reterr, -EINVAL, "%s(…) needs one key and a closing parenthesis", t->name);
    }
    p = skip_blanks(p + 1);
    result = operator_read(&p);
    if (result == NULL) {
        return err_set(reterr, -EINVAL, "behind %s(\"%s\") comes =, !=, < or >", t->name, key);
    }
    p = skip_blanks(p);
    r = word_read(&p, "", &text, reterr);
    if (r < 0) {
        return r;
    }
    if (*skip_blanks(p) != 0) {
        return err_set(reterr, -EINVAL, "too much behind the compare: \"%s\"", skip_blanks(p));
    }
    value = operand(t, text, reterr);
    if (value == NULL) {
        return -EINVAL;
    }
    *ret = json_pack("{s:s, s:s, s:o, s:o}", "result", result, "target", t->wire, "key",
        v3_from_bytes(bytes_str(key)), t->field, value);
    return 0;
}

static int request_build(
    const struct command *command, const struct args *args, json_t **ret, struct err *reterr)
{
    json_t *request = NULL;
    const char *field;
    int r;

    if (command == &cmd_put) {
        field = "request_put";
        r = kv_put_request(args, false, &request, reterr);
    } else if (command == &cmd_get) {
        field = "request_range";
        r = kv_get_request(args, &request, reterr);
    } else {
        field = "request_delete_range";
        r = kv_del_request(args, &request, reterr);
    }
    if (r == 0) {
        *ret = json_pack("{s:o}", field, request);
    }
    return r;
}

int txn_parse_request(const char *line, json_t **ret, struct err *reterr)
{
    const struct command *command;
    struct args args = {0};
    char **words;
    int n, used, r;

    r = txn_split(line, &words, &n, reterr);
    if (r < 0) {
        return r;
    }
    command = n > 0 ? command_find(n, words, &used) : NULL;
    if (command != &cmd_put && command != &cmd_get && command != &cmd_del) {
        r = err_set(reterr, -EINVAL, "a request is a put, a get or a del");
    } else {
        /* Sifting reorders words and drops flags from the list: free by a copy of it. */
        char **copy = xmemdup(words + used, (size_t)(n - used + 1) * sizeof(*words));

        r = command_args_parse(command, n - used, copy, &args, reterr);
        r = r != 0 ? r : request_build(command, &args, ret, reterr);
        free(copy);
    }
    txn_words_free(words);
    return r;
}
