/* SPDX-License-Identifier: MIT */
/*
 * A set is a list sorted by name that only grows until the set is freed. New values are linked in under a
 * mutex; readers walk the list without one, because a node is complete before the release-store that links
 * it. Making a value costs a walk, and happens when objects are made; adding to it is one atomic instruction.
 */
#include <imgo/stats.h>

#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <imgo/error.h>

#include "base/mem.h"

struct imgo_stat {
	_Atomic int64_t value;
	struct imgo_stat *_Atomic next;
	char *name, *help;
	bool is_counter;
	char pad[88]; /* two values never share a cache line */
};

struct imgo_stats {
	pthread_mutex_t lock;
	struct imgo_stat *_Atomic first;
};

/* Handed out when there is no set or no memory. It is never written: threads would fight for its cache line.
 */
static struct imgo_stat dummy;

int imgo_stats_new(struct imgo_stats **out)
{
	struct imgo_stats *stats = imgo__zalloc(sizeof(*stats));

	if (stats == NULL)
		return IMGO_ENOMEM;
	pthread_mutex_init(&stats->lock, NULL);
	*out = stats;
	return 0;
}

static void stat_free(struct imgo_stat *stat)
{
	if (stat == NULL)
		return;
	free(stat->name);
	free(stat->help);
	free(stat);
}

void imgo_stats_free(struct imgo_stats *stats)
{
	struct imgo_stat *stat, *next;

	if (stats == NULL)
		return;
	for (stat = atomic_load(&stats->first); stat; stat = next) {
		next = atomic_load(&stat->next);
		stat_free(stat);
	}
	pthread_mutex_destroy(&stats->lock);
	free(stats);
}

static struct imgo_stat *stat_new(const char *name, const char *help, bool is_counter)
{
	struct imgo_stat *stat = imgo__zalloc(sizeof(*stat));

	if (stat == NULL)
		return NULL;
	stat->name = imgo__strdup(name);
	stat->help = imgo__strdup(help ? help : "");
	stat->is_counter = is_counter;
	if (stat->name == NULL || stat->help == NULL) {
		stat_free(stat);
		return NULL;
	}
	return stat;
}

/* The value of that name or NULL; *place (if wanted) is the link where it belongs. */
static struct imgo_stat *find(struct imgo_stats *stats, const char *name, struct imgo_stat *_Atomic **place)
{
	struct imgo_stat *_Atomic *at = &stats->first;
	struct imgo_stat *stat;
	int order = 1;

	while ((stat = atomic_load_explicit(at, memory_order_acquire)) != NULL) {
		order = strcmp(stat->name, name);
		if (order >= 0)
			break;
		at = &stat->next;
	}
	if (place)
		*place = at;
	return order == 0 ? stat : NULL;
}

static struct imgo_stat *enter(struct imgo_stats *stats, const char *name, const char *help, bool is_counter)
{
	struct imgo_stat *_Atomic *at;
	struct imgo_stat *stat;

	if (stats == NULL)
		return &dummy;
	pthread_mutex_lock(&stats->lock);
	stat = find(stats, name, &at);
	if (stat == NULL) {
		stat = stat_new(name, help, is_counter);
		if (stat) {
			atomic_store(&stat->next, atomic_load(at));
			atomic_store_explicit(at, stat, memory_order_release);
		}
	}
	pthread_mutex_unlock(&stats->lock);
	return stat ? stat : &dummy;
}

struct imgo_stat *imgo_stats_counter(struct imgo_stats *stats, const char *name, const char *help)
{
	return enter(stats, name, help, true);
}

struct imgo_stat *imgo_stats_gauge(struct imgo_stats *stats, const char *name, const char *help)
{
	return enter(stats, name, help, false);
}

void imgo_stat_add(struct imgo_stat *stat, int64_t n)
{
	if (stat != &dummy)
		atomic_fetch_add_explicit(&stat->value, n, memory_order_relaxed);
}

void imgo_stat_set(struct imgo_stat *stat, int64_t value)
{
	if (stat != &dummy)
		atomic_store_explicit(&stat->value, value, memory_order_relaxed);
}

int64_t imgo_stat_get(const struct imgo_stat *stat)
{
	return atomic_load_explicit(&stat->value, memory_order_relaxed);
}

int64_t imgo_stats_get(struct imgo_stats *stats, const char *name)
{
	struct imgo_stat *stat = stats ? find(stats, name, NULL) : NULL;

	return stat ? imgo_stat_get(stat) : 0;
}

void imgo_stats_each(struct imgo_stats *stats, imgo_stats_cb *cb, void *user)
{
	struct imgo_stat *stat = stats ? atomic_load_explicit(&stats->first, memory_order_acquire) : NULL;

	for (; stat; stat = atomic_load_explicit(&stat->next, memory_order_acquire))
		cb(stat->name, stat->help, stat->is_counter, imgo_stat_get(stat), user);
}
