#include "members.h"

#include <inttypes.h>
#include <openssl/evp.h>

#include "codec.h"
#include "entry_codec.h"
#include "raft.h"

void members_deinit(struct members *m)
{
    arena_deinit(&m->arena);
    *m = (struct members){0};
}

struct store_member *members_find(const struct members *m, uint64_t id)
{
    for (size_t i = 0; i < m->n; i++) {
        if (m->list[i].id == id) {
            return &m->list[i];
        }
    }
    return NULL;
}

struct store_member *members_find_name(const struct members *m, const char *name)
{
    for (size_t i = 0; i < m->n; i++) {
        if (strcmp(m->list[i].name, name) == 0) {
            return &m->list[i];
        }
    }
    return NULL;
}

bool members_is_removed(const struct members *m, uint64_t id)
{
    for (size_t i = 0; i < m->n_removed; i++) {
        if (m->removed[i] == id) {
            return true;
        }
    }
    return false;
}

static bool has_peer_url(const struct store_member *member, const char *url)
{
    for (size_t i = 0; i < member->n_peer_urls; i++) {
        if (strcmp(member->peer_urls[i], url) == 0) {
            return true;
        }
    }
    return false;
}

const struct store_member *members_find_url(const struct members *m, const char *url)
{
    for (size_t i = 0; i < m->n; i++) {
        if (has_peer_url(&m->list[i], url)) {
            return &m->list[i];
        }
    }
    return NULL;
}

bool members_same_urls(const struct store_member *member, const char *const *urls, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (!has_peer_url(member, urls[i])) {
            return false;
        }
    }
    return n == member->n_peer_urls;
}

/* ---- ids ---- */

static uint64_t sha1_head(const void *data, size_t len)
{
    uint8_t digest[EVP_MAX_MD_SIZE];
    uint64_t head = 0;

    if (EVP_Digest(data, len, digest, NULL, EVP_sha1(), NULL) != 1) {
        decree_fatal("libcrypto has no SHA-1: member ids cannot be computed");
    }
    for (int i = 0; i < 8; i++) {
        head = head << 8 | digest[i];
    }
    return head;
}

uint64_t members_id(const char *const *peer_urls, size_t n, const char *token)
{
    _cleanup_strbuf_ struct strbuf s = {0};

    for (size_t i = 0; i < n; i++) {
        decree_assert(i == 0 || strcmp(peer_urls[i - 1], peer_urls[i]) <= 0);
        strbuf_append_str(&s, peer_urls[i]);
    }
    strbuf_append_str(&s, token);
    return sha1_head(s.data, s.len);
}

uint64_t members_cluster_id(const struct members *m)
{
    _cleanup_strbuf_ struct strbuf s = {0};

    for (size_t i = 0; i < m->n; i++) {
        for (int shift = 56; shift >= 0; shift -= 8) {
            enc_u8(&s, (uint8_t)(m->list[i].id >> shift));
        }
    }
    return sha1_head(s.data, s.len);
}

uint64_t members_fresh_id(
    const struct members *m, const char *const *peer_urls, size_t n, uint64_t nonce)
{
    _cleanup_free_ char *salted = NULL;
    uint64_t id;

    do {
        free(salted);
        salted = xasprintf("%s%" PRIu64, m->token, nonce++);
        id = members_id(peer_urls, n, salted);
    } while (id == 0 || members_find(m, id) != NULL || members_is_removed(m, id));
    return id;
}

/* ---- the founding list ---- */

/* It is written into HTTP heads and into lists with commas: nothing that could end a line or an
 * element there. */
static bool is_host(const char *p, const char *end)
{
    for (; p < end; p++) {
        if (*p <= ' ' || *p >= 0x7f || strchr("/,=?#@\"\\", *p) != NULL) {
            return false;
        }
    }
    return true;
}

