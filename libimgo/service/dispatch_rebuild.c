/* SPDX-License-Identifier: MIT */
/*
 * The marker of a partition, and the rebuild of what the store forgot (DESIGN.md §3, A store may forget).
 *
 * Complete: go on with records. Missing, or being built by somebody (who lost the partition, for it is ours): BEGIN under
 * a new random token; then ask the bus for its end, and re-append from now − TTL up to there, telling nobody (and 5
 * minutes more: what has expired is not added, but its msgid must be known when its second record comes). The end is
 * that of the bus, not what was committed: another job may have been about to commit; and it is asked for after BEGIN,
 * so what was appended before the marker went is below it, and what comes later is refused while building. FINISH by
 * compare-and-swap. Then the partition goes on where its commits say.
 *
 * Whatever fails, the marker is looked at again and the whole begins anew: every step may be repeated.
 */
#include <string.h>

#include "service/dispatch_impl.h"

enum { REBUILD_RECORDS = 2000, REBUILD_BYTES = 4 << 20, REBUILD_WAIT_MS = 1000 };

/* A call about the marker, or a query of the bus. */
struct step_op {
	struct imgo__dispatch_op op;
	struct imgo__dispatch_part *part;
	struct imgo_store_marker marker;
};

static void rebuild_fetch(struct imgo__dispatch_part *part);

static void rebuild_over(struct imgo__dispatch_part *part)
{
	if (part->token)
		imgo_stat_add(part->dispatch->stats.rebuilding, -1);
	part->token = 0;
	imgo_stat_set(part->rebuild_left, IMGO_STAT_ABSENT);
}

static void show_left(struct imgo__dispatch_part *part)
{
	imgo_stat_set(part->rebuild_left,
		part->rebuild_end > part->rebuild_at ? (int64_t)(part->rebuild_end - part->rebuild_at) : 0);
}

static struct step_op *step_new(struct imgo__dispatch_part *part)
{
	struct step_op *self = imgo__dispatch_op_new(part->dispatch, sizeof *self);

	if (self)
		self->part = part;
	return self;
}

/* Ends the start of a step: err of the call that was to start it. */
static int step_started(struct step_op *self, int err)
{
	if (err < 0)
		imgo__dispatch_op_free(&self->op);
	else
		self->part->busy = true;
	return err;
}

static int marker_step(struct imgo__dispatch_part *part, enum imgo_marker_step step, imgo_store_cb *cb)
{
	struct imgo_dispatch *dispatch = part->dispatch;
	struct step_op *self = step_new(part);

	if (!self)
		return IMGO_ENOMEM;
	self->marker.epoch = imgo_bus_epoch(dispatch->bus);
	self->marker.partition = part->partition;
	self->marker.step = step;
	self->marker.token = part->token;
	return step_started(self, imgo_store_marker(dispatch->store, &self->marker, cb, self));
}

static int query_step(struct imgo__dispatch_part *part, uint64_t since_ms, imgo_bus_query_cb *cb)
{
	struct step_op *self = step_new(part);

	if (!self)
		return IMGO_ENOMEM;
	return step_started(
		self, imgo_bus_query(part->dispatch->bus, IMGO_TOPIC_USERS, part->partition, since_ms, cb, self));
}

/* Common start of every answer: NULL when there is nothing to go on with. Frees the op. */
static struct imgo__dispatch_part *step_answer(struct step_op *self, struct imgo_store_marker *marker)
{
	struct imgo__dispatch_part *part = self->op.dispatch ? self->part : NULL;

	if (marker)
		*marker = self->marker;
	imgo__dispatch_op_free(&self->op);
	return part && imgo__dispatch_goes_on(part) ? part : NULL;
}

static void failed(struct imgo__dispatch_part *part, int err)
{
	rebuild_over(part);
	imgo__dispatch_retry(part, err);
}

/* ---- finish ---- */

static void on_finished(int err, void *user)
{
	struct imgo_store_marker marker;
	struct imgo__dispatch_part *part = step_answer(user, &marker);
	struct imgo_dispatch *dispatch;

	if (!part)
		return;
	if (err < 0) { /* IMGO_ESTALE: it went again, or somebody took it over */
		failed(part, err);
		return;
	}
	dispatch = part->dispatch;
	imgo_stat_add(dispatch->stats.rebuilt, 1);
	imgo_log_event(imgo_loop_log(dispatch->loop),
		part->rebuild_from < part->rebuild_end ? IMGO_LOG_INFO : IMGO_LOG_DEBUG, "dispatch", "rebuilt",
		"partition=%u from=%llu to=%llu ms=%llu", part->partition, (unsigned long long)part->rebuild_from,
		(unsigned long long)part->rebuild_end,
		(unsigned long long)(imgo__loop_now_ms(dispatch->loop) - part->rebuild_since_ms));
	rebuild_over(part);
	imgo__dispatch_look(part);
}

/* ---- re-appending ---- */

static void rebuild_next(struct imgo__dispatch_part *part)
{
	int err;

	if (part->rebuild_at < part->rebuild_end) {
		rebuild_fetch(part);
		return;
	}
	err = marker_step(part, IMGO_MARKER_FINISH, on_finished);
	if (err < 0)
		failed(part, err);
}

