/* SPDX-License-Identifier: MIT */
#include "service/gate_wire.h"

#include "registry/wire.h"
#include "service/carrier_wire.h"

enum { FIELDS_MAX = 64, MESSAGES_MAX = 65536 };

/* Opens an array of at least `known` fields; *have is what imgo__mp_skip_rest wants to know at its end. */
static void open_array(struct imgo__mp *mp, uint32_t known, uint32_t *have)
{
	*have = imgo__mp_array(mp, FIELDS_MAX);
	if (*have < known && !mp->err)
		mp->err = IMGO_EPROTO;
}

static void session_id_write(struct imgo__mpw *w, const struct imgo_session_id *id)
{
	imgo__mpw_uint(w, id->comet);
	imgo__incarnation_write(w, id->inc);
	imgo__mpw_uint(w, id->n);
}

static struct imgo_session_id session_id_read(struct imgo__mp *mp)
{
	struct imgo_session_id id;

	id.comet = imgo__mp_u32(mp);
	id.inc = imgo__incarnation_read(mp);
	id.n = imgo__mp_uint(mp);
	return id;
}

static void rooms_write(struct imgo__mpw *w, const struct imgo_str *rooms, size_t n)
{
	imgo__mpw_array(w, (uint32_t)n);
	for (size_t i = 0; i < n; i++)
		imgo__mpw_str(w, rooms[i]);
}

static const struct imgo_str *rooms_read(struct imgo__mp *mp, struct imgo__arena *arena, size_t *n)
{
	uint32_t count = imgo__mp_array(mp, IMGO__GATE_ROOMS_MAX);
	struct imgo_str *rooms = count ? imgo__arena_zalloc(arena, count, sizeof *rooms) : NULL;

	*n = rooms ? count : 0;
	if (count && !rooms && !mp->err)
		mp->err = IMGO_ENOMEM;
	for (size_t i = 0; i < *n; i++)
		rooms[i] = imgo__mp_str(mp, IMGO_ROOM_MAX);
	return rooms;
}

/* Opens a list of items and makes room for them in the arena. */
static void *items_read(struct imgo__mp *mp, struct imgo__arena *arena, size_t size, size_t *n)
{
	uint32_t count = imgo__mp_array(mp, IMGO__GATE_ITEMS_MAX);
	void *items;

	*n = 0;
	if (mp->err || count == 0)
		return NULL;
	items = imgo__arena_zalloc(arena, count, size);
	if (items)
		*n = count;
	else
		mp->err = IMGO_ENOMEM;
	return items;
}

/* ---- connect: [token, ver, device, id…, [room, …], by_mid, mid] -> [who, device, seq, partition, epoch, [room, …]] ---- */

void imgo__gate_connect_ask_write(struct imgo__mpw *w, const struct imgo__gate_connect *call)
{
	imgo__mpw_array(w, 10);
	imgo__mpw_bin(w, call->token.p, call->token.len);
	imgo__mpw_uint(w, call->ver);
	imgo__mpw_str(w, call->device);
	session_id_write(w, &call->id);
	rooms_write(w, call->rooms, call->nrooms);
	imgo__mpw_bool(w, call->by_mid);
	imgo__mpw_uint(w, call->mid);
}

int imgo__gate_connect_ask_read(struct imgo__mp *mp, struct imgo__arena *arena, struct imgo__gate_connect *call)
{
	uint32_t have;

	open_array(mp, 8, &have);
	call->token = imgo__mp_str(mp, IMGO_TOKEN_MAX);
	call->ver = (uint16_t)imgo__mp_u32(mp);
	call->device = imgo__mp_str(mp, IMGO_DEVICE_MAX);
	call->id = session_id_read(mp);
	call->rooms = rooms_read(mp, arena, &call->nrooms);
	if (have >= 10) { /* an older comet knows no goim clients */
		call->by_mid = imgo__mp_bool(mp);
		call->mid = imgo__mp_uint(mp);
	}
	imgo__mp_skip_rest(mp, have, have >= 10 ? 10 : 8);
	return mp->err;
}

