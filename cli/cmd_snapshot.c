/* snapshot save, status and restore.
 *
 * save streams from one member to FILE.part: every blob is hashed as it comes, the last one is the
 * SHA-256 of all before it and must be what was computed. Only then is the file synced and given
 * its name. What goes wrong on the way, Ctrl-C included, leaves nothing behind.
 *
 * status and restore know the store's format, which this program does not: decreed does them. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "alloc.h"
#include "clock.h"
#include "cmd.h"
#include "file.h"
#include "table.h"
#include "v3_client.h"

enum {
    DIGEST_BYTES = 32,
    STALL_MS = 30000,  /* longer than an election and a slow disk: then nothing comes any more */
    PROGRESS_MS = 100, /* between two redraws of the bar */
    BAR_COLUMNS = 30,
};

/* ---- progress ---- */

struct progress {
    bool shown; /* standard error is a terminal */
    uint64_t next_ms;
};

static void progress_draw(struct progress *p, uint64_t done, uint64_t left)
{
    uint64_t now = clock_boot_ms(), total = done + left;
    _cleanup_free_ char *size = NULL;
    int filled;

    if (!p->shown || (now < p->next_ms && left != 0)) {
        return;
    }
    p->next_ms = now + PROGRESS_MS;
    size = text_size(done);
    filled = total != 0 ? (int)(done * BAR_COLUMNS / total) : 0;
    (void)fprintf(stderr, "\r[%-*.*s] %3d %%  %s ", BAR_COLUMNS, filled,
        "##############################", total != 0 ? (int)(done * 100 / total) : 0, size);
}

static void progress_end(struct progress *p)
{
    if (p->shown) {
        (void)fprintf(stderr, "\r\x1b[K");
    }
}

/* ---- save ---- */

struct save {
    struct v3_stream *stream; /* owned */
    const char *part;         /* the file written */
    int fd;                   /* of it */
    EVP_MD_CTX *sha;          /* owned; of everything but `held` */
    struct strbuf held;       /* the blob that came last: the digest, if nothing follows */
    uint64_t bytes;
    int64_t revision;
    struct progress progress;
};

static int hash_held(struct save *s)
{
    return EVP_DigestUpdate(s->sha, s->held.data, s->held.len) == 1 ? 0 : -EIO;
}

static int take_blob(struct save *s, const json_t *response, struct err *reterr)
{
    _cleanup_free_ char *memory = NULL;
    struct bytes blob = v3_bytes(response, "blob", &memory);
    int r = s->held.len != 0 ? hash_held(s) : 0;

    if (r == 0) {
        r = file_write_all(s->fd, blob);
    }
    if (r < 0) {
        return err_set(reterr, -EIO, "%s: %s", s->part, strerror(-r));
    }
    strbuf_clear(&s->held);
    strbuf_append_bytes(&s->held, blob);
    s->bytes += blob.len;
    s->revision = v3_int(json_object_get(response, "header"), "revision");
    progress_draw(&s->progress, s->bytes, v3_uint(response, "remaining_bytes"));
    return 0;
}

/* The stream has ended: was that all? `why` is what is known of its end. */
static int check_whole(struct save *s, const char *why, struct err *reterr)
{
    uint8_t digest[EVP_MAX_MD_SIZE];
    unsigned n = 0;

    if (EVP_DigestFinal_ex(s->sha, digest, &n) != 1 || n != DIGEST_BYTES) {
        return err_set(reterr, -EIO, "libcrypto cannot compute a SHA-256");
    }
    if (s->held.len != DIGEST_BYTES) {
        return err_set(reterr, V3_ENDED, "the snapshot was cut short after %" PRIu64 " bytes: %s",
            s->bytes, why);
    }
    if (memcmp(digest, s->held.data, n) != 0) {
        return err_set(reterr, V3_REFUSED,
            "what arrived is not what was sent: the SHA-256 of its %" PRIu64 " bytes differs",
            s->bytes);
    }
    return 0;
}

static int receive(struct save *s, int interrupt_fd, struct err *reterr)
{
    _cleanup_err_ struct err end = {0};
    int r = 0;

    while (r == 0) {
        json_t *response = NULL;

        r = v3_stream_next(s->stream, interrupt_fd, STALL_MS, &response, &end);
        if (r == 0) {
            r = take_blob(s, response, reterr);
            json_decref(response);
            if (r < 0) {
                return r;
            }
        }
    }
    if (r == V3_ENDED) {
        return check_whole(s, end.text, reterr);
    }
    return err_set(reterr, r == V3_INTERRUPTED ? -EINTR : r, "%s",
        r == V3_INTERRUPTED ? "interrupted, nothing was saved" : end.text);
}

