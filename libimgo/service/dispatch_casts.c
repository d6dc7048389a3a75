/* SPDX-License-Identifier: MIT */
/*
 * The casts' topic: rooms, broadcast, qos 0 and keys, at most once, to those online now. Rooms and broadcast go to
 * every live comet (which drops offsets that it has seen); what is older than cast_age_max_ms, after a stop, is dropped
 * and counted. Done as soon as it was handed to the carrier. The records of a partition are handed over in order: a
 * batch that holds pushes to users or keys waits for the router to say where their users are, and then goes as a whole.
 *
 * A key is imgo's "<uid>_<seq>", and then the router knows its session; or a goim client's own, and then only the comet
 * that has it knows it: all are asked. They are asked too when the router names no such session.
 */
#include <string.h>

#include "service/dispatch_impl.h"

enum { FETCH_RECORDS = 512, FETCH_BYTES = 1 << 20, FETCH_MS = 10000, RETRY_MS = 500 };

struct imgo__dispatch_cast {
	struct imgo_dispatch *dispatch;
	uint32_t partition;
	bool assigned, asking, released_wanted;
	uint64_t next;
	struct imgo__timer retry;
};

struct cast_batch {
	struct imgo__dispatch_op op;
	struct imgo__dispatch_cast *part;
	uint64_t next;
	struct imgo_envelope **envelopes;
	struct imgo_id *ids;
	size_t n;
	struct imgo_registry_get *gets; /* of the users of all DIRECT and KEYS targets, in order */
	size_t ngets;
};

static void fetch(struct imgo__dispatch_cast *part);

static void cast_batch_fini(struct imgo__dispatch_op *op)
{
	struct cast_batch *batch = (struct cast_batch *)op;

	for (size_t i = 0; i < batch->n; i++)
		free(batch->envelopes[i]);
}

/* "<uid>_<seq>"; the uid may have a "_" in it. */
static bool key_parse(struct imgo_str key, struct imgo_str *user, uint64_t *seq)
{
	size_t at = key.len;

	while (at > 0 && key.p[at - 1] >= '0' && key.p[at - 1] <= '9')
		at--;
	if (at < 2 || key.p[at - 1] != '_' || at - 1 > IMGO_USER_MAX || key.len == at || key.len - at > 19)
		return false;
	*seq = 0;
	for (size_t i = at; i < key.len; i++)
		*seq = *seq * 10 + (uint64_t)(key.p[i] - '0');
	*user = imgo_strn(key.p, at - 1);
	return true;
}

/* The user whose sessions the router is asked for, if any. *seq: the one that is meant; 0: all. */
static bool target_user(const struct imgo_envelope *envelope, size_t i, struct imgo_str *user, uint64_t *seq)
{
	*seq = 0;
	*user = envelope->targets[i].user;
	return envelope->kind == IMGO_ENVELOPE_DIRECT || key_parse(envelope->targets[i].user, user, seq);
}

/* False: out of memory. */
static bool cast_decode(struct cast_batch *batch, const struct imgo_bus_record *record)
{
	struct imgo_dispatch *dispatch = batch->op.dispatch;
	struct imgo_envelope *envelope;
	struct imgo_str user;
	uint64_t seq;
	bool ok = true;
	struct imgo_str copy = imgo__arena_str(&batch->op.arena, record->value, &ok);
	int err = ok ? imgo_envelope_decode(&envelope, copy.p, copy.len) : IMGO_ENOMEM;

	if (err == IMGO_ENOMEM)
		return false;
	if (err == 0 && envelope->kind == IMGO_ENVELOPE_USERS) {
		free(envelope);
		err = IMGO_EPROTO;
	}
	if (err < 0) {
		imgo__dispatch_poison(dispatch, IMGO_TOPIC_CASTS, record, err);
		return true;
	}
	if (record->at_ms + dispatch->cast_age_max_ms < imgo_loop_wall_ms(dispatch->loop)) {
		imgo_stat_add(dispatch->stats.cast_old, 1);
		free(envelope);
		return true;
	}
	batch->ids[batch->n] = (struct imgo_id){imgo_bus_epoch(dispatch->bus), record->offset + 1};
	batch->envelopes[batch->n++] = envelope;
	for (size_t i = 0; i < envelope->ntargets; i++)
		batch->ngets += target_user(envelope, i, &user, &seq);
	return true;
}

static struct cast_batch *cast_batch_new(struct imgo__dispatch_cast *part, const struct imgo_bus_record *records, size_t n)
{
	struct cast_batch *batch = imgo__dispatch_op_new(part->dispatch, sizeof *batch);
	bool ok;

