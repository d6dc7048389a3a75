/* SPDX-License-Identifier: MIT */
/* A consumer of the Kafka bus; see kafka_consume.c (its life), kafka_group.c (rebalances) and
 * kafka_fetch.c (the partitions). */
#ifndef IMGO__BUS_KAFKA_CONSUME_H
#define IMGO__BUS_KAFKA_CONSUME_H

#include "bus/kafka.h"

/* So often in a row an end must be too low before it is believed: a broker that starts may be behind for a moment. */
#define IMGO__KAFKA_SURE 4

struct imgo__kpart {
	struct imgo__kconsumer *c;
	uint32_t partition;
	enum { IMGO__KPART_NONE, IMGO__KPART_OWNED, IMGO__KPART_LEAVING } state;
	bool untold; /* leaving, and revoked() was not said yet */
	/* the stream of this partition */
	rd_kafka_queue_t *queue;
	rd_kafka_event_t *held; /* taken from the queue, did not fit into the last fetch */
	const rd_kafka_message_t *held_message;
	unsigned above;  /* how often in a row the end was found below what was asked for */
	uint64_t at;     /* offset that the stream gives next */
	bool lost_place; /* `at` is not known: seek before reading */
	bool seeking;
	struct imgo__timer again; /* a seek that failed is tried again */
	/* the fetch under way */
	bool fetching;
	imgo_bus_fetch_cb *cb;
	void *user;
	uint64_t from;
	size_t records_max, bytes_max;
	struct imgo__timer deadline;
	/* what is done: told to librdkafka in batches, then committed */
	uint64_t done, stored, committed;
};

struct imgo__kconsumer {
	struct imgo__list link; /* in k->consumers */
	struct imgo__kafka *k;
	enum imgo_topic topic;
	char *group;
	const struct imgo_bus_consumer_ops *ops;
	void *user;
	struct imgo__kclient *client;
	rd_kafka_queue_t *queue;
	struct imgo__kwatch watch;
	struct imgo__timer tick;
	struct imgo__task store, serve, bye;
	/* the rebalance under way */
	enum { IMGO__KC_STEADY, IMGO__KC_ASSIGNING, IMGO__KC_REVOKING, IMGO__KC_COMMITTING } state;
	rd_kafka_topic_partition_list_t *list;
	rd_kafka_event_t *next[4];                  /* rebalances that wait for it */
	unsigned n_next, held, jobs, seeks, doubts; /* jobs: on workers, and walks that call out: keep the struct */
	uint64_t round;                             /* of assignments: an answer of an older one is ignored */
	struct imgo__timer deadline;
	bool telling, lost, gone, failed; /* telling: a walk that says revoked() is under way */
	uint32_t n_parts;
	struct imgo__kpart parts[];
};

/* kafka_consume.c */
int imgo__ksubscribe(void *impl, enum imgo_topic topic, const char *group, const struct imgo_bus_consumer_ops *ops,
	void *user, void **consumer);
void imgo__kunsubscribe(void *consumer);
void imgo__kdone(void *consumer, uint32_t partition, uint64_t next);
void imgo__kconsumer_start(struct imgo__kconsumer *c); /* the topics are there */
void imgo__kconsumer_fail(struct imgo__kconsumer *c, int err, const char *text);
void imgo__kconsumers_bye(struct imgo__kafka *k);      /* those that left inside a callback */
void imgo__kconsumer_unjob(struct imgo__kconsumer *c); /* a job on a worker has ended: maybe the consumer with it */

/* kafka_group.c */
void imgo__kreleased(void *consumer, uint32_t partition);
void imgo__kgroup_store(struct imgo__kconsumer *c);  /* tells librdkafka what is done */
void imgo__kgroup_step(struct imgo__kconsumer *c);   /* works off the next rebalance, when none is under way */
void imgo__kgroup_finish(struct imgo__kconsumer *c); /* what was to be committed is, or time is up: unassigns */
void imgo__kgroup_deadline(struct imgo_loop *loop, struct imgo__timer *timer);

/* kafka_fetch.c */
int imgo__kfetch(void *consumer, uint32_t partition, uint64_t from, size_t records_max, size_t bytes_max,
	unsigned wait_ms, imgo_bus_fetch_cb *cb, void *user);
void imgo__kpart_init(struct imgo__kpart *part, struct imgo__kconsumer *c, uint32_t partition);
int imgo__kpart_open(struct imgo__kpart *part, uint64_t at); /* before rd_kafka_assign */
void imgo__kpart_cancel(struct imgo__kpart *part);           /* ends its fetch with IMGO_ECANCELED */
void imgo__kpart_close(struct imgo__kpart *part);
void imgo__kfetch_serve(struct imgo__kconsumer *c);
void imgo__kpart_error(struct imgo__kpart *part, rd_kafka_resp_err_t err);

#endif
