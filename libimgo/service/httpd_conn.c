/* SPDX-License-Identifier: MIT */
/*
 * One connection of the HTTP server.
 *
 * INPUT is read into the server's one buffer and taken from there; only what is not a whole request yet is
 * copied into `in`, and from then on input goes through `in` until it is empty. So a connection at rest has
 * no input buffer. A request whose head was seen but whose body is not complete has its struct already
 * (`reading`, the last of the list) and `need`, its length, so that its head is parsed twice at most, however
 * slowly the body comes. A head that is not complete is looked at again only when a line has ended, and there are
 * not many of those: heads may be long (goim's push/mids has its users in the target).
 *
 * Nothing is taken while the connection is `full`: too many requests under way, or too many bytes to be
 * written. Then it is not read either; what was read before stays in `in`, and the task goes on with it when
 * there is room.
 *
 * THE END. `last` says that no further request is taken: the client asked for it, framing was lost, or the
 * server stops. What still comes is dropped. When all answers are written: FIN, and the connection lingers
 * until the client's FIN, or a second, because closing with unread input would send a reset, which can
 * overtake the answer.
 *
 * TWO TIMERS. `incoming` runs from the first byte of a request to its last and never starts again on
 * progress; it is stopped while we are the ones who do not read. `waiting` is for the other states (enum
 * imgo__httpd_wait).
 *
 * A connection is freed only from its own callbacks (input, task, timers) and from the server's, never inside
 * the calls to the user: an answer given there only marks and defers.
 */
#include "service/httpd_impl.h"

#include <imgo/error.h>

static bool full(const struct imgo__httpd_conn *conn)
{
	const struct imgo__httpd_options *o = &conn->httpd->options;

	return conn->nrequests - (conn->reading ? 1 : 0) >= o->pipeline_max ||
	       imgo__httpd_output(conn) + conn->answers >= o->output_max;
}

void imgo__httpd_account(struct imgo__httpd_conn *conn)
{
	size_t held = conn->in.cap + conn->out.cap + conn->answers;

	conn->httpd->held = conn->httpd->held - conn->held + held;
	conn->held = held;
}

/* ---- requests ---- */

/* A head was seen for the first time. False: the request was answered; its body, if any, is to be discarded.
 */
static bool begin(struct imgo__httpd_conn *conn, const struct imgo__http_request *head, bool whole)
{
	struct imgo__httpd *httpd = conn->httpd;
	const struct imgo__httpd_ops *ops = httpd->options.ops;
	struct imgo__httpd_request *request = imgo__httpd_request_new(conn, head);
	bool unsure = head->expect_continue && !whole;

	imgo_stat_add(httpd->stats.requests, 1);
	if (!request || httpd->held > httpd->options.bytes_max) {
		imgo__httpd_refuse(conn, request, 503);
		return false;
	}
	if (request->close || httpd->stopping)
		request->close = conn->last = true;
	/* Whether the body of a request that is refused instead of continued will come, nobody knows. */
	if (unsure)
		request->close = true;
	if (ops->head && !ops->head(request, head, conn->listener, httpd->options.user)) {
		conn->last |= unsure;
		return false;
	}
	request->close = conn->last;
	conn->reading = request;
	return true;
}

static void dispatch(struct imgo__httpd_conn *conn, const struct imgo__http_request *head, const uint8_t *body)
{
	struct imgo__httpd *httpd = conn->httpd;
	struct imgo__httpd_request *request = conn->reading;

	conn->reading = NULL;
	conn->continue_due = false;
	conn->need = 0;
	httpd->options.ops->handle(
		request, head, imgo_strn(body, head->content_length), conn->listener, httpd->options.user);
}

static size_t discard(struct imgo__httpd_conn *conn, size_t len)
{
	size_t n = len < conn->discard ? len : conn->discard;

	conn->discard -= n;
	return n;
}

/* A line has ended in what is new of a head, or there is as much of it, or of its headers, as there may be. */
static bool head_grew(struct imgo__httpd_conn *conn, const uint8_t *p, size_t len)
{
	const struct imgo__http_limits *limits = &conn->httpd->limits;
	size_t at = conn->scanned;
	const uint8_t *end = memchr(p + at, '\n', len - at);

	if (end && conn->line == 0)
		conn->line = (size_t)(end - p) + 1;
	if (end || len >= limits->head_max ||
		(conn->line && limits->headers_max && len - conn->line >= limits->headers_max))
		return true;
	conn->scanned = len;
	return false;
}

