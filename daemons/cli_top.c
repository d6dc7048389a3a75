/* SPDX-License-Identifier: MIT */
/*
 * imgo-cli top: the same figures as a screen that is drawn anew each second, of what happened since the last one. With
 * -n, and when standard output is no terminal, plain text.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "cli.h"
#include "cli_metrics.h"

struct watched {
	const char *address;
	struct cli_metrics now, before;
	double at, before_at; /* when they were read, in seconds */
};

/* The stages of a message and of a login, in their order. */
static const struct stage {
	const char *title, *name, *labels;
} stages[] = {
	{"login: greeting", "imgo_connect_seconds", "stage=\"greeting\""},
	{"login: granted", "imgo_connect_seconds", "stage=\"login\""},
	{"login: token", "imgo_logic_connect_seconds", "stage=\"token\""},
	{"login: registered", "imgo_logic_connect_seconds", "stage=\"register\""},
	{"login: drained", "imgo_connect_seconds", "stage=\"drain\""},
	{"push: HTTP", "imgo_http_request_seconds", ""},
	{"push: look-up", "imgo_push_seconds", "stage=\"lookup\""},
	{"push: on the bus", "imgo_push_seconds", "stage=\"produce\""},
	{"job: from the bus", "imgo_job_seconds", "stage=\"bus\""},
	{"job: appended", "imgo_job_seconds", "stage=\"append\""},
	{"job: comet told", "imgo_carrier_call_seconds", "what=\"tell\""},
	{"comet: written", "imgo_edge_write_seconds", "what=\"message\""},
	{"comet: cast written", "imgo_edge_write_seconds", "what=\"cast\""},
	{"a turn of the loop", "imgo_loop_turn_seconds", ""},
};

static const char *const queues[] = {"imgo_http_in_flight", "imgo_push_in_flight", "imgo_bus_queue",
	"imgo_pool_waiting", "imgo_carrier_calls", "imgo_edge_calls", "imgo_edge_acks_waiting",
	"imgo_edge_reads_waiting", "imgo_edge_closings_waiting", "imgo_job_asks"};

static double seconds_now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static double rate(const struct watched *w, const char *name)
{
	double rose = cli_metrics_sum(&w->now, name, NULL) - cli_metrics_sum(&w->before, name, NULL);

	return w->before.n && w->at > w->before_at && rose > 0 ? rose / (w->at - w->before_at) : 0;
}

static double queued(const struct watched *w)
{
	double sum = 0;

	for (size_t i = 0; i < sizeof queues / sizeof *queues; i++)
		sum += cli_metrics_sum(&w->now, queues[i], NULL);
	return sum;
}

static double sessions(const struct watched *w)
{
	return cli_metrics_sum(&w->now,
		cli_metrics_has(&w->now, "imgo_edge_sessions") ? "imgo_edge_sessions" : "imgo_registry_sessions", NULL);
}

static void draw_daemon(const struct watched *w, const char *eol)
{
	char program[24], text[7][16];

	if (!w->now.n) {
		printf("%-22s does not answer%s\n", w->address, eol);
		return;
	}
	cli_metrics_label(&w->now, "imgo_build_info", "program", program, sizeof program);
	cli_format_count(text[0], sessions(w));
	cli_format_count(text[1], rate(w, "imgo_push_accepted_total"));
	cli_format_count(text[2], rate(w, "imgo_job_records_total") + rate(w, "imgo_job_cast_total"));
	cli_format_count(text[3], rate(w, "imgo_hub_packets_out_total"));
	cli_format_count(text[4], queued(w));
	cli_format_count(text[5], cli_metrics_sum(&w->now, "imgo_job_lag", NULL));
	cli_format_count(text[6], cli_metrics_sum(&w->now, "process_resident_memory_bytes", NULL));
	printf("%-22s %-12s %-9s %9s %9s %9s %9s %8s %8s %6.1f %9s%s\n", w->address, program,
		cli_metrics_sum(&w->now, "imgo_ready", NULL) > 0 ? "ready" : "NOT READY", text[0], text[1], text[2],
		text[3], text[4], text[5], 100 * rate(w, "process_cpu_seconds_total"), text[6], eol);
}

