/* SPDX-License-Identifier: MIT */
/*
 * The HTTP server's life: listeners and the end of it all.
 *
 * Accepting pauses when there is no room: at the maximum of connections (after one that idles was sent away
 * in favour of the new one, if there is any), and when the process has no descriptors, where a
 * level-triggered listener would spin. It goes on when a connection ends, or after a moment.
 */
#include "service/httpd_impl.h"

#include <netinet/in.h>

#include <imgo/error.h>

/* ---- accepting ---- */

static void listeners_set(struct imgo__httpd *httpd, int events)
{
	for (unsigned i = 0; i < httpd->nlisteners; i++) {
		if (httpd->listeners[i].fd >= 0)
			imgo__io_set(httpd->loop, &httpd->listeners[i].io, events);
	}
}

static void pause_accept(struct imgo__httpd *httpd)
{
	listeners_set(httpd, 0);
	imgo__timer_start(httpd->loop, &httpd->pause, IMGO__HTTPD_PAUSE_MS);
}

static void on_pause_over(struct imgo_loop *loop, struct imgo__timer *timer)
{
	(void)loop;
	listeners_set(imgo__container_of(timer, struct imgo__httpd, pause), IMGO__READ);
}

/* Makes room at the cost of the connection that has been idle for longest. */
static bool evict(struct imgo__httpd *httpd)
{
	struct imgo__httpd_conn *conn;

	if (imgo__list_empty(&httpd->idle))
		return false;
	conn = imgo__container_of(httpd->idle.next, struct imgo__httpd_conn, idle);
	if (imgo__loop_now_ms(httpd->loop) - conn->idle_since_ms < IMGO__HTTPD_EVICT_MS)
		return false;
	imgo_stat_add(httpd->stats.evicted, 1);
	imgo__httpd_conn_free(conn, false);
	return true;
}

static void on_acceptable(struct imgo_loop *loop, struct imgo__io *io, int events)
{
	struct imgo__httpd_listener *listener = imgo__container_of(io, struct imgo__httpd_listener, io);
	struct imgo__httpd *httpd = listener->httpd;
	unsigned index = (unsigned)(listener - httpd->listeners);
	struct imgo__addr peer;
	uint32_t times;
	int fd, err;

	(void)events;
	if (httpd->nconns >= httpd->options.connections_max && !evict(httpd)) {
		imgo_stat_add(httpd->stats.refused_full, 1);
		if (imgo__seldom(&httpd->full, imgo__loop_now_ms(loop), &times))
			imgo_log_event(imgo_loop_log(loop), IMGO_LOG_WARN, "http", "connections-full",
				"times=%u connections=%u", times, httpd->nconns);
		pause_accept(httpd);
		return;
	}
	for (int i = 0; i < IMGO__HTTPD_ACCEPT_BATCH && httpd->nconns < httpd->options.connections_max; i++) {
		err = imgo__sock_accept(loop, listener->fd, &fd, &peer);
		if (err == IMGO_ETIMEDOUT)
			return;
		if (err == 0)
			err = imgo__httpd_conn_new(httpd, fd, index, imgo__addr_is_loopback(&peer));
		if (err < 0) {
			imgo_stat_add(httpd->stats.no_fds, 1);
			pause_accept(httpd);
			return;
		}
		imgo_stat_add(httpd->stats.accepted, 1);
	}
}

void imgo__httpd_conn_gone(struct imgo__httpd *httpd)
{
	if (httpd->stopping && httpd->nconns == 0) {
		imgo__defer(httpd->loop, &httpd->stopped);
	} else if (imgo__timer_active(&httpd->pause)) {
		imgo__timer_stop(httpd->loop, &httpd->pause);
		listeners_set(httpd, IMGO__READ);
	}
}

