/* SPDX-License-Identifier: MIT */
#include "registry/wire.h"

#include "registry/wire_impl.h"

#define SESSIONS_MAX 1000000u /* of one user: more than fit into a message */

static int read_err(struct imgo__mp *mp)
{
	int32_t err = imgo__mp_i32(mp);

	if (err > 0)
		mp->err = IMGO_EPROTO;
	return err;
}

/* An answer has one element for each item that was asked for. */
static int read_count(struct imgo__mp *mp, size_t n)
{
	return imgo__mp_array(mp, IMGO__REGW_ITEMS_MAX) == n && !mp->err ? 0 : IMGO_EPROTO;
}

/* ---- put ---- */
void imgo__regw_put_answer(struct imgo__mpw *w, const struct imgo_registry_put *items, size_t n)
{
	imgo__mpw_array(w, (uint32_t)n);
	for (size_t i = 0; i < n; i++) {
		imgo__mpw_array(w, 3);
		imgo__mpw_int(w, items[i].err);
		imgo__mpw_uint(w, items[i].seq);
		imgo__mpw_array(w, (uint32_t)items[i].nevicted);
		for (size_t k = 0; k < items[i].nevicted; k++) {
			imgo__mpw_array(w, 4);
			imgo__regw_id(w, items[i].evicted[k]);
		}
	}
}

static int read_evicted(struct imgo__mp *mp, struct imgo__arena *arena, struct imgo_registry_put *item)
{
	size_t n = imgo__regw_array(mp, SESSIONS_MAX, 5);
	struct imgo_session_id *list = n ? imgo__arena_zalloc(arena, n, sizeof *list) : NULL;

	if (n && !list)
		return IMGO_ENOMEM;
	for (size_t i = 0; i < n; i++) {
		uint32_t fields = imgo__mp_array(mp, IMGO__REGW_FIELDS_MAX);
		list[i] = imgo__regw_read_id(mp);
		imgo__mp_skip_rest(mp, fields, 4);
	}
	item->evicted = list;
	item->nevicted = mp->err ? 0 : n;
	return 0;
}

int imgo__regw_read_put_answer(struct imgo__mp *mp, struct imgo__arena *arena, struct imgo_registry_put *items,
	const uint32_t *index, size_t n)
{
	if (read_count(mp, n) < 0)
		return IMGO_EPROTO;
	for (size_t i = 0; i < n && !mp->err; i++) {
		struct imgo_registry_put *item = &items[index[i]];
		uint32_t fields = imgo__mp_array(mp, IMGO__REGW_FIELDS_MAX);
		item->err = read_err(mp);
		item->seq = imgo__mp_uint(mp);
		if (read_evicted(mp, arena, item) < 0)
			return IMGO_ENOMEM;
		imgo__mp_skip_rest(mp, fields, 3);
	}
	return imgo__mp_finish(mp);
}

/* ---- del, rooms ---- */
void imgo__regw_del_answer(struct imgo__mpw *w, const struct imgo_registry_del *items, size_t n)
{
	imgo__mpw_array(w, (uint32_t)n);
	for (size_t i = 0; i < n; i++)
		imgo__mpw_int(w, items[i].err);
}

int imgo__regw_read_del_answer(struct imgo__mp *mp, struct imgo_registry_del *items, const uint32_t *index, size_t n)
{
	if (read_count(mp, n) < 0)
		return IMGO_EPROTO;
	for (size_t i = 0; i < n; i++)
		items[index[i]].err = read_err(mp);
	return imgo__mp_finish(mp);
}

void imgo__regw_rooms_answer(struct imgo__mpw *w, const struct imgo_registry_rooms *items, size_t n)
{
	imgo__mpw_array(w, (uint32_t)n);
	for (size_t i = 0; i < n; i++)
		imgo__mpw_int(w, items[i].err);
}

