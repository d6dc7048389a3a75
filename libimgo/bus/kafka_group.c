/* SPDX-License-Identifier: MIT */
/*
 * A consumer as a member of its group. Rebalances come as events and are worked off one at a time:
 *
 *	steady ── assign ──> assigning: on a worker, what is committed and where the logs begin and end; then the
 *	                     partitions are assigned to librdkafka with explicit offsets, and our user is told
 *	steady ── revoke ──> revoking: fetches are canceled, revoked() said; until all are released, or 2 s
 *	                  ─> committing: what is done is committed, until the answer, or 1 s; then unassigned
 *
 * When librdkafka says that the assignment is lost (the session ended: we were stopped, or cut off), others may have
 * the partitions already: revoked(lost) is said, done() counts no more, and we unassign at once.
 *
 * librdkafka waits for our assign/unassign before it goes on, so a second rebalance comes only when the first is
 * answered; `next` is there for the order, not for a crowd.
 *
 * done() is collected and stored in librdkafka at the end of the turn (its own timer commits each second); offsets that
 * are stored for a partition that is not ours any more are refused there and counted.
 *
 * A committed offset above the end of the log, or one that has vanished from the broker after it was committed by us
 * (deleting a topic deletes it), means that the topic was made anew: the consumer fails.
 */
#include "bus/kafka_consume.h"

#include <stdio.h>

static void assign_begin(struct imgo__kconsumer *c);

/* ---- what is done ---- */

void imgo__kgroup_store(struct imgo__kconsumer *c)
{
	rd_kafka_topic_partition_list_t *list = NULL;

	for (uint32_t p = 0; p < c->n_parts; p++) {
		if (c->parts[p].state == IMGO__KPART_NONE || c->parts[p].done <= c->parts[p].stored)
			continue;
		if (!list)
			list = rd_kafka_topic_partition_list_new((int)c->n_parts);
		rd_kafka_topic_partition_list_add(list, c->k->names[c->topic], (int32_t)p)->offset =
			(int64_t)c->parts[p].done;
	}
	if (!list)
		return;
	rd_kafka_offsets_store(c->client->rk, list);
	for (int i = 0; i < list->cnt; i++)
		if (list->elems[i].err)
			imgo_stat_add(c->k->stale, 1);
		else
			c->parts[list->elems[i].partition].stored = (uint64_t)list->elems[i].offset;
	rd_kafka_topic_partition_list_destroy(list);
}

/* ---- assigning ---- */

struct lookup {
	struct imgo__work work;
	struct imgo__kconsumer *c;
	rd_kafka_t *rk;
	rd_kafka_topic_partition_list_t *committed, *begin, *end;
	rd_kafka_resp_err_t err;
	uint64_t round;
};

static void lookup_run(struct imgo__work *work, void *thread)
{
	struct lookup *l = imgo__container_of(work, struct lookup, work);

	(void)thread;
	l->err = rd_kafka_committed(l->rk, l->committed, IMGO__KAFKA_RPC_MS);
	for (int i = 0; !l->err && i < l->committed->cnt; i++)
		l->err = l->committed->elems[i].err;
	if (!l->err)
		l->err = imgo__klist_offsets(l->rk, l->begin, RD_KAFKA_OFFSET_BEGINNING);
	if (!l->err)
		l->err = imgo__klist_offsets(l->rk, l->end, RD_KAFKA_OFFSET_END);
}

static void lookup_free(struct lookup *l)
{
	if (l->committed)
		rd_kafka_topic_partition_list_destroy(l->committed);
	if (l->begin)
		rd_kafka_topic_partition_list_destroy(l->begin);
	if (l->end)
		rd_kafka_topic_partition_list_destroy(l->end);
	free(l);
}

static int64_t offset_in(rd_kafka_topic_partition_list_t *list, const rd_kafka_topic_partition_t *like)
{
	rd_kafka_topic_partition_t *e = rd_kafka_topic_partition_list_find(list, like->topic, like->partition);
	return e ? e->offset : -1;
}

/* Where to go on in one partition; < 0: its topic was made anew, *why says how that shows. */
static int64_t place(struct lookup *l, struct imgo__kpart *part, const rd_kafka_topic_partition_t *e, const char **why)
{
	struct imgo__kafka *k = l->c->k;
	int64_t committed = offset_in(l->committed, e), begin = offset_in(l->begin, e), end = offset_in(l->end, e);

	*why = committed > end ? "ends below what is committed" : "has lost what was committed";
	if (committed > end || (committed < 0 && part->committed > 0))
		return -1;
	if (committed >= 0 && committed < begin) {
		imgo_stat_add(k->lost, begin - committed);
		imgo_log_event(imgo_loop_log(k->loop), IMGO_LOG_ERROR, "bus", "records-expired",
			"topic=%s partition=%u from=%lld begin=%lld", e->topic, part->partition, (long long)committed,
			(long long)begin);
	}
	if (committed > 0)
		part->committed = (uint64_t)committed;
	if (committed < begin)
		committed = begin;
	/* Done by ourselves, but the commit did not get through. */
	if ((int64_t)part->stored > committed && (int64_t)part->stored <= end)
		committed = (int64_t)part->stored;
	return committed;
}

