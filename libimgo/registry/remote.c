/* SPDX-License-Identifier: MIT */
/*
 * The registry of the routers. A call becomes parts, one RPC each: those of many users are split by the shard
 * of each user (and into pieces of a bounded size), the others go to every router. A part that fails concerns
 * its own items only. When the last part has ended, the call has: that is a join.
 *
 * Each RPC carries the number of our list of routers, each answer the router's. When a router's is higher,
 * our list is old: its answer is empty then (IMGO_EVERSION), because what we would put or find there may be
 * in the wrong place.
 */
#include "registry/remote.h"

#include "base/error.h"
#include "base/options.h"
#include "registry/shards.h"

/* ---- joins ---- */
struct imgo__remote_join *imgo__remote_begin(struct imgo__remote *remote, const struct imgo__remote_kind *kind,
	void *args, size_t n, imgo_registry_cb *cb, void *user)
{
	struct imgo__remote_join *join = imgo__zalloc(sizeof *join);

	if (!join)
		return NULL;
	join->remote = remote;
	join->kind = kind;
	join->args = args;
	join->n = n;
	join->cb = cb;
	join->user = user;
	join->pending = 1; /* until all is sent */
	imgo__list_init(&join->link);
	imgo__list_insert(&remote->joins, &join->link);
	return join;
}

void imgo__remote_drop(struct imgo__remote_join *join)
{
	imgo__list_remove(&join->link);
	imgo__arena_free(&join->arena);
	free(join);
}

static void complete(struct imgo__remote_join *join)
{
	struct imgo__remote *remote = join->remote;
	int err = join->kind->finish ? join->kind->finish(join) : 0;

	imgo__list_remove(&join->link);
	remote->depth++;
	join->cb(remote->freed ? IMGO_ECANCELED : err, join->user);
	remote->depth--;
	imgo__remote_drop(join);
}

/* ---- parts ---- */
static void told(struct imgo__remote *remote, uint32_t list_version)
{
	if (list_version <= remote->list_version)
		return;
	imgo_stat_add(remote->stat_behind, 1);
	if (list_version <= remote->newest)
		return;
	remote->newest = list_version;
	imgo_log_event(imgo_loop_log(remote->loop), IMGO_LOG_ERROR, "registry", "router-list-old", "ours=%u theirs=%u",
		remote->list_version, list_version);
}

/* Stands before the answer proper, or returns why there is none. */
static int open_answer(struct imgo__remote *remote, struct imgo__mp *mp)
{
	uint32_t n = imgo__mp_array(mp, 2), list_version = imgo__mp_u32(mp);

	if (n != 2 || mp->err)
		return IMGO_EPROTO;
	told(remote, list_version);
	return list_version > remote->list_version && imgo__mp_nil(mp) ? IMGO_EVERSION : 0;
}

static void end_part(struct imgo__remote_part *part, int err, struct imgo__mp *mp)
{
	struct imgo__remote_join *join = part->join;

	if (err == 0)
		err = open_answer(join->remote, mp);
	if (err == IMGO_ECLOSED)
		err = IMGO_EUNAVAILABLE; /* everything may be repeated, so the difference is of no use to the
					    caller */
	if (err == 0) {
		err = join->kind->read(part, 0, mp);
		join->answered += err == 0;
	}
	if (err)
		(void)join->kind->read(part, err, NULL);
	join->pending--;
}

static void on_reply(int err, struct imgo__mp *result, void *user)
{
	struct imgo__remote_part *part = user;
	struct imgo__remote_join *join = part->join;

	end_part(part, err, result);
	if (join->pending == 0)
		complete(join);
}

void imgo__remote_send(struct imgo__remote_join *join, uint32_t shard, const uint32_t *index, size_t n)
{
	struct imgo__remote_part *part = imgo__arena_zalloc(&join->arena, 1, sizeof *part), lost = {0};
	struct imgo__rpc_client *client = join->remote->clients[shard];
	struct imgo__remote_part *p = part ? part : &lost;
	struct imgo__mpw *w;
	int err = IMGO_ENOMEM;

	p->join = join;
	p->shard = shard;
	p->index = index;
	p->n = n;
	join->pending++;
	if (part) {
		w = imgo__rpc_begin_call(client, join->kind->method, 2);
		imgo__mpw_uint(w, join->remote->list_version);
		join->kind->write(w, part);
		err = imgo__rpc_send(client, 0, on_reply, part);
	}
	if (err)
		end_part(p, err, NULL);
}

int imgo__remote_sent(struct imgo__remote_join *join)
{
	if (--join->pending == 0)
		imgo__defer(join->remote->loop, &join->remote->settle);
	return 0;
}

/* Completes what ended before it was sent. A callback may change the list, so it is searched anew. */
static bool settle_one(struct imgo__remote *remote)
{
	imgo__list_for(link, &remote->joins)
	{
		struct imgo__remote_join *join = imgo__container_of(link, struct imgo__remote_join, link);
		if (join->pending == 0) {
			complete(join);
			return true;
		}
	}
	return false;
}

