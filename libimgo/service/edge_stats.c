/* SPDX-License-Identifier: MIT */
/* What the comet's role counts, and how long it takes. */
#include "service/edge_impl.h"

static int64_t length(const struct imgo__list *list)
{
	int64_t n = 0;

	for (const struct imgo__list *at = list->next; at != list; at = at->next)
		n++;
	return n;
}

static void collect(struct imgo__collector *collector)
{
	struct imgo_edge *edge = imgo__container_of(collector, struct imgo_edge, collector);
	struct imgo__edge_stats *s = &edge->stats;

	imgo__gauge_set(&s->calls, length(&edge->calls));
	imgo__gauge_set(&s->acks_waiting, (int64_t)(edge->ackq.len / sizeof(uint64_t)));
	imgo__gauge_set(&s->retries, (int64_t)(edge->retry.len / sizeof(uint64_t)));
	imgo__gauge_set(&s->closings_waiting, length(&edge->closings));
	if (edge->renewed_ms)
		imgo__gauge_set(&s->lease_age, (int64_t)(imgo__loop_now_ms(edge->loop) - edge->renewed_ms) / 1000);
}

/* Deferred after the hub's own end of the turn, which writes: what was handed over is on the sockets now. */
static void on_told(struct imgo_loop *loop, struct imgo__task *task)
{
	struct imgo_edge *edge = imgo__container_of(task, struct imgo_edge, told);
	uint64_t now_us = imgo__loop_clock_us(loop);

	imgo_histogram_add(edge->stats.message, now_us - edge->told_us, edge->ntold);
	imgo_histogram_add(edge->stats.cast, now_us - edge->cast_us, edge->ncast);
	edge->ntold = edge->ncast = 0;
}

void imgo__edge_told(struct imgo_edge *edge, uint32_t *count, uint64_t *since_us, uint64_t now_us, size_t n)
{
	if (*count == 0)
		*since_us = now_us;
	*count += (uint32_t)n;
	imgo__defer(edge->loop, &edge->told);
}

static void init_gauges(struct imgo_edge *edge, struct imgo_stats *set)
{
	struct imgo__edge_stats *s = &edge->stats;

	s->calls.stat = imgo_stats_gauge(set, "imgo_edge_calls", "calls to a logic under way");
	s->acks_waiting.stat =
		imgo_stats_gauge(set, "imgo_edge_acks_waiting", "acknowledgements that are to be written to the store");
	s->retries.stat = imgo_stats_gauge(set, "imgo_edge_reads_waiting", "reads of logs that are to be tried again");
	s->closings_waiting.stat =
		imgo_stats_gauge(set, "imgo_edge_closings_waiting", "closed sessions that are to be unregistered");
	s->lease_age.stat = imgo_stats_gauge(set, "imgo_edge_lease_age_seconds",
		"since the lease was renewed, and the process is known to the routers");
}

void imgo__edge_stats_init(struct imgo_edge *edge)
{
	static const char write_help[] = "from a job's word to the sockets (of a large room: to the first of them)";
	struct imgo_stats *set = imgo_loop_stats(edge->loop);
	struct imgo__edge_stats *s = &edge->stats;

	s->sessions = imgo_stats_gauge(set, "imgo_edge_sessions", "logged-in connections");
	s->refused = imgo_stats_counter(set, "imgo_edge_refused_total", "logins refused");
	s->delivered = imgo_stats_counter(set, "imgo_edge_delivered_total", "logged messages given to connections");
	s->duplicate = imgo_stats_counter(set, "imgo_edge_duplicate_total", "tells of what a session had already");
	s->behind = imgo_stats_counter(set, "imgo_edge_behind_total", "tells that showed something before them missing");
	s->early = imgo_stats_counter(set, "imgo_edge_early_total", "tells to a session that is just logging in");
	s->no_session = imgo_stats_counter(set, "imgo_edge_no_session_total", "tells to a session that is not here");
	s->foreign = imgo_stats_counter(set, "imgo_edge_foreign_total", "tells whose user is not the session's");
	s->gaps = imgo_stats_counter(set, "imgo_edge_gap_total", "sessions that missed messages dropped by limit or TTL");
	s->reads = imgo_stats_counter(set, "imgo_edge_read_total", "reads of logs");
	s->read_failed = imgo_stats_counter(set, "imgo_edge_read_failed_total", "reads of logs to be tried again");
	s->acks = imgo_stats_counter(set, "imgo_edge_ack_total", "acknowledgements written");
	s->ack_failed = imgo_stats_counter(set, "imgo_edge_ack_failed_total", "acknowledgements to be tried again");
	s->casts = imgo_stats_counter(set, "imgo_edge_cast_total", "room and broadcast messages fanned out");
	s->casts_seen =
		imgo_stats_counter(set, "imgo_edge_cast_duplicate_total", "room and broadcast messages seen before");
	s->kicked = imgo_stats_counter(set, "imgo_edge_kicked_total", "sessions closed by word of a logic");
	s->compared = imgo_stats_counter(set, "imgo_edge_compared_total", "comparisons of a session with its log");
	s->repaired = imgo_stats_counter(set, "imgo_edge_repaired_total", "comparisons that found something missing");
	s->lease_missed = imgo_stats_counter(set, "imgo_edge_lease_missed_total", "times that the lease ran out");
	s->announced = imgo_stats_counter(set, "imgo_edge_announced_total", "sessions announced again");
	s->key_taken = imgo_stats_counter(
		set, "imgo_edge_key_taken_total", "logins under a key that another user's session has; it keeps it");
	s->totals_failed = imgo_stats_counter(
		set, "imgo_edge_totals_failed_total", "rooms whose number could not be asked for, to be tried again");
	s->malformed = imgo_stats_counter(set, "imgo_edge_rpc_malformed_total", "RPC requests that could not be read");
	init_gauges(edge, set);
	s->drain = imgo_stats_histogram(
		set, edge->loop, "imgo_connect_seconds{stage=\"drain\"}", "how long a login takes, by stage");
	s->read = imgo_stats_histogram(set, edge->loop, "imgo_edge_read_seconds", "a read of a user's log through a logic");
	s->message = imgo_stats_histogram(set, edge->loop, "imgo_edge_write_seconds{what=\"message\"}", write_help);
	s->cast = imgo_stats_histogram(set, edge->loop, "imgo_edge_write_seconds{what=\"cast\"}", write_help);
	imgo__task_init(&edge->told, on_told);
	imgo__collector_add(edge->loop, &edge->collector, collect);
}

void imgo__edge_stats_fini(struct imgo_edge *edge)
{
	struct imgo__edge_stats *s = &edge->stats;

	imgo__task_cancel(&edge->told);
	imgo__collector_remove(&edge->collector);
	imgo__gauge_set(&s->calls, 0);
	imgo__gauge_set(&s->acks_waiting, 0);
	imgo__gauge_set(&s->retries, 0);
	imgo__gauge_set(&s->closings_waiting, 0);
	imgo__gauge_set(&s->lease_age, 0);
}
