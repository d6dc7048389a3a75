/* SPDX-License-Identifier: MIT */
#include "registry/wire.h"

#include "registry/registry.h"
#include "registry/wire_impl.h"

static void write_rooms(struct imgo__mpw *w, const struct imgo_str *rooms, size_t n)
{
	imgo__mpw_array(w, (uint32_t)n);
	for (size_t i = 0; i < n; i++)
		imgo__mpw_str(w, rooms[i]);
}

/* Room for the items of a message, each of which takes `unit` bytes of it or more; *n 0 is malformed. */
static void *read_items(struct imgo__mp *mp, struct imgo__arena *arena, size_t size, size_t unit, size_t *n, int *err)
{
	void *items;

	*n = imgo__regw_array(mp, IMGO__REGW_ITEMS_MAX, unit);
	*err = *n ? 0 : IMGO_EPROTO;
	items = *n ? imgo__arena_zalloc(arena, *n, size) : NULL;
	if (*n && !items)
		*err = IMGO_ENOMEM;
	return items;
}

/* Of a message in which every item was allowed, or not. */
static int outcome(const struct imgo__mp *mp, bool valid)
{
	if (imgo__mp_finish(mp) < 0)
		return IMGO_EPROTO;
	return valid ? 0 : IMGO_EINVAL;
}

static int read_rooms(struct imgo__mp *mp, struct imgo__arena *arena, const struct imgo_str **rooms, size_t *n)
{
	struct imgo_str *list = NULL;

	*n = imgo__mp_array(mp, IMGO_REGISTRY_ROOMS_MAX);
	if (*n && !(list = imgo__arena_zalloc(arena, *n, sizeof *list)))
		return IMGO_ENOMEM;
	for (size_t i = 0; i < *n; i++)
		list[i] = imgo__mp_str(mp, IMGO_ROOM_MAX);
	*rooms = list;
	return 0;
}

/* ---- put ---- */
void imgo__regw_put(struct imgo__mpw *w, const struct imgo_registry_put *items, const uint32_t *index, size_t n)
{
	imgo__mpw_array(w, (uint32_t)n);
	for (size_t i = 0; i < n; i++) {
		const struct imgo_registry_put *item = &items[index[i]];
		imgo__mpw_array(w, 10);
		imgo__regw_id(w, item->session.id);
		imgo__mpw_str(w, item->session.user);
		imgo__mpw_str(w, item->session.device);
		imgo__mpw_uint(w, item->session.seq);
		write_rooms(w, item->session.rooms, item->session.nrooms);
		imgo__mpw_uint(w, item->sessions_max);
		imgo__mpw_uint(w, item->policy);
	}
}

int imgo__regw_read_put(struct imgo__mp *mp, struct imgo__arena *arena, struct imgo_registry_put **items, size_t *n)
{
	bool valid = true;
	int err;

	*items = read_items(mp, arena, sizeof **items, 11, n, &err);
	if (err)
		return err;
	for (size_t i = 0; i < *n && !mp->err; i++) {
		struct imgo_registry_put *item = &(*items)[i];
		uint32_t fields = imgo__mp_array(mp, IMGO__REGW_FIELDS_MAX);
		item->session.id = imgo__regw_read_id(mp);
		item->session.user = imgo__mp_str(mp, IMGO_USER_MAX);
		item->session.device = imgo__mp_str(mp, IMGO_DEVICE_MAX);
		item->session.seq = imgo__mp_uint(mp);
		err = read_rooms(mp, arena, &item->session.rooms, &item->session.nrooms);
		if (err)
			return err;
		item->sessions_max = imgo__mp_u32(mp);
		item->policy = (enum imgo_sessions_policy)imgo__mp_u32(mp);
		imgo__mp_skip_rest(mp, fields, 10);
		valid = valid && imgo__registry_valid_put(item);
	}
	return outcome(mp, valid);
}

