/* SPDX-License-Identifier: MIT */
/*
 * The memcached store: turns calls into work for a pool of threads, each with connections of its own, and
 * answers them on the loop. What it keeps, and how it stays right though memcached forgets, is in the files
 * of the parts: memcached_part.c (markers), memcached_log.c, memcached_read.c, memcached_token.c; commands
 * are in memcached_io.c.
 *
 * A call's deadline counts from when it was made, so that waiting for a worker counts too.
 */
#include "base/error.h"
#include "base/options.h"
#include "store/memcached.h"

enum { SETTINGS_MS = 60000, SETTINGS_FIRST_MS = 100 };

enum op { APPEND, READ, ACK, PEEK, MARKER, TOKEN_PUT, TOKEN_GET, FORGET, SETTINGS };

struct store {
	struct imgo__mc mc;
	struct imgo__pool *pool;
	struct imgo__timer timer;
	bool closing;
};

struct call {
	struct imgo__work work;
	struct store *store;
	enum op op;
	void *args;
	uint32_t epoch, partition; /* of forget */
	uint64_t deadline_ms;
	imgo_store_cb *cb;
	void *user;
	struct imgo__arena arena;
	uint32_t dropped;
	int err;
};

/* ---- on a worker thread ---- */

/* The partition a call is about; token calls choose theirs item by item. */
static void view_of(struct imgo__mc_view *view, struct imgo__mc_conn *conn, struct call *call)
{
	uint32_t epoch = call->epoch, partition = call->partition;
	uint64_t rebuild_token = 0;
	switch (call->op) {
#define FROM(name, type, token) \
	case name: { \
		const struct type *args = call->args; \
		epoch = args->epoch; \
		partition = args->partition; \
		rebuild_token = token; \
		break; \
	}
		FROM(APPEND, imgo_store_append_many, args->rebuild_token)
		FROM(ACK, imgo_store_ack_many, args->rebuild_token)
		FROM(READ, imgo_store_read_many, 0)
		FROM(PEEK, imgo_store_peek_many, 0)
		FROM(MARKER, imgo_store_marker, 0)
#undef FROM
	case TOKEN_PUT:
	case TOKEN_GET:
		epoch = ((const struct imgo_store_token_many *)call->args)->epoch;
		break;
	case FORGET:
	case SETTINGS:
		break;
	}
	imgo__mc_view_init(view, conn, &call->store->mc, &call->arena, call->deadline_ms, epoch, partition, rebuild_token);
}

static int execute(struct call *call, struct imgo__mc_conn *conn, struct imgo__mc_view *view)
{
	switch (call->op) {
	case APPEND:
		return imgo__mc_append(view, call->args);
	case READ:
		return imgo__mc_read(view, call->args, &call->dropped);
	case ACK:
		return imgo__mc_ack(view, call->args, &call->dropped);
	case PEEK:
		return imgo__mc_peek(view, call->args);
	case MARKER:
		return imgo__mc_marker_step(view, call->args);
	case TOKEN_PUT:
		return imgo__mc_token_put(view, call->args);
	case TOKEN_GET:
		return imgo__mc_token_get(view, call->args);
	case FORGET:
		return call->partition == UINT32_MAX ? imgo__mc_flush(conn) : imgo__mc_forget_marker(view);
	case SETTINGS:
		imgo__mc_check_settings(conn);
		return 0;
	}
	return IMGO_ENOTSUP;
}

static void run(struct imgo__work *work, void *thread)
{
	struct call *call = imgo__container_of(work, struct call, work);
	struct imgo__mc_view view;
	bool one_server = call->op < TOKEN_PUT;
	if (!thread) {
		call->err = IMGO_ENOMEM;
		return;
	}
	if (imgo__mc_now_ms() >= call->deadline_ms) {
		call->err = IMGO_ETIMEDOUT;
		return;
	}
	view_of(&view, thread, call);
	call->err = one_server ? imgo__mc_enter(&view) : 0;
	if (!call->err)
		call->err = execute(call, thread, &view);
}

static void *thread_init(void *user)
{
	return imgo__mc_conn_new(&((struct store *)user)->mc);
}

static void thread_fini(void *thread, void *user)
{
	(void)user;
	imgo__mc_conn_free(thread);
}

/* ---- on the loop's thread ---- */

static void count(const struct call *call, int err)
{
	const struct imgo__store_stats *stats = &call->store->mc.stats;
	imgo__store_count_error(stats, err);
	if (err)
		return;
	imgo_stat_add(stats->dropped, call->dropped);
	if (call->op == APPEND)
		imgo__store_count_appends(stats, call->args);
	if (call->op != READ)
		return;
	const struct imgo_store_read_many *read = call->args;
	for (size_t i = 0; i < read->nitems; i++)
		imgo_stat_add(stats->missing, read->items[i].missing);
}

