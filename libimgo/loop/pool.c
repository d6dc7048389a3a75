/* SPDX-License-Identifier: MIT */
/*
 * Threads for blocking work. Jobs wait in one list under one mutex; a thread takes the oldest, runs it, and
 * appends it to the list of finished ones. The first of those sends the pool's one mail; the loop then moves
 * them all to `ready` and calls `done` for each.
 *
 * Freeing, on the loop's thread: jobs that never ran are canceled, the threads end, every pending `done`
 * runs. When the mail is still on its way (or being handled: `done` may free the pool), the struct stays as a
 * shell (`dead`) until the mail arrives, or the loop drops it.
 */
#include "loop/loop_impl.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"

struct queue {
	struct imgo__work *first, **end;
};

struct imgo__pool {
	struct imgo__mail mail;
	struct imgo_loop *loop;
	struct imgo__pool_options options;
	char name[16];

	pthread_mutex_t lock; /* of the next six */
	pthread_cond_t work_waits;
	struct queue waiting, finished;
	unsigned n_waiting;
	bool mailed;   /* the mail is on its way */
	bool stopping; /* written under the lock by the loop's thread only */

	struct queue ready; /* of the loop's thread, as all that follows */
	struct imgo__collector collector;
	struct imgo__gauge depth;
	bool handling, dead;
	void *simulated; /* the thread's value, when the loop has no threads */
	unsigned n_threads;
	pthread_t threads[];
};

static void queue_init(struct queue *queue)
{
	queue->first = NULL;
	queue->end = &queue->first;
}

static void queue_push(struct queue *queue, struct imgo__work *work)
{
	work->next = NULL;
	*queue->end = work;
	queue->end = &work->next;
}

static struct imgo__work *queue_pop(struct queue *queue)
{
	struct imgo__work *work = queue->first;

	if (work) {
		queue->first = work->next;
		if (queue->first == NULL)
			queue->end = &queue->first;
		work->next = NULL;
	}
	return work;
}

static void queue_move(struct queue *to, struct queue *from)
{
	if (from->first == NULL)
		return;
	*to->end = from->first;
	to->end = from->end;
	queue_init(from);
}

/* ---- on the threads ---- */

static struct imgo__work *wait_for_work(struct imgo__pool *pool)
{
	struct imgo__work *work;

	while ((work = queue_pop(&pool->waiting)) == NULL && !pool->stopping)
		pthread_cond_wait(&pool->work_waits, &pool->lock);
	if (work)
		pool->n_waiting--;
	return work;
}

static void *thread_main(void *arg)
{
	struct imgo__pool *pool = arg;
	const struct imgo__pool_options *o = &pool->options;
	void *thread = o->thread_init ? o->thread_init(o->user) : NULL;
	struct imgo__work *work;

	pthread_mutex_lock(&pool->lock);
	while ((work = wait_for_work(pool)) != NULL) {
		pthread_mutex_unlock(&pool->lock);
		work->run(work, thread);
		pthread_mutex_lock(&pool->lock);
		queue_push(&pool->finished, work);
		if (!pool->mailed && !pool->stopping) {
			pool->mailed = true;
			imgo__mail_send(pool->loop, &pool->mail);
		}
	}
	pthread_mutex_unlock(&pool->lock);
	if (o->thread_fini)
		o->thread_fini(thread, o->user);
	return NULL;
}

/* ---- on the loop's thread ---- */

static void shell_free(struct imgo__pool *pool)
{
	pthread_mutex_destroy(&pool->lock);
	pthread_cond_destroy(&pool->work_waits);
	free(pool);
}

static void finish(struct imgo__pool *pool, struct imgo__work *work)
{
	struct imgo_loop *loop = pool->loop;

	if (loop->ops->keep)
		loop->ops->keep(loop, -1);
	work->done(loop, work);
}

void imgo__pool_mail(struct imgo_loop *loop, struct imgo__mail *mail)
{
	struct imgo__pool *pool = imgo__container_of(mail, struct imgo__pool, mail);
	struct imgo__work *work;

	(void)loop;
	pthread_mutex_lock(&pool->lock);
	pool->mailed = false;
	queue_move(&pool->ready, &pool->finished);
	pthread_mutex_unlock(&pool->lock);
	pool->handling = true;
	while ((work = queue_pop(&pool->ready)) != NULL)
		finish(pool, work);
	pool->handling = false;
	if (pool->dead && !pool->mailed) /* a thread may have sent the next one before it was stopped */
		shell_free(pool);
}

void imgo__pool_drop(struct imgo__mail *mail)
{
	struct imgo__pool *pool = imgo__container_of(mail, struct imgo__pool, mail);

	if (pool->dead)
		shell_free(pool);
}

