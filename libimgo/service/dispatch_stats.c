/* SPDX-License-Identifier: MIT */
/*
 * What the job's role counts, and how far it is behind. The end of a partition is asked of the bus, one partition after
 * the other, each once in LAG_MS (or slower, when there are many): so the lag is right also while a partition waits for
 * the store and fetches nothing.
 */
#include <stdio.h>

#include "service/dispatch_impl.h"

enum { LAG_MS = 5000, LAG_STEP_MIN_MS = 10, SAY_MS = 200 };

static void enter_stats(struct imgo_dispatch *dispatch)
{
	static const char stages[] =
		"a message in the job: on the bus (by its time-stamp), append, the router's second answer";
	struct imgo_stats *set = imgo_loop_stats(dispatch->loop);
	struct imgo__dispatch_stats *s = &dispatch->stats;

	s->records = imgo_stats_counter(set, "imgo_job_records_total", "records taken from the users' topic");
	s->appends = imgo_stats_counter(set, "imgo_job_appended_total", "messages appended to users' logs");
	s->present = imgo_stats_counter(set, "imgo_job_present_total", "messages that were in the log already (a replay)");
	s->below = imgo_stats_counter(set, "imgo_job_below_total", "messages that were done with already (a replay)");
	s->duplicates = imgo_stats_counter(set, "imgo_job_duplicate_total", "second records of a push that was retried");
	s->expired = imgo_stats_counter(set, "imgo_job_expired_total", "messages whose time to live had passed");
	s->dropped = imgo_stats_counter(set, "imgo_job_dropped_total", "messages that a log's limit or the TTL dropped");
	s->poison = imgo_stats_counter(set, "imgo_job_poison_total", "records that could not be decoded, kept aside");
	s->misplaced =
		imgo_stats_counter(set, "imgo_job_misplaced_total", "users found in a partition that is not theirs");
	s->waits = imgo_stats_counter(set, "imgo_job_wait_total", "times that a partition waited for store or bus");
	s->rebuilds = imgo_stats_counter(set, "imgo_job_rebuild_begun_total", "rebuilds of a partition begun");
	s->rebuilt = imgo_stats_counter(set, "imgo_job_rebuild_total", "rebuilds of a partition finished");
	s->rebuilding = imgo_stats_gauge(set, "imgo_job_rebuilding", "partitions that are being rebuilt");
	s->waiting = imgo_stats_gauge(set, "imgo_job_waiting", "partitions that wait for store or bus");
	s->assigned = imgo_stats_gauge(set, "imgo_job_assigned", "partitions of the users' topic that this job has");
	s->cast = imgo_stats_counter(set, "imgo_job_cast_total", "room, broadcast, qos 0 and key messages cast");
	s->key_elsewhere = imgo_stats_counter(set, "imgo_job_key_elsewhere_total",
		"pushes to a key of which the router names no session: every comet was asked");
	s->cast_old = imgo_stats_counter(set, "imgo_job_cast_old_total", "casts that were too old");
	s->ask_skipped =
		imgo_stats_counter(set, "imgo_job_ask_skipped_total", "batches that could not ask the router again");
	s->rebuild_records = imgo_stats_counter(
		set, "imgo_job_rebuild_records_total", "records read again to rebuild what the store forgot");
	s->bus = imgo_stats_histogram(set, dispatch->loop, "imgo_job_seconds{stage=\"bus\"}", stages);
	s->append = imgo_stats_histogram(set, dispatch->loop, "imgo_job_seconds{stage=\"append\"}", stages);
	s->ask = imgo_stats_histogram(set, dispatch->loop, "imgo_job_seconds{stage=\"ask\"}", stages);
	s->asks.stat = imgo_stats_gauge(set, "imgo_job_asks", "batches that wait for the router's second answer");
}

static void collect(struct imgo__collector *collector)
{
	struct imgo_dispatch *dispatch = imgo__container_of(collector, struct imgo_dispatch, collector);

	imgo__gauge_set(&dispatch->stats.asks, dispatch->asks);
}

/* ---- lag ---- */

struct lag_op {
	struct imgo__dispatch_op op;
	struct imgo__dispatch_part *part;
};

static void next_lag(struct imgo_dispatch *dispatch)
{
	uint64_t step = LAG_MS / (dispatch->nparts ? dispatch->nparts : 1);

	if (!dispatch->stopping)
		imgo__timer_start(dispatch->loop, &dispatch->lag_timer, step > LAG_STEP_MIN_MS ? step : LAG_STEP_MIN_MS);
}

