/* SPDX-License-Identifier: MIT */
/* The clock of all benchmarks, one for all processes of a machine, and the way they give up. */
#ifndef BENCH_CLOCK_H
#define BENCH_CLOCK_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define NS_PER_S 1000000000ull

static inline uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * NS_PER_S + (uint64_t)t.tv_nsec;
}

/* Says why, with errno's text, and ends the process. */
#define give_up(what) \
	do { \
		perror(what); \
		exit(1); \
	} while (0)

#endif