static void tell_assigned(struct imgo__kconsumer *c)
{
	c->jobs++;
	for (int i = 0; c->list && i < c->list->cnt && !c->gone && c->state == IMGO__KC_STEADY; i++) {
		struct imgo__kpart *part = &c->parts[c->list->elems[i].partition];
		c->ops->assigned(part->partition, part->at, c->user);
	}
	imgo__kconsumer_unjob(c);
}

static void assign_refuse(struct imgo__kconsumer *c)
{
	rd_kafka_assign(c->client->rk, NULL);
	c->state = IMGO__KC_STEADY;
}

static void assign(struct imgo__kconsumer *c, struct lookup *l)
{
	char text[240];
	const char *why;

	for (int i = 0; i < c->list->cnt; i++) {
		rd_kafka_topic_partition_t *e = &c->list->elems[i];
		e->offset = place(l, &c->parts[e->partition], e, &why);
		if (e->offset >= 0)
			continue;
		if (++c->doubts < IMGO__KAFKA_SURE) {
			imgo__timer_start(c->k->loop, &c->deadline, 300);
			return;
		}
		snprintf(text, sizeof text,
			"topic %s partition %d %s: it was made anew; configure a new epoch, or delete the "
			"group",
			e->topic, e->partition, why);
		assign_refuse(c);
		imgo__kconsumer_fail(c, IMGO_ESTALE, text);
		return;
	}
	c->doubts = 0;
	for (int i = 0; i < c->list->cnt; i++) {
		struct imgo__kpart *part = &c->parts[c->list->elems[i].partition];
		if (imgo__kpart_open(part, (uint64_t)c->list->elems[i].offset)) {
			imgo__timer_start(c->k->loop, &c->deadline, 300);
			return;
		}
		part->done = part->stored = part->at;
	}
	rd_kafka_assign(c->client->rk, c->list);
	for (int i = 0; i < c->list->cnt; i++)
		c->parts[c->list->elems[i].partition].state = IMGO__KPART_OWNED;
	c->state = IMGO__KC_STEADY;
	tell_assigned(c);
}

static void lookup_done(struct imgo_loop *loop, struct imgo__work *work)
{
	struct lookup *l = imgo__container_of(work, struct lookup, work);
	struct imgo__kconsumer *c = l->c;
	struct imgo__kafka *k = c->k;

	k->depth++;
	if (c->gone || k->closing || work->canceled || l->round != c->round || c->state != IMGO__KC_ASSIGNING) {
		/* nobody waits */
	} else if (c->n_next > 0) { /* it is out of date already */
		assign_refuse(c);
		imgo__kgroup_step(c);
	} else if (l->err) {
		imgo_log_event(imgo_loop_log(loop), IMGO_LOG_WARN, "bus", "assign-waits", "topic=%s text=%s",
			k->names[c->topic], rd_kafka_err2str(l->err));
		imgo__timer_start(loop, &c->deadline, 300);
	} else {
		assign(c, l);
	}
	lookup_free(l);
	imgo__kconsumer_unjob(c);
	imgo__kafka_leave(k);
}

static void assign_begin(struct imgo__kconsumer *c)
{
	struct lookup *l;

	c->state = IMGO__KC_ASSIGNING;
	if (c->list->cnt == 0) {
		rd_kafka_assign(c->client->rk, c->list);
		c->state = IMGO__KC_STEADY;
		return;
	}
	/* A seek of the last assignment that still waits for its thread would move the new one. */
	l = c->seeks ? NULL : imgo__zalloc(sizeof *l);
	if (!l) {
		imgo__timer_start(c->k->loop, &c->deadline, 20);
		return;
	}
	l->work.run = lookup_run;
	l->work.done = lookup_done;
	l->c = c;
	l->rk = c->client->rk;
	l->committed = rd_kafka_topic_partition_list_copy(c->list);
	l->begin = rd_kafka_topic_partition_list_copy(c->list);
	l->end = rd_kafka_topic_partition_list_copy(c->list);
	l->round = ++c->round;
	c->jobs++;
	if (imgo__pool_submit(c->k->pool, &l->work) == 0)
		return;
	c->jobs--;
	lookup_free(l);
	imgo__timer_start(c->k->loop, &c->deadline, 100);
}

/* ---- revoking ---- */

void imgo__kgroup_finish(struct imgo__kconsumer *c)
{
	imgo__timer_stop(c->k->loop, &c->deadline);
	for (uint32_t p = 0; p < c->n_parts; p++) {
		c->parts[p].state = IMGO__KPART_NONE;
		imgo__kpart_close(&c->parts[p]);
	}
	rd_kafka_assign(c->client->rk, NULL);
	c->state = IMGO__KC_STEADY;
	c->lost = false;
	imgo__kgroup_step(c);
}

