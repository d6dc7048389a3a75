/* SPDX-License-Identifier: MIT */
/*
 * The registry in memory: the calls. A call is queued, and at the end of the loop's turn all that are queued
 * are done in order, each one's callback at once behind it. So nothing changes between a call's work and its
 * callback, and results point straight at the records: nothing is copied but the list of what was found.
 */
#include "registry/memory.h"

#include "base/error.h"
#include "base/mem.h"
#include "registry/registry.h"

enum kind { PUT, DEL, GET, ROOMS, RENEW, COMETS, COUNT, DEL_COMET };

struct call {
	struct imgo__list link;
	enum kind kind;
	uint32_t comet; /* DEL_COMET */
	void *args;
	size_t n;
	imgo_registry_cb *cb;
	void *user;
};

/* ---- scratch arrays for results, kept from call to call ---- */
void *imgo__scratch_add(struct imgo__scratch *scratch)
{
	if (scratch->n == scratch->cap) {
		size_t cap = scratch->cap ? scratch->cap * 2 : 64;
		void *p = imgo__regrow(scratch->p, cap, scratch->size);
		if (!p)
			return NULL;
		scratch->p = p;
		scratch->cap = cap;
	}
	return (char *)scratch->p + scratch->n++ * scratch->size;
}

/* Ready for the next call; what a rare large one took is given back. */
static void scratch_reset(struct imgo__scratch *scratch)
{
	scratch->n = 0;
	if (scratch->cap * scratch->size <= 1 << 20)
		return;
	free(scratch->p);
	scratch->p = NULL;
	scratch->cap = 0;
}

static int do_put(struct imgo__memory *reg, struct imgo_registry_put *items, size_t n)
{
	struct imgo_session_id *ids;

	for (size_t i = 0; i < n; i++)
		items[i].err = imgo__memory_put(reg, &items[i]);
	ids = reg->ids.p; /* it does not move any more */
	for (size_t i = 0; i < n; i++) {
		items[i].evicted = ids;
		if (items[i].nevicted)
			ids += items[i].nevicted;
	}
	return 0;
}

static int do_del(struct imgo__memory *reg, struct imgo_registry_del *items, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		struct imgo__reg_session *s = imgo__reg_find(reg, items[i].user, items[i].id);
		if (s)
			imgo__lease_forget(reg, s);
		items[i].err = 0;
	}
	return 0;
}

static int get_one(struct imgo__memory *reg, struct imgo_registry_get *item)
{
	item->nsessions = 0;
	for (struct imgo__reg_session *s = imgo__reg_first(&reg->sessions, item->user); s; s = imgo__reg_next(s)) {
		struct imgo_session *found;
		if (!imgo__reg_alive(reg, s))
			continue;
		found = imgo__scratch_add(&reg->found);
		if (!found) {
			reg->found.n -= item->nsessions;
			item->nsessions = 0;
			return IMGO_ENOMEM;
		}
		found->id = imgo__reg_id(reg, s);
		found->user = imgo__reg_user(s);
		found->device = imgo__reg_device(s);
		found->seq = s->seq;
		found->rooms = NULL;
		found->nrooms = 0;
		item->nsessions++;
	}
	return 0;
}

static int do_get(struct imgo__memory *reg, struct imgo_registry_get *items, size_t n)
{
	const struct imgo_session *found;

	for (size_t i = 0; i < n; i++)
		items[i].err = get_one(reg, &items[i]);
	found = reg->found.p;
	for (size_t i = 0; i < n; i++) {
		items[i].sessions = items[i].nsessions ? found : NULL;
		if (items[i].nsessions)
			found += items[i].nsessions;
	}
	return 0;
}

static int do_rooms(struct imgo__memory *reg, struct imgo_registry_rooms *items, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		struct imgo__reg_session *s = imgo__reg_find(reg, items[i].user, items[i].id);
		items[i].err = s ? imgo__reg_rooms_set(&reg->rooms, s, items[i].rooms, items[i].nrooms) : IMGO_ENOTFOUND;
	}
	return 0;
}