int peer_url_parse(const char *url, char **ret_host, uint16_t *ret_port, struct err *reterr)
{
    static const char scheme[] = "http://";
    const char *host = url + sizeof(scheme) - 1;
    const char *colon, *host_end, *p;
    unsigned port = 0;

    if (strncmp(url, "https://", 8) == 0) {
        return err_set(reterr, DECREE_EINVALID_CONFIG,
            "peer URL %s: https between members is not supported by this version", url);
    }
    if (strncmp(url, scheme, sizeof(scheme) - 1) != 0) {
        return err_set(reterr, DECREE_EINVALID_CONFIG, "peer URL %s: must begin with http://", url);
    }
    colon = strrchr(host, ':');
    host_end = colon;
    if (colon == NULL || colon == host) {
        return err_set(
            reterr, DECREE_EINVALID_CONFIG, "peer URL %s: must be http://HOST:PORT", url);
    }
    for (p = colon + 1; *p >= '0' && *p <= '9' && port <= UINT16_MAX; p++) {
        port = port * 10 + (unsigned)(*p - '0');
    }
    if (*p != 0 || p == colon + 1 || port == 0 || port > UINT16_MAX) {
        return err_set(reterr, DECREE_EINVALID_CONFIG,
            "peer URL %s: the part behind the last colon must be a port (1-65535) and the end",
            url);
    }
    if (*host == '[' && colon[-1] == ']') {
        host++;
        host_end--;
    } else if (memchr(host, ':', (size_t)(colon - host)) != NULL) {
        return err_set(reterr, DECREE_EINVALID_CONFIG,
            "peer URL %s: an IPv6 address must stand in brackets", url);
    }
    if (host == host_end || !is_host(host, host_end)) {
        return err_set(
            reterr, DECREE_EINVALID_CONFIG, "peer URL %s: must be http://HOST:PORT", url);
    }
    *ret_host = xstrndup(host, (size_t)(host_end - host));
    *ret_port = (uint16_t)port;
    return 0;
}

static int by_id(const void *a, const void *b)
{
    const struct store_member *x = a;
    const struct store_member *y = b;

    return (x->id > y->id) - (x->id < y->id);
}

static const char *arena_str(struct arena *a, struct bytes b)
{
    return (const char *)arena_copy(a, b).data;
}

/* Keeps the URLs of a member sorted: its id is made of them in this order. */
static void add_peer_url(struct members *m, struct store_member *member, struct bytes url)
{
    const char **urls = arena_calloc(&m->arena, member->n_peer_urls + 1, sizeof(*urls));
    const char *added = arena_str(&m->arena, url);
    size_t at = 0;

    while (at < member->n_peer_urls && strcmp(member->peer_urls[at], added) < 0) {
        urls[at] = member->peer_urls[at];
        at++;
    }
    urls[at] = added;
    for (size_t i = at; i < member->n_peer_urls; i++) {
        urls[i + 1] = member->peer_urls[i];
    }
    member->peer_urls = urls;
    member->n_peer_urls++;
}

static int add_pair(struct members *m, struct bytes pair, struct err *reterr)
{
    const uint8_t *eq = memchr(pair.data, '=', pair.len);
    _cleanup_free_ char *name = NULL;
    _cleanup_free_ char *url = NULL;
    _cleanup_free_ char *host = NULL;
    struct store_member *member;
    uint16_t port;
    int err;

    if (eq == NULL || eq == pair.data) {
        return err_set(reterr, DECREE_EINVALID_CONFIG, "\"%.*s\" must be NAME=URL", (int)pair.len,
            (const char *)pair.data);
    }
    name = xstrndup((const char *)pair.data, (size_t)(eq - pair.data));
    url = xstrndup((const char *)eq + 1, pair.len - (size_t)(eq - pair.data) - 1);
    err = peer_url_parse(url, &host, &port, reterr);
    if (err < 0) {
        return err;
    }
    member = members_find_name(m, name);
    if (member == NULL) {
        if (m->n == RAFT_MEMBERS_MAX) {
            return err_set(
                reterr, DECREE_EINVALID_CONFIG, "more than %d members", RAFT_MEMBERS_MAX);
        }
        member = &m->list[m->n++];
        member->name = arena_str(&m->arena, bytes_str(name));
    }
    if (member->n_peer_urls == ENTRY_URLS_MAX) {
        return err_set(
            reterr, DECREE_EINVALID_CONFIG, "%s has more than %d URLs", name, ENTRY_URLS_MAX);
    }
    add_peer_url(m, member, bytes_str(url));
    return 0;
}

