/* SPDX-License-Identifier: MIT */
/* The real sockets. Every descriptor is non-blocking and close-on-exec from birth. */
#include "loop/loop_impl.h"

#include <errno.h>
#include <limits.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/error.h"

static void set_option(int fd, int level, int option, int value)
{
	(void)setsockopt(fd, level, option, &value, sizeof(value));
}

static int new_socket(int family)
{
	return socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
}

/* ::ffff:1.2.3.4, which a dual-stack listener reports, is 1.2.3.4. */
static void unmap_v4(struct imgo__addr *addr)
{
	const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)&addr->ss;
	struct sockaddr_in in = {.sin_family = AF_INET};

	if (addr->ss.ss_family != AF_INET6 || !IN6_IS_ADDR_V4MAPPED(&in6->sin6_addr))
		return;
	in.sin_port = in6->sin6_port;
	memcpy(&in.sin_addr, in6->sin6_addr.s6_addr + 12, 4);
	memset(&addr->ss, 0, sizeof(addr->ss));
	memcpy(&addr->ss, &in, sizeof(in));
	addr->len = sizeof(in);
}

/* ---- listening ---- */

/* The wildcard on a host without IPv6. */
static bool fall_back_to_v4(struct imgo__addr *addr)
{
	const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)&addr->ss;
	struct sockaddr_in in = {.sin_family = AF_INET};

	if (addr->ss.ss_family != AF_INET6 || !IN6_IS_ADDR_UNSPECIFIED(&in6->sin6_addr))
		return false;
	in.sin_port = in6->sin6_port;
	memcpy(&addr->ss, &in, sizeof(in));
	addr->len = sizeof(in);
	return true;
}

/* A socket file that nobody listens on any more is left over from a process that died. */
static void remove_stale_unix(const struct imgo__addr *addr)
{
	int fd = new_socket(AF_UNIX);

	if (fd < 0)
		return;
	if (connect(fd, (const struct sockaddr *)&addr->ss, addr->len) < 0 && errno == ECONNREFUSED)
		(void)unlink(((const struct sockaddr_un *)&addr->ss)->sun_path);
	close(fd);
}

static int listen_on(const struct imgo__addr *addr, int backlog, bool reuse_port, int *out)
{
	int fd = new_socket(addr->ss.ss_family);

	if (fd < 0)
		return -errno;
	if (addr->ss.ss_family == AF_UNIX) {
		remove_stale_unix(addr);
	} else {
		set_option(fd, SOL_SOCKET, SO_REUSEADDR, 1);
		if (reuse_port)
			set_option(fd, SOL_SOCKET, SO_REUSEPORT, 1);
		if (addr->ss.ss_family == AF_INET6)
			set_option(fd, IPPROTO_IPV6, IPV6_V6ONLY, 0);
	}
	if (bind(fd, (const struct sockaddr *)&addr->ss, addr->len) < 0 || listen(fd, backlog) < 0) {
		int err = errno;
		close(fd);
		return -err;
	}
	*out = fd;
	return 0;
}

int imgo__real_listen(struct imgo_loop *loop, const struct imgo__addr *addr, int backlog, bool reuse_port, int *fd)
{
	struct imgo__addr v4 = *addr;
	int err = listen_on(addr, backlog, reuse_port, fd);

	(void)loop;
	if ((err == -EAFNOSUPPORT || err == -EADDRNOTAVAIL) && fall_back_to_v4(&v4))
		err = listen_on(&v4, backlog, reuse_port, fd);
	return imgo__from_errno(-err);
}

