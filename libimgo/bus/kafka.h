/* SPDX-License-Identifier: MIT */
/*
 * The Kafka bus inside. kafka.c has the handle, kafka_client.c librdkafka's instances, kafka_topics.c makes and checks
 * the topics and watches whether the broker answers, kafka_produce.c produces, kafka_consume.c is a consumer,
 * kafka_group.c its rebalances, kafka_fetch.c reads partitions, kafka_query.c asks for offsets. Only these include
 * rdkafka.h.
 */
#ifndef IMGO__BUS_KAFKA_H
#define IMGO__BUS_KAFKA_H

#include <pthread.h>

#include <librdkafka/rdkafka.h>

#include "base/mem.h"
#include "base/seldom.h"
#include "bus/bus.h"
#include "loop/loop.h"

#define IMGO__KAFKA_RPC_MS   2000u /* of a blocking request on a worker */
#define IMGO__KAFKA_CLOSE_MS 5000u /* freeing the bus takes no longer than about this */
enum { IMGO__KAFKA_BATCH = 256 };  /* records of one fetch, and events of one turn */

/* What librdkafka's threads and the closers touch; lives until the last of them has gone. */
struct imgo__kshared {
	pthread_mutex_t lock;
	pthread_cond_t gone;
	struct imgo_log *log; /* NULL once the bus is gone */
	unsigned refs, closing;
};

/* A queue of librdkafka that wakes the loop. Its event descriptor speaks only when the queue was empty, so a wake-up
 * means: poll until it is empty again, or come back by yourself. */
struct imgo__kwatch {
	struct imgo__io io;
	struct imgo__task task;
	int fd; /* -1: not open */
	void (*fn)(struct imgo__kwatch *watch);
};

/* An instance of librdkafka, shared with jobs on workers. Counted on the loop's thread; the last one out closes it. */
struct imgo__kclient {
	rd_kafka_t *rk;
	rd_kafka_topic_t *topics[IMGO_TOPICS]; /* of producers */
	struct imgo__kafka *k;
	unsigned refs;
	bool consumer;
};

struct imgo__kproducer {
	struct imgo__kclient *client;
	rd_kafka_queue_t *queue;
	struct imgo__kwatch watch;
	struct imgo__list unacked, orphans; /* messages in librdkafka: wanted, and whose call has ended (kafka_produce.c) */
	struct imgo__list ops, ready;       /* calls under way; calls that have ended */
	struct imgo__task task;
	struct imgo__timer recreate;
	unsigned n;
	size_t bytes;
	bool fatal;
	uint64_t recreated_ms;       /* when the last instance was made after a fatal error */
	uint64_t *ends[IMGO_TOPICS]; /* by partition: one past the highest offset acknowledged */
};

struct imgo__kafka {
	struct imgo_loop *loop;
	struct imgo__kshared *shared;
	struct imgo__pool *pool;
	struct imgo_bus_kafka_options o; /* strings are copies */
	char *names[IMGO_TOPICS];
	uint32_t partitions[IMGO_TOPICS];
	struct imgo__kproducer p;
	struct imgo__list consumers, leaving; /* leaving: gone, at the end of this turn */
	struct imgo__timer check, probe;      /* kafka_topics.c */
	bool checking, probing, topics_ok, down, broken, closing;
	char wrong[240]; /* what is wrong with the topics, said last; "" nothing */
	unsigned depth;  /* inside callbacks: freeing waits */
	struct imgo__task task;
	struct imgo_stat *produced, *refused, *fetched, *stale, *lost, *recreated, *up, *queue_full;
	struct imgo__gauge queue, queue_bytes;
	struct imgo__seldom full; /* in the log */
	struct imgo__collector collector;
};

/* kafka.c */
void imgo__kafka_leave(struct imgo__kafka *k); /* after a callback: depth-- */

/* kafka_client.c */
struct imgo__kshared *imgo__kshared_new(struct imgo_log *log);
void imgo__kshared_leave(struct imgo__kshared *shared); /* waits for the closers, for a bounded time */
struct imgo__kclient *imgo__kclient_new(
	struct imgo__kafka *k, rd_kafka_type_t type, const char *const *pairs, char *text, size_t size);
struct imgo__kclient *imgo__kclient_ref(struct imgo__kclient *client);
void imgo__kclient_unref(struct imgo__kclient *client);
int imgo__kwatch_open(struct imgo__kwatch *watch, struct imgo__kafka *k, void (*fn)(struct imgo__kwatch *));
void imgo__kwatch_add(struct imgo__kwatch *watch, rd_kafka_queue_t *queue);
void imgo__kwatch_again(struct imgo__kwatch *watch, struct imgo__kafka *k); /* the budget is used up: go on soon */
void imgo__kwatch_close(struct imgo__kwatch *watch, struct imgo__kafka *k);
int imgo__kafka_err(rd_kafka_resp_err_t err);

/* kafka_topics.c */
void imgo__ktopics_start(struct imgo__kafka *k);
void imgo__ktopics_suspect(struct imgo__kafka *k); /* something failed: ask whether the broker answers */
void imgo__ktopics_answered(struct imgo__kafka *k);

/* kafka_produce.c */
int imgo__kproducer_init(struct imgo__kafka *k, char *text, size_t size);
void imgo__kproducer_fini(struct imgo__kafka *k);
int imgo__kproduce_many(void *impl, enum imgo_topic topic, struct imgo_bus_record *records, size_t n,
	imgo_bus_produce_cb *cb, void *user);

/* kafka_query.c */
int imgo__kquery(
	void *impl, enum imgo_topic topic, uint32_t partition, uint64_t since_ms, imgo_bus_query_cb *cb, void *user);
/* On a worker: the ends of partitions. list's offsets are replaced by them. which: RD_KAFKA_OFFSET_BEGINNING or _END. */
rd_kafka_resp_err_t imgo__klist_offsets(rd_kafka_t *rk, rd_kafka_topic_partition_list_t *list, int64_t which);

#endif
