/* SPDX-License-Identifier: MIT */
/*
 * A set as Prometheus's text format, version 0.0.4. The list is in the order of families, so HELP and TYPE come once,
 * before the first value of each.
 *
 * Of a histogram's buckets every fourth is shown: a power of two, and one and a half of it, from 8 us to 67 s. The
 * bounds are fixed, so that rates of them can be taken, and each is exactly the end of a bucket.
 */
#include "base/stats.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include <imgo/error.h>

#include "base/buf.h"

enum { BOUND_FIRST = 7, BOUND_LAST = 195, BOUND_STEP = 4 };

static int put_help(struct imgo__buf *out, const char *help)
{
	int err = 0;

	for (; *help && err == 0; help++) {
		if (*help == '\\' || *help == '\n')
			err = imgo__buf_printf(out, "\\%c", *help == '\n' ? 'n' : '\\');
		else
			err = imgo__buf_append(out, help, 1);
	}
	return err;
}

static int put_head(struct imgo__buf *out, const struct imgo_stat *stat, int family)
{
	static const char *const types[] = {"counter", "gauge", "histogram"};
	int err = imgo__buf_printf(out, "# HELP %.*s ", family, stat->name);

	if (err == 0)
		err = put_help(out, stat->help);
	return err ? err : imgo__buf_printf(out, "\n# TYPE %.*s %s\n", family, stat->name, types[stat->kind]);
}

static int put_bucket(struct imgo__buf *out, const struct imgo_stat *stat, int family, const char *le, uint64_t n)
{
	const char *labels = stat->name + family;
	int len = *labels ? (int)strlen(labels) - 2 : 0; /* without the braces */

	return imgo__buf_printf(out, "%.*s_bucket{%.*s%sle=\"%s\"} %" PRIu64 "\n", family, stat->name, len,
		len ? labels + 1 : "", len ? "," : "", le, n);
}

static int put_histogram(struct imgo__buf *out, const struct imgo_stat *stat, int family)
{
	const char *labels = stat->name + family;
	struct imgo_histogram_sum sum;
	uint64_t below = 0;
	char le[32];
	int err = 0;

	imgo__histogram_sum(stat, &sum);
	for (unsigned i = 0; err == 0 && i <= BOUND_LAST; i++) {
		uint64_t upper = imgo__histogram_upper_us(i);
		below += sum.buckets[i];
		if (i < BOUND_FIRST || (i - BOUND_FIRST) % BOUND_STEP)
			continue;
		snprintf(le, sizeof le, "%" PRIu64 ".%06" PRIu64, upper / 1000000, upper % 1000000);
		err = put_bucket(out, stat, family, le, below);
	}
	if (err == 0)
		err = put_bucket(out, stat, family, "+Inf", sum.count);
	if (err == 0)
		err = imgo__buf_printf(out, "%.*s_sum%s %" PRIu64 ".%06" PRIu64 "\n", family, stat->name, labels,
			sum.sum_us / 1000000, sum.sum_us % 1000000);
	return err ? err : imgo__buf_printf(out, "%.*s_count%s %" PRIu64 "\n", family, stat->name, labels, sum.count);
}

static int put_stat(struct imgo__buf *out, const struct imgo_stat *stat, const struct imgo_stat *before)
{
	int family = (int)strcspn(stat->name, "{");
	bool first = !before || strcspn(before->name, "{") != (size_t)family ||
		     memcmp(before->name, stat->name, (size_t)family) != 0;
	int64_t value = imgo_stat_get(stat);
	int err = first ? put_head(out, stat, family) : 0;

	if (err || (stat->kind == IMGO__STAT_GAUGE && value == IMGO_STAT_ABSENT))
		return err;
	if (stat->kind == IMGO__STAT_HISTOGRAM)
		return put_histogram(out, stat, family);
	return imgo__buf_printf(out, "%s %" PRId64 "\n", stat->name, value);
}

int imgo_stats_text(struct imgo_stats *stats, char **out, size_t *len)
{
	const struct imgo_stat *stat, *before = NULL;
	struct imgo__buf text = {0};
	int err = imgo__buf_reserve(&text, 16384);

	stat = stats ? atomic_load_explicit(&stats->first, memory_order_acquire) : NULL;
	for (; stat && err == 0; stat = atomic_load_explicit(&stat->next, memory_order_acquire)) {
		err = put_stat(&text, stat, before);
		before = stat;
	}
	if (err == 0)
		err = imgo__buf_reserve(&text, 1);
	if (err) {
		imgo__buf_free(&text);
		return err;
	}
	text.data[text.len] = '\0';
	*out = (char *)text.data;
	*len = text.len;
	return 0;
}
