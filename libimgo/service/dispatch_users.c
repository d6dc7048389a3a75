/* SPDX-License-Identifier: MIT */
/*
 * The users' topic, record by record in DESIGN.md's order: append to the logs (the store looks at its marker before and
 * after), then done (committed by the bus), then tell the comets of the envelope's address, and ask the router for sessions
 * that came since. Telling waits for nobody: the next batch is fetched meanwhile.
 *
 * A partition goes round: look at the marker -> fetch (up to a second) -> append -> tell, fetch -> … Nothing came: look
 * at the marker, so that an idle partition is rebuilt too. Any failure of the store: the batch is dropped, the partition
 * waits, looks at the marker again and fetches the same records again; every step may be repeated.
 */
#include <string.h>

#include "base/failpoint.h"
#include "service/dispatch_impl.h"

enum {
	FETCH_RECORDS = 512,
	FETCH_BYTES = 1 << 20,
	FETCH_MS = 1000, /* also how often the marker of an idle partition is looked at */
	RETRY_MIN_MS = 50,
	RETRY_MAX_MS = 1000,
	ASKS_MAX = 256, /* batches that ask the router at the same time */
};

static void set_waiting(struct imgo__dispatch_part *part, unsigned failures)
{
	struct imgo__dispatch_stats *stats = &part->dispatch->stats;

	imgo_stat_add(stats->waiting, (failures != 0) - (part->failures != 0));
	part->failures = failures;
}

void imgo__dispatch_retry(struct imgo__dispatch_part *part, int err)
{
	struct imgo_dispatch *dispatch = part->dispatch;
	uint64_t delay = RETRY_MIN_MS;

	imgo_stat_add(dispatch->stats.waits, 1);
	if (part->failures == 0)
		imgo_log_event(imgo_loop_log(dispatch->loop), IMGO_LOG_WARN, "dispatch", "waiting",
			"partition=%u why=%s", part->partition, imgo_err_name(err));
	for (unsigned i = 0; i < part->failures && delay < RETRY_MAX_MS; i++)
		delay *= 2;
	set_waiting(part, part->failures + 1);
	imgo__timer_start(dispatch->loop, &part->retry, delay < RETRY_MAX_MS ? delay : RETRY_MAX_MS);
}

static void on_retry(struct imgo_loop *loop, struct imgo__timer *timer)
{
	(void)loop;
	imgo__dispatch_look(imgo__container_of(timer, struct imgo__dispatch_part, retry));
}

/* ---- batches ---- */

void imgo__dispatch_batch_free(struct imgo__dispatch_batch *batch)
{
	imgo__dispatch_op_free(&batch->op);
}

static void batch_fini(struct imgo__dispatch_op *op)
{
	struct imgo__dispatch_batch *batch = (struct imgo__dispatch_batch *)op;

	for (size_t i = 0; i < batch->nenvelopes; i++)
		free(batch->envelopes[i]);
}

/* Decodes a copy of the record. False: out of memory; a record that cannot be decoded is skipped and that is fine. */
static bool batch_decode(struct imgo__dispatch_batch *batch, const struct imgo_bus_record *record)
{
	struct imgo_dispatch *dispatch = batch->op.dispatch;
	struct imgo_envelope *envelope;
	bool ok = true;
	struct imgo_str copy = imgo__arena_str(&batch->op.arena, record->value, &ok);
	int err = ok ? imgo_envelope_decode(&envelope, copy.p, copy.len) : IMGO_ENOMEM;

	if (err == IMGO_ENOMEM)
		return false;
	if (err == 0 && envelope->kind != IMGO_ENVELOPE_USERS) {
		free(envelope);
		err = IMGO_EPROTO;
	}
	if (err < 0) {
		imgo__dispatch_poison(dispatch, IMGO_TOPIC_USERS, record, err);
		return true;
	}
	batch->bodies[batch->nenvelopes] = (struct imgo_store_body){.id = {batch->append.epoch, record->offset + 1},
		.msgid = envelope->msgid,
		.op = envelope->op,
		.at_ms = record->at_ms,
		.data = envelope->body};
	batch->envelopes[batch->nenvelopes++] = envelope;
	batch->nitems += envelope->ntargets;
	return true;
}