int members_parse(
    const char *initial_cluster, const char *token, struct members *ret, struct err *reterr)
{
    const char *p = initial_cluster;
    int err;

    *ret = (struct members){0};
    ret->list = arena_calloc(&ret->arena, RAFT_MEMBERS_MAX, sizeof(*ret->list));
    ret->token = arena_str(&ret->arena, bytes_str(token));
    for (;;) {
        size_t len = strcspn(p, ",");

        err = add_pair(ret, bytes_make(p, len), reterr);
        if (err < 0) {
            members_deinit(ret);
            return err_prefix(reterr, "initial cluster");
        }
        if (p[len] == 0) {
            break;
        }
        p += len + 1;
    }
    for (size_t i = 0; i < ret->n; i++) {
        ret->list[i].id = members_id(ret->list[i].peer_urls, ret->list[i].n_peer_urls, token);
    }
    qsort(ret->list, ret->n, sizeof(*ret->list), by_id);
    for (size_t i = 1; i < ret->n; i++) {
        if (ret->list[i - 1].id == ret->list[i].id) {
            err = err_set(reterr, DECREE_EINVALID_CONFIG,
                "initial cluster: %s and %s have the same peer URLs", ret->list[i - 1].name,
                ret->list[i].name);
            members_deinit(ret);
            return err;
        }
    }
    return 0;
}

/* ---- codec ---- */

static void encode_urls(struct strbuf *out, const char *const *urls, size_t n)
{
    enc_varint(out, n);
    for (size_t i = 0; i < n; i++) {
        enc_bytes(out, bytes_str(urls[i]));
    }
}

void members_encode(const struct members *m, struct strbuf *out)
{
    enc_bytes(out, bytes_str(m->token));
    enc_varint(out, m->n);
    for (size_t i = 0; i < m->n; i++) {
        const struct store_member *member = &m->list[i];

        enc_u64(out, member->id);
        enc_u64(out, member->incarnation);
        enc_u8(out, member->learner);
        enc_bytes(out, bytes_str(member->name));
        encode_urls(out, member->peer_urls, member->n_peer_urls);
        encode_urls(out, member->client_urls, member->n_client_urls);
    }
    enc_varint(out, m->n_removed);
    for (size_t i = 0; i < m->n_removed; i++) {
        enc_u64(out, m->removed[i]);
    }
}

/* A text that will be a C string: no NUL in it. */
static const char *decode_str(struct dec *d, struct arena *a)
{
    struct bytes b = dec_bytes(d);

    if (b.len > ENTRY_URL_BYTES_MAX || (b.len != 0 && memchr(b.data, 0, b.len) != NULL)) {
        d->bad = true;
        b.len = 0;
    }
    return arena_str(a, b);
}

static const char *const *decode_urls(struct dec *d, struct arena *a, size_t *ret_n)
{
    uint64_t n = dec_varint(d);
    const char **urls;

    if (n > ENTRY_URLS_MAX) {
        d->bad = true;
        n = 0;
    }
    urls = arena_calloc(a, (size_t)n + 1, sizeof(*urls));
    for (size_t i = 0; i < n; i++) {
        urls[i] = decode_str(d, a);
    }
    *ret_n = (size_t)n;
    return urls;
}

static void decode_removed(struct dec *d, struct members *ret)
{
    uint64_t n = dec_varint(d);
    uint64_t *list;

    if (n > MEMBERS_REMOVED_MAX || n > dec_left(d) / sizeof(*list)) {
        d->bad = true;
        return;
    }
    list = arena_calloc(&ret->arena, (size_t)n + 1, sizeof(*list));
    for (size_t i = 0; i < n; i++) {
        list[i] = dec_u64(d);
    }
    ret->removed = list;
    ret->n_removed = (size_t)n;
}

