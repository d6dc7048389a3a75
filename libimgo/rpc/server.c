/* SPDX-License-Identifier: MIT */
/*
 * The listener of an RPC server. When the system has no descriptor left, accepting pauses for 100 ms and goes
 * on; beyond connections_max a new connection is closed at once.
 *
 * The server may be freed inside one of its handlers: it then stops at once, and its memory goes with the
 * reaper at the end of the turn.
 */
#include "rpc/server.h"

#include <stdio.h>

#include "base/error.h"
#include "base/mem.h"

enum { ACCEPT_TURN = 64, ACCEPT_PAUSE_MS = 100 };

static void on_accept(struct imgo_loop *loop, struct imgo__io *io, int events)
{
	struct imgo__rpc_server *server = imgo__container_of(io, struct imgo__rpc_server, io);
	struct imgo__addr peer;
	int fd, err = 0;

	(void)events;
	for (unsigned i = 0; i < ACCEPT_TURN && err == 0; i++) {
		err = imgo__sock_accept(loop, server->fd, &fd, &peer);
		if (err)
			break;
		if (server->nconns >= server->conns_max) {
			imgo_stat_add(server->stat_refused, 1);
			imgo__sock_close(loop, fd);
			continue;
		}
		imgo_stat_add(server->stat_accepted, 1);
		imgo__rpc_conn_start(server, fd);
	}
	if (err == 0 || err == IMGO_ETIMEDOUT)
		return;
	imgo_log_event(imgo_loop_log(loop), IMGO_LOG_WARN, "rpc", "accept-paused", "why=\"%s\"", imgo_strerror(err));
	imgo__io_set(loop, &server->io, 0);
	imgo__timer_start(loop, &server->resume, ACCEPT_PAUSE_MS);
}

static void on_resume(struct imgo_loop *loop, struct imgo__timer *timer)
{
	imgo__io_set(loop, &imgo__container_of(timer, struct imgo__rpc_server, resume)->io, IMGO__READ);
}

static void reap(struct imgo__rpc_server *server)
{
	while (!imgo__list_empty(&server->dead))
		imgo__rpc_conn_free(imgo__container_of(server->dead.next, struct imgo__rpc_conn, link));
	if (server->freed) {
		imgo__task_cancel(&server->reap);
		free(server);
	}
}

static void on_reap(struct imgo_loop *loop, struct imgo__task *task)
{
	(void)loop;
	reap(imgo__container_of(task, struct imgo__rpc_server, reap));
}

static void init_stats(struct imgo__rpc_server *server)
{
	struct imgo_stats *stats = imgo_loop_stats(server->loop);

	server->stat_accepted = imgo_stats_counter(stats, "imgo_rpc_accepted_total", "RPC connections accepted");
	server->stat_calls = imgo_stats_counter(stats, "imgo_rpc_served_total", "RPC calls received");
	server->stat_garbage =
		imgo_stats_counter(stats, "imgo_rpc_garbage_total", "RPC connections closed for what they sent");
	server->stat_refused =
		imgo_stats_counter(stats, "imgo_rpc_refused_total", "RPC connections refused: secret, version, number");
	server->stat_slow = imgo_stats_counter(stats, "imgo_rpc_slow_total", "RPC connections closed as slow or silent");
}

static int start(struct imgo__rpc_server *server, const struct imgo__rpc_server_options *options, struct imgo_error *error)
{
	struct imgo__addr addr, local;
	int err;

	if (!options->listen || imgo__addr_parse(&addr, imgo_str(options->listen)) < 0)
		return imgo__fail(error, IMGO_EINVAL, "rpc: \"%s\" is not an address to listen on",
			options->listen ? options->listen : "");
	server->open = !options->secret;
	if (server->open && !server->tls && !imgo__addr_is_loopback(&addr))
		return imgo__fail(error, IMGO_EINVAL, "rpc: %s is not a loopback address, so a secret or TLS is needed",
			options->listen);
	if (!server->open && imgo__sha256(options->secret, strlen(options->secret), server->secret) < 0)
		return imgo__fail(error, IMGO_ENOMEM, "rpc: out of memory");
	err = imgo__sock_listen(server->loop, &addr, 511, false, &server->fd);
	if (err)
		return imgo__fail(error, err == IMGO_ENOMEM ? err : IMGO_EIO, "rpc: cannot listen on %s: %s",
			options->listen, err == IMGO_EEXISTS ? "address in use" : imgo_strerror(err));
	if (imgo__sock_local(server->loop, server->fd, &local) == 0) {
		char text[64], *colon;
		imgo__addr_format(&local, text);
		colon = strrchr(text, ':');
		server->port = colon ? atoi(colon + 1) : 0;
	}
	imgo__io_init(&server->io, on_accept, server->fd);
	imgo__io_set(server->loop, &server->io, IMGO__READ);
	return 0;
}

int imgo__rpc_server_new(struct imgo__rpc_server **out, struct imgo_loop *loop,
	const struct imgo__rpc_server_options *options, struct imgo_error *error)
{
	struct imgo__rpc_server *server = imgo__zalloc(sizeof *server);
	int err;

	if (!server)
		return imgo__fail(error, IMGO_ENOMEM, "rpc: out of memory");
	server->loop = loop;
	server->methods = options->methods;
	server->tls = options->tls;
	server->user = options->user;
	server->conns_max = options->connections_max ? options->connections_max : 1024;
	server->calls_max = options->calls_max ? options->calls_max : 4096;
	imgo__list_init(&server->conns);
	imgo__list_init(&server->dead);
	imgo__task_init(&server->reap, on_reap);
	imgo__timer_init(&server->resume, on_resume);
	init_stats(server);
	err = imgo__rpc_check_tls(options->tls, error);
	if (err == 0)
		err = start(server, options, error);
	if (err) {
		free(server);
		return err;
	}
	*out = server;
	return 0;
}

void imgo__rpc_server_free(struct imgo__rpc_server *server)
{
	if (!server || server->freed)
		return;
	imgo__io_set(server->loop, &server->io, 0);
	imgo__sock_close(server->loop, server->fd);
	imgo__timer_stop(server->loop, &server->resume);
	while (!imgo__list_empty(&server->conns))
		imgo__rpc_conn_close(imgo__container_of(server->conns.next, struct imgo__rpc_conn, link));
	server->freed = true;
	if (server->depth == 0)
		reap(server);
	else
		imgo__defer(server->loop, &server->reap);
}

int imgo__rpc_server_port(const struct imgo__rpc_server *server)
{
	return server->port;
}
