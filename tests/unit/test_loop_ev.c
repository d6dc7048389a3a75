/* SPDX-License-Identifier: MIT */
#include "test.h"

#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <ev.h>

#include <imgo/loop_ev.h>

#include "base/mem.h"
#include "loop/loop_impl.h"

/*
 * A loaded machine may stop this process between any two lines for longer than any timer here runs. So no order in these
 * tests comes from wall time: what must come later is started by what comes earlier, or in the same turn, in which the
 * loop's time stands still. LATE_MS only catches what hangs.
 */
enum { LATE_MS = 20000 };

static uint64_t real_ms(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static struct imgo_loop *new_loop(void)
{
	struct imgo_loop *loop;
	assert_int_equal(imgo_loop_new(&loop, NULL, NULL), 0);
	return loop;
}

static char trace[256];

static void say(const char *what)
{
	strncat(trace, what, sizeof(trace) - strlen(trace) - 1);
}

static void stop(void *user)
{
	say("stop ");
	imgo_loop_stop(user);
}

static void say_user(void *user)
{
	say(user);
}

static int reset(void **state)
{
	(void)state;
	trace[0] = '\0';
	return 0;
}

static void start_timers(void *user)
{
	struct imgo_loop *loop = user;
	struct imgo_loop_timer *timer;

	assert_int_equal(imgo_loop_after(loop, 20, say_user, (void *)"b ", NULL), 0);
	assert_int_equal(imgo_loop_after(loop, 5, say_user, (void *)"a ", NULL), 0);
	assert_int_equal(imgo_loop_after(loop, 25, say_user, (void *)"never ", &timer), 0);
	assert_int_equal(imgo_loop_after(loop, 100000, say_user, (void *)"dropped ", NULL), 0);
	assert_int_equal(imgo_loop_after(loop, 40, stop, loop, NULL), 0);
	imgo_loop_cancel(loop, timer);
	imgo_loop_cancel(loop, NULL);
}

static void after_and_cancel(void **state)
{
	struct imgo_loop *loop = new_loop();
	uint64_t begin = real_ms();
	(void)state;
	assert_int_equal(imgo_loop_post(loop, start_timers, loop), 0);
	imgo_loop_run(loop);
	assert_true(real_ms() - begin >= 40 && real_ms() - begin < LATE_MS);
	assert_string_equal(trace, "a b stop ");
	imgo_loop_post(loop, say_user, (void *)"dropped ");
	imgo_loop_free(loop);
	assert_string_equal(trace, "a b stop ");
	imgo_loop_free(NULL);
}

/* ---- deferred tasks ---- */

struct chain {
	struct imgo__task task;
	int left;
};

static void chain_run(struct imgo_loop *loop, struct imgo__task *task)
{
	struct chain *chain = imgo__container_of(task, struct chain, task);
	if (--chain->left > 0) {
		imgo__defer(loop, task);
		imgo__defer(loop, task);
	} else {
		say("chain ");
		imgo_loop_stop(loop);
	}
}

static void deferred_run_before_blocking(void **state)
{
	struct imgo_loop *loop = new_loop();
	struct chain chain = {.left = 100}, other = {.left = 1};
	uint64_t begin = real_ms();
	(void)state;
	imgo__task_init(&chain.task, chain_run);
	imgo__task_init(&other.task, chain_run);
	imgo__defer(loop, &chain.task);
	imgo__defer(loop, &other.task);
	imgo__task_cancel(&other.task);
	imgo__task_cancel(&other.task);
	assert_int_equal(imgo_loop_timeout_ms(loop), 0);
	imgo_loop_run(loop);
	assert_int_equal(chain.left, 0);
	assert_int_equal(other.left, 1);
	assert_true(real_ms() - begin < LATE_MS);
	imgo_loop_free(loop);
}

static void stop_before_run_counts(void **state)
{
	struct imgo_loop *loop = new_loop();
	(void)state;
	imgo_loop_stop(loop);
	imgo_loop_run(loop);
	imgo_loop_free(loop);
}

/* ---- descriptors ---- */

static void on_readable(struct imgo_loop *loop, struct imgo__io *io, int events)
{
	char c[8];
	ssize_t n = imgo__sock_read(loop, imgo__io_fd(io), c, sizeof(c));
	assert_int_equal(events, IMGO__READ);
	if (n == 0) {
		say("eof ");
		imgo__io_set(loop, io, 0);
		imgo_loop_stop(loop);
		return;
	}
	assert_true(n > 0);
	say("read ");
}

static void on_writable(struct imgo_loop *loop, struct imgo__io *io, int events)
{
	assert_true(events & IMGO__WRITE);
	say("write ");
	imgo__io_set(loop, io, IMGO__READ);
	assert_int_equal(write(imgo__io_fd(io), "x", 1), 1);
	imgo__sock_shutdown(loop, imgo__io_fd(io));
}

static void descriptors(void **state)
{
	struct imgo_loop *loop = new_loop();
	struct imgo__io a, b;
	int fd[2];
	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fd), 0);
	imgo__io_init(&a, on_readable, fd[0]);
	imgo__io_init(&b, on_writable, fd[1]);
	assert_int_equal(imgo__io_fd(&a), fd[0]);
	imgo__io_set(loop, &a, 0);
	imgo__io_set(loop, &a, IMGO__READ);
	imgo__io_set(loop, &a, IMGO__READ);
	imgo__io_set(loop, &b, IMGO__READ);
	imgo__io_set(loop, &b, IMGO__READ | IMGO__WRITE);
	imgo_loop_run(loop);
	assert_string_equal(trace, "write read eof ");
	imgo__io_set(loop, &b, 0);
	imgo__io_set(loop, &b, 0);
	close(fd[0]);
	close(fd[1]);
	imgo_loop_free(loop);
}

