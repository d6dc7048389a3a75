/* SPDX-License-Identifier: MIT */
/*
 * A session and its user's log (DESIGN.md §3, Connect and Comet).
 *
 * A session starts LOADING: it was registered first, and is read now; job appends first and looks then, so one side sees
 * the other. What it is told while loading sets `again`, and it is read once more; when a read ends with nothing more
 * and nobody told anything meanwhile, it is LIVE. A live session compares what it is told:
 *
 *	id <= delivered     a duplicate, dropped
 *	prev <= delivered   the next one: sent
 *	else                something before it is missing: LOADING
 *
 * One read at a time. A read that fails (the store is down, or being rebuilt) is tried again later; the client stays. A
 * long log is read in pieces, the next one only when the client's TCP has taken most of the last: the rest waits in the
 * store, not in our memory.
 */
#include <string.h>

#include "base/failpoint.h"
#include "service/edge_impl.h"

enum {
	RETRY_MS = 200,
	READ_MESSAGES_MAX = 256,
	BACKLOG_BYTES_MAX = 64 * 1024, /* not acknowledged by the client's TCP: reading on would only fill memory */
	SEND_MAX = 64,                 /* messages handed to the hub at once */
};

struct read_call {
	struct imgo__edge_call call;
	uint64_t n, since_us;
	struct imgo__gate_read read;
};

static void retry_later(struct imgo_edge *edge, struct imgo__edge_session *session)
{
	if (session->retry_queued)
		return;
	if (imgo__buf_append(&edge->retry, &session->conn.h, sizeof session->conn.h) < 0) {
		imgo_hub_close(edge->hub, session->conn, IMGO_CLOSE_TRY_LATER);
		return;
	}
	session->retry_queued = true;
	if (!imgo__timer_active(&edge->retry_timer))
		imgo__timer_start(edge->loop, &edge->retry_timer, RETRY_MS);
}

static void on_retry_timer(struct imgo_loop *loop, struct imgo__timer *timer)
{
	struct imgo_edge *edge = imgo__container_of(timer, struct imgo_edge, retry_timer);
	struct imgo__buf due = edge->retry;
	const uint64_t *handles = (const uint64_t *)(void *)due.data;

	(void)loop;
	memset(&edge->retry, 0, sizeof edge->retry);
	for (size_t i = 0; i < due.len / sizeof *handles; i++) {
		struct imgo__edge_session *session = imgo__edge_find(edge, handles[i]);
		if (session) {
			session->retry_queued = false;
			imgo__edge_load(edge, session);
		}
	}
	imgo__buf_free(&due);
}

/* ---- sending ---- */

/* Hands logged messages to the connection. False: it is gone, or going (and so the session may be). */
static bool send_messages(struct imgo_edge *edge, struct imgo__edge_session *session, struct imgo_msg **messages,
	size_t n, struct imgo_id last)
{
	if (imgo_hub_send(edge->hub, session->conn, messages, n) < 0)
		return false;
	session->delivered = imgo__edge_at(last);
	imgo_stat_add(edge->stats.delivered, (int64_t)n);
	imgo__edge_sent(edge, session);
	return true;
}

/* Sends the first of a read's messages that this session does not have, SEND_MAX at most; *at is the next to look at. */
static bool send_portion(
	struct imgo_edge *edge, struct imgo__edge_session *session, const struct imgo__gate_read *read, size_t *at)
{
	struct imgo_msg *batch[SEND_MAX];
	struct imgo_id last = {0, 0};
	size_t n = 0;
	bool ok = true;

	for (; ok && n < SEND_MAX && *at < read->nmessages; ++*at) {
		const struct imgo__gate_message *from = &read->messages[*at];
		if (imgo_id_cmp(from->id, imgo__edge_id(session->delivered)) <= 0)
			continue;
		ok = imgo_msg_new(&batch[n], from->op, from->id, from->body.p, from->body.len) == 0;
		n += ok;
		last = from->id;
	}
	if (ok && n)
		ok = send_messages(edge, session, batch, n, last);
	while (n)
		imgo_msg_unref(batch[--n]);
	return ok;
}