	if (!batch)
		return NULL;
	batch->op.free = cast_batch_fini;
	batch->part = part;
	batch->envelopes = imgo__arena_zalloc(&batch->op.arena, n, sizeof(struct imgo_envelope *));
	batch->ids = imgo__arena_zalloc(&batch->op.arena, n, sizeof *batch->ids);
	ok = batch->envelopes && batch->ids;
	for (size_t i = 0; ok && i < n; i++)
		ok = cast_decode(batch, &records[i]);
	if (ok)
		return batch;
	imgo__dispatch_op_free(&batch->op);
	return NULL;
}

/* To the sessions that the router names; to those of the address when it names none, or did not answer. */
static void cast_direct(struct imgo_dispatch *dispatch, const struct imgo__cast *cast,
	const struct imgo_envelope_target *target, const struct imgo_registry_get *get)
{
	size_t known = get && get->err == 0 ? get->nsessions : 0;

	for (size_t i = 0; i < known; i++)
		imgo__carrier_direct(dispatch->carrier, get->sessions[i].id, target->user, cast);
	for (size_t i = 0; !known && i < target->nsessions; i++)
		imgo__carrier_direct(dispatch->carrier, target->sessions[i], target->user, cast);
}

static void cast_key(struct imgo_dispatch *dispatch, const struct imgo__cast *cast, struct imgo_str key, uint64_t seq,
	const struct imgo_registry_get *get)
{
	size_t known = get && get->err == 0 ? get->nsessions : 0;

	for (size_t i = 0; i < known; i++) {
		if (get->sessions[i].seq == seq) {
			imgo__carrier_direct(dispatch->carrier, get->sessions[i].id, get->user, cast);
			return;
		}
	}
	imgo_stat_add(dispatch->stats.key_elsewhere, 1);
	imgo__carrier_key(dispatch->carrier, key, cast);
}

static void cast_targets(struct imgo_dispatch *dispatch, const struct imgo__cast *cast,
	const struct imgo_envelope *envelope, const struct imgo_registry_get **get)
{
	struct imgo_str user;
	uint64_t seq;

	for (size_t i = 0; i < envelope->ntargets; i++) {
		bool asked = target_user(envelope, i, &user, &seq) && *get;
		const struct imgo_registry_get *answer = asked ? (*get)++ : NULL;
		if (envelope->kind == IMGO_ENVELOPE_DIRECT)
			cast_direct(dispatch, cast, &envelope->targets[i], answer);
		else
			cast_key(dispatch, cast, envelope->targets[i].user, seq, answer);
	}
}

static void cast_all(struct cast_batch *batch, bool asked)
{
	struct imgo_dispatch *dispatch = batch->op.dispatch;
	const struct imgo_registry_get *get = asked ? batch->gets : NULL;

	for (size_t i = 0; i < batch->n; i++) {
		const struct imgo_envelope *envelope = batch->envelopes[i];
		struct imgo__cast cast = {.kind = envelope->kind,
			.partition = batch->part->partition,
			.id = batch->ids[i],
			.op = envelope->op,
			.room = envelope->room,
			.body = envelope->body,
			.speed = envelope->speed};
		if (envelope->ntargets == 0)
			imgo__carrier_cast(dispatch->carrier, &cast);
		cast_targets(dispatch, &cast, envelope, &get);
	}
	imgo_stat_add(dispatch->stats.cast, (int64_t)batch->n);
}

static void batch_end(struct cast_batch *batch, bool asked)
{
	struct imgo_dispatch *dispatch = batch->op.dispatch;
	struct imgo__dispatch_cast *part = batch->part;

	if (dispatch && part->assigned) {
		cast_all(batch, asked);
		part->next = batch->next;
		imgo_bus_done(dispatch->casts, part->partition, part->next);
		if (part->released_wanted) {
			part->assigned = part->released_wanted = false;
			imgo_bus_released(dispatch->casts, part->partition);
		} else if (!dispatch->stopping) {
			fetch(part);
		} else {
			imgo__dispatch_check_stopped(dispatch);
		}
	}
	imgo__dispatch_op_free(&batch->op);
}

static void on_asked(int err, void *user)
{
	struct cast_batch *batch = user;

	if (batch->op.dispatch)
		batch->part->asking = false;
	batch_end(batch, err == 0);
}

