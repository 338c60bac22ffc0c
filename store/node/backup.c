/* Backup files read, and data directories made of them.
 *
 *     digest of all bytes -> header -> pieces into a keyspace (backup_read) … -> new members and
 * ids -> revision moved on -> DIR.restoring: identity, snapshot, term
 *       -> closed, renamed to DIR, folder synced (backup_restore)
 *
 * A crash leaves at most DIR.restoring, which no member starts from. */
#include "backup.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <sys/stat.h>

#include "codec.h"
#include "core.h"
#include "file.h"
#include "snap_file.h"

enum { READ_CHUNK = 256 << 10, OPEN_FILES_MAX = 16 };

void backup_info_deinit(struct backup_info *i)
{
    members_deinit(&i->members);
    *i = (struct backup_info){0};
}

/* ---- the file as a whole ---- */

static int hash_file(struct wal_file *f, uint64_t bytes, EVP_MD_CTX *sha)
{
    _cleanup_free_ uint8_t *chunk = xmalloc(READ_CHUNK);

    for (uint64_t at = 0; at < bytes;) {
        size_t n = (size_t)MIN((uint64_t)READ_CHUNK, bytes - at), got = 0;
        int err = wal_file_pread(f, at, chunk, n, &got);

        if (err < 0) {
            return err;
        }
        if (got != n || EVP_DigestUpdate(sha, chunk, n) != 1) {
            return -EIO;
        }
        at += n;
    }
    return 0;
}

static int compute_digest(struct wal_file *f, uint64_t bytes, uint8_t *ret)
{
    EVP_MD_CTX *sha = EVP_MD_CTX_new();
    unsigned n = 0;
    int err;

    if (sha == NULL || EVP_DigestInit_ex(sha, EVP_sha256(), NULL) != 1) {
        decree_fatal("libcrypto has no SHA-256");
    }
    err = hash_file(f, bytes, sha);
    if (err == 0 && (EVP_DigestFinal_ex(sha, ret, &n) != 1 || n != STORE_SNAPSHOT_DIGEST_BYTES)) {
        decree_fatal("libcrypto cannot compute a SHA-256");
    }
    EVP_MD_CTX_free(sha);
    return err;
}

static int check_digest(
    struct wal_disk *d, const char *path, struct backup_info *info, struct err *reterr)
{
    _cleanup_wal_file_ struct wal_file *f = NULL;
    uint8_t computed[EVP_MAX_MD_SIZE], stored[STORE_SNAPSHOT_DIGEST_BYTES];
    size_t n = 0;
    int err = d->ops->open(d, WAL_FOLDER_SNAP, path, false, &f);

    if (err == 0) {
        err = d->ops->size(f, &info->bytes);
    }
    if (err == 0 && info->bytes % BACKUP_BLOCK != sizeof(stored)) {
        return err_set(reterr, DECREE_ECORRUPT,
            "%s is no snapshot, or was cut short: its %" PRIu64 " bytes do not end with a SHA-256",
            path, info->bytes);
    }
    if (err == 0) {
        err = compute_digest(f, info->bytes - sizeof(stored), computed);
    }
    if (err == 0) {
        err = wal_file_pread(f, info->bytes - sizeof(stored), stored, sizeof(stored), &n);
    }
    if (err < 0) {
        return err_set(reterr, err, "%s cannot be read: %s", path, err_text(err));
    }
    if (n != sizeof(stored) || memcmp(computed, stored, sizeof(stored)) != 0) {
        return err_set(reterr, DECREE_ECORRUPT,
            "%s is damaged: the SHA-256 of its bytes is not the one at its end", path);
    }
    for (size_t i = 0; i < sizeof(stored); i++) {
        (void)snprintf(info->digest + 2 * i, 3, "%02x", stored[i]);
    }
    return 0;
}

/* ---- what is in it ---- */

