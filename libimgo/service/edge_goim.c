/* SPDX-License-Identifier: MIT */
/*
 * What only goim's clients have.
 *
 * KEYS: a name of their own for their connection, by which goim's push/keys addresses it. Keys are the clients' choice, so
 * two may choose the same. The session that came first has the key: another user's does not get it (or anybody could take
 * over what is meant for others), a newer one of the same user takes it over, and the older one is closed, as goim does.
 * Only a session with a key costs a node here; the key itself stands behind the session.
 *
 * TOTALS: a heartbeat is answered with the number of those in the room, on all comets. Logic is asked for the numbers of all
 * rooms of which a client wanted to know, every TOTALS_MS, in batches; the answer to a heartbeat is what is known. Until
 * something is, and when logic has not been reached for a while, it is the number on this comet. A room of which nobody has
 * asked for long is forgotten.
 */
#include "service/edge_impl.h"

enum {
	TOTALS_MS = 3000,
	TOTALS_SOON_MS = 100,        /* when a room is new */
	TOTALS_BATCH = 512,          /* rooms of one call */
	TOTALS_MAX = 16 * 1024,      /* rooms; those beyond are answered with the number on this comet */
	TOTALS_STALE_MS = 30 * 1000, /* a number so old is not told any more */
	TOTALS_IDLE_MS = 600 * 1000, /* a room is forgotten when nobody asked for so long */
};

/* ---- keys ---- */

struct keyed {
	struct imgo__map_node node;
	struct imgo__edge_session *session;
};

static struct imgo_str key_of(const struct imgo__map_node *node)
{
	return imgo__edge_key(imgo__container_of(node, struct keyed, node)->session);
}

static struct keyed *find(struct imgo_edge *edge, struct imgo_str key)
{
	struct imgo__map_node *node = key.len ? imgo__map_get(&edge->keys, key) : NULL;

	return node ? imgo__container_of(node, struct keyed, node) : NULL;
}

struct imgo__edge_session *imgo__edge_by_key(struct imgo_edge *edge, struct imgo_str key)
{
	struct keyed *keyed = find(edge, key);

	return keyed ? keyed->session : NULL;
}

void imgo__edge_key_drop(struct imgo_edge *edge, struct imgo__edge_session *session)
{
	struct keyed *keyed = find(edge, imgo__edge_key(session));

	if (!keyed || keyed->session != session)
		return;
	imgo__map_remove(&edge->keys, &keyed->node);
	free(keyed);
}

int imgo__edge_key_take(struct imgo_edge *edge, struct imgo__edge_session *session)
{
	struct imgo__edge_session *older = imgo__edge_by_key(edge, imgo__edge_key(session));
	struct keyed *keyed;

	if (session->key_len == 0)
		return 0;
	if (older && !imgo_str_eq(imgo__edge_who(older), imgo__edge_who(session))) {
		imgo_stat_add(edge->stats.key_taken, 1);
		return 0;
	}
	keyed = imgo__zalloc(sizeof *keyed);
	if (!keyed)
		return IMGO_ENOMEM;
	if (older) {
		imgo__edge_key_drop(edge, older);
		imgo_hub_close(edge->hub, older->conn, IMGO_CLOSE_REPLACED);
	}
	keyed->session = session;
	if (imgo__map_put(&edge->keys, &keyed->node)) {
		free(keyed);
		return IMGO_ENOMEM;
	}
	return 0;
}

/* ---- totals ---- */

struct total {
	struct imgo__map_node node;
	uint64_t count, counted_ms, asked_ms; /* counted_ms 0: never yet */
	uint8_t len;
	char room[];
};

struct total_call {
	struct imgo__edge_call call;
	size_t n;
	struct imgo__gate_online items[TOTALS_BATCH];
};

static struct imgo_str room_of(const struct imgo__map_node *node)
{
	const struct total *total = imgo__container_of(node, struct total, node);

	return imgo_strn(total->room, total->len);
}

static struct total *total_find(struct imgo_edge *edge, struct imgo_str room)
{
	struct imgo__map_node *node = imgo__map_get(&edge->totals, room);

	return node ? imgo__container_of(node, struct total, node) : NULL;
}

