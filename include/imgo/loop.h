/* SPDX-License-Identifier: MIT */
/*
 * The event loop that every object of the library belongs to.
 *
 * An object is made with a loop and used on that loop's thread only; its callbacks run there. The few calls that any
 * thread may make say so. The library makes the loop (imgo_loop_new and imgo_loop_run), or the host has one already:
 * a libev loop (imgo/loop_ev.h), or any other, which watches imgo_loop_fd() for readability and calls
 * imgo_loop_process() then and whenever imgo_loop_timeout_ms() has passed.
 *
 * The loop also carries what would be globals elsewhere: the log and the set of counters.
 *
 * Freeing: an object may be freed inside its own callback, and that takes effect at the end of the loop's turn; freed
 * anywhere else, its pending callbacks run with IMGO_ECANCELED before the call returns. Free objects before their
 * loop.
 */
#ifndef IMGO_LOOP_H
#define IMGO_LOOP_H

#include <stddef.h>
#include <stdint.h>

#include <imgo/error.h>

#ifdef __cplusplus
extern "C" {
#endif

struct imgo_loop;
struct imgo_log;
struct imgo_stats;

struct imgo_loop_options {
	size_t size;              /* sizeof(struct imgo_loop_options) */
	struct imgo_log *log;     /* borrowed; NULL: silence */
	struct imgo_stats *stats; /* borrowed; NULL: nothing is counted */
};
#define IMGO_LOOP_OPTIONS_INIT \
	{ \
		sizeof(struct imgo_loop_options), NULL, NULL \
	}

/* Makes a loop of its own (libev, epoll). options may be NULL. *out is the caller's.
 * Errors: IMGO_ENOMEM, IMGO_EIO (no epoll or eventfd to be had). */
IMGO_API int imgo_loop_new(struct imgo_loop **out, const struct imgo_loop_options *options, struct imgo_error *error);
IMGO_API void imgo_loop_free(struct imgo_loop *loop); /* NULL is fine */

/* Runs until imgo_loop_stop, which may also have come before. Returns 0. */
IMGO_API int imgo_loop_run(struct imgo_loop *loop);

/* Makes imgo_loop_run return at the end of its turn. Any thread, signal handlers too. */
IMGO_API void imgo_loop_stop(struct imgo_loop *loop);

/* For a foreign loop: a descriptor that is readable when there is work, ... */
IMGO_API int imgo_loop_fd(struct imgo_loop *loop);
/* ... the milliseconds after which there is work anyway (-1: none), ... */
IMGO_API int imgo_loop_timeout_ms(struct imgo_loop *loop);
/* ... and the work: one turn without blocking. */
IMGO_API int imgo_loop_process(struct imgo_loop *loop);

/* Runs fn(user) once on the loop's thread, soon. Any thread. Errors: IMGO_ENOMEM. At teardown of the loop, what has
 * not run yet is dropped. */
IMGO_API int imgo_loop_post(struct imgo_loop *loop, void (*fn)(void *user), void *user);

/* Runs fn(user) once on the loop's thread after delay_ms. *out may be NULL; otherwise the handle is for
 * imgo_loop_cancel, which must not be called after fn ran. Errors: IMGO_ENOMEM. */
struct imgo_loop_timer;
IMGO_API int imgo_loop_after(
	struct imgo_loop *loop, uint64_t delay_ms, void (*fn)(void *user), void *user, struct imgo_loop_timer **out);
IMGO_API void imgo_loop_cancel(struct imgo_loop *loop, struct imgo_loop_timer *timer);

/* Asks for fn(signo, user) on the loop's thread whenever the signal comes: the only way in which the library touches
 * signals, and only when asked. One loop a signal; NULL fn gives the signal back. Errors: IMGO_EINVAL, IMGO_ENOMEM. */
IMGO_API int imgo_loop_on_signal(struct imgo_loop *loop, int signo, void (*fn)(int signo, void *user), void *user);

/* Microseconds of the monotonic clock, as of the start of this turn. */
IMGO_API uint64_t imgo_loop_now_us(struct imgo_loop *loop);
/* Milliseconds since 1970, wall clock, read now. */
IMGO_API uint64_t imgo_loop_wall_ms(struct imgo_loop *loop);

IMGO_API struct imgo_log *imgo_loop_log(struct imgo_loop *loop);
IMGO_API struct imgo_stats *imgo_loop_stats(struct imgo_loop *loop);
/* Brings the gauges of the loop's objects that cost too much to be always right (lengths of queues, numbers of things) up
 * to date: call it before you read them. imgo/admin.h does it for its own loop. */
IMGO_API void imgo_loop_refresh_stats(struct imgo_loop *loop);

#ifdef __cplusplus
}
#endif
#endif
