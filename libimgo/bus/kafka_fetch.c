/* SPDX-License-Identifier: MIT */
/*
 * Reading partitions. Each partition of a consumer has its own queue in librdkafka (taken out of the common one before
 * the assignment), which librdkafka fills ahead up to a bounded number of bytes and no further until we read: that is
 * the whole of the flow control. All queues wake the same descriptor; whoever waits looks.
 *
 * A stream gives the offset `at` next. A fetch that goes on there reads the queue; any other seeks first, on a worker,
 * because only the blocking call says whether it worked. librdkafka stamps what it had fetched before a seek with an
 * older version and drops it, so what is read after the seek has ended is of the new place; offsets are checked all the
 * same. `lost_place` says that `at` is unknown: a seek is needed whatever the next fetch asks for.
 *
 * auto.offset.reset is `error`: an offset that is not in the log comes here. Below its beginning the log was cut by age:
 * counted, and read on from the beginning. Above its end the topic was made anew: the consumer fails.
 */
#include <stdio.h>

#include "bus/kafka_consume.h"

static void end_fetch(struct imgo__kpart *part, int err, const struct imgo_bus_record *records, size_t n)
{
	struct imgo__kafka *k = part->c->k;

	part->fetching = false;
	imgo__timer_stop(k->loop, &part->deadline);
	k->depth++;
	part->cb(err, n ? records : NULL, n, n ? records[n - 1].offset + 1 : part->from, part->user);
	imgo__kafka_leave(k);
}

static void fetch_deadline(struct imgo_loop *loop, struct imgo__timer *timer)
{
	struct imgo__kpart *part = imgo__container_of(timer, struct imgo__kpart, deadline);

	(void)loop;
	end_fetch(part, IMGO_ETIMEDOUT, NULL, 0);
}

void imgo__kpart_cancel(struct imgo__kpart *part)
{
	if (part->fetching)
		end_fetch(part, IMGO_ECANCELED, NULL, 0);
}

static void drop_held(struct imgo__kpart *part)
{
	if (part->held)
		rd_kafka_event_destroy(part->held);
	part->held = NULL;
}

/* ---- seeking ---- */

struct seek {
	struct imgo__work work;
	struct imgo__kpart *part;
	rd_kafka_t *rk;
	rd_kafka_topic_partition_list_t *list;
	bool look; /* the place is not in the log: ask for the ends first */
	int64_t from, begin, end;
	uint64_t round;
	rd_kafka_resp_err_t err;
};

static void seek_run(struct imgo__work *work, void *thread)
{
	struct seek *s = imgo__container_of(work, struct seek, work);
	rd_kafka_topic_partition_t *at = &s->list->elems[0];
	rd_kafka_error_t *error;

	(void)thread;
	if (s->look) {
		s->err = rd_kafka_query_watermark_offsets(
			s->rk, at->topic, at->partition, &s->begin, &s->end, IMGO__KAFKA_RPC_MS);
		if (s->err || s->from > s->end)
			return;
		if (s->from < s->begin)
			at->offset = s->begin;
	}
	error = rd_kafka_seek_partitions(s->rk, s->list, IMGO__KAFKA_RPC_MS);
	s->err = error ? rd_kafka_error_code(error) : at->err;
	if (error)
		rd_kafka_error_destroy(error);
}

static void recreated(struct imgo__kpart *part, const struct seek *s)
{
	char text[200];

	snprintf(text, sizeof text,
		"topic %s partition %u ends at %lld, below %lld: it was made anew or has lost records; "
		"configure a new epoch",
		part->c->k->names[part->c->topic], part->partition, (long long)s->end, (long long)s->from);
	imgo__kconsumer_fail(part->c, IMGO_ESTALE, text);
}

static void expired(struct imgo__kpart *part, const struct seek *s)
{
	struct imgo__kafka *k = part->c->k;

	int64_t from = s->from > (int64_t)part->stored ? s->from : (int64_t)part->stored;

	if (from >= s->begin) /* a rebuild looks at what is done already: nothing is lost */
		return;
	imgo_stat_add(k->lost, s->begin - from);
	imgo_log_event(imgo_loop_log(k->loop), IMGO_LOG_ERROR, "bus", "records-expired",
		"topic=%s partition=%u from=%lld begin=%lld", k->names[part->c->topic], part->partition,
		(long long)s->from, (long long)s->begin);
}