int members_decode(struct bytes b, struct members *ret)
{
    struct dec d = dec_make(b);
    uint64_t n;

    *ret = (struct members){0};
    ret->token = decode_str(&d, &ret->arena);
    n = dec_varint(&d);
    if (n > RAFT_MEMBERS_MAX) {
        members_deinit(ret);
        return DECREE_EBAD_REQUEST;
    }
    ret->list = arena_calloc(&ret->arena, (size_t)n + 1, sizeof(*ret->list));
    for (size_t i = 0; i < n; i++) {
        struct store_member *member = &ret->list[i];

        member->id = dec_u64(&d);
        member->incarnation = dec_u64(&d);
        member->learner = dec_u8(&d) != 0;
        member->name = decode_str(&d, &ret->arena);
        member->peer_urls = decode_urls(&d, &ret->arena, &member->n_peer_urls);
        member->client_urls = decode_urls(&d, &ret->arena, &member->n_client_urls);
        if (member->id == 0 || (i > 0 && member->id <= ret->list[i - 1].id)) {
            d.bad = true;
        }
    }
    ret->n = (size_t)n;
    decode_removed(&d, ret);
    if (!dec_done(&d)) {
        members_deinit(ret);
        return DECREE_EBAD_REQUEST;
    }
    return 0;
}

enum { ANSWER_VERSION = 2 };

void members_answer_encode(const struct members_answer *a, struct strbuf *out)
{
    enc_u8(out, ANSWER_VERSION);
    enc_u8(out, (uint8_t)a->standing);
    enc_u64(out, a->cluster_id);
    enc_varint(out, a->term);
    enc_varint(out, a->index);
    members_encode(&a->members, out);
}

int members_answer_decode(struct bytes b, struct members_answer *ret)
{
    struct dec d = dec_make(b);
    uint8_t version = dec_u8(&d);
    uint8_t standing = dec_u8(&d);

    *ret = (struct members_answer){.cluster_id = dec_u64(&d)};
    ret->term = dec_varint(&d);
    ret->index = dec_varint(&d);
    if (d.bad || version != ANSWER_VERSION || standing >= MEMBERS_STANDING_END ||
        ret->cluster_id == 0) {
        return DECREE_EBAD_REQUEST;
    }
    ret->standing = (enum members_standing)standing;
    return members_decode(dec_raw(&d, dec_left(&d)), &ret->members);
}

bool members_answer_is_better(const struct members_answer *a, const struct members_answer *best)
{
    bool agreed = a->standing == MEMBERS_AGREED, best_agreed = best->standing == MEMBERS_AGREED;

    if (best->members.n == 0 || agreed != best_agreed) {
        return best->members.n == 0 || agreed;
    }
    return a->term != best->term ? a->term > best->term : a->index > best->index;
}

/* ---- changes ---- */

/* The table is copied over without what was replaced, so that changes do not make it grow. */
static void repack(struct members *m)
{
    struct members packed;

    members_copy(m, &packed);
    members_deinit(m);
    *m = packed;
}

void members_copy(const struct members *m, struct members *ret)
{
    _cleanup_strbuf_ struct strbuf s = {0};
    int err;

    members_encode(m, &s);
    err = members_decode(strbuf_bytes(&s), ret);
    decree_assert(err == 0);
}

int members_check_urls(const char *const *urls, size_t n)
{
    if (n == 0 || n > ENTRY_URLS_MAX) {
        return DECREE_EBAD_PEER_URLS;
    }
    for (size_t i = 0; i < n; i++) {
        _cleanup_free_ char *host = NULL;
        uint16_t port;

        if (strlen(urls[i]) > ENTRY_URL_BYTES_MAX ||
            peer_url_parse(urls[i], &host, &port, NULL) < 0) {
            return DECREE_EBAD_PEER_URLS;
        }
    }
    return 0;
}

