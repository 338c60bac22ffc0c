/* The steps of a file's life that touch the disk. They block, so a worker thread runs them, one at
 * a time for each file; meanwhile nobody else uses the struct or what it points to. */
#ifndef DECREE_AGENT_FILE_JOB_H
#define DECREE_AGENT_FILE_JOB_H

#include <uv.h>

#include "record.h"
#include "target.h"

enum file_job_result {
    FILE_JOB_FAILED, /* err says why */
    FILE_JOB_DONE,
    FILE_JOB_SAME,    /* the file is what it shall be */
    FILE_JOB_KEPT,    /* the file is newer than what is remembered of the store */
    FILE_JOB_NOTHING, /* there are no old bytes to put back */
};

struct file_job {
    /* given, all borrowed until the cycle ends */
    int units_fd;     /* where records are */
    const char *name; /* of the record */
    struct target_spec spec;
    struct bytes contents; /* what the file shall be */
    int64_t revision;      /* from which contents were rendered */
    bool has_hooks;        /* a service uses the file, and a command tells it */
    bool stale;            /* contents were rendered from what is remembered of the store */
    uint64_t reloaded_ms;  /* when the service took contents */

    /* between the steps of one cycle */
    struct target target;
    /* over all cycles */
    bool record_known; /* the record has been looked at since the start */

    /* found out */
    enum file_job_result result;
    struct err err;
    bool fixed_attrs;
    bool owed;         /* the record says that the service has not taken what is there */
    uint64_t taken_ms; /* when the service took what is there, as the record says */
    uint64_t took_ms;  /* how long the step took, from its start to done */

    /* its own */
    uv_work_t work;
    void (*step)(struct file_job *j);
    void (*done)(struct file_job *j);
    uint64_t started_ms;
};

/* Runs one of the steps below in a worker thread; done is called once, later, on the loop. */
void file_job_start(struct file_job *j, uv_loop_t *loop, void (*step)(struct file_job *j),
    void (*done)(struct file_job *j));

/* Begins a cycle: compares with the file that is there and stages contents when it differs. The
 * first time also looks at the record, and keeps the bytes from before the agent in one. */
void file_job_stage(struct file_job *j);
/* Makes the stage live. */
void file_job_swap(struct file_job *j);
/* Remembers that the service has taken contents. */
void file_job_record(struct file_job *j);
/* Puts back what the service took last; that this is owed to it is on disk before the bytes are. */
void file_job_restore(struct file_job *j);
/* Remembers that the service runs with the restored bytes. */
void file_job_settle(struct file_job *j);
/* Gives the stage up. Quick enough for the loop, and may be called on it. */
void file_job_drop_stage(struct file_job *j);
/* Ends a cycle. */
void file_job_end(struct file_job *j);
void file_job_deinit(struct file_job *j);

#endif
