/* SPDX-License-Identifier: MIT */
/*
 * Calls that go to every router.
 *
 *   renew      done if one answers and none refuses; what each said is in its place
 *   comets     the union of those that answer; of two incarnations of a comet the newer one, of equal ones
 * the sum count      the sum of all; half of it would be a wrong number, so every router must answer
 *   del_comet  every router must answer
 */
#include "registry/remote.h"

#include "registry/registry.h"
#include "registry/wire.h"

static int start(struct imgo__remote *remote, const struct imgo__remote_kind *kind, void *args, size_t results_size,
	imgo_registry_cb *cb, void *user)
{
	struct imgo__remote_join *join = imgo__remote_begin(remote, kind, args, 0, cb, user);

	if (!join)
		return IMGO_ENOMEM;
	if (results_size && !(join->results = imgo__arena_zalloc(&join->arena, remote->nrouters, results_size))) {
		imgo__remote_drop(join);
		return IMGO_ENOMEM;
	}
	for (uint32_t shard = 0; shard < remote->nrouters; shard++)
		imgo__remote_send(join, shard, NULL, 0);
	return imgo__remote_sent(join);
}

static void write_nil(struct imgo__mpw *w, const struct imgo__remote_part *part)
{
	(void)part;
	imgo__mpw_nil(w);
}

/* A refusal outweighs a failure. */
static void worse(struct imgo__remote_join *join, int err)
{
	if (join->err != IMGO_ESTALE)
		join->err = err;
}

/* ---- renew ---- */
static void renew_write(struct imgo__mpw *w, const struct imgo__remote_part *part)
{
	imgo__regw_renew(w, part->join->args);
}

static int renew_read(struct imgo__remote_part *part, int err, struct imgo__mp *mp)
{
	struct imgo_registry_renew *call = part->join->args;
	struct imgo_incarnation inc = {0, 0};
	int answer = err;

	if (mp && (err = imgo__regw_read_renew_answer(mp, &answer, &inc)) < 0)
		return err;
	if (answer)
		worse(part->join, answer);
	else
		call->shards[part->shard].inc = inc;
	return 0;
}

static int renew_finish(struct imgo__remote_join *join)
{
	struct imgo_registry_renew *call = join->args;
	struct imgo__remote *remote = join->remote;
	bool done = false;

	call->nshards = remote->nrouters;
	call->list_version = remote->newest > remote->list_version ? remote->newest : remote->list_version;
	for (uint32_t i = 0; i < call->nshards; i++)
		done |= call->shards[i].inc.start_us != 0;
	return done && join->err != IMGO_ESTALE ? 0 : join->err;
}

int imgo__remote_renew(void *impl, struct imgo_registry_renew *call, imgo_registry_cb *cb, void *user)
{
	static const struct imgo__remote_kind kind = {"registry.renew", renew_write, renew_read, renew_finish};

	return start(impl, &kind, call, 0, cb, user);
}

/* ---- comets ---- */
struct comets {
	struct imgo_comet_info *list;
	size_t n;
};

static int comets_read(struct imgo__remote_part *part, int err, struct imgo__mp *mp)
{
	struct comets *mine = (struct comets *)part->join->results + part->shard;

	if (!mp) {
		mine->n = 0;
		worse(part->join, err);
		return 0;
	}
	return imgo__regw_read_comets_answer(mp, &part->join->arena, &mine->list, &mine->n);
}

/* By comet, the newest incarnation first. */
static int by_comet(const void *a, const void *b)
{
	const struct imgo_comet_info *x = a, *y = b;

	if (x->comet != y->comet)
		return x->comet < y->comet ? -1 : 1;
	return imgo_incarnation_cmp(y->inc, x->inc);
}

static size_t merge_comets(struct imgo_comet_info *list, size_t n)
{
	size_t kept = 0;

	qsort(list, n, sizeof *list, by_comet);
	for (size_t i = 0; i < n; i++) {
		struct imgo_comet_info *last = kept ? &list[kept - 1] : NULL;
		if (!last || last->comet != list[i].comet)
			list[kept++] = list[i];
		else if (imgo_incarnation_cmp(last->inc, list[i].inc) == 0)
			last->sessions += list[i].sessions;
	}
	return kept;
}