void imgo__gate_connect_answer_write(struct imgo__mpw *w, const struct imgo__gate_connect *call)
{
	imgo__mpw_array(w, 6);
	imgo__mpw_str(w, call->who);
	imgo__mpw_str(w, call->granted_device);
	imgo__mpw_uint(w, call->seq);
	imgo__mpw_uint(w, call->partition);
	imgo__mpw_uint(w, call->epoch);
	rooms_write(w, call->granted_rooms, call->ngranted);
}

int imgo__gate_connect_answer_read(struct imgo__mp *mp, struct imgo__arena *arena, struct imgo__gate_connect *call)
{
	const struct imgo_str *rooms;
	uint32_t have;

	open_array(mp, 6, &have);
	call->who = imgo__mp_str(mp, IMGO_USER_MAX);
	call->granted_device = imgo__mp_str(mp, IMGO_DEVICE_MAX);
	call->seq = imgo__mp_uint(mp);
	call->partition = imgo__mp_u32(mp);
	call->epoch = imgo__mp_u32(mp);
	rooms = rooms_read(mp, arena, &call->ngranted);
	imgo__mp_skip_rest(mp, have, 6);
	if (mp->err == 0 && call->who.len == 0)
		mp->err = IMGO_EPROTO;
	for (size_t i = 0; mp->err == 0 && i < call->ngranted; i++)
		call->granted_rooms[i] = rooms[i];
	return mp->err;
}

/* ---- read: [who, device, after, messages_max, bytes_max] -> [more, gap, position, cursor, [[id, op, body], …]] ---- */

void imgo__gate_read_ask_write(struct imgo__mpw *w, const struct imgo__gate_read *call)
{
	imgo__mpw_array(w, 6);
	imgo__mpw_str(w, call->who);
	imgo__mpw_str(w, call->device);
	imgo__id_write(w, call->after);
	imgo__mpw_uint(w, call->messages_max);
	imgo__mpw_uint(w, call->bytes_max);
}

int imgo__gate_read_ask_read(struct imgo__mp *mp, struct imgo__arena *arena, struct imgo__gate_read *call)
{
	uint32_t have;

	(void)arena;
	open_array(mp, 6, &have);
	call->who = imgo__mp_str(mp, IMGO_USER_MAX);
	call->device = imgo__mp_str(mp, IMGO_DEVICE_MAX);
	call->after = imgo__id_read(mp);
	call->messages_max = imgo__mp_u32(mp);
	call->bytes_max = imgo__mp_u32(mp);
	imgo__mp_skip_rest(mp, have, 6);
	return mp->err;
}

void imgo__gate_read_answer_write(struct imgo__mpw *w, const struct imgo__gate_read *call)
{
	imgo__mpw_array(w, 7);
	imgo__mpw_bool(w, call->more);
	imgo__mpw_bool(w, call->gap);
	imgo__id_write(w, call->position);
	imgo__id_write(w, call->cursor);
	imgo__mpw_array(w, (uint32_t)call->nmessages);
	for (size_t i = 0; i < call->nmessages; i++) {
		const struct imgo__gate_message *message = &call->messages[i];
		imgo__mpw_array(w, 4);
		imgo__id_write(w, message->id);
		imgo__mpw_int(w, message->op);
		imgo__mpw_bin(w, message->body.p, message->body.len);
	}
}

static void messages_read(struct imgo__mp *mp, struct imgo__arena *arena, struct imgo__gate_read *call)
{
	uint32_t count = imgo__mp_array(mp, MESSAGES_MAX), have;
	struct imgo__gate_message *messages = count ? imgo__arena_zalloc(arena, count, sizeof *messages) : NULL;

	call->messages = messages;
	call->nmessages = messages ? count : 0;
	if (count && !messages && !mp->err)
		mp->err = IMGO_ENOMEM;
	for (size_t i = 0; i < call->nmessages && !mp->err; i++) {
		open_array(mp, 4, &have);
		messages[i].id = imgo__id_read(mp);
		messages[i].op = imgo__mp_i32(mp);
		messages[i].body = imgo__mp_str(mp, IMGO_BODY_MAX);
		imgo__mp_skip_rest(mp, have, 4);
	}
}

