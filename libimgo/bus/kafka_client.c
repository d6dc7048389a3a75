/* SPDX-License-Identifier: MIT */
/*
 * Instances of librdkafka, and how their queues wake the loop.
 *
 * Closing one (leaving a group, rd_kafka_destroy) can block for long, so that is done by a detached thread
 * each. Freeing the bus waits for these up to IMGO__KAFKA_CLOSE_MS, then abandons them: they touch only
 * `struct imgo__kshared`, which the last one frees.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "base/error.h"
#include "bus/kafka.h"

/* ---- what outlives the bus ---- */

struct imgo__kshared *imgo__kshared_new(struct imgo_log *log)
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
void imgo__kshared_leave(struct imgo__kshared *s)
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
	enum imgo_log_level l = level <= 2   ? IMGO_LOG_ERROR
				: level <= 4 ? IMGO_LOG_WARN
				: level <= 6 ? IMGO_LOG_INFO
					     : IMGO_LOG_DEBUG;

	if (level == 3) /* librdkafka's "error" is a connection that failed: it goes on by itself */
		l = IMGO_LOG_WARN;
	pthread_mutex_lock(&s->lock);
	imgo_log_event(s->log, l, "bus", "librdkafka", "facility=%s text=%s", facility, text);
	pthread_mutex_unlock(&s->lock);
}

/* ---- instances ---- */

static int make_conf(rd_kafka_conf_t **out, struct imgo__kafka *k, const char *const *pairs, char *text, size_t size)
{
	rd_kafka_conf_t *conf = rd_kafka_conf_new();
	const char *const common[] = {"bootstrap.servers", k->o.brokers, "client.id", "imgo", "log.connection.close",
		"false", "socket.nagle.disable", "true", "socket.keepalive.enable", "true", "reconnect.backoff.ms",
		"50", "reconnect.backoff.max.ms", "1000", "topic.metadata.refresh.interval.ms", "30000", NULL};
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
	int events =
		RD_KAFKA_EVENT_ERROR |
		(type == RD_KAFKA_PRODUCER ? RD_KAFKA_EVENT_DR : RD_KAFKA_EVENT_REBALANCE | RD_KAFKA_EVENT_OFFSET_COMMIT);

	if (!client) {
		snprintf(text, size, "out of memory");
		return NULL;
	}
	if (make_conf(&conf, k, pairs, text, size)) {
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

/* Leaves the group: what was stored is committed first, then the partitions are given up without asking
 * anybody. */
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