static int comets_finish(struct imgo__remote_join *join)
{
	struct imgo_registry_comets *call = join->args;
	struct comets *all = join->results;
	struct imgo_comet_info *list;
	size_t n = 0;

	if (join->answered == 0)
		return join->err;
	for (uint32_t i = 0; i < join->remote->nrouters; i++)
		n += all[i].n;
	if (n == 0)
		return 0;
	list = imgo__arena_zalloc(&join->arena, n, sizeof *list);
	if (!list)
		return IMGO_ENOMEM;
	n = 0;
	for (uint32_t i = 0; i < join->remote->nrouters; i++) {
		if (all[i].n)
			memcpy(list + n, all[i].list, all[i].n * sizeof *list);
		n += all[i].n;
	}
	call->comets = list;
	call->n = merge_comets(list, n);
	return 0;
}

int imgo__remote_comets(void *impl, struct imgo_registry_comets *call, imgo_registry_cb *cb, void *user)
{
	static const struct imgo__remote_kind kind = {"registry.comets", write_nil, comets_read, comets_finish};

	return start(impl, &kind, call, sizeof(struct comets), cb, user);
}

/* ---- count ---- */
static void count_write(struct imgo__mpw *w, const struct imgo__remote_part *part)
{
	imgo__regw_count(w, part->join->args);
}

static int count_read(struct imgo__remote_part *part, int err, struct imgo__mp *mp)
{
	struct imgo_registry_count *mine = (struct imgo_registry_count *)part->join->results + part->shard;

	if (!mp) {
		worse(part->join, err);
		return 0;
	}
	return imgo__regw_read_count_answer(mp, &part->join->arena, mine);
}

static size_t merge_counts(struct imgo_room_count *list, size_t n)
{
	size_t kept = 0;

	imgo__registry_order_counts(list, n);
	for (size_t i = 0; i < n; i++)
		if (kept && imgo_str_eq(list[kept - 1].room, list[i].room))
			list[kept - 1].count += list[i].count;
		else
			list[kept++] = list[i];
	return imgo__registry_sort_counts(list, kept);
}

static int count_finish(struct imgo__remote_join *join)
{
	struct imgo_registry_count *call = join->args, *all = join->results;
	struct imgo_room_count *list;
	size_t n = 0;

	if (join->err)
		return join->err;
	for (uint32_t i = 0; i < join->remote->nrouters; i++)
		n += all[i].n;
	list = imgo__arena_zalloc(&join->arena, n + 1, sizeof *list);
	if (!list)
		return IMGO_ENOMEM;
	n = 0;
	for (uint32_t i = 0; i < join->remote->nrouters; i++) {
		call->sessions += all[i].sessions;
		call->users += all[i].users;
		if (all[i].n)
			memcpy(list + n, all[i].rooms, all[i].n * sizeof *list);
		n += all[i].n;
	}
	call->rooms = list;
	call->n = merge_counts(list, n);
	return 0;
}

int imgo__remote_count(void *impl, struct imgo_registry_count *call, imgo_registry_cb *cb, void *user)
{
	static const struct imgo__remote_kind kind = {"registry.count", count_write, count_read, count_finish};

	return start(impl, &kind, call, sizeof(struct imgo_registry_count), cb, user);
}

/* ---- del_comet ---- */
static void del_comet_write(struct imgo__mpw *w, const struct imgo__remote_part *part)
{
	imgo__mpw_uint(w, (uint32_t)(uintptr_t)part->join->args);
}

static int del_comet_read(struct imgo__remote_part *part, int err, struct imgo__mp *mp)
{
	int answer = mp ? imgo__mp_i32(mp) : err;

	if (mp && (imgo__mp_finish(mp) < 0 || answer > 0))
		return IMGO_EPROTO;
	if (answer)
		worse(part->join, answer);
	return 0;
}

static int del_comet_finish(struct imgo__remote_join *join)
{
	return join->err;
}

int imgo__remote_del_comet(void *impl, uint32_t comet, imgo_registry_cb *cb, void *user)
{
	static const struct imgo__remote_kind kind = {
		"registry.del_comet", del_comet_write, del_comet_read, del_comet_finish};

	return start(impl, &kind, (void *)(uintptr_t)comet, 0, cb, user);
}
