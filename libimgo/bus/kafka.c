/* SPDX-License-Identifier: MIT */
/*
 * The Kafka bus: the handle. Everything happens on the loop's thread, woken by an eventfd of each queue
 * (kafka_client.c). What blocks in librdkafka (metadata, admin, offsets, seek) runs on a small pool; a job
 * holds a reference of its instance.
 */
#include "bus/kafka.h"

#include <stdio.h>

#include "base/error.h"
#include "bus/kafka_consume.h"

static void collect(struct imgo__collector *collector)
{
	struct imgo__kafka *k = imgo__container_of(collector, struct imgo__kafka, collector);

	imgo__gauge_set(&k->queue, k->p.n);
	imgo__gauge_set(&k->queue_bytes, (int64_t)k->p.bytes);
}

static void free_all(struct imgo__kafka *k)
{
	imgo__collector_remove(&k->collector);
	imgo__gauge_set(&k->queue, 0);
	imgo__gauge_set(&k->queue_bytes, 0);
	for (int t = 0; t < IMGO_TOPICS; t++)
		free(k->names[t]);
	free((char *)k->o.brokers);
	free((char *)k->o.prefix);
	free(k);
}

static void kafka_destroy(struct imgo__kafka *k)
{
	k->closing = true;
	imgo__timer_stop(k->loop, &k->check);
	imgo__timer_stop(k->loop, &k->probe);
	while (!imgo__list_empty(&k->consumers))
		imgo__kunsubscribe(imgo__container_of(k->consumers.next, struct imgo__kconsumer, link));
	imgo__kconsumers_bye(k);
	imgo__kproducer_fini(k);
	imgo__pool_free(k->pool); /* jobs drop their references here */
	imgo__task_cancel(&k->task);
	imgo__kshared_leave(k->shared);
	free_all(k);
}

static void destroy_later(struct imgo_loop *loop, struct imgo__task *task)
{
	(void)loop;
	kafka_destroy(imgo__container_of(task, struct imgo__kafka, task));
}

static void kafka_free(void *impl)
{
	struct imgo__kafka *k = impl;

	k->closing = true;
	if (k->depth == 0)
		kafka_destroy(k);
}

void imgo__kafka_leave(struct imgo__kafka *k)
{
	if (--k->depth == 0 && k->closing)
		imgo__defer(k->loop, &k->task);
}

static uint32_t kafka_epoch(void *impl)
{
	return ((struct imgo__kafka *)impl)->o.epoch;
}

static uint32_t kafka_partitions(void *impl, enum imgo_topic topic)
{
	return ((struct imgo__kafka *)impl)->partitions[topic];
}

static bool kafka_ready(void *impl)
{
	struct imgo__kafka *k = impl;

	return k->topics_ok && !k->down && !k->broken && !k->closing;
}

static const struct imgo_bus_ops ops = {
	.size = sizeof ops,
	.free = kafka_free,
	.epoch = kafka_epoch,
	.partitions = kafka_partitions,
	.ready = kafka_ready,
	.produce_many = imgo__kproduce_many,
	.subscribe = imgo__ksubscribe,
	.unsubscribe = imgo__kunsubscribe,
	.fetch = imgo__kfetch,
	.done = imgo__kdone,
	.released = imgo__kreleased,
	.query = imgo__kquery,
};

static void add_stats(struct imgo__kafka *k)
{
	struct imgo_stats *s = imgo_loop_stats(k->loop);

	k->produced = imgo_stats_counter(s, "imgo_bus_produced_total", "Records accepted by the bus.");
	k->refused = imgo_stats_counter(s, "imgo_bus_refused_total", "Records that the bus did not accept.");
	k->fetched = imgo_stats_counter(s, "imgo_bus_fetched_total", "Records handed to consumers.");
	k->stale = imgo_stats_counter(
		s, "imgo_bus_stale_done_total", "Done said of partitions that had moved to another consumer.");
	k->lost = imgo_stats_counter(
		s, "imgo_bus_expired_total", "Records that the bus dropped by age before they were consumed.");
	k->recreated = imgo_stats_counter(
		s, "imgo_bus_producer_recreated_total", "Fatal errors of the producer that were got over.");
	k->queue_full = imgo_stats_counter(
		s, "imgo_bus_queue_full_total", "Records refused because too many wait for the broker.");
	k->queue.stat = imgo_stats_gauge(s, "imgo_bus_queue", "Records that wait for the broker to have them.");
	k->queue_bytes.stat =
		imgo_stats_gauge(s, "imgo_bus_queue_bytes", "Bytes of the records that wait for the broker.");
	imgo__collector_add(k->loop, &k->collector, collect);
	k->up = imgo_stats_gauge(s, "imgo_bus_up", "1 while the bus is ready, else 0.");
}

