/* SPDX-License-Identifier: MIT */
/*
 * The part that all loops share: timers, mail, deferred tasks, post and after.
 *
 * Mail is a stack that any thread pushes on with one compare-and-swap; the loop takes the whole of it at once
 * and reverses it, which gives each sender its order. Only who finds the stack empty wakes the loop.
 *
 * The backend is armed for the earliest timer. A timer that is stopped does not change that (connections push
 * their heartbeat forward all the time): the backend then wakes up once for nothing. Only the last one
 * disarms, because an armed backend keeps a host's loop running.
 */
#include "loop/loop_impl.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

enum { DEFER_ROUNDS = 8 };

void imgo__loop_init(struct imgo_loop *loop, const struct imgo__loop_ops *ops, const struct imgo_loop_options *options,
	uint64_t now_ms)
{
	struct imgo_loop_options o = {0};

	if (options)
		memcpy(&o, options, options->size < sizeof(o) ? options->size : sizeof(o));
	memset(loop, 0, sizeof(*loop));
	loop->ops = ops;
	loop->log = o.log;
	loop->stats = o.stats;
	loop->turn = imgo_stats_histogram(
		o.stats, loop, "imgo_loop_turn_seconds", "how long a turn of an event loop works, without its waiting");
	loop->mails = imgo_stats_counter(o.stats, "imgo_loop_mails_total", "letters of other threads to a loop");
	loop->mailings = imgo_stats_counter(o.stats, "imgo_loop_mailings_total",
		"times that a loop's mailbox was emptied: letters / times is its depth");
	loop->armed_ms = UINT64_MAX;
	imgo__wheel_init(&loop->wheel, now_ms);
	imgo__list_init(&loop->deferred);
	imgo__list_init(&loop->watched);
	imgo__list_init(&loop->collectors);
}

/* ---- timers ---- */

void imgo__timer_init(struct imgo__timer *timer, imgo__timer_fn *fn)
{
	imgo__list_init(&timer->link);
	timer->due_ms = 0;
	timer->fn = fn;
}

bool imgo__timer_active(const struct imgo__timer *timer)
{
	return !imgo__list_empty(&timer->link);
}

static void arm(struct imgo_loop *loop, uint64_t due_ms)
{
	uint64_t now_ms = imgo__loop_now_ms(loop);

	loop->armed_ms = due_ms;
	loop->ops->arm(loop, due_ms == UINT64_MAX ? due_ms : due_ms > now_ms ? due_ms - now_ms : 0);
}

void imgo__timer_start(struct imgo_loop *loop, struct imgo__timer *timer, uint64_t delay_ms)
{
	uint64_t now_us = loop->ops->now_us(loop), due_ms = (now_us + 999) / 1000;

	if (imgo__timer_active(timer))
		imgo__wheel_remove(&loop->wheel, timer);
	if (loop->wheel.n == 0 && !loop->firing)
		imgo__wheel_advance(&loop->wheel, now_us / 1000, loop); /* an empty wheel may have slept for long */
	due_ms = delay_ms > UINT64_MAX / 2 ? UINT64_MAX / 2 : due_ms + delay_ms;
	imgo__wheel_insert(&loop->wheel, timer, due_ms);
	if (!loop->firing && timer->due_ms < loop->armed_ms)
		arm(loop, timer->due_ms);
}

void imgo__timer_stop(struct imgo_loop *loop, struct imgo__timer *timer)
{
	if (!imgo__timer_active(timer))
		return;
	imgo__wheel_remove(&loop->wheel, timer);
	if (loop->wheel.n == 0 && !loop->firing && loop->armed_ms != UINT64_MAX)
		arm(loop, UINT64_MAX);
}

void imgo__loop_timers(struct imgo_loop *loop)
{
	uint64_t next_ms;

	if (loop->firing)
		return;
	loop->firing = true;
	imgo__wheel_advance(&loop->wheel, imgo__loop_now_ms(loop), loop);
	loop->firing = false;
	next_ms = imgo__wheel_next(&loop->wheel);
	if (next_ms != UINT64_MAX || loop->armed_ms != UINT64_MAX)
		arm(loop, next_ms);
}

uint64_t imgo__loop_next_ms(struct imgo_loop *loop)
{
	return imgo__wheel_next(&loop->wheel);
}

/* ---- end of the turn ---- */

void imgo__task_init(struct imgo__task *task, void (*fn)(struct imgo_loop *, struct imgo__task *))
{
	imgo__list_init(&task->link);
	task->fn = fn;
}

void imgo__defer(struct imgo_loop *loop, struct imgo__task *task)
{
	bool first = imgo__list_empty(&loop->deferred);

	if (!imgo__list_empty(&task->link))
		return;
	imgo__list_insert(&loop->deferred, &task->link);
	if (first)
		loop->ops->turn(loop);
}

void imgo__task_cancel(struct imgo__task *task)
{
	imgo__list_remove(&task->link);
}

