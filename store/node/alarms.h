/* The alarms that are active: part of the replicated state, changed by log entries alone and
 * carried in snapshots. A small sorted set, since every write looks at it. */
#ifndef DECREE_STORE_NODE_ALARMS_H
#define DECREE_STORE_NODE_ALARMS_H

#include "buf.h"
#include "store.h"

enum {
    /* One of each type for every member that raft can count, and for the id 0: what clients raise
     * for ids that nobody has ends here. */
    ALARMS_MAX = 64,
};

struct alarms {
    struct store_alarm list[ALARMS_MAX]; /* ascending by member, then type */
    size_t n;
};

/* NULL when it is not active. */
const struct store_alarm *alarms_find(
    const struct alarms *a, uint64_t member, enum store_alarm_type type);
size_t alarms_count(const struct alarms *a, enum store_alarm_type type);
/* What is active already stays as it is. DECREE_ETOO_MANY_REQUESTS when there are too many. */
int alarms_raise(struct alarms *a, struct store_alarm alarm);
/* False when it was not active. */
bool alarms_clear(struct alarms *a, uint64_t member, enum store_alarm_type type);
/* Those of that type to ret, which has room for ALARMS_MAX; NONE means all. Returns how many. */
size_t alarms_select(
    const struct alarms *a, enum store_alarm_type type, struct store_alarm ret[ALARMS_MAX]);

const char *alarm_text(enum store_alarm_type type);

void alarms_encode(const struct alarms *a, struct strbuf *out);
/* Untrusted bytes; DECREE_EBAD_REQUEST. */
int alarms_decode(struct bytes b, struct alarms *ret);

#endif
