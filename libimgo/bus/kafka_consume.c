/* SPDX-License-Identifier: MIT */
/*
 * A consumer: one instance of librdkafka, its events, and its life. The struct lives until its last job on a
 * worker has ended, however early its user leaves; `gone` says that there is nobody to call any more.
 */
#include "bus/kafka_consume.h"

#include <stdio.h>

static void store_task(struct imgo_loop *loop, struct imgo__task *task)
{
	(void)loop;
	imgo__kgroup_store(imgo__container_of(task, struct imgo__kconsumer, store));
}

void imgo__kdone(void *consumer, uint32_t partition, uint64_t next)
{
	struct imgo__kconsumer *c = consumer;
	struct imgo__kpart *part = &c->parts[partition];

	if (part->state == IMGO__KPART_NONE || c->lost || next > INT64_MAX) {
		imgo_stat_add(c->k->stale, 1);
		return;
	}
	if (next <= part->done)
		return;
	part->done = next;
	imgo__defer(c->k->loop, &c->store);
}

/* ---- events ---- */

static void committed_event(struct imgo__kconsumer *c, rd_kafka_event_t *ev)
{
	rd_kafka_topic_partition_list_t *list = rd_kafka_event_topic_partition_list(ev);

	for (int i = 0; list && !rd_kafka_event_error(ev) && i < list->cnt; i++) {
		rd_kafka_topic_partition_t *e = &list->elems[i];
		if (!e->err && e->offset > (int64_t)c->parts[e->partition].committed)
			c->parts[e->partition].committed = (uint64_t)e->offset;
	}
	if (rd_kafka_event_opaque(ev) == c && c->state == IMGO__KC_COMMITTING)
		imgo__kgroup_finish(c);
}

static void error_event(struct imgo__kconsumer *c, rd_kafka_event_t *ev)
{
	rd_kafka_topic_partition_t *at = rd_kafka_event_topic_partition(ev);

	if (rd_kafka_event_error_is_fatal(ev))
		imgo__kconsumer_fail(c, IMGO_EIO, rd_kafka_event_error_string(ev));
	else if (at && at->partition >= 0 && (uint32_t)at->partition < c->n_parts)
		imgo__kpart_error(&c->parts[at->partition], rd_kafka_event_error(ev));
	if (at)
		rd_kafka_topic_partition_destroy(at);
}

static void stray_message(struct imgo__kconsumer *c, rd_kafka_event_t *ev)
{
	const rd_kafka_message_t *m = rd_kafka_event_message_next(ev);

	if (m && m->partition >= 0 && (uint32_t)m->partition < c->n_parts)
		c->parts[m->partition].lost_place = true; /* it should have come by its own queue: read again */
}

static void handle(struct imgo__kconsumer *c, rd_kafka_event_t *ev)
{
	switch (rd_kafka_event_type(ev)) {
	case RD_KAFKA_EVENT_REBALANCE:
		if (c->n_next == sizeof c->next / sizeof *c->next)
			rd_kafka_event_destroy(c->next[--c->n_next]);
		c->next[c->n_next++] = ev;
		imgo__kgroup_step(c);
		return;
	case RD_KAFKA_EVENT_OFFSET_COMMIT:
		committed_event(c, ev);
		break;
	case RD_KAFKA_EVENT_ERROR:
		error_event(c, ev);
		break;
	case RD_KAFKA_EVENT_FETCH:
		stray_message(c, ev);
		break;
	default:
		break;
	}
	rd_kafka_event_destroy(ev);
}

static void drain(struct imgo__kconsumer *c)
{
	struct imgo__kafka *k = c->k;
	rd_kafka_event_t *ev = NULL;
	int budget = IMGO__KAFKA_BATCH;

	k->depth++;
	c->jobs++;
	while (!c->gone && c->queue && budget > 0 && (ev = rd_kafka_queue_poll(c->queue, 0))) {
		handle(c, ev);
		budget--;
	}
	if (!c->gone && budget == 0)
		imgo__kwatch_again(&c->watch, k);
	if (!c->gone)
		imgo__defer(k->loop, &c->serve);
	imgo__kconsumer_unjob(c);
	imgo__kafka_leave(k);
}