/* The host's signals are not for these threads. */
static int start_thread(struct imgo__pool *pool)
{
	sigset_t all, old;
	int err;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	err = pthread_create(&pool->threads[pool->n_threads], NULL, thread_main, pool);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (err)
		return IMGO_ELIMIT;
	if (pool->name[0])
		pthread_setname_np(pool->threads[pool->n_threads], pool->name);
	pool->n_threads++;
	return 0;
}

static void collect(struct imgo__collector *collector)
{
	struct imgo__pool *pool = imgo__container_of(collector, struct imgo__pool, collector);
	unsigned n;

	pthread_mutex_lock(&pool->lock);
	n = pool->n_waiting;
	pthread_mutex_unlock(&pool->lock);
	imgo__gauge_set(&pool->depth, n);
}

static void enter_stats(struct imgo__pool *pool)
{
	char name[64];

	imgo_stat_name(name, sizeof(name), "imgo_pool_waiting", "pool", pool->name);
	pool->depth.stat =
		imgo_stats_gauge(imgo_loop_stats(pool->loop), name, "blocking jobs that wait for a thread, by pool");
	imgo__collector_add(pool->loop, &pool->collector, collect);
}

int imgo__pool_new(struct imgo__pool **out, struct imgo_loop *loop, const struct imgo__pool_options *options)
{
	unsigned threads = loop->ops->pool_submit ? 0 : options->threads ? options->threads : 1;
	struct imgo__pool *pool = imgo__zalloc(sizeof(*pool) + threads * sizeof(pool->threads[0]));
	int err = 0;

	if (pool == NULL)
		return IMGO_ENOMEM;
	pool->mail.fn = imgo__pool_mail;
	pool->loop = loop;
	pool->options = *options;
	if (options->name)
		snprintf(pool->name, sizeof(pool->name), "%.15s", options->name);
	pthread_mutex_init(&pool->lock, NULL);
	pthread_cond_init(&pool->work_waits, NULL);
	queue_init(&pool->waiting);
	queue_init(&pool->finished);
	queue_init(&pool->ready);
	if (loop->ops->pool_submit && options->thread_init)
		pool->simulated = options->thread_init(options->user);
	enter_stats(pool);
	while (err == 0 && pool->n_threads < threads)
		err = start_thread(pool);
	if (err < 0) {
		imgo__pool_free(pool);
		return err;
	}
	*out = pool;
	return 0;
}

int imgo__pool_submit(struct imgo__pool *pool, struct imgo__work *work)
{
	struct imgo_loop *loop = pool->loop;
	bool full;

	if (pool->stopping)
		return IMGO_ECANCELED;
	work->pool = pool;
	work->canceled = false;
	pthread_mutex_lock(&pool->lock);
	full = pool->n_waiting >= pool->options.jobs_max;
	if (!full) {
		queue_push(&pool->waiting, work);
		pool->n_waiting++;
		pthread_cond_signal(&pool->work_waits);
	}
	pthread_mutex_unlock(&pool->lock);
	if (full)
		return IMGO_ELIMIT;
	if (loop->ops->keep)
		loop->ops->keep(loop, 1);
	return loop->ops->pool_submit ? loop->ops->pool_submit(loop, pool, work) : 0;
}

void imgo__pool_step(struct imgo__pool *pool)
{
	struct imgo__work *work = queue_pop(&pool->waiting);

	if (work == NULL)
		return;
	pool->n_waiting--;
	work->run(work, pool->simulated);
	pool->handling = true;
	finish(pool, work);
	pool->handling = false;
	if (pool->dead)
		shell_free(pool);
}

static void stop_threads(struct imgo__pool *pool, struct queue *never_ran)
{
	queue_init(never_ran);
	pthread_mutex_lock(&pool->lock);
	pool->stopping = true;
	queue_move(never_ran, &pool->waiting);
	pthread_cond_broadcast(&pool->work_waits);
	pthread_mutex_unlock(&pool->lock);
	while (pool->n_threads > 0)
		pthread_join(pool->threads[--pool->n_threads], NULL);
	if (pool->loop->ops->pool_submit && pool->options.thread_fini)
		pool->options.thread_fini(pool->simulated, pool->options.user);
	if (pool->loop->ops->pool_gone)
		pool->loop->ops->pool_gone(pool->loop, pool);
}

void imgo__pool_free(struct imgo__pool *pool)
{
	struct queue never_ran;
	struct imgo__work *work;

	if (pool == NULL || pool->stopping)
		return;
	imgo__collector_remove(&pool->collector);
	imgo__gauge_set(&pool->depth, 0);
	stop_threads(pool, &never_ran);
	queue_move(&pool->ready, &pool->finished);
	while ((work = queue_pop(&pool->ready)) != NULL)
		finish(pool, work);
	while ((work = queue_pop(&never_ran)) != NULL) {
		work->canceled = true;
		finish(pool, work);
	}
	pool->dead = true;
	if (!pool->mailed && !pool->handling)
		shell_free(pool);
}