static int load_pieces(struct snap_reader *reader, struct mvcc **ret, struct err *reterr)
{
    struct mvcc_loader *loader = mvcc_loader_new();
    struct bytes piece = {0};
    int err;

    do {
        err = snap_reader_next(reader, &piece, reterr);
        if (err == 0 && piece.len != 0) {
            err = mvcc_loader_feed(loader, piece, reterr);
        }
    } while (err == 0 && piece.len != 0);
    if (err == 0) {
        err = mvcc_loader_finish(loader, ret, reterr);
    }
    mvcc_loader_free(loader);
    return err;
}

static uint32_t hash_keys(struct mvcc *m)
{
    struct mvcc_hasher *h = NULL;
    uint64_t value;
    int err = mvcc_hasher_open(m, MVCC_HASH_KEYS, 0, &h);

    decree_assert(err == 0);
    while (mvcc_hasher_step(h, SIZE_MAX)) {}
    value = mvcc_hasher_value(h);
    mvcc_hasher_close(h);
    return mvcc_hash_short(value);
}

/* ret_header's members are the caller's, as is *ret_mvcc; both also when it fails. */
static int load(struct wal_disk *d, const char *path, struct backup_info *info,
    struct snap_header *ret_header, struct mvcc **ret_mvcc, struct err *reterr)
{
    struct snap_reader *reader = NULL;
    struct bytes header;
    int err = check_digest(d, path, info, reterr);

    if (err == 0) {
        err = snap_reader_open_foreign(d, path, &reader, &header, reterr);
    }
    if (err == 0) {
        info->index = snap_reader_id(reader).index;
        info->term = snap_reader_id(reader).term;
        err = core_snap_header_read(header, ret_header, reterr);
    }
    if (err == 0) {
        err = load_pieces(reader, ret_mvcc, reterr);
    }
    snap_reader_close(reader);
    if (err < 0) {
        return err;
    }
    if (mvcc_revision(*ret_mvcc) != ret_header->revision) {
        return err_set(
            reterr, DECREE_ECORRUPT, "%s: header and keys are not of one revision", path);
    }
    info->cluster_id = ret_header->cluster_id;
    info->revision = ret_header->revision;
    info->compacted = mvcc_compacted(*ret_mvcc);
    info->keys = mvcc_keys(*ret_mvcc);
    info->leases = mvcc_lease_count(*ret_mvcc);
    return 0;
}

int backup_read(struct wal_disk *d, const char *path, struct backup_info *ret, struct err *reterr)
{
    struct snap_header h = {0};
    struct mvcc *m = NULL;
    int err;

    *ret = (struct backup_info){0};
    err = load(d != NULL ? d : wal_disk_plain(), path, ret, &h, &m, reterr);
    if (err == 0) {
        ret->hash = hash_keys(m);
        ret->members = h.members;
        h.members = (struct members){0};
    }
    members_deinit(&h.members);
    mvcc_free(m);
    return err;
}

/* ---- the new cluster ---- */

static int new_members(const struct backup_restore *r, const struct backup_info *info,
    const struct members *before, struct members *ret, struct err *reterr)
{
    _cleanup_free_ char *made = xasprintf("restored-%.16s", info->digest);
    _cleanup_strbuf_ struct strbuf alone = {0};
    const char *token = r->token != NULL ? r->token : made;
    const struct store_member *self;
    int err;

    for (size_t i = 0; i < r->n_peer_urls; i++) {
        strbuf_printf(&alone, "%s%s=%s", i != 0 ? "," : "", r->name, r->peer_urls[i]);
    }
    err = members_parse(
        r->initial_cluster != NULL ? r->initial_cluster : strbuf_cstr(&alone), token, ret, reterr);
    if (err < 0) {
        return err;
    }
    self = members_find_name(ret, r->name);
    if (self == NULL) {
        return err_set(reterr, DECREE_EINVALID_CONFIG,
            "the initial cluster has no member named %s: it must list every member, this one too",
            r->name);
    }
    for (size_t i = 0; i < ret->n; i++) {
        if (members_find(before, ret->list[i].id) != NULL) {
            return err_set(reterr, DECREE_EINVALID_CONFIG,
                "with the token \"%s\" member %s would have the id that it had before, and old and "
                "new members could be mixed: give another --initial-cluster-token, or none",
                token, ret->list[i].name);
        }
    }
    return 0;
}

