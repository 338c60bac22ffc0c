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
};

void members_deinit(struct members *m);
struct store_member *members_find(const struct members *m, uint64_t id);
struct store_member *members_find_name(const struct members *m, const char *name);

/* Parses "m1=http://h1:2380,m2=…" (a name given twice has two URLs) and computes the ids. Every
 * founding member gets the same table from the same text, whatever its order.
 * DECREE_EINVALID_CONFIG with the part that is wrong. */
int members_parse(
    const char *initial_cluster, const char *token, struct members *ret, struct err *reterr);

/* Ids as etcd derives them, first 8 bytes of a SHA-1, big-endian: of the sorted peer URLs and the
 * token for a member, of the sorted member ids for the cluster. */
uint64_t members_id(const char *const *peer_urls, size_t n, const char *token);
uint64_t members_cluster_id(const struct members *m);

void members_encode(const struct members *m, struct strbuf *out);
/* Untrusted bytes; DECREE_EBAD_REQUEST. */
int members_decode(struct bytes b, struct members *ret);

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
