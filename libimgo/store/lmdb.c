/* SPDX-License-Identifier: MIT */
/*
 * The LMDB store: turns calls into jobs of the environment's writer, or into work for two reader threads, and
 * answers them on the loop.
 *
 * A read that attaches goes to the readers first; only when the device is new (or was not seen for long) it
 * goes on to the writer. Everything that a result points to was copied into the call's arena, which lives
 * until the callback returned.
 *
 * What is forgotten with an environment's `forget` or a damaged record is forgotten for good: the embedded
 * bus may have been cut behind the store. So there is no rebuild on damage, but a gap.
 */
#include "store/lmdb.h"

#include "base/error.h"
#include "base/options.h"

enum { SWEEP_MS = 1000, SWEEP_MAX = 256, READERS = 2, READS_MAX = 16384 };

enum op { APPEND, READ, ACK, PEEK, MARKER, TOKEN_PUT, TOKEN_GET, FORGET };

struct store {
	struct imgo__lmdb_store s;
	struct imgo__pool *readers;
	struct imgo__timer sweep_timer;
	struct imgo__lmdb_job sweep_job;
	size_t swept;
	uint32_t sweep_dropped;
	bool closing;
};

struct call {
	struct imgo__work work;
	struct imgo__lmdb_job job;
	struct store *store;
	enum op op;
	void *args;
	uint32_t partition; /* of forget */
	imgo_store_cb *cb;
	void *user;
	struct imgo__arena arena;
	uint32_t dropped;
	bool attach; /* the read needs the writer */
	int err;     /* of the reader */
};

static void finish(struct call *call, int err)
{
	struct imgo__store_stats *stats = &call->store->s.stats;
	if (!err && call->op == APPEND)
		imgo__store_count_appends(stats, call->args);
	if (!err && call->op == READ) {
		const struct imgo_store_read_many *read = call->args;
		for (size_t i = 0; i < read->nitems; i++)
			imgo_stat_add(stats->missing, read->items[i].missing);
	}
	if (!err)
		imgo_stat_add(stats->dropped, call->dropped);
	imgo__store_count_error(stats, err);
	call->cb(err, call->user);
	imgo__arena_free(&call->arena);
	free(call);
}

/* ---- on the writer thread ---- */

static int run_write(struct imgo__lmdb_job *job, struct imgo__lmdb_txn *txn)
{
	struct call *call = imgo__container_of(job, struct call, job);
	const struct imgo__lmdb_store *s = &call->store->s;
	int err;
	imgo__arena_free(&call->arena); /* of a run before this one */
	call->dropped = 0;
	switch (call->op) {
	case APPEND:
		return imgo__lmdb_append(s, txn, call->args, &call->arena);
	case ACK:
		return imgo__lmdb_ack(s, txn, call->args, &call->arena, &call->dropped);
	case READ:
		err = imgo__lmdb_attach(s, txn, call->args, &call->dropped);
		return err ? err : imgo__lmdb_look(s, txn, call->args, &call->arena, NULL);
	case MARKER:
		return imgo__lmdb_marker_step(s, txn, call->args);
	case TOKEN_PUT:
		return imgo__lmdb_token_put(s, txn, call->args);
	case FORGET:
		return imgo__lmdb_forget(s, txn, call->partition);
	default:
		return IMGO_ENOTSUP;
	}
}

static void write_done(struct imgo__lmdb_job *job, int err)
{
	finish(imgo__container_of(job, struct call, job), err);
}

static int submit_write(struct call *call)
{
	call->job = (struct imgo__lmdb_job){.owner = call->store,
		.run = run_write,
		.done = write_done,
		.grows = call->op == APPEND      ? IMGO__LMDB_MOVES
			 : call->op == TOKEN_PUT ? IMGO__LMDB_GROWS
						 : IMGO__LMDB_SHRINKS};
	return imgo__lmdb_submit(call->store->s.env, &call->job);
}

/* ---- on a reader thread ---- */

