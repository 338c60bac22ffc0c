/* What the agent remembers about one file over a restart, in STATEDIR/units/NAME.record: the bytes
 * its service has last taken, and from which revision they were rendered.
 *
 * Debt, "the file is new but the service has not taken it", is the absence of such a record: after
 * the rename the live file differs from the record, until the reload has succeeded and the record
 * is written. So the way from a change to the rename needs no write beyond the file itself, and no
 * crash can lose the debt:
 *   before the rename         live file = record: nothing is owed
 *   after it, before the end
 *   of the reload             live file ≠ record: the reload is owed
 *   after the reload, before
 *   the record is on disk     likewise: one reload too many, which is allowed ("at least once")
 * Kill -9 and power loss do not differ: both leave old or new files, each whole.
 *
 * One case needs a mark. When a reload fails, the old bytes are put back; until the service has
 * been reloaded with them it may run either configuration although file = record. `debt` is
 * therefore written, durably, before the old bytes go back, and cleared after the reload that
 * follows. */
#ifndef DECREE_AGENT_RECORD_H
#define DECREE_AGENT_RECORD_H

#include "file.h"

struct record {
    char *dest; /* owned; a record of another dest is not of use */
    int64_t revision;
    bool debt;
    uint64_t taken_ms; /* wall time at which the service took the bytes; 0: they were there before
                          the agent, or no command tells, and they are kept to be put back */
    struct file_attrs attrs;
    struct strbuf bytes;
};

enum { RECORD_NONE = 1 };

/* Reads the record of resource `name` for dest. RECORD_NONE when there is none, or one of another
 * dest; -EBADMSG when it is damaged (treat as none). */
int record_load(
    int units_fd, const char *name, const char *dest, struct record *ret, struct err *reterr);
/* Replaces it atomically and durably. */
int record_save(int units_fd, const char *name, const struct record *r, struct err *reterr);
void record_remove(int units_fd, const char *name);
void record_deinit(struct record *r);
#define _cleanup_record_ _cleanup_(record_deinit)

#endif
