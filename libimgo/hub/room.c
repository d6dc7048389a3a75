/* SPDX-License-Identifier: MIT */
/*
 * Users, rooms, and who is in them.
 *
 * A user is a key with a chain of its connections (usually one). A room is a dense array of slots; each
 * member knows its place in it, so leaving is a swap with the last one (imgo__casts_fill, because casts may
 * be half-way through the array). A connection holds one membership in itself; more are in an array of its
 * own. "Everyone" is a room without a key, in no map, whose place is kept apart.
 *
 * Users and rooms exist while somebody is in them.
 */
#include "hub/internal.h"

#include "base/mem.h"

enum { FIRST_SLOTS = 4, FIRST_ROOMS = 4 };

/* ---- users ---- */

struct imgo__user *imgo__user_find(struct imgo_hub *hub, struct imgo_str key)
{
	struct imgo__map_node *node = imgo__map_get(&hub->users, key);

	return node ? imgo__container_of(node, struct imgo__user, node) : NULL;
}

static struct imgo__user *user_make(struct imgo_hub *hub, struct imgo_str key)
{
	struct imgo__user *user = imgo__alloc(sizeof *user + key.len);

	if (!user)
		return NULL;
	user->first = 0;
	user->len = (uint8_t)key.len;
	memcpy(user->key, key.p, key.len);
	if (imgo__map_put(&hub->users, &user->node)) {
		free(user);
		return NULL;
	}
	return user;
}

static void user_drop_if_empty(struct imgo_hub *hub, struct imgo__user *user)
{
	if (user->first)
		return;
	imgo__map_remove(&hub->users, &user->node);
	free(user);
}

int imgo__user_attach(struct imgo__conn *c, struct imgo_str key)
{
	struct imgo_hub *hub = c->hub;
	struct imgo__user *user = imgo__user_find(hub, key);

	if (!user)
		user = user_make(hub, key);
	if (!user)
		return IMGO_ENOMEM;
	if (imgo__room_add(c, hub->everyone, &c->everyone_pos)) {
		user_drop_if_empty(hub, user);
		return IMGO_ENOMEM;
	}
	imgo__links_remove(hub, &hub->waiting, c);
	hub->unauthenticated--;
	c->next = user->first;
	if (user->first)
		imgo__conn_at(hub, user->first - 1)->prev = c->slot + 1;
	user->first = c->slot + 1;
	c->user = user;
	c->born = ++hub->logins;
	c->flags |= IMGO__CONN_LOGGED_IN;
	hub->authenticated++;
	imgo_stat_add(hub->stats.authenticated, 1);
	return 0;
}

static void user_detach(struct imgo__conn *c)
{
	struct imgo_hub *hub = c->hub;
	struct imgo__user *user = c->user;
	struct imgo__list_ends ends = {.head = user->first};

	imgo__links_remove(hub, &ends, c);
	user->first = ends.head;
	user_drop_if_empty(hub, user);
	c->user = NULL;
	hub->dialects[c->dialect]--;
	hub->authenticated--;
	imgo_stat_add(hub->stats.authenticated, -1);
}

/* ---- rooms ---- */

void imgo__room_init(struct imgo__room *room)
{
	imgo__list_init(&room->link);
	imgo__list_init(&room->casts);
}

struct imgo__room *imgo__room_find(struct imgo_hub *hub, struct imgo_str key)
{
	struct imgo__map_node *node = imgo__map_get(&hub->rooms, key);

	return node ? imgo__container_of(node, struct imgo__room, node) : NULL;
}

static struct imgo__room *room_make(struct imgo_hub *hub, struct imgo_str key)
{
	struct imgo__room *room = imgo__zalloc(sizeof *room + key.len);

	if (!room)
		return NULL;
	imgo__room_init(room);
	room->len = (uint8_t)key.len;
	memcpy(room->key, key.p, key.len);
	if (imgo__map_put(&hub->rooms, &room->node)) {
		free(room);
		return NULL;
	}
	return room;
}

static void room_drop_if_empty(struct imgo_hub *hub, struct imgo__room *room)
{
	if (room->n > 0 || room == hub->everyone)
		return;
	imgo__casts_drop(hub, room);
	imgo__map_remove(&hub->rooms, &room->node);
	free(room->slots);
	free(room);
}

int imgo__room_add(struct imgo__conn *c, struct imgo__room *room, uint32_t *pos)
{
	if (room->n == room->cap) {
		uint32_t cap = room->cap ? room->cap + room->cap / 2 : FIRST_SLOTS;
		uint32_t *slots = imgo__regrow(room->slots, cap, sizeof *slots);
		if (!slots)
			return IMGO_ENOMEM;
		room->slots = slots;
		room->cap = cap;
	}
	*pos = room->n;
	room->slots[room->n++] = c->slot;
	return 0;
}

