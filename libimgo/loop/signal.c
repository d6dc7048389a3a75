/* SPDX-License-Identifier: MIT */
/*
 * Signals, for those who ask. The handler sets a bit in the loop that owns the signal and wakes it. Who owns
 * it is the one table of the process, because signals are the process's. A loop that gives a signal back
 * waits until no handler on another thread still holds the pointer to it.
 */
#include "loop/loop_impl.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>

#include "base/mem.h"

enum { SIGNALS = 64 };

struct watched {
	struct imgo__list link;
	int signo;
	void (*fn)(int signo, void *user);
	void *user;
	struct sigaction old;
};

static _Atomic(struct imgo_loop *) owners[SIGNALS + 1];
static atomic_int handling;

static void handler(int signo)
{
	struct imgo_loop *loop;
	int saved = errno;

	atomic_fetch_add(&handling, 1);
	loop = atomic_load(&owners[signo]);
	if (loop) {
		atomic_fetch_or(&loop->signals, (uint64_t)1 << (signo - 1));
		loop->ops->wake(loop);
	}
	atomic_fetch_sub(&handling, 1);
	errno = saved;
}

static struct watched *find(struct imgo_loop *loop, int signo)
{
	imgo__list_for(link, &loop->watched)
	{
		struct watched *watched = imgo__container_of(link, struct watched, link);
		if (watched->signo == signo)
			return watched;
	}
	return NULL;
}

static void give_back(struct watched *watched)
{
	sigaction(watched->signo, &watched->old, NULL);
	atomic_store(&owners[watched->signo], NULL);
	while (atomic_load(&handling) > 0)
		sched_yield();
	imgo__list_remove(&watched->link);
	free(watched);
}

static int take(struct imgo_loop *loop, int signo, void (*fn)(int, void *), void *user)
{
	struct sigaction action = {.sa_handler = handler, .sa_flags = SA_RESTART};
	struct imgo_loop *nobody = NULL;
	struct watched *watched = imgo__zalloc(sizeof(*watched));

	if (watched == NULL)
		return IMGO_ENOMEM;
	if (!atomic_compare_exchange_strong(&owners[signo], &nobody, loop)) {
		free(watched);
		return IMGO_EINVAL;
	}
	sigemptyset(&action.sa_mask);
	watched->signo = signo;
	watched->fn = fn;
	watched->user = user;
	if (sigaction(signo, &action, &watched->old) < 0) {
		atomic_store(&owners[signo], NULL);
		free(watched);
		return IMGO_EINVAL;
	}
	imgo__list_insert(&loop->watched, &watched->link);
	return 0;
}

int imgo__signal_set(struct imgo_loop *loop, int signo, void (*fn)(int, void *), void *user)
{
	struct watched *watched;

	if (signo < 1 || signo > SIGNALS)
		return IMGO_EINVAL;
	watched = find(loop, signo);
	if (watched == NULL)
		return fn ? take(loop, signo, fn, user) : IMGO_EINVAL;
	if (fn == NULL) {
		give_back(watched);
		return 0;
	}
	watched->fn = fn;
	watched->user = user;
	return 0;
}

void imgo__signal_dispatch(struct imgo_loop *loop)
{
	uint64_t came = atomic_exchange(&loop->signals, 0);

	while (came) {
		struct watched *watched = find(loop, __builtin_ctzll(came) + 1);
		came &= came - 1;
		if (watched)
			watched->fn(watched->signo, watched->user);
	}
}

void imgo__signal_fini(struct imgo_loop *loop)
{
	while (!imgo__list_empty(&loop->watched))
		give_back(imgo__container_of(loop->watched.next, struct watched, link));
}
