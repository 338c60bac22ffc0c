#include "grpc_text.h"

#include <errno.h>

#include "err.h"
#include "json_proto.h"

enum { TIMEOUT_DIGITS_MAX = 8 /* of gRPC's specification */ };

int64_t grpc_timeout_ms(struct bytes text)
{
    int64_t n = 0;

    if (text.len < 2 || text.len > TIMEOUT_DIGITS_MAX + 1) {
        return -EINVAL;
    }
    for (size_t i = 0; i + 1 < text.len; i++) {
        if (text.data[i] < '0' || text.data[i] > '9') {
            return -EINVAL;
        }
        n = n * 10 + (text.data[i] - '0');
    }
    switch (text.data[text.len - 1]) {
    case 'H':
        n *= 3600 * 1000;
        break;
    case 'M':
        n *= 60 * 1000;
        break;
    case 'S':
        n *= 1000;
        break;
    case 'm':
        break;
    case 'u':
        n = (n + 999) / 1000;
        break;
    case 'n':
        n = (n + 999999) / 1000000;
        break;
    default:
        return -EINVAL;
    }
    return MAX(n, (int64_t)1);
}

void grpc_percent_encode(struct strbuf *out, struct bytes text)
{
    for (size_t i = 0; i < text.len; i++) {
        uint8_t c = text.data[i];

        if (c < 0x20 || c > 0x7e || c == '%') {
            strbuf_printf(out, "%%%02X", c);
        } else {
            strbuf_append_char(out, (char)c);
        }
    }
}

void json_error_body(struct strbuf *out, int grpc_status, const char *text)
{
    strbuf_append_str(out, "{\"error\":");
    json_quote(out, bytes_str(text));
    strbuf_append_str(out, ",\"message\":");
    json_quote(out, bytes_str(text));
    strbuf_printf(out, ",\"code\":%d}", grpc_status);
}

void json_stream_error(struct strbuf *out, int grpc_status, const char *text)
{
    int http = err_http_status(grpc_status);

    strbuf_printf(
        out, "{\"error\":{\"grpc_code\":%d,\"http_code\":%d,\"message\":", grpc_status, http);
    json_quote(out, bytes_str(text));
    strbuf_printf(out, ",\"http_status\":\"%s\",\"code\":%d}}\n", http_reason(http), grpc_status);
}

const char *http_reason(int status)
{
    switch (status) {
    case 200:
        return "OK";
    case 400:
        return "Bad Request";
    case 401:
        return "Unauthorized";
    case 403:
        return "Forbidden";
    case 404:
        return "Not Found";
    case 405:
        return "Method Not Allowed";
    case 408:
        return "Request Timeout";
    case 409:
        return "Conflict";
    case 413:
        return "Request Entity Too Large";
    case 421:
        return "Misdirected Request";
    case 429:
        return "Too Many Requests";
    case 431:
        return "Request Header Fields Too Large";
    case 501:
        return "Not Implemented";
    case 503:
        return "Service Unavailable";
    case 504:
        return "Gateway Timeout";
    default:
        return "Internal Server Error";
    }
}
