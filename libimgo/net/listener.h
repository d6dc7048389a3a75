/* SPDX-License-Identifier: MIT */
/* A listening socket that survives everything accept() can say. */
#ifndef IMGO__NET_LISTENER_H
#define IMGO__NET_LISTENER_H

#include "loop/loop.h"

struct imgo__listener;

/* Callbacks may free the listener. */
struct imgo__listener_ops {
	/* A connection: fd is the callee's, who closes it also when it does not want it. */
	void (*on_accept)(void *user, int fd, const struct imgo__addr *peer);
	/* Optional. False: do not take the next one now; accepting pauses, and the peer waits in the backlog.
	 */
	bool (*may_accept)(void *user);
	/* Optional. Accepting paused, whatever the reason: to be counted. err: 0 (may_accept) or the
	 * imgo_err. */
	void (*on_pause)(void *user, int err);
};

/* Listens on "host:port" or "unix:/path"; *port, if not NULL, is set (0 for unix). ops must outlive the
 * listener. Errors: IMGO_EINVAL, IMGO_EIO, IMGO_ENOMEM. */
int imgo__listener_new(struct imgo__listener **out, struct imgo_loop *loop, const char *address,
	const struct imgo__listener_ops *ops, void *user, int *port, struct imgo_error *error);
void imgo__listener_free(struct imgo__listener *listener); /* NULL is fine */

/* Ends a pause at once (there is room again). Harmless when there is none. */
void imgo__listener_resume(struct imgo__listener *listener);

/* Half-open peers are found within 30 s: keep-alive when idle, TCP_USER_TIMEOUT while data is unacknowledged.
 * On a listening socket, what it accepts inherits it, which saves system calls a connection. No-op on other
 * sockets. */
void imgo__sock_watch_peer(int fd);

#endif
