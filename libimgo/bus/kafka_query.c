/* SPDX-License-Identifier: MIT */
/* Questions for offsets: blocking requests on a worker, through the producer's connection. */
#include "bus/kafka.h"

struct kquery {
	struct imgo__work work;
	struct imgo__kafka *k;
	struct imgo__kclient *client;
	const char *topic;
	int32_t partition;
	uint64_t since_ms;
	imgo_bus_query_cb *cb;
	void *user;
	rd_kafka_resp_err_t err;
	int64_t begin, first, end;
};

rd_kafka_resp_err_t imgo__klist_offsets(rd_kafka_t *rk, rd_kafka_topic_partition_list_t *list, int64_t which)
{
	rd_kafka_resp_err_t err;

	/* A ListOffsets request: its time-stamps -2 and -1 mean the beginning and the end. */
	for (int i = 0; i < list->cnt; i++)
		list->elems[i].offset = which;
	err = rd_kafka_offsets_for_times(rk, list, IMGO__KAFKA_RPC_MS);
	for (int i = 0; !err && i < list->cnt; i++) {
		err = list->elems[i].err;
		if (!err && list->elems[i].offset < 0)
			err = RD_KAFKA_RESP_ERR_OFFSET_NOT_AVAILABLE;
	}
	return err;
}

/* First offset at or after the time; none: -1 becomes the end. */
static rd_kafka_resp_err_t since(struct kquery *q)
{
	rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(1);
	rd_kafka_resp_err_t err;

	rd_kafka_topic_partition_list_add(list, q->topic, q->partition)->offset = (int64_t)q->since_ms;
	err = rd_kafka_offsets_for_times(q->client->rk, list, IMGO__KAFKA_RPC_MS);
	if (!err)
		err = list->elems[0].err;
	q->first = list->elems[0].offset;
	rd_kafka_topic_partition_list_destroy(list);
	return err;
}

static void run(struct imgo__work *work, void *thread)
{
	struct kquery *q = imgo__container_of(work, struct kquery, work);

	(void)thread;
	q->err = rd_kafka_query_watermark_offsets(
		q->client->rk, q->topic, q->partition, &q->begin, &q->end, IMGO__KAFKA_RPC_MS);
	q->first = q->begin;
	if (!q->err && q->since_ms > 0)
		q->err = since(q);
	/* The log may have grown, or been cut, between the questions. */
	if (q->first < 0 || q->first > q->end)
		q->first = q->end;
	if (q->first < q->begin)
		q->first = q->begin;
}

static void done(struct imgo_loop *loop, struct imgo__work *work)
{
	struct kquery *q = imgo__container_of(work, struct kquery, work);
	struct imgo__kafka *k = q->k;

	(void)loop;
	imgo__kclient_unref(q->client);
	k->depth++;
	if (work->canceled || k->closing)
		q->cb(IMGO_ECANCELED, 0, 0, 0, q->user);
	else if (q->err)
		q->cb(imgo__kafka_err(q->err), 0, 0, 0, q->user);
	else
		q->cb(0, (uint64_t)q->begin, (uint64_t)q->first, (uint64_t)q->end, q->user);
	free(q);
	imgo__kafka_leave(k);
}

int imgo__kquery(void *impl, enum imgo_topic topic, uint32_t partition, uint64_t since_ms, imgo_bus_query_cb *cb, void *user)
{
	struct imgo__kafka *k = impl;
	struct kquery *q;
	int err;

	if (!k->topics_ok || k->closing)
		return IMGO_EUNAVAILABLE;
	q = imgo__zalloc(sizeof *q);
	if (!q)
		return IMGO_ENOMEM;
	q->work.run = run;
	q->work.done = done;
	q->k = k;
	q->client = imgo__kclient_ref(k->p.client);
	q->topic = k->names[topic];
	q->partition = (int32_t)partition;
	q->since_ms = since_ms > INT64_MAX ? INT64_MAX : since_ms;
	q->cb = cb;
	q->user = user;
	err = imgo__pool_submit(k->pool, &q->work);
	if (err) {
		imgo__kclient_unref(q->client);
		free(q);
	}
	return err;
}