static char *folder_of(const char *path)
{
    const char *slash = strrchr(path, '/');

    return slash == NULL ? xstrdup(".")
        : slash == path  ? xstrdup("/")
                         : xstrndup(path, (size_t)(slash - path));
}

/* Durable under its name, or not there. */
static int publish(int fd, const char *part, const char *path, struct err *reterr)
{
    _cleanup_free_ char *folder = folder_of(path);
    _cleanup_close_ int dir_fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    if (dir_fd < 0) {
        return err_set(reterr, -EIO, "%s: %s", folder, strerror(errno));
    }
    if (fsync(fd) < 0 || renameat2(AT_FDCWD, part, AT_FDCWD, path, RENAME_NOREPLACE) < 0) {
        return err_set(reterr, -EIO, "%s: %s", path, strerror(errno));
    }
    if (dir_sync_fd(dir_fd) < 0) {
        (void)unlink(path);
        return err_set(reterr, -EIO, "%s: %s", folder, strerror(errno));
    }
    return 0;
}

static int save_to(struct cli *cli, struct save *s, int interrupt_fd, struct err *reterr)
{
    json_t *request = json_object();
    int r = v3_stream_open(cli->client, "/maintenance/snapshot", request, &s->stream, reterr);

    json_decref(request);
    if (r != 0) {
        return r;
    }
    s->sha = EVP_MD_CTX_new();
    if (s->sha == NULL || EVP_DigestInit_ex(s->sha, EVP_sha256(), NULL) != 1) {
        return err_set(reterr, -EIO, "libcrypto has no SHA-256");
    }
    s->progress.shown = isatty(STDERR_FILENO) == 1;
    r = receive(s, interrupt_fd, reterr);
    progress_end(&s->progress);
    return r;
}

static void save_say(const struct cli *cli, const struct save *s, const char *path)
{
    _cleanup_free_ char *size = text_size(s->bytes);

    if (cli->format == OUTPUT_JSON) {
        json_t *v =
            json_pack("{s:s, s:I, s:I, s:s}", "file", path, "totalSize", (json_int_t)s->bytes,
                "revision", (json_int_t)s->revision, "endpoint", v3_stream_endpoint(s->stream));

        cmd_print_json(v);
        json_decref(v);
        return;
    }
    (void)printf("%s saved from %s: %s\n", path, v3_stream_endpoint(s->stream), size);
}

static int open_part(const char *path, const char *part, int *ret, struct err *reterr)
{
    if (access(path, F_OK) == 0) {
        return err_set(reterr, -EINVAL, "%s exists already: a backup overwrites nothing", path);
    }
    *ret = open(part, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (*ret < 0) {
        return err_set(reterr, -EINVAL, "%s: %s%s", part, strerror(errno),
            errno == EEXIST ? " (another save is running, or was killed: then remove it)" : "");
    }
    return 0;
}

static int run_save(struct cli *cli, const struct args *args)
{
    const char *path = args->words[0];
    _cleanup_free_ char *part = xasprintf("%s.part", path);
    _cleanup_err_ struct err e = {0};
    struct save s = {.part = part};
    int interrupt_fd, r = open_part(path, part, &s.fd, &e);

    if (r < 0) {
        return cmd_fail(r, &e);
    }
    interrupt_fd = cmd_interrupt_fd();
    r = save_to(cli, &s, interrupt_fd, &e);
    if (r == 0) {
        r = publish(s.fd, part, path, &e);
    }
    if (r == 0) {
        save_say(cli, &s, path);
    } else {
        (void)unlink(part);
    }
    (void)close(s.fd);
    (void)close(interrupt_fd);
    EVP_MD_CTX_free(s.sha);
    strbuf_deinit(&s.held);
    v3_stream_free(s.stream);
    return r == 0 ? EXIT_DONE : cmd_fail(r, &e);
}

/* ---- what decreed does ---- */

_noreturn_ static void become_decreed(const char *what, char *const *words, int n)
{
    _cleanup_free_ char *program = cmd_program("decreed");
    char **argv = xcalloc((size_t)n + 4, sizeof(*argv));
    char snapshot[] = "snapshot";
    _cleanup_free_ char *verb = xstrdup(what);
    int at = 0;

    argv[at++] = program;
    argv[at++] = snapshot;
    argv[at++] = verb;
    for (int i = 0; i < n; i++) {
        argv[at++] = words[i];
    }
    (void)execvp(program, argv);
    (void)fprintf(stderr, "decree: cannot run %s: %s; is the store installed on this host?\n",
        program, strerror(errno));
    _exit(EXIT_INTERNAL);
}

/* What it prints, the caller's; NULL after it has said why not, with its exit code. */
static json_t *ask_decreed(const char *what, char *const *words, int n, int *ret_code)
{
    int pipe_fds[2], status;
    json_t *reply = NULL;
    pid_t pid;
    FILE *f;

    if (pipe2(pipe_fds, O_CLOEXEC) < 0) {
        decree_fatal("pipe: %s", strerror(errno));
    }
    pid = fork();
    if (pid == 0) {
        (void)dup2(pipe_fds[1], STDOUT_FILENO);
        become_decreed(what, words, n);
    }
    (void)close(pipe_fds[1]);
    f = fdopen(pipe_fds[0], "r");
    if (f != NULL && pid > 0) {
        reply = json_loadf(f, 0, NULL);
    }
    if (f != NULL) {
        (void)fclose(f);
    }
    while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR) {}
    *ret_code = pid > 0 && WIFEXITED(status) ? WEXITSTATUS(status) : EXIT_INTERNAL;
    return reply;
}