static int by_comet(const void *a, const void *b)
{
	const struct imgo_comet_info *x = a, *y = b;
	return x->comet < y->comet ? -1 : x->comet > y->comet;
}

/* A provisional lease is not listed: nobody knows how to reach that comet yet. */
static int do_comets(struct imgo__memory *reg, struct imgo_registry_comets *call)
{
	for (uint32_t i = 0; i < reg->nleases; i++) {
		const struct imgo__lease *lease = reg->leases[i];
		struct imgo_comet_info *info;
		if (!lease || !lease->live || lease->provisional)
			continue;
		info = imgo__scratch_add(&reg->infos);
		if (!info)
			return IMGO_ENOMEM;
		info->comet = lease->comet;
		info->inc = lease->inc;
		info->address = imgo_strn(lease->address, lease->address_len);
		info->sessions = lease->nsessions;
		info->about = lease->about;
	}
	call->comets = reg->infos.p;
	call->n = reg->infos.n;
	if (call->n)
		qsort(reg->infos.p, call->n, sizeof(struct imgo_comet_info), by_comet);
	return 0;
}

static int count_room(struct imgo__memory *reg, struct imgo_str key, uint64_t n)
{
	struct imgo_room_count *count = imgo__scratch_add(&reg->counts);

	if (!count)
		return IMGO_ENOMEM;
	*count = (struct imgo_room_count){key, n};
	return 0;
}

static bool has_prefix(struct imgo_str key, struct imgo_str prefix)
{
	return key.len >= prefix.len && imgo_str_eq(imgo_strn(key.p, prefix.len), prefix);
}

/* All whose key begins with the prefix. */
static int count_rooms(struct imgo__memory *reg, struct imgo_str prefix)
{
	const struct imgo__map_node *node = NULL;
	int err = 0;

	if (reg->rooms.roomless && prefix.len == 0)
		err = count_room(reg, imgo_str(""), reg->rooms.roomless);
	while (err == 0 && (node = imgo__map_next(&reg->rooms.map, node)) != NULL) {
		const struct imgo__reg_room *room = imgo__container_of(node, struct imgo__reg_room, node);
		if (has_prefix(imgo_strn(room->key, room->len), prefix))
			err = count_room(reg, imgo_strn(room->key, room->len), room->count);
	}
	return err;
}

static int count_only(struct imgo__memory *reg, const struct imgo_str *rooms, size_t n)
{
	int err = 0;

	for (size_t i = 0; err == 0 && i < n; i++) {
		const struct imgo__map_node *node = imgo__map_get(&reg->rooms.map, rooms[i]);
		const struct imgo__reg_room *room = node ? imgo__container_of(node, struct imgo__reg_room, node) : NULL;
		if (room)
			err = count_room(reg, imgo_strn(room->key, room->len), room->count);
	}
	return err;
}

/* Of sorted ones. */
static size_t drop_doubles(struct imgo_room_count *counts, size_t n)
{
	size_t kept = 0;

	for (size_t i = 0; i < n; i++) {
		if (kept == 0 || !imgo_str_eq(counts[kept - 1].room, counts[i].room))
			counts[kept++] = counts[i];
	}
	return kept;
}

static int do_count(struct imgo__memory *reg, struct imgo_registry_count *call)
{
	int err;

	call->users = reg->sessions.users;
	call->sessions = 0;
	for (uint32_t i = 0; i < reg->nleases; i++)
		if (reg->leases[i] && reg->leases[i]->live)
			call->sessions += reg->leases[i]->nsessions;
	err = call->nonly ? count_only(reg, call->only, call->nonly) : count_rooms(reg, call->prefix);
	if (err < 0)
		return err;
	call->rooms = reg->counts.p;
	call->n = imgo__registry_sort_counts(reg->counts.p, reg->counts.n);
	if (call->nonly)
		call->n = drop_doubles(reg->counts.p, call->n);
	return 0;
}

static int do_del_comet(struct imgo__memory *reg, uint32_t comet)
{
	struct imgo__lease *lease = imgo__lease_get(reg, comet);

	return lease ? imgo__lease_clear(reg, lease) : 0;
}

