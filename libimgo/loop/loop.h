/* SPDX-License-Identifier: MIT */
/*
 * The loop as the library's own code sees it. Time, sockets, random bytes and the completions of blocking work come
 * only through it, so that one table of functions (struct imgo__loop_ops) is all that a simulated loop must replace.
 *
 * A turn of the loop: I/O callbacks, timers that are due, mail from other threads; then the deferred tasks (output
 * is flushed and freed objects vanish there); then it waits. Deferred tasks may defer more: they run in the same
 * turn, up to a bound, the rest in the next.
 *
 * ev.c implements the table on libev and is the only file that includes <ev.h>.
 */
#ifndef IMGO__LOOP_LOOP_H
#define IMGO__LOOP_LOOP_H

#include <stdbool.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/uio.h>

#include <imgo/log.h>
#include <imgo/loop.h>
#include <imgo/stats.h>
#include <imgo/types.h>

#include "base/list.h"

/* ---- descriptors ---- */
enum { IMGO__READ = 1, IMGO__WRITE = 2 };

struct imgo__io;
typedef void imgo__io_fn(struct imgo_loop *loop, struct imgo__io *io, int events);

/* Watches one descriptor, level-triggered. 56 bytes, of which `opaque` and `events` are the backend's (laid out so
 * that an ev_io fits over the first 48). Embed it; container_of finds you. */
struct imgo__io {
	void *opaque[5];
	int fd, events;
	imgo__io_fn *fn;
};

void imgo__io_init(struct imgo__io *io, imgo__io_fn *fn, int fd); /* not watching yet */
int imgo__io_fd(const struct imgo__io *io);
void imgo__io_set(struct imgo_loop *loop, struct imgo__io *io, int events); /* 0 stops; stop before close */

/* ---- timers: one hierarchical wheel a loop, 1 ms resolution, O(1); 40 bytes each ---- */
struct imgo__timer;
typedef void imgo__timer_fn(struct imgo_loop *loop, struct imgo__timer *timer);

struct imgo__timer {
	struct imgo__list link;
	uint64_t due_ms; /* of the loop's monotonic clock */
	imgo__timer_fn *fn;
};

void imgo__timer_init(struct imgo__timer *timer, imgo__timer_fn *fn);
/* Fires delay_ms from now, rounded up to the next millisecond, never in this turn. Started again: moves. */
void imgo__timer_start(struct imgo_loop *loop, struct imgo__timer *timer, uint64_t delay_ms);
void imgo__timer_stop(struct imgo_loop *loop, struct imgo__timer *timer); /* harmless when not started */
bool imgo__timer_active(const struct imgo__timer *timer);

/* ---- end of the turn ---- */
struct imgo__task {
	struct imgo__list link;
	void (*fn)(struct imgo_loop *loop, struct imgo__task *task);
};

void imgo__task_init(struct imgo__task *task, void (*fn)(struct imgo_loop *, struct imgo__task *));
void imgo__defer(struct imgo_loop *loop, struct imgo__task *task); /* once, however often it is asked in a turn */
void imgo__task_cancel(struct imgo__task *task);

/* ---- mail from other threads: intrusive, no allocation, one wake-up a batch ---- */
struct imgo__mail {
	struct imgo__mail *next;
	void (*fn)(struct imgo_loop *loop, struct imgo__mail *mail);
};

void imgo__mail_send(struct imgo_loop *loop, struct imgo__mail *mail); /* any thread; in order for each sender */

/* ---- blocking work: a bounded pool of threads that belongs to one loop ---- */
struct imgo__pool;
struct imgo__work {
	struct imgo__pool *pool;                                       /* the pool's own */
	struct imgo__work *next;                                       /* the pool's own */
	void (*run)(struct imgo__work *work, void *thread);            /* on a worker thread */
	void (*done)(struct imgo_loop *loop, struct imgo__work *work); /* on the loop's thread, always, exactly once */
	bool canceled; /* set when `run` never ran because the pool was freed first */
};

/* Each thread has a value of its own, made by thread_init on that thread (say a memcached_st), passed to run. */
struct imgo__pool_options {
	unsigned threads;                 /* at least 1 */
	unsigned jobs_max;                /* waiting; more are refused with IMGO_ELIMIT */
	void *(*thread_init)(void *user); /* may be NULL */
	void (*thread_fini)(void *thread, void *user);
	void *user;
	const char *name; /* of the threads, up to 15 characters */
};
int imgo__pool_new(struct imgo__pool **out, struct imgo_loop *loop, const struct imgo__pool_options *options);
/* Loop's thread. IMGO_ELIMIT; IMGO_ECANCELED inside imgo__pool_free. */
int imgo__pool_submit(struct imgo__pool *pool, struct imgo__work *work);
/* Waits for running jobs, runs every pending `done` (canceled set for those never run), joins. */
void imgo__pool_free(struct imgo__pool *pool);

/* ---- gauges that are set only when somebody looks (imgo_loop_refresh_stats) ---- */
struct imgo__collector {
	struct imgo__list link;
	void (*fn)(struct imgo__collector *collector);
};

void imgo__collector_add(
	struct imgo_loop *loop, struct imgo__collector *collector, void (*fn)(struct imgo__collector *collector));
void imgo__collector_remove(struct imgo__collector *collector);

/* One object's share of a gauge that several objects of the process may have: it moves the gauge, and takes its share
 * back when it is set to 0 at the end. */
struct imgo__gauge {
	struct imgo_stat *stat;
	int64_t share;
};