/* One item a user of each envelope. A user of another partition was put there by mistake: nobody would look for it here. */
static bool batch_items(struct imgo__dispatch_batch *batch)
{
	struct imgo_dispatch *dispatch = batch->op.dispatch;
	size_t n = 0;

	batch->items = imgo__arena_zalloc(&batch->op.arena, batch->nitems + 1, sizeof *batch->items);
	batch->targets = imgo__arena_zalloc(&batch->op.arena, batch->nitems + 1, sizeof *batch->targets);
	if (!batch->items || !batch->targets)
		return false;
	for (size_t i = 0; i < batch->nenvelopes; i++) {
		for (size_t j = 0; j < batch->envelopes[i]->ntargets; j++) {
			const struct imgo_envelope_target *target = &batch->envelopes[i]->targets[j];
			if (imgo_partition(target->user, dispatch->nparts) != batch->part->partition) {
				imgo_stat_add(dispatch->stats.misplaced, 1);
				continue;
			}
			batch->items[n].user = target->user;
			batch->items[n].body = &batch->bodies[i];
			batch->bodies[i].users++;
			batch->targets[n++] = target;
		}
	}
	batch->nitems = n;
	return true;
}

struct imgo__dispatch_batch *imgo__dispatch_batch_new(
	struct imgo__dispatch_part *part, const struct imgo_bus_record *records, size_t n, uint64_t end)
{
	struct imgo__dispatch_batch *batch = imgo__dispatch_op_new(part->dispatch, sizeof *batch);
	bool ok;

	if (!batch)
		return NULL;
	batch->op.free = batch_fini;
	batch->part = part;
	batch->append.epoch = imgo_bus_epoch(part->dispatch->bus);
	batch->append.partition = part->partition;
	batch->envelopes = imgo__arena_zalloc(&batch->op.arena, n, sizeof(struct imgo_envelope *));
	batch->bodies = imgo__arena_zalloc(&batch->op.arena, n, sizeof *batch->bodies);
	ok = batch->envelopes && batch->bodies;
	for (size_t i = 0; ok && i < n && records[i].offset < end; i++) {
		ok = batch_decode(batch, &records[i]);
		imgo_stat_add(part->dispatch->stats.records, 1);
	}
	if (!ok || !batch_items(batch)) {
		imgo__dispatch_batch_free(batch);
		return NULL;
	}
	batch->append.bodies = batch->bodies;
	batch->append.nbodies = batch->nenvelopes;
	batch->append.items = batch->items;
	batch->append.nitems = batch->nitems;
	return batch;
}

void imgo__dispatch_count(struct imgo_dispatch *dispatch, const struct imgo__dispatch_batch *batch)
{
	int64_t by_result[IMGO_APPEND_EXPIRED + 1] = {0}, dropped = 0;

	for (size_t i = 0; i < batch->nitems; i++) {
		by_result[batch->items[i].result]++;
		dropped += batch->items[i].dropped;
	}
	imgo_stat_add(dispatch->stats.appends, by_result[IMGO_APPEND_NEW]);
	imgo_stat_add(dispatch->stats.present, by_result[IMGO_APPEND_PRESENT]);
	imgo_stat_add(dispatch->stats.below, by_result[IMGO_APPEND_BELOW]);
	imgo_stat_add(dispatch->stats.duplicates, by_result[IMGO_APPEND_DUPLICATE]);
	imgo_stat_add(dispatch->stats.expired, by_result[IMGO_APPEND_EXPIRED]);
	imgo_stat_add(dispatch->stats.dropped, dropped);
}

/* ---- measuring ---- */

/* How old the messages are, by the bus's time-stamps. */
static void measure_bus(struct imgo_dispatch *dispatch, struct imgo__dispatch_batch *batch)
{
	uint64_t now_ms = imgo_loop_wall_ms(dispatch->loop);

	for (size_t i = 0; i < batch->nenvelopes; i++) {
		uint64_t at_ms = batch->bodies[i].at_ms;
		imgo_histogram_add(dispatch->stats.bus, now_ms > at_ms ? (now_ms - at_ms) * 1000 : 0, 1);
	}
	batch->stage_us = imgo__loop_clock_us(dispatch->loop);
}

/* A stage is over for n messages, and the next one begins. */
static void measure_stage(struct imgo__dispatch_batch *batch, struct imgo_histogram *stage, size_t n)
{
	uint64_t now_us = imgo__loop_clock_us(batch->op.dispatch->loop);

	imgo_histogram_add(stage, now_us - batch->stage_us, n);
	batch->stage_us = now_us;
}

/* ---- telling ---- */

static bool wanted(const struct imgo_store_append *item)
{
	return item->result == IMGO_APPEND_NEW || item->result == IMGO_APPEND_PRESENT;
}

