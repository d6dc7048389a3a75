/* SPDX-License-Identifier: MIT */
/*
 * The loop on libev; the only file that knows it.
 *
 * A turn of ours is one iteration of ev_run, cut after its callbacks: check (first of all callbacks) takes
 * the time; descriptors, then the wheel's timer and mail (lower priorities) follow; prepare, last before
 * blocking in the next iteration, runs the deferred tasks. While tasks wait an idle watcher is active, which
 * keeps ev_run from blocking and from returning.
 *
 * Not used, and why: ev_async and ev_signal write to libev's pipe only while ev_run blocks, so under a
 * foreign loop, which blocks in its own poll, they would be lost: hence an eventfd. ev_now is wall-clock
 * time: hence our own.
 *
 * libev tells epoll of changed watchers at the start of the next iteration only. Under a foreign loop nobody
 * would start one, so `dirty` remembers that there are changes, and imgo_loop_process goes round again.
 */
#include "loop/loop_impl.h"

#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include <ev.h>

#include <imgo/loop_ev.h>

#include "base/error.h"
#include "base/hash.h"
#include "base/mem.h"

enum { PROCESS_ROUNDS = 4 };

/* An imgo__io seen as libev's watcher, whose data is the loop. */
union io_view {
	struct imgo__io io;
	ev_io w;
};

static_assert(sizeof(ev_io) <= offsetof(struct imgo__io, fn), "an ev_io must fit over the head of an imgo__io");
static_assert(offsetof(ev_io, fd) == offsetof(struct imgo__io, fd), "fd must lie where imgo__io_init puts it");
static_assert((int)IMGO__READ == EV_READ && (int)IMGO__WRITE == EV_WRITE, "events are passed as they are");

struct loop_ev {
	struct imgo_loop base;
	struct ev_loop *ev;
	bool own;
	bool dirty; /* epoll has not been told of all changes */
	bool fresh; /* now_us is of this turn */
	uint64_t now_us;
	int wake_fd, epoll_fd;
	atomic_bool stop;
	ev_prepare prepare;
	ev_check check;
	ev_idle idle;
	ev_timer timer;
	ev_io wake;
};

static struct loop_ev *self_of(struct imgo_loop *loop)
{
	return imgo__container_of(loop, struct loop_ev, base);
}

/* ---- time ---- */

