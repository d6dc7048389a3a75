/* SPDX-License-Identifier: MIT */
/*
 * When has a version 1 client, who cannot say so, received a message? (DESIGN.md §3, Acknowledgement; v1.ack = tcp.)
 *
 * One message a session is watched at a time, its mark: the end of the newest message sent when the mark was set. Three
 * things must happen in order: the peer's TCP acknowledges all bytes up to the mark (written less SIOCOUTQ), that is
 * *seen* by us, and after that comes a packet, an orderly FIN, or a second passes without a reset. Then the mark is
 * acknowledged, and a new one is set on what was sent meanwhile. The marks stand in two lists by age, so that one timer
 * looks at the head of each; no list is ever walked whole.
 *
 *	fresh   set; looked at after SEEN_MS, again each AGAIN_MS until its bytes are acknowledged
 *	seen    its bytes were seen acknowledged; confirmed after CONFIRM_MS, or by a packet before that
 *
 * At an orderly FIN (which Linux sends only when the peer had read everything; otherwise it resets) the bytes that were
 * acknowledged before it count at once. A reset acknowledges nothing more.
 *
 * What is confirmed is written back in batches: acknowledgements; sessions that ended (first their acknowledgement, then
 * they are unregistered); rooms that changed. What fails is tried again.
 */
#include <string.h>

#include "service/edge_impl.h"

enum {
	TICK_MS = 50,
	SEEN_MS = 100,
	AGAIN_MS = 500,
	CONFIRM_MS = 1000,
	WRITE_MS = 20,
	WRITE_AGAIN_MS = 250,
	WRITE_MAX = 512,      /* items of one call */
	WRITES_MAX = 8,       /* calls under way */
	CLOSING_TRIES = 1000, /* of an acknowledgement whose session is gone */
};

static uint32_t now32(struct imgo_edge *edge)
{
	return (uint32_t)imgo__loop_now_ms(edge->loop);
}

static bool none(struct imgo_id id)
{
	return id.epoch == 0 && id.id == 0;
}

static void write_soon(struct imgo_edge *edge, uint64_t delay_ms)
{
	if (!imgo__timer_active(&edge->write_timer))
		imgo__timer_start(edge->loop, &edge->write_timer, delay_ms);
}

/* Something failed: what is due is put off. */
static void write_again(struct imgo_edge *edge)
{
	imgo__timer_start(edge->loop, &edge->write_timer, WRITE_AGAIN_MS);
}

/* ---- marks ---- */

static void mark_list(struct imgo_edge *edge, struct imgo__edge_session *session, struct imgo__list *list)
{
	imgo__list_remove(&session->marks);
	imgo__list_insert(list, &session->marks);
	session->mark_ms = now32(edge);
	session->mark_seen = list == &edge->seen;
	if (!imgo__timer_active(&edge->mark_timer))
		imgo__timer_start(edge->loop, &edge->mark_timer, TICK_MS);
}

static void mark_set(struct imgo_edge *edge, struct imgo__edge_session *session)
{
	session->mark = session->delivered;
	session->mark_pos = session->last_pos;
	mark_list(edge, session, &edge->fresh);
}

/* The acknowledgement is to be written back. */
static void ack_queue(struct imgo_edge *edge, struct imgo__edge_session *session)
{
	if (session->ack_queued || imgo_id_cmp(session->acked, session->stored) <= 0)
		return;
	if (imgo__buf_append(&edge->ackq, &session->conn.h, sizeof session->conn.h) == 0)
		session->ack_queued = true;
	write_soon(edge, WRITE_MS);
}

static void mark_confirm(struct imgo_edge *edge, struct imgo__edge_session *session)
{
	imgo__list_remove(&session->marks);
	session->acked = imgo_id_max(session->acked, session->mark);
	session->mark = (struct imgo_id){0, 0};
	session->mark_seen = false;
	ack_queue(edge, session);
	if (imgo_id_cmp(session->delivered, session->acked) > 0)
		mark_set(edge, session);
}