static inline void imgo__gauge_set(struct imgo__gauge *gauge, int64_t share)
{
	if (share != gauge->share)
		imgo_stat_add(gauge->stat, share - gauge->share);
	gauge->share = share;
}

/* ---- time and chance ---- */
uint64_t imgo__loop_now_ms(struct imgo_loop *loop);   /* monotonic, as of the start of the turn */
uint64_t imgo__loop_clock_us(struct imgo_loop *loop); /* monotonic, read now: for stages within a turn */
void imgo__loop_random(struct imgo_loop *loop, void *out, size_t len);

/* ---- sockets: thin, non-blocking, close-on-exec; errors are negative imgo_err ---- */
struct imgo__addr {
	struct sockaddr_storage ss;
	socklen_t len;
};

/* Parses "host:port", ":port" (all interfaces), "[::1]:port", "unix:/path"; numeric hosts and "localhost" only.
 * IMGO_EINVAL. Port 0 is fine for listening. */
int imgo__addr_parse(struct imgo__addr *out, struct imgo_str text);
void imgo__addr_format(const struct imgo__addr *addr, char out[64]); /* "127.0.0.1:8080" */
bool imgo__addr_is_loopback(const struct imgo__addr *addr);

int imgo__sock_listen(struct imgo_loop *loop, const struct imgo__addr *addr, int backlog, bool reuse_port, int *fd);
int imgo__sock_accept(struct imgo_loop *loop, int listen_fd, int *fd, struct imgo__addr *peer);
/* IMGO_ETIMEDOUT: none is waiting; IMGO_ELIMIT: EMFILE/ENFILE; sets TCP_NODELAY */
int imgo__sock_connect(struct imgo_loop *loop, const struct imgo__addr *addr, int *fd); /* writable when connected */
int imgo__sock_error(struct imgo_loop *loop, int fd); /* outcome of the connect: 0 or an imgo_err */
ssize_t imgo__sock_read(struct imgo_loop *loop, int fd, void *p, size_t len);
/* > 0 bytes; 0 end of stream; IMGO_ETIMEDOUT would block; IMGO_ECLOSED reset; other errors */
ssize_t imgo__sock_writev(struct imgo_loop *loop, int fd, const struct iovec *iov, int n);
/* ≥ 0 bytes taken (MSG_NOSIGNAL); IMGO_ETIMEDOUT would block; IMGO_ECLOSED; other errors */
int imgo__sock_unsent(struct imgo_loop *loop, int fd); /* SIOCOUTQ: bytes the peer's TCP has not acknowledged, or < 0 */
int imgo__sock_local(struct imgo_loop *loop, int fd, struct imgo__addr *out);
void imgo__sock_shutdown(struct imgo_loop *loop, int fd); /* sends FIN after what was written */
void imgo__sock_close(struct imgo_loop *loop, int fd);
void imgo__sock_reset(struct imgo_loop *loop, int fd); /* closes with RST (SO_LINGER 0) */

/* ---- the table ---- */
struct imgo__loop_ops {
	void (*free)(struct imgo_loop *loop);
	int (*run)(struct imgo_loop *loop);
	void (*stop)(struct imgo_loop *loop);                   /* any thread, async-signal-safe */
	void (*wake)(struct imgo_loop *loop);                   /* any thread, async-signal-safe: mail is waiting */
	void (*arm)(struct imgo_loop *loop, uint64_t delay_ms); /* call imgo__loop_timers after that; UINT64_MAX: never */
	void (*turn)(struct imgo_loop *loop);                   /* deferred tasks exist: do not block before they ran */
	int (*fd)(struct imgo_loop *loop);
	int (*timeout_ms)(struct imgo_loop *loop);
	int (*process)(struct imgo_loop *loop);
	int (*on_signal)(struct imgo_loop *loop, int signo, void (*fn)(int, void *), void *user);
	uint64_t (*now_us)(struct imgo_loop *loop);
	uint64_t (*clock_us)(struct imgo_loop *loop); /* NULL: now_us */
	uint64_t (*wall_ms)(struct imgo_loop *loop);
	void (*random)(struct imgo_loop *loop, void *out, size_t len);
	void (*io_set)(struct imgo_loop *loop, struct imgo__io *io, int events);
	void (*keep)(struct imgo_loop *loop, int delta); /* may be NULL: +1 a job began that must end, -1 it did */
	int (*pool_submit)(struct imgo_loop *loop, struct imgo__pool *pool, struct imgo__work *work); /* NULL: threads */
	void (*pool_gone)(struct imgo_loop *loop, struct imgo__pool *pool); /* with pool_submit only */
	/* sockets: as the imgo__sock_* functions */
	int (*listen)(struct imgo_loop *, const struct imgo__addr *, int backlog, bool reuse_port, int *fd);
	int (*accept)(struct imgo_loop *, int listen_fd, int *fd, struct imgo__addr *peer);
	int (*connect)(struct imgo_loop *, const struct imgo__addr *, int *fd);
	int (*sock_error)(struct imgo_loop *, int fd);
	ssize_t (*read)(struct imgo_loop *, int fd, void *p, size_t len);
	ssize_t (*writev)(struct imgo_loop *, int fd, const struct iovec *iov, int n);
	int (*unsent)(struct imgo_loop *, int fd);
	int (*local)(struct imgo_loop *, int fd, struct imgo__addr *out);
	void (*shutdown)(struct imgo_loop *, int fd);
	void (*close)(struct imgo_loop *, int fd);
	void (*reset)(struct imgo_loop *, int fd);
};

#endif
