/* SPDX-License-Identifier: MIT */
/*
 * Fan-out: one message, or batch, to all connections of a room.
 *
 * A cast does not walk when it is sent, but at the end of the turn; casts that meet there go as one batch, in
 * one write a connection. A walk of more than walk_slice connections goes on in later turns, and what is sent
 * meanwhile gathers behind it into the next batch: alone when there is little to do, together when there is
 * much, and never a fixed delay.
 *
 * A room's array is shared by all its casts. Cast k is for the members that were there when it was sent,
 * places [0, end(k)): who joins later stands behind that. The first cast may be under way, done for [0,
 * walked). So
 *
 *	0 <= walked <= end(1) <= end(2) <= ... <= n
 *
 * and these numbers cut the array into segments, within which all members are equal: to each cast, all are
 * done, all are due, or all are not meant. A member that leaves makes a hole in its segment. It is filled
 * with that segment's last member, which moves the hole to the end of the segment; the border moves down by
 * one, and the hole is now the first place of the next segment, and so on until it is at the end of the
 * array. Nobody changes its segment: nobody is missed, none gets twice.
 *
 * A broadcast goes to a connection only as far as the connection wants its operations (accepts.c); a room's messages
 * always do. So that the many can go on sharing one encoding, a broadcast cast has few different operations, and one
 * encoding for each subset of them that somebody wants.
 *
 * While messages are handed out (hub->hold), a connection that dies is only marked; the array stays as it is.
 */
#include "hub/internal.h"

#include "base/mem.h"

enum {
	BATCH_MESSAGES = 256,             /* a cast grows up to that, ... */
	BATCH_BYTES = 32 * 1024,          /* ... and up to that; then the next one begins */
	WAITING_BYTES = 32 * 1024 * 1024, /* of all casts of a hub: beyond, they are refused */
	AHEAD = 6,                        /* connections whose memory is asked for in advance */
	OVERHEAD = 64,
	OPS = 4, /* different operations in a cast to everyone; more make another cast */
	SUBSETS = 1 << OPS,
};

struct opset {
	int32_t ops[OPS];
	unsigned n;
};

struct cast {
	struct imgo__list link;
	uint32_t end;
	uint32_t n, cap;
	size_t bytes;
	bool begun, sealed; /* sealed: encoded, so nothing may be added */
	struct imgo_msg **messages;
	struct imgo__chunk *chunks[IMGO__DIALECTS];
	struct opset opset;         /* to everyone: of all messages */
	struct imgo__chunk **parts; /* to everyone: [subset][dialect], made when the first is needed */
};

/* ---- operations ---- */

/* False: there are OPS others already. */
static bool opset_add(struct opset *set, int32_t op)
{
	for (unsigned i = 0; i < set->n; i++) {
		if (set->ops[i] == op)
			return true;
	}
	if (set->n == OPS)
		return false;
	set->ops[set->n++] = op;
	return true;
}

static size_t opset_add_all(struct opset *set, struct imgo_msg *const *messages, size_t n)
{
	size_t i = 0;

	while (i < n && opset_add(set, imgo_msg_op(messages[i])))
		i++;
	return i;
}

/* Which of them the connection wants, a bit each. */
static unsigned opset_wanted(const struct opset *set, const struct imgo__conn *c)
{
	unsigned wanted = 0;

	for (unsigned i = 0; i < set->n; i++)
		wanted |= (unsigned)imgo__conn_wants(c, set->ops[i]) << i;
	return wanted;
}

static bool opset_holds(const struct opset *set, unsigned subset, int32_t op)
{
	unsigned i = 0;

	while (set->ops[i] != op)
		i++;
	return subset >> i & 1;
}

/* ---- sending ---- */

static size_t weigh(struct imgo_msg *const *messages, size_t n)
{
	size_t bytes = 0;

	for (size_t i = 0; i < n; i++)
		bytes += imgo_msg_body(messages[i]).len + OVERHEAD;
	return bytes;
}