/* ---- del ---- */
void imgo__regw_del(struct imgo__mpw *w, const struct imgo_registry_del *items, const uint32_t *index, size_t n)
{
	imgo__mpw_array(w, (uint32_t)n);
	for (size_t i = 0; i < n; i++) {
		imgo__mpw_array(w, 5);
		imgo__regw_id(w, items[index[i]].id);
		imgo__mpw_str(w, items[index[i]].user);
	}
}

int imgo__regw_read_del(struct imgo__mp *mp, struct imgo__arena *arena, struct imgo_registry_del **items, size_t *n)
{
	bool valid = true;
	int err;

	*items = read_items(mp, arena, sizeof **items, 6, n, &err);
	if (err)
		return err;
	for (size_t i = 0; i < *n && !mp->err; i++) {
		struct imgo_registry_del *item = &(*items)[i];
		uint32_t fields = imgo__mp_array(mp, IMGO__REGW_FIELDS_MAX);
		item->id = imgo__regw_read_id(mp);
		item->user = imgo__mp_str(mp, IMGO_USER_MAX);
		imgo__mp_skip_rest(mp, fields, 5);
		valid = valid && item->id.comet && imgo__registry_valid_user(item->user);
	}
	return outcome(mp, valid);
}

/* ---- get ---- */
void imgo__regw_get(struct imgo__mpw *w, const struct imgo_registry_get *items, const uint32_t *index, size_t n)
{
	imgo__mpw_array(w, (uint32_t)n);
	for (size_t i = 0; i < n; i++)
		imgo__mpw_str(w, items[index[i]].user);
}

int imgo__regw_read_get(struct imgo__mp *mp, struct imgo__arena *arena, struct imgo_registry_get **items, size_t *n)
{
	bool valid = true;
	int err;

	*items = read_items(mp, arena, sizeof **items, 1, n, &err);
	if (err)
		return err;
	for (size_t i = 0; i < *n && !mp->err; i++) {
		(*items)[i].user = imgo__mp_str(mp, IMGO_USER_MAX);
		valid = valid && imgo__registry_valid_user((*items)[i].user);
	}
	return outcome(mp, valid);
}

/* ---- rooms ---- */
void imgo__regw_rooms(struct imgo__mpw *w, const struct imgo_registry_rooms *items, const uint32_t *index, size_t n)
{
	imgo__mpw_array(w, (uint32_t)n);
	for (size_t i = 0; i < n; i++) {
		const struct imgo_registry_rooms *item = &items[index[i]];
		imgo__mpw_array(w, 6);
		imgo__regw_id(w, item->id);
		imgo__mpw_str(w, item->user);
		write_rooms(w, item->rooms, item->nrooms);
	}
}

int imgo__regw_read_rooms(struct imgo__mp *mp, struct imgo__arena *arena, struct imgo_registry_rooms **items, size_t *n)
{
	bool valid = true;
	int err;

	*items = read_items(mp, arena, sizeof **items, 7, n, &err);
	if (err)
		return err;
	for (size_t i = 0; i < *n && !mp->err; i++) {
		struct imgo_registry_rooms *item = &(*items)[i];
		uint32_t fields = imgo__mp_array(mp, IMGO__REGW_FIELDS_MAX);
		item->id = imgo__regw_read_id(mp);
		item->user = imgo__mp_str(mp, IMGO_USER_MAX);
		err = read_rooms(mp, arena, &item->rooms, &item->nrooms);
		if (err)
			return err;
		imgo__mp_skip_rest(mp, fields, 6);
		valid = valid && item->id.comet && imgo__registry_valid_user(item->user) &&
			imgo__registry_valid_rooms(item->rooms, item->nrooms);
	}
	return outcome(mp, valid);
}

/* ---- renew ---- */
void imgo__regw_about(struct imgo__mpw *w, const struct imgo_comet_about *about)
{
	imgo__mpw_array(w, 8);
	imgo__mpw_str(w, about->hosts);
	imgo__mpw_uint(w, about->tcp_port);
	imgo__mpw_uint(w, about->websocket_port);
	imgo__mpw_uint(w, about->wss_port);
	imgo__mpw_uint(w, about->heartbeat_ms);
	imgo__mpw_uint(w, about->weight);
	imgo__mpw_uint(w, about->connections);
	imgo__mpw_uint(w, about->ips);
}

