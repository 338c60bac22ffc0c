/* Memory that was freed is given back to the system. */
#ifndef DECREE_STORE_NODE_NODE_TRIM_H
#define DECREE_STORE_NODE_NODE_TRIM_H

#include <stdbool.h>

#include <uv.h>

struct node_trim {
    uv_timer_t timer;
    uv_work_t work;
    bool running;
    unsigned holds; /* the timer's, and that of the work while it runs */
    void (*closed)(struct node_trim *t);
};

void node_trim_init(struct node_trim *t, uv_loop_t *loop);
/* Much was freed: once that has been over for a while, what is free goes back. */
void node_trim_soon(struct node_trim *t);
/* Begins nothing more; closed is called once, later, when nothing is under way. */
void node_trim_close(struct node_trim *t, void (*closed)(struct node_trim *t));

#endif