static bool mark_reached(struct imgo_edge *edge, struct imgo__edge_session *session)
{
	uint64_t acknowledged;

	return imgo_hub_position(edge->hub, session->conn, NULL, &acknowledged) == 0 && acknowledged >= session->mark_pos;
}

static void marks_tick(struct imgo_edge *edge)
{
	uint32_t now = now32(edge);

	while (!imgo__list_empty(&edge->seen)) {
		struct imgo__edge_session *session = imgo__container_of(edge->seen.next, struct imgo__edge_session, marks);
		if (now - session->mark_ms < CONFIRM_MS || edge->v1_ack != IMGO_V1_ACK_TCP)
			break;
		mark_confirm(edge, session);
	}
	while (!imgo__list_empty(&edge->fresh)) {
		struct imgo__edge_session *session =
			imgo__container_of(edge->fresh.next, struct imgo__edge_session, marks);
		if ((int32_t)(now - session->mark_ms) < SEEN_MS)
			break;
		if (mark_reached(edge, session)) {
			mark_list(edge, session, &edge->seen);
		} else {
			mark_list(edge, session, &edge->fresh);
			session->mark_ms += AGAIN_MS - SEEN_MS;
		}
	}
}

static void on_mark_timer(struct imgo_loop *loop, struct imgo__timer *timer)
{
	struct imgo_edge *edge = imgo__container_of(timer, struct imgo_edge, mark_timer);

	marks_tick(edge);
	if (!imgo__timer_active(timer) && (!imgo__list_empty(&edge->fresh) || !imgo__list_empty(&edge->seen)))
		imgo__timer_start(loop, timer, TICK_MS);
}

void imgo__edge_sent(struct imgo_edge *edge, struct imgo__edge_session *session)
{
	if (edge->v1_ack == IMGO_V1_ACK_WRITTEN) {
		session->acked = session->delivered;
		ack_queue(edge, session);
		return;
	}
	imgo_hub_position(edge->hub, session->conn, &session->last_pos, NULL);
	if (none(session->mark))
		mark_set(edge, session);
}

void imgo__edge_packet(struct imgo_edge *edge, struct imgo__edge_session *session, int32_t op)
{
	if (none(session->mark) || !session->mark_seen)
		return;
	if (edge->v1_ack == IMGO_V1_ACK_HEARTBEAT && op != 2)
		return;
	mark_confirm(edge, session);
}

/* ---- the end of a session ---- */

void imgo__edge_unregister(
	struct imgo_edge *edge, uint64_t n, struct imgo_str who, struct imgo_str device, struct imgo_id acked)
{
	struct imgo__edge_closing *closing = imgo__zalloc(sizeof *closing + who.len + device.len);

	if (!closing)
		return; /* the lease and the next tell clean up; what is not acknowledged comes again */
	closing->n = n;
	closing->acked = acked;
	closing->who_len = (uint8_t)who.len;
	closing->device_len = (uint8_t)device.len;
	memcpy(closing->bytes, who.p, who.len);
	if (device.len)
		memcpy(closing->bytes + who.len, device.p, device.len);
	imgo__list_init(&closing->link);
	imgo__list_insert(&edge->closings, &closing->link);
	write_soon(edge, 1);
}

void imgo__edge_closed(struct imgo_edge *edge, struct imgo__edge_session *session, const struct imgo_hub_closed *closed)
{
	struct imgo_id acked = session->acked;

	if (closed->orderly && edge->v1_ack == IMGO_V1_ACK_TCP) {
		if (closed->acknowledged >= session->last_pos)
			acked = imgo_id_max(acked, session->delivered);
		else if (!none(session->mark) && closed->acknowledged >= session->mark_pos)
			acked = imgo_id_max(acked, session->mark);
	}
	if (imgo_id_cmp(acked, session->stored) <= 0)
		acked = (struct imgo_id){0, 0};
	imgo__list_remove(&session->marks);
	imgo__edge_unregister(edge, session->conn.h, imgo__edge_who(session), imgo__edge_device(session), acked);
}

