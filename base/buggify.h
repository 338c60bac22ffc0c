/* What only a simulator build (DECREE_SIM) contains; in every other one both are nothing.
 *
 * MARK(name): a rare branch was reached. A run of the simulator counts them and names those that it
 * never reached: a fault that nothing exercises is a fault that nothing tests.
 *
 * BUGGIFY(name): true now and then, to do on purpose what the world does seldom: a short batch, an
 * early flush, a full window. What it guards must be correct either way. Each site is armed for a
 * quarter of the seeds and then fires at a quarter of its visits; without a seed it is false. */
#ifndef DECREE_BASE_BUGGIFY_H
#define DECREE_BASE_BUGGIFY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct buggify_site {
    const char *name;
    bool is_mark;
    uint64_t hits;      /* marks: reached; buggify: fired */
    uint64_t arms_seed; /* the seed that `armed` is of */
    bool armed;
};

#ifdef DECREE_SIM

/* The linker collects all sites of the program, also those that are never reached. */
#define BUGGIFY_SITE_(var, text, mark)                                                             \
    static struct buggify_site var __attribute__((section("decree_sites"), used, aligned(8))) = {  \
        .name = (text), .is_mark = (mark)}

#define MARK(text)                                                                                 \
    do {                                                                                           \
        BUGGIFY_SITE_(mark_site_, text, true);                                                     \
        (void)__atomic_fetch_add(&mark_site_.hits, 1, __ATOMIC_RELAXED);                           \
    } while (0)

#define BUGGIFY(text)                                                                              \
    ({                                                                                             \
        BUGGIFY_SITE_(buggify_site_, text, false);                                                 \
        buggify_fires(&buggify_site_);                                                             \
    })

bool buggify_fires(struct buggify_site *site);
/* 0 = nothing fires. */
void buggify_seed(uint64_t seed);
/* All sites of this program; *ret_n of them. */
struct buggify_site *buggify_sites(size_t *ret_n);

#else

#define MARK(text)                                                                                 \
    do {                                                                                           \
    } while (0)
#define BUGGIFY(text) false

static inline void buggify_seed(uint64_t seed)
{
    (void)seed;
}
static inline struct buggify_site *buggify_sites(size_t *ret_n)
{
    *ret_n = 0;
    return NULL;
}

#endif
#endif
