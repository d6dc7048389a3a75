/* SPDX-License-Identifier: MIT */
/*
 * The Kafka bus: the handle, and the life of librdkafka's instances.
 *
 * Everything happens on the loop's thread, woken by an eventfd of each queue. What blocks in librdkafka (metadata,
 * admin, offsets, seek) runs on a small pool; a job holds a reference of its instance. Closing one (leaving a group,
 * rd_kafka_destroy) can block for long, so that is done by a detached thread each; freeing the bus waits for these up
 * to IMGO__KAFKA_CLOSE_MS, then abandons them: they touch only `struct imgo__kshared`, which the last one frees.
 */
#include "bus/kafka.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "base/error.h"
#include "bus/kafka_consume.h"

/* ---- what outlives the bus ---- */

static struct imgo__kshared *shared_new(struct imgo_log *log)
{
	struct imgo__kshared *s = imgo__zalloc(sizeof *s);
	pthread_condattr_t attr;

	if (!s)
		return NULL;
	pthread_mutex_init(&s->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&s->gone, &attr);
	pthread_condattr_destroy(&attr);
	s->log = log;
	s->refs = 1;
	return s;
}

static void shared_unref(struct imgo__kshared *s, bool closer)
{
	bool last;

	pthread_mutex_lock(&s->lock);
	if (closer) {
		s->closing--;
		pthread_cond_signal(&s->gone);
	}
	last = --s->refs == 0;
	pthread_mutex_unlock(&s->lock);
	if (!last)
		return;
	pthread_cond_destroy(&s->gone);
	pthread_mutex_destroy(&s->lock);
	free(s);
}

/* Waits for the closers, for a bounded time; from then on none of them logs. */
static void shared_leave(struct imgo__kshared *s)
{
	struct timespec until;

	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += IMGO__KAFKA_CLOSE_MS / 1000;
	pthread_mutex_lock(&s->lock);
	while (s->closing && pthread_cond_timedwait(&s->gone, &s->lock, &until) == 0)
		;
	if (s->closing)
		imgo_log_event(s->log, IMGO_LOG_WARN, "bus", "kafka-abandoned", "clients=%u", s->closing);
	s->log = NULL;
	pthread_mutex_unlock(&s->lock);
	shared_unref(s, false);
}

static void log_line(const rd_kafka_t *rk, int level, const char *facility, const char *text)
{
	struct imgo__kshared *s = rd_kafka_opaque(rk);
	enum imgo_log_level l = level <= 2 ? IMGO_LOG_ERROR
		: level <= 4	       ? IMGO_LOG_WARN
		: level <= 6	       ? IMGO_LOG_INFO
				       : IMGO_LOG_DEBUG;

	if (level == 3) /* librdkafka's "error" is a connection that failed: it goes on by itself */
		l = IMGO_LOG_WARN;
	pthread_mutex_lock(&s->lock);
	imgo_log_event(s->log, l, "bus", "librdkafka", "facility=%s text=%s", facility, text);
	pthread_mutex_unlock(&s->lock);
}

/* ---- instances ---- */

int imgo__kafka_conf(rd_kafka_conf_t **out, struct imgo__kafka *k, const char *const *pairs, char *text, size_t size)
{
	rd_kafka_conf_t *conf = rd_kafka_conf_new();
	const char *const common[] = {"bootstrap.servers", k->o.brokers, "client.id", "imgo", "log.connection.close",
		"false", "socket.nagle.disable", "true", "socket.keepalive.enable", "true", "reconnect.backoff.ms", "50",
		"reconnect.backoff.max.ms", "1000", "topic.metadata.refresh.interval.ms", "30000", NULL};
	const char *const *lists[] = {common, pairs};

	for (int l = 0; l < 2; l++)
		for (const char *const *p = lists[l]; *p; p += 2)
			if (rd_kafka_conf_set(conf, p[0], p[1], text, size) != RD_KAFKA_CONF_OK) {
				rd_kafka_conf_destroy(conf);
				return IMGO_EINVAL;
			}
	rd_kafka_conf_set_opaque(conf, k->shared);
	rd_kafka_conf_set_log_cb(conf, log_line);
	*out = conf;
	return 0;
}

struct imgo__kclient *imgo__kclient_new(
	struct imgo__kafka *k, rd_kafka_type_t type, const char *const *pairs, char *text, size_t size)
{
	struct imgo__kclient *client = imgo__zalloc(sizeof *client);
	rd_kafka_conf_t *conf;
	int events = RD_KAFKA_EVENT_ERROR |
		(type == RD_KAFKA_PRODUCER ? RD_KAFKA_EVENT_DR
					   : RD_KAFKA_EVENT_REBALANCE | RD_KAFKA_EVENT_OFFSET_COMMIT);

	if (!client) {
		snprintf(text, size, "out of memory");
		return NULL;
	}
	if (imgo__kafka_conf(&conf, k, pairs, text, size)) {
		free(client);
		return NULL;
	}
	rd_kafka_conf_set_events(conf, events);
	client->rk = rd_kafka_new(type, conf, text, size);
	if (!client->rk) {
		rd_kafka_conf_destroy(conf);
		free(client);
		return NULL;
	}
	client->k = k;
	client->refs = 1;
	client->consumer = type == RD_KAFKA_CONSUMER;
	pthread_mutex_lock(&k->shared->lock);
	k->shared->refs++;
	pthread_mutex_unlock(&k->shared->lock);
	return client;
}

struct imgo__kclient *imgo__kclient_ref(struct imgo__kclient *client)
{
	client->refs++;
	return client;
}

