/* SPDX-License-Identifier: MIT */
#include "test.h"

#include <stdatomic.h>
#include <unistd.h>

#include <ev.h>

#include <imgo/loop_ev.h>

#include "base/mem.h"
#include "loop/loop_impl.h"

struct job {
	struct imgo__work work;
	int runs, dones;
	unsigned sleep_us;
};

static atomic_int ran, inits, finis;
static int done, canceled, expected;
static struct imgo__pool *free_at_done;

static void run(struct imgo__work *work, void *thread)
{
	struct job *job = imgo__container_of(work, struct job, work);
	if (thread != &inits)
		abort();
	job->runs++;
	atomic_fetch_add(&ran, 1);
	if (job->sleep_us)
		usleep(job->sleep_us);
}

static void on_done(struct imgo_loop *loop, struct imgo__work *work)
{
	struct job *job = imgo__container_of(work, struct job, work);
	assert_int_equal(++job->dones, 1);
	assert_int_equal(job->runs, work->canceled ? 0 : 1);
	done++;
	canceled += work->canceled;
	if (free_at_done) {
		struct imgo__pool *pool = free_at_done;
		free_at_done = NULL;
		imgo__pool_free(pool);
	}
	if (done == expected)
		imgo_loop_stop(loop);
}

static void *thread_init(void *user)
{
	atomic_fetch_add(&inits, 1);
	return user;
}

static void thread_fini(void *thread, void *user)
{
	if (thread != user)
		abort();
	atomic_fetch_add(&finis, 1);
}

static int reset(void **state)
{
	(void)state;
	ran = inits = finis = 0;
	done = canceled = expected = 0;
	free_at_done = NULL;
	return 0;
}

static struct imgo__pool *new_pool(struct imgo_loop *loop, unsigned threads, unsigned jobs_max)
{
	struct imgo__pool_options options = {
		threads, jobs_max, thread_init, thread_fini, &inits, "imgo-test-with-a-long-name"};
	struct imgo__pool *pool;
	assert_int_equal(imgo__pool_new(&pool, loop, &options), 0);
	return pool;
}

static struct job *new_jobs(int n, unsigned sleep_us)
{
	struct job *jobs = calloc((size_t)n, sizeof(*jobs));
	for (int i = 0; i < n; i++) {
		jobs[i].work.run = run;
		jobs[i].work.done = on_done;
		jobs[i].sleep_us = sleep_us;
	}
	return jobs;
}

static void runs_all(void **state)
{
	struct imgo_loop *loop;
	struct imgo__pool *pool;
	struct job *jobs = new_jobs(5000, 0);
	(void)state;
	assert_int_equal(imgo_loop_new(&loop, NULL, NULL), 0);
	pool = new_pool(loop, 4, 5000);
	expected = 5000;
	for (int i = 0; i < 5000; i++)
		assert_int_equal(imgo__pool_submit(pool, &jobs[i].work), 0);
	assert_int_equal(done, 0);
	imgo_loop_run(loop);
	assert_int_equal(done, 5000);
	assert_int_equal(canceled, 0);
	imgo__pool_free(pool);
	imgo__pool_free(NULL);
	assert_int_equal(inits, 4);
	assert_int_equal(finis, 4);
	imgo_loop_free(loop);
	free(jobs);
}

static void refuses_too_many(void **state)
{
	struct imgo_loop *loop;
	struct imgo__pool *pool;
	struct job *jobs = new_jobs(100, 20000);
	int accepted = 0;
	(void)state;
	assert_int_equal(imgo_loop_new(&loop, NULL, NULL), 0);
	pool = new_pool(loop, 1, 3);
	for (int i = 0; i < 100; i++) {
		int err = imgo__pool_submit(pool, &jobs[i].work);
		assert_true(err == 0 || err == IMGO_ELIMIT);
		accepted += err == 0;
	}
	assert_true(accepted >= 3 && accepted <= 10);
	expected = -1;
	imgo__pool_free(pool);
	assert_int_equal(done, accepted);
	assert_true(canceled >= 1);
	assert_int_equal(ran + canceled, accepted);
	imgo_loop_free(loop);
	free(jobs);
}

/* Frees under load, at different moments, with the mail on its way or not. */
static void free_under_load(void **state)
{
	struct job *jobs;
	(void)state;
	for (int round = 0; round < 60; round++) {
		struct imgo_loop *loop;
		struct imgo__pool *pool;
		reset(NULL);
		expected = -1;
		jobs = new_jobs(300, round % 3 ? 50 : 0);
		assert_int_equal(imgo_loop_new(&loop, NULL, NULL), 0);
		pool = new_pool(loop, 3, 1000);
		for (int i = 0; i < 300; i++)
			assert_int_equal(imgo__pool_submit(pool, &jobs[i].work), 0);
		for (int i = 0; i < round % 4; i++) {
			usleep(200);
			imgo_loop_process(loop);
		}
		imgo__pool_free(pool);
		assert_int_equal(done, 300);
		assert_int_equal(ran + canceled, 300);
		if (round % 2)
			imgo_loop_process(loop); /* the late mail comes, or is dropped */
		imgo_loop_free(loop);
		free(jobs);
	}
}

static void free_inside_done(void **state)
{
	struct imgo_loop *loop;
	struct job *jobs = new_jobs(100, 100);
	(void)state;
	assert_int_equal(imgo_loop_new(&loop, NULL, NULL), 0);
	free_at_done = new_pool(loop, 2, 1000);
	expected = 100;
	for (int i = 0; i < 100; i++)
		assert_int_equal(imgo__pool_submit(free_at_done, &jobs[i].work), 0);
	imgo_loop_run(loop);
	assert_int_equal(done, 100);
	imgo_loop_free(loop);
	free(jobs);
}

static void a_job_keeps_the_hosts_loop(void **state)
{
	struct ev_loop *ev = ev_loop_new(EVFLAG_AUTO);
	struct imgo_loop *loop;
	struct imgo__pool *pool;
	struct job *jobs = new_jobs(1, 20000);
	(void)state;
	assert_int_equal(imgo_loop_from_ev(&loop, ev, NULL, NULL), 0);
	pool = new_pool(loop, 1, 10);
	expected = -1;
	ev_run(ev, 0);
	assert_int_equal(imgo__pool_submit(pool, &jobs[0].work), 0);
	ev_run(ev, 0);
	assert_int_equal(done, 1);
	imgo__pool_free(pool);
	imgo_loop_free(loop);
	ev_run(ev, 0);
	ev_loop_destroy(ev);
	free(jobs);
}

static void without_memory(void **state)
{
	struct imgo__pool_options options = {.threads = 1, .jobs_max = 1};
	struct imgo__pool *pool;
	struct imgo_loop *loop;
	(void)state;
	assert_int_equal(imgo_loop_new(&loop, NULL, NULL), 0);
	imgo__mem_fail_after(0);
	assert_int_equal(imgo__pool_new(&pool, loop, &options), IMGO_ENOMEM);
	assert_int_equal(imgo__pool_new(&pool, loop, &options), 0);
	imgo__pool_free(pool);
	imgo_loop_free(loop);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(runs_all, reset),
		cmocka_unit_test_setup(refuses_too_many, reset),
		cmocka_unit_test_setup(free_under_load, reset),
		cmocka_unit_test_setup(free_inside_done, reset),
		cmocka_unit_test_setup(a_job_keeps_the_hosts_loop, reset),
		cmocka_unit_test_setup(without_memory, reset),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
