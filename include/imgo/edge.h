/* SPDX-License-Identifier: MIT */
/*
 * The comet's role: client connections (a hub), logged in through a logic, and kept in step with their users' logs.
 */
#ifndef IMGO_EDGE_H
#define IMGO_EDGE_H

#include <imgo/hub.h>
#include <imgo/loop.h>

#ifdef __cplusplus
extern "C" {
#endif

struct imgo_edge;
struct imgo_push;

/* When a message counts as received by a version 1 client, who cannot say so; what each risks is in docs/manual.md. */
enum imgo_v1_ack {
	IMGO_V1_ACK_TCP = 0,   /* its TCP has the bytes, and after that came a packet, an orderly FIN, or a second */
	IMGO_V1_ACK_WRITTEN,   /* our socket took it */
	IMGO_V1_ACK_HEARTBEAT, /* its TCP has the bytes, and after that came a heartbeat; no FIN does, nor time */
	IMGO_V1_ACK_PONG,      /* WebSocket: it answered a ping that was sent behind it; TCP clients: as HEARTBEAT */
};

struct imgo_edge_options {
	size_t size;
	uint32_t comet;            /* comet.id, positive, unique among the comets */
	const char *tcp;           /* "0.0.0.0:8080", NULL: none */
	const char *websocket;     /* "0.0.0.0:8090", NULL: none */
	const char *tls;           /* TCP in TLS, with hub->tls; NULL: none */
	const char *wss;           /* WebSocket in TLS: "0.0.0.0:8095", NULL: none */
	const char *rpc;           /* where jobs and logics reach it: "127.0.0.1:8092"; NULL: only in this process */
	const char *rpc_advertise; /* the address that others are told; NULL: that of rpc */
	const char *secret;        /* of RPC, both ways; NULL: none, loopback only */
	struct imgo_tls *rpc_tls;  /* of RPC, both ways, borrowed; NULL: in the clear */
	const char *logics;        /* RPC addresses of logics, comma-separated; or ... */
	struct imgo_push *push;    /* ... the logic in this process, borrowed. One of the two. */
	uint64_t lease_ms;         /* default 10,000 */
	uint64_t compare_ms; /* each session is compared with its log this often; default 10,000; 0: never (tests) */
	enum imgo_v1_ack v1_ack;
	uint32_t read_bytes_max;            /* of one read of a log; default 64 KiB */
	const struct imgo_hub_options *hub; /* NULL: the defaults */
	/* Names or addresses under which clients reach it, between commas, for GET /goim/nodes/…; NULL: the host of tcp or
	 * websocket, when that is not a wildcard. */
	const char *advertise;
	uint32_t weight; /* its share of new clients beside the other comets' (there); default 10 */
	/* A newer incarnation of this comet lives: clients are closed already, stop the process. Optional. */
	void (*on_superseded)(struct imgo_edge *edge, void *user);
	void *user;
};
#define IMGO_EDGE_OPTIONS_INIT \
	{ \
		sizeof(struct imgo_edge_options), 1, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, \
			10000, 10000, IMGO_V1_ACK_TCP, 64 * 1024, NULL, NULL, 10, NULL, NULL \
	}

/* Listens when it returns; logins succeed as soon as a logic is reached. Errors: IMGO_EINVAL, IMGO_EIO (address in use:
 * the text says which), IMGO_ENOMEM. */
IMGO_API int imgo_edge_new(struct imgo_edge **out, struct imgo_loop *loop, const struct imgo_edge_options *options,
	struct imgo_error *error);

/* Ends politely: stops accepting, closes the clients, writes their cursors, leaves the registry; done(user) runs when
 * that is finished or deadline_ms has passed. Then free. */
IMGO_API void imgo_edge_stop(struct imgo_edge *edge, uint64_t deadline_ms, void (*done)(void *user), void *user);
IMGO_API void imgo_edge_free(struct imgo_edge *edge);

/* It holds a lease: logins can succeed. */
IMGO_API bool imgo_edge_ready(const struct imgo_edge *edge);
IMGO_API struct imgo_hub *imgo_edge_hub(struct imgo_edge *edge);
/* Ports it listens on (0: not), for port 0 in the options. */
IMGO_API void imgo_edge_ports(const struct imgo_edge *edge, int *tcp, int *websocket, int *rpc);
IMGO_API void imgo_edge_tls_ports(const struct imgo_edge *edge, int *tls, int *wss);

#ifdef __cplusplus
}
#endif
#endif
