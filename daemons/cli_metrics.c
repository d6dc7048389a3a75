/* SPDX-License-Identifier: MIT */
#include "cli_metrics.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"

enum { SAMPLES_MAX = 100000 };

const char *const cli_metrics_addresses[] = {
	"127.0.0.1:7073", "127.0.0.1:7173", "127.0.0.1:7273", "127.0.0.1:7373", "127.0.0.1:8093"};
const size_t cli_metrics_naddresses = sizeof cli_metrics_addresses / sizeof *cli_metrics_addresses;

/* ---- reading ---- */

/* One line, cut up in place. False: it is no sample. */
static bool read_line(struct cli_sample *out, char *line)
{
	char *name_end = line + strcspn(line, "{ "), *value = name_end, *end;

	if (*line == '#' || *name_end == '\0' || name_end == line)
		return false;
	out->name = line;
	out->labels = "";
	if (*name_end == '{') {
		char *close = strrchr(name_end, '}');
		if (!close)
			return false;
		*close = '\0';
		out->labels = name_end + 1;
		value = close + 1;
	} else {
		value++;
	}
	*name_end = '\0';
	out->value = strtod(value, &end);
	return end != value;
}

/* It goes to a terminal: nothing in it may command one. */
static void make_harmless(char *text)
{
	for (; *text; text++) {
		if ((unsigned char)*text < 0x20 && *text != '\n')
			*text = '?';
		if ((unsigned char)*text == 0x7F || (unsigned char)*text >= 0x80)
			*text = '?';
	}
}

bool cli_metrics_read(struct cli_metrics *out, char *text)
{
	size_t lines = 1;
	char *save = NULL;

	*out = (struct cli_metrics){.text = text};
	make_harmless(text);
	for (const char *at = text; (at = strchr(at, '\n')) != NULL && lines < SAMPLES_MAX; at++)
		lines++;
	out->samples = calloc(lines, sizeof *out->samples);
	if (!out->samples) {
		cli_metrics_free(out);
		return false;
	}
	for (char *line = strtok_r(text, "\n", &save); line && out->n < lines; line = strtok_r(NULL, "\n", &save))
		out->n += read_line(&out->samples[out->n], line);
	return true;
}

bool cli_metrics_fetch(struct cli_metrics *out, const char *address)
{
	struct cli_http http = {.address = address, .seconds = 3, .quiet = true};
	char *text;

	*out = (struct cli_metrics){0};
	text = cli_http_get(&http, "/metrics");
	return text && cli_metrics_read(out, text);
}

void cli_metrics_free(struct cli_metrics *metrics)
{
	free(metrics->text);
	free(metrics->samples);
	*metrics = (struct cli_metrics){0};
}

/* ---- asking ---- */

double cli_metrics_sum(const struct cli_metrics *metrics, const char *name, const char *label)
{
	double sum = 0;

	for (size_t i = 0; i < metrics->n; i++) {
		const struct cli_sample *sample = &metrics->samples[i];
		if (strcmp(sample->name, name) == 0 && (!label || strstr(sample->labels, label)))
			sum += sample->value;
	}
	return sum;
}

bool cli_metrics_has(const struct cli_metrics *metrics, const char *name)
{
	for (size_t i = 0; i < metrics->n; i++) {
		if (strcmp(metrics->samples[i].name, name) == 0)
			return true;
	}
	return false;
}

void cli_metrics_label(const struct cli_metrics *metrics, const char *name, const char *label, char *out, size_t size)
{
	char key[64];

	snprintf(key, sizeof key, "%s=\"", label);
	*out = '\0';
	for (size_t i = 0; i < metrics->n; i++) {
		const char *at =
			strcmp(metrics->samples[i].name, name) == 0 ? strstr(metrics->samples[i].labels, key) : NULL;
		if (!at)
			continue;
		at += strlen(key);
		snprintf(out, size, "%.*s", (int)strcspn(at, "\""), at);
		return;
	}
}

/* ---- percentiles ---- */

struct bucket {
	double bound, count;
};

static bool same_series(const struct cli_sample *sample, const char *bucket_name, const char *labels)
{
	size_t len = strlen(labels);

	if (strcmp(sample->name, bucket_name) != 0 || strncmp(sample->labels, labels, len) != 0)
		return false;
	return strncmp(sample->labels + len + (len ? 1 : 0), "le=\"", 4) == 0 && (!len || sample->labels[len] == ',');
}

static double count_at(const struct cli_metrics *metrics, const char *bucket_name, const char *full_labels)
{
	for (size_t i = 0; metrics && i < metrics->n; i++) {
		if (strcmp(metrics->samples[i].name, bucket_name) == 0 &&
			strcmp(metrics->samples[i].labels, full_labels) == 0)
			return metrics->samples[i].value;
	}
	return 0;
}

/* In the bucket that holds the rank, evenly spread. */
static double place(const struct bucket *buckets, size_t n, double rank)
{
	for (size_t i = 0; i < n; i++) {
		double low = i ? buckets[i - 1].bound : 0, below = i ? buckets[i - 1].count : 0;
		if (buckets[i].count < rank)
			continue;
		if (isinf(buckets[i].bound))
			return low;
		return low + (buckets[i].bound - low) * (rank - below) / (buckets[i].count - below);
	}
	return 0;
}

double cli_metrics_quantile(const struct cli_metrics *metrics, const struct cli_metrics *before, const char *name,
	const char *labels, double quantile, double *n)
{
	struct bucket buckets[128];
	char bucket_name[128];
	size_t nbuckets = 0;

	snprintf(bucket_name, sizeof bucket_name, "%s_bucket", name);
	for (size_t i = 0; i < metrics->n && nbuckets < sizeof buckets / sizeof *buckets; i++) {
		const struct cli_sample *sample = &metrics->samples[i];
		const char *le;
		if (!same_series(sample, bucket_name, labels))
			continue;
		le = strstr(sample->labels, "le=\"") + 4;
		buckets[nbuckets].bound = *le == '+' ? INFINITY : strtod(le, NULL);
		buckets[nbuckets].count = sample->value - count_at(before, bucket_name, sample->labels);
		nbuckets++;
	}
	*n = nbuckets ? buckets[nbuckets - 1].count : 0;
	return *n > 0 ? place(buckets, nbuckets, quantile * *n) : 0;
}

/* ---- formats ---- */

void cli_format_seconds(char out[16], double seconds)
{
	if (seconds < 0.001)
		snprintf(out, 16, "%.0f us", seconds * 1e6);
	else if (seconds < 1)
		snprintf(out, 16, "%.*f ms", seconds < 0.1 ? 1 : 0, seconds * 1e3);
	else
		snprintf(out, 16, "%.1f s", seconds < 1e9 ? seconds : 1e9);
}

void cli_format_count(char out[16], double value)
{
	static const char *const units[] = {"", " k", " M", " G", " T"};
	size_t unit = 0;

	for (; fabs(value) >= 10000 && unit < 4; unit++)
		value /= 1000;
	snprintf(out, 16, "%.*f%s", unit || value != floor(value) ? 1 : 0, value < 1e6 ? value : 1e6, units[unit]);
}
