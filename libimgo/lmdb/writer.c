/* SPDX-License-Identifier: MIT */
/*
 * The writer: group commit without a timer.
 *
 * The writer thread is a pool of one. What it is given are not jobs but batches: permission to run one
 * transaction, which takes all jobs that are queued at that moment. At most two are under way, so that the
 * second is ready to start when the first one's commit ends, without waiting for the loop.
 *
 * A batch runs its jobs one after the other in one transaction. A job that fails before it wrote anything
 * just has its error. One that fails after it wrote spoils the transaction, and so does a commit that fails:
 * then it is thrown away and each job gets a transaction of its own.
 *
 * Failures. No space (map, disk): that job fails with IMGO_EFULL, and everything else goes on. Anything else
 * that goes wrong in a commit (EIO of a write or an fdatasync on a disk that has space) leaves it unknown
 * what the disk holds: the environment counts as failed, every later job ends with IMGO_EIO, and a person
 * must look. LMDB reports a short write on a full disk as EIO too, so the file system is asked.
 */
#include <errno.h>

#include "base/failpoint.h"
#include "lmdb/private.h"

enum { JOBS_MAX = 16384, BATCH_MAX = 4096, LOOK_MS = 1000 };

void imgo__lmdb_queue_init(struct imgo__lmdb_queue *queue)
{
	queue->first = NULL;
	queue->end = &queue->first;
}

static void push(struct imgo__lmdb_queue *queue, struct imgo__lmdb_job *job)
{
	job->next = NULL;
	*queue->end = job;
	queue->end = &job->next;
}

static struct imgo__lmdb_job *pop(struct imgo__lmdb_queue *queue)
{
	struct imgo__lmdb_job *job = queue->first;
	if (job && !(queue->first = job->next))
		queue->end = &queue->first;
	return job;
}

/* ---- on the writer thread ---- */

static void fail_env(struct imgo_lmdb *env, const char *what, int rc)
{
	if (!atomic_exchange(&env->failed, true))
		imgo_log_event(imgo_loop_log(env->loop), IMGO_LOG_ERROR, "lmdb", "failed",
			"path=\"%s\" what=%s error=\"%s\"", env->path, what, mdb_strerror(rc));
}

static int commit(struct imgo_lmdb *env, MDB_txn *txn)
{
	int rc = imgo__failpoint("lmdb.commit") ? EIO : 0;
	if (rc)
		mdb_txn_abort(txn);
	else
		rc = mdb_txn_commit(txn);
	int err = imgo__lmdb_err(rc);
	if (err == IMGO_EIO && imgo__lmdb_disk_full(env))
		return IMGO_EFULL;
	if (err == IMGO_EIO)
		fail_env(env, "commit", rc);
	return err;
}

static int begin(struct imgo_lmdb *env, struct imgo__lmdb_txn *txn)
{
	if (atomic_load(&env->failed))
		return IMGO_EIO;
	*txn = (struct imgo__lmdb_txn){.env = env};
	imgo__lmdb_check_space(env);
	int rc = mdb_txn_begin(env->env, NULL, 0, &txn->txn);
	if (rc == MDB_PANIC)
		fail_env(env, "begin", rc);
	return imgo__lmdb_err(rc);
}

/* True: the job ended, well or not, and left nothing half done. */
static bool run_job(struct imgo_lmdb *env, struct imgo__lmdb_txn *txn, struct imgo__lmdb_job *job)
{
	uint64_t writes = txn->writes;
	job->err = job->grows > env->allowed ? IMGO_EFULL : job->run(job, txn);
	return job->err == 0 || txn->writes == writes;
}

static int try_alone(struct imgo_lmdb *env, struct imgo__lmdb_job *job)
{
	struct imgo__lmdb_txn txn;
	int err = begin(env, &txn);
	if (err)
		return err;
	if (!run_job(env, &txn, job) || job->err || !txn.writes) {
		mdb_txn_abort(txn.txn);
		return job->err;
	}
	return commit(env, txn.txn);
}

static void run_alone(struct imgo_lmdb *env, struct imgo__lmdb_job *job)
{
	do
		job->err = try_alone(env, job);
	while (job->err == IMGO_EFULL && job->grows <= env->allowed && imgo__lmdb_grow(env));
}

/* 0, or an error that may be one job's alone. */
static int run_together(struct imgo_lmdb *env, struct imgo__lmdb_job *jobs)
{
	struct imgo__lmdb_txn txn;
	int err = begin(env, &txn);
	if (err)
		return err;
	for (struct imgo__lmdb_job *job = jobs; job; job = job->next) {
		if (!run_job(env, &txn, job)) {
			mdb_txn_abort(txn.txn);
			return job->err;
		}
	}
	if (txn.writes)
		return commit(env, txn.txn);
	mdb_txn_abort(txn.txn);
	return 0;
}

void imgo__lmdb_enter(struct imgo_lmdb *env)
{
	pthread_mutex_lock(&env->lock);
	while (env->running)
		pthread_cond_wait(&env->idle, &env->lock);
	env->running = true;
	pthread_mutex_unlock(&env->lock);
}

void imgo__lmdb_leave(struct imgo_lmdb *env)
{
	pthread_mutex_lock(&env->lock);
	env->running = false;
	pthread_cond_broadcast(&env->idle);
	pthread_mutex_unlock(&env->lock);
}

static void take(struct imgo_lmdb *env, struct imgo__lmdb_queue *out)
{
	imgo__lmdb_enter(env);
	pthread_mutex_lock(&env->lock);
	for (unsigned n = 0; n < BATCH_MAX && env->queue.first; n++, env->nqueued--)
		push(out, pop(&env->queue));
	pthread_mutex_unlock(&env->lock);
}