static bool addressed(const struct imgo_envelope_target *target, struct imgo_session_id id)
{
	for (size_t i = 0; i < target->nsessions; i++) {
		if (imgo_session_id_eq(target->sessions[i], id))
			return true;
	}
	return false;
}

static void on_asked(int err, void *user)
{
	struct imgo__dispatch_batch *batch = user;
	struct imgo_dispatch *dispatch = batch->op.dispatch;

	for (size_t i = 0; dispatch && err == 0 && i < batch->ngets; i++) {
		const struct imgo_registry_get *get = &batch->gets[i];
		const struct imgo_store_append *item = &batch->items[batch->get_items[i]];
		for (size_t j = 0; get->err == 0 && j < get->nsessions; j++) {
			if (!addressed(batch->targets[batch->get_items[i]], get->sessions[j].id))
				imgo__carrier_tell(
					dispatch->carrier, get->sessions[j].id, item->user, item->prev, item->body);
		}
	}
	if (dispatch) {
		measure_stage(batch, dispatch->stats.ask, batch->ngets);
		dispatch->asks--;
		imgo__dispatch_check_stopped(dispatch);
	}
	imgo__dispatch_batch_free(batch);
}

/* Asks the router about the users of everything that is wanted. Takes the batch. */
static void ask(struct imgo_dispatch *dispatch, struct imgo__dispatch_batch *batch)
{
	batch->gets = imgo__arena_zalloc(&batch->op.arena, batch->nitems, sizeof *batch->gets);
	batch->get_items = imgo__arena_zalloc(&batch->op.arena, batch->nitems, sizeof *batch->get_items);
	for (size_t i = 0; batch->gets && batch->get_items && i < batch->nitems; i++) {
		if (!wanted(&batch->items[i]))
			continue;
		batch->gets[batch->ngets].user = batch->items[i].user;
		batch->get_items[batch->ngets++] = (uint32_t)i;
	}
	if (batch->ngets && dispatch->asks < ASKS_MAX &&
		imgo_registry_get_many(dispatch->registry, batch->gets, batch->ngets, on_asked, batch) == 0) {
		dispatch->asks++;
		return;
	}
	imgo_stat_add(dispatch->stats.ask_skipped, batch->ngets != 0);
	imgo__dispatch_batch_free(batch);
}

static void tell(struct imgo_dispatch *dispatch, struct imgo__dispatch_batch *batch)
{
	for (size_t i = 0; i < batch->nitems; i++) {
		const struct imgo_store_append *item = &batch->items[i];
		const struct imgo_envelope_target *target = batch->targets[i];
		for (size_t j = 0; wanted(item) && j < target->nsessions; j++)
			imgo__carrier_tell(dispatch->carrier, target->sessions[j], item->user, item->prev, item->body);
	}
	ask(dispatch, batch);
}

/* ---- the round ---- */

static void release(struct imgo__dispatch_part *part)
{
	struct imgo_dispatch *dispatch = part->dispatch;

	imgo__timer_stop(dispatch->loop, &part->retry);
	set_waiting(part, 0);
	if (part->token)
		imgo_stat_add(dispatch->stats.rebuilding, -1);
	part->token = 0;
	if (part->assigned)
		imgo_stat_add(dispatch->stats.assigned, -1);
	imgo_stat_set(part->lag, IMGO_STAT_ABSENT);
	imgo_stat_set(part->rebuild_left, IMGO_STAT_ABSENT);
	imgo__dispatch_assignment_changed(dispatch);
	part->assigned = part->revoking = false;
	imgo_bus_released(dispatch->users, part->partition);
}

bool imgo__dispatch_goes_on(struct imgo__dispatch_part *part)
{
	part->busy = false;
	if (part->restart) {
		part->restart = false;
		imgo__dispatch_look(part);
		return false;
	}
	if (part->revoking)
		release(part);
	if (part->dispatch->stopping)
		imgo__dispatch_check_stopped(part->dispatch);
	return part->assigned && !part->dispatch->stopping;
}

static void on_appended(int err, void *user)
{
	struct imgo__dispatch_batch *batch = user;
	struct imgo_dispatch *dispatch = batch->op.dispatch;
	struct imgo__dispatch_part *part = batch->part;

	if (!dispatch || part->restart || !part->assigned) {
		imgo__dispatch_batch_free(batch);
		if (dispatch)
			imgo__dispatch_goes_on(part);
		return;
	}
	if (err == 0 && imgo__failpoint("job.appended"))
		err = IMGO_EIO;
	if (err == 0) {
		measure_stage(batch, dispatch->stats.append, batch->nitems);
		part->next = batch->next;
		set_waiting(part, 0);
		imgo_bus_done(dispatch->users, part->partition, part->next);
		imgo__dispatch_count(dispatch, batch);
		tell(dispatch, batch);
	} else {
		imgo__dispatch_batch_free(batch);
	}
	if (!imgo__dispatch_goes_on(part))
		return;
	if (err == 0)
		imgo__dispatch_fetch(part);
	else if (err == IMGO_EREBUILDING)
		imgo__dispatch_look(part);
	else
		imgo__dispatch_retry(part, err);
}