static void on_reappended(int err, void *user)
{
	struct imgo__dispatch_batch *batch = user;
	struct imgo_dispatch *dispatch = batch->op.dispatch;
	struct imgo__dispatch_part *part = batch->part;
	uint64_t next = batch->next;

	imgo__dispatch_batch_free(batch);
	if (!dispatch || !imgo__dispatch_goes_on(part))
		return;
	if (err < 0) {
		failed(part, err);
		return;
	}
	part->rebuild_at = next;
	show_left(part);
	rebuild_next(part);
}

/* Nothing came although the end is further on: were the records deleted meanwhile? */
static void on_requery(int err, uint64_t begin, uint64_t first, uint64_t end, void *user)
{
	struct imgo__dispatch_part *part = step_answer(user, NULL);

	(void)first, (void)end;
	if (!part)
		return;
	if (err == 0 && begin > part->rebuild_at)
		part->rebuild_at = begin;
	rebuild_next(part);
}

static void on_rebuild_fetched(int err, const struct imgo_bus_record *records, size_t n, uint64_t next, void *user)
{
	struct imgo__dispatch_part *part = user;
	struct imgo_dispatch *dispatch = part->dispatch;
	struct imgo__dispatch_batch *batch;

	part->fetching = false;
	if (err == IMGO_ECANCELED || !part->assigned || part->revoking || dispatch->stopping)
		return;
	if (err == IMGO_ETIMEDOUT && query_step(part, 0, on_requery) == 0)
		return;
	batch = err == 0 ? imgo__dispatch_batch_new(part, records, n, part->rebuild_end) : NULL;
	if (!batch) {
		failed(part, err ? err : IMGO_ENOMEM);
		return;
	}
	batch->next = next;
	imgo_stat_add(dispatch->stats.rebuild_records, (int64_t)batch->nenvelopes);
	batch->append.rebuild_token = part->token;
	part->busy = true;
	if (batch->nitems == 0) {
		on_reappended(0, batch);
		return;
	}
	err = imgo_store_append_many(dispatch->store, &batch->append, on_reappended, batch);
	if (err < 0)
		on_reappended(err, batch);
}

static void rebuild_fetch(struct imgo__dispatch_part *part)
{
	int err = imgo_bus_fetch(part->dispatch->users, part->partition, part->rebuild_at, REBUILD_RECORDS,
		REBUILD_BYTES, REBUILD_WAIT_MS, on_rebuild_fetched, part);

	part->fetching = err == 0;
	if (err < 0)
		failed(part, err);
}

/* ---- begin ---- */

static void on_queried(int err, uint64_t begin, uint64_t first, uint64_t end, void *user)
{
	struct imgo__dispatch_part *part = step_answer(user, NULL);

	if (!part)
		return;
	if (err < 0) {
		failed(part, err);
		return;
	}
	part->rebuild_from = part->rebuild_at = first > begin ? first : begin;
	part->rebuild_end = end;
	show_left(part);
	if (part->rebuild_from < end)
		imgo_log_event(imgo_loop_log(part->dispatch->loop), IMGO_LOG_INFO, "dispatch", "rebuild-begun",
			"partition=%u from=%llu to=%llu", part->partition, (unsigned long long)part->rebuild_from,
			(unsigned long long)end);
	rebuild_next(part);
}

static void on_begun(int err, void *user)
{
	struct imgo_store_marker marker;
	struct imgo__dispatch_part *part = step_answer(user, &marker);
	struct imgo_dispatch *dispatch;
	uint64_t now, back;

	if (!part)
		return;
	if (err < 0 || marker.state == IMGO_MARKER_COMPLETE) {
		failed(part, err ? err : IMGO_ESTALE); /* complete after all: look again */
		return;
	}
	dispatch = part->dispatch;
	now = imgo_loop_wall_ms(dispatch->loop);
	back = dispatch->ttl_ms + IMGO_STORE_TAGS_MS;
	err = query_step(part, now > back ? now - back : 0, on_queried);
	if (err < 0)
		failed(part, err);
}

static void rebuild_begin(struct imgo__dispatch_part *part)
{
	struct imgo_dispatch *dispatch = part->dispatch;
	int err;

	rebuild_over(part);
	do
		imgo__loop_random(dispatch->loop, &part->token, sizeof part->token);
	while (part->token == 0);
	part->rebuild_since_ms = imgo__loop_now_ms(dispatch->loop);
	imgo_stat_add(dispatch->stats.rebuilds, 1);
	imgo_stat_add(dispatch->stats.rebuilding, 1);
	err = marker_step(part, IMGO_MARKER_BEGIN, on_begun);
	if (err < 0)
		failed(part, err);
}

/* ---- look ---- */

static void on_looked(int err, void *user)
{
	struct imgo_store_marker marker;
	struct imgo__dispatch_part *part = step_answer(user, &marker);

	if (!part)
		return;
	if (err < 0)
		imgo__dispatch_retry(part, err);
	else if (marker.state == IMGO_MARKER_COMPLETE)
		imgo__dispatch_fetch(part);
	else
		rebuild_begin(part);
}

void imgo__dispatch_look(struct imgo__dispatch_part *part)
{
	int err;

	if (!part->assigned || part->revoking || part->busy || part->fetching || part->dispatch->stopping)
		return;
	err = marker_step(part, IMGO_MARKER_LOOK, on_looked);
	if (err < 0)
		imgo__dispatch_retry(part, err);
}