static void make_header(
    const struct members *members, const struct mvcc *m, struct snap_header *ret)
{
    *ret = (struct snap_header){.cluster_id = members_cluster_id(members),
        .revision = mvcc_revision(m),
        .members = *members}; /* borrowed */
    for (size_t i = 0; i < members->n; i++) {
        ret->conf.members[ret->conf.n++] = (struct raft_member){.id = members->list[i].id};
    }
}

/* ---- the data directory ---- */

/* Stands for the founding: index 1, term 1, the same on every member. */
static const struct wal_snapshot_id first_id = {.index = 1, .term = 1};

struct outcome {
    bool done;
    int status;
    char *text; /* owned */
};

static void on_finish(void *data, int status, const char *text)
{
    struct outcome *o = data;

    o->done = true;
    o->status = status;
    o->text = text != NULL ? xstrdup(text) : NULL;
}

static int write_snapshot(
    struct wal *w, const struct snap_header *h, struct mvcc *m, struct err *reterr)
{
    _cleanup_strbuf_ struct strbuf header = {0}, piece = {0};
    struct mvcc_snapshot *reader;
    struct snap_writer *writer;
    struct outcome o = {0};
    bool more;
    int err;

    core_snap_header_write(h, &header);
    err = snap_writer_open(w, first_id, strbuf_bytes(&header), &writer, reterr);
    if (err < 0) {
        return err;
    }
    reader = mvcc_snapshot_open(m);
    do {
        struct buf *b;

        strbuf_clear(&piece);
        more = mvcc_snapshot_next(reader, SNAP_PIECE_BYTES, &piece);
        b = buf_copy(strbuf_bytes(&piece));
        snap_writer_write(writer, b);
        buf_unref(b);
        while (snap_writer_queued(writer) >= SNAP_WINDOW_BYTES) {
            wal_poll(w);
        }
    } while (more);
    mvcc_snapshot_close(reader);
    snap_writer_finish(writer, on_finish, &o);
    while (!o.done) {
        wal_poll(w);
    }
    if (o.status < 0) {
        (void)err_set(reterr, o.status, "%s", o.text != NULL ? o.text : err_text(o.status));
    }
    free(o.text);
    return o.status;
}

static void on_term(struct wal_append_req *req, int status)
{
    on_finish(req->data, status, NULL);
}

/* The log begins behind the snapshot, in its term. */
static int write_term(struct wal *w, struct err *reterr)
{
    struct outcome o = {0};
    struct wal_append_req req = {
        .has_hard = true, .term = first_id.term, .cb = on_term, .data = &o};

    wal_reset(w, first_id);
    if (wal_append(w, &req) != 0) {
        return err_set(reterr, -ENOSPC, "no room for the log");
    }
    while (!o.done) {
        wal_poll(w);
    }
    return o.status;
}

static int fill_dir(const char *dir, const struct snap_header *h, uint64_t member, struct mvcc *m,
    struct err *reterr)
{
    struct wal_options options = {.dir = dir};
    struct wal_identity identity = {.cluster_id = h->cluster_id, .member_id = member};
    struct wal_recovery rec = {0};
    struct wal *w = NULL;
    int err = wal_open(&options, &w, &rec, reterr);

    wal_recovery_deinit(&rec);
    if (err == 0) {
        err = wal_create(w, identity, reterr);
    }
    if (err == 0) {
        err = write_snapshot(w, h, m, reterr);
    }
    if (err == 0) {
        err = write_term(w, reterr);
    }
    wal_close(w);
    return err;
}

