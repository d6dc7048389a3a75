/* SPDX-License-Identifier: MIT */
/*
 * Producing. One call is one block: the op and a message for each record. librdkafka copies the record and hands the
 * message's address back in the delivery report.
 *
 * A message in librdkafka is in one of two lists: `unacked` while its call waits for it, `orphans` when the call ended
 * without it (its deadline). The block is freed when the call has ended and no message is in librdkafka any more.
 *
 * The deadline is our own timer; librdkafka's message.timeout.ms is a little shorter, because its report also knows
 * whether the record surely is not in the log (IMGO_EUNAVAILABLE) or may be (IMGO_ETIMEDOUT).
 *
 * A fatal error (the broker and the idempotent producer disagree about sequences; librdkafka before 2.3 has a bug there)
 * ends an instance for good. Then the reports that are there are taken, a new instance is made, and whatever is unacked
 * is produced again in its order. Some of it may then be in the log twice; records of pushes carry a msgid for that.
 *
 * The highest offset acknowledged in each partition is kept: an acknowledgement below it means that the topic was
 * deleted and made anew under us, so that ids would be given out twice. The bus then accepts nothing more.
 */
#include "bus/kafka.h"

#include <stdio.h>

struct kop;
struct kmsg {
	struct imgo__list link;
	struct kop *op;
	struct imgo_bus_record *record; /* NULL: its call has ended */
};

struct kop {
	struct imgo__list link; /* in ops, then in ready */
	struct imgo__kafka *k;
	imgo_bus_produce_cb *cb;
	void *user;
	enum imgo_topic topic;
	size_t n, left, inside; /* left: without a result; inside: in librdkafka */
	int err;
	bool ended; /* its callback has run */
	struct imgo__timer deadline;
	struct kmsg msgs[];
};

static size_t msg_size(const struct imgo_bus_record *r)
{
	return r->key.len + r->value.len + 64;
}

static void op_ready(struct kop *op)
{
	imgo__timer_stop(op->k->loop, &op->deadline);
	imgo__list_remove(&op->link);
	imgo__list_insert(&op->k->p.ready, &op->link);
	imgo__defer(op->k->loop, &op->k->p.task);
}

static void set_result(struct kmsg *msg, int err)
{
	struct kop *op = msg->op;

	msg->record->err = err;
	imgo_stat_add(err ? op->k->refused : op->k->produced, 1);
	if (err && !op->err)
		op->err = err;
	if (--op->left == 0)
		op_ready(op);
}

/* The message is not in librdkafka any more; the op may vanish. */
static void taken_out(struct kmsg *msg)
{
	struct kop *op = msg->op;

	imgo__list_remove(&msg->link);
	if (--op->inside == 0 && op->ended)
		free(op);
}

static void uncount(struct imgo__kproducer *p, const struct imgo_bus_record *r)
{
	p->n--;
	p->bytes -= msg_size(r);
}

static void finish(struct kop *op, int err)
{
	struct imgo__kafka *k = op->k;

	imgo__timer_stop(k->loop, &op->deadline);
	imgo__list_remove(&op->link);
	for (size_t i = 0; i < op->n; i++) {
		struct kmsg *msg = &op->msgs[i];
		if (imgo__list_empty(&msg->link)) /* it has its result */
			continue;
		uncount(&k->p, msg->record);
		msg->record->err = err;
		msg->record = NULL;
		imgo__list_remove(&msg->link);
		imgo__list_insert(&k->p.orphans, &msg->link);
	}
	op->ended = true;
	k->depth++;
	op->cb(op->err ? op->err : err, op->user);
	if (op->inside == 0)
		free(op);
	imgo__kafka_leave(k);
}

static void op_deadline(struct imgo_loop *loop, struct imgo__timer *timer)
{
	struct kop *op = imgo__container_of(timer, struct kop, deadline);
	struct imgo__kafka *k = op->k;

	(void)loop;
	imgo__ktopics_suspect(k);
	finish(op, IMGO_ETIMEDOUT);
}

static void run_ready(struct imgo_loop *loop, struct imgo__task *task)
{
	struct imgo__kafka *k = imgo__container_of(task, struct imgo__kafka, p.task);
	struct imgo__list *l, now;

	(void)loop;
	k->depth++;
	imgo__list_take(&now, &k->p.ready);
	while (!k->closing && (l = imgo__list_pop(&now)))
		finish(imgo__container_of(l, struct kop, link), 0);
	while ((l = imgo__list_pop(&now))) /* closing: they are ended there */
		imgo__list_insert(&k->p.ready, l);
	imgo__kafka_leave(k);
}

