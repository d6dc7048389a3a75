/* SPDX-License-Identifier: MIT */
/*
 * The lease, and what keeps sessions in step when word is lost.
 *
 * The lease is renewed three times in its length. Logins are granted only under one. When a router turns out to be another
 * incarnation than before, or the lease was missed, every session is announced again, partition by partition, and then
 * all are compared at once. When a larger incarnation of this comet lives (IMGO_ESTALE), ours is over: clients are
 * closed and the host is told.
 *
 * The comparison: sessions stand in one ring a partition; each compare_ms / partitions the next ring is compared with the
 * logs, in batches. That bounds every lost tell, whatever its cause (DESIGN.md §3).
 */
#include <string.h>

#include "service/edge_impl.h"

enum {
	RENEW_FAILED_MS = 500,
	BATCH_MAX = 512,
	HURRY_MS = 5, /* between partitions when all are to be compared at once */
	ANNOUNCE_AGAIN_MS = 500,
};

/* ---- comparison ---- */

struct compare_call {
	struct imgo__edge_call call;
	size_t n;
	struct imgo__gate_compare items[BATCH_MAX];
	uint64_t handles[BATCH_MAX];
};

static void on_compared(int err, void *user)
{
	struct compare_call *self = user;
	struct imgo_edge *edge = self->call.edge;

	for (size_t i = 0; edge && err == 0 && i < self->n; i++) {
		struct imgo__edge_session *session = imgo__edge_find(edge, self->handles[i]);
		if (self->items[i].err)
			continue;
		imgo_stat_add(edge->stats.compared, 1);
		if (!session || !self->items[i].behind || session->state != IMGO__EDGE_LIVE)
			continue;
		/* It may have got the rest meanwhile: the read finds nothing then. */
		imgo_stat_add(edge->stats.repaired, 1);
		imgo__edge_load(edge, session);
	}
	imgo__edge_call_free(&self->call);
}

static void compare_send(struct imgo_edge *edge, struct compare_call *self, bool ok)
{
	int err = IMGO_ENOMEM;

	if (ok && self->n)
		err = edge->gate.ops->compare(edge->gate.impl, self->items, self->n, on_compared, self);
	if (err < 0)
		imgo__edge_call_free(&self->call);
}

static void compare_partition(struct imgo_edge *edge, uint32_t partition)
{
	struct compare_call *self = NULL;
	bool ok = true;

	imgo__list_for(at, &edge->rings[partition])
	{
		struct imgo__edge_session *session = imgo__container_of(at, struct imgo__edge_session, ring);
		struct imgo__gate_compare *item;
		if (session->state != IMGO__EDGE_LIVE)
			continue;
		if (!self && !(self = imgo__edge_call_new(edge, sizeof *self)))
			return;
		item = &self->items[self->n];
		item->who = imgo__arena_str(&self->call.arena, imgo__edge_who(session), &ok);
		item->device = imgo__arena_str(&self->call.arena, imgo__edge_device(session), &ok);
		item->delivered = imgo__edge_id(session->delivered);
		item->acked = imgo__edge_id(session->acked);
		self->handles[self->n++] = session->conn.h;
		if (self->n == BATCH_MAX) {
			compare_send(edge, self, ok);
			self = NULL;
		}
	}
	if (self)
		compare_send(edge, self, ok);
}

static void on_compare_timer(struct imgo_loop *loop, struct imgo__timer *timer)
{
	struct imgo_edge *edge = imgo__container_of(timer, struct imgo_edge, compare_timer);
	uint64_t step = edge->compare_ms / edge->partitions;

	compare_partition(edge, edge->compare_at);
	edge->compare_at = (edge->compare_at + 1) % edge->partitions;
	if (edge->compare_hurry) {
		edge->compare_hurry--;
		step = HURRY_MS;
	}
	imgo__timer_start(loop, timer, step ? step : 1);
}

static void compare_all_now(struct imgo_edge *edge)
{
	if (edge->compare_ms == 0)
		return;
	edge->compare_hurry = edge->partitions;
	imgo__timer_start(edge->loop, &edge->compare_timer, HURRY_MS);
}

int imgo__edge_set_partitions(struct imgo_edge *edge, uint32_t partitions)
{
	struct imgo__list *rings, *old = edge->rings;
	uint32_t nold = edge->partitions;

	if (partitions == 0 || partitions > 65536)
		return IMGO_EPROTO;
	rings = imgo__array(partitions, sizeof *rings);
	if (!rings)
		return IMGO_ENOMEM;
	for (uint32_t i = 0; i < partitions; i++)
		imgo__list_init(&rings[i]);
	for (uint32_t i = 0; i < nold; i++) {
		struct imgo__list *at;
		while ((at = imgo__list_pop(&old[i]))) {
			struct imgo__edge_session *session = imgo__container_of(at, struct imgo__edge_session, ring);
			imgo__list_insert(&rings[imgo_partition(imgo__edge_who(session), partitions)], at);
		}
	}
	free(old);
	edge->rings = rings;
	edge->partitions = partitions;
	edge->compare_at = 0;
	return 0;
}

