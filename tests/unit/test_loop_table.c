/* SPDX-License-Identifier: MIT */
/* A simulated loop of fifty lines: the table of functions is all that a backend must bring. */
#include "test.h"

#include "loop/loop_impl.h"

struct sim {
	struct imgo_loop base;
	uint64_t now_us, armed_ms;
	struct imgo__pool *pool;
	int wakes, turns, jobs, gone, kept;
};

#define SIM(loop) imgo__container_of(loop, struct sim, base)

static void sim_wake(struct imgo_loop *loop)
{
	SIM(loop)->wakes++;
}

static void sim_turn(struct imgo_loop *loop)
{
	SIM(loop)->turns++;
}

static void sim_arm(struct imgo_loop *loop, uint64_t delay_ms)
{
	SIM(loop)->armed_ms = delay_ms == UINT64_MAX ? delay_ms : SIM(loop)->now_us / 1000 + delay_ms;
}

static uint64_t sim_now_us(struct imgo_loop *loop)
{
	return SIM(loop)->now_us;
}

static int sim_submit(struct imgo_loop *loop, struct imgo__pool *pool, struct imgo__work *work)
{
	(void)work;
	SIM(loop)->pool = pool;
	SIM(loop)->jobs++;
	return 0;
}

static void sim_gone(struct imgo_loop *loop, struct imgo__pool *pool)
{
	assert_ptr_equal(SIM(loop)->pool, pool);
	SIM(loop)->gone++;
	SIM(loop)->jobs = 0;
}

static void sim_keep(struct imgo_loop *loop, int delta)
{
	SIM(loop)->kept += delta;
}

static const struct imgo__loop_ops sim_ops = {
	.wake = sim_wake,
	.turn = sim_turn,
	.arm = sim_arm,
	.now_us = sim_now_us,
	.keep = sim_keep,
	.pool_submit = sim_submit,
	.pool_gone = sim_gone,
};

static struct sim sim;
static char trace[256];

static int setup(void **state)
{
	(void)state;
	memset(&sim, 0, sizeof(sim));
	trace[0] = '\0';
	sim.armed_ms = UINT64_MAX;
	imgo__loop_init(&sim.base, &sim_ops, NULL, 0);
	return 0;
}

static void say(void *user)
{
	strcat(trace, user);
}

static void time_and_mail(void **state)
{
	(void)state;
	imgo_loop_after(&sim.base, 10, say, (void *)"b ", NULL);
	assert_true(sim.armed_ms == 10);
	imgo_loop_after(&sim.base, 5, say, (void *)"a ", NULL);
	imgo_loop_after(&sim.base, 3600000, say, (void *)"c ", NULL);
	assert_true(sim.armed_ms == 5);
	while (sim.armed_ms != UINT64_MAX) {
		assert_true(sim.armed_ms > sim.now_us / 1000);
		sim.now_us = sim.armed_ms * 1000;
		imgo__loop_timers(&sim.base);
	}
	assert_true(sim.now_us == 3600000000u);
	imgo_loop_post(&sim.base, say, (void *)"m1 ");
	imgo_loop_post(&sim.base, say, (void *)"m2 ");
	assert_int_equal(sim.wakes, 1);
	assert_true(imgo__loop_mail_waiting(&sim.base));
	imgo__loop_mail(&sim.base);
	assert_false(imgo__loop_mail_waiting(&sim.base));
	assert_string_equal(trace, "a b c m1 m2 ");
	imgo__loop_fini(&sim.base);
}

struct job {
	struct imgo__work work;
	struct imgo__pool *free_this;
};

static void run(struct imgo__work *work, void *thread)
{
	(void)work;
	assert_ptr_equal(thread, trace);
	say((void *)"run ");
}

static void done(struct imgo_loop *loop, struct imgo__work *work)
{
	(void)loop;
	say(work->canceled ? (void *)"canceled " : (void *)"done ");
	imgo__pool_free(imgo__container_of(work, struct job, work)->free_this);
}

static void *thread_init(void *user)
{
	return user;
}

static void pool_without_threads(void **state)
{
	struct imgo__pool_options options = {.threads = 4, .jobs_max = 3, .thread_init = thread_init, .user = trace};
	struct job jobs[4] = {0};
	struct imgo__pool *pool;
	(void)state;
	assert_int_equal(imgo__pool_new(&pool, &sim.base, &options), 0);
	for (int i = 0; i < 4; i++) {
		jobs[i].work.run = run;
		jobs[i].work.done = done;
		assert_int_equal(imgo__pool_submit(pool, &jobs[i].work), i < 3 ? 0 : IMGO_ELIMIT);
	}
	assert_int_equal(sim.jobs, 3);
	assert_int_equal(sim.kept, 3);
	imgo__pool_step(pool);
	assert_string_equal(trace, "run done ");
	jobs[1].free_this = pool;
	imgo__pool_step(pool);
	assert_string_equal(trace, "run done run done canceled ");
	assert_int_equal(sim.gone, 1);
	assert_int_equal(sim.kept, 0);
	imgo__loop_fini(&sim.base);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(time_and_mail, setup),
		cmocka_unit_test_setup(pool_without_threads, setup),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
