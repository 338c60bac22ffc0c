#include "v3_endpoint.h"

#include <errno.h>
#include <string.h>

#include "alloc.h"

/* host:port, or [v6]:port, and nothing behind it but one slash. */
static bool authority_is_sane(const char *s, size_t len)
{
    const char *colon = memrchr(s, ':', len);

    if (colon == NULL || colon == s || colon + 1 == s + len) {
        return false;
    }
    for (const char *p = colon + 1; p < s + len; p++) {
        if (*p < '0' || *p > '9') {
            return false;
        }
    }
    for (const char *p = s; p < colon; p++) {
        if ((unsigned char)*p <= ' ' || strchr("/@?#", *p) != NULL) {
            return false;
        }
    }
    return true;
}

int v3_endpoint_parse(const char *text, size_t len, struct v3_endpoint *ret, struct err *reterr)
{
    _cleanup_free_ char *copy = xstrndup(text, len);
    const char *rest = copy;

    *ret = (struct v3_endpoint){0};
    if (strncmp(copy, "unix://", 7) == 0) {
        rest += 7;
        if (rest[0] != '/') {
            return err_set(reterr, -EINVAL,
                "endpoint %s: a socket needs its whole path, like unix:///run/decree/agent.sock",
                copy);
        }
        ret->unix_path = xstrdup(rest);
        ret->url = xstrdup("http://localhost");
        ret->text = TAKE_PTR(copy);
        return 0;
    }
    if (strncmp(copy, "http://", 7) == 0) {
        rest += 7;
    } else if (strstr(copy, "://") != NULL) {
        return err_set(reterr, -EINVAL,
            "endpoint %s: only http://HOST:PORT and unix:///PATH are spoken here", copy);
    }
    len = strlen(rest);
    if (len > 0 && rest[len - 1] == '/') {
        len--;
    }
    if (!authority_is_sane(rest, len)) {
        return err_set(reterr, -EINVAL,
            "endpoint \"%s\" is not an address; write http://HOST:PORT or unix:///PATH", copy);
    }
    ret->url = xasprintf("http://%.*s", (int)len, rest);
    ret->text = TAKE_PTR(copy);
    return 0;
}

void v3_endpoint_deinit(struct v3_endpoint *e)
{
    free(e->text);
    free(e->url);
    free(e->unix_path);
}
