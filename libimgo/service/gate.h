/* SPDX-License-Identifier: MIT */
/*
 * What a comet asks of a logic, as a table of calls with two implementations: the push object of the same process
 * (push_gate.c) and RPC to any of several logics (gate_remote.c, answered there by gate_server.c).
 *
 * Calls are asynchronous by the error law (imgo/error.h). Arguments stay valid until the callback; results are valid until it
 * returns. All may be repeated.
 */
#ifndef IMGO__SERVICE_GATE_H
#define IMGO__SERVICE_GATE_H

#include <imgo/registry.h>

#include "loop/loop.h"

typedef void imgo__gate_cb(int err, void *user);

#define IMGO__GATE_ROOMS_MAX IMGO_REGISTRY_ROOMS_MAX
#define IMGO__GATE_ITEMS_MAX 2048 /* of one *_many call */

/* A login. err of the call: 0; IMGO_EDENIED: surely a bad token; IMGO_ELIMIT: the user has as many sessions as allowed;
 * else: come again. */
struct imgo__gate_connect {
	struct imgo_str token;
	uint16_t ver;
	struct imgo_str device; /* asked for by a version 2 client */
	struct imgo_session_id id;
	const struct imgo_str *rooms; /* asked for; joined to those of the token */
	size_t nrooms;
	bool by_mid;  /* a goim client's object without a token, ... */
	uint64_t mid; /* ... and the user that it names; 0: a guest */
	/* results */
	struct imgo_str who, granted_device;
	uint64_t seq;
	uint32_t partition; /* of the user */
	uint32_t epoch;     /* of the bus now */
	struct imgo_str granted_rooms[IMGO__GATE_ROOMS_MAX];
	size_t ngranted;
};

/* A session, as the calls below name it. */
struct imgo__gate_session {
	struct imgo_str who, device;
	struct imgo_session_id id;
	uint64_t seq;                 /* announce: that it has; result: that it has from now on */
	const struct imgo_str *rooms; /* announce, rooms */
	size_t nrooms;
	int err; /* result; of announce, IMGO_EEXISTS: its named device has a newer session, close this one */
};

struct imgo__gate_message {
	struct imgo_id id;
	int32_t op;
	struct imgo_str body;
};

/* The user's log, one piece. err: 0; IMGO_EREBUILDING and others: read again later. */
struct imgo__gate_read {
	struct imgo_str who, device;
	struct imgo_id after;
	uint32_t messages_max, bytes_max;
	/* results */
	const struct imgo__gate_message *messages;
	size_t nmessages;
	bool more, gap;
	struct imgo_id position, cursor;
};

struct imgo__gate_ack {
	struct imgo_str who, device;
	struct imgo_id id;
	int err; /* result: 0, or try again */
};

struct imgo__gate_compare {
	struct imgo_str who, device;
	struct imgo_id delivered, acked;
	int err;     /* result: 0, or unknown */
	bool behind; /* result: the log has something above `delivered`: read it */
};

/* How many sessions, of all comets, are in a room. */
struct imgo__gate_online {
	struct imgo_str room;
	uint64_t count; /* result */
};

/* The comet's lease; with the facts about the bus that a comet needs. */
struct imgo__gate_renew {
	struct imgo_registry_renew registry;
	uint32_t epoch, partitions; /* results */
};

struct imgo__gate_ops {
	void (*free)(void *impl); /* pending calls end with IMGO_ECANCELED */
	int (*connect)(void *impl, struct imgo__gate_connect *call, imgo__gate_cb *cb, void *user);
	int (*read)(void *impl, struct imgo__gate_read *call, imgo__gate_cb *cb, void *user);
	int (*announce)(void *impl, struct imgo__gate_session *items, size_t n, imgo__gate_cb *cb, void *user);
	int (*disconnect)(void *impl, struct imgo__gate_session *items, size_t n, imgo__gate_cb *cb, void *user);
	int (*rooms)(void *impl, struct imgo__gate_session *items, size_t n, imgo__gate_cb *cb, void *user);
	int (*ack)(void *impl, struct imgo__gate_ack *items, size_t n, imgo__gate_cb *cb, void *user);
	int (*compare)(void *impl, struct imgo__gate_compare *items, size_t n, imgo__gate_cb *cb, void *user);
	int (*online)(void *impl, struct imgo__gate_online *items, size_t n, imgo__gate_cb *cb, void *user);
	int (*renew)(void *impl, struct imgo__gate_renew *call, imgo__gate_cb *cb, void *user);
	bool (*up)(void *impl); /* some logic is reached; NULL: always */
};

struct imgo__gate {
	const struct imgo__gate_ops *ops;
	void *impl;
};

struct imgo_push;
/* The gate of a push in this process; nothing to free but what it has under way. */
int imgo__gate_local(struct imgo__gate *out, struct imgo_push *push);
/* The gate of logics elsewhere: addresses, comma-separated; a call goes to any healthy one. */
int imgo__gate_remote(struct imgo__gate *out, struct imgo_loop *loop, const char *logics, const char *secret,
	struct imgo_tls *tls, uint32_t comet, struct imgo_error *error);

/* Serves a gate (borrowed) over RPC. */
struct imgo__gate_server;
int imgo__gate_server_new(struct imgo__gate_server **out, struct imgo_loop *loop, struct imgo__gate gate,
	const char *listen, const char *secret, struct imgo_tls *tls, struct imgo_error *error);
void imgo__gate_server_free(struct imgo__gate_server *server);
int imgo__gate_server_port(const struct imgo__gate_server *server);

#endif