static int cast_append(struct cast *cast, struct imgo_msg *const *messages, size_t n)
{
	if (cast->n + n > cast->cap) {
		size_t cap = cast->n ? (cast->n + n) * 2 : n;
		struct imgo_msg **grown = imgo__regrow(cast->messages, cap, sizeof *grown);
		if (!grown)
			return IMGO_ENOMEM;
		cast->messages = grown;
		cast->cap = (uint32_t)cap;
	}
	for (size_t i = 0; i < n; i++)
		cast->messages[cast->n++] = imgo_msg_ref(messages[i]);
	return 0;
}

static void cast_free(struct imgo_hub *hub, struct cast *cast)
{
	imgo__list_remove(&cast->link);
	hub->cast_bytes -= cast->bytes;
	for (uint32_t i = 0; i < cast->n; i++)
		imgo_msg_unref(cast->messages[i]);
	for (int i = 0; i < IMGO__DIALECTS; i++)
		imgo__chunk_unref(cast->chunks[i]);
	for (int i = 0; cast->parts && i < SUBSETS * IMGO__DIALECTS; i++)
		imgo__chunk_unref(cast->parts[i]);
	free(cast->parts);
	free(cast->messages);
	free(cast);
}

/* The cast that these may join: the last, not begun, for exactly the members of now, and not too long. */
static struct cast *open_cast(struct imgo__room *room, size_t n, size_t bytes)
{
	if (imgo__list_empty(&room->casts))
		return NULL;
	struct cast *last = imgo__container_of(room->casts.prev, struct cast, link);
	if (last->begun || last->sealed || last->end != room->n || last->n + n > BATCH_MESSAGES ||
		last->bytes + bytes > BATCH_BYTES)
		return NULL;
	return last;
}

static struct cast *new_cast(struct imgo_hub *hub, struct imgo__room *room)
{
	struct cast *cast = imgo__zalloc(sizeof *cast);

	if (!cast)
		return NULL;
	cast->end = room->n;
	imgo__list_insert(&room->casts, &cast->link);
	if (imgo__list_empty(&room->link)) {
		imgo__list_insert(&hub->fresh, &room->link);
		imgo__hub_schedule(hub);
	}
	return cast;
}

/* Puts these, which to everyone have few operations, into one cast. */
static int start(struct imgo_hub *hub, struct imgo__room *room, struct imgo_msg *const *messages, size_t n)
{
	size_t bytes = weigh(messages, n);

	if (n > UINT16_MAX || hub->cast_bytes + bytes > WAITING_BYTES) {
		hub->tally.dropped += (uint64_t)n * room->n;
		return IMGO_ELIMIT;
	}
	struct cast *cast = open_cast(room, n, bytes);
	struct opset set = {{0}, 0};
	if (cast && room == hub->everyone) {
		set = cast->opset;
		if (opset_add_all(&set, messages, n) < n)
			cast = NULL;
	}
	bool fresh = !cast;
	if (fresh)
		cast = new_cast(hub, room);
	if (!cast || cast_append(cast, messages, n)) {
		hub->tally.dropped += (uint64_t)n * room->n;
		if (cast && fresh)
			cast_free(hub, cast);
		return IMGO_ENOMEM;
	}
	if (room == hub->everyone)
		opset_add_all(&cast->opset, messages, n);
	cast->bytes += bytes;
	hub->cast_bytes += bytes;
	return (int)room->n;
}

int imgo__cast_start(struct imgo_hub *hub, struct imgo__room *room, struct imgo_msg *const *messages, size_t n)
{
	int r = 0;

	if (room->n == 0 || n == 0)
		return (int)room->n;
	if (room != hub->everyone)
		return start(hub, room, messages, n);
	for (size_t done = 0, run; done < n && r >= 0; done += run) {
		struct opset set = {{0}, 0};
		run = opset_add_all(&set, messages + done, n - done);
		r = start(hub, room, messages + done, run);
	}
	return r;
}

void imgo__casts_drop(struct imgo_hub *hub, struct imgo__room *room)
{
	while (!imgo__list_empty(&room->casts))
		cast_free(hub, imgo__container_of(room->casts.next, struct cast, link));
	imgo__list_remove(&room->link);
	room->walked = 0;
}