static void seek_done(struct imgo_loop *loop, struct imgo__work *work)
{
	struct seek *s = imgo__container_of(work, struct seek, work);
	struct imgo__kpart *part = s->part;
	struct imgo__kconsumer *c = part->c;
	bool mine = !c->gone && s->round == c->round && part->state == IMGO__KPART_OWNED && !work->canceled;

	c->k->depth++;
	c->seeks--;
	part->seeking = false;
	if (mine && !s->err && s->look && s->from > s->end && ++part->above >= IMGO__KAFKA_SURE) {
		recreated(part, s);
	} else if (mine && (s->err || (s->look && s->from > s->end))) {
		imgo__timer_start(loop, &part->again, 100); /* say, not fetching yet; or no answer */
	} else if (mine) {
		if (s->look)
			expired(part, s);
		part->at = (uint64_t)s->list->elems[0].offset;
		part->lost_place = false;
		part->above = 0;
		imgo__defer(loop, &c->serve);
	}
	rd_kafka_topic_partition_list_destroy(s->list);
	free(s);
	imgo__kafka_leave(c->k);
	imgo__kconsumer_unjob(c);
}

static void seek(struct imgo__kpart *part, uint64_t from, bool look)
{
	struct imgo__kconsumer *c = part->c;
	struct seek *s = part->seeking ? NULL : imgo__zalloc(sizeof *s);

	drop_held(part);
	part->lost_place = true;
	if (!s) {
		if (!part->seeking)
			imgo__timer_start(c->k->loop, &part->again, 100);
		return;
	}
	s->work.run = seek_run;
	s->work.done = seek_done;
	s->part = part;
	s->rk = c->client->rk;
	s->look = look;
	s->from = (int64_t)from;
	s->round = c->round;
	s->list = rd_kafka_topic_partition_list_new(1);
	rd_kafka_topic_partition_list_add(s->list, c->k->names[c->topic], (int32_t)part->partition)->offset = s->from;
	part->at = from;
	part->seeking = true;
	c->jobs++;
	c->seeks++;
	if (imgo__pool_submit(c->k->pool, &s->work) == 0)
		return;
	c->jobs--;
	c->seeks--;
	part->seeking = false;
	rd_kafka_topic_partition_list_destroy(s->list);
	free(s);
	imgo__timer_start(c->k->loop, &part->again, 100);
}

static void seek_again(struct imgo_loop *loop, struct imgo__timer *timer)
{
	struct imgo__kpart *part = imgo__container_of(timer, struct imgo__kpart, again);

	imgo__defer(loop, &part->c->serve);
}

/* ---- reading ---- */

void imgo__kpart_error(struct imgo__kpart *part, rd_kafka_resp_err_t err)
{
	if (part->state != IMGO__KPART_OWNED)
		return;
	if (err == RD_KAFKA_RESP_ERR__AUTO_OFFSET_RESET || err == RD_KAFKA_RESP_ERR_OFFSET_OUT_OF_RANGE)
		seek(part, part->at, true);
	else
		imgo_log_event(imgo_loop_log(part->c->k->loop), IMGO_LOG_DEBUG, "bus", "partition-error",
			"topic=%s partition=%u text=%s", part->c->k->names[part->c->topic], part->partition,
			rd_kafka_err2str(err));
}

/* The next event of the stream that is a message at or after `at`, or NULL. */
static rd_kafka_event_t *next_event(struct imgo__kpart *part, const rd_kafka_message_t **m)
{
	rd_kafka_event_t *ev = part->held;

	if (ev) {
		*m = part->held_message;
		part->held = NULL;
		return ev;
	}
	while (!part->lost_place && (ev = rd_kafka_queue_poll(part->queue, 0))) {
		if (rd_kafka_event_type(ev) == RD_KAFKA_EVENT_ERROR) {
			imgo__kpart_error(part, rd_kafka_event_error(ev));
		} else if (rd_kafka_event_type(ev) == RD_KAFKA_EVENT_FETCH && (*m = rd_kafka_event_message_next(ev))) {
			if ((*m)->err)
				imgo__kpart_error(part, (*m)->err);
			else if ((uint64_t)(*m)->offset >= part->at)
				return ev;
		}
		rd_kafka_event_destroy(ev);
	}
	return NULL;
}