static void wake(struct imgo__kwatch *watch)
{
	drain(imgo__container_of(watch, struct imgo__kconsumer, watch));
}

/* librdkafka takes a consumer that does not poll for dead; an idle queue wakes nobody. */
static void tick(struct imgo_loop *loop, struct imgo__timer *timer)
{
	struct imgo__kconsumer *c = imgo__container_of(timer, struct imgo__kconsumer, tick);
	struct imgo__kafka *k = c->k;

	imgo__timer_start(loop, timer, 1000);
	if (c->queue)
		drain(c);
	else if (k->topics_ok)
		imgo__kconsumer_start(c);
	else if (k->wrong[0])
		imgo__kconsumer_fail(c, IMGO_EINVAL, k->wrong);
}

void imgo__kconsumer_fail(struct imgo__kconsumer *c, int err, const char *text)
{
	struct imgo__kafka *k = c->k;

	if (c->failed || c->gone)
		return;
	c->failed = true;
	imgo_log_event(imgo_loop_log(k->loop), IMGO_LOG_ERROR, "bus", "consumer-failed", "topic=%s text=%s",
		k->names[c->topic], text);
	k->depth++;
	c->jobs++;
	for (uint32_t p = 0; p < c->n_parts && !c->gone; p++)
		imgo__kpart_cancel(&c->parts[p]);
	if (!c->gone)
		c->ops->failed(err, text, c->user);
	imgo__kconsumer_unjob(c);
	imgo__kafka_leave(k);
}

/* ---- life ---- */

static void serve_task(struct imgo_loop *loop, struct imgo__task *task)
{
	(void)loop;
	imgo__kfetch_serve(imgo__container_of(task, struct imgo__kconsumer, serve));
}

static void client_start(struct imgo__kconsumer *c)
{
	char group[300], session[16], beat[16], bytes[16], text[200];
	const char *const pairs[] = {"group.id", group, "session.timeout.ms", session, "heartbeat.interval.ms", beat,
		"max.poll.interval.ms", "60000", "partition.assignment.strategy", "roundrobin", "enable.auto.commit",
		"true", "auto.commit.interval.ms", "1000", "enable.auto.offset.store", "false", "auto.offset.reset",
		"error", "fetch.wait.max.ms", "100", "fetch.error.backoff.ms", "100", "queued.min.messages", "10000",
		"queued.max.messages.kbytes", "512", "fetch.message.max.bytes", "524288", "fetch.max.bytes", "16777216",
		"message.max.bytes", bytes, "check.crcs", "true", NULL};

	/* A group of its own for each topic, so that only consumers of that topic take part in its
	 * rebalances. */
	snprintf(group, sizeof group, "%s.%s", c->group, c->k->names[c->topic]);
	snprintf(session, sizeof session, "%u", c->k->o.session_ms);
	snprintf(beat, sizeof beat, "%u", c->k->o.session_ms / 6 ? c->k->o.session_ms / 6 : 1);
	snprintf(bytes, sizeof bytes, "%u", IMGO_BUS_VALUE_MAX + IMGO_BUS_KEY_MAX + 1024);
	c->client = imgo__kclient_new(c->k, RD_KAFKA_CONSUMER, pairs, text, sizeof text);
	if (!c->client)
		imgo_log_event(imgo_loop_log(c->k->loop), IMGO_LOG_ERROR, "bus", "consumer-start", "text=%s", text);
}

void imgo__kconsumer_start(struct imgo__kconsumer *c)
{
	rd_kafka_topic_partition_list_t *topics;

	if (c->client || c->failed)
		return;
	client_start(c); /* when that failed, at the next tick again */
	if (!c->client)
		return;
	rd_kafka_poll_set_consumer(c->client->rk);
	c->queue = rd_kafka_queue_get_consumer(c->client->rk);
	imgo__kwatch_add(&c->watch, c->queue);
	topics = rd_kafka_topic_partition_list_new(1);
	rd_kafka_topic_partition_list_add(topics, c->k->names[c->topic], RD_KAFKA_PARTITION_UA);
	rd_kafka_subscribe(c->client->rk, topics);
	rd_kafka_topic_partition_list_destroy(topics);
}

