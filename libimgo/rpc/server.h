/* SPDX-License-Identifier: MIT */
/* The inside of an RPC server: server.c listens and owns the connections, server_conn.c talks on one. */
#ifndef IMGO__RPC_SERVER_H
#define IMGO__RPC_SERVER_H

#include "base/hash.h"
#include "codec/rpcframe.h"
#include "net/stream.h"
#include "rpc/rpc.h"

struct imgo__rpc_server {
	struct imgo_loop *loop;
	struct imgo__io io;
	struct imgo__timer resume; /* accepting, after the system had no descriptor left */
	struct imgo__task reap;
	struct imgo__list conns, dead;
	const struct imgo__rpc_method *methods;
	struct imgo_tls *tls;
	void *user;
	unsigned nconns, conns_max, calls_max;
	int fd, port;
	unsigned depth;                   /* handlers running */
	bool freed, open;                 /* open: no secret is asked for */
	uint8_t secret[IMGO__SHA256_LEN]; /* hashed, so that comparing takes the same time whatever its length
					   */
	struct imgo_stat *stat_accepted, *stat_calls, *stat_garbage, *stat_refused, *stat_slow;
};

struct imgo__rpc_conn {
	struct imgo__stream stream;
	struct imgo__list link;
	struct imgo__rpc_server *server;
	struct imgo__timer timer;   /* greeting, then silence */
	struct imgo__task resume;   /* reading, after a pause */
	struct imgo__list requests; /* unanswered */
	unsigned nrequests;
	bool greeted, closing; /* closing: as soon as all is sent */
};

struct imgo__rpc_request {
	struct imgo__list link;
	struct imgo__rpc_conn *conn; /* NULL: gone */
	struct imgo__mpw w;
	struct imgo__buf waste; /* what is written to a connection that is gone, or in answer to a notification */
	size_t start;
	uint32_t id;
	bool notify;
};

void imgo__rpc_conn_start(struct imgo__rpc_server *server, int fd);
void imgo__rpc_conn_close(struct imgo__rpc_conn *conn); /* to the list of the dead; memory goes with the reaper */
void imgo__rpc_conn_free(struct imgo__rpc_conn *conn);

#endif
