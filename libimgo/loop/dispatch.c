/* SPDX-License-Identifier: MIT */
/* The calls that go straight through the table of functions. */
#include "loop/loop_impl.h"

void imgo_loop_free(struct imgo_loop *loop)
{
	if (loop)
		loop->ops->free(loop);
}

int imgo_loop_run(struct imgo_loop *loop)
{
	return loop->ops->run(loop);
}

void imgo_loop_stop(struct imgo_loop *loop)
{
	loop->ops->stop(loop);
}

int imgo_loop_fd(struct imgo_loop *loop)
{
	return loop->ops->fd(loop);
}

int imgo_loop_timeout_ms(struct imgo_loop *loop)
{
	return loop->ops->timeout_ms(loop);
}

int imgo_loop_process(struct imgo_loop *loop)
{
	return loop->ops->process(loop);
}

int imgo_loop_on_signal(struct imgo_loop *loop, int signo, void (*fn)(int signo, void *user), void *user)
{
	return loop->ops->on_signal(loop, signo, fn, user);
}

uint64_t imgo_loop_now_us(struct imgo_loop *loop)
{
	return loop->ops->now_us(loop);
}

uint64_t imgo__loop_now_ms(struct imgo_loop *loop)
{
	return loop->ops->now_us(loop) / 1000;
}

uint64_t imgo__loop_clock_us(struct imgo_loop *loop)
{
	return loop->ops->clock_us ? loop->ops->clock_us(loop) : loop->ops->now_us(loop);
}

uint64_t imgo_loop_wall_ms(struct imgo_loop *loop)
{
	return loop->ops->wall_ms(loop);
}

void imgo__loop_random(struct imgo_loop *loop, void *out, size_t len)
{
	loop->ops->random(loop, out, len);
}

struct imgo_log *imgo_loop_log(struct imgo_loop *loop)
{
	return loop->log;
}

struct imgo_stats *imgo_loop_stats(struct imgo_loop *loop)
{
	return loop->stats;
}

void imgo_loop_refresh_stats(struct imgo_loop *loop)
{
	imgo__list_for(at, &loop->collectors)
	{
		struct imgo__collector *collector = imgo__container_of(at, struct imgo__collector, link);
		collector->fn(collector);
	}
}

void imgo__collector_add(
	struct imgo_loop *loop, struct imgo__collector *collector, void (*fn)(struct imgo__collector *collector))
{
	collector->fn = fn;
	imgo__list_init(&collector->link);
	imgo__list_insert(&loop->collectors, &collector->link);
}

void imgo__collector_remove(struct imgo__collector *collector)
{
	if (collector->fn)
		imgo__list_remove(&collector->link);
	collector->fn = NULL;
}

void imgo__io_init(struct imgo__io *io, imgo__io_fn *fn, int fd)
{
	*io = (struct imgo__io){.fd = fd, .fn = fn};
}

int imgo__io_fd(const struct imgo__io *io)
{
	return io->fd;
}

void imgo__io_set(struct imgo_loop *loop, struct imgo__io *io, int events)
{
	loop->ops->io_set(loop, io, events);
}

int imgo__sock_listen(struct imgo_loop *loop, const struct imgo__addr *addr, int backlog, bool reuse_port, int *fd)
{
	return loop->ops->listen(loop, addr, backlog, reuse_port, fd);
}

int imgo__sock_accept(struct imgo_loop *loop, int listen_fd, int *fd, struct imgo__addr *peer)
{
	return loop->ops->accept(loop, listen_fd, fd, peer);
}

int imgo__sock_connect(struct imgo_loop *loop, const struct imgo__addr *addr, int *fd)
{
	return loop->ops->connect(loop, addr, fd);
}

int imgo__sock_error(struct imgo_loop *loop, int fd)
{
	return loop->ops->sock_error(loop, fd);
}

ssize_t imgo__sock_read(struct imgo_loop *loop, int fd, void *p, size_t len)
{
	return loop->ops->read(loop, fd, p, len);
}

ssize_t imgo__sock_writev(struct imgo_loop *loop, int fd, const struct iovec *iov, int n)
{
	return loop->ops->writev(loop, fd, iov, n);
}

int imgo__sock_unsent(struct imgo_loop *loop, int fd)
{
	return loop->ops->unsent(loop, fd);
}

int imgo__sock_local(struct imgo_loop *loop, int fd, struct imgo__addr *out)
{
	return loop->ops->local(loop, fd, out);
}

void imgo__sock_shutdown(struct imgo_loop *loop, int fd)
{
	loop->ops->shutdown(loop, fd);
}

void imgo__sock_close(struct imgo_loop *loop, int fd)
{
	loop->ops->close(loop, fd);
}

void imgo__sock_reset(struct imgo_loop *loop, int fd)
{
	loop->ops->reset(loop, fd);
}