/* ---- mail ---- */

enum { SENDERS = 4, LETTERS = 20000 };

struct letter {
	struct imgo__mail mail;
	int sender, n;
};

static int next_of[SENDERS], arrived;

static void on_letter(struct imgo_loop *loop, struct imgo__mail *mail)
{
	struct letter *letter = imgo__container_of(mail, struct letter, mail);
	if (letter->n != next_of[letter->sender]++)
		abort();
	free(letter);
	if (++arrived == SENDERS * LETTERS)
		imgo_loop_stop(loop);
}

struct sender {
	struct imgo_loop *loop;
	int n;
};

static void *send_letters(void *arg)
{
	struct sender *sender = arg;
	for (int i = 0; i < LETTERS; i++) {
		struct letter *letter = malloc(sizeof(*letter));
		*letter = (struct letter){{.fn = on_letter}, sender->n, i};
		imgo__mail_send(sender->loop, &letter->mail);
	}
	return NULL;
}

static void mail_from_threads(void **state)
{
	struct imgo_loop *loop = new_loop();
	struct sender senders[SENDERS];
	pthread_t threads[SENDERS];
	(void)state;
	memset(next_of, 0, sizeof(next_of));
	arrived = 0;
	for (int i = 0; i < SENDERS; i++) {
		senders[i] = (struct sender){loop, i};
		assert_int_equal(pthread_create(&threads[i], NULL, send_letters, &senders[i]), 0);
	}
	imgo_loop_run(loop);
	for (int i = 0; i < SENDERS; i++)
		pthread_join(threads[i], NULL);
	assert_int_equal(arrived, SENDERS * LETTERS);
	imgo_loop_free(loop);
}

static void *stop_later(void *loop)
{
	usleep(20000);
	imgo_loop_stop(loop);
	return NULL;
}

static void stop_from_a_thread(void **state)
{
	struct imgo_loop *loop = new_loop();
	pthread_t thread;
	(void)state;
	assert_int_equal(pthread_create(&thread, NULL, stop_later, loop), 0);
	imgo_loop_run(loop);
	pthread_join(thread, NULL);
	imgo_loop_free(loop);
}

/* ---- signals ---- */

static void on_signal(int signo, void *user)
{
	say(signo == SIGUSR1 ? "usr1 " : "usr2 ");
	imgo_loop_stop(user);
}

static void raise_user(void *user)
{
	(void)user;
	raise(SIGUSR1);
}

static void signals(void **state)
{
	struct imgo_loop *loop = new_loop(), *other = new_loop();
	struct sigaction action;
	(void)state;
	signal(SIGUSR1, SIG_IGN);
	assert_int_equal(imgo_loop_on_signal(loop, 0, on_signal, loop), IMGO_EINVAL);
	assert_int_equal(imgo_loop_on_signal(loop, 65, on_signal, loop), IMGO_EINVAL);
	assert_int_equal(imgo_loop_on_signal(loop, SIGKILL, on_signal, loop), IMGO_EINVAL);
	assert_int_equal(imgo_loop_on_signal(loop, SIGUSR1, NULL, loop), IMGO_EINVAL);
	imgo__mem_fail_after(0);
	assert_int_equal(imgo_loop_on_signal(loop, SIGUSR1, on_signal, loop), IMGO_ENOMEM);
	assert_int_equal(imgo_loop_on_signal(loop, SIGUSR1, on_signal, NULL), 0);
	assert_int_equal(imgo_loop_on_signal(loop, SIGUSR1, on_signal, loop), 0);
	assert_int_equal(imgo_loop_on_signal(loop, SIGUSR2, on_signal, loop), 0);
	assert_int_equal(imgo_loop_on_signal(other, SIGUSR1, on_signal, loop), IMGO_EINVAL);
	imgo_loop_after(loop, 5, raise_user, NULL, NULL);
	imgo_loop_run(loop);
	assert_string_equal(trace, "usr1 ");
	raise(SIGUSR2);
	imgo_loop_run(loop);
	assert_string_equal(trace, "usr1 usr2 ");
	assert_int_equal(imgo_loop_on_signal(loop, SIGUSR1, NULL, NULL), 0);
	sigaction(SIGUSR1, NULL, &action);
	assert_ptr_equal(action.sa_handler, SIG_IGN);
	imgo_loop_free(loop);
	sigaction(SIGUSR2, NULL, &action);
	assert_ptr_equal(action.sa_handler, SIG_DFL);
	imgo_loop_free(other);
}