int imgo__httpd_listen(struct imgo__httpd *httpd, const struct imgo__addr *addr)
{
	struct imgo__httpd_listener *listener = &httpd->listeners[httpd->nlisteners];
	int err;

	if (httpd->nlisteners == IMGO__HTTPD_LISTENERS_MAX)
		return IMGO_ELIMIT;
	err = imgo__sock_listen(httpd->loop, addr, IMGO__HTTPD_BACKLOG, false, &listener->fd);
	if (err < 0)
		return err;
	listener->httpd = httpd;
	imgo__io_init(&listener->io, on_acceptable, listener->fd);
	imgo__io_set(httpd->loop, &listener->io, IMGO__READ);
	httpd->nlisteners++;
	return 0;
}

int imgo__httpd_port(const struct imgo__httpd *httpd, unsigned listener)
{
	struct imgo__addr addr;

	if (listener >= httpd->nlisteners || httpd->listeners[listener].fd < 0 ||
		imgo__sock_local(httpd->loop, httpd->listeners[listener].fd, &addr) < 0)
		return 0;
	if (addr.ss.ss_family == AF_INET)
		return ntohs(((const struct sockaddr_in *)&addr.ss)->sin_port);
	if (addr.ss.ss_family == AF_INET6)
		return ntohs(((const struct sockaddr_in6 *)&addr.ss)->sin6_port);
	return 0;
}

static void close_listeners(struct imgo__httpd *httpd)
{
	imgo__timer_stop(httpd->loop, &httpd->pause);
	for (unsigned i = 0; i < httpd->nlisteners; i++) {
		struct imgo__httpd_listener *listener = &httpd->listeners[i];
		if (listener->fd < 0)
			continue;
		imgo__io_set(httpd->loop, &listener->io, 0);
		imgo__sock_close(httpd->loop, listener->fd);
		listener->fd = -1;
	}
}

/* ---- stopping ---- */

static void reset_all(struct imgo__httpd *httpd)
{
	while (!imgo__list_empty(&httpd->conns))
		imgo__httpd_conn_free(imgo__container_of(httpd->conns.next, struct imgo__httpd_conn, link), true);
}

static void finish_stop(struct imgo__httpd *httpd)
{
	void (*done)(void *user) = httpd->done;

	imgo__timer_stop(httpd->loop, &httpd->deadline);
	imgo__task_cancel(&httpd->stopped);
	httpd->done = NULL;
	if (done)
		done(httpd->done_user); /* may free httpd */
}

static void on_stopped(struct imgo_loop *loop, struct imgo__task *task)
{
	(void)loop;
	finish_stop(imgo__container_of(task, struct imgo__httpd, stopped));
}

static void on_deadline(struct imgo_loop *loop, struct imgo__timer *timer)
{
	struct imgo__httpd *httpd = imgo__container_of(timer, struct imgo__httpd, deadline);

	(void)loop;
	reset_all(httpd);
	finish_stop(httpd);
}

void imgo__httpd_stop(struct imgo__httpd *httpd, uint64_t deadline_ms, void (*done)(void *user), void *user)
{
	if (httpd->stopping)
		return;
	httpd->stopping = true;
	httpd->done = done;
	httpd->done_user = user;
	close_listeners(httpd);
	imgo__list_for(at, &httpd->conns) imgo__httpd_conn_stop(imgo__container_of(at, struct imgo__httpd_conn, link));
	if (httpd->nconns == 0)
		imgo__defer(httpd->loop, &httpd->stopped);
	else
		imgo__timer_start(httpd->loop, &httpd->deadline, deadline_ms);
}

bool imgo__httpd_stopping(const struct imgo__httpd *httpd)
{
	return httpd->stopping;
}

/* ---- life ---- */

static void collect(struct imgo__collector *collector)
{
	struct imgo__httpd *httpd = imgo__container_of(collector, struct imgo__httpd, collector);
	int64_t n = 0;

	imgo__list_for(at, &httpd->conns) n += imgo__container_of(at, struct imgo__httpd_conn, link)->nrequests;
	imgo__gauge_set(&httpd->stats.in_flight, n);
	imgo__gauge_set(&httpd->stats.held, (int64_t)httpd->held);
}

