/* Random histories against the naive model. DECREE_MODEL_SEED repeats one of them. */
#include "unit.h"

#include <stdio.h>
#include <stdlib.h>

#include "clock.h"
#include "mvcc_model.h"

static uint64_t seed_of(uint64_t i)
{
    const char *given = getenv("DECREE_MODEL_SEED");
    uint64_t seed = given != NULL ? strtoull(given, NULL, 10) : clock_boot_ns() + i * 7919;

    seed = (seed * UINT64_C(0x9e3779b97f4a7c15)) | 1;
    return given != NULL ? strtoull(given, NULL, 10) : seed;
}

static void drive(uint64_t runs, size_t steps)
{
    for (uint64_t i = 0; i < runs; i++) {
        uint64_t seed = seed_of(i);
        struct model_source src = {.rng = seed};

        printf("DECREE_MODEL_SEED=%llu, %zu steps\n", (unsigned long long)seed, steps);
        fflush(stdout);
        model_drive(&src, steps);
    }
}

TEST(mvcc_model, short_histories_agree)
{
    drive(1000, 200);
}

TEST(mvcc_model, long_histories_agree)
{
    drive(12, 12000);
}

TEST_MAIN(UNIT(mvcc_model, short_histories_agree), UNIT(mvcc_model, long_histories_agree))
