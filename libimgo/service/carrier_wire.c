/* SPDX-License-Identifier: MIT */
#include "service/carrier_wire.h"

void imgo__id_write(struct imgo__mpw *w, struct imgo_id id)
{
	imgo__mpw_uint(w, id.epoch);
	imgo__mpw_uint(w, id.id);
}

struct imgo_id imgo__id_read(struct imgo__mp *mp)
{
	struct imgo_id id;

	id.epoch = imgo__mp_u32(mp);
	id.id = imgo__mp_uint(mp);
	return id;
}

void imgo__incarnation_write(struct imgo__mpw *w, struct imgo_incarnation inc)
{
	imgo__mpw_uint(w, inc.start_us);
	imgo__mpw_uint(w, inc.random);
}

struct imgo_incarnation imgo__incarnation_read(struct imgo__mp *mp)
{
	struct imgo_incarnation inc;

	inc.start_us = imgo__mp_uint(mp);
	inc.random = imgo__mp_uint(mp);
	return inc;
}

/* ---- tell ---- */

void imgo__tell_write(struct imgo__mpw *w, const struct imgo__tell *tells, size_t n)
{
	imgo__mpw_array(w, (uint32_t)n);
	for (size_t i = 0; i < n; i++) {
		const struct imgo__tell *tell = &tells[i];
		imgo__mpw_array(w, 5);
		imgo__id_write(w, tell->id);
		imgo__mpw_int(w, tell->op);
		imgo__mpw_bin(w, tell->body.p, tell->body.len);
		imgo__mpw_array(w, (uint32_t)tell->ntargets);
		for (size_t j = 0; j < tell->ntargets; j++) {
			const struct imgo__tell_target *target = &tell->targets[j];
			imgo__mpw_array(w, 4);
			imgo__mpw_uint(w, target->n);
			imgo__mpw_str(w, target->who);
			imgo__id_write(w, target->prev);
		}
	}
}

/* The targets of a tell (fields 4), or of a cast to sessions or keys (2). */
static struct imgo__tell_target *read_targets(struct imgo__mp *mp, struct imgo__arena *arena, uint32_t fields, size_t *n)
{
	uint32_t count = imgo__mp_array(mp, IMGO__CARRIER_ITEMS_MAX);
	struct imgo__tell_target *targets;

	*n = 0;
	if (mp->err || count == 0)
		return NULL;
	targets = imgo__arena_zalloc(arena, count, sizeof *targets);
	if (!targets)
		return NULL;
	*n = count;
	for (uint32_t i = 0; i < count && !mp->err; i++) {
		uint32_t have = imgo__mp_array(mp, 16);
		if (have < fields)
			mp->err = IMGO_EPROTO;
		targets[i].n = imgo__mp_uint(mp);
		targets[i].who = imgo__mp_str(mp, fields == 4 ? IMGO_USER_MAX : IMGO_ENVELOPE_KEY_MAX);
		if (fields == 4)
			targets[i].prev = imgo__id_read(mp);
		imgo__mp_skip_rest(mp, have, fields);
	}
	return targets;
}

/* Memory for the items of a list whose count has been read; NULL with *err set when that fails. */
static void *items_new(struct imgo__mp *mp, struct imgo__arena *arena, uint32_t count, size_t size, int *err)
{
	void *items;

	*err = mp->err;
	if (*err || count == 0)
		return NULL;
	items = imgo__arena_zalloc(arena, count, size);
	if (!items)
		*err = IMGO_ENOMEM;
	return items;
}

int imgo__tell_read(struct imgo__mp *mp, struct imgo__arena *arena, struct imgo__tell **out, size_t *n)
{
	uint32_t count = imgo__mp_array(mp, IMGO__CARRIER_ITEMS_MAX);
	int err;
	struct imgo__tell *tells = items_new(mp, arena, count, sizeof *tells, &err);

	*out = tells;
	*n = tells ? count : 0;
	for (uint32_t i = 0; tells && i < count && !mp->err; i++) {
		uint32_t have = imgo__mp_array(mp, 16);
		if (have < 5)
			mp->err = IMGO_EPROTO;
		tells[i].id = imgo__id_read(mp);
		tells[i].op = imgo__mp_i32(mp);
		tells[i].body = imgo__mp_str(mp, IMGO_BODY_MAX);
		tells[i].targets = read_targets(mp, arena, 4, &tells[i].ntargets);
		imgo__mp_skip_rest(mp, have, 5);
	}
	return err ? err : mp->err;
}

