/* Ends of links, over real sockets of one loop: what each was told is counted. */
#ifndef DECREE_TESTS_PEER_END_H
#define DECREE_TESTS_PEER_END_H

#include <uv.h>

#include "clock.h"
#include "peer.h"

enum { END_LIMIT_MS = 10000, END_INCARNATION = 50 };

struct end {
    struct peers *peers;
    uint64_t id;
    size_t frames, bytes, unreachable, stream_frames, ready, down, cut, replies, lost;
    uint8_t last;
    int verdict; /* of the next stream frame */
    char why[128];
    uint64_t removed;  /* whom it knows as removed */
    uint64_t question; /* the last one */
    bool tells_later;  /* by the test itself */
    struct end *meets; /* it meets that one when it comes as a stranger */
    size_t strangers, refused;
    enum peer_refusal refusal;
};

/* For one whose options are its own; data is its struct end. */
extern const struct peers_ops end_ops;
extern uv_loop_t end_loop;
extern size_t ends_closing; /* not closed yet */

/* A member of a cluster that listens at a port of its own choice, or at that one. */
void end_init(struct end *e, uint64_t id, uint64_t cluster);
void end_init_at(struct end *e, uint64_t id, uint64_t cluster, uint16_t port);
/* e knows the other one under an id, and as of an incarnation. */
void end_knows(struct end *e, const struct end *other, uint64_t as);
void end_knows_as(struct end *e, const struct end *other, uint64_t as, uint64_t incarnation);
void end_close(struct end *e);
/* Runs the loop until all are closed, and closes it. */
void end_finish(void);

/* The loop with the members 1 and 2 of cluster 7, which do not know each other; and their end. */
void ends_open(struct end *a, struct end *b);
void ends_close(struct end *a, struct end *b);

bool end_is_up(const struct end *e, uint64_t to);
/* A frame of so many marks; it leaves at the next flush. */
void end_send(struct end *e, uint64_t to, size_t len, uint8_t mark);

/* Runs the loop until cond holds. */
#define UNTIL(cond)                                                                                \
    do {                                                                                           \
        uint64_t begun_ = clock_boot_ms();                                                         \
        while (!(cond)) {                                                                          \
            assert_true(clock_boot_ms() - begun_ < END_LIMIT_MS);                                  \
            (void)uv_run(&end_loop, UV_RUN_ONCE);                                                  \
        }                                                                                          \
    } while (0)

#endif