int imgo__gate_read_answer_read(struct imgo__mp *mp, struct imgo__arena *arena, struct imgo__gate_read *call)
{
	uint32_t have;

	open_array(mp, 7, &have);
	call->more = imgo__mp_bool(mp);
	call->gap = imgo__mp_bool(mp);
	call->position = imgo__id_read(mp);
	call->cursor = imgo__id_read(mp);
	messages_read(mp, arena, call);
	imgo__mp_skip_rest(mp, have, 7);
	return mp->err;
}

/* ---- announce, disconnect, rooms: [[who, device, id…, seq, [room, …]], …] -> [[err, seq], …] ---- */

void imgo__gate_sessions_ask_write(struct imgo__mpw *w, const struct imgo__gate_session *items, size_t n)
{
	imgo__mpw_array(w, (uint32_t)n);
	for (size_t i = 0; i < n; i++) {
		imgo__mpw_array(w, 8);
		imgo__mpw_str(w, items[i].who);
		imgo__mpw_str(w, items[i].device);
		session_id_write(w, &items[i].id);
		imgo__mpw_uint(w, items[i].seq);
		rooms_write(w, items[i].rooms, items[i].nrooms);
	}
}

int imgo__gate_sessions_ask_read(
	struct imgo__mp *mp, struct imgo__arena *arena, struct imgo__gate_session **items, size_t *n)
{
	struct imgo__gate_session *list = items_read(mp, arena, sizeof *list, n);
	uint32_t have;

	*items = list;
	for (size_t i = 0; i < *n && !mp->err; i++) {
		open_array(mp, 8, &have);
		list[i].who = imgo__mp_str(mp, IMGO_USER_MAX);
		list[i].device = imgo__mp_str(mp, IMGO_DEVICE_MAX);
		list[i].id = session_id_read(mp);
		list[i].seq = imgo__mp_uint(mp);
		list[i].rooms = rooms_read(mp, arena, &list[i].nrooms);
		imgo__mp_skip_rest(mp, have, 8);
	}
	return mp->err;
}

/* A list of results must have one for each item that was asked about. */
static void open_results(struct imgo__mp *mp, size_t n)
{
	if (imgo__mp_array(mp, IMGO__GATE_ITEMS_MAX) != n && !mp->err)
		mp->err = IMGO_EPROTO;
}

void imgo__gate_sessions_answer_write(struct imgo__mpw *w, const struct imgo__gate_session *items, size_t n)
{
	imgo__mpw_array(w, (uint32_t)n);
	for (size_t i = 0; i < n; i++) {
		imgo__mpw_array(w, 2);
		imgo__mpw_int(w, items[i].err);
		imgo__mpw_uint(w, items[i].seq);
	}
}

int imgo__gate_sessions_answer_read(struct imgo__mp *mp, struct imgo__gate_session *items, size_t n)
{
	uint32_t have;

	open_results(mp, n);
	for (size_t i = 0; i < n && !mp->err; i++) {
		open_array(mp, 2, &have);
		items[i].err = imgo__mp_i32(mp);
		items[i].seq = imgo__mp_uint(mp);
		imgo__mp_skip_rest(mp, have, 2);
	}
	return mp->err;
}

/* ---- ack: [[who, device, id], …] -> [err, …] ---- */

void imgo__gate_acks_ask_write(struct imgo__mpw *w, const struct imgo__gate_ack *items, size_t n)
{
	imgo__mpw_array(w, (uint32_t)n);
	for (size_t i = 0; i < n; i++) {
		imgo__mpw_array(w, 4);
		imgo__mpw_str(w, items[i].who);
		imgo__mpw_str(w, items[i].device);
		imgo__id_write(w, items[i].id);
	}
}

