/* hist.h - a histogram of nanoseconds in the manner of HdrHistogram: 128 buckets for each power of two, so that each
 * value is known to 0.8 %, from 1 ns to 18 minutes, in 35 KiB. */
#ifndef HIST_H
#define HIST_H

#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>

enum { HIST_BITS = 7, HIST_POWERS = 40, HIST_BUCKETS = (HIST_POWERS - HIST_BITS + 1) << HIST_BITS };

struct hist {
    uint64_t counts[HIST_BUCKETS];
};

static inline void hist_add(struct hist *hist, uint64_t ns)
{
    if (ns >= (UINT64_C(1) << HIST_POWERS)) ns = (UINT64_C(1) << HIST_POWERS) - 1;
    const unsigned top = 63 - (unsigned)__builtin_clzll(ns | 1);
    const unsigned shift = top > HIST_BITS ? top - HIST_BITS : 0;
    hist->counts[(shift << HIST_BITS) + (ns >> shift)]++;
}

static inline void hist_merge(struct hist *into, const struct hist *from)
{
    for (unsigned n = 0; n < HIST_BUCKETS; n++) into->counts[n] += from->counts[n];
}

/* The largest value of a bucket. */
static inline uint64_t hist_highest(unsigned bucket)
{
    if (bucket < (2u << HIST_BITS)) return bucket;
    const unsigned shift = (bucket >> HIST_BITS) - 1;
    return (((uint64_t)bucket - ((uint64_t)shift << HIST_BITS) + 1) << shift) - 1;
}

/* [[highest ns, count], ...] of the buckets that are not empty. */
static inline void hist_print(const struct hist *hist)
{
    const char *comma = "";
    putchar('[');
    for (unsigned n = 0; n < HIST_BUCKETS; n++)
        if (hist->counts[n] > 0) {
            printf("%s[%" PRIu64 ",%" PRIu64 "]", comma, hist_highest(n), hist->counts[n]);
            comma = ",";
        }
    putchar(']');
}

#endif