/* ---- walking ---- */

static struct imgo__chunk *cast_chunk(struct cast *cast, unsigned dialect)
{
	cast->sealed = true;
	if (!cast->chunks[dialect])
		cast->chunks[dialect] = imgo__msg_encode(cast->messages, cast->n, (enum imgo__dialect)dialect);
	return cast->chunks[dialect];
}

static void prefetch(struct imgo_hub *hub, const struct imgo__room *room, uint32_t pos)
{
	if (pos < room->n) {
		const char *c = (const char *)imgo__conn_at(hub, room->slots[pos]);
		__builtin_prefetch(c);
		__builtin_prefetch(c + 64);
	}
}

static struct imgo__chunk *encode_subset(const struct cast *cast, unsigned subset, unsigned dialect)
{
	struct imgo_msg **messages = imgo__array(cast->n, sizeof *messages);
	struct imgo__chunk *chunk;
	size_t n = 0;

	if (!messages)
		return NULL;
	for (uint32_t i = 0; i < cast->n; i++) {
		if (opset_holds(&cast->opset, subset, imgo_msg_op(cast->messages[i])))
			messages[n++] = cast->messages[i];
	}
	chunk = imgo__msg_encode(messages, n, (enum imgo__dialect)dialect);
	free(messages);
	return chunk;
}

static struct imgo__chunk *subset_chunk(struct cast *cast, unsigned subset, unsigned dialect)
{
	struct imgo__chunk **chunk;

	cast->sealed = true;
	if (!cast->parts)
		cast->parts = imgo__array(SUBSETS * IMGO__DIALECTS, sizeof(struct imgo__chunk *));
	if (!cast->parts)
		return NULL;
	chunk = &cast->parts[subset * IMGO__DIALECTS + dialect];
	if (!*chunk)
		*chunk = encode_subset(cast, subset, dialect);
	return *chunk;
}

static uint32_t subset_size(const struct cast *cast, unsigned subset)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < cast->n; i++)
		n += opset_holds(&cast->opset, subset, imgo_msg_op(cast->messages[i]));
	return n;
}

/* What of the cast goes to c: *n messages. NULL: nothing, or no memory for it (*n > 0). */
static struct imgo__chunk *chunk_for(const struct imgo__conn *c, struct cast *cast, uint32_t *n)
{
	unsigned all = (1u << cast->opset.n) - 1, wanted = all; /* 0: to a room */

	*n = cast->n;
	if (all && (c->flags & IMGO__CONN_FILTERED))
		wanted = opset_wanted(&cast->opset, c);
	if (wanted == all)
		return cast_chunk(cast, c->dialect);
	*n = wanted ? subset_size(cast, wanted) : 0;
	c->hub->tally.filtered += cast->n - *n;
	return wanted ? subset_chunk(cast, wanted, c->dialect) : NULL;
}

static void hand_out(struct imgo__conn *c, struct cast *cast)
{
	struct imgo__hub_tally *tally = &c->hub->tally;
	uint32_t n = cast->n;
	struct imgo__chunk *chunk = c->state == IMGO__CONN_LIVE ? chunk_for(c, cast, &n) : NULL;

	if (chunk && imgo__conn_give(c, chunk))
		tally->packets_out += n;
	else
		tally->dropped += n;
}

/* Goes on with the room's first cast. */
static void walk_cast(struct imgo_hub *hub, struct imgo__room *room, struct cast *cast, uint32_t *budget)
{
	if (!cast->begun) {
		cast->begun = true;
		room->walked = 0;
	}
	while (room->walked<cast->end && * budget> 0) {
		prefetch(hub, room, room->walked + AHEAD);
		struct imgo__conn *c = imgo__conn_at(hub, room->slots[room->walked++]);
		--*budget;
		hand_out(c, cast);
	}
}

static void walk_room(struct imgo_hub *hub, struct imgo__room *room, uint32_t *budget)
{
	while (!imgo__list_empty(&room->casts) && *budget > 0) {
		struct cast *cast = imgo__container_of(room->casts.next, struct cast, link);
		walk_cast(hub, room, cast, budget);
		if (room->walked < cast->end)
			return;
		room->walked = 0;
		cast_free(hub, cast);
	}
}