int imgo__regw_read_rooms_answer(struct imgo__mp *mp, struct imgo_registry_rooms *items, const uint32_t *index, size_t n)
{
	if (read_count(mp, n) < 0)
		return IMGO_EPROTO;
	for (size_t i = 0; i < n; i++)
		items[index[i]].err = read_err(mp);
	return imgo__mp_finish(mp);
}

/* ---- get ---- */
static void write_sessions(struct imgo__mpw *w, const struct imgo_registry_get *item)
{
	imgo__mpw_array(w, (uint32_t)item->nsessions);
	for (size_t i = 0; i < item->nsessions; i++) {
		imgo__mpw_array(w, 6);
		imgo__regw_id(w, item->sessions[i].id);
		imgo__mpw_uint(w, item->sessions[i].seq);
		imgo__mpw_str(w, item->sessions[i].device);
	}
}

void imgo__regw_get_answer(struct imgo__mpw *w, const struct imgo_registry_get *items, size_t n)
{
	imgo__mpw_array(w, (uint32_t)n);
	for (size_t i = 0; i < n; i++)
		if (items[i].err)
			imgo__mpw_int(w, items[i].err);
		else
			write_sessions(w, &items[i]);
}

static bool next_is_array(const struct imgo__mp *mp)
{
	return mp->at < mp->end && ((*mp->at & 0xF0) == 0x90 || *mp->at == 0xDC || *mp->at == 0xDD);
}

static int read_sessions(struct imgo__mp *mp, struct imgo__arena *arena, struct imgo_registry_get *item)
{
	size_t n = imgo__regw_array(mp, SESSIONS_MAX, 7);
	struct imgo_session *list = n ? imgo__arena_zalloc(arena, n, sizeof *list) : NULL;
	bool ok = !n || list;

	for (size_t i = 0; i < n && ok; i++) {
		uint32_t fields = imgo__mp_array(mp, IMGO__REGW_FIELDS_MAX);
		list[i].id = imgo__regw_read_id(mp);
		list[i].seq = imgo__mp_uint(mp);
		list[i].device = imgo__mp_str(mp, IMGO_DEVICE_MAX);
		if (list[i].device.len)
			list[i].device = imgo__arena_str(arena, list[i].device, &ok);
		else
			list[i].device = imgo_str("");
		list[i].user = item->user;
		imgo__mp_skip_rest(mp, fields, 6);
	}
	item->err = 0;
	item->sessions = list;
	item->nsessions = mp->err || !ok ? 0 : n;
	return ok ? 0 : IMGO_ENOMEM;
}

int imgo__regw_read_get_answer(struct imgo__mp *mp, struct imgo__arena *arena, struct imgo_registry_get *items,
	const uint32_t *index, size_t n)
{
	if (read_count(mp, n) < 0)
		return IMGO_EPROTO;
	for (size_t i = 0; i < n && !mp->err; i++) {
		struct imgo_registry_get *item = &items[index[i]];
		if (!next_is_array(mp))
			item->err = read_err(mp);
		else if (read_sessions(mp, arena, item) < 0)
			return IMGO_ENOMEM;
	}
	return imgo__mp_finish(mp);
}

/* ---- renew ---- */
void imgo__regw_renew_answer(struct imgo__mpw *w, int err, struct imgo_incarnation inc)
{
	imgo__mpw_array(w, 3);
	imgo__mpw_int(w, err);
	imgo__mpw_uint(w, inc.start_us);
	imgo__mpw_uint(w, inc.random);
}

int imgo__regw_read_renew_answer(struct imgo__mp *mp, int *err, struct imgo_incarnation *inc)
{
	uint32_t fields = imgo__mp_array(mp, IMGO__REGW_FIELDS_MAX);

	*err = read_err(mp);
	inc->start_us = imgo__mp_uint(mp);
	inc->random = imgo__mp_uint(mp);
	imgo__mp_skip_rest(mp, fields, 3);
	return imgo__mp_finish(mp);
}