/* ---- reports ---- */

static void fatal(struct imgo__kafka *k, const char *why)
{
	if (k->p.fatal)
		return;
	k->p.fatal = true;
	imgo_log_event(imgo_loop_log(k->loop), IMGO_LOG_ERROR, "bus", "producer-fatal", "unacked=%u text=%s", k->p.n, why);
	/* One that is fatal again at once shall not keep us busy. */
	imgo__timer_start(k->loop, &k->p.recreate,
		k->p.recreated_ms && imgo__loop_now_ms(k->loop) - k->p.recreated_ms < 10000 ? 1000 : 1);
}

static void check_rising(struct imgo__kafka *k, enum imgo_topic topic, const struct imgo_bus_record *r)
{
	uint64_t *end = &k->p.ends[topic][r->partition];

	if (r->offset >= *end) {
		*end = r->offset + 1;
		return;
	}
	if (topic == IMGO_TOPIC_CASTS || k->broken)
		return;
	k->broken = true;
	imgo_stat_set(k->up, 0);
	imgo_log_event(imgo_loop_log(k->loop), IMGO_LOG_ERROR, "bus", "topic-recreated",
		"topic=%s partition=%u offset=%llu expected=%llu text=\"it was deleted and made anew: ids "
		"would repeat; nothing "
		"more is accepted until a new epoch is configured and this process restarted\"",
		k->names[topic], r->partition, (unsigned long long)r->offset, (unsigned long long)*end);
}

static int error_of(const rd_kafka_message_t *m)
{
	int err = imgo__kafka_err(m->err);

	if (err != IMGO_ETIMEDOUT && err != IMGO_EUNAVAILABLE)
		return err;
	return rd_kafka_message_status(m) == RD_KAFKA_MSG_STATUS_NOT_PERSISTED ? IMGO_EUNAVAILABLE : IMGO_ETIMEDOUT;
}

static bool ends_instance(rd_kafka_resp_err_t err)
{
	return err == RD_KAFKA_RESP_ERR__FATAL || err == RD_KAFKA_RESP_ERR__PURGE_QUEUE ||
	       err == RD_KAFKA_RESP_ERR__PURGE_INFLIGHT;
}

static void report(struct imgo__kafka *k, const rd_kafka_message_t *m)
{
	struct kmsg *msg = m->_private;
	struct imgo_bus_record *r = msg->record;
	rd_kafka_timestamp_type_t type;
	int64_t at;

	if (!r) { /* an orphan */
		taken_out(msg);
		return;
	}
	if (m->err && (k->p.fatal || ends_instance(m->err) || rd_kafka_fatal_error(k->p.client->rk, NULL, 0))) {
		fatal(k, rd_kafka_err2str(m->err)); /* stays unacked: it is produced again */
		return;
	}
	uncount(&k->p, r);
	if (!m->err) {
		r->offset = m->offset < 0 ? IMGO_BUS_OFFSET_UNKNOWN : (uint64_t)m->offset;
		at = rd_kafka_message_timestamp(m, &type);
		r->at_ms = at < 0 ? imgo_loop_wall_ms(k->loop) : (uint64_t)at;
		if (m->offset >= 0)
			check_rising(k, msg->op->topic, r);
		if (k->down)
			imgo__ktopics_answered(k);
	} else {
		imgo__ktopics_suspect(k);
	}
	imgo__list_remove(&msg->link);
	msg->op->inside--;
	set_result(msg, m->err ? error_of(m) : k->broken ? IMGO_EUNAVAILABLE : 0);
}

static void error_event(struct imgo__kafka *k, rd_kafka_event_t *ev)
{
	rd_kafka_resp_err_t err = rd_kafka_event_error(ev);

	if (err == RD_KAFKA_RESP_ERR__FATAL || rd_kafka_event_error_is_fatal(ev))
		fatal(k, rd_kafka_event_error_string(ev));
	else /* informational: librdkafka goes on by itself */
		imgo__ktopics_suspect(k);
}

static bool drain(struct imgo__kafka *k, int budget)
{
	while (budget-- > 0) {
		rd_kafka_event_t *ev = rd_kafka_queue_poll(k->p.queue, 0);
		const rd_kafka_message_t *m;
		if (!ev)
			return true;
		if (rd_kafka_event_type(ev) == RD_KAFKA_EVENT_DR)
			while ((m = rd_kafka_event_message_next(ev)))
				report(k, m);
		else if (rd_kafka_event_type(ev) == RD_KAFKA_EVENT_ERROR)
			error_event(k, ev);
		rd_kafka_event_destroy(ev);
	}
	return false;
}