static void on_fetched(int err, const struct imgo_bus_record *records, size_t n, uint64_t next, void *user)
{
	struct imgo__dispatch_part *part = user;
	struct imgo_dispatch *dispatch = part->dispatch;
	struct imgo__dispatch_batch *batch;

	part->fetching = false;
	if (err == IMGO_ECANCELED || !part->assigned || part->revoking || dispatch->stopping)
		return;
	if (err == IMGO_ETIMEDOUT) {
		set_waiting(part, 0);
		imgo__dispatch_look(part);
		return;
	}
	batch = err == 0 ? imgo__dispatch_batch_new(part, records, n, UINT64_MAX) : NULL;
	if (!batch) {
		imgo__dispatch_retry(part, err ? err : IMGO_ENOMEM);
		return;
	}
	batch->next = next;
	measure_bus(dispatch, batch);
	part->busy = true;
	if (batch->nitems == 0) { /* nothing but poison */
		on_appended(0, batch);
		return;
	}
	err = imgo_store_append_many(dispatch->store, &batch->append, on_appended, batch);
	if (err < 0)
		on_appended(err, batch);
}

void imgo__dispatch_fetch(struct imgo__dispatch_part *part)
{
	int err = imgo_bus_fetch(part->dispatch->users, part->partition, part->next, FETCH_RECORDS, FETCH_BYTES,
		FETCH_MS, on_fetched, part);

	part->fetching = err == 0;
	if (err < 0)
		imgo__dispatch_retry(part, err);
}

/* ---- assignment ---- */

static void on_assigned(uint32_t partition, uint64_t next, void *user)
{
	struct imgo_dispatch *dispatch = user;
	struct imgo__dispatch_part *part;

	if (partition >= dispatch->nparts)
		return;
	part = &dispatch->parts[partition];
	if (!part->assigned)
		imgo_stat_add(dispatch->stats.assigned, 1);
	part->assigned = true;
	part->revoking = false;
	imgo__dispatch_assignment_changed(dispatch);
	part->next = next;
	part->restart = part->busy; /* a step of the assignment before this one: when it ends, this one begins */
	if (!part->busy && !dispatch->stopping)
		imgo__dispatch_look(part);
}

static void on_revoked(uint32_t partition, bool lost, void *user)
{
	struct imgo_dispatch *dispatch = user;
	struct imgo__dispatch_part *part;

	(void)lost;
	if (partition >= dispatch->nparts)
		return;
	part = &dispatch->parts[partition];
	part->revoking = true;
	if (!part->busy)
		release(part);
}

static void on_failed(int err, const char *text, void *user)
{
	struct imgo_dispatch *dispatch = user;

	imgo_log_event(imgo_loop_log(dispatch->loop), IMGO_LOG_ERROR, "dispatch", "bus-failed", "err=%s why=\"%s\"",
		imgo_err_name(err), text);
}

const struct imgo_bus_consumer_ops imgo__dispatch_users_ops = {
	.assigned = on_assigned,
	.revoked = on_revoked,
	.failed = on_failed,
};

int imgo__dispatch_users_init(struct imgo_dispatch *dispatch)
{
	dispatch->nparts = imgo_bus_partitions(dispatch->bus, IMGO_TOPIC_USERS);
	dispatch->parts = imgo__array(dispatch->nparts, sizeof *dispatch->parts);
	if (!dispatch->parts)
		return IMGO_ENOMEM;
	for (uint32_t i = 0; i < dispatch->nparts; i++) {
		dispatch->parts[i].dispatch = dispatch;
		dispatch->parts[i].partition = i;
		imgo__timer_init(&dispatch->parts[i].retry, on_retry);
	}
	return 0;
}

void imgo__dispatch_users_fini(struct imgo_dispatch *dispatch)
{
	for (uint32_t i = 0; dispatch->parts && i < dispatch->nparts; i++)
		imgo__timer_stop(dispatch->loop, &dispatch->parts[i].retry);
	free(dispatch->parts);
}
