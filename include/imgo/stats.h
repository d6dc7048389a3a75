/* SPDX-License-Identifier: MIT */
/*
 * Counters, gauges and histograms. A set belongs to whoever made it (usually one a process, shared by its loops);
 * objects of the library enter theirs by name when they are made. Counters and gauges are atomics: add and read them from
 * any thread. A histogram is written without an atomic instruction: each loop has a part of its own, and whoever reads
 * adds the parts up.
 *
 * Names are those of Prometheus, whose text imgo_stats_text makes: "imgo_<module>_<what>[_<unit>][_total]", and labels
 * may follow in braces, name{label="value",…}; imgo_stat_name writes such a name with the value escaped. All values of
 * one name, whatever its labels, are of one kind and have the help of the first of them. A name that is not one is not
 * entered (a private dummy is returned).
 */
#ifndef IMGO_STATS_H
#define IMGO_STATS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <imgo/version.h>

#ifdef __cplusplus
extern "C" {
#endif

struct imgo_stats; /* a set */
struct imgo_stat;  /* one value, owned by its set */

IMGO_API int imgo_stats_new(struct imgo_stats **out);
IMGO_API void imgo_stats_free(struct imgo_stats *stats);

/*
 * The counter (only rises) or gauge (moves both ways) of that name, made when it does not exist: two objects that
 * name the same one share it. Name and help are copied. `stats` may be NULL, and memory may be short: then a private
 * dummy is returned. Never NULL. Any thread.
 */
IMGO_API struct imgo_stat *imgo_stats_counter(struct imgo_stats *stats, const char *name, const char *help);
IMGO_API struct imgo_stat *imgo_stats_gauge(struct imgo_stats *stats, const char *name, const char *help);

IMGO_API void imgo_stat_add(struct imgo_stat *stat, int64_t n);
IMGO_API void imgo_stat_set(struct imgo_stat *stat, int64_t value);
IMGO_API int64_t imgo_stat_get(const struct imgo_stat *stat);

/* A gauge that is set to it is not shown: what it is about is not here now (a partition that another job has). */
#define IMGO_STAT_ABSENT INT64_MIN

/* Writes name{label="value"}, the value escaped, with its NUL. Errors: IMGO_ELIMIT (it does not fit; *out is ""). */
IMGO_API int imgo_stat_name(char *out, size_t size, const char *name, const char *label, const char *value);

/* Value by name, 0 when there is none. Any thread. */
IMGO_API int64_t imgo_stats_get(struct imgo_stats *stats, const char *name);

/* Calls cb for each counter and gauge, sorted by name. Any thread; cb must not add to the set. */
typedef void imgo_stats_cb(const char *name, const char *help, bool is_counter, int64_t value, void *user);
IMGO_API void imgo_stats_each(struct imgo_stats *stats, imgo_stats_cb *cb, void *user);

/*
 * Histograms of durations. They are counted in microseconds, in buckets of an eighth of a power of two, so that what is
 * read from one is at most 12.5 % too high, from 8 us to 19 hours (below that: exact; above: taken for 19 hours).
 */
struct imgo_histogram; /* the part of one owner, owned by the set */

/*
 * The part of that histogram that belongs to `owner`, made when it does not exist. An owner is whoever adds, on one
 * thread at a time: a loop. Two objects of one loop share a part, two loops never touch each other's. Otherwise as
 * imgo_stats_counter.
 */
IMGO_API struct imgo_histogram *imgo_stats_histogram(
	struct imgo_stats *stats, const void *owner, const char *name, const char *help);

/* The owner is gone: what it counted stays, and its parts are given to the next owners. A loop does it when it is freed. Any
 * thread; stats may be NULL. */
IMGO_API void imgo_stats_disown(struct imgo_stats *stats, const void *owner);

/* `times` durations of so many microseconds. Only the owner's thread. */
IMGO_API void imgo_histogram_add(struct imgo_histogram *histogram, uint64_t us, uint64_t times);

enum { IMGO_HISTOGRAM_BUCKETS = 272 };

/* All parts added up, at about one moment. */
struct imgo_histogram_sum {
	uint64_t count, sum_us;
	uint64_t buckets[IMGO_HISTOGRAM_BUCKETS];
};

/* False: there is none of that name (out is all 0). Any thread. */
IMGO_API bool imgo_stats_histogram_get(struct imgo_stats *stats, const char *name, struct imgo_histogram_sum *out);

/* The duration, in microseconds, that `quantile` (0 to 1) of all do not exceed: the upper end of its bucket; 0: there are
 * none. */
IMGO_API uint64_t imgo_histogram_quantile_us(const struct imgo_histogram_sum *sum, double quantile);

/*
 * All of the set as Prometheus's text format 0.0.4, histograms in seconds. *out is the caller's, to be freed by free();
 * it ends in a NUL that *len does not count. Any thread. Errors: IMGO_ENOMEM.
 */
IMGO_API int imgo_stats_text(struct imgo_stats *stats, char **out, size_t *len);
#define IMGO_STATS_CONTENT_TYPE "text/plain; version=0.0.4; charset=utf-8"

#ifdef __cplusplus
}
#endif
#endif