/* Takes the request, or the part of one that can be judged, at the start of the input. Returns the bytes done
 * with; 0: more must come first. */
static size_t step(struct imgo__httpd_conn *conn, const uint8_t *p, size_t len)
{
	struct imgo__http_request head;
	size_t have, total;
	int status;
	ssize_t n;

	if (conn->discard)
		return discard(conn, len);
	if (conn->need > len || (!conn->reading && !head_grew(conn, p, len)))
		return 0;
	n = imgo__http_decode(p, len, &conn->httpd->limits, &head, &status);
	if (n < 0)
		imgo__httpd_refuse(conn, NULL, status);
	conn->scanned = n == 0 ? len : 0;
	if (n != 0)
		conn->line = 0;
	if (n <= 0)
		return 0;
	total = (size_t)n + head.content_length;
	have = len < total ? len : total;
	if (!conn->reading && !begin(conn, &head, have == total)) {
		conn->discard = conn->last ? 0 : total - have;
		return have;
	}
	if (have == total) {
		dispatch(conn, &head, p + n);
		return total;
	}
	conn->need = total;
	if (head.expect_continue && have == (size_t)n)
		imgo__httpd_continue(conn);
	return 0;
}

/* Takes what can be taken now; returns how much that is. */
static size_t take(struct imgo__httpd_conn *conn, const uint8_t *p, size_t len)
{
	size_t at = 0, n = 1;

	while (at < len && n > 0 && !conn->dead && (conn->reading || conn->discard || (!conn->last && !full(conn)))) {
		n = step(conn, p + at, len - at);
		at += n;
		if (n > 0 && conn->discard == 0)
			imgo__timer_stop(conn->httpd->loop, &conn->incoming);
	}
	return at;
}

static bool over(const struct imgo__httpd_conn *conn)
{
	return conn->last && !conn->reading && conn->discard == 0;
}

/* Takes from `in`. */
static void advance(struct imgo__httpd_conn *conn)
{
	conn->in_at += take(conn, conn->in.data + conn->in_at, conn->in.len - conn->in_at);
	if (over(conn))
		conn->in_at = conn->in.len; /* nobody will look at the rest */
	if (conn->in_at == conn->in.len) {
		imgo__buf_free(&conn->in);
		conn->in_at = 0;
	} else if (conn->in_at > conn->in.len / 2) {
		imgo__buf_consume(&conn->in, conn->in_at);
		conn->in_at = 0;
	}
}

static void input(struct imgo__httpd_conn *conn, const uint8_t *p, size_t len)
{
	size_t taken = 0;

	if (conn->in.len == 0)
		taken = take(conn, p, len);
	if (taken == len || over(conn))
		return;
	/* Many large bodies may have begun while there was room for each; and of whom only a part of a head is here, nobody
	 * knows who it is: all heads get a quarter. */
	if (conn->httpd->held + (len - taken) > conn->httpd->options.bytes_max / (conn->reading ? 1 : 4) ||
		imgo__buf_append(&conn->in, p + taken, len - taken)) {
		imgo__httpd_refuse(conn, conn->reading, 503);
		imgo__buf_free(&conn->in);
		conn->in_at = 0;
		return;
	}
	if (taken == 0 && conn->in.len > len)
		advance(conn);
}

/* ---- timers and events ---- */

static void wait_for(struct imgo__httpd_conn *conn, enum imgo__httpd_wait wait)
{
	struct imgo__httpd *httpd = conn->httpd;
	const uint64_t delays[] = {
		0, httpd->options.idle_timeout_ms, httpd->options.request_timeout_ms, IMGO__HTTPD_LINGER_MS};

	if (wait == conn->wait)
		return;
	if (conn->wait == IMGO__HTTPD_IDLE)
		imgo__list_remove(&conn->idle);
	conn->wait = (uint8_t)wait;
	conn->taken = 0;
	if (wait == IMGO__HTTPD_NOTHING) {
		imgo__timer_stop(httpd->loop, &conn->waiting);
		return;
	}
	imgo__timer_start(httpd->loop, &conn->waiting, delays[wait]);
	if (wait == IMGO__HTTPD_IDLE) {
		conn->idle_since_ms = imgo__loop_now_ms(httpd->loop);
		imgo__list_insert(&httpd->idle, &conn->idle);
	}
}