/* ---- comets ---- */
void imgo__regw_comets_answer(struct imgo__mpw *w, const struct imgo_registry_comets *call)
{
	imgo__mpw_array(w, (uint32_t)call->n);
	for (size_t i = 0; i < call->n; i++) {
		imgo__mpw_array(w, 6);
		imgo__mpw_uint(w, call->comets[i].comet);
		imgo__mpw_uint(w, call->comets[i].inc.start_us);
		imgo__mpw_uint(w, call->comets[i].inc.random);
		imgo__mpw_str(w, call->comets[i].address);
		imgo__mpw_uint(w, call->comets[i].sessions);
		imgo__regw_about(w, &call->comets[i].about);
	}
}

int imgo__regw_read_comets_answer(struct imgo__mp *mp, struct imgo__arena *arena, struct imgo_comet_info **list, size_t *n)
{
	bool ok = true;

	*n = imgo__regw_array(mp, SESSIONS_MAX, 6);
	*list = *n ? imgo__arena_zalloc(arena, *n, sizeof **list) : NULL;
	if (*n && !*list)
		return IMGO_ENOMEM;
	for (size_t i = 0; i < *n && !mp->err; i++) {
		struct imgo_comet_info *info = &(*list)[i];
		uint32_t fields = imgo__mp_array(mp, IMGO__REGW_FIELDS_MAX);
		info->comet = imgo__mp_u32(mp);
		info->inc.start_us = imgo__mp_uint(mp);
		info->inc.random = imgo__mp_uint(mp);
		info->address = imgo__arena_str(arena, imgo__mp_str(mp, IMGO_REGISTRY_ADDRESS_MAX), &ok);
		info->sessions = imgo__mp_uint(mp);
		if (fields > 5)
			imgo__regw_read_about(mp, &info->about);
		info->about.hosts = imgo__arena_str(arena, info->about.hosts, &ok);
		imgo__mp_skip_rest(mp, fields, fields > 5 ? 6 : 5);
	}
	return ok ? imgo__mp_finish(mp) : IMGO_ENOMEM;
}

/* ---- count ---- */
void imgo__regw_count_answer(struct imgo__mpw *w, const struct imgo_registry_count *call)
{
	imgo__mpw_array(w, 3);
	imgo__mpw_uint(w, call->sessions);
	imgo__mpw_uint(w, call->users);
	imgo__mpw_array(w, (uint32_t)call->n);
	for (size_t i = 0; i < call->n; i++) {
		imgo__mpw_array(w, 2);
		imgo__mpw_str(w, call->rooms[i].room);
		imgo__mpw_uint(w, call->rooms[i].count);
	}
}

int imgo__regw_read_count_answer(struct imgo__mp *mp, struct imgo__arena *arena, struct imgo_registry_count *call)
{
	uint32_t fields = imgo__mp_array(mp, IMGO__REGW_FIELDS_MAX);
	struct imgo_room_count *list;
	bool ok = true;

	call->sessions = imgo__mp_uint(mp);
	call->users = imgo__mp_uint(mp);
	call->n = imgo__regw_array(mp, IMGO_REGISTRY_COUNT_MAX, 3);
	list = call->n ? imgo__arena_zalloc(arena, call->n, sizeof *list) : NULL;
	if (call->n && !list)
		return IMGO_ENOMEM;
	for (size_t i = 0; i < call->n && !mp->err; i++) {
		uint32_t inner = imgo__mp_array(mp, IMGO__REGW_FIELDS_MAX);
		list[i].room = imgo__arena_str(arena, imgo__mp_str(mp, IMGO_ROOM_MAX), &ok);
		list[i].count = imgo__mp_uint(mp);
		imgo__mp_skip_rest(mp, inner, 2);
	}
	imgo__mp_skip_rest(mp, fields, 3);
	call->rooms = list;
	return ok ? imgo__mp_finish(mp) : IMGO_ENOMEM;
}
