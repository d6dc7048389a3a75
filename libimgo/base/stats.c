/* SPDX-License-Identifier: MIT */
/*
 * A set is a list sorted by name that only grows until the set is freed. New values are linked in under a
 * mutex; readers walk the list without one, because a node is complete before the release-store that links
 * it. Making a value costs a walk, and happens when objects are made; adding to it is one atomic instruction, and
 * adding to a histogram is two loads and two stores in the part that belongs to the caller's loop alone.
 *
 * The order is that of the family first (the name without its labels), so that a family stands together.
 */
#include "base/stats.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <imgo/error.h>

#include "base/mem.h"

/* Handed out when there is no set or no memory. It is never written: threads would fight for its cache line.
 */
static struct imgo_stat dummy;
static struct imgo_histogram dummy_part;

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
	struct imgo_histogram *part, *next;

	if (stat == NULL)
		return;
	for (part = atomic_load(&stat->parts); part; part = next) {
		next = atomic_load(&part->next);
		free(part);
	}
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

/* ---- names ---- */

static bool is_word(char c, bool first)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || (!first && c >= '0' && c <= '9');
}

static const char *skip_word(const char *at)
{
	if (!is_word(*at, true))
		return NULL;
	while (is_word(*at, false))
		at++;
	return at;
}

/* label="value", where the value has no bare quote, backslash or line break. */
static const char *skip_label(const char *at)
{
	at = skip_word(at);
	if (!at || at[0] != '=' || at[1] != '"')
		return NULL;
	for (at += 2; *at != '"'; at++) {
		if (*at == '\\' && at[1] != '\\' && at[1] != '"' && at[1] != 'n')
			return NULL;
		at += *at == '\\';
		if (*at == '\0' || *at == '\n')
			return NULL;
	}
	return at + 1;
}

static bool is_name(const char *name)
{
	const char *at = skip_word(name);

	if (!at || *at == '\0')
		return at != NULL;
	if (*at != '{')
		return false;
	do
		at = skip_label(at + 1);
	while (at && *at == ',');
	return at && at[0] == '}' && at[1] == '\0';
}

int imgo_stat_name(char *out, size_t size, const char *name, const char *label, const char *value)
{
	size_t len = strlen(name) + strlen(label) + 5; /* {=""} */

	for (const char *at = value; *at; at++)
		len += *at == '"' || *at == '\\' || *at == '\n' ? 2 : 1;
	if (size)
		*out = '\0';
	if (len + 1 > size)
		return IMGO_ELIMIT;
	out = stpcpy(stpcpy(stpcpy(stpcpy(out, name), "{"), label), "=\"");
	for (const char *at = value; *at; at++) {
		if (*at == '"' || *at == '\\' || *at == '\n')
			*out++ = '\\';
		*out++ = *at == '\n' ? 'n' : *at;
	}
	strcpy(out, "\"}");
	return 0;
}

/* As strcmp, but a brace comes before every other character: the family stands together. */
static int name_cmp(const char *a, const char *b)
{
	while (*a && *a == *b)
		a++, b++;
	return (*a == '{' ? 1 : (unsigned char)*a) - (*b == '{' ? 1 : (unsigned char)*b);
}

/* ---- entering ---- */

static struct imgo_stat *stat_new(const char *name, const char *help, enum imgo__stat_kind kind)
{
	struct imgo_stat *stat = imgo__zalloc(sizeof(*stat));

	if (stat == NULL)
		return NULL;
	stat->name = imgo__strdup(name);
	stat->help = imgo__strdup(help ? help : "");
	stat->kind = kind;
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
		order = name_cmp(stat->name, name);
		if (order >= 0)
			break;
		at = &stat->next;
	}
	if (place)
		*place = at;
	return order == 0 ? stat : NULL;
}

/* Under the lock. &dummy: there is no memory, or it exists and is of another kind. */
static struct imgo_stat *find_or_make(struct imgo_stats *stats, const char *name, const char *help, enum imgo__stat_kind kind)
{
	struct imgo_stat *_Atomic *at;
	struct imgo_stat *stat = find(stats, name, &at);

	if (stat)
		return (stat->kind == IMGO__STAT_HISTOGRAM) == (kind == IMGO__STAT_HISTOGRAM) ? stat : &dummy;
	stat = stat_new(name, help, kind);
	if (stat == NULL)
		return &dummy;
	atomic_store(&stat->next, atomic_load(at));
	atomic_store_explicit(at, stat, memory_order_release);
	return stat;
}

static struct imgo_stat *enter(struct imgo_stats *stats, const char *name, const char *help, enum imgo__stat_kind kind)
{
	struct imgo_stat *stat;

	if (stats == NULL || !is_name(name))
		return &dummy;
	pthread_mutex_lock(&stats->lock);
	stat = find_or_make(stats, name, help, kind);
	pthread_mutex_unlock(&stats->lock);
	return stat;
}

struct imgo_stat *imgo_stats_counter(struct imgo_stats *stats, const char *name, const char *help)
{
	return enter(stats, name, help, IMGO__STAT_COUNTER);
}

struct imgo_stat *imgo_stats_gauge(struct imgo_stats *stats, const char *name, const char *help)
{
	return enter(stats, name, help, IMGO__STAT_GAUGE);
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

	return stat && stat->kind != IMGO__STAT_HISTOGRAM ? imgo_stat_get(stat) : 0;
}

