/* Deletes, txns and ends of leases in steps of any size, with replies in parts that are put
 * together again: what comes out must be what one go gives. */
#ifndef DECREE_TESTS_MVCC_STEPS_H
#define DECREE_TESTS_MVCC_STEPS_H

#include "mvcc.h"

struct steps {
    uint32_t (*pick)(void *data, uint32_t n); /* any number below n */
    void (*between)(void *data);              /* what else happens; NULL: nothing */
    void *data;
};

/* As mvcc_delete, mvcc_txn, mvcc_lease_revoke. What came in parts lies in the arena. */
int steps_delete(const struct steps *x, struct mvcc *m, const struct delete_request *r,
    struct arena *arena, struct delete_reply *ret);
int steps_txn(const struct steps *x, struct mvcc *m, const struct txn_request *t,
    struct arena *arena, struct txn_reply *ret);
int steps_revoke(const struct steps *x, struct mvcc *m, int64_t id, bool expired);

#endif