static void wake(struct imgo__kwatch *watch)
{
	struct imgo__kafka *k = imgo__container_of(watch, struct imgo__kafka, p.watch);

	if (!drain(k, IMGO__KAFKA_BATCH))
		imgo__kwatch_again(watch, k);
}

/* ---- in ---- */

/* Hands one over. It is in librdkafka then, or has its result. */
static void hand_over(struct imgo__kafka *k, struct kmsg *msg)
{
	struct imgo_bus_record *r = msg->record;
	rd_kafka_resp_err_t err;

	imgo__list_insert(&k->p.unacked, &msg->link);
	msg->op->inside++;
	if (rd_kafka_produce(k->p.client->topics[msg->op->topic], (int32_t)r->partition, RD_KAFKA_MSG_F_COPY,
		    r->value.len ? (void *)r->value.p : NULL, r->value.len, r->key.len ? r->key.p : NULL, r->key.len,
		    msg) == 0)
		return;
	err = rd_kafka_last_error();
	if (err == RD_KAFKA_RESP_ERR__FATAL) {
		fatal(k, rd_kafka_err2str(err));
		return;
	}
	imgo__list_remove(&msg->link);
	msg->op->inside--;
	uncount(&k->p, r);
	set_result(msg, imgo__kafka_err(err));
}

static void accept_one(struct imgo__kafka *k, struct kmsg *msg)
{
	size_t size = msg_size(msg->record);
	uint32_t times;

	if (k->p.n >= k->o.queue_max || k->p.bytes + size > k->o.queue_bytes_max) {
		imgo_stat_add(k->queue_full, 1);
		if (imgo__seldom(&k->full, imgo__loop_now_ms(k->loop), &times))
			imgo_log_event(imgo_loop_log(k->loop), IMGO_LOG_WARN, "bus", "queue-full",
				"times=%u records=%u bytes=%zu", times, k->p.n, k->p.bytes);
		set_result(msg, IMGO_ELIMIT);
		return;
	}
	k->p.n++;
	k->p.bytes += size;
	hand_over(k, msg);
}

int imgo__kproduce_many(void *impl, enum imgo_topic topic, struct imgo_bus_record *records, size_t n,
	imgo_bus_produce_cb *cb, void *user)
{
	struct imgo__kafka *k = impl;
	struct kop *op;

	if (!k->topics_ok || k->down || k->broken || k->closing)
		return IMGO_EUNAVAILABLE;
	op = n > (SIZE_MAX - sizeof *op) / sizeof *op->msgs ? NULL : imgo__zalloc(sizeof *op + n * sizeof *op->msgs);
	if (!op)
		return IMGO_ENOMEM;
	op->k = k;
	op->cb = cb;
	op->user = user;
	op->topic = topic;
	op->n = op->left = n;
	imgo__list_insert(&k->p.ops, &op->link);
	imgo__timer_init(&op->deadline, op_deadline);
	imgo__timer_start(k->loop, &op->deadline, k->o.timeout_ms);
	for (size_t i = 0; i < n; i++) {
		imgo__list_init(&op->msgs[i].link);
		op->msgs[i].op = op;
		op->msgs[i].record = &records[i];
		accept_one(k, &op->msgs[i]);
	}
	return 0;
}

/* ---- the instance ---- */

static struct imgo__kclient *instance(struct imgo__kafka *k, char *text, size_t size)
{
	char timeout[16], n[16], kbytes[24], bytes[16];
	unsigned early = k->o.timeout_ms / 4 < 1100 ? k->o.timeout_ms / 4 : 1100; /* it looks once a second */
	const char *const pairs[] = {"enable.idempotence", "true", "acks", "all", "linger.ms", "0",
		"message.timeout.ms", timeout, "queue.buffering.max.messages", n, "queue.buffering.max.kbytes", kbytes,
		"message.max.bytes", bytes, NULL};
	struct imgo__kclient *client;