static int take_options(struct imgo__kafka *k, const struct imgo_bus_kafka_options *options)
{
	struct imgo_bus_kafka_options defaults = IMGO_BUS_KAFKA_OPTIONS_INIT, *o = &k->o;

	*o = defaults;
	memcpy(o, options, options->size < sizeof *o ? options->size : sizeof *o);
#define DEFAULT(field) o->field = o->field ? o->field : defaults.field
	DEFAULT(prefix);
	DEFAULT(epoch);
	DEFAULT(partitions);
	DEFAULT(casts_partitions);
	DEFAULT(replication);
	DEFAULT(ttl_ms);
	DEFAULT(timeout_ms);
	DEFAULT(queue_max);
	DEFAULT(queue_bytes_max);
	DEFAULT(session_ms);
#undef DEFAULT
	o->brokers = imgo__strdup(o->brokers);
	o->prefix = imgo__strdup(o->prefix);
	if (!o->brokers || !o->prefix)
		return IMGO_ENOMEM;
	for (int t = 0; t < IMGO_TOPICS; t++) {
		size_t size = strlen(o->prefix) + 32;
		const char *name = imgo__topic_name((enum imgo_topic)t);
		k->partitions[t] = t == IMGO_TOPIC_CASTS ? o->casts_partitions : o->partitions;
		k->names[t] = imgo__alloc(size);
		if (!k->names[t])
			return IMGO_ENOMEM;
		if (t == IMGO_TOPIC_CASTS) /* no id of a cast is ever kept: they need no epoch */
			snprintf(k->names[t], size, "%s-%s", o->prefix, name);
		else
			snprintf(k->names[t], size, "%s-%s-e%u", o->prefix, name, o->epoch);
	}
	return 0;
}

static int check_options(const struct imgo_bus_kafka_options *o, struct imgo_error *error)
{
	if (!o || o->size < offsetof(struct imgo_bus_kafka_options, prefix) || !o->brokers || !*o->brokers)
		return imgo__fail(error, IMGO_EINVAL, "the addresses of the brokers are missing");
	if (o->prefix && (strlen(o->prefix) > 100 ||
				 strspn(o->prefix, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-") !=
					 strlen(o->prefix)))
		return imgo__fail(error, IMGO_EINVAL, "prefix: up to 100 of letters, digits, '.', '_' and '-'");
	if (o->partitions > 65536 || o->casts_partitions > 65536)
		return imgo__fail(error, IMGO_EINVAL, "too many partitions");
	return 0;
}

static int kafka_init(struct imgo__kafka *k, struct imgo_error *error)
{
	const struct imgo__pool_options pool = {.threads = 4, .jobs_max = 4096, .name = "imgo-kafka"};
	char text[200] = "";
	int err;

	k->shared = imgo__kshared_new(imgo_loop_log(k->loop));
	if (!k->shared)
		return imgo__fail(error, IMGO_ENOMEM, "no memory for the bus");
	err = imgo__pool_new(&k->pool, k->loop, &pool);
	if (err)
		return imgo__fail(error, (enum imgo_err)err, "no threads for the bus");
	err = imgo__kproducer_init(k, text, sizeof text);
	if (err) {
		imgo__kproducer_fini(k);
		return imgo__fail(error, (enum imgo_err)err, "librdkafka: %s", text);
	}
	return 0;
}

int imgo_bus_new_kafka(struct imgo_bus **out, struct imgo_loop *loop, const struct imgo_bus_kafka_options *options,
	struct imgo_error *error)
{
	struct imgo__kafka *k;
	int err = check_options(options, error);

	if (err)
		return err;
	if (!out || !loop)
		return imgo__fail(error, IMGO_EINVAL, "out and loop must not be NULL");
	k = imgo__zalloc(sizeof *k);
	if (!k)
		return imgo__fail(error, IMGO_ENOMEM, "no memory for the bus");
	k->loop = loop;
	imgo__list_init(&k->consumers);
	imgo__list_init(&k->leaving);
	imgo__task_init(&k->task, destroy_later);
	add_stats(k);
	err = take_options(k, options);
	if (err)
		imgo__fail(error, (enum imgo_err)err, "no memory for the bus");
	else
		err = kafka_init(k, error);
	if (err) {
		if (k->pool)
			imgo__pool_free(k->pool);
		if (k->shared)
			imgo__kshared_leave(k->shared);
		free_all(k);
		return err;
	}
	imgo__ktopics_start(k);
	return imgo_bus_new_custom(out, loop, &ops, k);
}