/* Ends what is pending and lets go of librdkafka's objects; the struct goes with its last job. */
static void bye(struct imgo__kconsumer *c)
{
	struct imgo_loop *loop = c->k->loop;

	if (c->client)
		imgo__kgroup_store(c);
	imgo__timer_stop(loop, &c->tick);
	imgo__timer_stop(loop, &c->deadline);
	for (uint32_t p = 0; p < c->n_parts; p++) {
		imgo__kpart_cancel(&c->parts[p]);
		imgo__kpart_close(&c->parts[p]);
	}
	imgo__task_cancel(&c->store);
	imgo__task_cancel(&c->serve);
	while (c->n_next > 0)
		rd_kafka_event_destroy(c->next[--c->n_next]);
	if (c->list)
		rd_kafka_topic_partition_list_destroy(c->list);
	c->list = NULL;
	if (c->queue) {
		rd_kafka_queue_io_event_enable(c->queue, -1, NULL, 0);
		rd_kafka_queue_destroy(c->queue);
		c->queue = NULL;
	}
	imgo__kwatch_close(&c->watch, c->k);
}

void imgo__kconsumer_unjob(struct imgo__kconsumer *c)
{
	if (--c->jobs || !c->gone)
		return;
	imgo__kclient_unref(c->client);
	free(c->group);
	free(c);
}

static void bye_task(struct imgo_loop *loop, struct imgo__task *task)
{
	struct imgo__kconsumer *c = imgo__container_of(task, struct imgo__kconsumer, bye);

	(void)loop;
	imgo__list_remove(&c->link);
	bye(c);
	imgo__kconsumer_unjob(c);
}

void imgo__kunsubscribe(void *consumer)
{
	struct imgo__kconsumer *c = consumer;
	struct imgo__kafka *k = c->k;

	c->gone = true;
	c->jobs++;
	imgo__list_remove(&c->link);
	if (k->depth) { /* inside a callback: at the end of the turn */
		imgo__list_insert(&k->leaving, &c->link);
		imgo__defer(k->loop, &c->bye);
		return;
	}
	bye(c);
	imgo__kconsumer_unjob(c);
}

void imgo__kconsumers_bye(struct imgo__kafka *k)
{
	struct imgo__list *l;

	while ((l = imgo__list_pop(&k->leaving))) {
		struct imgo__kconsumer *c = imgo__container_of(l, struct imgo__kconsumer, link);
		imgo__task_cancel(&c->bye);
		bye_task(k->loop, &c->bye);
	}
}

int imgo__ksubscribe(void *impl, enum imgo_topic topic, const char *group, const struct imgo_bus_consumer_ops *ops,
	void *user, void **consumer)
{
	struct imgo__kafka *k = impl;
	uint32_t n = k->partitions[topic];
	struct imgo__kconsumer *c;

	if (strlen(group) > 100)
		return IMGO_EINVAL;
	c = imgo__zalloc(sizeof *c + n * sizeof c->parts[0]);
	if (!c)
		return IMGO_ENOMEM;
	c->k = k;
	c->topic = topic;
	c->ops = ops;
	c->user = user;
	c->n_parts = n;
	for (uint32_t p = 0; p < n; p++)
		imgo__kpart_init(&c->parts[p], c, p);
	imgo__timer_init(&c->tick, tick);
	imgo__timer_init(&c->deadline, imgo__kgroup_deadline);
	imgo__task_init(&c->store, store_task);
	imgo__task_init(&c->serve, serve_task);
	imgo__task_init(&c->bye, bye_task);
	c->group = imgo__strdup(group);
	if (!c->group || imgo__kwatch_open(&c->watch, k, wake)) {
		free(c->group);
		free(c);
		return IMGO_ENOMEM;
	}
	imgo__list_insert(&k->consumers, &c->link);
	if (k->topics_ok)
		imgo__kconsumer_start(c);
	imgo__timer_start(k->loop, &c->tick, 1000);
	*consumer = c;
	return 0;
}