static void room_remove(struct imgo_hub *hub, struct imgo__room *room, uint32_t pos)
{
	imgo__casts_fill(hub, room, pos);
	room->n--;
	if (room->cap > 64 && room->n < room->cap / 4) {
		uint32_t *slots = imgo__regrow(room->slots, room->cap / 2, sizeof *slots);
		if (slots) {
			room->slots = slots;
			room->cap /= 2;
		}
	}
	room_drop_if_empty(hub, room);
}

/* ---- memberships ---- */

static int members_reserve(struct imgo__conn *c)
{
	struct imgo__member *members;

	if (c->nrooms < (c->rooms_cap ? c->rooms_cap : 1))
		return 0;
	if (c->rooms_cap == UINT16_MAX)
		return IMGO_ELIMIT;
	uint32_t cap = c->rooms_cap ? c->rooms_cap * 2u : FIRST_ROOMS;
	if (cap > UINT16_MAX)
		cap = UINT16_MAX;
	members = imgo__regrow(c->rooms_cap ? c->members : NULL, cap, sizeof *members);
	if (!members)
		return IMGO_ENOMEM;
	if (!c->rooms_cap)
		members[0] = c->member;
	c->members = members;
	c->rooms_cap = (uint16_t)cap;
	return 0;
}

static struct imgo__member *member_find(struct imgo__conn *c, struct imgo_str key)
{
	struct imgo__member *m = imgo__conn_members(c);

	for (unsigned i = 0; i < c->nrooms; i++) {
		if (imgo_str_eq(imgo_strn(m[i].room->key, m[i].room->len), key))
			return &m[i];
	}
	return NULL;
}

static void member_remove(struct imgo__conn *c, struct imgo__member *m)
{
	struct imgo__member gone = *m;

	*m = imgo__conn_members(c)[--c->nrooms];
	if (c->nrooms == 0 && c->rooms_cap) {
		free(c->members);
		c->rooms_cap = 0;
	}
	room_remove(c->hub, gone.room, gone.pos);
}

int imgo__room_join(struct imgo__conn *c, struct imgo_str key)
{
	struct imgo_hub *hub = c->hub;

	if (key.len == 0 || key.len > IMGO_ROOM_MAX)
		return IMGO_EINVAL;
	if (member_find(c, key))
		return 0;
	if (c->nrooms >= hub->opt.rooms_max)
		return IMGO_ELIMIT;
	int r = members_reserve(c);
	if (r)
		return r;
	struct imgo__room *room = imgo__room_find(hub, key);
	if (!room)
		room = room_make(hub, key);
	if (!room)
		return IMGO_ENOMEM;
	struct imgo__member *m = &imgo__conn_members(c)[c->nrooms];
	m->room = room;
	if (imgo__room_add(c, room, &m->pos)) {
		room_drop_if_empty(hub, room);
		return IMGO_ENOMEM;
	}
	c->nrooms++;
	return 0;
}

/* What was sent to a room before its member left is still due to it. */
static void leave(struct imgo__conn *c, struct imgo__member *m)
{
	imgo__casts_settle_room(c, m->room, m->pos);
	if (c->state == IMGO__CONN_LIVE) /* else it was slow, and the reaper detaches it */
		member_remove(c, m);
}

void imgo__room_leave(struct imgo__conn *c, struct imgo_str key)
{
	struct imgo__member *m = member_find(c, key);

	if (m)
		leave(c, m);
}

void imgo__room_leave_all_but(struct imgo__conn *c, struct imgo_str key)
{
	for (unsigned i = c->nrooms; i-- > 0 && c->state == IMGO__CONN_LIVE;) {
		struct imgo__member *m = &imgo__conn_members(c)[i];
		if (!imgo_str_eq(imgo_strn(m->room->key, m->room->len), key))
			leave(c, m);
	}
}

void imgo__conn_detach(struct imgo__conn *c)
{
	struct imgo_hub *hub = c->hub;

	if (c->flags & IMGO__CONN_DETACHED)
		return;
	c->flags |= IMGO__CONN_DETACHED;
	if (!(c->flags & IMGO__CONN_LOGGED_IN)) {
		imgo__links_remove(hub, &hub->waiting, c);
		hub->unauthenticated--;
		imgo__guard_leave(hub, c->pre);
		free(c->pre);
		c->pre = NULL;
		return;
	}
	imgo__accepts_drop(c);
	while (c->nrooms > 0)
		member_remove(c, &imgo__conn_members(c)[c->nrooms - 1]);
	room_remove(hub, hub->everyone, c->everyone_pos);
	user_detach(c);
}

void imgo__rooms_fini(struct imgo_hub *hub)
{
	imgo__casts_drop(hub, hub->everyone);
	free(hub->everyone->slots);
	free(hub->everyone);
	imgo__map_fini(&hub->rooms); /* all are empty: everybody has left */
	imgo__map_fini(&hub->users);
	imgo__map_fini(&hub->accepts);
}