/* All messages of a read. False: the session is gone, or memory is short. */
static bool send_read(struct imgo_edge *edge, struct imgo__edge_session *session, const struct imgo__gate_read *read)
{
	size_t at = 0;

	while (at < read->nmessages) {
		if (!send_portion(edge, session, read, &at))
			return false;
	}
	return true;
}

/* ---- reading ---- */

/* The client's TCP is far behind: the next piece of its log can wait. */
static bool congested(struct imgo_edge *edge, struct imgo__edge_session *session)
{
	uint64_t queued, acknowledged;

	return imgo_hub_position(edge->hub, session->conn, &queued, &acknowledged) == 0 &&
	       queued - acknowledged > BACKLOG_BYTES_MAX;
}

/* It has all that waited for it: the login is over. */
static void live(struct imgo_edge *edge, struct imgo__edge_session *session)
{
	if (session->login_ms)
		imgo_histogram_add(edge->stats.drain,
			(uint64_t)((uint32_t)imgo__loop_now_ms(edge->loop) - (session->login_ms & ~1u)) * 1000, 1);
	session->login_ms = 0;
}

static void read_done(struct imgo_edge *edge, struct imgo__edge_session *session, const struct imgo__gate_read *read)
{
	uint64_t n = session->conn.h;

	if (read->gap)
		imgo_stat_add(edge->stats.gaps, 1);
	session->acked = imgo__edge_at(imgo_id_max(imgo__edge_id(session->acked), read->cursor));
	session->stored = imgo__edge_at(imgo_id_max(imgo__edge_id(session->stored), read->cursor));
	if (!send_read(edge, session, read)) {
		session = imgo__edge_find(edge, n); /* slow: gone; short of memory: still here */
		if (session)
			retry_later(edge, session);
		return;
	}
	session->delivered = imgo__edge_at(imgo_id_max(imgo__edge_id(session->delivered), read->position));
	if (!read->more && !session->again) {
		session->state = IMGO__EDGE_LIVE;
		live(edge, session);
		return;
	}
	if (read->more && congested(edge, session))
		retry_later(edge, session);
	else
		imgo__edge_load(edge, session);
}

static void on_read(int err, void *user)
{
	struct read_call *self = user;
	struct imgo_edge *edge = self->call.edge;
	struct imgo__edge_session *session = edge ? imgo__edge_find(edge, self->n) : NULL;

	if (session) {
		session->reading = false;
		imgo_stat_add(err ? edge->stats.read_failed : edge->stats.reads, 1);
		imgo_histogram_add(edge->stats.read, imgo__loop_clock_us(edge->loop) - self->since_us, 1);
		if (err)
			retry_later(edge, session);
		else
			read_done(edge, session, &self->read);
	}
	imgo__edge_call_free(&self->call);
}

void imgo__edge_load(struct imgo_edge *edge, struct imgo__edge_session *session)
{
	struct read_call *self;
	bool ok = true;
	int err;

	session->state = IMGO__EDGE_LOADING;
	if (session->reading || session->retry_queued)
		return;
	self = imgo__edge_call_new(edge, sizeof *self);
	if (!self) {
		retry_later(edge, session);
		return;
	}
	self->n = session->conn.h;
	self->since_us = imgo__loop_clock_us(edge->loop);
	self->read.who = imgo__arena_str(&self->call.arena, imgo__edge_who(session), &ok);
	self->read.device = imgo__arena_str(&self->call.arena, imgo__edge_device(session), &ok);
	self->read.after = imgo__edge_id(session->delivered);
	self->read.messages_max = READ_MESSAGES_MAX;
	self->read.bytes_max = edge->read_bytes_max;
	session->again = false;
	err = ok ? edge->gate.ops->read(edge->gate.impl, &self->read, on_read, self) : IMGO_ENOMEM;
	if (err < 0) {
		imgo_stat_add(edge->stats.read_failed, 1);
		imgo__edge_call_free(&self->call);
		retry_later(edge, session);
		return;
	}
	session->reading = true;
}

