/* SPDX-License-Identifier: MIT */
/*
 * All connections of a hub read into one buffer, and most input is consumed straight from it. Only what is
 * left over (half a packet) is kept, in a small buffer of the connection, freed as soon as it is used up.
 * While there is such a buffer the connection reads into it directly, and never beyond what completes the
 * packet at its front; the next packet comes through the shared buffer again. It grows with what has really
 * come, not with what a header claims (B8, H3).
 *
 * While the host decides about a login, or guard.c lets it wait, what the client sends already is held, up to IMGO__HUB_PREAUTH bytes;
 * then its socket is not read any more. Reading on until there tells early that the client has gone.
 *
 * Packets are counted against a budget (a leaky bucket, GCRA): budget_us is the time at which the bucket is
 * full again; each packet moves it on by 1 s / packets_per_second_max, and more than IMGO__HUB_BURST_S ahead
 * of now is a flood.
 */
#include "hub/internal.h"

#include "base/mem.h"

enum { ROUNDS = 4, FIRST_BYTES = 64 };

struct imgo__input *imgo__input_get(struct imgo__conn *c)
{
	if (!c->in) {
		c->in = imgo__zalloc(sizeof *c->in);
		if (!c->in)
			imgo__conn_kill(c, IMGO_CLOSE_TRY_LATER);
	}
	return c->in;
}

void imgo__input_free(struct imgo__conn *c)
{
	if (!c->in)
		return;
	imgo__buf_free(&c->in->buf);
	imgo__buf_free(&c->in->message);
	free(c->in);
	c->in = NULL;
}

bool imgo__conn_spend(struct imgo__conn *c)
{
	struct imgo_hub *hub = c->hub;
	uint64_t now = imgo_loop_now_us(hub->loop);

	hub->tally.packets_in++;
	if (c->budget_us < now)
		c->budget_us = now;
	c->budget_us += hub->packet_us;
	if (c->budget_us - now <= (uint64_t)IMGO__HUB_BURST_S * 1000000)
		return true;
	imgo__conn_kill(c, IMGO_CLOSE_FLOOD);
	return false;
}

static size_t tcp_take(struct imgo__conn *c, uint8_t *data, size_t len, size_t *need)
{
	struct imgo__packet packet;
	ssize_t n = imgo__packet_decode(data, len, c->hub->opt.body_max_bytes, &packet, need);

	if (n < 0) {
		imgo__conn_kill(c, n == IMGO_ELIMIT ? IMGO_CLOSE_TOO_BIG : IMGO_CLOSE_PROTOCOL);
		return 0;
	}
	if (n > 0 && imgo__conn_spend(c))
		imgo__hub_packet(c, &packet);
	return (size_t)n;
}

/* Takes packets while there are whole ones and the connection's state lets it. Returns the bytes that are
 * done with; *need: how many of the rest there must be before it is worth looking again. */
static size_t take(struct imgo__conn *c, uint8_t *data, size_t len, size_t *need)
{
	size_t done = 0, n;

	for (*need = 1; done < len; done += n) {
		if (c->hub->freeing || !imgo__conn_alive(c))
			return len;
		if (c->state == IMGO__CONN_AUTHING || (c->state == IMGO__CONN_OPEN && imgo__guard_waits(c))) {
			*need = SIZE_MAX;
			break;
		}
		if (c->state == IMGO__CONN_HTTP)
			n = imgo__ws_upgrade(c, data + done, len - done, need);
		else if (c->flags & IMGO__CONN_UPGRADED)
			n = imgo__ws_take(c, data + done, len - done, need);
		else
			n = tcp_take(c, data + done, len - done, need);
		if (n == 0)
			break;
		*need = 1;
	}
	return imgo__conn_alive(c) ? done : len;
}

/* An idle connection keeps nothing. */
static void tidy(struct imgo__conn *c)
{
	if (c->in && c->in->buf.len == 0 && c->in->ws.message_op == 0)
		imgo__input_free(c);
}

/* Keeps the rest of the shared buffer. */
static void keep(struct imgo__conn *c, const uint8_t *rest, size_t len, size_t need)
{
	struct imgo__input *in = imgo__input_get(c);

	if (!in)
		return;
	if (imgo__buf_append(&in->buf, rest, len)) {
		imgo__conn_kill(c, IMGO_CLOSE_TRY_LATER);
		return;
	}
	in->need = need;
}

