/* SPDX-License-Identifier: MIT */
/*
 * Carries word from jobs and logics to comets: tells (logged messages), casts (rooms, broadcast, qos 0) and kicks. Learns
 * the comets from the registry, each second and when one is unknown; a comet in the same process is called directly.
 *
 * Everything here is best effort and waits for nobody: what cannot be sent is dropped and counted, the comets' comparison
 * finds it. What is told to one comet in one turn of the loop goes in one RPC. Casts to one comet are one batch in
 * flight at a time: what comes meanwhile makes up the next batch, in order.
 */
#ifndef IMGO__SERVICE_CARRIER_H
#define IMGO__SERVICE_CARRIER_H

#include <imgo/envelope.h>
#include <imgo/registry.h>
#include <imgo/store.h>

#include "base/mem.h"
#include "loop/loop.h"

struct imgo__tell_target {
	uint64_t n; /* of the session id */
	struct imgo_str who;
	struct imgo_id prev;
};

struct imgo__tell {
	struct imgo_id id;
	int32_t op;
	struct imgo_str body;
	const struct imgo__tell_target *targets;
	size_t ntargets;
};

struct imgo__cast {
	enum imgo_envelope_kind kind; /* DIRECT, ROOM, BROADCAST or KEYS */
	uint32_t partition;           /* of the casts' topic */
	struct imgo_id id;
	int32_t op;
	struct imgo_str room, body;
	const struct imgo__tell_target *targets; /* DIRECT, KEYS; prev is not used. n 0: `who` is a key, if it is here */
	size_t ntargets;
	uint32_t speed; /* BROADCAST: deliveries a second; to the carrier of all comets, from it to each of them */
};

struct imgo__kick {
	uint64_t n;
	struct imgo_str who;
	int why; /* enum imgo_close */
};

/* What a comet does with it (edge.c); the strings live until the call returns. IMGO_ESTALE: another incarnation. */
struct imgo_edge;
int imgo__edge_tell(struct imgo_edge *edge, struct imgo_incarnation inc, const struct imgo__tell *tells, size_t n);
int imgo__edge_cast(struct imgo_edge *edge, struct imgo_incarnation inc, const struct imgo__cast *casts, size_t n);
int imgo__edge_kick(struct imgo_edge *edge, struct imgo_incarnation inc, const struct imgo__kick *kicks, size_t n);
uint32_t imgo__edge_comet(const struct imgo_edge *edge);

struct imgo__carrier;

struct imgo__carrier_options {
	struct imgo_registry *registry; /* borrowed */
	const char *secret, *role;
	struct imgo_tls *tls;    /* borrowed */
	uint32_t cast_batch_max; /* goim's way: wait for that many casts ... */
	uint64_t cast_batch_ms;  /* ... or that long; both 0: at once when idle */
	size_t queue_max_bytes;  /* waiting for one comet; 0: 64 MiB */
};

int imgo__carrier_new(struct imgo__carrier **out, struct imgo_loop *loop, const struct imgo__carrier_options *options);
void imgo__carrier_free(struct imgo__carrier *carrier);
/* The comet of this process; NULL takes it away (before it is freed). */
void imgo__carrier_set_edge(struct imgo__carrier *carrier, struct imgo_edge *edge);
/* All copy what they are given. */
void imgo__carrier_tell(struct imgo__carrier *carrier, struct imgo_session_id id, struct imgo_str who,
	struct imgo_id prev, const struct imgo_store_body *body);
void imgo__carrier_cast(struct imgo__carrier *carrier, const struct imgo__cast *cast);
/* A DIRECT or KEYS cast to one session. */
void imgo__carrier_direct(
	struct imgo__carrier *carrier, struct imgo_session_id id, struct imgo_str who, const struct imgo__cast *cast);
/* A KEYS cast to whichever comet has a session of that key. */
void imgo__carrier_key(struct imgo__carrier *carrier, struct imgo_str key, const struct imgo__cast *cast);
void imgo__carrier_kick(struct imgo__carrier *carrier, struct imgo_session_id id, struct imgo_str who, int why);
/* Runs fn once everything handed over so far was sent and answered or given up. */
void imgo__carrier_idle(struct imgo__carrier *carrier, void (*fn)(void *user), void *user);

#endif