/* ---- announcing ---- */

struct announce_call {
	struct imgo__edge_call call;
	size_t n;
	struct imgo__gate_session items[BATCH_MAX];
};

static void announce_all(struct imgo_edge *edge);
static void announce_step(struct imgo_edge *edge);

static void announce_end(struct imgo_edge *edge)
{
	edge->announcing = false;
	compare_all_now(edge);
	if (edge->announce_again) {
		edge->announce_again = false;
		announce_all(edge);
	}
}

/* False: to be announced again. */
static bool announce_result(struct imgo_edge *edge, const struct imgo__gate_session *item)
{
	struct imgo__edge_session *session = imgo__edge_find(edge, item->id.n);

	if (session && item->err == 0)
		session->seq = item->seq;
	else if (session && item->err == IMGO_EEXISTS)
		imgo_hub_close(edge->hub, session->conn, IMGO_CLOSE_REPLACED);
	return item->err == 0 || item->err == IMGO_EEXISTS || item->err == IMGO_ESTALE;
}

static void on_announced(int err, void *user)
{
	struct announce_call *self = user;
	struct imgo_edge *edge = self->call.edge;
	bool failed = err != 0;

	for (size_t i = 0; edge && err == 0 && i < self->n; i++)
		failed |= !announce_result(edge, &self->items[i]);
	if (edge) {
		imgo_stat_add(edge->stats.announced, failed ? 0 : (int64_t)self->n);
		edge->announce_failed |= failed;
		if (--edge->announce_waiting == 0)
			announce_step(edge);
	}
	imgo__edge_call_free(&self->call);
}

/* All of one ring, in as many calls as it takes: the next ring's turn comes when all are answered. */
static bool announce_ring(struct imgo_edge *edge, struct imgo__list *ring)
{
	struct announce_call *self = NULL;
	bool ok = true;

	imgo__list_for(at, ring)
	{
		if (!self && !(self = imgo__edge_call_new(edge, sizeof *self)))
			return false;
		ok &= imgo__edge_describe(edge, imgo__container_of(at, struct imgo__edge_session, ring),
			&self->call.arena, &self->items[self->n++]);
		if (self->n < BATCH_MAX && at->next != ring)
			continue;
		if (!ok || edge->gate.ops->announce(edge->gate.impl, self->items, self->n, on_announced, self) < 0) {
			imgo__edge_call_free(&self->call);
			return false;
		}
		edge->announce_waiting++;
		self = NULL;
	}
	return true;
}

static void announce_step(struct imgo_edge *edge)
{
	while (!edge->announce_failed && edge->announce_at < edge->partitions) {
		if (!announce_ring(edge, &edge->rings[edge->announce_at++]))
			edge->announce_failed = true;
		if (edge->announce_waiting)
			return;
	}
	if (edge->announce_waiting)
		return;
	if (edge->announce_failed) {
		/* The next renewal finds no shard as it was, and begins again. */
		edge->nshards = 0;
		edge->announcing = false;
		imgo__timer_start(edge->loop, &edge->renew_timer, ANNOUNCE_AGAIN_MS);
		return;
	}
	announce_end(edge);
}

static void announce_all(struct imgo_edge *edge)
{
	if (edge->announcing) {
		edge->announce_again = true;
		return;
	}
	imgo_log_event(imgo_loop_log(edge->loop), IMGO_LOG_INFO, "edge", "announce", "comet=%u", edge->comet);
	edge->announcing = true;
	edge->announce_failed = false;
	edge->announce_at = 0;
	announce_step(edge);
}

/* ---- the lease ---- */

struct renew_call {
	struct imgo__edge_call call;
	struct imgo__gate_renew renew;
	void (*then)(struct imgo_edge *edge); /* of leaving */
};

/* Some router is another one than at the last renewal: it does not know our sessions. */
static bool shards_changed(const struct imgo_edge *edge, const struct imgo_registry_renew *renew)
{
	if (renew->nshards != edge->nshards)
		return true;
	for (uint32_t i = 0; i < renew->nshards; i++) {
		struct imgo_incarnation now = renew->shards[i].inc;
		if (now.start_us != 0 && imgo_incarnation_cmp(now, edge->shards[i].inc) != 0)
			return true;
	}
	return false;
}

static void shards_keep(struct imgo_edge *edge, const struct imgo_registry_renew *renew)
{
	for (uint32_t i = 0; i < renew->nshards; i++) {
		bool keep = i < edge->nshards && renew->shards[i].inc.start_us == 0;
		if (!keep)
			edge->shards[i] = renew->shards[i];
	}
	edge->nshards = renew->nshards;
}