/* ---- the queue of calls ---- */
static int perform(struct imgo__memory *reg, struct call *call)
{
	switch (call->kind) {
	case PUT:
		return do_put(reg, call->args, call->n);
	case DEL:
		return do_del(reg, call->args, call->n);
	case GET:
		return do_get(reg, call->args, call->n);
	case ROOMS:
		return do_rooms(reg, call->args, call->n);
	case RENEW:
		return imgo__lease_renew(reg, call->args);
	case COMETS:
		return do_comets(reg, call->args);
	case COUNT:
		return do_count(reg, call->args);
	case DEL_COMET:
		return do_del_comet(reg, call->comet);
	}
	return IMGO_EINVAL;
}

static void destroy(struct imgo__memory *reg)
{
	imgo__task_cancel(&reg->task);
	imgo__collector_remove(&reg->collector);
	imgo__gauge_set(&reg->sessions_known, 0);
	imgo__gauge_set(&reg->users_known, 0);
	imgo__gauge_set(&reg->rooms_known, 0);
	imgo__gauge_set(&reg->leases_live, 0);
	imgo__leases_fini(reg);
	imgo__reg_sessions_fini(&reg->sessions);
	imgo__reg_rooms_fini(&reg->rooms);
	free(reg->ids.p);
	free(reg->found.p);
	free(reg->infos.p);
	free(reg->counts.p);
	free(reg);
}

static void run_calls(struct imgo_loop *loop, struct imgo__task *task)
{
	struct imgo__memory *reg = imgo__container_of(task, struct imgo__memory, task);
	struct imgo__list now, *link;

	(void)loop;
	imgo__list_take(&now, &reg->calls);
	reg->running = true;
	while ((link = imgo__list_pop(&now)) != NULL || (reg->freed && (link = imgo__list_pop(&reg->calls)) != NULL)) {
		struct call *call = imgo__container_of(link, struct call, link);
		int err = reg->freed ? IMGO_ECANCELED : perform(reg, call);
		call->cb(err, call->user);
		free(call);
		scratch_reset(&reg->ids);
		scratch_reset(&reg->found);
		scratch_reset(&reg->infos);
		scratch_reset(&reg->counts);
	}
	reg->running = false;
	if (reg->freed)
		destroy(reg);
}

static void memory_free(void *impl)
{
	struct imgo__memory *reg = impl;

	reg->freed = true;
	if (!reg->running)
		run_calls(reg->loop, &reg->task);
}

static int enqueue(struct imgo__memory *reg, enum kind kind, void *args, size_t n, imgo_registry_cb *cb, void *user)
{
	struct call *call = imgo__zalloc(sizeof *call);

	if (!call)
		return IMGO_ENOMEM;
	call->kind = kind;
	call->args = args;
	call->n = n;
	call->cb = cb;
	call->user = user;
	imgo__list_insert(&reg->calls, &call->link);
	imgo__defer(reg->loop, &reg->task);
	return 0;
}

static int memory_put(void *impl, struct imgo_registry_put *items, size_t n, imgo_registry_cb *cb, void *user)
{
	return enqueue(impl, PUT, items, n, cb, user);
}

static int memory_del(void *impl, struct imgo_registry_del *items, size_t n, imgo_registry_cb *cb, void *user)
{
	return enqueue(impl, DEL, items, n, cb, user);
}

static int memory_get(void *impl, struct imgo_registry_get *items, size_t n, imgo_registry_cb *cb, void *user)
{
	return enqueue(impl, GET, items, n, cb, user);
}

static int memory_rooms(void *impl, struct imgo_registry_rooms *items, size_t n, imgo_registry_cb *cb, void *user)
{
	return enqueue(impl, ROOMS, items, n, cb, user);
}

static int memory_renew(void *impl, struct imgo_registry_renew *call, imgo_registry_cb *cb, void *user)
{
	return enqueue(impl, RENEW, call, 1, cb, user);
}

