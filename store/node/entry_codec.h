/* The bytes of a log entry: what every member applies, on disk and on the wire between members.
 *
 *     u8 type | u64 origin | u64 sequence | body of that type
 *
 * origin and sequence say whose call it was, so that the member that proposed it can answer. A type
 * byte is never reused; a changed body gets a new type. A member that meets a type it does not know
 * must stop (reliability F36): skipping it would make its keyspace another one. */
#ifndef DECREE_STORE_NODE_ENTRY_CODEC_H
#define DECREE_STORE_NODE_ENTRY_CODEC_H

#include "buf.h"
#include "request.h"
#include "store.h"

enum entry_type {
    ENTRY_PUT = 1,
    ENTRY_DELETE = 2,
    ENTRY_TXN = 3,
    ENTRY_COMPACT = 4,
    ENTRY_LEASE_GRANT = 5,
    ENTRY_LEASE_REVOKE = 6,
    ENTRY_LEASE_EXPIRE = 7, /* a leader's own revoke: void unless the entry is of that term */
    ENTRY_PUBLISH = 8,      /* a member says who it is and where clients reach it */
    ENTRY_ALARM = 9,        /* raise or clear */
    ENTRY_TYPE_END,
};

struct entry_id {
    uint64_t origin;   /* member that proposed it */
    uint64_t sequence; /* its own numbering, from a random start in every run */
};

struct entry {
    enum entry_type type;
    struct entry_id id;
    union {
        struct put_request put;
        struct delete_request del;
        struct txn_request txn;
        struct compact_request compact;
        struct lease_grant_request lease_grant; /* id and ttl as they will be stored */
        struct lease_id_request lease_revoke;
        struct {
            int64_t id;
            uint64_t term;
        } lease_expire;
        struct {
            uint64_t member;
            uint64_t incarnation; /* of its data directory: random, made with it */
            struct bytes name;
            struct bytes *client_urls; /* in the arena */
            size_t n_client_urls;
        } publish;
        struct store_alarm_request alarm; /* not GET */
    };
};

enum { ENTRY_URLS_MAX = 16, ENTRY_URL_BYTES_MAX = 1024 };

/* Encodes e in two passes into one exact buffer, the caller's. DECREE_ETOO_LARGE beyond
 * REQUEST_BYTES_MAX, DECREE_EBAD_REQUEST when a txn nests too deep. */
int entry_encode(const struct entry *e, struct buf **ret);

enum { ENTRY_UNKNOWN_TYPE = 1 };

/* Reads untrusted bytes. Keys and values of ret point into b, arrays lie in arena. Returns 0,
 * ENTRY_UNKNOWN_TYPE, or DECREE_EBAD_REQUEST for what no encoder wrote. */
int entry_decode(struct bytes b, struct arena *arena, struct entry *ret);

#endif
