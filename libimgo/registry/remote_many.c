/* SPDX-License-Identifier: MIT */
/*
 * Calls of many users: a counting sort of the items' numbers by shard, then a part for each piece of a
 * shard's items that is small enough. Items of one user stay in their order, since the sort is stable and a
 * connection keeps its order.
 */
#include "registry/remote.h"

#include "registry/wire.h"

struct many {
	const struct imgo__remote_kind *kind;
	struct imgo_str (*user_of)(const void *items, size_t i);
	size_t (*bytes_of)(const void *items, size_t i); /* about; never less */
};

static void send_shard(
	struct imgo__remote_join *join, const struct many *many, uint32_t shard, const uint32_t *index, size_t n)
{
	while (n > 0) {
		size_t take = 0, bytes = 0;
		do {
			bytes += many->bytes_of(join->args, index[take]);
			take++;
		} while (take < n && take < IMGO__REGW_ITEMS && bytes < IMGO__REGW_BYTES);
		imgo__remote_send(join, shard, index, take);
		index += take;
		n -= take;
	}
}

/* The numbers of all items, by shard; ends[shard] is where it ends. */
static uint32_t *sort(struct imgo__remote_join *join, const struct many *many, uint32_t *ends)
{
	struct imgo__remote *remote = join->remote;
	uint32_t *index = imgo__arena_alloc(&join->arena, join->n * sizeof *index), sum = 0;
	uint8_t *shards = imgo__arena_alloc(&join->arena, join->n);

	if (!index || !shards)
		return NULL;
	memset(ends, 0, remote->nrouters * sizeof *ends);
	for (size_t i = 0; i < join->n; i++) {
		shards[i] = remote->shard_of[imgo_partition(many->user_of(join->args, i), remote->partitions)];
		ends[shards[i]]++;
	}
	for (uint32_t shard = 0; shard < remote->nrouters; shard++) {
		uint32_t count = ends[shard];
		ends[shard] = sum; /* its beginning, for now */
		sum += count;
	}
	for (size_t i = 0; i < join->n; i++)
		index[ends[shards[i]]++] = (uint32_t)i;
	return index;
}

static int start(void *impl, const struct many *many, void *items, size_t n, imgo_registry_cb *cb, void *user)
{
	uint32_t ends[IMGO_REGISTRY_SHARDS_MAX], *index, from = 0;
	struct imgo__remote *remote = impl;
	struct imgo__remote_join *join;

	if (n > UINT32_MAX / 2)
		return IMGO_EINVAL;
	join = imgo__remote_begin(remote, many->kind, items, n, cb, user);
	index = join ? sort(join, many, ends) : NULL;
	if (!index) {
		if (join)
			imgo__remote_drop(join);
		return IMGO_ENOMEM;
	}
	for (uint32_t shard = 0; shard < remote->nrouters; shard++) {
		send_shard(join, many, shard, index + from, ends[shard] - from);
		from = ends[shard];
	}
	return imgo__remote_sent(join);
}

static size_t rooms_bytes(const struct imgo_str *rooms, size_t n)
{
	size_t bytes = 3;

	for (size_t i = 0; i < n; i++)
		bytes += rooms[i].len + 3;
	return bytes;
}

enum { ID_BYTES = 5 + 3 * 9 };

/* ---- put ---- */
static void put_write(struct imgo__mpw *w, const struct imgo__remote_part *part)
{
	imgo__regw_put(w, part->join->args, part->index, part->n);
}

static int put_read(struct imgo__remote_part *part, int err, struct imgo__mp *mp)
{
	struct imgo_registry_put *items = part->join->args;

	if (mp)
		return imgo__regw_read_put_answer(mp, &part->join->arena, items, part->index, part->n);
	for (size_t i = 0; i < part->n; i++) {
		items[part->index[i]].err = err;
		items[part->index[i]].nevicted = 0;
	}
	return 0;
}

static struct imgo_str put_user(const void *items, size_t i)
{
	return ((const struct imgo_registry_put *)items)[i].session.user;
}

static size_t put_bytes(const void *items, size_t i)
{
	const struct imgo_session *s = &((const struct imgo_registry_put *)items)[i].session;

	return ID_BYTES + s->user.len + s->device.len + 24 + rooms_bytes(s->rooms, s->nrooms);
}