/* ---- what jobs say ---- */

/* The session that a job means, if it is here and of that user: the check that no byte goes to anybody else. */
static struct imgo__edge_session *target_session(struct imgo_edge *edge, const struct imgo__tell_target *target)
{
	struct imgo_conn conn = {target->n};
	struct imgo__edge_session *session = imgo__edge_find(edge, target->n);

	if (!session) {
		/* Logging in just now: it will read its log. Or gone, or never granted: the registry should not name it. */
		if (imgo_hub_position(edge->hub, conn, NULL, NULL) == IMGO_ESTALE) {
			imgo_stat_add(edge->stats.no_session, 1);
			imgo__edge_unregister(edge, target->n, target->who, imgo_strn(NULL, 0), (struct imgo_id){0, 0});
		} else {
			imgo_stat_add(edge->stats.early, 1);
		}
		return NULL;
	}
	if (!imgo_str_eq(imgo__edge_who(session), target->who)) {
		imgo_stat_add(edge->stats.foreign, 1);
		return NULL;
	}
	return session;
}

static void tell_one(struct imgo_edge *edge, const struct imgo__tell *tell, const struct imgo__tell_target *target,
	struct imgo_msg **msg)
{
	struct imgo__edge_session *session = target_session(edge, target);

	if (!session)
		return;
	if (session->state == IMGO__EDGE_LOADING) {
		session->again = true;
	} else if (imgo_id_cmp(tell->id, imgo__edge_id(session->delivered)) <= 0) {
		imgo_stat_add(edge->stats.duplicate, 1);
	} else if (imgo_id_cmp(target->prev, imgo__edge_id(session->delivered)) > 0) {
		imgo_stat_add(edge->stats.behind, 1);
		imgo__edge_load(edge, session);
	} else if (*msg || imgo_msg_new(msg, tell->op, tell->id, tell->body.p, tell->body.len) == 0) {
		send_messages(edge, session, msg, 1, tell->id);
	}
}

int imgo__edge_tell(struct imgo_edge *edge, struct imgo_incarnation inc, const struct imgo__tell *tells, size_t n)
{
	uint64_t now_us = imgo__loop_clock_us(edge->loop);
	size_t targets = 0;

	if (imgo_incarnation_cmp(inc, edge->inc) != 0)
		return IMGO_ESTALE;
	for (size_t i = 0; i < n; i++) {
		struct imgo_msg *msg = NULL;
		targets += tells[i].ntargets;
		for (size_t j = 0; j < tells[i].ntargets; j++) {
			if (!imgo__failpoint("comet.tell"))
				tell_one(edge, &tells[i], &tells[i].targets[j], &msg);
		}
		imgo_msg_unref(msg);
	}
	imgo__edge_told(edge, &edge->ntold, &edge->told_us, now_us, targets);
	return 0;
}

/* ---- casts ---- */

/* Rises with the offsets of each partition; what is not above it has been cast before. */
static bool cast_is_new(struct imgo_edge *edge, const struct imgo__cast *cast)
{
	if (cast->partition >= edge->ncast_seen) {
		uint32_t n = cast->partition + 1;
		struct imgo_id *grown = n <= 65536 ? imgo__regrow(edge->cast_seen, n, sizeof *grown) : NULL;
		if (!grown)
			return false;
		memset(grown + edge->ncast_seen, 0, (n - edge->ncast_seen) * sizeof *grown);
		edge->cast_seen = grown;
		edge->ncast_seen = n;
	}
	if (imgo_id_cmp(cast->id, edge->cast_seen[cast->partition]) <= 0) {
		imgo_stat_add(edge->stats.casts_seen, 1);
		return false;
	}
	edge->cast_seen[cast->partition] = cast->id;
	return true;
}