static int memory_comets(void *impl, struct imgo_registry_comets *call, imgo_registry_cb *cb, void *user)
{
	return enqueue(impl, COMETS, call, 1, cb, user);
}

static int memory_count(void *impl, struct imgo_registry_count *call, imgo_registry_cb *cb, void *user)
{
	return enqueue(impl, COUNT, call, 1, cb, user);
}

static int memory_del_comet(void *impl, uint32_t comet, imgo_registry_cb *cb, void *user)
{
	struct imgo__memory *reg = impl;
	int err = enqueue(reg, DEL_COMET, NULL, 1, cb, user);

	if (err == 0)
		imgo__container_of(reg->calls.prev, struct call, link)->comet = comet;
	return err;
}

static const struct imgo_registry_ops memory_ops = {
	.size = sizeof(struct imgo_registry_ops),
	.free = memory_free,
	.put_many = memory_put,
	.del_many = memory_del,
	.get_many = memory_get,
	.rooms_many = memory_rooms,
	.renew = memory_renew,
	.comets = memory_comets,
	.count = memory_count,
	.del_comet = memory_del_comet,
};

static void collect(struct imgo__collector *collector)
{
	struct imgo__memory *reg = imgo__container_of(collector, struct imgo__memory, collector);
	int64_t sessions = 0, leases = 0;

	for (uint32_t i = 0; i < reg->nleases; i++) {
		if (!reg->leases[i] || !reg->leases[i]->live)
			continue;
		leases++;
		sessions += (int64_t)reg->leases[i]->nsessions;
	}
	imgo__gauge_set(&reg->sessions_known, sessions);
	imgo__gauge_set(&reg->users_known, (int64_t)reg->sessions.users);
	imgo__gauge_set(&reg->rooms_known, (int64_t)reg->rooms.map.n);
	imgo__gauge_set(&reg->leases_live, leases);
}

static void enter_stats(struct imgo__memory *reg)
{
	struct imgo_stats *set = imgo_loop_stats(reg->loop);

	reg->sessions_known.stat = imgo_stats_gauge(set, "imgo_registry_sessions", "sessions under a live lease");
	reg->users_known.stat = imgo_stats_gauge(set, "imgo_registry_users", "users with a session");
	reg->rooms_known.stat = imgo_stats_gauge(set, "imgo_registry_rooms", "rooms with a session");
	reg->leases_live.stat = imgo_stats_gauge(set, "imgo_registry_leases", "comets with a live lease");
	reg->leases_begun =
		imgo_stats_counter(set, "imgo_registry_leases_begun_total", "leases given to a comet's process");
	reg->leases_ended =
		imgo_stats_counter(set, "imgo_registry_leases_ended_total", "leases that were not renewed in time");
	reg->leases_refused = imgo_stats_counter(
		set, "imgo_registry_leases_refused_total", "renewals by a process whose comet.id a newer one has");
	imgo__collector_add(reg->loop, &reg->collector, collect);
}

int imgo_registry_new_memory(struct imgo_registry **out, struct imgo_loop *loop, struct imgo_error *error)
{
	struct imgo__memory *reg = imgo__zalloc(sizeof *reg);

	if (!reg || (reg->loop = loop, imgo__reg_sessions_init(&reg->sessions, loop)) < 0) {
		free(reg);
		return imgo__fail(error, IMGO_ENOMEM, "registry: out of memory");
	}
	imgo__reg_rooms_init(&reg->rooms);
	imgo__leases_init(reg);
	enter_stats(reg);
	imgo__list_init(&reg->calls);
	imgo__task_init(&reg->task, run_calls);
	reg->ids.size = sizeof(struct imgo_session_id);
	reg->found.size = sizeof(struct imgo_session);
	reg->infos.size = sizeof(struct imgo_comet_info);
	reg->counts.size = sizeof(struct imgo_room_count);
	if (imgo_registry_new_custom(out, loop, &memory_ops, reg) < 0)
		return imgo__fail(error, IMGO_ENOMEM, "registry: out of memory");
	return 0;
}
