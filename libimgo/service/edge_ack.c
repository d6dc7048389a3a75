/* SPDX-License-Identifier: MIT */
/*
 * When has a version 1 client, who cannot say so, received a message? (DESIGN.md §3, Acknowledgement.) The answer needs
 * evidence, and how much is the operator's choice (v1.ack):
 *
 *	tcp        the peer's TCP acknowledged all bytes (written less SIOCOUTQ), that was *seen* by us, and after that came
 *	           a packet, a WebSocket close frame, an orderly FIN, or a second passed without a reset
 *	heartbeat  the same, but then only op 2 counts: the program sent it when its TCP had the message. No FIN does (a
 *	           program that is killed has one, too, when it had read all), nor does time
 *	pong       a WebSocket client answered a ping that was sent behind the message, so it has read all that is before it.
 *	           A TCP client cannot be pinged: heartbeat
 *	written    our socket took the bytes
 *
 * One message a session is watched at a time, its mark: the newest one sent when it was looked at. When it is confirmed, a
 * new one is set on what was sent meanwhile. The marks stand in lists by age, so that one timer looks at the head of
 * each; no list is ever walked whole.
 *
 *	fresh   set; looked at after SEEN_MS, again each AGAIN_MS until the bytes have come far enough
 *	seen    tcp: confirmed after CONFIRM_MS, or by a packet before that. heartbeat: waits for one; while more is sent and
 *	        acknowledged by TCP the mark moves on, so that a heartbeat confirms nearly all that the client has. Without
 *	        more it rests in no list
 *	pinged  waits for the pong; pinged again after PING_AGAIN_MS, for a client may answer the last of two pings only, and
 *	        the hub sends some of its own
 *
 * A ping's payload is the mark's position in the byte stream: an old or invented pong confirms nothing. Pings go out at
 * most every SEEN_MS, whatever is sent.
 *
 * At an orderly FIN (which Linux sends only when the peer had read everything; otherwise it resets) the bytes that were
 * acknowledged before it count at once (tcp). A reset acknowledges nothing more; only a close frame before it is the
 * packet that a seen mark waited for.
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
	PING_AGAIN_MS = 10000,
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

static enum imgo_v1_ack mode_of(const struct imgo_edge *edge, const struct imgo__edge_session *session)
{
	return edge->v1_ack == IMGO_V1_ACK_PONG && !session->websocket ? IMGO_V1_ACK_HEARTBEAT : edge->v1_ack;
}

static void mark_list(struct imgo_edge *edge, struct imgo__edge_session *session, struct imgo__list *list)
{
	imgo__list_remove(&session->marks);
	imgo__list_insert(list, &session->marks);
	session->mark_ms = now32(edge);
	session->mark_seen = list != &edge->fresh;
	if (!imgo__timer_active(&edge->mark_timer))
		imgo__timer_start(edge->loop, &edge->mark_timer, TICK_MS);
}

static void move_mark(struct imgo__edge_session *session)
{
	session->mark = session->delivered;
	session->mark_pos = session->last_pos;
}

static void mark_set(struct imgo_edge *edge, struct imgo__edge_session *session)
{
	move_mark(session);
	mark_list(edge, session, &edge->fresh);
}

/* The acknowledgement is to be written back. */
static void ack_queue(struct imgo_edge *edge, struct imgo__edge_session *session)
{
	if (session->ack_queued || imgo_id_cmp(imgo__edge_id(session->acked), imgo__edge_id(session->stored)) <= 0)
		return;
	if (imgo__buf_append(&edge->ackq, &session->conn.h, sizeof session->conn.h) == 0)
		session->ack_queued = true;
	write_soon(edge, WRITE_MS);
}

static void mark_confirm(struct imgo_edge *edge, struct imgo__edge_session *session)
{
	imgo__list_remove(&session->marks);
	session->acked = imgo__edge_at(imgo_id_max(imgo__edge_id(session->acked), imgo__edge_id(session->mark)));
	session->mark = imgo__edge_at((struct imgo_id){0, 0});
	session->mark_seen = false;
	ack_queue(edge, session);
	if (imgo_id_cmp(imgo__edge_id(session->delivered), imgo__edge_id(session->acked)) > 0)
		mark_set(edge, session);
}

/* Have the bytes come so far that the mark's message counts (written: for good; else: when its client says a word)? The
 * mark moves to the newest message that they have reached. */
static bool reached(struct imgo_edge *edge, struct imgo__edge_session *session)
{
	uint64_t at;
	int err = edge->v1_ack == IMGO_V1_ACK_WRITTEN ? imgo_hub_written(edge->hub, session->conn, &at)
						      : imgo_hub_position(edge->hub, session->conn, NULL, &at);

	if (err < 0)
		return false;
	if (at >= session->last_pos)
		move_mark(session);
	return at >= session->mark_pos;
}

/* A ping that names the mark. False: not now, or the session is gone. */
static bool ping(struct imgo_edge *edge, struct imgo__edge_session *session)
{
	uint8_t payload[8];

	imgo__put64(payload, session->mark_pos);
	return imgo_hub_ping(edge->hub, session->conn, imgo_strn(payload, sizeof payload)) == 0;
}

static void fresh_again(struct imgo_edge *edge, struct imgo__edge_session *session)
{
	mark_list(edge, session, &edge->fresh);
	session->mark_ms += AGAIN_MS - SEEN_MS;
}

