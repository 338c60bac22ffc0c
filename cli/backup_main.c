#include "backup_main.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "alloc.h"
#include "backup.h"
#include "json_proto.h"
#include "log.h"
#include "options.h"

/* As `decree help` has them, since decree hands them on: a file that is not well, a command line
 * that makes no sense, a failure on this host. */
enum { EXIT_SAID_NO = 1, EXIT_USAGE = 2, EXIT_INTERNAL = 5 };

enum { URLS_MAX = 16 /* addresses one member may be reached at */ };

static int exit_code(int rc)
{
    switch (rc) {
    case DECREE_ECORRUPT:
        return EXIT_SAID_NO;
    case DECREE_EINVALID_CONFIG:
    case -EEXIST: /* the directory to be made */
        return EXIT_USAGE;
    default:
        return EXIT_INTERNAL;
    }
}

static int complain(int code, const struct err *e, int rc)
{
    (void)fprintf(stderr, "decreed snapshot: %s\n", e->text != NULL ? e->text : err_text(rc));
    return code;
}

/* ---- status ---- */

static void put_urls(struct strbuf *out, const struct store_member *m)
{
    for (size_t i = 0; i < m->n_peer_urls; i++) {
        strbuf_append_str(out, i != 0 ? "," : "");
        json_quote(out, bytes_str(m->peer_urls[i]));
    }
}

static void put_status(struct strbuf *out, const struct backup_info *info)
{
    strbuf_printf(out,
        "{\"hash\":%" PRIu32 ",\"revision\":%" PRId64 ",\"compactRevision\":%" PRId64
        ",\"totalKey\":%" PRIu64 ",\"leases\":%" PRIu64 ",\"totalSize\":%" PRIu64
        ",\"cluster\":\"%016" PRIx64 "\",\"index\":%" PRIu64 ",\"term\":%" PRIu64
        ",\"sha256\":\"%s\",\"members\":[",
        info->hash, info->revision, info->compacted, info->keys, info->leases, info->bytes,
        info->cluster_id, info->index, info->term, info->digest);
    for (size_t i = 0; i < info->members.n; i++) {
        const struct store_member *m = &info->members.list[i];

        strbuf_printf(out, "%s{\"id\":\"%016" PRIx64 "\",\"name\":", i != 0 ? "," : "", m->id);
        json_quote(out, bytes_str(m->name));
        strbuf_append_str(out, ",\"peerURLs\":[");
        put_urls(out, m);
        strbuf_append_str(out, "]}");
    }
    strbuf_append_str(out, "]}");
}

static int run_status(const char *file)
{
    _cleanup_(backup_info_deinit) struct backup_info info = {0};
    _cleanup_strbuf_ struct strbuf out = {0};
    _cleanup_err_ struct err e = {0};
    int rc = backup_read(NULL, file, &info, &e);

    if (rc < 0) {
        return complain(exit_code(rc), &e, rc);
    }
    put_status(&out, &info);
    return printf("%s\n", strbuf_cstr(&out)) < 0 || fflush(stdout) != 0 ? EXIT_INTERNAL : 0;
}

/* ---- restore ---- */

/* Of the member as the others reach it; text is the caller's and is taken apart. */
static size_t split(char *text, const char *urls[URLS_MAX])
{
    size_t n = 0;

    for (char *url = strsep(&text, ","); url != NULL && n < URLS_MAX; url = strsep(&text, ",")) {
        if (*url != '\0') {
            urls[n++] = url;
        }
    }
    return n;
}

static int restore(const struct options *o, const char *file, struct err *reterr)
{
    enum option_id id = option_is_set(o, OPT_INITIAL_ADVERTISE_PEER_URLS)
        ? OPT_INITIAL_ADVERTISE_PEER_URLS
        : OPT_LISTEN_PEER_URLS;
    _cleanup_free_ char *data_dir = option_data_dir(o);
    _cleanup_free_ char *urls_text = xstrdup(option_string(o, id));
    const char *urls[URLS_MAX];
    struct backup_restore r = {.path = file,
        .data_dir = data_dir,
        .name = option_string(o, OPT_NAME),
        .peer_urls = urls,
        .n_peer_urls = split(urls_text, urls),
        .bump = (int64_t)option_number(o, OPT_BUMP_REVISION)};

    if (option_is_set(o, OPT_INITIAL_CLUSTER)) {
        r.initial_cluster = option_string(o, OPT_INITIAL_CLUSTER);
    }
    if (option_is_set(o, OPT_INITIAL_CLUSTER_TOKEN)) {
        r.token = option_string(o, OPT_INITIAL_CLUSTER_TOKEN);
    }
    return backup_restore(&r, reterr);
}

static int run_restore(const char *file, int argc, char **argv)
{
    _cleanup_(options_deinit) struct options o = {0};
    _cleanup_free_ char *help = NULL;
    _cleanup_err_ struct err e = {0};
    enum log_level level;
    int rc = options_read(&o, FOR_RESTORE, argc, argv, &e);

    if (rc == OPTIONS_HELP) {
        help = options_help(FOR_RESTORE, "decree snapshot restore FILE");
        (void)fputs(help, stdout);
        return 0;
    }
    if (rc != 0) {
        return complain(EXIT_USAGE, &e, rc);
    }
    if (log_level_parse(option_string(&o, OPT_LOG_LEVEL), &level) == 0) {
        log_set_level(level);
    }
    (void)umask(077);
    rc = restore(&o, file, &e);
    return rc < 0 ? complain(exit_code(rc), &e, rc) : 0;
}

int backup_main(int argc, char **argv)
{
    if (argc == 3 && strcmp(argv[1], "status") == 0) {
        return run_status(argv[2]);
    }
    if (argc >= 3 && strcmp(argv[1], "restore") == 0) {
        if (argv[2][0] != '-') {
            return run_restore(argv[2], argc - 2, argv + 2);
        }
        if (strcmp(argv[2], "--help") == 0 || strcmp(argv[2], "-h") == 0) {
            return run_restore("", argc - 1, argv + 1);
        }
    }
    (void)fprintf(stderr,
        "usage: decreed snapshot status FILE\n"
        "       decreed snapshot restore FILE [--data-dir DIR] [--name NAME] …\n");
    return EXIT_USAGE;
}