/* ---- timers through the loop ---- */

static struct imgo__timer t1, t2, t3;
static int ticks;

static void on_t1(struct imgo_loop *loop, struct imgo__timer *timer)
{
	ticks++;
	imgo__timer_stop(loop, &t2);
	imgo__timer_stop(loop, &t2);
	if (ticks < 5)
		imgo__timer_start(loop, timer, 0);
	else
		imgo__timer_start(loop, &t3, 1);
}

static void on_t2(struct imgo_loop *loop, struct imgo__timer *timer)
{
	(void)loop;
	(void)timer;
	say("t2 ");
}

static void on_t3(struct imgo_loop *loop, struct imgo__timer *timer)
{
	assert_false(imgo__timer_active(timer));
	imgo_loop_stop(loop);
}

static void timers(void **state)
{
	struct imgo_loop *loop = new_loop();
	(void)state;
	ticks = 0;
	imgo__timer_init(&t1, on_t1);
	imgo__timer_init(&t2, on_t2);
	imgo__timer_init(&t3, on_t3);
	imgo__timer_start(loop, &t2, 50);
	imgo__timer_start(loop, &t1, 1000);
	imgo__timer_start(loop, &t1, 3); /* moves */
	assert_true(imgo__timer_active(&t1));
	imgo_loop_run(loop);
	assert_int_equal(ticks, 5);
	assert_string_equal(trace, "");
	imgo__timer_start(loop, &t1, UINT64_MAX);
	imgo_loop_free(loop);
}

/* ---- a foreign loop, which knows poll() alone ---- */

static bool foreign_stop;

static void set_stop(void *user)
{
	(void)user;
	foreign_stop = true;
}

static void on_post(void *user)
{
	say("post ");
	imgo_loop_after(user, 20, set_stop, NULL, NULL);
}

static void *post_later(void *loop)
{
	usleep(20000);
	imgo_loop_post(loop, on_post, loop);
	return NULL;
}

static struct imgo__io foreign_io;

static void watch_later(void *user)
{
	imgo__io_set(user, &foreign_io, IMGO__READ); /* changed inside a turn: must reach epoll before we block */
}

static void on_foreign_io(struct imgo_loop *loop, struct imgo__io *io, int events)
{
	(void)events;
	say("io ");
	imgo__io_set(loop, io, 0);
	raise(SIGUSR1);
}

static pthread_t poster;

static void on_foreign_signal(int signo, void *user)
{
	(void)signo;
	say("signal ");
	assert_int_equal(pthread_create(&poster, NULL, post_later, user), 0);
}

static void foreign(void **state)
{
	struct imgo_loop *loop = new_loop();
	struct pollfd pfd = {.fd = imgo_loop_fd(loop), .events = POLLIN};
	uint64_t begin = real_ms();
	int fd[2], turns = 0;
	(void)state;
	assert_true(pfd.fd >= 0);
	assert_int_equal(imgo_loop_fd(loop), pfd.fd);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fd), 0);
	assert_int_equal(write(fd[1], "x", 1), 1);
	imgo__io_init(&foreign_io, on_foreign_io, fd[0]);
	foreign_stop = false;
	assert_int_equal(imgo_loop_on_signal(loop, SIGUSR1, on_foreign_signal, loop), 0);
	imgo_loop_after(loop, 10, watch_later, loop, NULL);
	while (!foreign_stop) {
		assert_true(poll(&pfd, 1, imgo_loop_timeout_ms(loop)) >= 0);
		assert_int_equal(imgo_loop_process(loop), 0);
		turns++;
	}
	assert_true(real_ms() - begin >= 50 && real_ms() - begin < LATE_MS);
	assert_true(turns < 30);
	assert_string_equal(trace, "io signal post ");
	assert_int_equal(imgo_loop_timeout_ms(loop), -1);
	pthread_join(poster, NULL);
	imgo_loop_free(loop);
	close(fd[0]);
	close(fd[1]);
}