static void print_status(const struct cli *cli, const json_t *info)
{
    static const char *const titles[] = {
        "HASH", "REVISION", "KEYS", "LEASES", "SIZE", "CLUSTER", "MEMBERS"};
    _cleanup_free_ char *size = text_size(v3_uint(info, "totalSize"));
    _cleanup_strbuf_ struct strbuf members = {0};
    struct table *t;
    const json_t *member;
    size_t i;

    json_array_foreach(json_object_get(info, "members"), i, member)
    {
        strbuf_printf(&members, "%s%s", i != 0 ? "," : "", v3_text(member, "name"));
    }
    if (cli->format == OUTPUT_SIMPLE || (cli->format == OUTPUT_AUTO && !cli->terminal)) {
        (void)printf("%08" PRIx64 ", %" PRId64 ", %" PRIu64 ", %s\n", v3_uint(info, "hash"),
            v3_int(info, "revision"), v3_uint(info, "totalKey"), size);
        return;
    }
    t = table_new(titles, ARRAY_SIZE(titles));
    table_addf(t, "%08" PRIx64, v3_uint(info, "hash"));
    table_addf(t, "%" PRId64, v3_int(info, "revision"));
    table_addf(t, "%" PRIu64, v3_uint(info, "totalKey"));
    table_addf(t, "%" PRIu64, v3_uint(info, "leases"));
    table_add(t, bytes_str(size), 0);
    table_add(t, bytes_str(v3_text(info, "cluster")), 0);
    table_add(t, strbuf_bytes(&members), 0);
    table_print(t, stdout);
    table_free(t);
}

static int run_status(struct cli *cli, const struct args *args)
{
    int code;
    json_t *info = ask_decreed("status", args->words, 1, &code);

    if (code == EXIT_DONE && json_is_object(info)) {
        if (cli->format == OUTPUT_JSON) {
            cmd_print_json(info);
        } else {
            print_status(cli, info);
        }
    }
    code = code == EXIT_DONE && info == NULL ? EXIT_INTERNAL : code;
    json_decref(info);
    return code;
}

static int run_restore(struct cli *cli _unused_, const struct args *args)
{
    become_decreed("restore", args->words, args->n_words);
}

const struct command cmd_snapshot_save = {
    .name = "snapshot save",
    .usage = "FILE",
    .summary = "save all keys and leases of one member to a file",
    .details =
        "Streams what the endpoint asked holds at one revision while it goes on serving. The "
        "bytes\n"
        "are checked against the SHA-256 that the member sends; FILE is there whole and synced, or "
        "not\n"
        "at all. It is never overwritten.\n",
    .words_min = 1,
    .words_max = 1,
    .run = run_save,
};

const struct command cmd_snapshot_status = {
    .name = "snapshot status",
    .usage = "FILE",
    .summary = "check a saved file and show what is in it",
    .details = "Proves every checksum. Ends with 1 when the file is damaged or cut short. HASH is "
               "that of\n"
               "HashKV at REVISION.\n",
    .words_min = 1,
    .words_max = 1,
    .run = run_status,
};

const struct command cmd_snapshot_restore = {
    .name = "snapshot restore",
    .usage = "FILE [--data-dir DIR] [--name NAME] [--initial-cluster LIST] …",
    .summary = "make the data directory of a new cluster's member from a saved file",
    .details =
        "Runs on the host of the member, without a server. For several members restore the same "
        "file\n"
        "on each host, with the same --initial-cluster and each one's own --name. Cluster and "
        "members\n"
        "get new ids. The revision is moved on by --bump-revision and compacted there, so that "
        "watchers\n"
        "are told to read again. \"decree snapshot restore --help\" lists the options.\n",
    .traits = COMMAND_RAW,
    .words_max = INT_MAX,
    .run = run_restore,
};