static void renewed(struct imgo_edge *edge, const struct imgo__gate_renew *renew)
{
	uint64_t now = imgo__loop_now_ms(edge->loop);
	bool missed = edge->ready && now - edge->renewed_ms > edge->lease_ms;

	if (missed) {
		imgo_stat_add(edge->stats.lease_missed, 1);
		imgo_log_event(imgo_loop_log(edge->loop), IMGO_LOG_WARN, "edge", "lease-missed", "comet=%u", edge->comet);
	}
	if (renew->partitions != edge->partitions && imgo__edge_set_partitions(edge, renew->partitions) < 0)
		return; /* a logic that talks nonsense: the next renewal goes elsewhere */
	if (!edge->ready)
		imgo_log_event(imgo_loop_log(edge->loop), IMGO_LOG_INFO, "edge", "ready", "comet=%u", edge->comet);
	if (edge->ready && (missed || shards_changed(edge, &renew->registry)))
		announce_all(edge);
	shards_keep(edge, &renew->registry);
	edge->renewed_ms = now;
	edge->ready = true;
}

static void superseded(struct imgo_edge *edge)
{
	imgo_log_event(imgo_loop_log(edge->loop), IMGO_LOG_ERROR, "edge", "superseded",
		"comet=%u why=\"a newer process has this comet.id\"", edge->comet);
	edge->superseded = true;
	edge->ready = false;
	imgo_hub_stop_listening(edge->hub);
	imgo__edge_close_sessions(edge);
	if (edge->on_superseded)
		edge->on_superseded(edge, edge->user);
}

static void on_renewed(int err, void *user)
{
	struct renew_call *self = user;
	struct imgo_edge *edge = self->call.edge;
	void (*then)(struct imgo_edge *) = self->then;

	if (edge && then) {
		then(edge);
	} else if (edge && !edge->superseded) {
		imgo__timer_start(edge->loop, &edge->renew_timer, err ? RENEW_FAILED_MS : edge->lease_ms / 3);
		edge->renew_err = err;
		if (err == 0)
			renewed(edge, &self->renew);
		else if (err == IMGO_ESTALE)
			superseded(edge);
	}
	imgo__edge_call_free(&self->call);
}

static int renew(struct imgo_edge *edge, void (*then)(struct imgo_edge *))
{
	struct renew_call *self = imgo__edge_call_new(edge, sizeof *self);
	int err;

	if (!self)
		return IMGO_ENOMEM;
	self->then = then;
	self->renew.registry.comet = edge->comet;
	self->renew.registry.inc = edge->inc;
	self->renew.registry.address = imgo_str(edge->address);
	self->renew.registry.lease_ms = edge->lease_ms;
	self->renew.registry.leaving = then != NULL;
	self->renew.registry.about = imgo__edge_about(edge);
	err = edge->gate.ops->renew(edge->gate.impl, &self->renew, on_renewed, self);
	if (err < 0)
		imgo__edge_call_free(&self->call);
	return err;
}

static void on_renew_timer(struct imgo_loop *loop, struct imgo__timer *timer)
{
	struct imgo_edge *edge = imgo__container_of(timer, struct imgo_edge, renew_timer);

	if (renew(edge, NULL) < 0)
		imgo__timer_start(loop, timer, RENEW_FAILED_MS);
}

void imgo__edge_leave(struct imgo_edge *edge, void (*then)(struct imgo_edge *edge))
{
	imgo__timer_stop(edge->loop, &edge->renew_timer);
	imgo__timer_stop(edge->loop, &edge->compare_timer);
	if (edge->superseded || renew(edge, then) < 0)
		then(edge);
}

int imgo__edge_lease_init(struct imgo_edge *edge)
{
	int err = imgo__edge_set_partitions(edge, 64);

	imgo__timer_init(&edge->renew_timer, on_renew_timer);
	imgo__timer_init(&edge->compare_timer, on_compare_timer);
	if (err < 0)
		return err;
	edge->inc.start_us = imgo_loop_wall_ms(edge->loop) * 1000;
	imgo__loop_random(edge->loop, &edge->inc.random, sizeof edge->inc.random);
	imgo__timer_start(edge->loop, &edge->renew_timer, 0);
	if (edge->compare_ms)
		imgo__timer_start(edge->loop, &edge->compare_timer, edge->compare_ms / edge->partitions);
	return 0;
}

void imgo__edge_lease_fini(struct imgo_edge *edge)
{
	imgo__timer_stop(edge->loop, &edge->renew_timer);
	imgo__timer_stop(edge->loop, &edge->compare_timer);
	free(edge->rings);
}
