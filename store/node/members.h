/* Who is in the cluster: ids, names and URLs. The table travels as the context of raft's
 * configuration entries and in snapshots, so that every member has the same one. */
#ifndef DECREE_STORE_NODE_MEMBERS_H
#define DECREE_STORE_NODE_MEMBERS_H

#include "arena.h"
#include "buf.h"
#include "err.h"
#include "store.h"

struct members {
    struct arena arena;        /* holds everything below */
    const char *token;         /* the cluster was founded with */
    struct store_member *list; /* ascending ids */
    size_t n;
    const uint64_t *removed; /* ids that were members, the newest last */
    size_t n_removed;
};

enum {
    MEMBERS_LEARNERS_MAX = 1, /* as etcd: each costs the leader as much as a voter */
    /* Ids are never given again, so one that is forgotten cannot come back as a member; remembering
     * is for telling a removed one why it is refused. 8 KiB of each change. */
    MEMBERS_REMOVED_MAX = 1024,
};

void members_deinit(struct members *m);
struct store_member *members_find(const struct members *m, uint64_t id);
struct store_member *members_find_name(const struct members *m, const char *name);
bool members_is_removed(const struct members *m, uint64_t id);
/* The member that has this peer URL, NULL when none has. */
const struct store_member *members_find_url(const struct members *m, const char *url);
/* Exactly these peer URLs, in any order. */
bool members_same_urls(const struct store_member *member, const char *const *urls, size_t n);

/* Parses "m1=http://h1:2380,m2=…" (a name given twice has two URLs) and computes the ids. Every
 * founding member gets the same table from the same text, whatever its order.
 * DECREE_EINVALID_CONFIG with the part that is wrong. */
int members_parse(
    const char *initial_cluster, const char *token, struct members *ret, struct err *reterr);

/* Ids as etcd derives them, first 8 bytes of a SHA-1, big-endian: of the sorted peer URLs and the
 * token for a member, of the sorted member ids for the cluster. */
uint64_t members_id(const char *const *peer_urls, size_t n, const char *token);
uint64_t members_cluster_id(const struct members *m);
/* The id of a member that is added later: of the URLs, the token and a nonce in place of etcd's
 * time, so that no id comes twice. */
uint64_t members_fresh_id(
    const struct members *m, const char *const *peer_urls, size_t n, uint64_t nonce);

/* ---- changes, on a table of its own that then travels in a configuration entry ---- */

void members_copy(const struct members *m, struct members *ret);
/* 0 or DECREE_EBAD_PEER_URLS. */
int members_check_urls(const char *const *urls, size_t n);
/* id must not be there and room must be; URLs are copied and sorted. */
void members_add(struct members *m, uint64_t id, const char *const *urls, size_t n, bool learner);
/* And remembers it as removed. */
void members_remove(struct members *m, uint64_t id);
void members_set_urls(struct members *m, uint64_t id, const char *const *urls, size_t n);

/* A configuration entry's table takes the place of *m. What members have said of themselves stays:
 * it may have been applied between the proposal of the entry and now. */
void members_take(struct members *m, struct members *from_consume);

void members_encode(const struct members *m, struct strbuf *out);
/* Untrusted bytes; DECREE_EBAD_REQUEST. */
int members_decode(struct bytes b, struct members *ret);

/* How sure a member is of the table that it tells. */
enum members_standing {
    MEMBERS_HEARD,   /* the newest that its log has: the cluster may never agree on it */
    MEMBERS_APPLIED, /* the cluster agreed on it; there may be a newer one */
    MEMBERS_AGREED,  /* when it was asked there was no newer one */
    MEMBERS_STANDING_END,
};

/* What a member tells one that wants to join: u8 version, u8 standing, u64 cluster, where in the
 * log it was so, the table. Reading: untrusted bytes, DECREE_EBAD_REQUEST. */
struct members_answer {
    enum members_standing standing;
    uint64_t cluster_id;
    uint64_t term, index; /* of the entry that says so, or of the last one applied */
    struct members members;
};
void members_answer_encode(const struct members_answer *a, struct strbuf *out);
int members_answer_decode(struct bytes b, struct members_answer *ret);
/* Is it worth more than the best one so far? best->members.n 0: there is none yet. */
bool members_answer_is_better(const struct members_answer *a, const struct members_answer *best);

/* A member says who it is. */
struct members_publication {
    uint64_t id, incarnation;
    struct bytes name;
    const struct bytes *urls;
    size_t n_urls;
};
/* False when nothing changes, the id is unknown, or the member is known with another data
 * directory: one that lost its data has forgotten what it promised and must not go on under its old
 * id (reliability F18). Nothing of p is kept. */
bool members_publish(struct members *m, const struct members_publication *p);

/* "http://HOST:PORT" with HOST a name, an IPv4 or a bracketed IPv6 address. ret_host is the
 * caller's, without brackets. DECREE_EINVALID_CONFIG says what is wrong with it. */
int peer_url_parse(const char *url, char **ret_host, uint16_t *ret_port, struct err *reterr);

#endif