int imgo__gate_acks_ask_read(struct imgo__mp *mp, struct imgo__arena *arena, struct imgo__gate_ack **items, size_t *n)
{
	struct imgo__gate_ack *list = items_read(mp, arena, sizeof *list, n);
	uint32_t have;

	*items = list;
	for (size_t i = 0; i < *n && !mp->err; i++) {
		open_array(mp, 4, &have);
		list[i].who = imgo__mp_str(mp, IMGO_USER_MAX);
		list[i].device = imgo__mp_str(mp, IMGO_DEVICE_MAX);
		list[i].id = imgo__id_read(mp);
		imgo__mp_skip_rest(mp, have, 4);
	}
	return mp->err;
}

void imgo__gate_acks_answer_write(struct imgo__mpw *w, const struct imgo__gate_ack *items, size_t n)
{
	imgo__mpw_array(w, (uint32_t)n);
	for (size_t i = 0; i < n; i++)
		imgo__mpw_int(w, items[i].err);
}

int imgo__gate_acks_answer_read(struct imgo__mp *mp, struct imgo__gate_ack *items, size_t n)
{
	open_results(mp, n);
	for (size_t i = 0; i < n && !mp->err; i++)
		items[i].err = imgo__mp_i32(mp);
	return mp->err;
}

/* ---- compare: [[who, device, delivered, acked], …] -> [[err, behind], …] ---- */

void imgo__gate_compares_ask_write(struct imgo__mpw *w, const struct imgo__gate_compare *items, size_t n)
{
	imgo__mpw_array(w, (uint32_t)n);
	for (size_t i = 0; i < n; i++) {
		imgo__mpw_array(w, 6);
		imgo__mpw_str(w, items[i].who);
		imgo__mpw_str(w, items[i].device);
		imgo__id_write(w, items[i].delivered);
		imgo__id_write(w, items[i].acked);
	}
}

int imgo__gate_compares_ask_read(
	struct imgo__mp *mp, struct imgo__arena *arena, struct imgo__gate_compare **items, size_t *n)
{
	struct imgo__gate_compare *list = items_read(mp, arena, sizeof *list, n);
	uint32_t have;

	*items = list;
	for (size_t i = 0; i < *n && !mp->err; i++) {
		open_array(mp, 6, &have);
		list[i].who = imgo__mp_str(mp, IMGO_USER_MAX);
		list[i].device = imgo__mp_str(mp, IMGO_DEVICE_MAX);
		list[i].delivered = imgo__id_read(mp);
		list[i].acked = imgo__id_read(mp);
		imgo__mp_skip_rest(mp, have, 6);
	}
	return mp->err;
}

void imgo__gate_compares_answer_write(struct imgo__mpw *w, const struct imgo__gate_compare *items, size_t n)
{
	imgo__mpw_array(w, (uint32_t)n);
	for (size_t i = 0; i < n; i++) {
		imgo__mpw_array(w, 2);
		imgo__mpw_int(w, items[i].err);
		imgo__mpw_bool(w, items[i].behind);
	}
}

int imgo__gate_compares_answer_read(struct imgo__mp *mp, struct imgo__gate_compare *items, size_t n)
{
	uint32_t have;

	open_results(mp, n);
	for (size_t i = 0; i < n && !mp->err; i++) {
		open_array(mp, 2, &have);
		items[i].err = imgo__mp_i32(mp);
		items[i].behind = imgo__mp_bool(mp);
		imgo__mp_skip_rest(mp, have, 2);
	}
	return mp->err;
}

/* ---- online: [room, …] -> [count, …] ---- */

void imgo__gate_online_ask_write(struct imgo__mpw *w, const struct imgo__gate_online *items, size_t n)
{
	imgo__mpw_array(w, (uint32_t)n);
	for (size_t i = 0; i < n; i++)
		imgo__mpw_str(w, items[i].room);
}