/* Leaves the group: what was stored is committed first, then the partitions are given up without asking anybody. */
static void consumer_close(rd_kafka_t *rk)
{
	rd_kafka_queue_t *queue = rd_kafka_queue_new(rk);
	rd_kafka_error_t *error;

	rd_kafka_commit(rk, NULL, 0);
	error = rd_kafka_consumer_close_queue(rk, queue);
	for (int i = 0; !error && i < 100 && !rd_kafka_consumer_closed(rk); i++) {
		rd_kafka_event_t *ev = rd_kafka_queue_poll(queue, 50);
		if (ev && rd_kafka_event_type(ev) == RD_KAFKA_EVENT_REBALANCE)
			rd_kafka_assign(rk, NULL);
		if (ev)
			rd_kafka_event_destroy(ev);
	}
	if (error)
		rd_kafka_error_destroy(error);
	rd_kafka_queue_destroy(queue);
}

static void *closer(void *arg)
{
	struct imgo__kclient *client = arg;
	struct imgo__kshared *shared = rd_kafka_opaque(client->rk);

	if (client->consumer)
		consumer_close(client->rk);
	else
		rd_kafka_purge(client->rk, RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_INFLIGHT);
	for (int t = 0; t < IMGO_TOPICS; t++)
		if (client->topics[t])
			rd_kafka_topic_destroy(client->topics[t]);
	rd_kafka_destroy_flags(client->rk, RD_KAFKA_DESTROY_F_NO_CONSUMER_CLOSE);
	free(client);
	shared_unref(shared, true);
	return NULL;
}

void imgo__kclient_unref(struct imgo__kclient *client)
{
	struct imgo__kshared *shared;
	sigset_t all, before;
	pthread_t thread;
	int err;

	if (!client || --client->refs)
		return;
	shared = rd_kafka_opaque(client->rk);
	pthread_mutex_lock(&shared->lock);
	shared->closing++;
	pthread_mutex_unlock(&shared->lock);
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	err = pthread_create(&thread, NULL, closer, client);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (err)
		closer(client); /* no thread to be had: better late than never */
	else
		pthread_detach(thread);
}

/* ---- queues that wake the loop ---- */

static void watch_io(struct imgo_loop *loop, struct imgo__io *io, int events)
{
	struct imgo__kwatch *watch = imgo__container_of(io, struct imgo__kwatch, io);
	uint64_t n;

	(void)loop;
	(void)events;
	if (read(watch->fd, &n, sizeof n) < 0 && errno != EAGAIN)
		return;
	watch->fn(watch);
}

static void watch_task(struct imgo_loop *loop, struct imgo__task *task)
{
	struct imgo__kwatch *watch = imgo__container_of(task, struct imgo__kwatch, task);

	(void)loop;
	watch->fn(watch);
}

int imgo__kwatch_open(struct imgo__kwatch *watch, struct imgo__kafka *k, void (*fn)(struct imgo__kwatch *))
{
	watch->fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (watch->fd < 0)
		return imgo__from_errno(errno);
	watch->fn = fn;
	imgo__task_init(&watch->task, watch_task);
	imgo__io_init(&watch->io, watch_io, watch->fd);
	imgo__io_set(k->loop, &watch->io, IMGO__READ);
	return 0;
}

void imgo__kwatch_add(struct imgo__kwatch *watch, rd_kafka_queue_t *queue)
{
	static const uint64_t one = 1;

	rd_kafka_queue_io_event_enable(queue, watch->fd, &one, sizeof one);
}

void imgo__kwatch_again(struct imgo__kwatch *watch, struct imgo__kafka *k)
{
	imgo__defer(k->loop, &watch->task);
}

/* Disable the queues' events first: librdkafka writes to the descriptor. */
void imgo__kwatch_close(struct imgo__kwatch *watch, struct imgo__kafka *k)
{
	if (watch->fd < 0)
		return;
	imgo__task_cancel(&watch->task);
	imgo__io_set(k->loop, &watch->io, 0);
	close(watch->fd);
	watch->fd = -1;
}

int imgo__kafka_err(rd_kafka_resp_err_t err)
{
	switch (err) {
	case RD_KAFKA_RESP_ERR_NO_ERROR:
		return 0;
	case RD_KAFKA_RESP_ERR__QUEUE_FULL:
	case RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE:
	case RD_KAFKA_RESP_ERR_RECORD_LIST_TOO_LARGE:
		return IMGO_ELIMIT;
	case RD_KAFKA_RESP_ERR__INVALID_ARG:
		return IMGO_EINVAL;
	case RD_KAFKA_RESP_ERR__TIMED_OUT:
	case RD_KAFKA_RESP_ERR__MSG_TIMED_OUT:
		return IMGO_ETIMEDOUT;
	case RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED:
	case RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED:
		return IMGO_EDENIED;
	case RD_KAFKA_RESP_ERR_KAFKA_STORAGE_ERROR:
		return IMGO_EIO;
	default:
		return IMGO_EUNAVAILABLE;
	}
}

/* ---- the handle ---- */

static void free_all(struct imgo__kafka *k)
{
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
	shared_leave(k->shared);
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

	k->shared = shared_new(imgo_loop_log(k->loop));
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

int imgo_bus_new_kafka(struct imgo_bus **out, struct imgo_loop *loop,
	const struct imgo_bus_kafka_options *options, struct imgo_error *error)
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
			shared_leave(k->shared);
		free_all(k);
		return err;
	}
	imgo__ktopics_start(k);
	return imgo_bus_new_custom(out, loop, &ops, k);
}
