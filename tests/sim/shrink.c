/* Delta debugging (Zeller, Hildebrandt 2002): take lines away, first half of them at a time and at
 * last one by one, and keep what still fails in the same way; then the same with members, chance of
 * the network, time. */
#include "crew.h"

#include <stdio.h>

enum { FAILURE_CLASS_MAX = 32 };

struct hunt {
    char class[FAILURE_CLASS_MAX]; /* first word of the violation */
    unsigned tries;
};

static void class_of(const struct outcome *o, char class[FAILURE_CLASS_MAX])
{
    (void)snprintf(class, FAILURE_CLASS_MAX, "%.*s", (int)strcspn(o->failure, ":"), o->failure);
}

static bool still_fails(struct hunt *h, const struct plan *p, struct outcome *o)
{
    char class[FAILURE_CLASS_MAX];
    struct outcome now;

    h->tries++;
    crew_try(p, &now);
    class_of(&now, class);
    if (!now.failed || strcmp(class, h->class) != 0) {
        return false;
    }
    *o = now;
    return true;
}

static void remove_items(const struct plan *p, size_t from, size_t n, struct plan *ret)
{
    plan_copy(p, ret);
    memmove(ret->items + from, ret->items + from + n, (ret->n - from - n) * sizeof(*ret->items));
    ret->n -= n;
}

static void adopt(struct plan *p, struct plan *better)
{
    plan_deinit(p);
    *p = *better;
}

static void shrink_items(struct hunt *h, struct plan *p, struct outcome *o)
{
    for (size_t chunk = (p->n + 1) / 2; chunk > 0; chunk = chunk == 1 ? 0 : (chunk + 1) / 2) {
        for (size_t from = 0; from < p->n;) {
            struct plan without;

            remove_items(p, from, MIN(chunk, p->n - from), &without);
            if (still_fails(h, &without, o)) {
                adopt(p, &without);
            } else {
                plan_deinit(&without);
                from += chunk;
            }
        }
    }
}

static bool try_setting(
    struct hunt *h, struct plan *p, struct outcome *o, uint64_t *setting, uint64_t value)
{
    uint64_t before = *setting;

    *setting = value;
    if (before != value && still_fails(h, p, o)) {
        return true;
    }
    *setting = before;
    return false;
}

static void shrink_members(struct hunt *h, struct plan *p, struct outcome *o)
{
    for (uint64_t n = 0; n < p->set.spares; n++) {
        if (try_setting(h, p, o, &p->set.spares, n)) {
            break;
        }
    }
    for (uint64_t n = 1; n < p->set.members; n++) {
        if (try_setting(h, p, o, &p->set.members, n)) {
            return;
        }
    }
}

static void shrink_settings(struct hunt *h, struct plan *p, struct outcome *o)
{
    struct settings *s = &p->set;
    uint64_t end_ms = p->n > 0 ? p->items[p->n - 1].at_ms + 1 : 1;

    shrink_members(h, p, o);
    (void)try_setting(h, p, o, &s->buggify, 0);
    (void)try_setting(h, p, o, &s->loss_permille, 0);
    (void)try_setting(h, p, o, &s->repeat_permille, 0);
    (void)try_setting(h, p, o, &s->fifo, 1);
    (void)try_setting(h, p, o, &s->latency_spread, 1);
    (void)try_setting(h, p, o, &s->slow_permille, 0);
    (void)try_setting(h, p, o, &s->clock_permille, 0);
    (void)try_setting(h, p, o, &s->lose_all, 0);
    (void)try_setting(h, p, o, &s->core_mask, (UINT64_C(1) << (s->members + s->spares)) - 1);
    for (uint64_t ms = s->run_ms / 2; ms > end_ms; ms /= 2) {
        (void)try_setting(h, p, o, &s->run_ms, ms);
    }
    (void)try_setting(h, p, o, &s->run_ms, MIN(s->run_ms, end_ms));
}

bool plan_shrink(struct plan *plan, struct outcome *ret)
{
    struct hunt h = {0};
    size_t n = plan->n;

    crew_try(plan, ret);
    if (!ret->failed) {
        return false;
    }
    class_of(ret, h.class);
    shrink_items(&h, plan, ret);
    shrink_settings(&h, plan, ret);
    shrink_items(&h, plan, ret);
    (void)fprintf(stderr, "shrunk from %zu to %zu lines in %u runs\n", n, plan->n, h.tries);
    return true;
}