static void on_end(int err, uint64_t begin, uint64_t first, uint64_t end, void *user)
{
	struct lag_op *self = user;
	struct imgo_dispatch *dispatch = self->op.dispatch;
	struct imgo__dispatch_part *part = self->part;

	(void)first;
	if (dispatch && err == 0 && part->assigned) {
		uint64_t done = part->next > begin ? part->next : begin;
		imgo_stat_set(part->lag, end > done ? (int64_t)(end - done) : 0);
	}
	imgo__dispatch_op_free(&self->op);
	if (dispatch)
		next_lag(dispatch);
}

/* The next partition that is ours. False: there is none, or it cannot be asked about. */
static bool ask_end(struct imgo_dispatch *dispatch)
{
	struct imgo__dispatch_part *part = NULL;
	struct lag_op *self;

	for (uint32_t i = 0; i < dispatch->nparts && !part; i++) {
		uint32_t at = (dispatch->lag_at + i) % dispatch->nparts;
		if (dispatch->parts[at].assigned)
			part = &dispatch->parts[at];
	}
	self = part ? imgo__dispatch_op_new(dispatch, sizeof *self) : NULL;
	if (!self)
		return false;
	dispatch->lag_at = (part->partition + 1) % dispatch->nparts;
	self->part = part;
	if (imgo_bus_query(dispatch->bus, IMGO_TOPIC_USERS, part->partition, 0, on_end, self) == 0)
		return true;
	imgo__dispatch_op_free(&self->op);
	return false;
}

static void on_lag(struct imgo_loop *loop, struct imgo__timer *timer)
{
	struct imgo_dispatch *dispatch = imgo__container_of(timer, struct imgo_dispatch, lag_timer);

	(void)loop;
	if (!ask_end(dispatch))
		next_lag(dispatch);
}

/* ---- assignment ---- */

static void on_say(struct imgo_loop *loop, struct imgo__timer *timer)
{
	struct imgo_dispatch *dispatch = imgo__container_of(timer, struct imgo_dispatch, said_timer);
	struct imgo_dispatch_state state;

	imgo_dispatch_state(dispatch, &state);
	if (state.assigned != dispatch->said_assigned)
		imgo_log_event(imgo_loop_log(loop), IMGO_LOG_INFO, "dispatch",
			state.assigned > dispatch->said_assigned ? "partitions-assigned" : "partitions-revoked",
			"assigned=%u before=%u of=%u", state.assigned, dispatch->said_assigned, dispatch->nparts);
	dispatch->said_assigned = state.assigned;
}

void imgo__dispatch_assignment_changed(struct imgo_dispatch *dispatch)
{
	if (!imgo__timer_active(&dispatch->said_timer))
		imgo__timer_start(dispatch->loop, &dispatch->said_timer, SAY_MS);
}

/* ---- life ---- */

static struct imgo_stat *by_partition(struct imgo_dispatch *dispatch, const char *name, const char *help, uint32_t partition)
{
	struct imgo_stat *stat;
	char number[16], full[64];

	snprintf(number, sizeof number, "%u", partition);
	imgo_stat_name(full, sizeof full, name, "partition", number);
	stat = imgo_stats_gauge(imgo_loop_stats(dispatch->loop), full, help);
	imgo_stat_set(stat, IMGO_STAT_ABSENT);
	return stat;
}

int imgo__dispatch_stats_init(struct imgo_dispatch *dispatch)
{
	enter_stats(dispatch);
	for (uint32_t i = 0; i < dispatch->nparts; i++) {
		dispatch->parts[i].lag = by_partition(
			dispatch, "imgo_job_lag", "records of the users' topic that are not finished, by partition", i);
		dispatch->parts[i].rebuild_left = by_partition(dispatch, "imgo_job_rebuild_left",
			"records that are still to be read to rebuild what the store forgot, by partition", i);
	}
	imgo__timer_init(&dispatch->lag_timer, on_lag);
	imgo__timer_init(&dispatch->said_timer, on_say);
	imgo__collector_add(dispatch->loop, &dispatch->collector, collect);
	imgo__timer_start(dispatch->loop, &dispatch->lag_timer, LAG_STEP_MIN_MS);
	return 0;
}

void imgo__dispatch_stats_fini(struct imgo_dispatch *dispatch)
{
	if (!dispatch->lag_timer.fn)
		return; /* never begun */
	imgo__collector_remove(&dispatch->collector);
	imgo__timer_stop(dispatch->loop, &dispatch->lag_timer);
	imgo__timer_stop(dispatch->loop, &dispatch->said_timer);
	imgo__gauge_set(&dispatch->stats.asks, 0);
	for (uint32_t i = 0; dispatch->parts && i < dispatch->nparts; i++) {
		if (dispatch->parts[i].lag)
			imgo_stat_set(dispatch->parts[i].lag, IMGO_STAT_ABSENT);
		if (dispatch->parts[i].rebuild_left)
			imgo_stat_set(dispatch->parts[i].rebuild_left, IMGO_STAT_ABSENT);
	}
}
