/* SPDX-License-Identifier: MIT */
/* The inside of an RPC client: client.c keeps the calls, client_peer.c the connections. */
#ifndef IMGO__RPC_CLIENT_H
#define IMGO__RPC_CLIENT_H

#include "codec/rpcframe.h"
#include "net/stream.h"
#include "rpc/rpc.h"

enum imgo__rpc_peer_state {
	IMGO__RPC_DOWN,       /* waits for the next attempt */
	IMGO__RPC_CONNECTING, /* or greeting */
	IMGO__RPC_UP,
};

struct imgo__rpc_peer {
	struct imgo__stream stream;
	struct imgo__rpc_client *client;
	struct imgo__addr addr;
	struct imgo__timer timer; /* the next attempt, the end of this one, or the next look at an idle connection */
	struct imgo__list calls;  /* in flight */
	enum imgo__rpc_peer_state state;
	bool known_down; /* an attempt failed since it was up: nobody waits for it */
	bool suspect;    /* its calls timed out: tried last until it answers one */
	bool said_down;  /* in the log */
	unsigned attempts, timeouts;
	uint64_t up_ms, heard_ms, pinged_ms;
};

struct imgo__rpc_call {
	struct imgo__list link; /* of a peer, or of those that wait */
	struct imgo__timer timer;
	struct imgo__rpc_client *client;
	struct imgo__rpc_peer *peer; /* NULL: waits for one */
	uint64_t at;                 /* where its frame begins in the peer's stream */
	struct imgo__buf frame;      /* while it waits */
	imgo__rpc_reply_fn *cb;      /* NULL: a notification */
	void *user;
	uint32_t id;
};

struct imgo__rpc_client {
	struct imgo_loop *loop;
	char *secret, *role;
	struct imgo_tls *tls;
	unsigned timeout_ms, calls_max;
	size_t queue_max;
	bool spread, freed;
	unsigned depth; /* callbacks running */
	struct imgo__task reap;
	struct imgo__list waiting;
	struct imgo__rpc_call **table; /* by id & mask */
	uint32_t mask, ncalls, next_id;
	/* the call that is being written */
	struct {
		struct imgo__mpw w;
		struct imgo__rpc_peer *peer; /* NULL: into frame */
		struct imgo__buf frame;
		size_t start;
		uint64_t at;
		uint32_t id;
		int err;
	} now;
	struct imgo_stat *stat_calls, *stat_timeouts, *stat_lost, *stat_connects;
	unsigned npeers, turn;
	struct imgo__rpc_peer peers[];
};

/* client_peer.c */
int imgo__rpc_peer_init(struct imgo__rpc_peer *peer, struct imgo__rpc_client *client, struct imgo_str address);
void imgo__rpc_peer_fini(struct imgo__rpc_peer *peer);
void imgo__rpc_peer_timed_out(struct imgo__rpc_peer *peer);     /* one of its calls */
bool imgo__rpc_peer_hopeful(const struct imgo__rpc_peer *peer); /* a connection is being made, and may succeed */

/* client.c, for the peers */
void imgo__rpc_client_flush(struct imgo__rpc_client *client, struct imgo__rpc_peer *peer); /* it is up: those that wait */
void imgo__rpc_client_hopeless(struct imgo__rpc_client *client); /* no peer is hopeful or up? */
void imgo__rpc_client_lost(struct imgo__rpc_client *client, struct imgo__rpc_peer *peer, uint64_t sent);
void imgo__rpc_client_response(struct imgo__rpc_client *client, const struct imgo__rpc_head *head, struct imgo__mp *result);

#endif