static int look(struct call *call, struct imgo__lmdb_txn *txn)
{
	const struct imgo__lmdb_store *s = &call->store->s;
	switch (call->op) {
	case READ:
		return imgo__lmdb_look(s, txn, call->args, &call->arena, &call->attach);
	case PEEK:
		return imgo__lmdb_peek(s, txn, call->args);
	case MARKER:
		return imgo__lmdb_marker_step(s, txn, call->args); /* a look: writes nothing */
	case TOKEN_GET:
		return imgo__lmdb_token_get(s, txn, call->args, &call->arena);
	default:
		return IMGO_ENOTSUP;
	}
}

static void run_read(struct imgo__work *work, void *thread)
{
	struct call *call = imgo__container_of(work, struct call, work);
	struct imgo__lmdb_reader *reader = thread;
	struct imgo__lmdb_txn *txn;
	call->err = reader ? imgo__lmdb_read_begin(reader, &txn) : IMGO_ENOMEM;
	if (call->err)
		return;
	call->err = look(call, txn);
	imgo__lmdb_read_end(reader);
}

static void read_done(struct imgo_loop *loop, struct imgo__work *work)
{
	(void)loop;
	struct call *call = imgo__container_of(work, struct call, work);
	int err = work->canceled ? IMGO_ECANCELED : call->err;
	if (!err && call->attach) {
		err = call->store->closing ? IMGO_ECANCELED : submit_write(call);
		if (!err)
			return;
	}
	finish(call, err);
}

static void *reader_init(void *user)
{
	return imgo__lmdb_reader_new(((struct store *)user)->s.env);
}

static void reader_fini(void *thread, void *user)
{
	(void)user;
	imgo__lmdb_reader_free(thread);
}

static int submit_read(struct call *call)
{
	call->work = (struct imgo__work){.run = run_read, .done = read_done};
	return imgo__pool_submit(call->store->readers, &call->work);
}

/* ---- calls ---- */

static int start(struct store *store, enum op op, void *args, uint32_t partition, bool reads, imgo_store_cb *cb, void *user)
{
	struct call *call = imgo__zalloc(sizeof *call);
	if (!call)
		return IMGO_ENOMEM;
	call->store = store;
	call->op = op;
	call->args = args;
	call->partition = partition;
	call->cb = cb;
	call->user = user;
	int err = reads ? submit_read(call) : submit_write(call);
	if (err)
		free(call);
	return err;
}

#define OP(name, type, op, reads) \
	static int name(void *impl, struct type *args, imgo_store_cb *cb, void *user) \
	{ \
		return start(impl, op, args, 0, reads, cb, user); \
	}

OP(append_many, imgo_store_append_many, APPEND, false)
OP(read_many, imgo_store_read_many, READ, true)
OP(ack_many, imgo_store_ack_many, ACK, false)
OP(peek_many, imgo_store_peek_many, PEEK, true)
OP(step_marker, imgo_store_marker, MARKER, args->step == IMGO_MARKER_LOOK)
OP(token_put, imgo_store_token_many, TOKEN_PUT, false)
OP(token_get, imgo_store_token_many, TOKEN_GET, true)

static int forget(void *impl, uint32_t epoch, uint32_t partition, imgo_store_cb *cb, void *user)
{
	(void)epoch;
	return start(impl, FORGET, NULL, partition, false, cb, user);
}

/* ---- the sweep ---- */

static int run_sweep(struct imgo__lmdb_job *job, struct imgo__lmdb_txn *txn)
{
	struct store *store = imgo__container_of(job, struct store, sweep_job);
	store->sweep_dropped = 0;
	return imgo__lmdb_sweep(&store->s, txn, SWEEP_MAX, &store->swept, &store->sweep_dropped);
}

static void sweep_done(struct imgo__lmdb_job *job, int err)
{
	struct store *store = imgo__container_of(job, struct store, sweep_job);
	if (!err)
		imgo_stat_add(store->s.stats.dropped, store->sweep_dropped);
	if (!store->closing) /* a little at a time, so that appends come in between */
		imgo__timer_start(store->s.loop, &store->sweep_timer, !err && store->swept == SWEEP_MAX ? 1 : SWEEP_MS);
}