static bool ask(struct cast_batch *batch)
{
	struct imgo_dispatch *dispatch = batch->op.dispatch;
	struct imgo_str user;
	uint64_t seq;
	size_t n = 0;

	batch->gets = imgo__arena_zalloc(&batch->op.arena, batch->ngets, sizeof *batch->gets);
	if (!batch->gets)
		return false;
	for (size_t i = 0; i < batch->n; i++) {
		const struct imgo_envelope *envelope = batch->envelopes[i];
		for (size_t j = 0; j < envelope->ntargets; j++) {
			if (target_user(envelope, j, &user, &seq))
				batch->gets[n++].user = user;
		}
	}
	batch->part->asking = imgo_registry_get_many(dispatch->registry, batch->gets, n, on_asked, batch) == 0;
	return batch->part->asking;
}

static void on_fetched(int err, const struct imgo_bus_record *records, size_t n, uint64_t next, void *user)
{
	struct imgo__dispatch_cast *part = user;
	struct imgo_dispatch *dispatch = part->dispatch;
	struct cast_batch *batch;

	if (err == IMGO_ECANCELED || !part->assigned || dispatch->stopping)
		return;
	if (err == IMGO_ETIMEDOUT) {
		fetch(part);
		return;
	}
	batch = err == 0 ? cast_batch_new(part, records, n) : NULL;
	if (!batch) {
		imgo__timer_start(dispatch->loop, &part->retry, RETRY_MS);
		return;
	}
	batch->next = next;
	if (batch->ngets == 0 || !ask(batch))
		batch_end(batch, false);
}

static void fetch(struct imgo__dispatch_cast *part)
{
	if (imgo_bus_fetch(part->dispatch->casts, part->partition, part->next, FETCH_RECORDS, FETCH_BYTES, FETCH_MS,
		    on_fetched, part) < 0)
		imgo__timer_start(part->dispatch->loop, &part->retry, RETRY_MS);
}

static void on_retry(struct imgo_loop *loop, struct imgo__timer *timer)
{
	struct imgo__dispatch_cast *part = imgo__container_of(timer, struct imgo__dispatch_cast, retry);

	(void)loop;
	if (part->assigned && !part->asking && !part->dispatch->stopping)
		fetch(part);
}

static void on_assigned(uint32_t partition, uint64_t next, void *user)
{
	struct imgo_dispatch *dispatch = user;
	struct imgo__dispatch_cast *part;

	if (partition >= dispatch->ncasts)
		return;
	part = &dispatch->cast_parts[partition];
	part->assigned = true;
	part->released_wanted = false;
	part->next = next;
	if (!part->asking && !dispatch->stopping)
		fetch(part);
}

static void on_revoked(uint32_t partition, bool lost, void *user)
{
	struct imgo_dispatch *dispatch = user;
	struct imgo__dispatch_cast *part;

	if (partition >= dispatch->ncasts)
		return;
	part = &dispatch->cast_parts[partition];
	imgo__timer_stop(dispatch->loop, &part->retry);
	part->released_wanted = part->asking && !lost;
	if (part->released_wanted)
		return;
	part->assigned = false;
	imgo_bus_released(dispatch->casts, partition);
}

static void on_failed(int err, const char *text, void *user)
{
	struct imgo_dispatch *dispatch = user;

	imgo_log_event(imgo_loop_log(dispatch->loop), IMGO_LOG_ERROR, "dispatch", "casts-failed", "err=%s why=\"%s\"",
		imgo_err_name(err), text);
}

const struct imgo_bus_consumer_ops imgo__dispatch_casts_ops = {
	.assigned = on_assigned,
	.revoked = on_revoked,
	.failed = on_failed,
};

int imgo__dispatch_casts_init(struct imgo_dispatch *dispatch)
{
	dispatch->ncasts = imgo_bus_partitions(dispatch->bus, IMGO_TOPIC_CASTS);
	dispatch->cast_parts = imgo__array(dispatch->ncasts, sizeof *dispatch->cast_parts);
	if (!dispatch->cast_parts)
		return IMGO_ENOMEM;
	for (uint32_t i = 0; i < dispatch->ncasts; i++) {
		dispatch->cast_parts[i].dispatch = dispatch;
		dispatch->cast_parts[i].partition = i;
		imgo__timer_init(&dispatch->cast_parts[i].retry, on_retry);
	}
	return 0;
}

void imgo__dispatch_casts_fini(struct imgo_dispatch *dispatch)
{
	for (uint32_t i = 0; dispatch->cast_parts && i < dispatch->ncasts; i++)
		imgo__timer_stop(dispatch->loop, &dispatch->cast_parts[i].retry);
	free(dispatch->cast_parts);
}