static void run_batch(struct imgo__work *work, void *thread)
{
	(void)thread;
	struct imgo__lmdb_batch *batch = imgo__container_of(work, struct imgo__lmdb_batch, work);
	struct imgo_lmdb *env = batch->env;
	take(env, &batch->jobs);
	if (batch->jobs.first && run_together(env, batch->jobs.first))
		for (struct imgo__lmdb_job *job = batch->jobs.first; job; job = job->next)
			run_alone(env, job);
	imgo__lmdb_leave(env);
}

/* ---- on the loop's thread ---- */

static void submit_batch(struct imgo_lmdb *env)
{
	for (int i = 0; i < 2; i++) {
		struct imgo__lmdb_batch *batch = &env->batches[i];
		if (batch->busy)
			continue;
		batch->busy = imgo__pool_submit(env->writer, &batch->work) == 0;
		return;
	}
}

/* A job that does nothing: before each transaction the writer looks at the space. */
static int run_look(struct imgo__lmdb_job *job, struct imgo__lmdb_txn *txn)
{
	(void)job;
	(void)txn;
	return 0;
}

static void look_done(struct imgo__lmdb_job *job, int err)
{
	(void)err;
	imgo__container_of(job, struct imgo_lmdb, looks)->looking = false;
}

void imgo__lmdb_look_again(struct imgo_loop *loop, struct imgo__timer *timer)
{
	struct imgo_lmdb *env = imgo__container_of(timer, struct imgo_lmdb, look);

	if (env->looking || !imgo__lmdb_full(env))
		return;
	env->looks = (struct imgo__lmdb_job){.owner = env, .run = run_look, .done = look_done};
	env->looking = imgo__lmdb_submit(env, &env->looks) == 0;
	if (!env->looking)
		imgo__timer_start(loop, timer, LOOK_MS);
}

static void batch_done(struct imgo_loop *loop, struct imgo__work *work)
{
	struct imgo__lmdb_batch *batch = imgo__container_of(work, struct imgo__lmdb_batch, work);
	struct imgo_lmdb *env = batch->env;
	struct imgo__lmdb_job *job;
	while ((job = pop(&batch->jobs))) /* a callback may quit, and thereby empty it */
		job->done(job, job->err);
	batch->busy = false;
	pthread_mutex_lock(&env->lock);
	bool more = env->queue.first != NULL;
	pthread_mutex_unlock(&env->lock);
	if (work->canceled)
		return;
	if (more)
		submit_batch(env);
	if (imgo__lmdb_full(env) && !imgo__timer_active(&env->look))
		imgo__timer_start(loop, &env->look, LOOK_MS);
}

int imgo__lmdb_submit(struct imgo_lmdb *env, struct imgo__lmdb_job *job)
{
	pthread_mutex_lock(&env->lock);
	bool full = env->nqueued >= JOBS_MAX;
	if (!full) {
		push(&env->queue, job);
		env->nqueued++;
	}
	pthread_mutex_unlock(&env->lock);
	if (full)
		return IMGO_ELIMIT;
	submit_batch(env);
	return 0;
}

/* Moves this owner's jobs from one queue to another. */
static unsigned pick(struct imgo__lmdb_queue *from, const void *owner, struct imgo__lmdb_queue *to)
{
	struct imgo__lmdb_queue rest;
	struct imgo__lmdb_job *job;
	unsigned n = 0;
	imgo__lmdb_queue_init(&rest);
	while ((job = pop(from))) {
		bool theirs = job->owner == owner;
		push(theirs ? to : &rest, job);
		n += theirs;
	}
	imgo__lmdb_queue_init(from);
	while ((job = pop(&rest)))
		push(from, job);
	return n;
}

void imgo__lmdb_quit(struct imgo_lmdb *env, const void *owner)
{
	struct imgo__lmdb_queue never_ran, ran;
	struct imgo__lmdb_job *job;
	imgo__lmdb_queue_init(&never_ran);
	imgo__lmdb_queue_init(&ran);
	pthread_mutex_lock(&env->lock);
	env->nqueued -= pick(&env->queue, owner, &never_ran);
	while (env->running)
		pthread_cond_wait(&env->idle, &env->lock);
	for (int i = 0; i < 2; i++)
		pick(&env->batches[i].jobs, owner, &ran);
	pthread_mutex_unlock(&env->lock);
	while ((job = pop(&ran)))
		job->done(job, job->err);
	while ((job = pop(&never_ran)))
		job->done(job, IMGO_ECANCELED);
}

int imgo__lmdb_run_now(struct imgo_lmdb *env, struct imgo__lmdb_job *job)
{
	imgo__lmdb_enter(env);
	run_alone(env, job);
	imgo__lmdb_leave(env);
	return job->err;
}

int imgo__lmdb_writer_start(struct imgo_lmdb *env)
{
	for (int i = 0; i < 2; i++) {
		struct imgo__lmdb_batch *batch = &env->batches[i];
		*batch = (struct imgo__lmdb_batch){.work = {.run = run_batch, .done = batch_done}, .env = env};
		imgo__lmdb_queue_init(&batch->jobs);
	}
	struct imgo__pool_options options = {.threads = 1, .jobs_max = 2, .name = "imgo-lmdb"};
	return imgo__pool_new(&env->writer, env->loop, &options);
}

void imgo__lmdb_writer_stop(struct imgo_lmdb *env)
{
	imgo__pool_free(env->writer);
	env->writer = NULL;
}