bool imgo__loop_deferred(struct imgo_loop *loop)
{
	for (int round = 0; round < DEFER_ROUNDS && !imgo__list_empty(&loop->deferred); round++) {
		struct imgo__list batch, *link;
		imgo__list_take(&batch, &loop->deferred);
		while ((link = imgo__list_pop(&batch)) != NULL) {
			struct imgo__task *task = imgo__container_of(link, struct imgo__task, link);
			task->fn(loop, task);
		}
	}
	return !imgo__list_empty(&loop->deferred);
}

/* ---- mail ---- */

void imgo__mail_send(struct imgo_loop *loop, struct imgo__mail *mail)
{
	struct imgo__mail *head = atomic_load_explicit(&loop->mail, memory_order_relaxed);

	do {
		mail->next = head;
	} while (!atomic_compare_exchange_weak_explicit(
		&loop->mail, &head, mail, memory_order_acq_rel, memory_order_relaxed));
	if (head == NULL)
		loop->ops->wake(loop);
}

bool imgo__loop_mail_waiting(struct imgo_loop *loop)
{
	return atomic_load_explicit(&loop->mail, memory_order_relaxed) != NULL || atomic_load(&loop->signals) != 0;
}

static struct imgo__mail *take_mail(struct imgo_loop *loop)
{
	struct imgo__mail *newest = atomic_exchange_explicit(&loop->mail, NULL, memory_order_acquire), *oldest = NULL;

	while (newest) {
		struct imgo__mail *next = newest->next;
		newest->next = oldest;
		oldest = newest;
		newest = next;
	}
	return oldest;
}

void imgo__loop_mail(struct imgo_loop *loop)
{
	struct imgo__mail *mail = take_mail(loop), *next;
	int64_t n = 0;

	for (; mail; mail = next, n++) {
		next = mail->next; /* fn may free it */
		mail->fn(loop, mail);
	}
	if (n) {
		imgo_stat_add(loop->mails, n);
		imgo_stat_add(loop->mailings, 1);
	}
	if (atomic_load_explicit(&loop->signals, memory_order_relaxed))
		imgo__signal_dispatch(loop);
}

/* ---- post and after ---- */

struct post {
	struct imgo__mail mail;
	void (*fn)(void *user);
	void *user;
};

static void post_run(struct imgo_loop *loop, struct imgo__mail *mail)
{
	struct post *post = imgo__container_of(mail, struct post, mail);
	void (*fn)(void *) = post->fn;
	void *user = post->user;

	(void)loop;
	free(post);
	fn(user);
}

int imgo_loop_post(struct imgo_loop *loop, void (*fn)(void *user), void *user)
{
	struct post *post = imgo__alloc(sizeof(*post));

	if (post == NULL)
		return IMGO_ENOMEM;
	*post = (struct post){.mail = {.fn = post_run}, .fn = fn, .user = user};
	imgo__mail_send(loop, &post->mail);
	return 0;
}

struct imgo_loop_timer {
	struct imgo__timer timer;
	void (*fn)(void *user);
	void *user;
};

static void after_run(struct imgo_loop *loop, struct imgo__timer *timer)
{
	struct imgo_loop_timer *after = imgo__container_of(timer, struct imgo_loop_timer, timer);
	void (*fn)(void *) = after->fn;
	void *user = after->user;

	(void)loop;
	free(after);
	fn(user);
}

int imgo_loop_after(
	struct imgo_loop *loop, uint64_t delay_ms, void (*fn)(void *user), void *user, struct imgo_loop_timer **out)
{
	struct imgo_loop_timer *after = imgo__alloc(sizeof(*after));

	if (after == NULL)
		return IMGO_ENOMEM;
	imgo__timer_init(&after->timer, after_run);
	after->fn = fn;
	after->user = user;
	imgo__timer_start(loop, &after->timer, delay_ms);
	if (out)
		*out = after;
	return 0;
}

void imgo_loop_cancel(struct imgo_loop *loop, struct imgo_loop_timer *timer)
{
	if (timer == NULL)
		return;
	imgo__timer_stop(loop, &timer->timer);
	free(timer);
}

/* ---- teardown ---- */

static void drop_timers(struct imgo_loop *loop)
{
	for (int level = 0; level < IMGO__WHEEL_LEVELS; level++) {
		for (int slot = 0; slot < IMGO__WHEEL_SLOTS; slot++) {
			imgo__list_for(link, &loop->wheel.slots[level][slot])
			{
				struct imgo__timer *timer = imgo__container_of(link, struct imgo__timer, link);
				imgo__timer_stop(loop, timer);
				if (timer->fn == after_run)
					free(imgo__container_of(timer, struct imgo_loop_timer, timer));
			}
		}
	}
}

void imgo__loop_fini(struct imgo_loop *loop)
{
	struct imgo__mail *mail, *next;

	while (imgo__loop_deferred(loop)) /* freed objects vanish here */
		;
	imgo__signal_fini(loop);
	drop_timers(loop);
	for (mail = take_mail(loop); mail; mail = next) {
		next = mail->next;
		if (mail->fn == post_run)
			free(imgo__container_of(mail, struct post, mail));
		else if (mail->fn == imgo__pool_mail)
			imgo__pool_drop(mail);
	}
	imgo_stats_disown(loop->stats, loop);
}
