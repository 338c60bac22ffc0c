/* Many seeds, in worker processes, so that a crash ends one seed and not the run; and what became
 * of them. */
#ifndef DECREE_TESTS_SIM_CREW_H
#define DECREE_TESTS_SIM_CREW_H

#include "plan.h"
#include "world.h"

struct crew_options {
    uint64_t first, seeds; /* how many at most */
    double minutes;        /* 0 = no limit */
    unsigned jobs;
    uint64_t replay_permille; /* of the seeds run twice, and must be the same both times */
    const char *folder;       /* for scripts of failing seeds, NULL = none are made */
};

/* Prints progress to standard error, the summary to standard output. The exit status: 0, or 1 when
 * a seed failed. */
int crew_run(const struct crew_options *o);

/* Runs a plan in a process of its own; a crash of it is a failure as well. */
void crew_try(const struct plan *plan, struct outcome *ret);

/* shrink.c: takes away from a failing plan what it fails without. Returns false when it does not
 * fail. */
bool plan_shrink(struct plan *plan, struct outcome *ret);

#endif
