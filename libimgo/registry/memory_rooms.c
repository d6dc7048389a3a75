/* SPDX-License-Identifier: MIT */
/*
 * Rooms. A room exists while a session is in it; sessions point at it, so its name is kept once. A session in
 * one room (nearly all are) points at the room itself, one in several at an array of its own.
 *
 * Invariant: room->count = number of sessions that point at it; roomless = number of sessions with nrooms 0.
 */
#include "registry/memory.h"

#include "base/mem.h"

static struct imgo_str room_key(const struct imgo__map_node *node)
{
	const struct imgo__reg_room *room = imgo__container_of(node, struct imgo__reg_room, node);
	return imgo_strn(room->key, room->len);
}

void imgo__reg_rooms_init(struct imgo__reg_rooms *rooms)
{
	imgo__map_init(&rooms->map, room_key);
	rooms->roomless = 0;
}

void imgo__reg_rooms_fini(struct imgo__reg_rooms *rooms)
{
	struct imgo__map_node *node;

	while ((node = imgo__map_pop(&rooms->map)) != NULL)
		free(imgo__container_of(node, struct imgo__reg_room, node));
	imgo__map_fini(&rooms->map);
}

static void release(struct imgo__reg_rooms *rooms, struct imgo__reg_room *room)
{
	if (--room->count > 0)
		return;
	imgo__map_remove(&rooms->map, &room->node);
	free(room);
}

static struct imgo__reg_room *acquire(struct imgo__reg_rooms *rooms, struct imgo_str name)
{
	struct imgo__map_node *node = imgo__map_get(&rooms->map, name);
	struct imgo__reg_room *room;

	if (node) {
		room = imgo__container_of(node, struct imgo__reg_room, node);
		room->count++;
		return room;
	}
	room = imgo__alloc(sizeof *room + name.len);
	if (!room)
		return NULL;
	room->count = 1;
	room->len = (uint8_t)name.len;
	memcpy(room->key, name.p, name.len);
	if (imgo__map_put(&rooms->map, &room->node) < 0) {
		free(room);
		return NULL;
	}
	return room;
}

/* Fills list with the distinct rooms, each counted; returns how many, or IMGO_ENOMEM with none counted. */
static int acquire_all(struct imgo__reg_rooms *rooms, struct imgo__reg_room **list, const struct imgo_str *names, size_t n)
{
	int count = 0;

	for (size_t i = 0; i < n; i++) {
		struct imgo__reg_room *room = acquire(rooms, names[i]);
		int at = 0;
		if (!room) {
			while (count > 0)
				release(rooms, list[--count]);
			return IMGO_ENOMEM;
		}
		while (at < count && list[at] != room)
			at++;
		if (at < count)
			room->count--; /* twice in names */
		else
			list[count++] = room;
	}
	return count;
}

static void release_all(struct imgo__reg_rooms *rooms, struct imgo__reg_session *s)
{
	if (s->nrooms == 0)
		rooms->roomless--;
	else if (s->nrooms == 1)
		release(rooms, s->rooms.one);
	else {
		for (unsigned i = 0; i < s->nrooms; i++)
			release(rooms, s->rooms.many[i]);
		free(s->rooms.many);
	}
}

void imgo__reg_rooms_enter_none(struct imgo__reg_rooms *rooms, struct imgo__reg_session *s)
{
	s->nrooms = 0;
	rooms->roomless++;
}

void imgo__reg_rooms_leave(struct imgo__reg_rooms *rooms, struct imgo__reg_session *s)
{
	release_all(rooms, s);
	s->nrooms = 0;
}

int imgo__reg_rooms_set(struct imgo__reg_rooms *rooms, struct imgo__reg_session *s, const struct imgo_str *names, size_t n)
{
	struct imgo__reg_room *list[IMGO_REGISTRY_ROOMS_MAX], **many = NULL;
	int count = acquire_all(rooms, list, names, n);

	if (count < 0)
		return count;
	if (count > 1) {
		many = imgo__alloc((size_t)count * sizeof *many);
		if (!many) {
			while (count > 0)
				release(rooms, list[--count]);
			return IMGO_ENOMEM;
		}
		memcpy(many, list, (size_t)count * sizeof *many);
	}
	release_all(rooms, s);
	s->nrooms = (uint8_t)count;
	if (count == 0)
		rooms->roomless++;
	else if (count == 1)
		s->rooms.one = list[0];
	else
		s->rooms.many = many;
	return 0;
}
