/* SPDX-License-Identifier: MIT */
/*
 * Reading: in steps of at least 16 kB, up to 256 kB an event (the descriptor is level-triggered: the rest
 * comes with the next turn, after the other connections had theirs). Memory grows with what has arrived,
 * never with what a peer says will come.
 *
 * Writing: always from the deferred task, until the kernel takes no more; then the descriptor is watched for
 * being writable. A buffer that grew beyond 64 kB is given back when it is empty.
 *
 * In TLS (net/tls.h) the same, with a handshake between being connected and being open. What is taken from `out` then is
 * encrypted and on its way, though the socket may not have all of it.
 */
#include "net/stream.h"

#include <string.h>

#include <imgo/error.h>

enum { READ_STEP = 16 * 1024, READ_EVENT = 256 * 1024, KEEP = 64 * 1024 };

static void on_event(struct imgo_loop *loop, struct imgo__io *io, int events);
static void on_task(struct imgo_loop *loop, struct imgo__task *task);
static void on_shaken(void *owner, int err);
static void receive(struct imgo__stream *s);

void imgo__stream_init(struct imgo__stream *s, struct imgo_loop *loop, const struct imgo__stream_ops *ops)
{
	memset(s, 0, sizeof *s);
	s->loop = loop;
	s->ops = ops;
	s->fd = -1;
	imgo__task_init(&s->task, on_task);
}

static void watch(struct imgo__stream *s)
{
	int events = (s->paused || s->connecting ? 0 : IMGO__READ) | (s->waiting || s->connecting ? IMGO__WRITE : 0);

	imgo__io_set(s->loop, &s->io, events);
}

void imgo__stream_secure(struct imgo__stream *s, struct imgo_tls *tls, const char *alpn, const char *host)
{
	s->secure = tls;
	s->alpn = alpn;
	s->host = host;
}

/* Takes fd. */
static int start(struct imgo__stream *s, int fd, bool connecting)
{
	struct imgo__tls_setup setup = {
		.fd = fd, .server = !connecting, .alpn = s->alpn, .host = s->host, .shaken = on_shaken, .owner = s};
	int err = s->secure ? imgo__tls_open(&s->tls, s->secure, &setup) : 0;

	if (err) {
		imgo__sock_close(s->loop, fd);
		return err;
	}
	s->fd = fd;
	s->server = !connecting;
	s->connecting = connecting;
	s->shaking = s->secure != NULL;
	s->active_ms = imgo__loop_now_ms(s->loop);
	imgo__io_init(&s->io, on_event, fd);
	watch(s);
	return 0;
}

int imgo__stream_accept(struct imgo__stream *s, int fd)
{
	return start(s, fd, false);
}

int imgo__stream_connect(struct imgo__stream *s, const struct imgo__addr *addr)
{
	int fd, err = imgo__sock_connect(s->loop, addr, &fd);

	return err ? err : start(s, fd, true);
}

void imgo__stream_end(struct imgo__stream *s)
{
	if (s->fd < 0)
		return;
	if (s->tls)
		imgo__tls_bye(s->tls);
	imgo__sock_shutdown(s->loop, s->fd);
}

void imgo__stream_close(struct imgo__stream *s)
{
	if (s->fd < 0)
		return;
	imgo__task_cancel(&s->task);
	imgo__io_set(s->loop, &s->io, 0);
	if (s->tls) {
		imgo__tls_bye(s->tls);
		imgo__tls_close(s->tls);
		s->tls = NULL;
	}
	imgo__sock_close(s->loop, s->fd);
	s->fd = -1;
}

void imgo__stream_fini(struct imgo__stream *s)
{
	imgo__stream_close(s);
	imgo__buf_free(&s->in);
	imgo__buf_free(&s->out);
}

static void fail(struct imgo__stream *s, int err)
{
	if (s->tls && *imgo__tls_why(s->tls))
		s->why = imgo__tls_why(s->tls);
	imgo__stream_close(s);
	s->ops->closed(s, err);
}

void imgo__stream_pause(struct imgo__stream *s, bool pause)
{
	if (s->paused == pause || s->fd < 0)
		return;
	s->paused = pause;
	if (s->shaking)
		return;
	watch(s);
	if (!pause && s->tls && imgo__tls_pending(s->tls))
		imgo__defer(s->loop, &s->task);
}

/* ---- writing ---- */
void imgo__stream_push(struct imgo__stream *s)
{
	if (s->fd >= 0 && !s->connecting && !s->shaking && !s->waiting)
		imgo__defer(s->loop, &s->task);
}

static void trim_out(struct imgo__stream *s)
{
	if (s->out_at < s->out.len && s->out_at < s->out.len / 2)
		return;
	imgo__buf_consume(&s->out, s->out_at);
	s->out_at = 0;
	if (s->out.len == 0 && s->out.cap > KEEP)
		imgo__buf_free(&s->out);
}