static void revoke_commit(struct imgo__kconsumer *c)
{
	rd_kafka_topic_partition_list_t *list;

	imgo__timer_stop(c->k->loop, &c->deadline);
	imgo__kgroup_store(c);
	c->state = IMGO__KC_COMMITTING;
	list = rd_kafka_topic_partition_list_new((int)c->n_parts);
	for (int i = 0; i < c->list->cnt; i++) { /* those of this assignment only: others have moved on elsewhere */
		struct imgo__kpart *part = &c->parts[c->list->elems[i].partition];
		if (part->stored > part->committed)
			rd_kafka_topic_partition_list_add(list, c->k->names[c->topic], (int32_t)part->partition)->offset =
				(int64_t)part->stored;
		part->state = IMGO__KPART_NONE;
	}
	if (list->cnt && rd_kafka_commit_queue(c->client->rk, list, c->queue, NULL, c) == 0)
		imgo__timer_start(c->k->loop, &c->deadline, 1000);
	else
		imgo__kgroup_finish(c);
	rd_kafka_topic_partition_list_destroy(list);
}

void imgo__kreleased(void *consumer, uint32_t partition)
{
	struct imgo__kconsumer *c = consumer;
	struct imgo__kpart *part = &c->parts[partition];

	if (c->state != IMGO__KC_REVOKING || part->state != IMGO__KPART_LEAVING || part->untold || c->lost)
		return;
	imgo__kgroup_store(c);
	part->state = IMGO__KPART_NONE;
	if (--c->held == 0 && !c->telling)
		revoke_commit(c);
}

static void revoke_tell(struct imgo__kconsumer *c)
{
	for (uint32_t p = 0; p < c->n_parts && !c->gone; p++)
		if (c->parts[p].untold)
			imgo__kpart_cancel(&c->parts[p]);
	for (uint32_t p = 0; p < c->n_parts && !c->gone; p++) {
		if (!c->parts[p].untold)
			continue;
		c->parts[p].untold = false;
		c->ops->revoked(p, c->lost, c->user);
	}
}

static void revoke_begin(struct imgo__kconsumer *c)
{
	c->state = IMGO__KC_REVOKING;
	c->lost = rd_kafka_assignment_lost(c->client->rk);
	c->held = 0;
	c->round++;
	for (uint32_t p = 0; p < c->n_parts; p++)
		if (c->parts[p].state == IMGO__KPART_OWNED) {
			c->parts[p].state = IMGO__KPART_LEAVING;
			c->parts[p].untold = true;
			c->held++;
		}
	if (c->lost)
		imgo_log_event(imgo_loop_log(c->k->loop), IMGO_LOG_WARN, "bus", "assignment-lost",
			"topic=%s partitions=%u", c->k->names[c->topic], c->held);
	c->jobs++;
	c->telling = true;
	revoke_tell(c);
	c->telling = false;
	if (!c->gone && c->lost)
		imgo__kgroup_finish(c);
	else if (!c->gone && c->held == 0)
		revoke_commit(c);
	else if (!c->gone)
		imgo__timer_start(c->k->loop, &c->deadline, IMGO__BUS_REVOKE_MS);
	imgo__kconsumer_unjob(c);
}

void imgo__kgroup_deadline(struct imgo_loop *loop, struct imgo__timer *timer)
{
	struct imgo__kconsumer *c = imgo__container_of(timer, struct imgo__kconsumer, deadline);

	c->k->depth++;
	c->jobs++;
	if (c->state == IMGO__KC_ASSIGNING) {
		if (c->n_next > 0) {
			assign_refuse(c);
			imgo__kgroup_step(c);
		} else {
			assign_begin(c);
		}
	} else if (c->state == IMGO__KC_REVOKING) {
		imgo_log_event(imgo_loop_log(loop), IMGO_LOG_WARN, "bus", "revoke-overdue", "topic=%s partitions=%u",
			c->k->names[c->topic], c->held);
		revoke_commit(c);
	} else if (c->state == IMGO__KC_COMMITTING) {
		imgo__kgroup_finish(c);
	}
	imgo__kafka_leave(c->k);
	imgo__kconsumer_unjob(c);
}

/* Works off the next rebalance, when none is under way. */
void imgo__kgroup_step(struct imgo__kconsumer *c)
{
	while (c->state == IMGO__KC_STEADY && c->n_next > 0 && !c->gone) {
		rd_kafka_event_t *ev = c->next[0];
		rd_kafka_resp_err_t what = rd_kafka_event_error(ev);

		c->n_next--;
		memmove(c->next, c->next + 1, c->n_next * sizeof(c->next[0]));
		if (c->list)
			rd_kafka_topic_partition_list_destroy(c->list);
		c->list = rd_kafka_topic_partition_list_copy(rd_kafka_event_topic_partition_list(ev));
		rd_kafka_event_destroy(ev);
		if (what == RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS && !c->failed)
			assign_begin(c);
		else if (what == RD_KAFKA_RESP_ERR__REVOKE_PARTITIONS)
			revoke_begin(c);
		else
			rd_kafka_assign(c->client->rk, NULL);
	}
}