int imgo__real_accept(struct imgo_loop *loop, int listen_fd, int *fd, struct imgo__addr *peer)
{
	(void)loop;
	for (;;) {
		peer->len = sizeof(peer->ss);
		*fd = accept4(listen_fd, (struct sockaddr *)&peer->ss, &peer->len, SOCK_NONBLOCK | SOCK_CLOEXEC);
		if (*fd >= 0)
			break;
		switch (errno) {
		case EINTR:
		case ECONNABORTED: /* that one is gone; and accept(2): pending errors of the new socket */
		case EPROTO:
		case ENOPROTOOPT:
		case ENETDOWN:
		case EHOSTDOWN:
		case EHOSTUNREACH:
		case ENETUNREACH:
			continue;
		default:
			return imgo__from_errno(errno);
		}
	}
	if (peer->len > sizeof(peer->ss))
		peer->len = sizeof(peer->ss);
	unmap_v4(peer);
	if (peer->ss.ss_family != AF_UNIX)
		set_option(*fd, IPPROTO_TCP, TCP_NODELAY, 1);
	return 0;
}

/* ---- connecting ---- */

int imgo__real_connect(struct imgo_loop *loop, const struct imgo__addr *addr, int *out)
{
	int fd = new_socket(addr->ss.ss_family), err;

	(void)loop;
	if (fd < 0)
		return imgo__from_errno(errno);
	if (addr->ss.ss_family != AF_UNIX)
		set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1);
	if (connect(fd, (const struct sockaddr *)&addr->ss, addr->len) == 0 || errno == EINPROGRESS || errno == EINTR) {
		*out = fd;
		return 0;
	}
	err = errno;
	close(fd);
	if (err == EAGAIN || err == ENOENT) /* a unix listener's queue is full; its file is not there yet */
		return IMGO_EUNAVAILABLE;
	return imgo__from_errno(err);
}

int imgo__real_sock_error(struct imgo_loop *loop, int fd)
{
	socklen_t len = sizeof(int);
	int err = 0;

	(void)loop;
	if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &err, &len) < 0)
		err = errno;
	return imgo__from_errno(err);
}

/* ---- bytes ---- */

/* The kernel's time-out of a connection (keep-alive, TCP_USER_TIMEOUT) ends it: that is not "would block". */
static int transfer_error(int errnum)
{
	return errnum == ETIMEDOUT ? IMGO_ECLOSED : imgo__from_errno(errnum);
}

ssize_t imgo__real_read(struct imgo_loop *loop, int fd, void *p, size_t len)
{
	ssize_t n;

	(void)loop;
	do {
		n = recv(fd, p, len, 0);
	} while (n < 0 && errno == EINTR);
	return n < 0 ? transfer_error(errno) : n;
}

ssize_t imgo__real_writev(struct imgo_loop *loop, int fd, const struct iovec *iov, int n)
{
	struct msghdr msg = {.msg_iov = (struct iovec *)iov, .msg_iovlen = (size_t)(n < IOV_MAX ? n : IOV_MAX)};
	ssize_t done;

	(void)loop;
	do {
		done = sendmsg(fd, &msg, MSG_NOSIGNAL);
	} while (done < 0 && errno == EINTR);
	return done < 0 ? transfer_error(errno) : done;
}

int imgo__real_unsent(struct imgo_loop *loop, int fd)
{
	int bytes;

	(void)loop;
	return ioctl(fd, SIOCOUTQ, &bytes) < 0 ? imgo__from_errno(errno) : bytes;
}

int imgo__real_local(struct imgo_loop *loop, int fd, struct imgo__addr *out)
{
	(void)loop;
	*out = (struct imgo__addr){.len = sizeof(out->ss)};
	if (getsockname(fd, (struct sockaddr *)&out->ss, &out->len) < 0)
		return imgo__from_errno(errno);
	unmap_v4(out);
	return 0;
}

void imgo__real_shutdown(struct imgo_loop *loop, int fd)
{
	(void)loop;
	(void)shutdown(fd, SHUT_WR);
}

void imgo__real_close(struct imgo_loop *loop, int fd)
{
	(void)loop;
	(void)close(fd);
}

void imgo__real_reset(struct imgo_loop *loop, int fd)
{
	const struct linger now = {.l_onoff = 1, .l_linger = 0};

	(void)loop;
	(void)setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
	(void)close(fd);
}