static void fill(struct imgo_bus_record *r, const rd_kafka_message_t *m, uint32_t partition)
{
	rd_kafka_timestamp_type_t type;
	int64_t at = rd_kafka_message_timestamp(m, &type);

	*r = (struct imgo_bus_record){
		.partition = partition,
		.key = imgo_strn(m->key, m->key ? m->key_len : 0),
		.value = imgo_strn(m->payload, m->payload ? m->len : 0),
		.offset = (uint64_t)m->offset,
		.at_ms = at < 0 ? 0 : (uint64_t)at,
	};
}

static void read_stream(struct imgo__kpart *part)
{
	struct imgo_bus_record records[IMGO__KAFKA_BATCH];
	rd_kafka_event_t *events[IMGO__KAFKA_BATCH];
	size_t n = 0, bytes = 0, max = part->records_max < IMGO__KAFKA_BATCH ? part->records_max : IMGO__KAFKA_BATCH;
	const rd_kafka_message_t *m;
	rd_kafka_event_t *ev;

	while (n < max && (ev = next_event(part, &m))) {
		bytes += m->len + m->key_len;
		if (n > 0 && bytes > part->bytes_max) {
			part->held = ev;
			part->held_message = m;
			break;
		}
		fill(&records[n], m, part->partition);
		events[n++] = ev;
		part->at = (uint64_t)m->offset + 1;
	}
	if (n == 0)
		return;
	imgo_stat_add(part->c->k->fetched, (int64_t)n);
	end_fetch(part, 0, records, n); /* the consumer may be gone after this */
	for (size_t i = 0; i < n; i++)
		rd_kafka_event_destroy(events[i]);
}

void imgo__kfetch_serve(struct imgo__kconsumer *c)
{
	struct imgo__kafka *k = c->k;

	k->depth++;
	c->jobs++; /* keeps it while callbacks run */
	for (uint32_t p = 0; p < c->n_parts && !c->gone && !k->closing; p++) {
		struct imgo__kpart *part = &c->parts[p];
		if (part->state != IMGO__KPART_OWNED || part->seeking || imgo__timer_active(&part->again))
			continue;
		if (part->fetching && (part->lost_place || part->from != part->at))
			seek(part, part->from, part->lost_place);
		else if (part->fetching)
			read_stream(part);
	}
	imgo__kconsumer_unjob(c);
	imgo__kafka_leave(k);
}

int imgo__kfetch(void *consumer, uint32_t partition, uint64_t from, size_t records_max, size_t bytes_max,
	unsigned wait_ms, imgo_bus_fetch_cb *cb, void *user)
{
	struct imgo__kconsumer *c = consumer;
	struct imgo__kpart *part = &c->parts[partition];

	if (part->state != IMGO__KPART_OWNED || c->failed)
		return IMGO_ESTALE;
	if (part->fetching || from > INT64_MAX)
		return IMGO_EINVAL;
	part->fetching = true;
	part->cb = cb;
	part->user = user;
	part->from = from;
	part->records_max = records_max;
	part->bytes_max = bytes_max;
	imgo__timer_start(c->k->loop, &part->deadline, wait_ms);
	imgo__defer(c->k->loop, &c->serve);
	return 0;
}

/* ---- life ---- */

void imgo__kpart_init(struct imgo__kpart *part, struct imgo__kconsumer *c, uint32_t partition)
{
	part->c = c;
	part->partition = partition;
	imgo__timer_init(&part->deadline, fetch_deadline);
	imgo__timer_init(&part->again, seek_again);
}

int imgo__kpart_open(struct imgo__kpart *part, uint64_t at)
{
	struct imgo__kconsumer *c = part->c;

	part->at = at;
	part->above = 0;
	if (part->queue)
		return 0;
	part->queue = rd_kafka_queue_get_partition(c->client->rk, c->k->names[c->topic], (int32_t)part->partition);
	if (!part->queue)
		return IMGO_EUNAVAILABLE;
	rd_kafka_queue_forward(part->queue, NULL);
	imgo__kwatch_add(&c->watch, part->queue);
	part->lost_place = false;
	return 0;
}

void imgo__kpart_close(struct imgo__kpart *part)
{
	imgo__timer_stop(part->c->k->loop, &part->again);
	drop_held(part);
	if (!part->queue)
		return;
	rd_kafka_queue_io_event_enable(part->queue, -1, NULL, 0);
	rd_kafka_queue_destroy(part->queue);
	part->queue = NULL;
}