static void on_settle(struct imgo_loop *loop, struct imgo__task *task)
{
	(void)loop;
	while (settle_one(imgo__container_of(task, struct imgo__remote, settle)))
		;
}

/* ---- life ---- */
static void destroy(struct imgo__remote *remote)
{
	for (uint32_t i = 0; i < remote->nrouters; i++)
		imgo__rpc_client_free(remote->clients[i]);
	while (settle_one(remote))
		;
	imgo__task_cancel(&remote->settle);
	imgo__task_cancel(&remote->destroy);
	free(remote->shard_of);
	free(remote);
}

static void on_destroy(struct imgo_loop *loop, struct imgo__task *task)
{
	(void)loop;
	destroy(imgo__container_of(task, struct imgo__remote, destroy));
}

static void remote_free(void *impl)
{
	struct imgo__remote *remote = impl;

	if (remote->freed)
		return;
	remote->freed = true;
	if (remote->depth == 0)
		destroy(remote);
	else
		imgo__defer(remote->loop, &remote->destroy);
}

static const struct imgo_registry_ops remote_ops = {
	.size = sizeof(struct imgo_registry_ops),
	.free = remote_free,
	.put_many = imgo__remote_put,
	.del_many = imgo__remote_del,
	.get_many = imgo__remote_get,
	.rooms_many = imgo__remote_rooms,
	.renew = imgo__remote_renew,
	.comets = imgo__remote_comets,
	.count = imgo__remote_count,
	.del_comet = imgo__remote_del_comet,
};

static int add_router(struct imgo__remote *remote, struct imgo_str address,
	const struct imgo_registry_remote_options *options, struct imgo_error *error)
{
	struct imgo__rpc_client_options client = {.secret = options->secret, .tls = options->tls, .role = "registry"};
	char text[256];
	int err;

	if (remote->nrouters == IMGO_REGISTRY_SHARDS_MAX || address.len == 0 || address.len >= sizeof text)
		return imgo__fail(error, IMGO_EINVAL, "registry: too many routers, or an empty address");
	memcpy(text, address.p, address.len);
	text[address.len] = 0;
	client.peers = text;
	client.timeout_ms = options->timeout_ms;
	err = imgo__rpc_client_new(&remote->clients[remote->nrouters], remote->loop, &client, error);
	remote->nrouters += err == 0;
	return err;
}

static int add_routers(
	struct imgo__remote *remote, const struct imgo_registry_remote_options *options, struct imgo_error *error)
{
	struct imgo_str list[IMGO_REGISTRY_SHARDS_MAX];
	const char *at = options->routers, *comma;
	int err;

	do {
		comma = strchrnul(at, ',');
		err = add_router(remote, imgo_strn(at, (size_t)(comma - at)), options, error);
		if (err)
			return err;
		list[remote->nrouters - 1] = imgo_strn(at, (size_t)(comma - at));
		for (uint32_t i = 0; i + 1 < remote->nrouters; i++)
			if (imgo_str_eq(list[i], list[remote->nrouters - 1]))
				return imgo__fail(error, IMGO_EINVAL, "registry: a router is in the list twice");
		at = comma + 1;
	} while (*comma);
	for (uint32_t p = 0; p < remote->partitions; p++)
		remote->shard_of[p] = (uint8_t)imgo__shard_of(list, remote->nrouters, p);
	return 0;
}

int imgo_registry_new_remote(struct imgo_registry **out, struct imgo_loop *loop,
	const struct imgo_registry_remote_options *options, struct imgo_error *error)
{
	struct imgo_registry_remote_options o = IMGO_REGISTRY_REMOTE_OPTIONS_INIT;
	struct imgo__remote *remote;
	int err = imgo__options_take(&o, options, "registry", error);

	if (err < 0)
		return err;
	if (!o.routers || !o.list_version || !o.partitions || o.partitions > 65536)
		return imgo__fail(error, IMGO_EINVAL,
			"registry: routers, their list's number and 1 to 65536 partitions are needed");
	remote = imgo__zalloc(sizeof *remote);
	if (!remote || !(remote->shard_of = imgo__array(o.partitions, 1))) {
		free(remote);
		return imgo__fail(error, IMGO_ENOMEM, "registry: out of memory");
	}
	remote->loop = loop;
	remote->list_version = o.list_version;
	remote->partitions = o.partitions;
	imgo__list_init(&remote->joins);
	imgo__task_init(&remote->settle, on_settle);
	imgo__task_init(&remote->destroy, on_destroy);
	remote->stat_behind = imgo_stats_counter(imgo_loop_stats(loop), "imgo_registry_list_behind_total",
		"Answers of routers whose list of routers is newer than ours");
	err = add_routers(remote, &o, error);
	if (err) {
		destroy(remote);
		return err;
	}
	err = imgo_registry_new_custom(out, loop, &remote_ops, remote);
	return err ? imgo__fail(error, err, "registry: out of memory") : 0;
}
