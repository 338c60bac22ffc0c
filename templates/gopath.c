#include "gopath.h"

#include "gotext.h"

/* Takes the last part off out[start…], which then keeps its leading slash if rooted. */
static void pop_part(struct strbuf *out, size_t start, bool rooted)
{
    while (out->len > start + rooted && out->data[out->len - 1] != '/') {
        out->len--;
    }
    if (out->len > start + rooted) {
        out->len--;
    }
}

void path_clean(struct strbuf *out, struct bytes path)
{
    size_t start = out->len, end;
    bool rooted = path.len > 0 && path.data[0] == '/';
    size_t parts = 0; /* that a ".." may take back */

    if (rooted) {
        strbuf_append_char(out, '/');
    }
    for (size_t i = 0; i < path.len; i = end + 1) {
        struct bytes part;

        end = bytes_find(path, BYTES_LITERAL("/"), i);
        part = bytes_make(path.data + i, end - i);
        if (part.len == 0 || bytes_eq(part, BYTES_LITERAL("."))) {
            continue;
        }
        if (bytes_eq(part, BYTES_LITERAL(".."))) {
            if (parts > 0) {
                pop_part(out, start, rooted);
                parts--;
                continue;
            }
            if (rooted) {
                continue;
            }
        } else {
            parts++;
        }
        if (out->len > start + rooted) {
            strbuf_append_char(out, '/');
        }
        strbuf_append_bytes(out, part);
    }
    if (out->len == start) {
        strbuf_append_char(out, '.');
    }
}

struct bytes path_base(struct bytes path)
{
    const uint8_t *slash;

    if (path.len == 0) {
        return BYTES_LITERAL(".");
    }
    while (path.len > 0 && path.data[path.len - 1] == '/') {
        path.len--;
    }
    if (path.len == 0) {
        return BYTES_LITERAL("/");
    }
    slash = memrchr(path.data, '/', path.len);
    return slash != NULL ? bytes_from(path, (size_t)(slash + 1 - path.data)) : path;
}

void path_dir(struct strbuf *out, struct bytes path)
{
    while (path.len > 0 && path.data[path.len - 1] != '/') {
        path.len--;
    }
    path_clean(out, path);
}

/* ---- patterns ---- */

/* One character of a class at *at, an escape taken off. */
static bool class_rune(struct bytes p, size_t *at, uint32_t *ret)
{
    size_t width;

    if (*at >= p.len || p.data[*at] == '-' || p.data[*at] == ']') {
        return false;
    }
    if (p.data[*at] == '\\') {
        (*at)++;
    }
    *ret = text_decode(bytes_from(p, *at), &width);
    *at += width;
    return width > 0 && !(*ret == RUNE_ERROR && width == 1) && *at < p.len;
}

/* The class behind a '[' at *at, up to its ']'. False when it is malformed. */
static bool match_class(struct bytes p, size_t *at, uint32_t rune, bool *ret_match)
{
    bool negated = *at < p.len && p.data[*at] == '^';
    bool match = false;

    *at += negated;
    for (size_t n = 0;; n++) {
        uint32_t low, high;

        if (n > 0 && *at < p.len && p.data[*at] == ']') {
            (*at)++;
            *ret_match = match != negated;
            return true;
        }
        if (!class_rune(p, at, &low)) {
            return false;
        }
        high = low;
        if (p.data[*at] == '-') {
            (*at)++;
            if (!class_rune(p, at, &high)) {
                return false;
            }
        }
        match = match || (low <= rune && rune <= high);
    }
}

bool glob_valid(struct bytes p)
{
    bool match;

    for (size_t at = 0; at < p.len;) {
        switch (p.data[at++]) {
        case '[':
            if (!match_class(p, &at, 0, &match)) {
                return false;
            }
            break;
        case '\\':
            if (at++ >= p.len) {
                return false;
            }
            break;
        default:
            break;
        }
    }
    return true;
}

/* Where the chunk at `at`, which has no star in it, ends. */
static size_t chunk_end(struct bytes p, size_t at)
{
    bool in_class = false;

    for (; at < p.len && (in_class || p.data[at] != '*'); at++) {
        switch (p.data[at]) {
        case '\\':
            at += at + 1 < p.len;
            break;
        case '[':
            in_class = true;
            break;
        case ']':
            in_class = false;
            break;
        default:
            break;
        }
    }
    return at;
}

/* Matches a chunk at the beginning of name; *ret_used is how much of it that takes. */
static bool match_chunk(struct bytes chunk, struct bytes name, size_t *ret_used)
{
    size_t at = 0, used = 0;

    while (at < chunk.len) {
        size_t width;
        uint32_t rune = text_decode(bytes_from(name, used), &width);
        bool match = true;

        if (width == 0) {
            return false;
        }
        switch (chunk.data[at]) {
        case '[':
            at++;
            if (!match_class(chunk, &at, rune, &match) || !match) {
                return false;
            }
            used += width;
            break;
        case '?':
            if (rune == '/') {
                return false;
            }
            at++;
            used += width;
            break;
        case '\\':
            at++;
            /* fall through */
        default:
            if (at >= chunk.len || chunk.data[at] != name.data[used]) {
                return false;
            }
            at++;
            used++;
            break;
        }
    }
    *ret_used = used;
    return true;
}

/* Behind a star: the first place, without crossing a slash, where the chunk fits. */
static bool match_behind_star(struct bytes chunk, struct bytes name, bool last, size_t *ret_used)
{
    for (size_t skip = 0;; skip++) {
        size_t used;

        if (match_chunk(chunk, bytes_from(name, skip), &used) &&
            (!last || skip + used == name.len)) {
            *ret_used = skip + used;
            return true;
        }
        if (skip == name.len || name.data[skip] == '/') {
            return false;
        }
    }
}

bool glob_match(struct bytes p, struct bytes name)
{
    size_t at = 0;

    while (at < p.len) {
        bool star = false, last;
        struct bytes chunk;
        size_t end, used;

        while (at < p.len && p.data[at] == '*') {
            star = true;
            at++;
        }
        end = chunk_end(p, at);
        chunk = bytes_make(p.data + at, end - at);
        if (star && chunk.len == 0) {
            return name.len == 0 || memchr(name.data, '/', name.len) == NULL;
        }
        last = end >= p.len;
        if (star ? !match_behind_star(chunk, name, last, &used)
                 : !match_chunk(chunk, name, &used) || (last && used != name.len)) {
            return false;
        }
        name = bytes_from(name, used);
        at = end;
    }
    return name.len == 0;
}

struct bytes glob_literal_prefix(struct bytes p)
{
    size_t n = 0;

    while (n < p.len && p.data[n] != '*' && p.data[n] != '?' && p.data[n] != '[' &&
        p.data[n] != '\\') {
        n++;
    }
    return bytes_make(p.data, n);
}