/* What the connection waits for now, after anything has changed. */
static void settle(struct imgo__httpd_conn *conn)
{
	struct imgo__httpd *httpd = conn->httpd;
	bool reads = !conn->eof && (conn->reading || conn->discard || over(conn) || !full(conn));
	bool partial = !over(conn) && (conn->in.len > 0 || conn->discard > 0);

	imgo__httpd_account(conn);
	if (!partial || !reads)
		imgo__timer_stop(httpd->loop, &conn->incoming);
	else if (!imgo__timer_active(&conn->incoming))
		imgo__timer_start(httpd->loop, &conn->incoming, httpd->options.request_timeout_ms);
	if (conn->wait != IMGO__HTTPD_LINGER) {
		if (conn->blocked)
			wait_for(conn, IMGO__HTTPD_STALLED);
		else if (!partial && imgo__list_empty(&conn->requests))
			wait_for(conn, IMGO__HTTPD_IDLE);
		else
			wait_for(conn, IMGO__HTTPD_NOTHING);
	}
	imgo__io_set(httpd->loop, &conn->io, (reads ? IMGO__READ : 0) | (conn->blocked ? IMGO__WRITE : 0));
}

/* All is said. */
static void finish(struct imgo__httpd_conn *conn)
{
	if (conn->eof) {
		imgo__httpd_conn_free(conn, false);
		return;
	}
	if (conn->wait != IMGO__HTTPD_LINGER) {
		imgo__sock_shutdown(conn->httpd->loop, conn->io.fd);
		wait_for(conn, IMGO__HTTPD_LINGER);
	}
	settle(conn);
}

/* Writes, and goes on with input that waited for room. The connection may be gone afterwards. */
static void proceed(struct imgo__httpd_conn *conn)
{
	if (!conn->dead && !imgo__httpd_flush(conn))
		conn->dead = true;
	if (!conn->dead && conn->in.len > 0 && conn->need <= conn->in.len - conn->in_at && !full(conn))
		advance(conn); /* answers at once are written by the task again */
	if (conn->dead)
		imgo__httpd_conn_free(conn, true);
	else if (imgo__list_empty(&conn->requests) && imgo__httpd_output(conn) == 0 && (over(conn) || conn->eof))
		finish(conn);
	else
		settle(conn);
}

static void on_task(struct imgo_loop *loop, struct imgo__task *task)
{
	(void)loop;
	proceed(imgo__container_of(task, struct imgo__httpd_conn, task));
}

/* False: the connection is gone. */
static bool read_some(struct imgo__httpd_conn *conn)
{
	struct imgo__httpd *httpd = conn->httpd;
	ssize_t n = imgo__sock_read(httpd->loop, conn->io.fd, httpd->read, sizeof httpd->read);

	if (n == IMGO_ETIMEDOUT)
		return true;
	if (n < 0) {
		imgo__httpd_conn_free(conn, false);
		return false;
	}
	if (n == 0) { /* a request that is not complete never will be */
		conn->eof = conn->last = true;
		conn->discard = 0;
		if (conn->reading) {
			imgo__httpd_request_free(conn->reading);
			conn->reading = NULL;
		}
		imgo__buf_free(&conn->in);
		conn->in_at = 0;
		return true;
	}
	if (!over(conn))
		input(conn, httpd->read, (size_t)n);
	return true;
}

static void on_io(struct imgo_loop *loop, struct imgo__io *io, int events)
{
	struct imgo__httpd_conn *conn = imgo__container_of(io, struct imgo__httpd_conn, io);

	if ((events & IMGO__READ) && !read_some(conn))
		return;
	if ((events & IMGO__WRITE) || conn->eof || over(conn))
		imgo__defer(loop, &conn->task);
	settle(conn);
}