/* Looks at the connection's own buffer again. */
static void take_kept(struct imgo__conn *c)
{
	struct imgo__input *in = c->in;
	size_t need, done = take(c, in->buf.data, in->buf.len, &need);

	if (!imgo__conn_alive(c))
		return;
	if (done == in->buf.len) {
		imgo__buf_free(&in->buf);
		tidy(c);
		return;
	}
	imgo__buf_consume(&in->buf, done);
	in->need = need;
}

/* How much to read, and where to. 0: nothing for now. */
static size_t where(struct imgo__conn *c, uint8_t **p)
{
	struct imgo__input *in = c->in;

	*p = c->hub->rbuf;
	if (!in || in->buf.len == 0)
		return c->state == IMGO__CONN_LIVE ? IMGO__HUB_READ : IMGO__HUB_PREAUTH;
	size_t want = in->buf.len < FIRST_BYTES ? FIRST_BYTES : in->buf.len;
	if (c->state == IMGO__CONN_AUTHING || imgo__guard_waiting(c)) {
		if (in->buf.len >= IMGO__HUB_PREAUTH)
			return 0;
		if (want > IMGO__HUB_PREAUTH - in->buf.len)
			want = IMGO__HUB_PREAUTH - in->buf.len;
	} else if (c->state != IMGO__CONN_HTTP && want > in->need - in->buf.len) {
		want = in->need - in->buf.len;
	}
	if (imgo__buf_reserve(&in->buf, want)) {
		imgo__conn_kill(c, IMGO_CLOSE_TRY_LATER);
		return 0;
	}
	*p = in->buf.data + in->buf.len;
	return want;
}

static void arrived(struct imgo__conn *c, uint8_t *p, size_t len)
{
	struct imgo__input *in = c->in;
	size_t need;

	c->hub->tally.bytes_in += len;
	if (p != c->hub->rbuf) {
		in->buf.len += len;
		/* Of a frame, the part that came is looked at too: wrong UTF-8 is refused as soon as it is
		 * there. */
		if (in->buf.len >= in->need || (c->flags & IMGO__CONN_UPGRADED))
			take_kept(c);
		return;
	}
	size_t done = take(c, p, len, &need);
	if (done < len)
		keep(c, p + done, len - done, need);
	else if (imgo__conn_alive(c))
		tidy(c);
}

static enum imgo_close read_error(ssize_t n)
{
	if (n == IMGO_EPROTO) /* TLS that is none */
		return IMGO_CLOSE_PROTOCOL;
	if (n == IMGO_ELIMIT)
		return IMGO_CLOSE_FLOOD;
	return n == 0 ? IMGO_CLOSE_PEER : IMGO_CLOSE_RESET;
}

void imgo__conn_readable(struct imgo__conn *c)
{
	struct imgo_hub *hub = c->hub;

	for (int i = 0; i < ROUNDS && imgo__conn_alive(c) && !hub->freeing; i++) {
		uint8_t *p;
		size_t want = where(c, &p);
		if (want == 0) {
			if (imgo__conn_alive(c))
				imgo__conn_watch(c, c->events & ~IMGO__READ);
			return;
		}
		ssize_t n = imgo__conn_read(c, p, want);
		hub->tally.reads++;
		if (n == IMGO_ETIMEDOUT)
			return;
		if (n == 0)
			c->flags |= IMGO__CONN_FIN_READ;
		if (n <= 0) {
			imgo__conn_kill(c, read_error(n));
			return;
		}
		if (hub->opt.websocket_ping_ms) {
			c->heard_ms = (uint32_t)imgo__loop_now_ms(hub->loop);
			c->flags &= (uint16_t)~IMGO__CONN_PINGED;
		}
		arrived(c, p, (size_t)n);
		if ((size_t)n < want && !imgo__conn_pending(c))
			return;
	}
	if (imgo__conn_alive(c) && !hub->freeing && imgo__conn_pending(c))
		imgo__conn_todo(c, IMGO__CONN_RESUME); /* the socket does not say so again */
}

void imgo__conn_resume(struct imgo__conn *c)
{
	if (c->in && c->in->buf.len > 0)
		take_kept(c);
	if (!imgo__conn_alive(c))
		return;
	imgo__conn_watch(c, c->events | IMGO__READ);
	if (imgo__conn_pending(c))
		imgo__conn_readable(c);
}
