/* SPDX-License-Identifier: MIT */
/*
 * A buffered, non-blocking stream, embedded in its owner: what is read collects in `in`, what is to be sent
 * in `out`, and all that was appended to `out` in a turn of the loop leaves in one write at the end of the
 * turn.
 *
 * The owner's callbacks may close the stream, but must not free it: that is for a deferred task of the
 * owner's, or for when no callback is running.
 */
#ifndef IMGO__NET_STREAM_H
#define IMGO__NET_STREAM_H

#include "base/buf.h"
#include "loop/loop.h"
#include "net/tls.h"

struct imgo__stream;

struct imgo__stream_ops {
	void (*opened)(struct imgo__stream *s);          /* of imgo__stream_connect; it failed: closed */
	void (*data)(struct imgo__stream *s);            /* more behind in_at: take frames, move in_at */
	void (*drained)(struct imgo__stream *s);         /* all of `out` is sent; may be NULL */
	void (*closed)(struct imgo__stream *s, int err); /* by the peer or an error; the descriptor is closed already */
};

struct imgo__stream {
	struct imgo_loop *loop;
	const struct imgo__stream_ops *ops;
	struct imgo__io io;
	struct imgo__task task; /* the write at the end of the turn */
	struct imgo__buf in, out;
	size_t in_at, out_at; /* taken; sent */
	uint64_t sent;        /* bytes, ever */
	uint64_t active_ms;   /* when the last bytes came or went */
	int fd;               /* -1: closed */
	/* With TLS, which is opened with the socket. */
	struct imgo_tls *secure;
	struct imgo__tls_conn *tls;
	const char *alpn, *host, *why; /* why: static, what failed, for a person; else NULL */
	bool server, connecting, shaking, paused, waiting;
};

void imgo__stream_init(struct imgo__stream *s, struct imgo_loop *loop, const struct imgo__stream_ops *ops);
/* Before the next two: in TLS, borrowed; alpn static, host (client: what the server must prove, or NULL) lives as long. */
void imgo__stream_secure(struct imgo__stream *s, struct imgo_tls *tls, const char *alpn, const char *host);
int imgo__stream_accept(struct imgo__stream *s, int fd); /* takes it, also when it fails (IMGO_ENOMEM), and begins to read */
int imgo__stream_connect(struct imgo__stream *s, const struct imgo__addr *addr); /* an error: nothing happened */
void imgo__stream_end(struct imgo__stream *s);   /* what is sent is all: close_notify, FIN. Call it when drained */
void imgo__stream_close(struct imgo__stream *s); /* without a callback; the buffers stay for whoever reads them */
void imgo__stream_fini(struct imgo__stream *s);  /* closes and frees the buffers; may be initialised again */

/* Append to s->out, then call push. */
void imgo__stream_push(struct imgo__stream *s);
void imgo__stream_pause(struct imgo__stream *s, bool pause); /* reading; data already in `in` is the owner's to look at */

void imgo__stream_again(struct imgo__stream *s); /* the owner left frames in `in`, and wants `data` called for them now */

static inline size_t imgo__stream_unsent(const struct imgo__stream *s)
{
	return s->out.len - s->out_at;
}

/* Bytes ever appended: where the next one will be. A byte at position p has been handed to the kernel when p
 * < sent. */
static inline uint64_t imgo__stream_position(const struct imgo__stream *s)
{
	return s->sent + imgo__stream_unsent(s);
}

#endif