/* ---- cast ---- */

void imgo__cast_write(struct imgo__mpw *w, const struct imgo__cast *casts, size_t n)
{
	imgo__mpw_array(w, (uint32_t)n);
	for (size_t i = 0; i < n; i++) {
		const struct imgo__cast *cast = &casts[i];
		imgo__mpw_array(w, 9);
		imgo__mpw_uint(w, cast->kind);
		imgo__mpw_uint(w, cast->partition);
		imgo__id_write(w, cast->id);
		imgo__mpw_int(w, cast->op);
		imgo__mpw_str(w, cast->room);
		imgo__mpw_bin(w, cast->body.p, cast->body.len);
		imgo__mpw_array(w, (uint32_t)cast->ntargets);
		for (size_t j = 0; j < cast->ntargets; j++) {
			imgo__mpw_array(w, 2);
			imgo__mpw_uint(w, cast->targets[j].n);
			imgo__mpw_str(w, cast->targets[j].who);
		}
		imgo__mpw_uint(w, cast->speed);
	}
}

int imgo__cast_read(struct imgo__mp *mp, struct imgo__arena *arena, struct imgo__cast **out, size_t *n)
{
	uint32_t count = imgo__mp_array(mp, IMGO__CARRIER_ITEMS_MAX);
	int err;
	struct imgo__cast *casts = items_new(mp, arena, count, sizeof *casts, &err);

	*out = casts;
	*n = casts ? count : 0;
	for (uint32_t i = 0; casts && i < count && !mp->err; i++) {
		uint32_t have = imgo__mp_array(mp, 16);
		uint64_t kind = imgo__mp_uint(mp);
		if (have < 8 || kind < IMGO_ENVELOPE_DIRECT || kind > IMGO_ENVELOPE_KEYS)
			mp->err = IMGO_EPROTO;
		casts[i].kind = (enum imgo_envelope_kind)kind;
		casts[i].partition = imgo__mp_u32(mp);
		casts[i].id = imgo__id_read(mp);
		casts[i].op = imgo__mp_i32(mp);
		casts[i].room = imgo__mp_str(mp, IMGO_ROOM_MAX);
		casts[i].body = imgo__mp_str(mp, IMGO_BODY_MAX);
		casts[i].targets = read_targets(mp, arena, 2, &casts[i].ntargets);
		casts[i].speed = have > 8 ? imgo__mp_u32(mp) : 0;
		imgo__mp_skip_rest(mp, have, have > 8 ? 9 : 8);
	}
	return err ? err : mp->err;
}

/* ---- kick ---- */

void imgo__kick_write(struct imgo__mpw *w, const struct imgo__kick *kicks, size_t n)
{
	imgo__mpw_array(w, (uint32_t)n);
	for (size_t i = 0; i < n; i++) {
		imgo__mpw_array(w, 3);
		imgo__mpw_uint(w, kicks[i].n);
		imgo__mpw_str(w, kicks[i].who);
		imgo__mpw_int(w, kicks[i].why);
	}
}

int imgo__kick_read(struct imgo__mp *mp, struct imgo__arena *arena, struct imgo__kick **out, size_t *n)
{
	uint32_t count = imgo__mp_array(mp, IMGO__CARRIER_ITEMS_MAX);
	int err;
	struct imgo__kick *kicks = items_new(mp, arena, count, sizeof *kicks, &err);

	*out = kicks;
	*n = kicks ? count : 0;
	for (uint32_t i = 0; kicks && i < count && !mp->err; i++) {
		uint32_t have = imgo__mp_array(mp, 16);
		if (have < 3)
			mp->err = IMGO_EPROTO;
		kicks[i].n = imgo__mp_uint(mp);
		kicks[i].who = imgo__mp_str(mp, IMGO_USER_MAX);
		kicks[i].why = imgo__mp_i32(mp);
		imgo__mp_skip_rest(mp, have, 3);
	}
	return err ? err : mp->err;
}
