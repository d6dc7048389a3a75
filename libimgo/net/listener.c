/* SPDX-License-Identifier: MIT */
/*
 * accept() fails for reasons that pass: no descriptor is left (EMFILE, ENFILE), no memory, a peer that gave
 * up in the backlog. libev is level-triggered, so a watcher left running would spin at 100 % CPU in such a
 * state, and a watcher stopped for good would end the service (defect B17 of the original). So any error but
 * "none is waiting" stops the watcher, and a timer starts it again after 100 ms. The same pause serves the
 * owner's own limits (may_accept).
 *
 * At most ACCEPTS connections are taken a wake-up, so that a storm of connects leaves turns to those already
 * here.
 */
#include "net/listener.h"

#include <netinet/in.h>
#include <netinet/tcp.h>

#include "base/error.h"
#include "base/mem.h"

enum { ACCEPTS = 64, BACKLOG = 4096, PAUSE_MS = 100 };

struct imgo__listener {
	struct imgo_loop *loop;
	struct imgo__io io;
	struct imgo__timer pause;
	const struct imgo__listener_ops *ops;
	void *user;
	int fd;
	bool busy, freed;
};

void imgo__sock_watch_peer(int fd)
{
	static const struct {
		int level, name, value;
	} options[] = {
		{SOL_SOCKET, SO_KEEPALIVE, 1},
		{IPPROTO_TCP, TCP_KEEPIDLE, 20},
		{IPPROTO_TCP, TCP_KEEPINTVL, 5},
		{IPPROTO_TCP, TCP_KEEPCNT, 2},
		{IPPROTO_TCP, TCP_USER_TIMEOUT, 30000},
		{IPPROTO_TCP, TCP_NODELAY, 1},
	};

	/* Errors are fine: a unix socket has none of these. */
	for (size_t i = 0; i < sizeof options / sizeof options[0]; i++)
		(void)setsockopt(fd, options[i].level, options[i].name, &options[i].value, sizeof options[i].value);
}

static void pause_accepting(struct imgo__listener *l, int err)
{
	imgo__io_set(l->loop, &l->io, 0);
	imgo__timer_start(l->loop, &l->pause, PAUSE_MS);
	if (l->ops->on_pause)
		l->ops->on_pause(l->user, err);
}

static void destroy(struct imgo__listener *l)
{
	imgo__timer_stop(l->loop, &l->pause);
	imgo__io_set(l->loop, &l->io, 0);
	imgo__sock_close(l->loop, l->fd);
	free(l);
}

static void accept_some(struct imgo__listener *l)
{
	for (int i = 0; i < ACCEPTS && !l->freed; i++) {
		if (l->ops->may_accept && !l->ops->may_accept(l->user)) {
			pause_accepting(l, 0);
			return;
		}
		int fd;
		struct imgo__addr peer;
		int r = imgo__sock_accept(l->loop, l->fd, &fd, &peer);
		if (r == IMGO_ETIMEDOUT)
			return;
		if (r == IMGO_ECLOSED)
			continue; /* it gave up before we came */
		if (r) {
			pause_accepting(l, r);
			return;
		}
		l->ops->on_accept(l->user, fd, &peer);
	}
}

static void readable(struct imgo_loop *loop, struct imgo__io *io, int events)
{
	struct imgo__listener *l = imgo__container_of(io, struct imgo__listener, io);

	(void)loop, (void)events;
	l->busy = true;
	accept_some(l);
	l->busy = false;
	if (l->freed)
		destroy(l);
}

static void pause_over(struct imgo_loop *loop, struct imgo__timer *timer)
{
	struct imgo__listener *l = imgo__container_of(timer, struct imgo__listener, pause);

	imgo__io_set(loop, &l->io, IMGO__READ);
}

void imgo__listener_resume(struct imgo__listener *l)
{
	if (l->freed || !imgo__timer_active(&l->pause))
		return;
	imgo__timer_stop(l->loop, &l->pause);
	imgo__io_set(l->loop, &l->io, IMGO__READ);
}

static int bound_port(struct imgo_loop *loop, int fd)
{
	struct imgo__addr addr;

	if (imgo__sock_local(loop, fd, &addr))
		return 0;
	if (addr.ss.ss_family == AF_INET)
		return ntohs(((struct sockaddr_in *)&addr.ss)->sin_port);
	if (addr.ss.ss_family == AF_INET6)
		return ntohs(((struct sockaddr_in6 *)&addr.ss)->sin6_port);
	return 0;
}

int imgo__listener_new(struct imgo__listener **out, struct imgo_loop *loop, const char *address,
	const struct imgo__listener_ops *ops, void *user, int *port, struct imgo_error *error)
{
	struct imgo__addr addr;
	int fd, r;

	*out = NULL;
	if (!address || imgo__addr_parse(&addr, imgo_str(address)))
		return imgo__fail(error, IMGO_EINVAL, "not an address to listen on: %s", address ? address : "(none)");
	struct imgo__listener *l = imgo__zalloc(sizeof *l);
	if (!l)
		return imgo__fail(error, IMGO_ENOMEM, "out of memory");
	r = imgo__sock_listen(loop, &addr, BACKLOG, false, &fd);
	if (r) {
		free(l);
		return imgo__fail(error, r == IMGO_EINVAL || r == IMGO_ENOMEM ? (enum imgo_err)r : IMGO_EIO,
			"cannot listen on %s: %s", address,
			r == IMGO_EEXISTS ? "the address is in use" : imgo_strerror(r));
	}
	imgo__sock_watch_peer(fd);
	l->loop = loop;
	l->ops = ops;
	l->user = user;
	l->fd = fd;
	imgo__timer_init(&l->pause, pause_over);
	imgo__io_init(&l->io, readable, fd);
	imgo__io_set(loop, &l->io, IMGO__READ);
	if (port)
		*port = bound_port(loop, fd);
	*out = l;
	return 0;
}

void imgo__listener_free(struct imgo__listener *l)
{
	if (!l || l->freed)
		return;
	l->freed = true;
	if (!l->busy)
		destroy(l);
}
