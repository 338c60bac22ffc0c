#include "base64.h"

#include <errno.h>

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

void base64_encode(struct strbuf *out, struct bytes b)
{
    uint8_t *p = strbuf_reserve(out, (b.len + 2) / 3 * 4);
    size_t i = 0;

    out->len += (b.len + 2) / 3 * 4;
    for (; i + 3 <= b.len; i += 3, p += 4) {
        uint32_t v = (uint32_t)b.data[i] << 16 | (uint32_t)b.data[i + 1] << 8 | b.data[i + 2];

        p[0] = (uint8_t)alphabet[v >> 18];
        p[1] = (uint8_t)alphabet[v >> 12 & 63];
        p[2] = (uint8_t)alphabet[v >> 6 & 63];
        p[3] = (uint8_t)alphabet[v & 63];
    }
    if (i < b.len) {
        uint32_t v = (uint32_t)b.data[i] << 16 | (i + 1 < b.len ? (uint32_t)b.data[i + 1] << 8 : 0);

        p[0] = (uint8_t)alphabet[v >> 18];
        p[1] = (uint8_t)alphabet[v >> 12 & 63];
        p[2] = i + 1 < b.len ? (uint8_t)alphabet[v >> 6 & 63] : '=';
        p[3] = '=';
    }
}

/* The six bits of c, or 64 when it is not of the alphabet. */
static uint32_t value_of(uint8_t c)
{
    if (c >= 'A' && c <= 'Z') {
        return (uint32_t)c - 'A';
    }
    if (c >= 'a' && c <= 'z') {
        return (uint32_t)c - 'a' + 26;
    }
    if (c >= '0' && c <= '9') {
        return (uint32_t)c - '0' + 52;
    }
    return c == '+' ? 62 : c == '/' ? 63 : 64;
}

int base64_decode(struct strbuf *out, struct bytes text)
{
    size_t pad = 0;
    uint8_t *p;

    if (text.len % 4 != 0) {
        return -EINVAL;
    }
    while (pad < 2 && pad < text.len && text.data[text.len - 1 - pad] == '=') {
        pad++;
    }
    p = strbuf_reserve(out, text.len / 4 * 3);
    for (size_t i = 0; i < text.len; i += 4, p += 3) {
        uint32_t v = 0;

        for (size_t j = i; j < i + 4; j++) {
            uint32_t six = j < text.len - pad ? value_of(text.data[j]) : 0;

            if (six == 64) {
                return -EINVAL;
            }
            v = v << 6 | six;
        }
        p[0] = (uint8_t)(v >> 16);
        p[1] = (uint8_t)(v >> 8);
        p[2] = (uint8_t)v;
    }
    /* Bits that padding cuts off must be zero, or two texts would stand for the same bytes. */
    if ((pad > 0 && p[-1] != 0) || (pad > 1 && p[-2] != 0)) {
        return -EINVAL;
    }
    out->len += text.len / 4 * 3 - pad;
    return 0;
}
