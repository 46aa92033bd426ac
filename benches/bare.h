/* bare.h - the bare loops that libseglog is measured against: the least that the machine must do for the same work.
 * No index, no lock, no clock, no call into a library. docs/performance.md says why these. */
#ifndef BARE_H
#define BARE_H

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#if defined(__x86_64__)
#include <nmmintrin.h>
#define CRC_TARGET __attribute__((target("sse4.2")))
#define CRC_8(crc, word) _mm_crc32_u64((crc), (word))
#elif defined(__aarch64__)
#include <arm_acle.h>
#define CRC_TARGET __attribute__((target("+crc")))
#define CRC_8(crc, word) __crc32cd((uint32_t)(crc), (word))
#else
#error "the bare loops need the CRC-32C instruction of x86-64 (SSE4.2) or ARMv8"
#endif

#define BARE_INLINE static inline __attribute__((always_inline)) CRC_TARGET

enum { RING_BYTES = 1 << 20, WRITE_BYTES = RING_BYTES / 2 };

BARE_INLINE uint64_t word_at(const unsigned char *bytes)
{
    uint64_t word;
    memcpy(&word, bytes, 8);
    return word;
}

/* CRC-32C of `len` bytes, a multiple of 8, by the processor's instruction. Long input runs as three streams at once,
 * which is as fast as the instruction goes; the three results are only mixed, since joining them properly is what a
 * bare loop leaves out. */
BARE_INLINE uint32_t bare_crc(const unsigned char *bytes, size_t len)
{
    uint64_t a = 0xFFFFFFFF, b = a, c = a;
    size_t at = 0;
    if (len > 512) {
        size_t third = len / 24 * 8;
        for (; at < third; at += 8) {
            a = CRC_8(a, word_at(bytes + at));
            b = CRC_8(b, word_at(bytes + third + at));
            c = CRC_8(c, word_at(bytes + 2 * third + at));
        }
        a ^= b ^ c;
        at = 3 * third;
    }
    for (; at < len; at += 8) a = CRC_8(a, word_at(bytes + at));
    return ~(uint32_t)a;
}

/* Appends `count` records of `len` bytes to `fd`, which has its space allocated: each is copied into the ring and its
 * CRC taken; the ring goes out in pwrites of half of it. `pool` holds `pooled` records (a power of two), taken in turn:
 * each record is independent of the one before. */
BARE_INLINE uint32_t bare_append(int fd, unsigned char *ring, const unsigned char *pool, size_t pooled, size_t len,
                                 size_t count)
{
    uint32_t sum = 0;
    uint64_t written = 0;
    size_t at = 0, due = 0;
    for (size_t n = 0; n < count; n++) {
        const unsigned char *record = pool + (n & (pooled - 1)) * len;
        if (at == RING_BYTES) at = 0;
        memcpy(ring + at, record, len);
        sum ^= bare_crc(record, len);
        at += len;
        due += len;
        if (due == WRITE_BYTES) {
            if (pwrite(fd, ring + at - due, due, (off_t)written) != (ssize_t)due) abort();
            written += due;
            due = 0;
        }
    }
    if (due > 0 && pwrite(fd, ring + at - due, due, (off_t)written) != (ssize_t)due) abort();
    return sum;
}

/* The next number of a sequence that no prefetcher guesses (splitmix64). */
static inline uint64_t next_random(uint64_t *state)
{
    uint64_t z = (*state += 0x9E3779B97F4A7C15u);
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
}

/* A number below `limit`, by a multiplication instead of a division. */
static inline uint64_t random_below(uint64_t *state, uint64_t limit)
{
    return (uint64_t)(((unsigned __int128)next_random(state) * limit) >> 64);
}

/* Reads `count` records at random out of `stored` of them in a mapped file: copy and CRC. */
BARE_INLINE uint32_t bare_read(const unsigned char *map, size_t stored, size_t len, size_t count, uint64_t seed)
{
    unsigned char buffer[256];
    uint32_t sum = 0;
    for (size_t n = 0; n < count; n++) {
        const unsigned char *record = map + random_below(&seed, stored) * len;
        memcpy(buffer, record, len);
        __asm__ volatile("" : : "r"(buffer) : "memory"); /* the copy is made, though nobody looks at it */
        sum ^= bare_crc(record, len);
    }
    return sum;
}

/* Walks the frames of a mapped store file, from its first frame to the end of its records (docs/FORMAT.md), taking the
 * CRC of each whole frame. Returns how many records it saw. */
BARE_INLINE uint64_t bare_walk(const unsigned char *store, size_t bytes, uint32_t *sum)
{
    enum { FIRST_FRAME = 4096, HEADER = 16, SEAL = 8 };
    uint64_t records = 0;
    size_t at = FIRST_FRAME;
    while (at + HEADER <= bytes) {
        uint32_t word = (uint32_t)word_at(store + at);
        size_t frame = HEADER + (((size_t)(word >> 4) + 7) & ~(size_t)7);
        if (word == 0 || (word & SEAL) != 0 || frame > bytes - at) break;
        *sum ^= bare_crc(store + at, frame);
        at += frame;
        records++;
    }
    return records;
}

#endif