static int remove_one(
    const char *path, const struct stat *st _unused_, int type _unused_, struct FTW *ftw _unused_)
{
    return remove(path);
}

static int sync_parent(const char *path, struct err *reterr)
{
    const char *slash = strrchr(path, '/');
    _cleanup_free_ char *parent = slash == NULL ? xstrdup(".")
        : slash == path                         ? xstrdup("/")
                                                : xstrndup(path, (size_t)(slash - path));
    _cleanup_close_ int fd = open(parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int err = fd < 0 ? -errno : dir_sync_fd(fd);

    return err < 0 ? err_set(reterr, err, "%s: %s", parent, err_text(err)) : 0;
}

/* Whole under its name, or not there. */
static int make_dir(const char *data_dir, const struct snap_header *h, uint64_t member,
    struct mvcc *m, struct err *reterr)
{
    _cleanup_free_ char *stage = xasprintf("%s.restoring", data_dir);
    int err;

    if (mkdir(stage, 0700) < 0) {
        return err_set(reterr, -errno, "%s: %s%s", stage, err_text(-errno),
            errno == EEXIST ? " (left by a restore that was interrupted: remove it)" : "");
    }
    err = fill_dir(stage, h, member, m, reterr);
    if (err == 0 && renameat2(AT_FDCWD, stage, AT_FDCWD, data_dir, RENAME_NOREPLACE) < 0) {
        err = err_set(reterr, -errno, "%s: %s", data_dir, err_text(-errno));
    }
    if (err < 0) {
        (void)nftw(stage, remove_one, OPEN_FILES_MAX, FTW_DEPTH | FTW_PHYS);
        return err;
    }
    return sync_parent(data_dir, reterr);
}

static int check_free(const char *data_dir, struct err *reterr)
{
    struct stat st;

    if (lstat(data_dir, &st) == 0) {
        return err_set(reterr, -EEXIST,
            "%s exists already: a restore overwrites nothing, name another --data-dir", data_dir);
    }
    return errno == ENOENT ? 0 : err_set(reterr, -errno, "%s: %s", data_dir, err_text(-errno));
}

int backup_restore(const struct backup_restore *r, struct err *reterr)
{
    _cleanup_free_ char *data_dir = xstrdup(r->data_dir);
    struct backup_info info = {0};
    struct snap_header before = {0}, h;
    struct members members = {0};
    struct mvcc *m = NULL;
    int err;

    for (size_t n = strlen(data_dir); n > 1 && data_dir[n - 1] == '/'; n--) {
        data_dir[n - 1] = '\0';
    }
    decree_assert(r->bump > 0);
    err = check_free(data_dir, reterr);
    err = err < 0 ? err : load(wal_disk_plain(), r->path, &info, &before, &m, reterr);
    err = err < 0 ? err : new_members(r, &info, &before.members, &members, reterr);
    if (err == 0 && mvcc_advance(m, r->bump) < 0) {
        err = err_set(reterr, DECREE_EINVALID_CONFIG,
            "revision %" PRId64 " of %s cannot be moved on by %" PRId64, info.revision, r->path,
            r->bump);
    }
    if (err == 0) {
        make_header(&members, m, &h);
        err = make_dir(data_dir, &h, members_find_name(&members, r->name)->id, m, reterr);
    }
    if (err == 0) {
        log_info("restored from=%s dir=%s cluster=%016" PRIx64 " member=%016" PRIx64
                 " members=%zu keys=%" PRIu64 " leases=%" PRIu64 " revision=%" PRId64
                 " was=%" PRId64,
            r->path, data_dir, h.cluster_id, members_find_name(&members, r->name)->id, members.n,
            info.keys, info.leases, h.revision, info.revision);
    }
    members_deinit(&before.members);
    members_deinit(&members);
    mvcc_free(m);
    return err;
}