void imgo__edge_rooms_changed(struct imgo_edge *edge, struct imgo__edge_session *session)
{
	if (session->rooms_queued)
		return;
	if (imgo__buf_append(&edge->roomsq, &session->conn.h, sizeof session->conn.h) == 0)
		session->rooms_queued = true;
	write_soon(edge, WRITE_MS);
}

/* ---- writing back: acknowledgements ---- */

struct ack_call {
	struct imgo__edge_call call;
	size_t n;
	struct imgo__gate_ack items[WRITE_MAX];
	uint64_t handles[WRITE_MAX];                    /* of a live session, or 0 */
	struct imgo__edge_closing *closings[WRITE_MAX]; /* of one that is gone, or NULL */
};

static void disconnect_closings(struct imgo_edge *edge, struct imgo__list *closings);

/* A session that is gone was acknowledged, or not: it is unregistered now in either case, and a failed acknowledgement
 * goes on being tried by itself (n == 0). */
static void closing_result(struct imgo_edge *edge, struct imgo__edge_closing *closing, int err, struct imgo__list *unregister)
{
	if (err == 0 || closing->tries++ >= CLOSING_TRIES) {
		if (closing->n)
			imgo__list_insert(unregister, &closing->link);
		else
			free(closing);
		return;
	}
	if (closing->n)
		imgo__edge_unregister(edge, closing->n, imgo_strn(closing->bytes, closing->who_len),
			imgo_strn(closing->bytes + closing->who_len, closing->device_len), (struct imgo_id){0, 0});
	closing->n = 0;
	imgo__list_insert(&edge->closings, &closing->link);
}

static void ack_result(struct ack_call *self, size_t i, int err, struct imgo__list *unregister)
{
	struct imgo_edge *edge = self->call.edge;
	struct imgo__edge_closing *closing = self->closings[i];
	struct imgo__edge_session *session = self->handles[i] ? imgo__edge_find(edge, self->handles[i]) : NULL;

	imgo_stat_add(err ? edge->stats.ack_failed : edge->stats.acks, 1);
	if (closing)
		closing_result(edge, closing, err, unregister);
	if (session && err == 0)
		session->stored = imgo_id_max(session->stored, self->items[i].id);
	if (session)
		ack_queue(edge, session);
}

static void on_acked(int err, void *user)
{
	struct ack_call *self = user;
	struct imgo_edge *edge = self->call.edge;
	struct imgo__list unregister;
	bool failed = err != 0;

	imgo__list_init(&unregister);
	for (size_t i = 0; i < self->n; i++) {
		int item_err = err ? err : self->items[i].err;
		failed |= item_err != 0;
		if (edge)
			ack_result(self, i, item_err, &unregister);
		else
			free(self->closings[i]);
	}
	if (edge) {
		edge->writes--;
		if (failed)
			write_again(edge);
		disconnect_closings(edge, &unregister);
		imgo__edge_check_stopped(edge);
	}
	imgo__edge_call_free(&self->call);
}

static void ack_add(struct ack_call *self, struct imgo_str who, struct imgo_str device, struct imgo_id id, bool *ok)
{
	struct imgo__gate_ack *item = &self->items[self->n++];

	item->who = imgo__arena_str(&self->call.arena, who, ok);
	item->device = imgo__arena_str(&self->call.arena, device, ok);
	item->id = id;
}

/* Takes from the front of the queue of live sessions, and from the closings that have something to write. */
static void ack_fill(struct imgo_edge *edge, struct ack_call *self, bool *ok)
{
	const uint64_t *handles = (const uint64_t *)(void *)edge->ackq.data;
	size_t taken = 0, queued = edge->ackq.len / sizeof *handles;

	imgo__list_for(at, &edge->closings)
	{
		struct imgo__edge_closing *closing = imgo__container_of(at, struct imgo__edge_closing, link);
		if (none(closing->acked) || self->n == WRITE_MAX)
			continue;
		imgo__list_remove(at);
		self->closings[self->n] = closing;
		ack_add(self, imgo_strn(closing->bytes, closing->who_len),
			imgo_strn(closing->bytes + closing->who_len, closing->device_len), closing->acked, ok);
	}
	for (; taken < queued && self->n < WRITE_MAX; taken++) {
		struct imgo__edge_session *session = imgo__edge_find(edge, handles[taken]);
		if (!session)
			continue;
		session->ack_queued = false;
		self->handles[self->n] = handles[taken];
		ack_add(self, imgo__edge_who(session), imgo__edge_device(session), session->acked, ok);
	}
	imgo__buf_consume(&edge->ackq, taken * sizeof *handles);
}