static void enter_stats(struct imgo__httpd *httpd, struct imgo_stats *set)
{
	struct imgo__httpd_stats *s = &httpd->stats;

#define REFUSED(reason) imgo_stats_counter(set, "imgo_http_refused_total{reason=\"" reason "\"}", refused)
	static const char refused[] = "requests that the server refused by itself";

	s->connections = imgo_stats_gauge(set, "imgo_http_connections", "HTTP connections");
	s->accepted = imgo_stats_counter(set, "imgo_http_accepted_total", "HTTP connections accepted");
	s->requests = imgo_stats_counter(set, "imgo_http_heads_total", "HTTP requests whose head was understood");
	s->refused_full = imgo_stats_counter(
		set, "imgo_http_accept_full_total", "times that accepting paused because of connections-max");
	s->evicted = imgo_stats_counter(
		set, "imgo_http_evicted_total", "idle connections that gave way to a new one at connections-max");
	s->no_fds = imgo_stats_counter(
		set, "imgo_http_accept_failed_total", "times that accepting paused for want of descriptors or memory");
	s->malformed = REFUSED("malformed");
	s->head_too_large = REFUSED("head_too_large");
	s->body_too_large = REFUSED("body_too_large");
	s->overload = REFUSED("overload");
	s->timeout = imgo_stats_counter(set, "imgo_http_timeouts_total{what=\"request\"}", "deadlines that passed");
	s->slow_reader = imgo_stats_counter(set, "imgo_http_timeouts_total{what=\"answer\"}", "deadlines that passed");
	s->idle = imgo_stats_counter(set, "imgo_http_timeouts_total{what=\"idle\"}", "deadlines that passed");
#undef REFUSED
	s->seconds = imgo_stats_histogram(
		set, httpd->loop, "imgo_http_request_seconds", "from the head of a request to the API to its answer");
	s->in_flight.stat = imgo_stats_gauge(set, "imgo_http_in_flight", "requests to the API that wait for their answer");
	s->held.stat = imgo_stats_gauge(set, "imgo_http_held_bytes", "requests and answers in the memory of the API");
	imgo__collector_add(httpd->loop, &httpd->collector, collect);
}

int imgo__httpd_new(struct imgo__httpd **out, struct imgo_loop *loop, const struct imgo__httpd_options *options)
{
	struct imgo__httpd *httpd = imgo__zalloc(sizeof *httpd);

	if (!httpd)
		return IMGO_ENOMEM;
	httpd->loop = loop;
	httpd->options = *options;
	httpd->limits = (struct imgo__http_limits){options->target_max, options->target_max + options->headers_max,
		options->body_max, options->headers_max};
	imgo__list_init(&httpd->conns);
	imgo__list_init(&httpd->idle);
	imgo__list_init(&httpd->spare);
	imgo__timer_init(&httpd->pause, on_pause_over);
	imgo__timer_init(&httpd->deadline, on_deadline);
	imgo__task_init(&httpd->stopped, on_stopped);
	enter_stats(httpd, options->uncounted ? NULL : imgo_loop_stats(loop));
	*out = httpd;
	return 0;
}

void imgo__httpd_free(struct imgo__httpd *httpd)
{
	struct imgo__list *spare;

	if (!httpd)
		return;
	httpd->stopping = true;
	close_listeners(httpd);
	reset_all(httpd);
	collect(&httpd->collector);
	imgo__collector_remove(&httpd->collector);
	imgo__task_cancel(&httpd->stopped);
	imgo__timer_stop(httpd->loop, &httpd->deadline);
	while ((spare = imgo__list_pop(&httpd->spare)))
		free(imgo__container_of(spare, struct imgo__httpd_request, link));
	if (httpd->done)
		httpd->done(httpd->done_user);
	free(httpd);
}
