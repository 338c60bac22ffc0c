#include "buggify.h"

#include "splitmix.h"

#ifdef DECREE_SIM

enum { ARMED_PERCENT = 25, FIRES_PERCENT = 25 };

static uint64_t seed, chance;

/* Made by the linker around the section; one site of our own, so that there always is one. */
extern struct buggify_site __start_decree_sites[], __stop_decree_sites[];
BUGGIFY_SITE_(no_site, "", true);

static uint64_t hash_name(const char *name)
{
    uint64_t h = 0xcbf29ce484222325;

    for (; *name != '\0'; name++) {
        h = (h ^ (uint8_t)*name) * 0x100000001b3;
    }
    return h;
}

void buggify_seed(uint64_t new_seed)
{
    seed = chance = new_seed;
}

bool buggify_fires(struct buggify_site *site)
{
    if (seed == 0) {
        return false;
    }
    if (site->arms_seed != seed) {
        site->arms_seed = seed;
        site->armed = splitmix_mix(seed ^ hash_name(site->name)) % 100 < ARMED_PERCENT;
    }
    if (!site->armed) {
        return false;
    }
    if (splitmix_next(&chance) % 100 >= FIRES_PERCENT) {
        return false;
    }
    site->hits++;
    return true;
}

struct buggify_site *buggify_sites(size_t *ret_n)
{
    *ret_n = (size_t)(__stop_decree_sites - __start_decree_sites);
    return __start_decree_sites;
}

#else

typedef int buggify_is_not_built; /* a translation unit must declare something */

#endif