static void on_incoming(struct imgo_loop *loop, struct imgo__timer *timer)
{
	struct imgo__httpd_conn *conn = imgo__container_of(timer, struct imgo__httpd_conn, incoming);

	if (conn->discard) { /* it has its answer */
		conn->discard = 0;
		conn->last = true;
		imgo_stat_add(conn->httpd->stats.timeout, 1);
	} else {
		imgo__httpd_refuse(conn, conn->reading, 408);
	}
	imgo__buf_free(&conn->in);
	conn->in_at = 0;
	imgo__defer(loop, &conn->task);
}

static void on_waiting(struct imgo_loop *loop, struct imgo__timer *timer)
{
	struct imgo__httpd_conn *conn = imgo__container_of(timer, struct imgo__httpd_conn, waiting);
	struct imgo__httpd *httpd = conn->httpd;

	if (conn->wait == IMGO__HTTPD_STALLED && conn->taken >= IMGO__HTTPD_PROGRESS) {
		conn->taken = 0;
		imgo__timer_start(loop, timer, httpd->options.request_timeout_ms);
		return;
	}
	if (conn->wait == IMGO__HTTPD_STALLED)
		imgo_stat_add(httpd->stats.slow_reader, 1);
	else if (conn->wait == IMGO__HTTPD_IDLE)
		imgo_stat_add(httpd->stats.idle, 1);
	imgo__httpd_conn_free(conn, conn->wait == IMGO__HTTPD_STALLED);
}

/* ---- life ---- */

int imgo__httpd_conn_new(struct imgo__httpd *httpd, int fd, unsigned listener, bool loopback)
{
	struct imgo__httpd_conn *conn = imgo__zalloc(sizeof *conn);

	if (!conn) {
		imgo__sock_close(httpd->loop, fd);
		return IMGO_ENOMEM;
	}
	conn->httpd = httpd;
	conn->listener = (uint8_t)listener;
	conn->loopback = loopback;
	imgo__list_init(&conn->link);
	imgo__list_init(&conn->idle);
	imgo__list_init(&conn->requests);
	imgo__list_insert(&httpd->conns, &conn->link);
	imgo__io_init(&conn->io, on_io, fd);
	imgo__task_init(&conn->task, on_task);
	imgo__timer_init(&conn->incoming, on_incoming);
	imgo__timer_init(&conn->waiting, on_waiting);
	httpd->nconns++;
	imgo_stat_add(httpd->stats.connections, 1);
	settle(conn);
	return 0;
}

void imgo__httpd_conn_free(struct imgo__httpd_conn *conn, bool reset)
{
	struct imgo__httpd *httpd = conn->httpd;
	struct imgo__list *link;

	while ((link = imgo__list_pop(&conn->requests))) {
		struct imgo__httpd_request *request = imgo__container_of(link, struct imgo__httpd_request, link);
		request->conn = NULL;
		/* Nobody else knows of these. */
		if (request->answered || request == conn->reading)
			imgo__httpd_request_free(request);
	}
	imgo__list_remove(&conn->link);
	imgo__list_remove(&conn->idle);
	imgo__task_cancel(&conn->task);
	imgo__timer_stop(httpd->loop, &conn->incoming);
	imgo__timer_stop(httpd->loop, &conn->waiting);
	imgo__io_set(httpd->loop, &conn->io, 0);
	(reset ? imgo__sock_reset : imgo__sock_close)(httpd->loop, conn->io.fd);
	imgo__buf_free(&conn->in);
	imgo__buf_free(&conn->out);
	httpd->held -= conn->held;
	httpd->nconns--;
	imgo_stat_add(httpd->stats.connections, -1);
	free(conn);
	imgo__httpd_conn_gone(httpd);
}

void imgo__httpd_conn_stop(struct imgo__httpd_conn *conn)
{
	if (!imgo__list_empty(&conn->requests) && !conn->reading) {
		conn->last = true;
		return;
	}
	if (conn->reading)
		conn->last = conn->reading->close = true;
	else if (conn->in.len == 0 || conn->discard > 0)
		conn->last = true;
	imgo__defer(conn->httpd->loop, &conn->task);
}
