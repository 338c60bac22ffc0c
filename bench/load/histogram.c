#include "histogram.h"

static const unsigned sub_count = 1u << HISTOGRAM_SUB_BITS;

/* Values below 64 have a bucket each; above, the top 6 bits behind the leading one choose it. */
static unsigned bucket_of(uint64_t value)
{
    unsigned exponent;

    if (value < sub_count) {
        return (unsigned)value;
    }
    exponent = 63u - (unsigned)__builtin_clzll(value) - HISTOGRAM_SUB_BITS;
    return ((exponent + 1) << HISTOGRAM_SUB_BITS) +
        (unsigned)((value >> exponent) & (sub_count - 1));
}

/* The middle of a bucket. */
static uint64_t value_of(unsigned bucket)
{
    unsigned exponent;
    uint64_t low;

    if (bucket < sub_count) {
        return bucket;
    }
    exponent = (bucket >> HISTOGRAM_SUB_BITS) - 1;
    low = (uint64_t)(sub_count + (bucket & (sub_count - 1))) << exponent;
    return low + ((UINT64_C(1) << exponent) >> 1);
}

void histogram_add(struct histogram *h, uint64_t value)
{
    h->count++;
    h->sum += value;
    h->max = value > h->max ? value : h->max;
    h->buckets[bucket_of(value)]++;
}

uint64_t histogram_percentile(const struct histogram *h, double share)
{
    uint64_t wanted = (uint64_t)(share * (double)h->count + 0.5), seen = 0;

    if (h->count == 0) {
        return 0;
    }
    wanted = wanted == 0 ? 1 : wanted;
    for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++) {
        seen += h->buckets[i];
        if (seen >= wanted) {
            return value_of(i) < h->max ? value_of(i) : h->max;
        }
    }
    return h->max;
}

double histogram_mean(const struct histogram *h)
{
    return h->count != 0 ? (double)h->sum / (double)h->count : 0;
}
