/* SPDX-License-Identifier: MIT */
/*
 * Counters and gauges. A set belongs to whoever made it (usually one a process, shared by its loops); objects of the
 * library enter theirs by name when they are made. Values are atomics: add and read them from any thread.
 */
#ifndef IMGO_STATS_H
#define IMGO_STATS_H

#include <stdbool.h>
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
 * name the same one share it. Names: "imgo_<module>_<what>[_total]", static strings; labels may follow in braces as
 * Prometheus writes them. `stats` may be NULL: then a private dummy is returned. Never NULL. Any thread.
 */
IMGO_API struct imgo_stat *imgo_stats_counter(struct imgo_stats *stats, const char *name, const char *help);
IMGO_API struct imgo_stat *imgo_stats_gauge(struct imgo_stats *stats, const char *name, const char *help);

IMGO_API void imgo_stat_add(struct imgo_stat *stat, int64_t n);
IMGO_API void imgo_stat_set(struct imgo_stat *stat, int64_t value);
IMGO_API int64_t imgo_stat_get(const struct imgo_stat *stat);

/* Value by name, 0 when there is none. Any thread. */
IMGO_API int64_t imgo_stats_get(struct imgo_stats *stats, const char *name);

/* Calls cb for each, sorted by name. Any thread; cb must not add to the set. */
typedef void imgo_stats_cb(const char *name, const char *help, bool is_counter, int64_t value, void *user);
IMGO_API void imgo_stats_each(struct imgo_stats *stats, imgo_stats_cb *cb, void *user);

#ifdef __cplusplus
}
#endif
#endif