static void look_at_fresh(struct imgo_edge *edge, struct imgo__edge_session *session)
{
	switch (mode_of(edge, session)) {
	case IMGO_V1_ACK_PONG:
		move_mark(session);
		if (ping(edge, session))
			mark_list(edge, session, &edge->pinged);
		else
			fresh_again(edge, session);
		break;
	case IMGO_V1_ACK_WRITTEN:
		if (reached(edge, session))
			mark_confirm(edge, session);
		else
			fresh_again(edge, session);
		break;
	default:
		if (reached(edge, session))
			mark_list(edge, session, &edge->seen);
		else
			fresh_again(edge, session);
	}
}

static void look_at_seen(struct imgo_edge *edge, struct imgo__edge_session *session)
{
	if (edge->v1_ack == IMGO_V1_ACK_TCP) {
		mark_confirm(edge, session);
		return;
	}
	if (imgo_id_cmp(imgo__edge_id(session->delivered), imgo__edge_id(session->mark)) <= 0) {
		imgo__list_remove(&session->marks); /* rests, until more is sent or the heartbeat comes */
		return;
	}
	(void)reached(edge, session);
	mark_list(edge, session, &edge->seen);
}

static void look_at_pinged(struct imgo_edge *edge, struct imgo__edge_session *session)
{
	(void)ping(edge, session);
	mark_list(edge, session, &edge->pinged);
}

/* Those whose time has come. Each goes on to the end of a list, with a new time, or into none. */
static void look(struct imgo_edge *edge, struct imgo__list *list, uint32_t after_ms,
	void (*at)(struct imgo_edge *, struct imgo__edge_session *))
{
	uint32_t now = now32(edge);

	while (!imgo__list_empty(list)) {
		struct imgo__edge_session *session = imgo__container_of(list->next, struct imgo__edge_session, marks);
		if ((int32_t)(now - session->mark_ms) < (int32_t)after_ms)
			break;
		at(edge, session);
	}
}

static void on_mark_timer(struct imgo_loop *loop, struct imgo__timer *timer)
{
	struct imgo_edge *edge = imgo__container_of(timer, struct imgo_edge, mark_timer);

	look(edge, &edge->seen, CONFIRM_MS, look_at_seen);
	look(edge, &edge->pinged, PING_AGAIN_MS, look_at_pinged);
	look(edge, &edge->fresh, SEEN_MS, look_at_fresh);
	if (!imgo__timer_active(timer) &&
		(!imgo__list_empty(&edge->fresh) || !imgo__list_empty(&edge->seen) || !imgo__list_empty(&edge->pinged)))
		imgo__timer_start(loop, timer, TICK_MS);
}

void imgo__edge_sent(struct imgo_edge *edge, struct imgo__edge_session *session)
{
	imgo_hub_position(edge->hub, session->conn, &session->last_pos, NULL);
	if (none(imgo__edge_id(session->mark)))
		mark_set(edge, session);
	else if (imgo__list_empty(&session->marks))
		mark_list(edge, session, &edge->seen);
}

void imgo__edge_packet(struct imgo_edge *edge, struct imgo__edge_session *session, int32_t op)
{
	enum imgo_v1_ack mode = mode_of(edge, session);

	if (none(imgo__edge_id(session->mark)) || !session->mark_seen)
		return;
	if (mode == IMGO_V1_ACK_TCP || (mode == IMGO_V1_ACK_HEARTBEAT && op == 2))
		mark_confirm(edge, session);
}

void imgo__edge_pong(struct imgo_edge *edge, struct imgo__edge_session *session, struct imgo_str payload)
{
	if (mode_of(edge, session) != IMGO_V1_ACK_PONG || none(imgo__edge_id(session->mark)) || !session->mark_seen)
		return;
	if (payload.len == 8 && imgo__get64((const uint8_t *)payload.p) == session->mark_pos)
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

/* What the end of a session tells of what its client has. */
static struct imgo_id acked_at_end(
	const struct imgo_edge *edge, const struct imgo__edge_session *session, const struct imgo_hub_closed *closed)
{
	uint64_t reached = edge->v1_ack == IMGO_V1_ACK_WRITTEN ? closed->written : closed->acknowledged;
	bool counts = edge->v1_ack == IMGO_V1_ACK_WRITTEN || (edge->v1_ack == IMGO_V1_ACK_TCP && closed->orderly);

	if (counts && reached >= session->last_pos)
		return imgo__edge_id(session->delivered);
	if (counts && reached >= session->mark_pos)
		return imgo__edge_id(session->mark);
	if (edge->v1_ack == IMGO_V1_ACK_TCP && closed->said_goodbye && session->mark_seen)
		return imgo__edge_id(session->mark);
	return (struct imgo_id){0, 0};
}

void imgo__edge_closed(struct imgo_edge *edge, struct imgo__edge_session *session, const struct imgo_hub_closed *closed)
{
	struct imgo_id acked = imgo_id_max(imgo__edge_id(session->acked), acked_at_end(edge, session, closed));

	if (imgo_id_cmp(acked, imgo__edge_id(session->stored)) <= 0)
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
		session->stored = imgo__edge_at(imgo_id_max(imgo__edge_id(session->stored), self->items[i].id));
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
		ack_add(self, imgo__edge_who(session), imgo__edge_device(session), imgo__edge_id(session->acked), ok);
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
	imgo__list_init(&edge->pinged);
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