static void sweep(struct imgo_loop *loop, struct imgo__timer *timer)
{
	struct store *store = imgo__container_of(timer, struct store, sweep_timer);
	store->sweep_job = (struct imgo__lmdb_job){.owner = store, .run = run_sweep, .done = sweep_done};
	if (imgo__lmdb_submit(store->s.env, &store->sweep_job))
		imgo__timer_start(loop, timer, SWEEP_MS);
}

/* ---- life ---- */

static void destroy(void *impl)
{
	struct store *store = impl;
	store->closing = true;
	imgo__timer_stop(store->s.loop, &store->sweep_timer);
	imgo__pool_free(store->readers); /* first: a read may go on to the writer */
	imgo__lmdb_quit(store->s.env, store);
	imgo_lmdb_unref(store->s.env);
	free(store);
}

static int open_dbs(struct store *store)
{
	struct imgo__lmdb_store *s = &store->s;
	const struct {
		const char *name;
		unsigned *db;
	} dbs[] = {{"users", &s->users}, {"bodies", &s->bodies}, {"refs", &s->refs}, {"expiry", &s->expiry},
		{"markers", &s->markers}, {"tokens", &s->tokens}, {"lists", &s->lists}};
	int err = 0;
	for (size_t i = 0; i < sizeof dbs / sizeof *dbs && !err; i++)
		err = imgo__lmdb_db(s->env, dbs[i].name, dbs[i].db);
	return err;
}

static const struct imgo_store_ops ops = {
	sizeof ops, destroy, append_many, read_many, ack_many, peek_many, step_marker, token_put, token_get, forget};

int imgo_store_new_lmdb_in(struct imgo_store **out, struct imgo_loop *loop, struct imgo_lmdb *env,
	const struct imgo_store_options *options, struct imgo_error *error)
{
	struct imgo_store_options taken;
	*out = NULL;
	int err = imgo__store_options_take(&taken, options, error);
	if (err)
		return err;
	struct store *store = imgo__zalloc(sizeof *store);
	if (!store)
		return imgo__fail(error, IMGO_ENOMEM, "out of memory");
	store->s.loop = loop;
	store->s.options = taken;
	store->s.env = env;
	imgo_lmdb_ref(env);
	imgo__store_stats_init(&store->s.stats, imgo_loop_stats(loop));
	imgo__timer_init(&store->sweep_timer, sweep);
	struct imgo__pool_options pool = {.threads = READERS,
		.jobs_max = READS_MAX,
		.thread_init = reader_init,
		.thread_fini = reader_fini,
		.user = store,
		.name = "imgo-lmdb-read"};
	err = open_dbs(store);
	if (!err)
		err = imgo__pool_new(&store->readers, loop, &pool);
	if (err) {
		destroy(store);
		return imgo__fail(error, err, "LMDB store: %s", imgo_strerror(err));
	}
	imgo__timer_start(loop, &store->sweep_timer, SWEEP_MS);
	err = imgo_store_new_custom(out, loop, &ops, store);
	return err ? imgo__fail(error, err, "out of memory") : 0;
}

int imgo_store_new_lmdb(struct imgo_store **out, struct imgo_loop *loop, const struct imgo_store_lmdb_options *given,
	const struct imgo_store_options *options, struct imgo_error *error)
{
	struct imgo_store_lmdb_options o = IMGO_STORE_LMDB_OPTIONS_INIT;
	const struct imgo_store_lmdb_options *lmdb = &o;

	*out = NULL;
	if (imgo__options_take(&o, given, "LMDB store", error) < 0)
		return IMGO_EINVAL;
	struct imgo_lmdb_options env_options = IMGO_LMDB_OPTIONS_INIT;
	env_options.path = lmdb->path;
	env_options.no_metasync = lmdb->no_metasync;
	if (lmdb->map_bytes)
		env_options.map_max_bytes = lmdb->map_bytes;
	struct imgo_lmdb *env;
	int err = imgo_lmdb_open(&env, loop, &env_options, error);
	if (err)
		return err;
	err = imgo_store_new_lmdb_in(out, loop, env, options, error);
	imgo_lmdb_unref(env);
	return err;
}
