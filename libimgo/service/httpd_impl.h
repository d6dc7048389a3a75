/* SPDX-License-Identifier: MIT */
/* What the files of the HTTP server share: httpd.c (life), httpd_conn.c (a connection), httpd_answer.c
 * (answers). */
#ifndef IMGO__SERVICE_HTTPD_IMPL_H
#define IMGO__SERVICE_HTTPD_IMPL_H

#include "base/buf.h"
#include "base/mem.h"
#include "base/seldom.h"
#include "service/httpd.h"

enum {
	IMGO__HTTPD_READ = 64 * 1024,
	IMGO__HTTPD_BACKLOG = 1024,
	IMGO__HTTPD_ACCEPT_BATCH = 64, /* a turn and listener */
	IMGO__HTTPD_PAUSE_MS = 100,    /* no accept for so long when there are no descriptors */
	IMGO__HTTPD_EVICT_MS = 1000,   /* idle for so long: gives way when there is no room for a new connection */
	IMGO__HTTPD_LINGER_MS = 1000,
	IMGO__HTTPD_PROGRESS = 16 * 1024, /* bytes that a client must take in request_timeout_ms when some wait for it */
	IMGO__HTTPD_SPARE = 256,          /* request structs kept for reuse */
	IMGO__HTTPD_KEEP = 4096,          /* a buffer of up to so many bytes is kept while its connection lives */
};

struct imgo__httpd_stats {
	struct imgo_stat *connections, *accepted, *requests, *refused_full, *evicted, *no_fds;
	struct imgo_stat *malformed, *head_too_large, *body_too_large, *overload, *timeout, *slow_reader, *idle;
	struct imgo_histogram *seconds; /* from a request's head to its answer */
	struct imgo__gauge in_flight, held;
};

struct imgo__httpd_listener {
	struct imgo__httpd *httpd;
	struct imgo__io io;
	int fd;
};

struct imgo__httpd {
	struct imgo_loop *loop;
	struct imgo__httpd_options options;
	struct imgo__http_limits limits;
	struct imgo__httpd_stats stats;
	struct imgo__collector collector;
	struct imgo__seldom full; /* in the log */
	struct imgo__httpd_listener listeners[IMGO__HTTPD_LISTENERS_MAX];
	unsigned nlisteners;
	struct imgo__list conns;
	struct imgo__list idle; /* connections that wait for a request, the longest waiting first */
	uint32_t nconns;
	struct imgo__list spare;
	unsigned nspare;
	size_t held; /* bytes in the connections' buffers */
	struct imgo__timer pause;
	bool stopping;
	struct imgo__timer deadline; /* of stop */
	struct imgo__task stopped;
	void (*done)(void *user);
	void *done_user;
	uint8_t read[IMGO__HTTPD_READ]; /* one for all: what is no whole request is copied into its connection
					 */
};

/* What the second timer of a connection means just now. */
enum imgo__httpd_wait {
	IMGO__HTTPD_NOTHING, /* answers are awaited, or the first timer runs */
	IMGO__HTTPD_IDLE,    /* a request */
	IMGO__HTTPD_STALLED, /* the socket takes no more */
	IMGO__HTTPD_LINGER,  /* all is said: the client's FIN */
};

struct imgo__httpd_conn {
	struct imgo__list link, idle;
	struct imgo__httpd *httpd;
	struct imgo__io io;
	struct imgo__task task;              /* write, go on with what was left unread, end */
	struct imgo__timer incoming;         /* deadline of the request that is coming in */
	struct imgo__timer waiting;          /* see wait */
	struct imgo__list requests;          /* not answered yet, or not in their turn; in order */
	struct imgo__httpd_request *reading; /* the last of them, while its body is not complete */
	uint32_t nrequests, served;
	struct imgo__buf in, out;
	size_t in_at, out_at; /* what lies before is done with */
	size_t need;          /* bytes of the request being read, head and body, once its head was seen */
	size_t scanned;       /* bytes of the head that is coming in: no line ends in them that was not looked at */
	size_t line;          /* of them, of the first line, once it has ended; 0 before */
	size_t discard;       /* bytes of a refused request's body, still to come */
	size_t answers;       /* bytes of answers that wait for their turn */
	size_t held;          /* what httpd->held knows of this connection */
	size_t taken;         /* bytes that the client took since it stalled */
	uint64_t idle_since_ms;
	uint8_t wait, listener;
	bool loopback; /* the peer's address is */
	bool last;     /* no further request is taken */
	bool eof, blocked, dead;
	bool continue_due;
};

struct imgo__httpd_request {
	struct imgo__list link;
	struct imgo__httpd_conn *conn; /* NULL: orphan */
	uintptr_t tag;
	uint64_t since_us; /* its head was understood; 0: never */
	bool answered, close, http10, keep_alive, is_head;
	struct imgo__buf text; /* the answer, when it is not its turn */
};

/* ---- httpd.c ---- */
void imgo__httpd_conn_gone(struct imgo__httpd *httpd); /* there is room again, or stop is over */

/* ---- httpd_conn.c ---- */
/* The fd is closed on failure. */
int imgo__httpd_conn_new(struct imgo__httpd *httpd, int fd, unsigned listener, bool loopback);
void imgo__httpd_conn_free(struct imgo__httpd_conn *conn, bool reset);
/* Ends it with the request that has begun; at once when there is none. */
void imgo__httpd_conn_stop(struct imgo__httpd_conn *conn);
void imgo__httpd_account(struct imgo__httpd_conn *conn); /* its buffers have grown or shrunk */

/* ---- httpd_answer.c ---- */
struct imgo__httpd_request *imgo__httpd_request_new(struct imgo__httpd_conn *conn, const struct imgo__http_request *head);
void imgo__httpd_request_free(struct imgo__httpd_request *request);
/* Answers by itself, and takes no further request. request NULL: to a request that has no struct yet. */
void imgo__httpd_refuse(struct imgo__httpd_conn *conn, struct imgo__httpd_request *request, int status);
/* Announces that the body may come, in its turn. */
void imgo__httpd_continue(struct imgo__httpd_conn *conn);
/* Writes what can be written. False: the connection is broken. */
bool imgo__httpd_flush(struct imgo__httpd_conn *conn);
size_t imgo__httpd_output(const struct imgo__httpd_conn *conn); /* bytes not written yet */

#endif
