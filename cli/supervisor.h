/* Plain decreed: the store and the agent as two processes under one parent that does nothing else.
 * The store faces the network, the agent runs what root may have to run; neither holds the other's
 * memory or descriptors. */
#ifndef DECREE_CLI_SUPERVISOR_H
#define DECREE_CLI_SUPERVISOR_H

enum { CHILD_STORE, CHILD_AGENT, CHILD_COUNT };

struct child_spec {
    const char *name; /* for messages */
    /* Runs in the new process and never returns: the store's main, or an exec of the agent. NULL =
     * this child is not wanted. */
    void (*run)(void *data);
    void *data;
};

/* Starts the children and watches over them until one of them ends for good or a signal comes:
 *   SIGTERM, SIGINT   ask all to stop, agent first; kill what has not after 10 s
 *   SIGHUP            handed to the agent, which reads its configuration again
 *   a child killed by a signal is started again, after a pause that doubles up to 30 s
 *   a child that exits by itself has said why: the others are stopped and its code is returned
 * Children die with the parent, however that ends. Returns the exit code. */
int supervise(const struct child_spec specs[CHILD_COUNT]);

#endif
