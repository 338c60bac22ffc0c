#include "route.h"

#include "api_impl.h"
#include "pages.h"
#include "rpc.h"

static bool equals(struct bytes b, const char *s)
{
    return bytes_eq(b, bytes_str(s));
}

static struct bytes without_prefix(struct bytes b, const char *prefix)
{
    size_t n = strlen(prefix);

    return bytes_starts_with(b, bytes_str(prefix)) ? bytes_make(b.data + n, b.len - n)
                                                   : (struct bytes){0};
}

struct bytes route_json_path(struct bytes path)
{
    /* The version in the path, and the one that clients of 3.3 use for the same. */
    static const char *const bases[] = {"/v3", "/v3beta"};

    for (size_t i = 0; i < ARRAY_SIZE(bases); i++) {
        struct bytes rest = without_prefix(path, bases[i]);

        if (rest.len != 0 && rest.data[0] == '/') {
            return rest;
        }
    }
    return (struct bytes){0};
}

/* "host:port" -> "host", "[::1]:2379" -> "::1" */
static struct bytes host_name(struct bytes host)
{
    const uint8_t *end;

    if (host.len != 0 && host.data[0] == '[') {
        end = memchr(host.data, ']', host.len);
        return end != NULL ? bytes_make(host.data + 1, (size_t)(end - host.data - 1))
                           : (struct bytes){0};
    }
    end = host.len != 0 ? memchr(host.data, ':', host.len) : NULL;
    return end != NULL ? bytes_make(host.data, (size_t)(end - host.data)) : host;
}

static bool is_address(struct bytes name)
{
    unsigned char address[16];
    char text[64];

    if (name.len == 0 || name.len >= sizeof(text)) {
        return false;
    }
    memcpy(text, name.data, name.len);
    text[name.len] = '\0';
    return uv_inet_pton(AF_INET, text, address) == 0 || uv_inet_pton(AF_INET6, text, address) == 0;
}

static bool host_is_ours(struct bytes host, const char *const *whitelist, size_t n)
{
    struct bytes name = host_name(host);

    if (is_address(name) || equals(name, "localhost")) {
        return true;
    }
    for (size_t i = 0; i < n; i++) {
        if (equals(BYTES_LITERAL("*"), whitelist[i]) || equals(name, whitelist[i])) {
            return true;
        }
    }
    return false;
}

int route_browser_check(struct bytes host, struct bytes origin, struct bytes fetch_site,
    const char *const *whitelist, size_t n_whitelist)
{
    struct bytes site = without_prefix(origin, "http://");

    if (origin.len == 0 && fetch_site.len == 0) {
        return 0;
    }
    if (fetch_site.len != 0 && !equals(fetch_site, "same-origin") && !equals(fetch_site, "none")) {
        return 403;
    }
    if (origin.len != 0 && (site.len == 0 || !bytes_eq(site, host))) {
        return 403;
    }
    return host_is_ours(host, whitelist, n_whitelist) ? 0 : 421;
}

const struct service *route(const struct exchange *ex)
{
    const struct api_options *o = &ex->api->options;
    struct bytes json_path = route_json_path(ex->path);

    if (ex->is_grpc && ex->verb == VERB_POST) {
        return &rpc_service;
    }
    if (route_browser_check(
            ex->host, ex->origin, ex->fetch_site, o->host_whitelist, o->n_host_whitelist) != 0) {
        return &page_service;
    }
    if (ex->verb == VERB_POST &&
        (method_by_json_path(json_path) != NULL || method_absent(json_path) != NULL)) {
        return &rpc_service;
    }
    return &page_service;
}
