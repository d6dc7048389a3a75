/* SPDX-License-Identifier: MIT */
/*
 * What a backend of the loop (ev.c, or a simulated one) needs beside loop.h: the common part of every loop,
 * which a backend embeds as the first member of its own struct, and the steps of a turn, which it calls.
 */
#ifndef IMGO__LOOP_LOOP_IMPL_H
#define IMGO__LOOP_LOOP_IMPL_H

#include <stdatomic.h>

#include "loop/loop.h"

/* ---- the wheel (wheel.c explains it); all of it on the loop's thread ---- */
enum { IMGO__WHEEL_BITS = 6, IMGO__WHEEL_SLOTS = 64, IMGO__WHEEL_LEVELS = 6 };

struct imgo__wheel {
	uint64_t now_ms;  /* everything due up to here has fired */
	uint64_t hold_ms; /* while firing: nothing may become due up to here any more */
	size_t n;
	uint64_t used[IMGO__WHEEL_LEVELS]; /* a bit for each slot that is not empty, or was not long ago */
	struct imgo__list slots[IMGO__WHEEL_LEVELS][IMGO__WHEEL_SLOTS];
};

void imgo__wheel_init(struct imgo__wheel *wheel, uint64_t now_ms);
void imgo__wheel_insert(struct imgo__wheel *wheel, struct imgo__timer *timer, uint64_t due_ms);
void imgo__wheel_remove(struct imgo__wheel *wheel, struct imgo__timer *timer);
/* A time not after the next timer is due, UINT64_MAX when there is none. */
uint64_t imgo__wheel_next(const struct imgo__wheel *wheel);
/* Fires all that is due; a timer started meanwhile fires in a later call. */
void imgo__wheel_advance(struct imgo__wheel *wheel, uint64_t now_ms, struct imgo_loop *loop);

/* ---- the common part ---- */
struct imgo_loop {
	const struct imgo__loop_ops *ops;
	struct imgo_log *log;
	struct imgo_stats *stats;
	struct imgo_histogram *turn;        /* how long a turn works, without its waiting; the backend adds */
	struct imgo_stat *mails, *mailings; /* taken from the mailbox, and times that it was emptied */
	struct imgo__wheel wheel;
	uint64_t armed_ms; /* for when the backend was last armed; UINT64_MAX: it is not */
	bool firing;
	struct imgo__list deferred;
	_Atomic(struct imgo__mail *) mail; /* newest first */
	_Atomic uint64_t signals;          /* bit signo - 1: has come, not yet reported */
	struct imgo__list collectors;
	struct imgo__list watched; /* signals of this loop, struct watched in signal.c */
};

void imgo__loop_init(struct imgo_loop *loop, const struct imgo__loop_ops *ops, const struct imgo_loop_options *options,
	uint64_t now_ms);
/* Drops what is left of timers of imgo_loop_after, mail and signals. The backend must still answer `arm` and
 * `wake`. */
void imgo__loop_fini(struct imgo_loop *loop);

/* The steps of a turn, in this order, after the I/O callbacks. */
void imgo__loop_timers(struct imgo_loop *loop);   /* and arms anew */
void imgo__loop_mail(struct imgo_loop *loop);     /* and signals: both come with `wake` */
bool imgo__loop_deferred(struct imgo_loop *loop); /* true: some are left for the next turn, so do not block */

bool imgo__loop_mail_waiting(struct imgo_loop *loop);
/* When the next timer is due, or earlier; UINT64_MAX: never. */
uint64_t imgo__loop_next_ms(struct imgo_loop *loop);

/* ---- signals, for a backend with real ones: `on_signal` of the table ---- */
int imgo__signal_set(struct imgo_loop *loop, int signo, void (*fn)(int, void *), void *user);
void imgo__signal_dispatch(struct imgo_loop *loop);
void imgo__signal_fini(struct imgo_loop *loop);

/* ---- the pool, for a backend with pool_submit of its own: no threads are made then. It is told of each job,
 * and calls step some time later, once for each; step is harmless when the job was canceled. After pool_gone
 * it must not call step for that pool any more. ---- */
void imgo__pool_step(struct imgo__pool *pool); /* runs the oldest waiting job and its `done`, here and now */
void imgo__pool_mail(struct imgo_loop *loop, struct imgo__mail *mail);
void imgo__pool_drop(struct imgo__mail *mail); /* mail that the loop drops at teardown */

/* ---- real sockets (sock.c), for the table of a backend with real descriptors ---- */
int imgo__real_listen(struct imgo_loop *, const struct imgo__addr *, int backlog, bool reuse_port, int *fd);
int imgo__real_accept(struct imgo_loop *, int listen_fd, int *fd, struct imgo__addr *peer);
int imgo__real_connect(struct imgo_loop *, const struct imgo__addr *, int *fd);
int imgo__real_sock_error(struct imgo_loop *, int fd);
ssize_t imgo__real_read(struct imgo_loop *, int fd, void *p, size_t len);
ssize_t imgo__real_writev(struct imgo_loop *, int fd, const struct iovec *iov, int n);
int imgo__real_unsent(struct imgo_loop *, int fd);
int imgo__real_local(struct imgo_loop *, int fd, struct imgo__addr *out);
void imgo__real_shutdown(struct imgo_loop *, int fd);
void imgo__real_close(struct imgo_loop *, int fd);
void imgo__real_reset(struct imgo_loop *, int fd);

#endif