static void idle_foreign_timers_are_not_early(void **state)
{
	struct imgo_loop *loop = new_loop();
	uint64_t begin;
	int timeout_ms;
	(void)state;
	imgo_loop_process(loop);
	usleep(50000); /* the time of the last turn is old now */
	begin = real_ms();
	imgo_loop_after(loop, 30, say_user, (void *)"x ", NULL);
	imgo_loop_process(loop);
	imgo_loop_process(loop);
	timeout_ms = imgo_loop_timeout_ms(loop); /* may be early, not late */
	if (real_ms() - begin < 30) {
		assert_string_equal(trace, "");
		assert_in_range(timeout_ms, 1, 31);
	}
	usleep(32000);
	assert_int_equal(imgo_loop_timeout_ms(loop), trace[0] ? -1 : 0);
	imgo_loop_process(loop);
	assert_string_equal(trace, "x ");
	imgo_loop_free(loop);
}

/* ---- on top of the host's libev ---- */

static void say_and_stop_later(void *user)
{
	say("p ");
	imgo_loop_after(user, 5, stop, user, NULL);
}

static void from_ev_returns_by_itself(void **state)
{
	struct ev_loop *ev = ev_loop_new(EVFLAG_AUTO);
	struct imgo_loop *loop;
	struct chain chain = {.left = 20};
	(void)state;
	assert_int_equal(imgo_loop_from_ev(&loop, ev, NULL, NULL), 0);
	ev_run(ev, 0); /* nothing to do */
	imgo_loop_after(loop, 10, say_user, (void *)"a ", NULL);
	imgo__task_init(&chain.task, chain_run);
	ev_run(ev, 0);
	assert_string_equal(trace, "a ");
	imgo__defer(loop, &chain.task);
	ev_run(ev, 0);
	assert_string_equal(trace, "a chain ");
	imgo_loop_post(loop, say_and_stop_later, loop);
	imgo_loop_after(loop, 100000, stop, loop, NULL);
	imgo_loop_run(loop);
	assert_string_equal(trace, "a chain p stop ");
	imgo_loop_free(loop);
	ev_run(ev, 0); /* no reference was left behind */
	ev_loop_destroy(ev);
}

static void constructors_without_memory(void **state)
{
	struct imgo_error error;
	struct imgo_loop *loop;
	struct ev_loop *ev = ev_loop_new(EVFLAG_AUTO);
	(void)state;
	imgo__mem_fail_after(0);
	assert_int_equal(imgo_loop_new(&loop, NULL, &error), IMGO_ENOMEM);
	assert_int_equal(error.code, IMGO_ENOMEM);
	imgo__mem_fail_after(0);
	assert_int_equal(imgo_loop_from_ev(&loop, ev, NULL, NULL), IMGO_ENOMEM);
	loop = new_loop();
	imgo__mem_fail_after(0);
	assert_int_equal(imgo_loop_post(loop, stop, loop), IMGO_ENOMEM);
	imgo__mem_fail_after(0);
	assert_int_equal(imgo_loop_after(loop, 1, stop, loop, NULL), IMGO_ENOMEM);
	imgo_loop_free(loop);
	ev_loop_destroy(ev);
}

static void carries_log_and_stats(void **state)
{
	struct imgo_loop_options options = IMGO_LOOP_OPTIONS_INIT;
	struct imgo_loop *loop;
	uint8_t a[16] = {0}, b[16] = {0};
	(void)state;
	assert_int_equal(imgo_stats_new(&options.stats), 0);
	assert_int_equal(imgo_loop_new(&loop, &options, NULL), 0);
	assert_ptr_equal(imgo_loop_stats(loop), options.stats);
	assert_null(imgo_loop_log(loop));
	assert_true(imgo_loop_wall_ms(loop) > 1600000000000u);
	imgo__loop_random(loop, a, sizeof(a));
	imgo__loop_random(loop, b, sizeof(b));
	assert_memory_not_equal(a, b, sizeof(a));
	imgo_loop_free(loop);
	imgo_stats_free(options.stats);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(after_and_cancel, reset),
		cmocka_unit_test_setup(deferred_run_before_blocking, reset),
		cmocka_unit_test_setup(stop_before_run_counts, reset),
		cmocka_unit_test_setup(descriptors, reset),
		cmocka_unit_test_setup(mail_from_threads, reset),
		cmocka_unit_test_setup(stop_from_a_thread, reset),
		cmocka_unit_test_setup(signals, reset),
		cmocka_unit_test_setup(timers, reset),
		cmocka_unit_test_setup(foreign, reset),
		cmocka_unit_test_setup(idle_foreign_timers_are_not_early, reset),
		cmocka_unit_test_setup(from_ev_returns_by_itself, reset),
		cmocka_unit_test_setup(constructors_without_memory, reset),
		cmocka_unit_test_setup(carries_log_and_stats, reset),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
