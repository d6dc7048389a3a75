/* SPDX-License-Identifier: MIT */
#include "bus_remake.h"

#include <stdio.h>
#include <unistd.h>

#include <librdkafka/rdkafka.h>

static rd_kafka_resp_err_t wait_for(rd_kafka_queue_t *queue)
{
	rd_kafka_event_t *ev = rd_kafka_queue_poll(queue, 10000);
	rd_kafka_resp_err_t err = ev ? rd_kafka_event_error(ev) : RD_KAFKA_RESP_ERR__TIMED_OUT;
	size_t n;

	if (ev && rd_kafka_event_type(ev) == RD_KAFKA_EVENT_CREATETOPICS_RESULT)
		err = rd_kafka_topic_result_error(
			rd_kafka_CreateTopics_result_topics(rd_kafka_event_CreateTopics_result(ev), &n)[0]);
	if (ev)
		rd_kafka_event_destroy(ev);
	return err;
}

void remake_topic(const char *brokers, const char *prefix, int partitions)
{
	char name[200], text[200];
	rd_kafka_conf_t *conf = rd_kafka_conf_new();
	rd_kafka_DeleteTopic_t *del;
	rd_kafka_NewTopic_t *new;
	rd_kafka_queue_t *queue;
	rd_kafka_t *rk;

	snprintf(name, sizeof name, "%s-users-e1", prefix);
	rd_kafka_conf_set(conf, "bootstrap.servers", brokers, NULL, 0);
	rk = rd_kafka_new(RD_KAFKA_PRODUCER, conf, text, sizeof text);
	queue = rd_kafka_queue_new(rk);
	del = rd_kafka_DeleteTopic_new(name);
	rd_kafka_DeleteTopics(rk, &del, 1, NULL, queue);
	if (wait_for(queue))
		fprintf(stderr, "cannot delete %s\n", name);
	rd_kafka_DeleteTopic_destroy(del);
	new = rd_kafka_NewTopic_new(name, partitions, 1, text, sizeof text);
	rd_kafka_NewTopic_set_config(new, "message.timestamp.type", "LogAppendTime");
	for (int i = 0; i < 20; i++) {
		rd_kafka_CreateTopics(rk, &new, 1, NULL, queue);
		if (wait_for(queue) == RD_KAFKA_RESP_ERR_NO_ERROR)
			break;
		usleep(100000);
	}
	rd_kafka_NewTopic_destroy(new);
	rd_kafka_queue_destroy(queue);
	rd_kafka_destroy(rk);
}
