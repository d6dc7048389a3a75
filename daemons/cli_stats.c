/* SPDX-License-Identifier: MIT */
/* imgo-cli stats: all the figures of some daemons, once, for people. What is 0 is left out unless it is asked for. */
#include <stdio.h>
#include <string.h>

#include "cli.h"
#include "cli_metrics.h"

static void print_head(const struct cli_metrics *metrics, const char *address)
{
	char program[64], version[32], memory[16];

	cli_metrics_label(metrics, "imgo_build_info", "program", program, sizeof program);
	cli_metrics_label(metrics, "imgo_build_info", "version", version, sizeof version);
	cli_format_count(memory, cli_metrics_sum(metrics, "process_resident_memory_bytes", NULL));
	printf("%s %s at %s: %s, %sB resident, %.0f descriptors, %.2f s of processor\n", *program ? program : "?",
		version, address, cli_metrics_sum(metrics, "imgo_ready", NULL) > 0 ? "ready" : "NOT READY", memory,
		cli_metrics_sum(metrics, "process_open_fds", NULL),
		cli_metrics_sum(metrics, "process_cpu_seconds_total", NULL));
}

static bool ends(const char *name, const char *end)
{
	size_t a = strlen(name), b = strlen(end);

	return a > b && strcmp(name + a - b, end) == 0;
}

/* One line for a histogram's series, at its _count. */
static void print_histogram(const struct cli_metrics *metrics, const struct cli_sample *sample)
{
	static const double quantiles[] = {0.5, 0.9, 0.99, 0.999};
	char name[160], full[256], text[4][16];
	double n;

	snprintf(name, sizeof name, "%.*s", (int)(strlen(sample->name) - strlen("_count")), sample->name);
	for (int i = 0; i < 4; i++)
		cli_format_seconds(text[i], cli_metrics_quantile(metrics, NULL, name, sample->labels, quantiles[i], &n));
	snprintf(full, sizeof full, "%s%s%s%s", name, *sample->labels ? "{" : "", sample->labels,
		*sample->labels ? "}" : "");
	printf("  %-58s %.0f: p50 %s, p90 %s, p99 %s, p99.9 %s\n", full, sample->value, text[0], text[1], text[2], text[3]);
}

static void print_sample(const struct cli_metrics *metrics, const struct cli_sample *sample, bool all)
{
	char full[256];

	if (ends(sample->name, "_bucket") || ends(sample->name, "_seconds_sum") ||
		strncmp(sample->name, "process_", 8) == 0 || strcmp(sample->name, "imgo_build_info") == 0 ||
		(sample->value == 0 && !all))
		return;
	if (ends(sample->name, "_seconds_count")) {
		print_histogram(metrics, sample);
		return;
	}
	snprintf(full, sizeof full, "%s%s%s%s", sample->name, *sample->labels ? "{" : "", sample->labels,
		*sample->labels ? "}" : "");
	printf("  %-58s %.15g\n", full, sample->value);
}

static bool print_daemon(const char *address, bool all)
{
	struct cli_metrics metrics;

	if (!cli_metrics_fetch(&metrics, address))
		return false;
	print_head(&metrics, address);
	for (size_t i = 0; i < metrics.n; i++)
		print_sample(&metrics, &metrics.samples[i], all);
	cli_metrics_free(&metrics);
	return true;
}

int cli_stats(const struct cli_args *args)
{
	const char *const *addresses = args->nwords ? args->words : cli_metrics_addresses;
	size_t n = args->nwords ? args->nwords : cli_metrics_naddresses, answered = 0;

	for (size_t i = 0; i < n; i++) {
		bool ok = print_daemon(addresses[i], args->all);
		answered += ok;
		if (!ok && args->nwords)
			cli_fail(0, "%s does not answer", addresses[i]);
	}
	if (fflush(stdout))
		return cli_fail(CLI_BROKEN, "standard output cannot be written");
	if (answered == 0 && !args->nwords)
		return cli_fail(CLI_BROKEN, "no daemon answers at a default address; name theirs (admin.listen)");
	return answered == n || !args->nwords ? CLI_OK : CLI_BROKEN;
}