static void done(struct imgo_loop *loop, struct imgo__work *work)
{
	struct call *call = imgo__container_of(work, struct call, work);
	struct store *store = call->store;
	int err = work->canceled ? IMGO_ECANCELED : call->err;
	if (call->op == SETTINGS) {
		if (!store->closing)
			imgo__timer_start(loop, &store->timer, SETTINGS_MS);
	} else {
		count(call, err);
		call->cb(err, call->user);
	}
	imgo__arena_free(&call->arena);
	free(call);
}

static int submit(
	struct store *store, enum op op, void *args, uint32_t epoch, uint32_t partition, imgo_store_cb *cb, void *user)
{
	struct call *call = imgo__zalloc(sizeof *call);
	if (!call)
		return IMGO_ENOMEM;
	*call = (struct call){.work = {.run = run, .done = done},
		.store = store,
		.op = op,
		.args = args,
		.epoch = epoch,
		.partition = partition,
		.cb = cb,
		.user = user,
		.deadline_ms = imgo__mc_now_ms() + IMGO__MC_DEADLINE * store->mc.timeout_ms};
	int err = imgo__pool_submit(store->pool, &call->work);
	if (err)
		free(call);
	return err;
}

static void check_settings(struct imgo_loop *loop, struct imgo__timer *timer)
{
	struct store *store = imgo__container_of(timer, struct store, timer);
	if (submit(store, SETTINGS, NULL, 0, 0, NULL, NULL))
		imgo__timer_start(loop, timer, SETTINGS_MS);
}

#define OP(name, type, op) \
	static int name(void *impl, struct type *args, imgo_store_cb *cb, void *user) \
	{ \
		return submit(impl, op, args, 0, 0, cb, user); \
	}

OP(append_many, imgo_store_append_many, APPEND)
OP(read_many, imgo_store_read_many, READ)
OP(ack_many, imgo_store_ack_many, ACK)
OP(peek_many, imgo_store_peek_many, PEEK)
OP(step_marker, imgo_store_marker, MARKER)
OP(token_put, imgo_store_token_many, TOKEN_PUT)
OP(token_get, imgo_store_token_many, TOKEN_GET)

static int forget(void *impl, uint32_t epoch, uint32_t partition, imgo_store_cb *cb, void *user)
{
	return submit(impl, FORGET, NULL, epoch, partition, cb, user);
}

static void destroy(void *impl)
{
	struct store *store = impl;
	store->closing = true;
	imgo__timer_stop(store->mc.loop, &store->timer);
	imgo__pool_free(store->pool);
	imgo__mc_servers_free(&store->mc);
	free(store);
}

static const struct imgo_store_ops ops = {
	sizeof ops, destroy, append_many, read_many, ack_many, peek_many, step_marker, token_put, token_get, forget};

static int configure(struct store *store, const struct imgo_store_memcached_options *given,
	const struct imgo_store_options *options, struct imgo_error *error)
{
	struct imgo_store_memcached_options o = IMGO_STORE_MEMCACHED_OPTIONS_INIT;
	const struct imgo_store_memcached_options *memcached = &o;
	struct imgo__mc *mc = &store->mc;

	if (imgo__options_take(&o, given, "memcached", error) < 0)
		return IMGO_EINVAL;
	if (!memcached->servers)
		return imgo__fail(error, IMGO_EINVAL, "memcached: servers are not set");
	int err = imgo__store_options_take(&mc->options, options, error);
	if (err)
		return err;
	if (mc->options.messages_max > IMGO__MC_MESSAGES_MAX)
		return imgo__fail(error, IMGO_EINVAL, "memcached: at most %d messages a user fit into an item",
			IMGO__MC_MESSAGES_MAX);
	mc->list_version = memcached->list_version;
	mc->timeout_ms = memcached->timeout_ms ? memcached->timeout_ms : 300;
	return imgo__mc_servers_parse(mc, memcached->servers, error);
}

int imgo_store_new_memcached(struct imgo_store **out, struct imgo_loop *loop,
	const struct imgo_store_memcached_options *memcached, const struct imgo_store_options *options,
	struct imgo_error *error)
{
	*out = NULL;
	struct store *store = imgo__zalloc(sizeof *store);
	if (!store)
		return imgo__fail(error, IMGO_ENOMEM, "out of memory");
	store->mc.loop = loop;
	imgo__timer_init(&store->timer, check_settings);
	imgo__store_stats_init(&store->mc.stats, imgo_loop_stats(loop));
	int err = configure(store, memcached, options, error);
	if (!err) {
		struct imgo__pool_options pool = {.threads = memcached->threads ? memcached->threads : 4,
			.jobs_max = memcached->jobs_max ? memcached->jobs_max : 1024,
			.thread_init = thread_init,
			.thread_fini = thread_fini,
			.user = store,
			.name = "imgo-memcached"};
		err = imgo__pool_new(&store->pool, loop, &pool);
		if (err)
			imgo__fail(error, err, "memcached: the worker threads do not start");
	}
	if (err) {
		destroy(store);
		return err;
	}
	imgo__timer_start(loop, &store->timer, SETTINGS_FIRST_MS);
	err = imgo_store_new_custom(out, loop, &ops, store);
	return err ? imgo__fail(error, err, "out of memory") : 0;
}