int imgo__remote_put(void *impl, struct imgo_registry_put *items, size_t n, imgo_registry_cb *cb, void *user)
{
	static const struct imgo__remote_kind kind = {"registry.put", put_write, put_read, NULL};
	static const struct many many = {&kind, put_user, put_bytes};

	return start(impl, &many, items, n, cb, user);
}

/* ---- del ---- */
static void del_write(struct imgo__mpw *w, const struct imgo__remote_part *part)
{
	imgo__regw_del(w, part->join->args, part->index, part->n);
}

static int del_read(struct imgo__remote_part *part, int err, struct imgo__mp *mp)
{
	struct imgo_registry_del *items = part->join->args;

	if (mp)
		return imgo__regw_read_del_answer(mp, items, part->index, part->n);
	for (size_t i = 0; i < part->n; i++)
		items[part->index[i]].err = err;
	return 0;
}

static struct imgo_str del_user(const void *items, size_t i)
{
	return ((const struct imgo_registry_del *)items)[i].user;
}

static size_t del_bytes(const void *items, size_t i)
{
	return ID_BYTES + 4 + del_user(items, i).len;
}

int imgo__remote_del(void *impl, struct imgo_registry_del *items, size_t n, imgo_registry_cb *cb, void *user)
{
	static const struct imgo__remote_kind kind = {"registry.del", del_write, del_read, NULL};
	static const struct many many = {&kind, del_user, del_bytes};

	return start(impl, &many, items, n, cb, user);
}

/* ---- get ---- */
static void get_write(struct imgo__mpw *w, const struct imgo__remote_part *part)
{
	imgo__regw_get(w, part->join->args, part->index, part->n);
}

static int get_read(struct imgo__remote_part *part, int err, struct imgo__mp *mp)
{
	struct imgo_registry_get *items = part->join->args;

	if (mp)
		return imgo__regw_read_get_answer(mp, &part->join->arena, items, part->index, part->n);
	for (size_t i = 0; i < part->n; i++) {
		items[part->index[i]].err = err;
		items[part->index[i]].nsessions = 0;
	}
	return 0;
}

static struct imgo_str get_user(const void *items, size_t i)
{
	return ((const struct imgo_registry_get *)items)[i].user;
}

static size_t get_bytes(const void *items, size_t i)
{
	return 3 + get_user(items, i).len;
}

int imgo__remote_get(void *impl, struct imgo_registry_get *items, size_t n, imgo_registry_cb *cb, void *user)
{
	static const struct imgo__remote_kind kind = {"registry.get", get_write, get_read, NULL};
	static const struct many many = {&kind, get_user, get_bytes};

	return start(impl, &many, items, n, cb, user);
}

/* ---- rooms ---- */
static void rooms_write(struct imgo__mpw *w, const struct imgo__remote_part *part)
{
	imgo__regw_rooms(w, part->join->args, part->index, part->n);
}

static int rooms_read(struct imgo__remote_part *part, int err, struct imgo__mp *mp)
{
	struct imgo_registry_rooms *items = part->join->args;

	if (mp)
		return imgo__regw_read_rooms_answer(mp, items, part->index, part->n);
	for (size_t i = 0; i < part->n; i++)
		items[part->index[i]].err = err;
	return 0;
}

static struct imgo_str rooms_user(const void *items, size_t i)
{
	return ((const struct imgo_registry_rooms *)items)[i].user;
}

static size_t rooms_item_bytes(const void *items, size_t i)
{
	const struct imgo_registry_rooms *item = &((const struct imgo_registry_rooms *)items)[i];

	return ID_BYTES + 4 + item->user.len + rooms_bytes(item->rooms, item->nrooms);
}

int imgo__remote_rooms(void *impl, struct imgo_registry_rooms *items, size_t n, imgo_registry_cb *cb, void *user)
{
	static const struct imgo__remote_kind kind = {"registry.rooms", rooms_write, rooms_read, NULL};
	static const struct many many = {&kind, rooms_user, rooms_item_bytes};

	return start(impl, &many, items, n, cb, user);
}