/* Walks the rooms of a list, with one slice for all. Those that are not done go on in the next turn, and
 * those that did not get a turn at all are before them. */
static void walk_list(struct imgo_hub *hub, struct imgo__list *list)
{
	uint32_t budget = hub->opt.walk_slice;
	struct imgo__list work, again, *link;

	imgo__list_take(&work, list);
	imgo__list_init(&again);
	hub->hold++;
	while ((link = imgo__list_pop(&work)) != NULL) {
		struct imgo__room *room = imgo__container_of(link, struct imgo__room, link);
		bool untouched = budget == 0;
		walk_room(hub, room, &budget);
		if (!imgo__list_empty(&room->casts))
			imgo__list_insert(untouched ? &hub->going : &again, &room->link);
	}
	hub->hold--;
	while ((link = imgo__list_pop(&again)) != NULL)
		imgo__list_insert(&hub->going, link);
	if (!imgo__list_empty(&hub->going) && !imgo__timer_active(&hub->walk))
		imgo__timer_start(hub->loop, &hub->walk, 0);
}

void imgo__casts_walk_fresh(struct imgo_hub *hub)
{
	if (!imgo__list_empty(&hub->fresh))
		walk_list(hub, &hub->fresh);
}

void imgo__casts_walk_timer(struct imgo_loop *loop, struct imgo__timer *timer)
{
	struct imgo_hub *hub = imgo__container_of(timer, struct imgo_hub, walk);

	(void)loop;
	if (hub->freeing)
		return;
	walk_list(hub, &hub->going);
	imgo__hub_schedule(hub);
}

/* ---- leaving ---- */

void imgo__casts_settle_room(struct imgo__conn *c, struct imgo__room *room, uint32_t pos)
{
	struct imgo_hub *hub = c->hub;

	hub->hold++;
	imgo__list_for(link, &room->casts)
	{
		struct cast *cast = imgo__container_of(link, struct cast, link);
		if (pos >= cast->end || (cast->begun && pos < room->walked) || c->state != IMGO__CONN_LIVE)
			continue;
		uint32_t n;
		struct imgo__chunk *chunk = chunk_for(c, cast, &n);
		if (chunk && imgo__conn_queue(c, chunk) == 0)
			hub->tally.packets_out += n;
		else
			hub->tally.dropped += n;
	}
	hub->hold--;
}

void imgo__casts_settle(struct imgo__conn *c)
{
	struct imgo__member *m = imgo__conn_members(c);

	for (unsigned i = 0; i < c->nrooms; i++)
		imgo__casts_settle_room(c, m[i].room, m[i].pos);
	if (c->flags & IMGO__CONN_LOGGED_IN)
		imgo__casts_settle_room(c, c->hub->everyone, c->everyone_pos);
}

/* Member at `from` now stands at `to`. */
static void move(struct imgo_hub *hub, struct imgo__room *room, uint32_t from, uint32_t to)
{
	struct imgo__conn *c = imgo__conn_at(hub, room->slots[from]);

	room->slots[to] = room->slots[from];
	if (room == hub->everyone) {
		c->everyone_pos = to;
		return;
	}
	struct imgo__member *m = imgo__conn_members(c);
	while (m->room != room)
		m++;
	m->pos = to;
}

/* The hole leaves the segment that ends at *border, if it is in it. */
static void pass(struct imgo_hub *hub, struct imgo__room *room, uint32_t *hole, uint32_t *border)
{
	if (*hole >= *border)
		return;
	if (*hole != *border - 1)
		move(hub, room, *border - 1, *hole);
	*hole = --*border;
}

void imgo__casts_fill(struct imgo_hub *hub, struct imgo__room *room, uint32_t pos)
{
	uint32_t hole = pos, n = room->n;

	pass(hub, room, &hole, &room->walked); /* 0 when no cast is under way */
	imgo__list_for(link, &room->casts) pass(hub, room, &hole, &imgo__container_of(link, struct cast, link)->end);
	pass(hub, room, &hole, &n);
}