int imgo__gate_online_ask_read(struct imgo__mp *mp, struct imgo__arena *arena, struct imgo__gate_online **items, size_t *n)
{
	struct imgo__gate_online *list = items_read(mp, arena, sizeof *list, n);

	*items = list;
	for (size_t i = 0; i < *n && !mp->err; i++)
		list[i].room = imgo__mp_str(mp, IMGO_ROOM_MAX);
	return mp->err;
}

void imgo__gate_online_answer_write(struct imgo__mpw *w, const struct imgo__gate_online *items, size_t n)
{
	imgo__mpw_array(w, (uint32_t)n);
	for (size_t i = 0; i < n; i++)
		imgo__mpw_uint(w, items[i].count);
}

int imgo__gate_online_answer_read(struct imgo__mp *mp, struct imgo__gate_online *items, size_t n)
{
	open_results(mp, n);
	for (size_t i = 0; i < n && !mp->err; i++)
		items[i].count = imgo__mp_uint(mp);
	return mp->err;
}

/* ---- renew: [comet, inc, address, lease_ms, leaving, about] -> [list_version, epoch, partitions, [[inc], …]] ---- */

void imgo__gate_renew_ask_write(struct imgo__mpw *w, const struct imgo__gate_renew *call)
{
	imgo__mpw_array(w, 7);
	imgo__mpw_uint(w, call->registry.comet);
	imgo__incarnation_write(w, call->registry.inc);
	imgo__mpw_str(w, call->registry.address);
	imgo__mpw_uint(w, call->registry.lease_ms);
	imgo__mpw_bool(w, call->registry.leaving);
	imgo__regw_about(w, &call->registry.about);
}

int imgo__gate_renew_ask_read(struct imgo__mp *mp, struct imgo__gate_renew *call)
{
	uint32_t have;

	open_array(mp, 6, &have);
	call->registry.comet = imgo__mp_u32(mp);
	call->registry.inc = imgo__incarnation_read(mp);
	call->registry.address = imgo__mp_str(mp, IMGO_REGISTRY_ADDRESS_MAX);
	call->registry.lease_ms = imgo__mp_uint(mp);
	call->registry.leaving = imgo__mp_bool(mp);
	if (have > 6)
		imgo__regw_read_about(mp, &call->registry.about);
	imgo__mp_skip_rest(mp, have, have > 6 ? 7 : 6);
	return mp->err;
}

void imgo__gate_renew_answer_write(struct imgo__mpw *w, const struct imgo__gate_renew *call)
{
	imgo__mpw_array(w, 4);
	imgo__mpw_uint(w, call->registry.list_version);
	imgo__mpw_uint(w, call->epoch);
	imgo__mpw_uint(w, call->partitions);
	imgo__mpw_array(w, call->registry.nshards);
	for (uint32_t i = 0; i < call->registry.nshards; i++) {
		imgo__mpw_array(w, 2);
		imgo__incarnation_write(w, call->registry.shards[i].inc);
	}
}

int imgo__gate_renew_answer_read(struct imgo__mp *mp, struct imgo__gate_renew *call)
{
	uint32_t have, inner;

	open_array(mp, 4, &have);
	call->registry.list_version = imgo__mp_u32(mp);
	call->epoch = imgo__mp_u32(mp);
	call->partitions = imgo__mp_u32(mp);
	call->registry.nshards = imgo__mp_array(mp, IMGO_REGISTRY_SHARDS_MAX);
	for (uint32_t i = 0; i < call->registry.nshards && !mp->err; i++) {
		open_array(mp, 2, &inner);
		call->registry.shards[i].inc = imgo__incarnation_read(mp);
		imgo__mp_skip_rest(mp, inner, 2);
	}
	imgo__mp_skip_rest(mp, have, 4);
	return mp->err;
}