/* To sessions; or to whoever has a key, if it is here: other comets were asked too. */
static void cast_direct(struct imgo_edge *edge, const struct imgo__cast *cast, struct imgo_msg *msg)
{
	for (size_t i = 0; i < cast->ntargets; i++) {
		const struct imgo__tell_target *target = &cast->targets[i];
		bool by_key = cast->kind == IMGO_ENVELOPE_KEYS && target->n == 0;
		struct imgo__edge_session *session =
			by_key ? imgo__edge_by_key(edge, target->who) : target_session(edge, target);
		if (session)
			imgo_hub_send(edge->hub, session->conn, &msg, 1);
	}
}

static bool same_audience(const struct imgo__cast *a, const struct imgo__cast *b)
{
	bool one = a->kind == IMGO_ENVELOPE_ROOM || (a->kind == IMGO_ENVELOPE_BROADCAST && !a->speed && !b->speed);

	return one && a->kind == b->kind && imgo_str_eq(a->room, b->room);
}

static void cast_run(struct imgo_edge *edge, const struct imgo__cast *cast, struct imgo_msg *const *messages, size_t n)
{
	if (cast->kind == IMGO_ENVELOPE_ROOM)
		imgo_hub_send_room(edge->hub, cast->room, messages, n);
	else if (cast->kind == IMGO_ENVELOPE_BROADCAST && cast->speed)
		imgo_hub_broadcast_paced(edge->hub, messages, n, cast->speed);
	else if (cast->kind == IMGO_ENVELOPE_BROADCAST)
		imgo_hub_broadcast(edge->hub, messages, n);
	else
		cast_direct(edge, cast, messages[0]);
	imgo_stat_add(edge->stats.casts, (int64_t)n);
}

/* Runs of messages to the same room go to the hub as one batch: one write a connection. */
int imgo__edge_cast(struct imgo_edge *edge, struct imgo_incarnation inc, const struct imgo__cast *casts, size_t n)
{
	uint64_t now_us = imgo__loop_clock_us(edge->loop);
	struct imgo_msg *batch[SEND_MAX];
	const struct imgo__cast *first = NULL;
	size_t held = 0;

	if (imgo_incarnation_cmp(inc, edge->inc) != 0)
		return IMGO_ESTALE;
	for (size_t i = 0; i <= n; i++) {
		bool last = i == n, fresh = !last && cast_is_new(edge, &casts[i]);
		if (held && (last || (fresh && (held == SEND_MAX || !same_audience(first, &casts[i]))))) {
			cast_run(edge, first, batch, held);
			while (held)
				imgo_msg_unref(batch[--held]);
		}
		if (!fresh)
			continue;
		if (held == 0)
			first = &casts[i];
		if (imgo_msg_new(&batch[held], casts[i].op, (struct imgo_id){0, 0}, casts[i].body.p, casts[i].body.len) == 0)
			held++;
	}
	imgo__edge_told(edge, &edge->ncast, &edge->cast_us, now_us, n);
	return 0;
}

int imgo__edge_kick(struct imgo_edge *edge, struct imgo_incarnation inc, const struct imgo__kick *kicks, size_t n)
{
	if (imgo_incarnation_cmp(inc, edge->inc) != 0)
		return IMGO_ESTALE;
	for (size_t i = 0; i < n; i++) {
		struct imgo__edge_session *session = imgo__edge_find(edge, kicks[i].n);
		enum imgo_close why = kicks[i].why == IMGO_CLOSE_REPLACED ? IMGO_CLOSE_REPLACED : IMGO_CLOSE_KICKED;
		if (session && imgo_str_eq(imgo__edge_who(session), kicks[i].who)) {
			imgo_stat_add(edge->stats.kicked, 1);
			imgo_hub_close(edge->hub, session->conn, why);
		}
	}
	return 0;
}

void imgo__edge_deliver_init(struct imgo_edge *edge)
{
	imgo__timer_init(&edge->retry_timer, on_retry_timer);
}

void imgo__edge_deliver_fini(struct imgo_edge *edge)
{
	imgo__timer_stop(edge->loop, &edge->retry_timer);
	imgo__buf_free(&edge->retry);
	free(edge->cast_seen);
}
