/* SPDX-License-Identifier: MIT */
/*
 * Two ways out, one order.
 *
 * give() is for casts: a walk comes once a turn to each connection, with everything that the room is due in
 * one chunk, so there is nothing to wait for: it writes at once, straight from the shared chunk, and an idle
 * connection needs no queue. queue() is for all else: it appends, and the end of the turn writes what has
 * gathered with one writev. Whatever finds something waiting appends behind it; so the order of the calls is
 * the order of the bytes.
 *
 * The socket is watched for writing only after it refused some bytes. What waits is bounded by
 * write_queue_max_bytes (each chunk weighing its bytes and its bookkeeping), except that an empty queue takes
 * one chunk of any size: a message longer than the bound is not the receiver's fault. Beyond the bound the
 * connection is slow, and closed.
 */
#include "hub/internal.h"

enum { VECTORS = 64 };

/* Remembers what the socket did not take. */
static int wait_with(struct imgo__conn *c, struct imgo__chunk *chunk, uint32_t offset)
{
	struct imgo_hub *hub = c->hub;

	if (c->out && imgo__outq_weight(c->out) + chunk->len + IMGO__OUTQ_OVERHEAD > hub->opt.write_queue_max_bytes) {
		imgo__conn_kill(c, IMGO_CLOSE_SLOW);
		return IMGO_ELIMIT;
	}
	if (imgo__outq_push(&c->out, chunk, offset)) {
		/* The stream would have a hole; the peer is to come again. */
		imgo__conn_kill(c, IMGO_CLOSE_TRY_LATER);
		return IMGO_ENOMEM;
	}
	c->queued += chunk->len;
	return 0;
}

static void blocked(struct imgo__conn *c)
{
	c->flags |= IMGO__CONN_DRAIN;
	imgo__conn_watch(c, c->events | IMGO__WRITE);
}

bool imgo__conn_give(struct imgo__conn *c, struct imgo__chunk *chunk)
{
	struct imgo_hub *hub = c->hub;
	struct iovec iov = {.iov_base = chunk->data, .iov_len = chunk->len};

	if (c->out)
		return wait_with(c, chunk, 0) == 0;
	ssize_t n = imgo__conn_writev(c, &iov, 1);
	hub->tally.writes++;
	if (n == (ssize_t)chunk->len) {
		hub->tally.bytes_out += chunk->len;
		c->queued += chunk->len;
		return true;
	}
	if (n < 0 && n != IMGO_ETIMEDOUT) {
		imgo__conn_kill(c, IMGO_CLOSE_RESET);
		return false;
	}
	if (n < 0)
		n = 0;
	hub->tally.bytes_out += (uint64_t)n;
	if (wait_with(c, chunk, (uint32_t)n)) {
		c->queued += (uint64_t)n;
		return false;
	}
	blocked(c);
	return true;
}

int imgo__conn_queue(struct imgo__conn *c, struct imgo__chunk *chunk)
{
	int r = wait_with(c, chunk, 0);

	if (r == 0 && !(c->events & IMGO__WRITE))
		imgo__conn_todo(c, IMGO__CONN_FLUSH);
	return r;
}

bool imgo__conn_flush(struct imgo__conn *c)
{
	struct imgo_hub *hub = c->hub;
	struct iovec iov[VECTORS];

	while (c->out) {
		size_t asked = 0;
		int count = imgo__outq_iov(c->out, iov, VECTORS);
		for (int i = 0; i < count; i++)
			asked += iov[i].iov_len;
		ssize_t n = imgo__conn_writev(c, iov, count);
		hub->tally.writes++;
		if (n < 0 && n != IMGO_ETIMEDOUT) {
			imgo__conn_kill(c, IMGO_CLOSE_RESET);
			return false;
		}
		if (n > 0) {
			hub->tally.bytes_out += (uint64_t)n;
			imgo__outq_consume(&c->out, (size_t)n);
		}
		if (n < (ssize_t)asked) {
			blocked(c);
			return true;
		}
	}
	return true;
}

void imgo__conn_writable(struct imgo__conn *c)
{
	struct imgo_hub *hub = c->hub;

	if (!imgo__conn_alive(c) || ((c->kind & IMGO_HUB_TLS) && !imgo__conn_tls_flush(c)))
		return;
	if (!imgo__conn_flush(c) || imgo__conn_unwritten(c))
		return;
	imgo__conn_watch(c, c->events & ~IMGO__WRITE);
	if (!(c->flags & IMGO__CONN_DRAIN))
		return;
	c->flags &= (uint16_t)~IMGO__CONN_DRAIN;
	if (c->state == IMGO__CONN_LIVE && hub->ops.on_drain)
		hub->ops.on_drain(hub, imgo__conn_handle(c), hub->user);
}