static void draw_stage(const struct watched *w, const struct stage *stage, const char *eol)
{
	const struct cli_metrics *before = w->before.n ? &w->before : NULL;
	double n, p50 = cli_metrics_quantile(&w->now, before, stage->name, stage->labels, 0.5, &n);
	double p99 = cli_metrics_quantile(&w->now, before, stage->name, stage->labels, 0.99, &n);
	char text[3][16];

	if (n <= 0)
		return;
	cli_format_count(text[0], n);
	cli_format_seconds(text[1], p50);
	cli_format_seconds(text[2], p99);
	printf("  %-22s %-22s %9s %10s %10s%s\n", stage->title, w->address, text[0], text[1], text[2], eol);
}

static void draw(const struct watched *all, size_t n, bool screen)
{
	const char *eol = screen ? "\033[K" : "";

	if (screen)
		fputs("\033[H", stdout);
	printf("%-22s %-12s %-9s %9s %9s %9s %9s %8s %8s %6s %9s%s\n", "daemon", "", "", "sessions", "pushes/s",
		"jobs/s", "packets/s", "queued", "lag", "cpu %", "memory", eol);
	for (size_t i = 0; i < n; i++)
		draw_daemon(&all[i], eol);
	printf("%s\n  %-22s %-22s %9s %10s %10s%s\n", eol, "stage", "in", "count", "p50", "p99", eol);
	for (size_t s = 0; s < sizeof stages / sizeof *stages; s++) {
		for (size_t i = 0; i < n; i++)
			draw_stage(&all[i], &stages[s], eol);
	}
	fputs(screen ? "\033[J" : "\n", stdout);
}

static void look(struct watched *w)
{
	cli_metrics_free(&w->before);
	w->before = w->now;
	w->before_at = w->at;
	(void)cli_metrics_fetch(&w->now, w->address);
	w->at = seconds_now();
}

/* Those of the default addresses that answer; all that were named. */
static size_t choose(const struct cli_args *args, struct watched all[CLI_WORDS_MAX])
{
	size_t n = 0;

	for (size_t i = 0; i < args->nwords; i++)
		all[n++].address = args->words[i];
	for (size_t i = 0; args->nwords == 0 && i < cli_metrics_naddresses; i++) {
		struct cli_metrics found;
		if (!cli_metrics_fetch(&found, cli_metrics_addresses[i]))
			continue;
		cli_metrics_free(&found);
		all[n++].address = cli_metrics_addresses[i];
	}
	return n;
}

static bool number(const char *text, long low, long high, long *out)
{
	char *end;

	if (!text)
		return true;
	errno = 0;
	*out = strtol(text, &end, 10);
	return errno == 0 && end != text && *end == '\0' && *out >= low && *out <= high;
}

int cli_top(const struct cli_args *args)
{
	struct watched all[CLI_WORDS_MAX] = {0};
	bool screen = isatty(STDOUT_FILENO) && !args->count;
	long rounds = screen ? 0 : 1, seconds = 1;
	size_t n;

	if (!number(args->count, 1, 1000000000, &rounds) || !number(args->interval, 1, 3600, &seconds))
		return cli_fail(CLI_USAGE, "-n and --interval are whole numbers from 1 on");
	n = choose(args, all);
	if (n == 0)
		return cli_fail(CLI_BROKEN, "no daemon answers at a default address; name theirs (admin.listen)");
	if (screen)
		fputs("\033[2J", stdout);
	for (size_t i = 0; i < n; i++)
		look(&all[i]);
	for (long round = 0; rounds == 0 || round < rounds; round++) {
		sleep((unsigned)seconds);
		for (size_t i = 0; i < n; i++)
			look(&all[i]);
		draw(all, n, screen);
		if (fflush(stdout))
			return cli_fail(CLI_BROKEN, "standard output cannot be written");
	}
	for (size_t i = 0; i < n; i++) {
		cli_metrics_free(&all[i].now);
		cli_metrics_free(&all[i].before);
	}
	return CLI_OK;
}