static void flush(struct imgo__stream *s)
{
	bool had_to_wait = s->waiting;
	int held = s->tls ? imgo__tls_flush(s->tls) : 0;

	if (held < 0 && held != IMGO_ETIMEDOUT) {
		fail(s, held);
		return;
	}
	s->waiting = held < 0;
	while (s->out_at < s->out.len && !s->waiting) {
		struct iovec iov = {s->out.data + s->out_at, imgo__stream_unsent(s)};
		ssize_t n = s->tls ? imgo__tls_writev(s->tls, &iov, 1) : imgo__sock_writev(s->loop, s->fd, &iov, 1);
		if (n == IMGO_ETIMEDOUT) {
			s->waiting = true;
		} else if (n < 0) {
			fail(s, (int)n);
			return;
		} else {
			s->out_at += (size_t)n;
			s->sent += (uint64_t)n;
			s->active_ms = imgo__loop_now_ms(s->loop);
		}
	}
	trim_out(s);
	if (s->tls && imgo__tls_held(s->tls) > 0)
		s->waiting = true;
	if (s->waiting != had_to_wait)
		watch(s);
	if (!s->waiting && s->ops->drained)
		s->ops->drained(s);
}

static void on_task(struct imgo_loop *loop, struct imgo__task *task)
{
	struct imgo__stream *s = imgo__container_of(task, struct imgo__stream, task);

	(void)loop;
	if (s->fd < 0 || s->connecting || s->shaking)
		return;
	flush(s);
	if (s->fd >= 0 && !s->paused && s->tls && imgo__tls_pending(s->tls))
		receive(s);
}

/* ---- reading ---- */
static void trim_in(struct imgo__stream *s)
{
	if (s->in_at == 0)
		return;
	imgo__buf_consume(&s->in, s->in_at);
	s->in_at = 0;
	if (s->in.len == 0 && s->in.cap > KEEP)
		imgo__buf_free(&s->in);
}

void imgo__stream_again(struct imgo__stream *s)
{
	if (s->fd < 0)
		return;
	s->ops->data(s);
	if (s->fd >= 0)
		trim_in(s);
}

static ssize_t read_some(struct imgo__stream *s, uint8_t *p, size_t len)
{
	if (!s->tls)
		return imgo__sock_read(s->loop, s->fd, p, len);
	ssize_t n = imgo__tls_read(s->tls, p, len, true);
	if (imgo__tls_held(s->tls) > 0 && !s->waiting) {
		s->waiting = true;
		watch(s);
	}
	return n;
}

static void receive(struct imgo__stream *s)
{
	size_t total = 0;
	ssize_t n;

	do {
		size_t room;
		if (imgo__buf_reserve(&s->in, READ_STEP) < 0) {
			fail(s, IMGO_ENOMEM);
			return;
		}
		room = s->in.cap - s->in.len;
		n = read_some(s, s->in.data + s->in.len, room);
		if (n == IMGO_ETIMEDOUT)
			return;
		if (n <= 0) {
			fail(s, n == 0 ? IMGO_ECLOSED : (int)n);
			return;
		}
		s->in.len += (size_t)n;
		s->active_ms = imgo__loop_now_ms(s->loop);
		s->ops->data(s);
		if (s->fd < 0)
			return;
		trim_in(s);
		total += (size_t)n;
		if ((size_t)n < room && !(s->tls && imgo__tls_pending(s->tls)))
			return;
	} while (!s->paused && total < READ_EVENT);
	if (s->tls && !s->paused && imgo__tls_pending(s->tls))
		imgo__defer(s->loop, &s->task); /* the socket does not say so again */
}

/* ---- the handshake ---- */
static void shake(struct imgo__stream *s)
{
	if (imgo__tls_shake(s->tls))
		imgo__io_set(s->loop, &s->io, 0); /* until its step is done */
}

static void flush_handshake(struct imgo__stream *s)
{
	int err = imgo__tls_flush(s->tls);

	if (err == IMGO_ETIMEDOUT)
		return;
	s->waiting = false;
	watch(s);
	if (err)
		fail(s, err);
}

static void on_shaken(void *owner, int err)
{
	struct imgo__stream *s = owner;

	if (err && err != IMGO_ETIMEDOUT) {
		fail(s, err);
		return;
	}
	s->shaking = err != 0;
	s->waiting = imgo__tls_held(s->tls) > 0;
	watch(s);
	if (s->shaking)
		return;
	s->active_ms = imgo__loop_now_ms(s->loop);
	if (!s->server)
		s->ops->opened(s);
	if (s->fd >= 0)
		imgo__defer(s->loop, &s->task); /* what came with the handshake's last bytes, and what is to be sent */
}

static void connected(struct imgo__stream *s)
{
	int err = imgo__sock_error(s->loop, s->fd);

	if (err < 0) {
		fail(s, err);
		return;
	}
	s->connecting = false;
	watch(s);
	if (s->tls)
		shake(s);
	else
		s->ops->opened(s);
}

static void on_event(struct imgo_loop *loop, struct imgo__io *io, int events)
{
	struct imgo__stream *s = imgo__container_of(io, struct imgo__stream, io);

	(void)loop;
	if (s->connecting) {
		connected(s);
		return;
	}
	if (s->shaking) {
		if (events & IMGO__WRITE)
			flush_handshake(s);
		if (s->fd >= 0 && events & IMGO__READ)
			shake(s);
		return;
	}
	if (events & IMGO__WRITE)
		flush(s);
	if (s->fd >= 0 && events & IMGO__READ && !s->paused)
		receive(s);
}