static bool closings_to_ack(const struct imgo_edge *edge)
{
	imgo__list_for(at, &edge->closings)
	{
		if (!none(imgo__container_of(at, struct imgo__edge_closing, link)->acked))
			return true;
	}
	return false;
}

/* False: nothing to do, or not now. */
static bool write_acks(struct imgo_edge *edge)
{
	struct ack_call *self;
	bool ok = true;
	int err;

	if (edge->writes >= WRITES_MAX || (edge->ackq.len == 0 && !closings_to_ack(edge)))
		return false;
	self = imgo__edge_call_new(edge, sizeof *self);
	if (!self)
		return false;
	ack_fill(edge, self, &ok);
	if (self->n == 0) {
		imgo__edge_call_free(&self->call);
		return true;
	}
	edge->writes++;
	err = ok ? edge->gate.ops->ack(edge->gate.impl, self->items, self->n, on_acked, self) : IMGO_ENOMEM;
	if (err < 0)
		on_acked(err, self);
	return err == 0;
}

/* ---- writing back: unregistering ---- */

struct session_call {
	struct imgo__edge_call call;
	size_t n;
	struct imgo__gate_session items[WRITE_MAX];
	struct imgo__edge_closing *closings[WRITE_MAX];
};

static void on_disconnected(int err, void *user)
{
	struct session_call *self = user;
	struct imgo_edge *edge = self->call.edge;
	bool again = false;

	for (size_t i = 0; i < self->n; i++) {
		int item_err = err ? err : self->items[i].err;
		struct imgo__edge_closing *closing = self->closings[i];
		if (edge && item_err != 0 && item_err != IMGO_ENOTFOUND && item_err != IMGO_ESTALE) {
			closing->acked = (struct imgo_id){0, 0};
			imgo__list_insert(&edge->closings, &closing->link);
			again = true;
		} else {
			free(closing);
		}
	}
	if (edge) {
		edge->writes--;
		if (again)
			write_again(edge);
		imgo__edge_check_stopped(edge);
	}
	imgo__edge_call_free(&self->call);
}

/* Takes up to WRITE_MAX closings off the list and unregisters them. */
static bool disconnect_some(struct imgo_edge *edge, struct imgo__list *closings)
{
	struct session_call *self = imgo__edge_call_new(edge, sizeof *self);
	struct imgo__list *at;
	int err;

	if (!self)
		return false;
	while (self->n < WRITE_MAX && (at = imgo__list_pop(closings))) {
		struct imgo__edge_closing *closing = imgo__container_of(at, struct imgo__edge_closing, link);
		self->closings[self->n] = closing;
		self->items[self->n].who = imgo_strn(closing->bytes, closing->who_len);
		self->items[self->n].device = imgo_strn(closing->bytes + closing->who_len, closing->device_len);
		self->items[self->n].id = imgo__edge_session_id(edge, closing->n);
		self->n++;
	}
	edge->writes++;
	err = edge->gate.ops->disconnect(edge->gate.impl, self->items, self->n, on_disconnected, self);
	if (err < 0)
		on_disconnected(err, self);
	return err == 0;
}

static void disconnect_closings(struct imgo_edge *edge, struct imgo__list *closings)
{
	while (!imgo__list_empty(closings) && disconnect_some(edge, closings))
		;
	while (!imgo__list_empty(closings)) { /* out of memory: later */
		struct imgo__list *at = imgo__list_pop(closings);
		imgo__container_of(at, struct imgo__edge_closing, link)->acked = (struct imgo_id){0, 0};
		imgo__list_insert(&edge->closings, at);
		write_soon(edge, WRITE_AGAIN_MS);
	}
}