static void total_new(struct imgo_edge *edge, struct imgo_str room, uint64_t now_ms)
{
	struct total *total = edge->totals.n < TOTALS_MAX ? imgo__zalloc(sizeof *total + room.len) : NULL;

	if (!total)
		return;
	total->asked_ms = now_ms;
	total->len = (uint8_t)room.len;
	memcpy(total->room, room.p, room.len);
	if (imgo__map_put(&edge->totals, &total->node)) {
		free(total);
		return;
	}
	if (edge->totals_waiting)
		return;
	if (!imgo__timer_active(&edge->totals_timer) || edge->totals_timer.due_ms > now_ms + TOTALS_SOON_MS)
		imgo__timer_start(edge->loop, &edge->totals_timer, TOTALS_SOON_MS);
}

uint32_t imgo__edge_online(struct imgo_edge *edge, struct imgo_str room, uint32_t here)
{
	uint64_t now = imgo__loop_now_ms(edge->loop);
	struct total *total = total_find(edge, room);

	if (!total) {
		total_new(edge, room, now);
		return here;
	}
	total->asked_ms = now;
	if (total->counted_ms == 0 || now - total->counted_ms > TOTALS_STALE_MS || total->count < here)
		return here;
	return total->count > UINT32_MAX ? UINT32_MAX : (uint32_t)total->count;
}

static void totals_answered(struct imgo_edge *edge)
{
	if (--edge->totals_waiting == 0 && edge->totals.n)
		imgo__timer_start(edge->loop, &edge->totals_timer, TOTALS_MS);
}

static void on_totals(int err, void *user)
{
	struct total_call *self = user;
	struct imgo_edge *edge = self->call.edge;

	if (edge && err)
		imgo_stat_add(edge->stats.totals_failed, (int64_t)self->n);
	for (size_t i = 0; edge && err == 0 && i < self->n; i++) {
		struct total *total = total_find(edge, self->items[i].room);
		if (!total)
			continue;
		total->count = self->items[i].count;
		total->counted_ms = imgo__loop_now_ms(edge->loop);
	}
	if (edge)
		totals_answered(edge);
	imgo__edge_call_free(&self->call);
}

static void totals_send(struct imgo_edge *edge, struct total_call *self, bool ok)
{
	edge->totals_waiting++;
	int err = ok ? edge->gate.ops->online(edge->gate.impl, self->items, self->n, on_totals, self) : IMGO_ENOMEM;
	if (err < 0)
		on_totals(err, self);
}

/* The rooms that are still of interest, in as many calls as it takes; the others are forgotten. */
static void totals_ask(struct imgo_edge *edge)
{
	uint64_t now = imgo__loop_now_ms(edge->loop);
	struct imgo__map_node *node = imgo__map_next(&edge->totals, NULL);
	struct total_call *self = NULL;
	bool ok = true;

	while (node) {
		struct total *total = imgo__container_of(node, struct total, node);
		node = imgo__map_next(&edge->totals, node);
		if (now - total->asked_ms > TOTALS_IDLE_MS || imgo_hub_room_size(edge->hub, room_of(&total->node)) == 0) {
			imgo__map_remove(&edge->totals, &total->node);
			free(total);
			continue;
		}
		if (total->counted_ms && now - total->counted_ms < TOTALS_MS / 2)
			continue; /* a new room is the occasion: not for all of them each time */
		if (!self && !(self = imgo__edge_call_new(edge, sizeof *self)))
			break;
		self->items[self->n++].room = imgo__arena_str(&self->call.arena, room_of(&total->node), &ok);
		if (self->n < TOTALS_BATCH)
			continue;
		totals_send(edge, self, ok);
		self = NULL;
	}
	if (self)
		totals_send(edge, self, ok);
}

static void on_totals_timer(struct imgo_loop *loop, struct imgo__timer *timer)
{
	struct imgo_edge *edge = imgo__container_of(timer, struct imgo_edge, totals_timer);

	(void)loop;
	edge->totals_waiting++; /* a call that fails at once must not start the timer */
	totals_ask(edge);
	totals_answered(edge);
}

/* ---- life ---- */

void imgo__edge_goim_init(struct imgo_edge *edge)
{
	imgo__map_init(&edge->keys, key_of);
	imgo__map_init(&edge->totals, room_of);
	imgo__timer_init(&edge->totals_timer, on_totals_timer);
}

void imgo__edge_goim_fini(struct imgo_edge *edge)
{
	struct imgo__map_node *node;

	imgo__timer_stop(edge->loop, &edge->totals_timer);
	imgo__map_fini(&edge->keys); /* every session has ended, and taken its node along */
	while ((node = imgo__map_pop(&edge->totals)))
		free(imgo__container_of(node, struct total, node));
	imgo__map_fini(&edge->totals);
}