void imgo__regw_read_about(struct imgo__mp *mp, struct imgo_comet_about *about)
{
	uint32_t fields = imgo__mp_array(mp, IMGO__REGW_FIELDS_MAX);

	about->hosts = imgo__mp_str(mp, IMGO_REGISTRY_HOSTS_MAX);
	about->tcp_port = imgo__mp_u32(mp);
	about->websocket_port = imgo__mp_u32(mp);
	about->wss_port = imgo__mp_u32(mp);
	about->heartbeat_ms = imgo__mp_u32(mp);
	about->weight = imgo__mp_u32(mp);
	about->connections = imgo__mp_u32(mp);
	about->ips = imgo__mp_u32(mp);
	imgo__mp_skip_rest(mp, fields, 8);
}

void imgo__regw_renew(struct imgo__mpw *w, const struct imgo_registry_renew *call)
{
	imgo__mpw_array(w, 7);
	imgo__mpw_uint(w, call->comet);
	imgo__mpw_uint(w, call->inc.start_us);
	imgo__mpw_uint(w, call->inc.random);
	imgo__mpw_str(w, call->address);
	imgo__mpw_uint(w, call->lease_ms);
	imgo__mpw_bool(w, call->leaving);
	imgo__regw_about(w, &call->about);
}

int imgo__regw_read_renew(struct imgo__mp *mp, struct imgo_registry_renew *call)
{
	uint32_t fields = imgo__mp_array(mp, IMGO__REGW_FIELDS_MAX);

	memset(call, 0, sizeof *call);
	call->comet = imgo__mp_u32(mp);
	call->inc.start_us = imgo__mp_uint(mp);
	call->inc.random = imgo__mp_uint(mp);
	call->address = imgo__mp_str(mp, IMGO_REGISTRY_ADDRESS_MAX);
	call->lease_ms = imgo__mp_uint(mp);
	call->leaving = imgo__mp_bool(mp);
	if (fields > 6)
		imgo__regw_read_about(mp, &call->about);
	imgo__mp_skip_rest(mp, fields, fields > 6 ? 7 : 6);
	return outcome(mp, imgo__registry_valid_renew(call));
}

/* ---- count ---- */
void imgo__regw_count(struct imgo__mpw *w, const struct imgo_registry_count *call)
{
	if (call->prefix.len == 0 && call->nonly == 0) {
		imgo__mpw_nil(w);
		return;
	}
	imgo__mpw_array(w, 2);
	imgo__mpw_str(w, call->prefix);
	write_rooms(w, call->only, call->nonly);
}

int imgo__regw_read_count(struct imgo__mp *mp, struct imgo__arena *arena, struct imgo_registry_count *call)
{
	struct imgo_str *rooms;
	uint32_t fields;

	memset(call, 0, sizeof *call);
	if (imgo__mp_nil(mp))
		return outcome(mp, true);
	fields = imgo__mp_array(mp, IMGO__REGW_FIELDS_MAX);
	call->prefix = imgo__mp_str(mp, IMGO_ROOM_MAX);
	call->nonly = imgo__regw_array(mp, IMGO_REGISTRY_COUNT_MAX, 1);
	rooms = call->nonly ? imgo__arena_zalloc(arena, call->nonly, sizeof *rooms) : NULL;
	if (call->nonly && !rooms)
		return IMGO_ENOMEM;
	for (size_t i = 0; i < call->nonly && !mp->err; i++)
		rooms[i] = imgo__mp_str(mp, IMGO_ROOM_MAX);
	call->only = rooms;
	imgo__mp_skip_rest(mp, fields, 2);
	return outcome(mp, imgo__registry_valid_count(call));
}