void imgo_stats_each(struct imgo_stats *stats, imgo_stats_cb *cb, void *user)
{
	struct imgo_stat *stat = stats ? atomic_load_explicit(&stats->first, memory_order_acquire) : NULL;

	for (; stat; stat = atomic_load_explicit(&stat->next, memory_order_acquire)) {
		if (stat->kind != IMGO__STAT_HISTOGRAM)
			cb(stat->name, stat->help, stat->kind == IMGO__STAT_COUNTER, imgo_stat_get(stat), user);
	}
}

/* ---- histograms ---- */

/* Under the lock: the owner's part, one that nobody owns, or a new one. NULL: out of memory. */
static struct imgo_histogram *part_of(struct imgo_stat *stat, const void *owner)
{
	struct imgo_histogram *_Atomic *at = &stat->parts;
	struct imgo_histogram *part, *spare = NULL;

	for (; (part = atomic_load(at)) != NULL; at = &part->next) {
		if (part->owner == owner)
			return part;
		if (part->owner == NULL)
			spare = part;
	}
	if (spare == NULL) {
		spare = imgo__zalloc(sizeof(*spare));
		if (spare)
			atomic_store_explicit(at, spare, memory_order_release);
	}
	if (spare)
		spare->owner = owner;
	return spare;
}

struct imgo_histogram *imgo_stats_histogram(struct imgo_stats *stats, const void *owner, const char *name, const char *help)
{
	struct imgo_histogram *part = NULL;
	struct imgo_stat *stat;

	if (stats == NULL || owner == NULL || !is_name(name))
		return &dummy_part;
	pthread_mutex_lock(&stats->lock);
	stat = find_or_make(stats, name, help, IMGO__STAT_HISTOGRAM);
	if (stat != &dummy)
		part = part_of(stat, owner);
	pthread_mutex_unlock(&stats->lock);
	return part ? part : &dummy_part;
}

void imgo_stats_disown(struct imgo_stats *stats, const void *owner)
{
	struct imgo_histogram *part;
	struct imgo_stat *stat;

	if (stats == NULL)
		return;
	pthread_mutex_lock(&stats->lock);
	for (stat = atomic_load(&stats->first); stat; stat = atomic_load(&stat->next)) {
		for (part = atomic_load(&stat->parts); part; part = atomic_load(&part->next)) {
			if (part->owner == owner)
				part->owner = NULL;
		}
	}
	pthread_mutex_unlock(&stats->lock);
}

/* Eight buckets a power of two. Counting us - 1 makes the upper end part of the bucket, as Prometheus's "le" wants it. */
static unsigned bucket_of(uint64_t us)
{
	uint64_t v = us ? us - 1 : 0;
	unsigned exponent, bucket;

	if (v < 8)
		return (unsigned)v;
	exponent = 63 - (unsigned)__builtin_clzll(v);
	bucket = (exponent - 2) * 8 + (unsigned)(v >> (exponent - 3) & 7);
	return bucket < IMGO_HISTOGRAM_BUCKETS ? bucket : IMGO_HISTOGRAM_BUCKETS - 1;
}

uint64_t imgo__histogram_upper_us(unsigned bucket)
{
	if (bucket < 8)
		return bucket + 1;
	return (uint64_t)(9 + bucket % 8) << (bucket / 8 - 1);
}

static void plain_add(_Atomic uint64_t *value, uint64_t n)
{
	atomic_store_explicit(value, atomic_load_explicit(value, memory_order_relaxed) + n, memory_order_relaxed);
}

void imgo_histogram_add(struct imgo_histogram *part, uint64_t us, uint64_t times)
{
	if (part == &dummy_part || times == 0)
		return;
	plain_add(&part->buckets[bucket_of(us)], times);
	plain_add(&part->sum_us, us * times);
}

void imgo__histogram_sum(const struct imgo_stat *stat, struct imgo_histogram_sum *out)
{
	const struct imgo_histogram *part = atomic_load_explicit(&stat->parts, memory_order_acquire);

	memset(out, 0, sizeof(*out));
	for (; part; part = atomic_load_explicit(&part->next, memory_order_acquire)) {
		out->sum_us += atomic_load_explicit(&part->sum_us, memory_order_relaxed);
		for (unsigned i = 0; i < IMGO_HISTOGRAM_BUCKETS; i++) {
			uint64_t n = atomic_load_explicit(&part->buckets[i], memory_order_relaxed);
			out->buckets[i] += n;
			out->count += n;
		}
	}
}

bool imgo_stats_histogram_get(struct imgo_stats *stats, const char *name, struct imgo_histogram_sum *out)
{
	struct imgo_stat *stat = stats ? find(stats, name, NULL) : NULL;

	memset(out, 0, sizeof(*out));
	if (stat == NULL || stat->kind != IMGO__STAT_HISTOGRAM)
		return false;
	imgo__histogram_sum(stat, out);
	return true;
}

uint64_t imgo_histogram_quantile_us(const struct imgo_histogram_sum *sum, double quantile)
{
	uint64_t rank = (uint64_t)(quantile * (double)sum->count), seen = 0;

	if (sum->count == 0)
		return 0;
	if ((double)rank < quantile * (double)sum->count || rank == 0)
		rank++;
	for (unsigned i = 0; i < IMGO_HISTOGRAM_BUCKETS; i++) {
		seen += sum->buckets[i];
		if (seen >= rank)
			return imgo__histogram_upper_us(i);
	}
	return imgo__histogram_upper_us(IMGO_HISTOGRAM_BUCKETS - 1);
}