static uint64_t clock_us(clockid_t id)
{
	struct timespec t;

	clock_gettime(id, &t);
	return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

/* Between turns (a host calls us from somewhere else) there is no "this turn": the clock is read. */
static uint64_t op_now_us(struct imgo_loop *loop)
{
	struct loop_ev *self = self_of(loop);

	return self->fresh && ev_depth(self->ev) > 0 ? self->now_us : clock_us(CLOCK_MONOTONIC);
}

static uint64_t op_clock_us(struct imgo_loop *loop)
{
	(void)loop;
	return clock_us(CLOCK_MONOTONIC);
}

static uint64_t op_wall_ms(struct imgo_loop *loop)
{
	(void)loop;
	return clock_us(CLOCK_REALTIME) / 1000;
}

static void op_random(struct imgo_loop *loop, void *out, size_t len)
{
	(void)loop;
	imgo__random_bytes(out, len);
}

/* ---- the turn ---- */

static void on_check(struct ev_loop *ev, ev_check *w, int revents)
{
	struct loop_ev *self = w->data;

	(void)ev;
	(void)revents;
	self->now_us = clock_us(CLOCK_MONOTONIC);
	self->fresh = true;
}

static void on_prepare(struct ev_loop *ev, ev_prepare *w, int revents)
{
	struct loop_ev *self = w->data;

	(void)revents;
	if (!imgo__list_empty(&self->base.deferred)) {
		self->now_us = clock_us(CLOCK_MONOTONIC); /* maybe nothing ran since the last ev_run */
		self->fresh = true;
	}
	if (!imgo__loop_deferred(&self->base))
		ev_idle_stop(ev, &self->idle);
	if (self->fresh)
		imgo_histogram_add(self->base.turn, clock_us(CLOCK_MONOTONIC) - self->now_us, 1);
	self->dirty = false; /* ev_run tells epoll next */
	self->fresh = false;
	if (atomic_exchange(&self->stop, false))
		ev_break(ev, EVBREAK_ONE);
}

static void on_idle(struct ev_loop *ev, ev_idle *w, int revents)
{
	(void)ev;
	(void)w;
	(void)revents;
}

static void on_timer(struct ev_loop *ev, ev_timer *w, int revents)
{
	struct loop_ev *self = w->data;

	(void)ev;
	(void)revents;
	imgo__loop_timers(&self->base);
}

static void on_wake(struct ev_loop *ev, ev_io *w, int revents)
{
	struct loop_ev *self = w->data;
	uint64_t count;

	(void)ev;
	(void)revents;
	while (read(self->wake_fd, &count, sizeof(count)) < 0 && errno == EINTR)
		;
	imgo__loop_mail(&self->base);
}

static void op_turn(struct imgo_loop *loop)
{
	struct loop_ev *self = self_of(loop);

	ev_idle_start(self->ev, &self->idle);
}

static void op_arm(struct imgo_loop *loop, uint64_t delay_ms)
{
	struct loop_ev *self = self_of(loop);

	ev_timer_stop(self->ev, &self->timer);
	if (delay_ms == UINT64_MAX)
		return;
	ev_timer_set(&self->timer, (double)delay_ms / 1e3, 0.);
	ev_timer_start(self->ev, &self->timer);
}

static void op_wake(struct imgo_loop *loop)
{
	const uint64_t one = 1;
	int saved = errno;

	while (write(self_of(loop)->wake_fd, &one, sizeof(one)) < 0 && errno == EINTR)
		;
	errno = saved;
}

static void op_keep(struct imgo_loop *loop, int delta)
{
	if (delta > 0)
		ev_ref(self_of(loop)->ev);
	else
		ev_unref(self_of(loop)->ev);
}

/* ---- running ---- */

static int op_run(struct imgo_loop *loop)
{
	ev_run(self_of(loop)->ev, 0);
	return 0;
}

static void op_stop(struct imgo_loop *loop)
{
	atomic_store(&self_of(loop)->stop, true);
	op_wake(loop);
}

/*
 * libev keeps its epoll descriptor to itself, except that an embed watcher watches it: one is started on a
 * loop made for that, to look at it.
 */
static int op_fd(struct imgo_loop *loop)
{
	struct loop_ev *self = self_of(loop);
	struct ev_loop *outer;
	ev_embed embed;

	if (self->epoll_fd >= 0)
		return self->epoll_fd;
	if (!(ev_backend(self->ev) & ev_embeddable_backends()))
		return IMGO_ENOTSUP;
	outer = ev_loop_new(EVBACKEND_POLL | EVFLAG_NOENV);
	if (outer == NULL)
		return IMGO_ENOMEM;
	ev_embed_init(&embed, NULL, self->ev);
	ev_embed_start(outer, &embed);
	self->epoll_fd = embed.io.fd;
	ev_embed_stop(outer, &embed);
	ev_loop_destroy(outer);
	return self->epoll_fd;
}

static int op_timeout_ms(struct imgo_loop *loop)
{
	uint64_t next_ms = imgo__loop_next_ms(loop), now_us = op_now_us(loop), wait_ms;

	if (self_of(loop)->dirty || !imgo__list_empty(&loop->deferred) || imgo__loop_mail_waiting(loop))
		return 0;
	if (next_ms == UINT64_MAX)
		return -1;
	if (next_ms <= now_us / 1000)
		return 0;
	wait_ms = next_ms - now_us / 1000;
	return wait_ms < INT_MAX ? (int)wait_ms : INT_MAX;
}

static int op_process(struct imgo_loop *loop)
{
	struct loop_ev *self = self_of(loop);
	int rounds = 0;

	do {
		ev_run(self->ev, EVRUN_NOWAIT);
		if (imgo__loop_next_ms(loop) <= op_now_us(loop) / 1000)
			imgo__loop_timers(loop);
		if (!imgo__loop_deferred(loop))
			ev_idle_stop(self->ev, &self->idle);
	} while (self->dirty && ++rounds < PROCESS_ROUNDS);
	return 0;
}

/* ---- descriptors ---- */

static void on_io(struct ev_loop *ev, ev_io *w, int revents)
{
	struct imgo__io *io = &((union io_view *)(void *)w)->io;
	struct imgo_loop *loop = w->data;

	(void)ev;
	io->fn(loop, io, revents & EV_ERROR ? IMGO__READ | IMGO__WRITE : revents & (IMGO__READ | IMGO__WRITE));
}

static void op_io_set(struct imgo_loop *loop, struct imgo__io *io, int events)
{
	struct loop_ev *self = self_of(loop);
	ev_io *w = &((union io_view *)(void *)io)->w;
	bool first = w->cb == NULL;

	if (first) {
		int fd = w->fd; /* where imgo__io_init put it */
		ev_io_init(w, on_io, fd, events);
		w->data = loop;
	} else if (ev_is_active(w) && (w->events & (EV_READ | EV_WRITE)) == events) {
		return;
	}
	if (ev_is_active(w)) {
		ev_io_stop(self->ev, w);
		self->dirty = true;
	}
	if (events == 0)
		return;
	if (!first)
		ev_io_modify(w, events); /* no epoll_ctl when libev finds in the end that nothing changed */
	ev_io_start(self->ev, w);
	self->dirty = true;
}

/* ---- making and freeing ---- */

static void op_free(struct imgo_loop *loop)
{
	struct loop_ev *self = self_of(loop);

	imgo__loop_fini(loop);
	ev_timer_stop(self->ev, &self->timer);
	ev_idle_stop(self->ev, &self->idle);
	if (!self->own)
		ev_ref(self->ev);
	ev_io_stop(self->ev, &self->wake);
	ev_ref(self->ev);
	ev_prepare_stop(self->ev, &self->prepare);
	ev_ref(self->ev);
	ev_check_stop(self->ev, &self->check);
	close(self->wake_fd);
	if (self->own)
		ev_loop_destroy(self->ev);
	free(self);
}

static const struct imgo__loop_ops ops = {
	.free = op_free,
	.run = op_run,
	.stop = op_stop,
	.wake = op_wake,
	.arm = op_arm,
	.turn = op_turn,
	.fd = op_fd,
	.timeout_ms = op_timeout_ms,
	.process = op_process,
	.on_signal = imgo__signal_set,
	.now_us = op_now_us,
	.clock_us = op_clock_us,
	.wall_ms = op_wall_ms,
	.random = op_random,
	.io_set = op_io_set,
	.keep = op_keep,
	.listen = imgo__real_listen,
	.accept = imgo__real_accept,
	.connect = imgo__real_connect,
	.sock_error = imgo__real_sock_error,
	.read = imgo__real_read,
	.writev = imgo__real_writev,
	.unsent = imgo__real_unsent,
	.local = imgo__real_local,
	.shutdown = imgo__real_shutdown,
	.close = imgo__real_close,
	.reset = imgo__real_reset,
};

/* Housekeeping holds no reference, but the mailbox of our own loop does: it runs until it is stopped. */
static void start_watchers(struct loop_ev *self)
{
	ev_check_init(&self->check, on_check);
	ev_set_priority(&self->check, EV_MAXPRI);
	self->check.data = self;
	ev_check_start(self->ev, &self->check);
	ev_unref(self->ev);

	ev_prepare_init(&self->prepare, on_prepare);
	ev_set_priority(&self->prepare, EV_MINPRI);
	self->prepare.data = self;
	ev_prepare_start(self->ev, &self->prepare);
	ev_unref(self->ev);

	ev_io_init(&self->wake, on_wake, self->wake_fd, EV_READ);
	ev_set_priority(&self->wake, EV_MINPRI);
	self->wake.data = self;
	ev_io_start(self->ev, &self->wake);
	if (!self->own)
		ev_unref(self->ev);

	ev_idle_init(&self->idle, on_idle);
	ev_set_priority(&self->idle, EV_MINPRI);
	ev_timer_init(&self->timer, on_timer, 0., 0.);
	ev_set_priority(&self->timer, EV_MINPRI + 1); /* after I/O: a heartbeat that came in time counts */
	self->timer.data = self;
}

static int make(struct imgo_loop **out, struct ev_loop *ev, bool own, const struct imgo_loop_options *options,
	struct imgo_error *error)
{
	struct loop_ev *self = imgo__zalloc(sizeof(*self));

	if (self == NULL)
		return imgo__fail(error, IMGO_ENOMEM, "no memory for a loop");
	self->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (self->wake_fd < 0) {
		free(self);
		return imgo__fail(error, IMGO_EIO, "no eventfd for a loop (errno %d)", errno);
	}
	self->ev = ev;
	self->own = own;
	self->dirty = true;
	self->epoll_fd = -1;
	imgo__loop_init(&self->base, &ops, options, clock_us(CLOCK_MONOTONIC) / 1000);
	start_watchers(self);
	*out = &self->base;
	return 0;
}

int imgo_loop_new(struct imgo_loop **out, const struct imgo_loop_options *options, struct imgo_error *error)
{
	struct ev_loop *ev = ev_loop_new(EVBACKEND_EPOLL | EVFLAG_NOENV);
	int err;

	if (ev == NULL)
		return imgo__fail(error, IMGO_EIO, "no epoll for a loop (errno %d)", errno);
	err = make(out, ev, true, options, error);
	if (err < 0)
		ev_loop_destroy(ev);
	return err;
}

int imgo_loop_from_ev(
	struct imgo_loop **out, struct ev_loop *ev, const struct imgo_loop_options *options, struct imgo_error *error)
{
	return make(out, ev, false, options, error);
}
