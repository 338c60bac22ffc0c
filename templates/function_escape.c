/* html, js and urlquery: the operands as print would join them, then escaped. */
#include "format.h"
#include "function.h"
#include "gotext.h"

/* Joins the operands into `text`, which is the caller's. A missing operand is "<no value>". */
static bool join_operands(struct render *r, const struct call *c, struct strbuf *text)
{
    size_t max = render_memory_left(r);
    struct value *args = arena_calloc(&r->arena, c->n, sizeof(*args));

    if (args == NULL) {
        return call_fail_memory(r);
    }
    for (size_t i = 0; i < c->n; i++) {
        args[i] =
            value_is_nil(&c->args[i]) ? value_string(BYTES_LITERAL("<no value>")) : c->args[i];
    }
    return format_values(text, max, FORMAT_PRINT, args, c->n) || call_fail_memory(r);
}

static const char *html_entity(uint8_t c)
{
    switch (c) {
    case 0:
        return "\xef\xbf\xbd";
    case '"':
        return "&#34;";
    case '\'':
        return "&#39;";
    case '&':
        return "&amp;";
    case '<':
        return "&lt;";
    case '>':
        return "&gt;";
    default:
        return NULL;
    }
}

bool function_html(struct render *r, const struct call *c, struct value *ret)
{
    _cleanup_strbuf_ struct strbuf text = {0};
    size_t max = render_memory_left(r); /* what is longer cannot be returned anyway */

    if (!join_operands(r, c, &text)) {
        return false;
    }
    for (size_t i = 0; i < text.len && r->scratch.len <= max; i++) {
        const char *entity = html_entity(text.data[i]);

        if (entity != NULL) {
            strbuf_append_str(&r->scratch, entity);
        } else {
            strbuf_append_char(&r->scratch, (char)text.data[i]);
        }
    }
    return return_copy(r, strbuf_bytes(&r->scratch), ret);
}

static void js_escape(struct strbuf *out, uint32_t rune, struct bytes as_written)
{
    switch (rune) {
    case '\\':
    case '\'':
    case '"':
        strbuf_append_char(out, '\\');
        strbuf_append_char(out, (char)rune);
        break;
    case '<':
    case '>':
    case '&':
    case '=':
        strbuf_printf(out, "\\u%04X", (unsigned)rune);
        break;
    default:
        if (rune < ' ' || (rune >= 0x80 && !rune_is_print(rune))) {
            strbuf_printf(out, "\\u%04X", (unsigned)rune);
        } else {
            strbuf_append_bytes(out, as_written);
        }
        break;
    }
}

bool function_js(struct render *r, const struct call *c, struct value *ret)
{
    _cleanup_strbuf_ struct strbuf text = {0};
    size_t max = render_memory_left(r); /* what is longer cannot be returned anyway */
    size_t width;

    if (!join_operands(r, c, &text)) {
        return false;
    }
    for (size_t i = 0; i < text.len && r->scratch.len <= max; i += width) {
        uint32_t rune = text_decode(bytes_from(strbuf_bytes(&text), i), &width);

        js_escape(&r->scratch, rune, bytes_make(text.data + i, width));
    }
    return return_copy(r, strbuf_bytes(&r->scratch), ret);
}

bool function_urlquery(struct render *r, const struct call *c, struct value *ret)
{
    _cleanup_strbuf_ struct strbuf text = {0};
    size_t max = render_memory_left(r); /* what is longer cannot be returned anyway */

    if (!join_operands(r, c, &text)) {
        return false;
    }
    for (size_t i = 0; i < text.len && r->scratch.len <= max; i++) {
        uint8_t b = text.data[i];

        if (b == ' ') {
            strbuf_append_char(&r->scratch, '+');
        } else if (b < 0x80 &&
            (rune_is_letter(b) || rune_is_digit(b) || b == '-' || b == '_' || b == '.' ||
                b == '~')) {
            strbuf_append_char(&r->scratch, (char)b);
        } else {
            strbuf_printf(&r->scratch, "%%%02X", b);
        }
    }
    return return_copy(r, strbuf_bytes(&r->scratch), ret);
}
