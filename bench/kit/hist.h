/* SPDX-License-Identifier: MIT */
/*
 * A histogram of fixed size: 64 steps to each power of two, so a value is known within 1.6 %, from 1 ns to centuries. It
 * holds no pointer: it may lie in memory that processes share, and two are merged by adding.
 */
#ifndef BENCH_HIST_H
#define BENCH_HIST_H

#include <stdint.h>

enum { HIST_STEPS = 64, HIST_CELLS = 59 * HIST_STEPS };

struct hist {
	uint64_t n, sum, max;
	uint64_t cells[HIST_CELLS];
};

void hist_add(struct hist *h, uint64_t value);
void hist_merge(struct hist *into, const struct hist *from);
/* The value that `percent` (0 to 100) of all do not exceed: not below the true one, and above it by less than a step;
 * 100 is the maximum, exactly. 0 when there are none. */
uint64_t hist_at(const struct hist *h, double percent);

#endif
