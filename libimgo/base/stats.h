/* SPDX-License-Identifier: MIT */
/* A set of statistics from inside: what stats.c (entering, counting) and stats_text.c (reading it all) share. */
#ifndef IMGO__BASE_STATS_H
#define IMGO__BASE_STATS_H

#include <pthread.h>
#include <stdatomic.h>

#include <imgo/stats.h>

enum imgo__stat_kind { IMGO__STAT_COUNTER, IMGO__STAT_GAUGE, IMGO__STAT_HISTOGRAM };

/* Buckets hold (lower, upper] microseconds. Only the owner's thread writes, so plain loads and stores of atomics do. */
struct imgo_histogram {
	struct imgo_histogram *_Atomic next;
	const void *owner; /* NULL: free to be had; under the set's lock */
	_Atomic uint64_t sum_us;
	_Atomic uint64_t buckets[IMGO_HISTOGRAM_BUCKETS];
};

struct imgo_stat {
	_Atomic int64_t value;
	struct imgo_stat *_Atomic next;
	struct imgo_histogram *_Atomic parts;
	char *name, *help;
	enum imgo__stat_kind kind;
	char pad[80]; /* two values never share a cache line */
};

struct imgo_stats {
	pthread_mutex_t lock;
	struct imgo_stat *_Atomic first;
};

/* The highest number of microseconds that counts in that bucket. */
uint64_t imgo__histogram_upper_us(unsigned bucket);
void imgo__histogram_sum(const struct imgo_stat *stat, struct imgo_histogram_sum *out);

#endif
