/* SPDX-License-Identifier: MIT */
/* What a daemon answers to /metrics, read for people: samples, sums, percentiles. */
#ifndef IMGO_DAEMONS_CLI_METRICS_H
#define IMGO_DAEMONS_CLI_METRICS_H

#include <stdbool.h>
#include <stddef.h>

struct cli_sample {
	const char *name, *labels; /* labels: without the braces, "" for none */
	double value;
};

/* All zero: nothing was read. */
struct cli_metrics {
	char *text; /* the samples point into it */
	struct cli_sample *samples;
	size_t n;
};

/* Reads what `address` answers. False: it does not; nothing is printed. */
bool cli_metrics_fetch(struct cli_metrics *out, const char *address);
/* Takes text (which free() frees) that ends in a NUL. False: out of memory. What is no sample is passed over. */
bool cli_metrics_read(struct cli_metrics *out, char *text);
void cli_metrics_free(struct cli_metrics *metrics);

/* The sum of all samples of that name whose labels have `label` ("why=\"slow\"") in them; NULL: of all. */
double cli_metrics_sum(const struct cli_metrics *metrics, const char *name, const char *label);
/* Writes the value of a label of the first sample of that name, "" when there is none. */
void cli_metrics_label(const struct cli_metrics *metrics, const char *name, const char *label, char *out, size_t size);
bool cli_metrics_has(const struct cli_metrics *metrics, const char *name);

/*
 * The seconds that `quantile` of a histogram's durations do not exceed: of those counted since `before` (NULL or empty: of
 * all). labels: exactly these, beside "le". *n: how many they are. 0 when there are none.
 */
double cli_metrics_quantile(const struct cli_metrics *metrics, const struct cli_metrics *before, const char *name,
	const char *labels, double quantile, double *n);

/* "850 us", "1.2 ms", "3.4 s"; and "640", "12.3 k", "4.5 M". At most 15 characters. */
void cli_format_seconds(char out[16], double seconds);
void cli_format_count(char out[16], double value);

/* The addresses at which daemons listen by default. */
extern const char *const cli_metrics_addresses[];
extern const size_t cli_metrics_naddresses;

#endif