static void write_disconnects(struct imgo_edge *edge)
{
	struct imgo__list ready;

	imgo__list_init(&ready);
	imgo__list_for(at, &edge->closings)
	{
		if (!none(imgo__container_of(at, struct imgo__edge_closing, link)->acked))
			continue;
		imgo__list_remove(at);
		imgo__list_insert(&ready, at);
	}
	disconnect_closings(edge, &ready);
}

/* ---- writing back: rooms ---- */

static void on_rooms_written(int err, void *user)
{
	struct session_call *self = user;
	struct imgo_edge *edge = self->call.edge;

	for (size_t i = 0; edge && i < self->n; i++) {
		int item_err = err ? err : self->items[i].err;
		struct imgo__edge_session *session = imgo__edge_find(edge, self->items[i].id.n);
		if (session && item_err != 0 && item_err != IMGO_ENOTFOUND)
			imgo__edge_rooms_changed(edge, session);
	}
	if (edge) {
		edge->writes--;
		imgo__edge_check_stopped(edge);
	}
	imgo__edge_call_free(&self->call);
}

static bool write_rooms(struct imgo_edge *edge)
{
	const uint64_t *handles = (const uint64_t *)(void *)edge->roomsq.data;
	size_t taken = 0, queued = edge->roomsq.len / sizeof *handles;
	struct session_call *self;
	bool ok = true;
	int err = 0;

	if (queued == 0 || edge->writes >= WRITES_MAX)
		return false;
	self = imgo__edge_call_new(edge, sizeof *self);
	if (!self)
		return false;
	for (; taken < queued && self->n < WRITE_MAX; taken++) {
		struct imgo__edge_session *session = imgo__edge_find(edge, handles[taken]);
		if (!session)
			continue;
		session->rooms_queued = false;
		ok &= imgo__edge_describe(edge, session, &self->call.arena, &self->items[self->n++]);
	}
	imgo__buf_consume(&edge->roomsq, taken * sizeof *handles);
	if (self->n == 0) {
		imgo__edge_call_free(&self->call);
		return true;
	}
	edge->writes++;
	err = ok ? edge->gate.ops->rooms(edge->gate.impl, self->items, self->n, on_rooms_written, self) : IMGO_ENOMEM;
	if (err < 0)
		on_rooms_written(err, self);
	return err == 0;
}

static void on_write_timer(struct imgo_loop *loop, struct imgo__timer *timer)
{
	struct imgo_edge *edge = imgo__container_of(timer, struct imgo_edge, write_timer);

	(void)loop;
	while (write_acks(edge))
		;
	write_disconnects(edge);
	while (write_rooms(edge))
		;
	if (!imgo__edge_written(edge))
		write_soon(edge, WRITE_AGAIN_MS);
	imgo__edge_check_stopped(edge);
}

bool imgo__edge_written(const struct imgo_edge *edge)
{
	return edge->ackq.len == 0 && edge->roomsq.len == 0 && imgo__list_empty(&edge->closings);
}

void imgo__edge_ack_init(struct imgo_edge *edge)
{
	imgo__list_init(&edge->fresh);
	imgo__list_init(&edge->seen);
	imgo__list_init(&edge->closings);
	imgo__timer_init(&edge->mark_timer, on_mark_timer);
	imgo__timer_init(&edge->write_timer, on_write_timer);
}

void imgo__edge_ack_fini(struct imgo_edge *edge)
{
	struct imgo__list *at;

	imgo__timer_stop(edge->loop, &edge->mark_timer);
	imgo__timer_stop(edge->loop, &edge->write_timer);
	while ((at = imgo__list_pop(&edge->closings)))
		free(imgo__container_of(at, struct imgo__edge_closing, link));
	imgo__buf_free(&edge->ackq);
	imgo__buf_free(&edge->roomsq);
}