void members_set_urls(struct members *m, uint64_t id, const char *const *urls, size_t n)
{
    struct store_member *member = members_find(m, id);

    decree_assert(member != NULL && n <= ENTRY_URLS_MAX);
    member->peer_urls = NULL;
    member->n_peer_urls = 0;
    for (size_t i = 0; i < n; i++) {
        if (!has_peer_url(member, urls[i])) {
            add_peer_url(m, member, bytes_str(urls[i]));
        }
    }
}

void members_add(struct members *m, uint64_t id, const char *const *urls, size_t n, bool learner)
{
    struct store_member *list = arena_calloc(&m->arena, m->n + 2, sizeof(*list));
    size_t at = 0;

    decree_assert(m->n < RAFT_MEMBERS_MAX && members_find(m, id) == NULL);
    for (; at < m->n && m->list[at].id < id; at++) {
        list[at] = m->list[at];
    }
    list[at] = (struct store_member){.id = id, .name = "", .learner = learner};
    for (size_t i = at; i < m->n; i++) {
        list[i + 1] = m->list[i];
    }
    m->list = list;
    m->n++;
    members_set_urls(m, id, urls, n);
}

void members_remove(struct members *m, uint64_t id)
{
    size_t at = 0, skip = m->n_removed == MEMBERS_REMOVED_MAX; /* the oldest is forgotten */
    uint64_t *removed = arena_calloc(&m->arena, m->n_removed + 1, sizeof(*removed));

    while (m->list[at].id != id) {
        at++;
        decree_assert(at < m->n);
    }
    m->n--;
    for (; at < m->n; at++) {
        m->list[at] = m->list[at + 1];
    }
    for (size_t i = skip; i < m->n_removed; i++) {
        removed[i - skip] = m->removed[i];
    }
    removed[m->n_removed - skip] = id;
    m->removed = removed;
    m->n_removed = m->n_removed - skip + 1;
}

void members_take(struct members *m, struct members *from_consume)
{
    for (size_t i = 0; i < from_consume->n; i++) {
        struct store_member *new = &from_consume->list[i];
        const struct store_member *old = members_find(m, new->id);

        if (old != NULL) {
            new->name = old->name;
            new->incarnation = old->incarnation;
            new->client_urls = old->client_urls;
            new->n_client_urls = old->n_client_urls;
        }
    }
    repack(from_consume); /* while what it borrowed from m is there */
    members_deinit(m);
    *m = *from_consume;
    *from_consume = (struct members){0};
}

/* ---- publication ---- */

static bool same_urls(const struct store_member *member, const struct bytes *urls, size_t n)
{
    if (member->n_client_urls != n) {
        return false;
    }
    for (size_t i = 0; i < n; i++) {
        if (!bytes_eq(bytes_str(member->client_urls[i]), urls[i])) {
            return false;
        }
    }
    return true;
}

static bool has_nul(struct bytes b)
{
    return b.len != 0 && memchr(b.data, 0, b.len) != NULL;
}

static bool is_known(const struct store_member *member, const struct members_publication *p)
{
    return member->incarnation == p->incarnation && bytes_eq(bytes_str(member->name), p->name) &&
        same_urls(member, p->urls, p->n_urls);
}

/* It becomes a C string. */
static bool can_be_kept(const struct members_publication *p)
{
    for (size_t i = 0; i < p->n_urls; i++) {
        if (has_nul(p->urls[i])) {
            return false;
        }
    }
    return !has_nul(p->name);
}

bool members_publish(struct members *m, const struct members_publication *p)
{
    struct store_member *member = members_find(m, p->id);
    const char **urls;

    if (member == NULL || is_known(member, p) || !can_be_kept(p) ||
        (member->incarnation != 0 && member->incarnation != p->incarnation)) {
        return false;
    }
    urls = arena_calloc(&m->arena, p->n_urls + 1, sizeof(*urls));
    for (size_t i = 0; i < p->n_urls; i++) {
        urls[i] = arena_str(&m->arena, p->urls[i]);
    }
    member->incarnation = p->incarnation;
    member->name = arena_str(&m->arena, p->name);
    member->client_urls = urls;
    member->n_client_urls = p->n_urls;
    repack(m);
    return true;
}
