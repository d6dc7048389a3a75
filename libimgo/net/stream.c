/* SPDX-License-Identifier: MIT */
/*
 * Reading: in steps of at least 16 kB, up to 256 kB an event (the descriptor is level-triggered: the rest
 * comes with the next turn, after the other connections had theirs). Memory grows with what has arrived,
 * never with what a peer says will come.
 *
 * Writing: always from the deferred task, until the kernel takes no more; then the descriptor is watched for
 * being writable. A buffer that grew beyond 64 kB is given back when it is empty.
 */
#include "net/stream.h"

#include <string.h>

#include <imgo/error.h>

enum { READ_STEP = 16 * 1024, READ_EVENT = 256 * 1024, KEEP = 64 * 1024 };

static void on_event(struct imgo_loop *loop, struct imgo__io *io, int events);
static void on_task(struct imgo_loop *loop, struct imgo__task *task);

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

static void start(struct imgo__stream *s, int fd, bool connecting)
{
	s->fd = fd;
	s->connecting = connecting;
	s->active_ms = imgo__loop_now_ms(s->loop);
	imgo__io_init(&s->io, on_event, fd);
	watch(s);
}

void imgo__stream_accept(struct imgo__stream *s, int fd)
{
	start(s, fd, false);
}

int imgo__stream_connect(struct imgo__stream *s, const struct imgo__addr *addr)
{
	int fd, err = imgo__sock_connect(s->loop, addr, &fd);

	if (err == 0)
		start(s, fd, true);
	return err;
}

void imgo__stream_close(struct imgo__stream *s)
{
	if (s->fd < 0)
		return;
	imgo__task_cancel(&s->task);
	imgo__io_set(s->loop, &s->io, 0);
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
	imgo__stream_close(s);
	s->ops->closed(s, err);
}

void imgo__stream_pause(struct imgo__stream *s, bool pause)
{
	if (s->paused == pause || s->fd < 0)
		return;
	s->paused = pause;
	watch(s);
}

/* ---- writing ---- */
void imgo__stream_push(struct imgo__stream *s)
{
	if (s->fd >= 0 && !s->connecting && !s->waiting)
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

	s->waiting = false;
	while (s->out_at < s->out.len && !s->waiting) {
		struct iovec iov = {s->out.data + s->out_at, imgo__stream_unsent(s)};
		ssize_t n = imgo__sock_writev(s->loop, s->fd, &iov, 1);
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
	if (s->waiting != had_to_wait)
		watch(s);
	if (!s->waiting && s->ops->drained)
		s->ops->drained(s);
}

static void on_task(struct imgo_loop *loop, struct imgo__task *task)
{
	struct imgo__stream *s = imgo__container_of(task, struct imgo__stream, task);

	(void)loop;
	if (s->fd >= 0 && !s->connecting)
		flush(s);
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
		n = imgo__sock_read(s->loop, s->fd, s->in.data + s->in.len, room);
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
		if ((size_t)n < room)
			return;
	} while (!s->paused && total < READ_EVENT);
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
	if (events & IMGO__WRITE)
		flush(s);
	if (s->fd >= 0 && events & IMGO__READ && !s->paused)
		receive(s);
}