	snprintf(timeout, sizeof timeout, "%u", k->o.timeout_ms - early);
	snprintf(n, sizeof n, "%u", k->o.queue_max < 10000000 ? k->o.queue_max : 10000000);
	snprintf(kbytes, sizeof kbytes, "%zu", k->o.queue_bytes_max / 1024 + 1024);
	snprintf(bytes, sizeof bytes, "%u", IMGO_BUS_VALUE_MAX + IMGO_BUS_KEY_MAX + 1024);
	client = imgo__kclient_new(k, RD_KAFKA_PRODUCER, pairs, text, size);
	if (!client)
		return NULL;
	for (int t = 0; t < IMGO_TOPICS; t++) {
		client->topics[t] = rd_kafka_topic_new(client->rk, k->names[t], NULL);
		if (client->topics[t])
			continue;
		snprintf(text, size, "%s", rd_kafka_err2str(rd_kafka_last_error()));
		imgo__kclient_unref(client);
		return NULL;
	}
	return client;
}

static void adopt(struct imgo__kafka *k, struct imgo__kclient *client)
{
	k->p.client = client;
	k->p.queue = rd_kafka_queue_get_main(client->rk);
	imgo__kwatch_add(&k->p.watch, k->p.queue);
}

static void abandon(struct imgo__kafka *k)
{
	if (k->p.queue) {
		rd_kafka_queue_io_event_enable(k->p.queue, -1, NULL, 0);
		rd_kafka_queue_destroy(k->p.queue);
	}
	imgo__kclient_unref(k->p.client);
	k->p.queue = NULL;
	k->p.client = NULL;
	for (struct imgo__list *l; (l = imgo__list_pop(&k->p.orphans));) /* their reports never come */
		taken_out(imgo__container_of(l, struct kmsg, link));
}

static void recreate(struct imgo_loop *loop, struct imgo__timer *timer)
{
	struct imgo__kafka *k = imgo__container_of(timer, struct imgo__kafka, p.recreate);
	struct imgo__kclient *client;
	struct imgo__list again, *l;
	char text[200];

	client = instance(k, text, sizeof text);
	if (!client) {
		imgo_log_event(imgo_loop_log(loop), IMGO_LOG_ERROR, "bus", "producer-recreate", "text=%s", text);
		imgo__timer_start(loop, timer, 1000);
		return;
	}
	drain(k, 1 << 30); /* what was acknowledged before */
	abandon(k);
	adopt(k, client);
	k->p.fatal = false;
	k->p.recreated_ms = imgo__loop_now_ms(loop);
	imgo_stat_add(k->recreated, 1);
	imgo__list_take(&again, &k->p.unacked);
	while ((l = imgo__list_pop(&again))) {
		struct kmsg *msg = imgo__container_of(l, struct kmsg, link);
		msg->op->inside--;
		hand_over(k, msg);
	}
}

int imgo__kproducer_init(struct imgo__kafka *k, char *text, size_t size)
{
	struct imgo__kproducer *p = &k->p;
	struct imgo__kclient *client;

	imgo__list_init(&p->unacked);
	imgo__list_init(&p->orphans);
	imgo__list_init(&p->ops);
	imgo__list_init(&p->ready);
	imgo__task_init(&p->task, run_ready);
	imgo__timer_init(&p->recreate, recreate);
	p->watch.fd = -1;
	for (int t = 0; t < IMGO_TOPICS; t++) {
		p->ends[t] = imgo__array(k->partitions[t], sizeof(uint64_t));
		if (!p->ends[t])
			return IMGO_ENOMEM;
	}
	if (imgo__kwatch_open(&p->watch, k, wake)) {
		snprintf(text, size, "no eventfd");
		return IMGO_EIO;
	}
	client = instance(k, text, size);
	if (!client)
		return IMGO_EINVAL;
	adopt(k, client);
	return 0;
}

void imgo__kproducer_fini(struct imgo__kafka *k)
{
	struct imgo__list *l;

	imgo__timer_stop(k->loop, &k->p.recreate);
	while (!imgo__list_empty(&k->p.ready) || !imgo__list_empty(&k->p.ops)) {
		l = imgo__list_empty(&k->p.ready) ? k->p.ops.next : k->p.ready.next;
		struct kop *op = imgo__container_of(l, struct kop, link);
		op->err = IMGO_ECANCELED;
		for (size_t i = 0; i < op->n; i++)
			if (op->msgs[i].record)
				op->msgs[i].record->err = IMGO_ECANCELED;
		finish(op, IMGO_ECANCELED);
	}
	abandon(k);
	imgo__task_cancel(&k->p.task);
	imgo__kwatch_close(&k->p.watch, k);
	for (int t = 0; t < IMGO_TOPICS; t++)
		free(k->p.ends[t]);
}
